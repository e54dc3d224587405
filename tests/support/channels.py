"""Channels of bytes for `check_channel`: over the transport in memory of docs/transports.md, and over our own."""

from __future__ import annotations

import math
import re
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc

from artcafe_anyio.clocks import read_clocks
from artcafe_anyio.connection import StreamConnection
from artcafe_anyio.threads import Threads
from artcafe_anyio.transports import TransportConnection
from artcafe_proto import Driver
from artcafe_proto.effects import Connect
from artcafe_proto.testing import Channel

CONN: Final = 1
_DOCS: Final = Path(__file__).parents[2] / "docs"


def printed(name: str, page: str = "transports.md") -> str:
    """A program of a page, without what starts it."""
    found = re.search(rf"<!-- transport: {name} -->\n```python\n(.*?)```", (_DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1].partition("\n# Run it: ")[0]


def transport(*parts: str, page: str = "transports.md") -> dict[str, Any]:
    """The names of a program of a page, which is run as it is printed, part by part."""
    names: dict[str, Any] = {}
    for part in parts:
        exec(compile(printed(part, page), part, "exec"), names)
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


class TwoEnds:
    """The part of a channel whose both ends, `near` and `far`, are of one kind."""

    near: Any
    far: Any

    def close(self, *, abort: bool) -> None:
        self.near.close(abort=abort)

    def pause_reading(self) -> None:
        self.near.reads = False

    def resume_reading(self) -> None:
        self.near.reads = True

    def far_close(self, *, abort: bool) -> None:
        self.far.close(abort=abort)

    def far_pause_reading(self) -> None:
        self.far.reads = False

    def far_resume_reading(self) -> None:
        self.far.reads = True

    async def settle(self) -> None:
        self.near.flow()
        self.far.flow()


class MemoryChannel(TwoEnds, Told):
    """A channel over two pipes of the page: `near` tells this object, and `far` tells `far_told`."""

    def __init__(self) -> None:
        super().__init__()
        self.far_told = Told()
        pipe = transport("memory")["Pipe"]
        self.near, self.far = pipe(self), pipe(self.far_told)
        self.near.far, self.far.far = self.far, self.near

    def write(self, data: bytes) -> None:
        self.near.write(data)

    @property
    def far_received(self) -> list[bytes]:
        return self.far_told.received

    @property
    def far_has_ended(self) -> bool:
        return self.far_told.ends > 0

    @property
    def far_unsent_bytes(self) -> int:
        return self.far_told.unsent_bytes

    def far_write(self, data: bytes) -> None:
        self.far.write(data)


@asynccontextmanager
async def memory_channel() -> AsyncGenerator[Channel]:
    """Open one."""
    yield MemoryChannel()


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

    @property
    def far_unsent_bytes(self) -> int:
        return len(self._far_unsent)

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
