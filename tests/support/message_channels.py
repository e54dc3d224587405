"""Channels of messages for `check_channel`, over the transports of docs/transports.md."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from artcafe_proto import AgentConfig, HttpRequest
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
                self.told.append(("bytes", b""))


class CarriedOut(Log):
    """The near end of a channel: `near` carries out what the check asks for, and tells this object."""

    near: Any

    def write(self, data: bytes) -> None:
        self.near.carry_out(SendText(CONN, data))

    def ping(self, payload: bytes) -> None:
        self.near.carry_out(SendPing(CONN, payload))

    def pong(self, payload: bytes) -> None:
        self.near.carry_out(SendPong(CONN, payload))

    def close_with(self, code: int, reason: str) -> None:
        self.near.carry_out(SendClose(CONN, code, reason))

    def close(self, *, abort: bool) -> None:
        self.near.carry_out(Disconnect(CONN, abort))

    def pause_reading(self) -> None:
        self.near.carry_out(PauseReading(CONN))

    def resume_reading(self) -> None:
        self.near.carry_out(ResumeReading(CONN))


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


class PingsAreTold(Protocol):
    """The protocol answers no ping by itself."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PING:
            self.events.append(frame)
        else:
            super().recv_frame(frame)


class ClientWire(PingsAreTold, ClientProtocol):
    pass


class ServerWire(PingsAreTold, ServerProtocol):
    pass


class WebSocketEnd(asyncio.Protocol, Log):
    """One end of a link over websockets' protocols without I/O, in either role: a transport that keeps the rules."""

    transport: asyncio.Transport
    KINDS: Final = {Opcode.TEXT: "text_received", Opcode.PING: "ping_received", Opcode.PONG: "pong_received"}

    def __init__(self, wire: ClientProtocol | ServerProtocol) -> None:
        super().__init__()
        self.wire = wire
        self.is_over = False
        """Nothing more is told."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if isinstance(self.wire, ClientProtocol):
            self.wire.send_request(self.wire.connect())
            self.flush()

    def data_received(self, data: bytes) -> None:
        if not self.is_over:
            self.tell("bytes_received")
        self.wire.receive_data(data)
        for event in self.wire.events_received():
            if isinstance(event, Frame):
                self.hear(event)
            elif isinstance(self.wire, ServerProtocol):
                self.wire.send_response(self.wire.accept(cast("Request", event)))
        self.flush()

    def hear(self, frame: Frame) -> None:
        assert frame.fin, "these tests send no fragments"
        if self.is_over:
            return
        if frame.opcode is Opcode.CLOSE:
            self.tell("close_received", Close.parse(frame.data).code)
            self.is_over = True
        else:
            self.tell(self.KINDS[frame.opcode], bytes(frame.data))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_over:
            self.is_over = True
            self.tell("disconnected")

    def flush(self) -> None:
        for data in self.wire.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    @property
    def is_up(self) -> bool:
        return self.wire.state is State.OPEN and not self.transport.is_closing()

    def send(self, send: Callable[[], object]) -> None:
        if self.is_up:
            send()
            self.flush()

    def close_with(self, code: int, reason: str = "") -> None:
        self.send(partial(self.wire.send_close, None if code == 1005 else code, reason))

    def close(self, *, abort: bool) -> None:
        self.is_over = True
        if abort:
            self.transport.abort()
        else:
            self.close_with(1000)
            self.transport.resume_reading()  # until the peer has read all, and closes


class FarWebSocket:
    """The part of a channel whose far end is one of these."""

    far: WebSocketEnd

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
        self.far.close_with(code)

    def far_close(self, *, abort: bool) -> None:
        if abort:
            self.far.transport.abort()
        else:
            self.far_close_with(1000)

    def far_pause_reading(self) -> None:
        self.far.transport.pause_reading()

    def far_resume_reading(self) -> None:
        self.far.transport.resume_reading()


class WebSocketsChannel(FarWebSocket):
    """A channel between two of these ends."""

    def __init__(self, near: WebSocketEnd, far: WebSocketEnd) -> None:
        self.near, self.far = near, far
        self.unsent_bytes = 0

    @property
    def told(self) -> list[tuple[str, bytes | int]]:
        return self.near.told

    def write(self, data: bytes) -> None:
        self.near.send(partial(self.near.wire.send_text, data))

    def ping(self, payload: bytes) -> None:
        self.near.send(partial(self.near.wire.send_ping, payload))

    def pong(self, payload: bytes) -> None:
        self.near.send(partial(self.near.wire.send_pong, payload))

    def close_with(self, code: int, reason: str) -> None:
        self.near.close_with(code, reason)

    def close(self, *, abort: bool) -> None:
        self.near.close(abort=abort)

    def pause_reading(self) -> None:
        self.near.transport.pause_reading()

    def resume_reading(self) -> None:
        self.near.transport.resume_reading()

    async def settle(self) -> None:
        await turns_of_the_loop()
        self.unsent_bytes = self.near.transport.get_write_buffer_size()


async def turns_of_the_loop() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def websockets_channel(
    role: str,
    kind: type[WebSocketsChannel] = WebSocketsChannel,
    *,
    agents: type[ClientProtocol] = ClientWire,
    platforms: type[ServerProtocol] = ServerWire,
) -> AsyncGenerator[MessageChannel]:
    """Open one over loopback, whose near end has a role: `agent` or `platform`."""
    agent, platform = WebSocketEnd(agents(parse_uri("ws://localhost"))), WebSocketEnd(platforms())
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: platform, "127.0.0.1", 0) as server:
        await loop.create_connection(lambda: agent, *server.sockets[0].getsockname())
        while agent.wire.state is not State.OPEN:
            await turns_of_the_loop()
        yield kind(agent, platform) if role == "agent" else kind(platform, agent)
        for end in (agent, platform):
            end.transport.abort()
        await turns_of_the_loop()


class PrintedChannel(FarWebSocket, CarriedOut):
    """A channel over the page's transport on websockets; the far end is a server."""

    def __init__(self, port: int, far: WebSocketEnd) -> None:
        super().__init__()
        self.is_up = False
        self.far = far
        asked = Connect(CONN, "127.0.0.1", port, False, 0.0, "link")
        config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint="http://localhost")
        self.near = transport("websockets")["Transport"](asked, config, self._tell)

    def _tell(self, happened: str, conn: int, *arguments: Any, **named: Any) -> None:
        match happened:
            case "connected":
                self.near.carry_out(SendUpgrade(CONN, 1, HttpRequest(method="GET", target="/")))
            case "upgraded":
                self.is_up = True
            case "peer_ended":
                self.tell("disconnected")
            case _:
                self.tell(happened, *arguments)

    async def settle(self) -> None:
        await turns_of_the_loop()
        self.near.pause_writing()


@asynccontextmanager
async def printed_websocket_channel() -> AsyncGenerator[MessageChannel]:
    """Open one over loopback."""
    far = WebSocketEnd(ServerWire())
    async with await asyncio.get_running_loop().create_server(lambda: far, "127.0.0.1", 0) as server:
        channel = PrintedChannel(server.sockets[0].getsockname()[1], far)
        while not channel.is_up:
            await turns_of_the_loop()
        yield channel
        channel.close(abort=True)
        far.transport.abort()
        await channel.settle()
