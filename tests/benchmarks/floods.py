"""CPU that floods of tiny pieces cost either role: seconds a MiB, and the longest time that one read takes.

    .venv/bin/python tests/benchmarks/floods.py [--flood NAME] [--bytes 1048576]

A peer sends the most laborious bytes it can think of: fragments of no byte, pings, chunks of a byte. They come in reads
of 64 KiB, as an adapter hands them on, and whatever a façade asks for is taken out. A connection that the flood costs
is opened anew, for free. While a read is worked on no other connection is served, so the longest read is what the
clients of a platform, or the commands of an agent, wait for. Compare it with itself, run by hand:
the limits (MSG-6, PLAT-8) are held by tests.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from artcafe_proto import HttpRequest, PlatformConfig, PlatformHub, PlatformProtocol
from artcafe_proto.agent.states import LinkState
from artcafe_proto.effects import Disconnect
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.wires.http_client import ClientWire
from benchmarks.core import Loop, now
from benchmarks.linear import frame
from support.virtual import signing_key

READ_BYTES: Final = 64 * 1024
ROLES: Final = ("agent", "platform")
UNKNOWN: Final = b'{"type":"x","id":"1"}'


class Flood(NamedTuple):
    """Bytes that begin something, and bytes that go on with it for ever."""

    begins: bytes
    goes_on: bytes


def _frames(masked: bool, *, first: int, payload: bytes = b"", amid: bool = False) -> Flood:
    """The same frame over and over, `amid` a message."""
    begins = frame(0x01, b'"', masked=masked) if amid else b""
    return Flood(begins, frame(first, payload, masked=masked))


def _fragments(masked: bool, *, step: int) -> Flood:
    """Messages that nobody knows, of 1 MiB of white space, in fragments of so many bytes."""
    begun, more, last = (
        frame(first, payload, masked=masked) for first, payload in ((0x01, UNKNOWN), (0x00, b" " * step), (0x80, b""))
    )
    return Flood(b"", begun + more * ((1 << 20) // step - len(UNKNOWN)) + last)


def _bad_and_good(masked: bool) -> Flood:
    """Messages that are too small to be one, and a good one before there are too many of them in a row."""
    bad, good = (frame(0x81, payload, masked=masked) for payload in (b"x", UNKNOWN))
    return Flood(b"", bad * 90 + good)


def _chunks(masked: bool) -> Flood:
    """The body of a request to a platform, or of a response to an agent."""
    start = b"POST /api/v1/auth/challenge HTTP/1.1\r\nhost: x" if masked else b"HTTP/1.1 200 OK"
    return Flood(start + b"\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n")


CHUNKS: Final = "a body in chunks of a byte"
FLOODS: Final[dict[str, Callable[[bool], Flood]]] = {
    "fragments of no byte": partial(_frames, first=0x00, amid=True),
    "fragments of a byte": partial(_frames, first=0x00, payload=b" ", amid=True),
    "fragments of 16 bytes": partial(_fragments, step=16),
    "fragments of 64 bytes": partial(_fragments, step=64),
    "pings": partial(_frames, first=0x89),
    "pings amid a message": partial(_frames, first=0x89, amid=True),
    "pongs": partial(_frames, first=0x8A, payload=b"9"),
    "empty messages": partial(_frames, first=0x81),
    "messages nobody knows": partial(_frames, first=0x81, payload=UNKNOWN),
    "bad messages and good ones": _bad_and_good,
    CHUNKS: _chunks,
}


class _Agent(Loop):
    """An agent's end."""

    is_over = False

    def read(self, data: bytes) -> None:
        self._receive(data)
        self.is_over = self.agent.state.link is not LinkState.UP


class _AgentSigningIn:
    """An agent that waits for the answer to its first request."""

    def __init__(self) -> None:
        self._wire = ClientWire(authority="x", rng=Random(1), max_message_size=1 << 20)
        self._wire.request(HttpRequest(method="GET", target="/"))
        self.is_over = False

    def read(self, data: bytes) -> None:
        self.is_over |= bool(self._wire.receive(data))


class _Platform:
    """A platform's end: of a link, or of a connection that has asked for nothing yet."""

    def __init__(self, *, linked: bool) -> None:
        config = PlatformConfig()
        self._hub = PlatformHub(config, rng=Random(1), signing_seed=bytes(32))
        self._hub.registry.create_agent("t", agent_id="a", name="", capabilities=(), metadata={}, wall=0.0)
        key_id = self._hub.registry.add_key("t", "a", signing_key().public.openssh, "").key_id
        self._protocol = PlatformProtocol(self._hub, conn=1, now=now())
        self.is_over = False
        if linked:
            issuer = TokenIssuer(bytes(32), issuer=config.issuer, life_s=900.0)
            token = issuer.issue(agent_id="a", tenant_id="t", key_id=key_id, jti="1", wall=time.time())
            self.read(
                b"GET /api/v1/ws/agent/a HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"authorization: Bearer %s\r\n\r\n" % token.encode()
            )
            assert self._protocol.agent_id is not None

    def read(self, data: bytes) -> None:
        self._protocol.data_received(data, now())
        while (output := self._hub.next_output()) is not None:
            self.is_over |= isinstance(output, Disconnect)


def _open(role: str, *, linked: bool) -> _Agent | _AgentSigningIn | _Platform:
    if role == "platform":
        return _Platform(linked=linked)
    return _Agent() if linked else _AgentSigningIn()


def measure(role: str, name: str, size: int) -> tuple[float, float, int]:
    """CPU seconds a MiB, the longest read in seconds, and how many connections it took."""
    begins, goes_on = FLOODS[name](role == "platform")
    stream = goes_on * (4 * READ_BYTES // len(goes_on) + 1)
    spent, longest, taken, connections = 0.0, 0.0, 0, 0
    while taken < size:
        peer, place, data = _open(role, linked=name != CHUNKS), 0, begins
        connections += 1
        while not peer.is_over and taken < size:
            end = place + READ_BYTES - len(data)
            data += stream[place:end]
            place = end % len(goes_on) if end + READ_BYTES > len(stream) else end
            start = time.process_time()
            peer.read(data)
            seconds = time.process_time() - start
            spent, longest, taken, data = spent + seconds, max(longest, seconds), taken + len(data), b""
    return spent / (taken / (1 << 20)), longest, connections


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flood", choices=FLOODS)
    parser.add_argument("--bytes", type=int, default=1 << 20)
    arguments = parser.parse_args()
    print(f"{'flood':28} {'of':9} {'CPU a MiB':>10} {'longest read':>13} {'connections':>12}")
    for name in FLOODS if arguments.flood is None else [arguments.flood]:
        for role in ROLES:
            each_s, longest_s, connections = measure(role, name, arguments.bytes)
            print(f"{name:28} {role:9} {each_s:8.2f} s {1000 * longest_s:10.0f} ms {connections:12}")


if __name__ == "__main__":
    main()
