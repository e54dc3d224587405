"""Reading a message costs instructions in proportion to its bytes, in however small pieces it comes: by callgrind.

    .venv/bin/python tests/benchmarks/linear.py [--shape NAME]

Each shape of a message is read in three sizes, each four times the one before, by a process of its own under
`valgrind --tool=callgrind`. Of the three counts the differences are compared, which leaves out what a process costs
anyhow: the second is 4 times the first, and would be 16 times as much if every piece cost a copy of, or a look at, all
that came before it. Ends with status 1 if one is more than `MOST` times the other. It takes minutes: run it by hand.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.counting import instructions

MOST: Final = 7
"""Exactly 4 is not to be had: buffers grow in steps."""
TIMES: Final = (1, 4, 16)
COPYING: Final = "glibc.cpu.x86_non_temporal_threshold=0x7fffffff"
"""Has glibc copy the largest blocks as it copies others: else they are fewer instructions a byte, and hide much."""
ROLES: Final = ("agent", "platform")
MASKING_KEY: Final = b"\x37\xfa\x21\x3d"
KIB, MIB = 1 << 10, 1 << 20
PACKET_BYTES: Final = 1460


def frame(first: int, payload: bytes, *, masked: bool) -> bytes:
    """A frame (RFC 6455 section 5.2)."""
    from artcafe_proto.wires.frames import mask

    size, bit = len(payload), 0x80 * masked
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 1 << 16:
        head = bytes((first, bit | 126)) + size.to_bytes(2)
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8)
    return head + (MASKING_KEY + mask(payload, MASKING_KEY) if masked else payload)


def whole(size: int, masked: bool) -> bytes:
    """A message in one frame."""
    return frame(0x81, b"x" * size, masked=masked)


def fragments(size: int, masked: bool, *, step: int) -> bytes:
    """A message in fragments of `step` bytes, and an empty last one."""
    begun, more = (frame(first, b"x" * step, masked=masked) for first in (0x01, 0x00))
    return begun + more * (size // step - 1) + frame(0x80, b"", masked=masked)


class Shape(NamedTuple):
    """How a message comes."""

    size: int
    """Bytes of the smallest."""
    stream: Callable[[int, bool], bytes]
    read: int
    """Bytes of a read."""


SHAPES: Final[dict[str, Shape]] = {
    "a frame in reads of a byte": Shape(4 * KIB, whole, 1),
    "a frame in packets": Shape(256 * KIB, whole, PACKET_BYTES),
    "small fragments in one read": Shape(256 * KIB, partial(fragments, step=4 * KIB), 16 * MIB),
    "small fragments in packets": Shape(256 * KIB, partial(fragments, step=4 * KIB), PACKET_BYTES),
    "the smallest fragments in one read": Shape(4 * KIB, partial(fragments, step=16), 16 * MIB),
    "the smallest fragments in reads of a byte": Shape(512, partial(fragments, step=16), 1),
    "fragments of a byte in reads of a byte": Shape(64, partial(fragments, step=1), 1),
}


def receive(shape: Shape, role: str, times: int) -> None:
    """What is counted: one message of so many times the smallest."""
    from artcafe_proto.wires.websocket import WebSocketWire

    size, is_client = shape.size * times, role == "agent"
    data, message = shape.stream(size, not is_client), b""
    wire = WebSocketWire(client=is_client, rng=Random(1), max_message_size=16 * MIB)
    for start in range(0, len(data), shape.read):
        for received in wire.receive(data[start : start + shape.read]):
            message = getattr(received, "payload", b"")
    assert message == b"x" * size, "the message was received"


def cost_of(name: str, role: str, times: int) -> int:
    """Of a whole process."""
    return instructions(__file__, "--shape", name, "--role", role, "--times", str(times), GLIBC_TUNABLES=COPYING)


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES)
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.times is not None:
        receive(SHAPES[arguments.shape], arguments.role, arguments.times)
        return 0
    status = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        names = SHAPES if arguments.shape is None else [arguments.shape]
        counts = {
            (name, role): [pool.submit(cost_of, name, role, times) for times in TIMES]
            for name, role in product(names, ROLES)
        }
        for (name, role), futures in counts.items():
            small, medium, large = (future.result() for future in futures)
            growth = (large - medium) / (medium - small)
            each = (large - medium) / (SHAPES[name].size * (TIMES[2] - TIMES[1]))
            print(
                f"{name:40} {role:9} {each:12,.1f} instructions a byte, {growth:5.2f} times as many for 4 times as much"
            )
            status |= growth > MOST
    return status


if __name__ == "__main__":
    sys.exit(main())
