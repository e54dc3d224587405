"""CPU of the core alone, without sockets or a driver: batches of commands, each answered as it comes out."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from msgspec import Raw

from artcafe_anyio.randomness import PooledRandom
from artcafe_proto import AgentConfig, AgentProtocol, Instant
from artcafe_proto.effects import Connect, Sign, Write
from artcafe_proto.events import CommandReceived
from artcafe_proto.limits import LEVEL_BYTES, WRITE_AHEAD_BYTES
from artcafe_proto.messages import SuccessData, encode
from artcafe_proto.wires.handshake import accept_headers
from artcafe_proto.wires.websocket import WebSocketWire

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 32
"""Commands in a read, as a window of 64 brings about."""
COMMANDS = 20_000
REPEATS = 5
RESULT = {"text": "abcdef"}


def command(number: int) -> bytes:
    """The frame that `load.c` sends."""
    data = '{"command":"echo","args":{"text":"abcdef"},"timeout":30}'
    text = f'{{"type":"command","id":"cmd-{number:032x}","data":{data},"timestamp":"2026-05-01T12:34:56.789Z"}}'
    return b"\x81\x7e" + len(text).to_bytes(2) + text.encode()


def batches(first: int, commands: int = COMMANDS) -> list[bytes]:
    """What the reads bring; `first` is the number of the first command."""
    starts = range(first, first + commands, BATCH)
    return [b"".join(map(command, range(start, start + BATCH))) for start in starts]


def now() -> Instant:
    """This moment."""
    return Instant(time.monotonic(), time.time())


class Loop:
    """An agent whose link is up, and which answers every command at once."""

    def __init__(self) -> None:
        config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint="http://127.0.0.1:1")
        self.agent = AgentProtocol(config, rng=PooledRandom())
        self.answered = 0
        self._conn = 0
        self._pings = 0
        self._written = b""
        self._untold = 0  # bytes that were written since the agent was told that they have left
        moment = now()
        self.agent.start(moment)
        self._drain(moment)
        for body in (b'{"challenge":"a-challenge-that-is-long-enough"}', b'{"valid":true,"token":"opaque"}'):
            self._receive(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        key = self._written[self._written.lower().index(b"sec-websocket-key: ") + 19 :][:24]
        fields = "".join(f"{name}: {value}\r\n" for name, value in accept_headers(key.decode()))
        self._receive(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n".encode())

    def turn(self, batch: bytes) -> None:
        """Take in a read, and the pong to the ping that the answers end with, so that they settle (CMD-3)."""
        self._receive(batch)
        self._pings += 1
        number = b"%d" % self._pings
        self._receive(b"\x8a" + bytes((len(number),)) + number)

    def _receive(self, data: bytes) -> None:
        moment = now()
        self.agent.data_received(self._conn, data, moment)
        self._drain(moment)

    def _drain(self, moment: Instant) -> None:
        while (output := self.agent.next_output()) is not None:
            if type(output) is CommandReceived:
                self.agent.respond(output.command_id, RESULT, moment)
                self.answered += 1
            elif type(output) is Write:
                self._written = output.data
                self._untold += len(output.data)
                if self._untold > WRITE_AHEAD_BYTES - LEVEL_BYTES:  # beyond these it waits to be told (LINK-8)
                    self.agent.unsent(output.conn, 0, moment)
                    self._untold = 0
            elif type(output) is Connect:
                self._conn = output.conn
                self.agent.connected(output.conn, moment, tls=output.tls)
            elif type(output) is Sign:
                self.agent.signed(output.request, b"signature", moment)
        self.agent.deadline()


def protocol_us() -> float:
    """Of all of `AgentProtocol`: reads, commands, responses, settling, writes."""
    loop = Loop()

    def turns(reads: list[bytes]) -> None:
        for batch in reads:
            loop.turn(batch)

    cost = _us_per_command(turns)
    assert loop.answered == REPEATS * COMMANDS
    assert loop.agent.outbox_size <= BATCH, "what was settled is gone"
    return cost


def wire_us() -> float:
    """Of the same frames read, and their responses written, by the WebSocket wire alone."""
    wire = WebSocketWire(client=True, rng=PooledRandom(), max_message_size=1 << 20)
    response = encode("response", f"resp-{0:032x}", SuccessData(f"cmd-{0:032x}", Raw(b'{"text":"abcdef"}')), 1.8e9)

    def turns(reads: list[bytes]) -> None:
        for batch in reads:
            b"".join([wire.writer.text(response) for _ in wire.receive(batch)])

    return _us_per_command(turns)


def _us_per_command(turns: Callable[[list[bytes]], None]) -> float:
    """The median of some runs, CPU of this process."""
    times: list[float] = []
    for repeat in range(REPEATS):
        reads = batches(repeat * COMMANDS)
        start = time.process_time()
        turns(reads)
        times.append(1e6 * (time.process_time() - start) / COMMANDS)
    return median(times)
