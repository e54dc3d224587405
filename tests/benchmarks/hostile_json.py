"""Instructions a byte that JSON of a liar costs, small and large: what is not linear is an attack (MSG-6).

    .venv/bin/python tests/benchmarks/hostile_json.py [--small 65536] [--large 524288]

Each shape is received as one message at two sizes, as a client and as a server reads it, up to plain values, each in a
fork of one process under `valgrind --tool=callgrind`, which counts the same on a busy machine. What a fork costs that
receives nothing is taken off. Ends with status 1 if a byte of the large message costs more than 1.25 times what one of
the small message does: this holds the line in CI.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from artcafe_proto import RemoteProtocolError
from artcafe_proto.messages import decode_envelope, decode_object, decode_sound_command, decode_sound_heartbeat
from artcafe_proto.wires.frames import FrameWriter
from artcafe_proto.wires.inputs import TextReceived
from artcafe_proto.wires.websocket import WebSocketWire

MOST = 1.25
"""A byte's cost in the large message ÷ its cost in the small one."""
_MARGIN = 512  # for the envelope


def repeated(unit: bytes, size: int) -> bytes:
    """As many of a unit as fit."""
    return unit * (size // len(unit))


SHAPES: dict[str, Callable[[int], bytes]] = {
    "deep nesting": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "deep objects": lambda size: repeated(b'{"a":', size * 5 // 6) + b"1" + b"}" * (size // 6),
    "wide nesting": lambda size: b"[" + repeated(b"[[[[]]]],", size)[:-1] + b"]",
    "brackets in a string": lambda size: b'["' + repeated(b"[{", size) + b'"]',
    "brackets in many strings": lambda size: b"[" + repeated(b'"[{\\"",', size)[:-1] + b"]",
    "an integer": lambda size: b"[" + b"9" * size + b"]",
    "a fraction": lambda size: b"[0." + b"1" * size + b"]",
    "an exponent": lambda size: b"[1e" + b"9" * size + b"]",
    "many integers of 4,000 digits": lambda size: b"[" + repeated(b"9" * 4000 + b",", size)[:-1] + b"]",
    "many small keys": lambda size: b"{" + b",".join(b'"%06x":0' % number for number in range(size // 11)) + b"}",
    "one key many times": lambda size: b"{" + repeated(b'"a":0,', size)[:-1] + b"}",
    "an escaped string": lambda size: b'["' + repeated(b"\\u00e9", size) + b'"]',
    "a string of backslashes": lambda size: b'["' + repeated(b"\\\\", size) + b'"]',
    "a string that does not end": lambda size: b'["' + repeated(b'\\"', size),
}


def receive(shape: str, size: int) -> None:
    """Both roles read one message."""
    for is_client, decode_sound in ((True, decode_sound_command), (False, decode_sound_heartbeat)):
        lie = SHAPES[shape](size - _MARGIN)
        payload = b'{"type":"message","id":"m","data":{"a":' + lie + b"}}"
        wire = WebSocketWire(client=is_client, rng=Random(1), max_message_size=1 << 20)
        (received,) = wire.receive(FrameWriter(client=not is_client, rng=Random(1)).text(payload))
        assert isinstance(received, TextReceived)
        assert decode_sound(received.payload) is None
        with suppress(RemoteProtocolError):
            decode_object(decode_envelope(received.payload).data)


def fork_all(sizes: list[int]) -> None:
    """Under callgrind: receive every shape in every size, or nothing, and print which process did what."""
    jobs: list[tuple[str, int]] = [("", 0), *((shape, size) for shape in SHAPES for size in sizes)]
    for shape, size in jobs:
        pid = os.fork()
        if pid == 0:
            if shape:
                receive(shape, size)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0, shape
        print(json.dumps([pid, shape, size]), flush=True)


def instructions(sizes: list[int]) -> dict[tuple[str, int], int]:
    """Of each process, by shape and size."""
    with tempfile.TemporaryDirectory() as folder:
        tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={folder}/%p"]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        command = [*tool, sys.executable, __file__, "--sizes", *map(str, sizes)]
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
        counts: dict[tuple[str, int], int] = {}
        for line in said.splitlines():
            pid, shape, size = json.loads(line)
            found = re.search(r"Collected : (\d+)", Path(folder, str(pid)).read_text())
            assert found is not None, pid
            counts[shape, size] = int(found[1])
        return counts


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=1 << 16)
    parser.add_argument("--large", type=int, default=1 << 19)
    parser.add_argument("--sizes", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sizes is not None:
        fork_all(arguments.sizes)
        return 0
    sizes = [arguments.small, arguments.large]
    counts = instructions(sizes)
    status = 0
    for shape in SHAPES:
        few, many = ((counts[shape, size] - counts["", 0]) / size for size in sizes)
        print(
            f"{shape:30} {few:8.1f} instructions a byte of {sizes[0]:,}, {many:8.1f} of {sizes[1]:,}: {many / few:.2f}"
        )
        status |= many / few > MOST
    print(f"(at most {MOST})")
    return status


if __name__ == "__main__":
    sys.exit(main())
