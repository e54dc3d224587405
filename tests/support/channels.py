"""Channels for `check_channel`: over the transports of docs/transports.md, and over our own."""

from __future__ import annotations

import asyncio
import math
import re
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import websockets.asyncio.server
import websockets.exceptions

from artcafe_anyio.clocks import read_clocks
from artcafe_anyio.connection import StreamConnection
from artcafe_anyio.threads import Threads
from artcafe_anyio.transports import TransportConnection
from artcafe_proto import Driver, HttpRequest
from artcafe_proto.effects import Connect, Disconnect, PauseReading, ResumeReading, SendText, SendUpgrade
from artcafe_proto.testing import Channel

CONN: Final = 1
_PAGE: Final = Path(__file__).parents[2] / "docs" / "transports.md"


def printed(name: str) -> str:
    """A program of the page, without what starts it."""
    found = re.search(rf"<!-- transport: {name} -->\n```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1].partition("\n# Run it: ")[0]


def transport(name: str) -> dict[str, Any]:
    """The names of a program of the page, which is run as it is printed."""
    names: dict[str, Any] = {}
    exec(compile(printed(name), name, "exec"), names)
    return names


class Told:
    """What an end of a channel was told: it stands in for a protocol's one connection."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.ends = 0
        self.unsent_bytes = 0

    def data_received(self, data: bytes) -> None:
        self.received.append(data)

    def disconnected(self, reason: str) -> None:
        self.ends += 1

    def unsent(self, nbytes: int) -> None:
        self.unsent_bytes = nbytes


# --- in memory --------------------------------------------------------------------------------------------------------


class TwoEnds(Told):
    """A channel whose both ends are of one kind: `near`, which tells this object, and `far`, which tells `far_told`."""

    def __init__(self) -> None:
        super().__init__()
        self.far_told = Told()
        self.near: Any
        self.far: Any

    def close(self, *, abort: bool) -> None:
        self.near.close(abort=abort)

    def pause_reading(self) -> None:
        self.near.reads = False

    def resume_reading(self) -> None:
        self.near.reads = True

    @property
    def far_received(self) -> list[bytes]:
        return self.far_told.received

    @property
    def far_has_ended(self) -> bool:
        return self.far_told.ends > 0

    def far_close(self, *, abort: bool) -> None:
        self.far.close(abort=abort)

    def far_pause_reading(self) -> None:
        self.far.reads = False

    def far_resume_reading(self) -> None:
        self.far.reads = True

    async def settle(self) -> None:
        self.near.flow()
        self.far.flow()


class MemoryChannel(TwoEnds):
    """A channel over two pipes of the page."""

    def __init__(self) -> None:
        super().__init__()
        pipe = transport("memory")["Pipe"]
        self.near, self.far = pipe(self), pipe(self.far_told)
        self.near.far, self.far.far = self.far, self.near

    def write(self, data: bytes) -> None:
        self.near.write(data)

    def far_write(self, data: bytes) -> None:
        self.far.write(data)


@asynccontextmanager
async def memory_channel() -> AsyncGenerator[Channel]:
    """Open one."""
    yield MemoryChannel()


# --- over a broker ----------------------------------------------------------------------------------------------------


class BrokerChannel(TwoEnds):
    """A channel between two ends of the page's link; what each publishes arrives with the next `settle`."""

    def __init__(self) -> None:
        super().__init__()
        link: Any = transport("broker")["LinkEnd"]
        self._published: deque[tuple[Any, bytes]] = deque()

        def to_far(data: bytes) -> None:
            self._published.append((self.far, data))

        def to_near(data: bytes) -> None:
            self._published.append((self.near, data))

        self.near, self.far = link(to_far, self._teller(self)), link(to_near, self._teller(self.far_told))

    @staticmethod
    def _teller(told: Told) -> Callable[..., None]:
        def tell(happened: str, *arguments: Any) -> None:
            match happened:
                case "text_received":
                    told.data_received(arguments[0])
                case "close_received":
                    told.ends += 1
                case "unsent":
                    told.unsent(arguments[0])
                case _:
                    assert happened == "bytes_received"

        return tell

    def write(self, data: bytes) -> None:
        self.near.send(b"=", data)

    def far_write(self, data: bytes) -> None:
        self.far.send(b"=", data)

    async def settle(self) -> None:
        await super().settle()
        for _ in range(len(self._published)):
            end, data = self._published.popleft()
            end.arrived(data)


@asynccontextmanager
async def broker_channel() -> AsyncGenerator[Channel]:
    """Open one."""
    yield BrokerChannel()


# --- our own, over sockets --------------------------------------------------------------------------------------------


class SocketChannel:
    """A channel over `artcafe_anyio`'s connection; the far end is a plain socket."""

    def __init__(self, make: Connector, server: socket.socket) -> None:
        self.received: list[bytes] = []
        self.ends = 0
        self.unsent_bytes = 0
        self.far_received: list[bytes] = []
        self.far_has_ended = False
        self._far: socket.socket
        self._far_unsent = bytearray()
        self._far_reads, self._far_closes = True, False
        driver: Any = self  # it has what a connection calls
        host, port = server.getsockname()
        self.connection = make(driver, Connect(CONN, host, port, False, math.inf, "link"))
        self._is_closed = False
        self._opened = anyio.Event()

    async def open(self, server: socket.socket, tasks: anyio.abc.TaskGroup) -> None:
        """Connect both ends."""
        tasks.start_soon(self.connection.run)
        await self._opened.wait()
        self._far, _ = server.accept()
        self._far.setblocking(False)

    def connected(self, conn: int, *, tls: bool) -> None:
        self._opened.set()

    def data_received(self, conn: int, data: bytes) -> None:
        if data:  # else `disconnected` follows
            self.received.append(data)

    def disconnected(self, conn: int, error: object = None) -> None:
        self.ends += not self._is_closed

    def own_turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def write(self, data: bytes) -> None:
        self.connection.wrote(len(data))
        self.connection.write(data)
        self._look()

    def _look(self) -> None:
        """What a driver does at the end of each turn, and when it is time."""
        now = anyio.current_time()
        level = self.connection.level(now) if self.connection.look_at <= now else None
        self.unsent_bytes = self.unsent_bytes if level is None else level

    def close(self, *, abort: bool) -> None:
        self._is_closed = True
        self.connection.close(abort=abort)

    def pause_reading(self) -> None:
        self.connection.pause_reading()

    def resume_reading(self) -> None:
        self.connection.resume_reading()

    def far_write(self, data: bytes) -> None:
        self._far_unsent += data

    def far_close(self, *, abort: bool) -> None:
        self._far_closes = True
        if abort:
            with suppress(OSError):  # it is closed already
                self._far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._far.close()

    def far_pause_reading(self) -> None:
        self._far_reads = False

    def far_resume_reading(self) -> None:
        self._far_reads = True

    async def settle(self) -> None:
        with suppress(OSError):  # it has no more room, or has ended
            while self._far_unsent:
                del self._far_unsent[: self._far.send(self._far_unsent)]
            if self._far_closes:
                self._far.shutdown(socket.SHUT_WR)
        while self._far_reads and not self.far_has_ended:
            try:
                data = self._far.recv(65_536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self.far_has_ended = not data
            self.far_received.append(data)
        await anyio.sleep(0.001)
        self._look()


def streams(driver: Driver, asked: Connect) -> StreamConnection:
    """On anyio's streams."""
    return StreamConnection(driver, asked, open_stream=lambda asked: anyio.connect_tcp(asked.host, asked.port))


def transports(driver: Driver, asked: Connect) -> TransportConnection:
    """On asyncio's transports."""
    return TransportConnection(driver, asked, trust=None, threads=Threads(), clock=read_clocks)


Connector = Callable[[Driver, Connect], StreamConnection | TransportConnection]


@asynccontextmanager
async def socket_channel(make: Connector) -> AsyncGenerator[Channel]:
    """Open one over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = SocketChannel(make, server)
        async with anyio.create_task_group() as tasks:
            await channel.open(server, tasks)
            yield channel
            channel.far_close(abort=True)
            tasks.cancel_scope.cancel()


# --- websockets -------------------------------------------------------------------------------------------------------


class WebSocketChannel(Told):
    """A channel over the page's transport on websockets; the far end is a server of that library."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.far_received: list[bytes] = []
        self.far_has_ended = False
        self.is_up = False
        self._far: websockets.asyncio.server.ServerConnection | None = None
        self._far_unsent = asyncio.Queue[bytes]()
        self._far_may_read = asyncio.Event()
        self._far_may_read.set()
        asked = Connect(CONN, "127.0.0.1", port, False, 0.0, "link")
        self.transport = transport("websockets")["Transport"](asked, self._tell)

    def _tell(self, happened: str, conn: int, *arguments: Any) -> None:
        match happened:
            case "upgraded":
                self.is_up = True
            case "text_received":
                self.received.append(arguments[0])
            case "disconnected" | "close_received":
                self.ends += 1
            case "unsent":
                self.unsent_bytes = arguments[0]
            case _:
                assert happened == "bytes_received"

    def write(self, data: bytes) -> None:
        self.transport.carry_out(SendText(CONN, data))

    def close(self, *, abort: bool) -> None:
        self.transport.carry_out(Disconnect(CONN, abort))

    def pause_reading(self) -> None:
        self.transport.carry_out(PauseReading(CONN))

    def resume_reading(self) -> None:
        self.transport.carry_out(ResumeReading(CONN))

    def far_write(self, data: bytes) -> None:
        self._far_unsent.put_nowait(data)

    def far_close(self, *, abort: bool) -> None:
        assert self._far is not None
        if abort:
            self._far.transport.abort()
        else:
            self._far_unsent.put_nowait(b"")

    def far_pause_reading(self) -> None:
        self._far_may_read.clear()

    def far_resume_reading(self) -> None:
        self._far_may_read.set()

    async def settle(self) -> None:
        await asyncio.sleep(0.001)
        self.transport.report()

    async def serve(self, far: websockets.asyncio.server.ServerConnection) -> None:
        """The far end."""
        self._far = far
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._far_send(far))
            with suppress(websockets.exceptions.ConnectionClosed):
                while await self._far_may_read.wait():
                    self.far_received.append(await far.recv(decode=False))
            self.far_has_ended = True
            sending.cancel()

    async def _far_send(self, far: websockets.asyncio.server.ServerConnection) -> None:
        with suppress(websockets.exceptions.ConnectionClosed):
            while data := await self._far_unsent.get():
                await far.send(data, text=True)
            await far.close()


@asynccontextmanager
async def websocket_channel() -> AsyncGenerator[Channel]:
    """Open one over loopback."""
    channels: list[WebSocketChannel] = []
    async with websockets.asyncio.server.serve(
        lambda far: channels[0].serve(far), "127.0.0.1", 0, compression=None, ping_interval=None, max_queue=1
    ) as server:
        channel = WebSocketChannel(next(iter(server.sockets)).getsockname()[1])
        channels.append(channel)
        channel.transport.carry_out(SendUpgrade(CONN, 1, HttpRequest(method="GET", target="/")))
        while not channel.is_up:
            await channel.settle()
        yield channel
        channel.far_resume_reading()
        channel.resume_reading()
        channel.close(abort=True)
