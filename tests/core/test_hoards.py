"""PLAT-8: what one hostile connection can make either role keep, measured in bytes of memory, however it goes about it.

What a clause grants a store of its own is not counted: commands and their responses (CMD-1, CMD-3, CMD-5, CMD-10).
Reads are of 64 KiB, and the driver is told that writing is paused as soon as 64 KiB wait, as the adapters do.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import count, islice, repeat
from random import Random
from typing import Any, Final

import pytest

from artcafe_proto import Instant, PlatformConfig, PlatformHub, PlatformProtocol
from artcafe_proto.agent import LinkState
from artcafe_proto.effects import PauseReading, Write
from artcafe_proto.events import CommandReceived
from artcafe_proto.policies.token_issuer import TokenIssuer
from benchmarks.core import Loop
from benchmarks.linear import frame
from support.virtual import signing_key

MIB: Final = 1 << 20
MOST_BYTES: Final = 8 * MIB
READ_BYTES: Final = 64 * 1024
MANY: Final = 100
SENT_BYTES: Final = 10 * MIB
"""What the peer sends, if it is read for so long."""


Stream = Callable[[bool], Iterator[bytes]]
"""What is sent, masked or not."""


class Peer:
    """A driver that is told of what is written and carries none of it out: its peer reads nothing."""

    def __init__(self) -> None:
        self.unsent = bytearray()
        self.is_read = True


class Agent(Loop, Peer):
    """An agent whose link is up, and whose commands last for ever."""

    def __init__(self) -> None:
        Peer.__init__(self)
        Loop.__init__(self)

    @property
    def is_over(self) -> bool:
        """Whether the link is."""
        return self.agent.state.link is not LinkState.UP

    def read(self, data: bytes) -> None:
        moment = Instant(time.monotonic(), time.time())
        self.agent.data_received(self._conn, data, moment)
        self._take(moment)

    def _take(self, moment: Instant) -> None:
        before = len(self.unsent)
        while (output := self.agent.next_output()) is not None:
            if isinstance(output, Write):
                self.unsent += output.data
            elif isinstance(output, PauseReading):
                self.is_read = False
            else:
                assert not isinstance(output, CommandReceived) or output.command == "work"
        if len(self.unsent) > before:
            self.agent.unsent(self._conn, len(self.unsent), moment)
            self._take(moment)


class Platform(Peer):
    """A platform with one agent, which opens its link with `linked`."""

    def __init__(self, *, linked: bool) -> None:
        super().__init__()
        config = PlatformConfig()
        self.hub = PlatformHub(config, rng=Random(1), signing_seed=bytes(32))
        self.hub.registry.create_agent("t", agent_id="a", name="", capabilities=(), metadata={}, wall=0.0)
        key_id = self.hub.registry.add_key("t", "a", signing_key().public.openssh, "").key_id
        self.protocol = PlatformProtocol(self.hub, conn=1, now=Instant(1.0, 1e9))
        if linked:
            issuer = TokenIssuer(bytes(32), issuer=config.issuer, life_s=900.0)
            token = issuer.issue(agent_id="a", tenant_id="t", key_id=key_id, jti="1", wall=1e9)
            self.read(
                b"GET /api/v1/ws/agent/a HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"authorization: Bearer %s\r\n\r\n" % token.encode()
            )
            beat = b'{"type":"heartbeat","id":"h","data":{"agent_id":"a"}}'
            self.read(frame(0x81, beat, masked=True))

    @property
    def is_over(self) -> bool:
        """Whether the connection is."""
        return self.protocol.is_closed

    def read(self, data: bytes) -> None:
        now = Instant(1.0, 1e9)
        self.protocol.data_received(data, now)
        self.take(now)

    def take(self, now: Instant) -> None:
        before = len(self.unsent)
        while (output := self.hub.next_output()) is not None:
            if isinstance(output, Write):
                self.unsent += output.data
            elif isinstance(output, PauseReading):
                self.is_read = False
        if len(self.unsent) > before:
            self.protocol.unsent(len(self.unsent), now)
            self.take(now)


def text(payload: bytes, masked: bool) -> bytes:
    return frame(0x81, payload, masked=masked)


def padded(kind: str, number: int, data: dict[str, Any] | None = None, size: int = 1000) -> bytes:
    """A message with padding."""
    message = {"type": kind, "id": f"{kind}-{number}", "data": data or {}, "padding": "x" * size}
    return json.dumps(message).encode()


def same(payload: bytes) -> Stream:
    """The same frame again and again."""
    return lambda masked: repeat(text(payload, masked) * MANY, MANY)


def fragments(size: int) -> Stream:
    """A message that never ends, in such fragments."""

    def stream(masked: bool) -> Iterator[bytes]:
        yield frame(0x01, b"x" * size, masked=masked)
        yield from repeat(frame(0x00, b"x" * size, masked=masked) * MANY)

    return stream


def of_type(kind: str, data: Callable[[int], dict[str, Any]], size: int = 1000) -> Stream:
    """Messages of a type, all different."""
    return lambda masked: (text(padded(kind, number, data(number), size), masked) for number in count())


def unended(masked: bool) -> Iterator[bytes]:
    """A frame without its last byte."""
    yield frame(0x81, b"x" * (MIB - 1), masked=masked)[:-1]


def control(first: int, payload: bytes) -> Stream:
    """The same control frame again and again."""
    return lambda masked: repeat(frame(first, payload, masked=masked) * MANY, MANY)


ANY_ROLE: Final[dict[str, Stream]] = {
    "a message that never ends": fragments(1000),
    "a message of small fragments": fragments(16),
    "a frame that never ends": unended,
    "pings": control(0x89, b"x" * 125),
    "pongs": control(0x8A, b"9" * 100),
    "messages": of_type("message", lambda number: {"n": number}, 10_000),
    "large messages": of_type("message", lambda number: {"n": "x" * (MIB // 2)}, MIB // 4),
    "what nobody knows": of_type("news", lambda number: {"n": number}, 10_000),
    "bad messages": same(b"{" * 100),
}
TO_AN_AGENT: Final[dict[str, Stream]] = {
    "commands of no name": of_type("command", lambda number: {}),
    "refused commands": of_type("command", lambda number: {"command": "work"}, 10),
    "repeats": same(padded("command", 1, {"command": "work"})),
}
TO_A_PLATFORM: Final[dict[str, Stream]] = {
    "heartbeats": of_type("heartbeat", lambda number: {"agent_id": "a"}, 10_000),
    "statuses": of_type("status", lambda number: {"status": "busy", "current_task": "x" * 9000, "message": "x" * 9000}),
    "responses to nothing": of_type(
        "response", lambda number: {"command_id": f"c-{number}", "status": "success"}, 10_000
    ),
}


def reads(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """All that the peer sends, as it is read."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= READ_BYTES:
            yield bytes(waiting[:READ_BYTES])
            del waiting[:READ_BYTES]
    yield bytes(waiting)


def kept_bytes(peer: Agent | Platform, pieces: Iterator[bytes]) -> int:
    """By what memory has grown once the peer has sent all it can."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for data in islice(reads(pieces), SENT_BYTES // READ_BYTES):
            if not peer.is_read or peer.is_over:
                break
            peer.read(data)
        kept, _ = tracemalloc.get_traced_memory()
        return kept - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("flood", [*ANY_ROLE, *TO_AN_AGENT])
def test_plat_8_no_platform_makes_an_agent_keep_8_mib(flood: str) -> None:
    assert kept_bytes(Agent(), (ANY_ROLE | TO_AN_AGENT)[flood](False)) < MOST_BYTES


@pytest.mark.parametrize("flood", [*ANY_ROLE, *TO_A_PLATFORM])
def test_plat_8_no_agent_makes_a_platform_keep_8_mib(flood: str) -> None:
    assert kept_bytes(Platform(linked=True), (ANY_ROLE | TO_A_PLATFORM)[flood](True)) < MOST_BYTES
