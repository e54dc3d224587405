"""Channels of messages for `check_channel`, over the transports of docs/transports.md."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from artcafe_proto import HttpRequest
from artcafe_proto.effects import (
    Connect,
    Disconnect,
    PauseReading,
    ResumeReading,
    SendClose,
    SendPing,
    SendPong,
    SendText,
    SendUpgrade,
)
from artcafe_proto.testing import MessageChannel
from support.channels import CONN, TwoEnds, transport

# --- over a broker ----------------------------------------------------------------------------------------------------


class Log:
    """What an end of a channel was told, in one order: it stands in for a machine's one link."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bytes | int]] = []
        self.unsent_bytes = 0

    def tell(self, happened: str, *arguments: Any) -> None:
        match happened:
            case "text_received" | "ping_received" | "pong_received" | "close_received":
                self.told.append((happened.removesuffix("_received"), arguments[0]))
            case "disconnected":
                self.told.append(("lost", b""))
            case "unsent":
                self.unsent_bytes = arguments[0]
            case _:
                assert happened == "bytes_received"


class BrokerChannel(TwoEnds, Log):
    """A channel between two ends of the page's link; what each publishes arrives with the next `settle`."""

    def __init__(self) -> None:
        super().__init__()
        self.far_log = Log()
        link: Any = transport("broker")["LinkEnd"]
        self._published: deque[tuple[Any, bytes]] = deque()

        def to_far(data: bytes) -> None:
            self._published.append((self.far, data))

        def to_near(data: bytes) -> None:
            self._published.append((self.near, data))

        self.near, self.far = link(to_far, self.tell), link(to_near, self.far_log.tell)

    @property
    def far_told(self) -> list[tuple[str, bytes | int]]:
        return self.far_log.told

    @property
    def far_unsent_bytes(self) -> int:
        return self.far_log.unsent_bytes

    def write(self, data: bytes) -> None:
        self.near.send(b"=", data)

    def ping(self, payload: bytes) -> None:
        self.near.send(b"?", payload)

    def pong(self, payload: bytes) -> None:
        self.near.send(b"!", payload)

    def close_with(self, code: int, reason: str) -> None:
        self.near.send(b".", b"%d" % code)

    def far_write(self, data: bytes) -> None:
        self.far.send(b"=", data)

    def far_ping(self, payload: bytes) -> None:
        self.far.send(b"?", payload)

    def far_pong(self, payload: bytes) -> None:
        self.far.send(b"!", payload)

    def far_close_with(self, code: int) -> None:
        self.far.send(b".", b"%d" % code)

    async def settle(self) -> None:
        await super().settle()
        for _ in range(len(self._published)):
            end, data = self._published.popleft()
            end.arrived(data)


@asynccontextmanager
async def broker_channel() -> AsyncGenerator[MessageChannel]:
    """Open one."""
    yield BrokerChannel()


# --- websockets -------------------------------------------------------------------------------------------------------


class WebSocketPeer(asyncio.Protocol, Log):
    """A server's connection over websockets' protocol without I/O; that answers pings and closes by itself."""

    transport: asyncio.Transport
    KINDS: Final = {Opcode.TEXT: "text_received", Opcode.PING: "ping_received", Opcode.PONG: "pong_received"}

    def __init__(self) -> None:
        super().__init__()
        self.wire = ServerProtocol(max_size=None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.wire.receive_data(data)
        for event in self.wire.events_received():
            if isinstance(event, Frame):
                self.hear(event)
            else:
                self.wire.send_response(self.wire.accept(cast("Request", event)))
        self.flush()

    def hear(self, frame: Frame) -> None:
        assert frame.fin, "these tests send no fragments"
        if frame.opcode is Opcode.CLOSE:
            self.tell("close_received", Close.parse(frame.data).code)
        else:
            self.tell(self.KINDS[frame.opcode], bytes(frame.data))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.wire.close_rcvd is None:
            self.tell("disconnected")

    def flush(self) -> None:
        for data in self.wire.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    def send(self, send: Callable[[], object]) -> None:
        if self.wire.state is State.OPEN:
            send()
            self.flush()


class WebSocketChannel(Log):
    """A channel over the page's transport on websockets; the far end is a server."""

    def __init__(self, port: int, far: WebSocketPeer) -> None:
        super().__init__()
        self.is_up = False
        self.far = far
        asked = Connect(CONN, "127.0.0.1", port, False, 0.0, "link")
        self.transport = transport("websockets")["Transport"](asked, self._tell)

    def _tell(self, happened: str, conn: int, *arguments: Any) -> None:
        if happened == "upgraded":
            self.is_up = True
        else:
            self.tell(happened, *arguments)

    def write(self, data: bytes) -> None:
        self.transport.carry_out(SendText(CONN, data))

    def ping(self, payload: bytes) -> None:
        self.transport.carry_out(SendPing(CONN, payload))

    def pong(self, payload: bytes) -> None:
        self.transport.carry_out(SendPong(CONN, payload))

    def close_with(self, code: int, reason: str) -> None:
        self.transport.carry_out(SendClose(CONN, code, reason))

    def close(self, *, abort: bool) -> None:
        self.transport.carry_out(Disconnect(CONN, abort))

    def pause_reading(self) -> None:
        self.transport.carry_out(PauseReading(CONN))

    def resume_reading(self) -> None:
        self.transport.carry_out(ResumeReading(CONN))

    @property
    def far_told(self) -> list[tuple[str, bytes | int]]:
        return self.far.told

    @property
    def far_unsent_bytes(self) -> int:
        return self.far.transport.get_write_buffer_size()

    def far_write(self, data: bytes) -> None:
        self.far.send(partial(self.far.wire.send_text, data))

    def far_ping(self, payload: bytes) -> None:
        self.far.send(partial(self.far.wire.send_ping, payload))

    def far_pong(self, payload: bytes) -> None:
        self.far.send(partial(self.far.wire.send_pong, payload))

    def far_close_with(self, code: int) -> None:
        self.far.send(partial(self.far.wire.send_close, None if code == 1005 else code))

    def far_close(self, *, abort: bool) -> None:
        if abort:
            self.far.transport.abort()
        else:
            self.far_close_with(1000)

    def far_pause_reading(self) -> None:
        self.far.transport.pause_reading()

    def far_resume_reading(self) -> None:
        self.far.transport.resume_reading()

    async def settle(self) -> None:
        for _ in range(5):  # turns of the loop
            await asyncio.sleep(0)
        self.transport.report()


@asynccontextmanager
async def websocket_channel() -> AsyncGenerator[MessageChannel]:
    """Open one over loopback."""
    far = WebSocketPeer()
    async with await asyncio.get_running_loop().create_server(lambda: far, "127.0.0.1", 0) as server:
        channel = WebSocketChannel(server.sockets[0].getsockname()[1], far)
        channel.transport.carry_out(SendUpgrade(CONN, 1, HttpRequest(method="GET", target="/")))
        while not channel.is_up:
            await channel.settle()
        yield channel
        channel.close(abort=True)
        far.transport.abort()
        await channel.settle()
