"""An honest client's latency while slow senders hold a platform: median and spread, without them and with them.

    .venv/bin/python tests/benchmarks/slow_senders.py [--senders 2000] [--seconds 18] [--repeats 3]

The senders, in a process of their own, are of the kinds of `KINDS` in turn: they begin something, go on with a byte a
second or with none, and begin again as soon as they are cut. The client asks 100 times a second, on one connection and
on a new one in turn. The status is 1 if a median is more than 3 times what it is without them, or if a sender was cut
before its deadline, or more than 2 s after it (PLAT-8).
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.servers import PLATFORM, TENANT_TOKEN, Server, cpu_s, spread

LIMIT = 3.0
LATE_S = 2.0
RATE = 100.0


class Kind(NamedTuple):
    """How to be slow."""

    begins: bytes
    drips: bytes
    """What is sent on, a byte a second, over and over; nothing if empty."""
    deadline_s: float


_POST = (
    b"POST /api/v1/auth/challenge HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
)
_UPGRADE = b"GET /api/v1/ws/agent/a HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
KINDS = {
    "headers, a byte a second": Kind(b"GET / HTTP/1.1\r\n", b"x-a: b\r\n", 10.0),
    "headers, then nothing": Kind(b"GET / HTTP/1.1\r\nhost: x\r\n", b"", 10.0),
    "body, a byte a second": Kind(_POST + b"{", b'"agent_id":', 15.0),
    "body, then nothing": Kind(_POST + b"{", b"", 15.0),
    "opening handshake, a byte a second": Kind(_UPGRADE, b"x-a: b\r\n", 10.0),
    "opening handshake, then nothing": Kind(_UPGRADE, b"", 10.0),
}


# --- in the senders' process ------------------------------------------------------------------------------------------


class _Sender:
    def __init__(self, port: int, kind: str) -> None:
        self.kind = KINDS[kind]
        self.name = kind
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.began_at = time.monotonic()
        self.sent = 0
        self.sock.send(self.kind.begins)

    def drip(self) -> None:
        drips = self.kind.drips
        if drips:
            try:
                self.sock.send(drips[self.sent % len(drips) :][:1])
            except OSError:
                return  # it was cut, which is read next
            self.sent += 1


def send_slowly(port: int, count: int) -> None:
    """Until stdin says something; then print how long the senders of each kind lasted."""
    poll = select.epoll()
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    senders: dict[int, _Sender] = {}
    due: deque[tuple[float, _Sender]] = deque()
    lasted: dict[str, list[float]] = {kind: [] for kind in KINDS}

    def begin(kind: str) -> None:
        sender = _Sender(port, kind)
        senders[sender.sock.fileno()] = sender
        poll.register(sender.sock.fileno(), select.EPOLLIN)
        due.append((sender.began_at + 1.0, sender))

    for number in range(count):
        begin(list(KINDS)[number % len(KINDS)])
    print("{}", flush=True)
    while True:
        for fd, _ in poll.poll(max(due[0][0] - time.monotonic(), 0)):
            if fd == sys.stdin.fileno():
                print(json.dumps(lasted), flush=True)
                return
            sender = senders.pop(fd)  # the first that it hears is the 408 that ends it
            lasted[sender.name].append(time.monotonic() - sender.began_at)
            poll.unregister(fd)
            sender.sock.close()
            begin(sender.name)
        while due and due[0][0] <= time.monotonic():
            when, sender = due.popleft()
            if senders.get(sender.sock.fileno()) is sender:
                sender.drip()
                due.append((when + 1.0, sender))


# --- in the process that measures -------------------------------------------------------------------------------------


class Senders:
    """So many slow senders, until the end of a `with` block; `lasted_s` then has the lives of those that were cut."""

    def __init__(self, port: int, count: int) -> None:
        command = [sys.executable, __file__, "--senders-of", str(port), "--senders", str(count)]
        self.lasted_s: dict[str, list[float]] = {}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._hear()

    def __enter__(self) -> Senders:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            self.lasted_s = self._hear()
        finally:
            self._process.kill()
            self._process.communicate()

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def ask(sock: socket.socket) -> None:
    """One request, whole."""
    sock.sendall(f"GET /api/v1/agents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TENANT_TOKEN}\r\n\r\n".encode())
    answer = sock.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200"), answer


def latencies_ms(port: int, seconds: float) -> dict[str, float]:
    """Medians over so long."""
    found: dict[str, list[float]] = {"on an open connection": [], "on a new connection": []}
    with socket.create_connection(("127.0.0.1", port)) as kept:
        began = time.monotonic()
        for number in range(int(seconds * RATE)):
            time.sleep(max(began + number / RATE - time.monotonic(), 0))
            before = time.perf_counter()
            if number % 2:
                ask(kept)
            else:
                with socket.create_connection(("127.0.0.1", port)) as new:
                    ask(new)
            found["on an open connection" if number % 2 else "on a new connection"].append(
                1000 * (time.perf_counter() - before)
            )
    return {what: median(values) for what, values in found.items()}


def report(alone: list[dict[str, float]], beset: list[dict[str, float]], lasted_s: dict[str, list[float]]) -> bool:
    """Print the tables; returns whether all is as it should be."""
    is_well = True
    print(f"{'an honest request':30} {'alone':>18} {'with slow senders':>22} {'ratio (≤ 3)':>14}")
    for what in alone[0]:
        quiet, loud = [each[what] for each in alone], [each[what] for each in beset]
        ratio = median(loud) / median(quiet)
        is_well &= ratio <= LIMIT
        left, right = (f"{median(values):.2f} ms {spread(values)}" for values in (quiet, loud))
        print(f"{what:30} {left:>18} {right:>22} {ratio:14.2f}")
    print(f"{'slow senders':36} {'deadline':>10} {'cut':>7} {'after at least':>15} {'median':>8} {'at most':>8}")
    for kind, times in lasted_s.items():
        deadline_s = KINDS[kind].deadline_s
        if not times:
            print(f"{kind:36} {deadline_s:8.0f} s       0")
            is_well = False
            continue
        is_well &= deadline_s <= min(times) and max(times) <= deadline_s + LATE_S
        least, middle, most = (f"{value:.2f} s" for value in (min(times), median(times), max(times)))
        print(f"{kind:36} {deadline_s:8.0f} s {len(times):7} {least:>15} {middle:>8} {most:>8}")
    return is_well


def main() -> int:
    """Measure and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--senders", type=int, default=2000)
    parser.add_argument(
        "--seconds", type=float, default=18.0, help="of a round with senders; longer than the deadlines"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--senders-of", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if arguments.senders_of is not None:
        send_slowly(arguments.senders_of, arguments.senders)
        return 0
    alone: list[dict[str, float]] = []
    beset: list[dict[str, float]] = []
    lasted_s: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.repeats):
        with Server(PLATFORM) as server:
            alone.append(latencies_ms(server.port, arguments.seconds / 3))
            with Senders(server.port, arguments.senders) as senders:
                before = cpu_s(server.pid)
                beset.append(latencies_ms(server.port, arguments.seconds))
                load = (cpu_s(server.pid) - before) / arguments.seconds
            for kind, times in senders.lasted_s.items():
                lasted_s[kind].extend(times)
            print(f"{arguments.senders:,} slow senders, and the client: the platform takes {load:.0%} of a core")
    return 0 if report(alone, beset, lasted_s) else 1


if __name__ == "__main__":
    sys.exit(main())
