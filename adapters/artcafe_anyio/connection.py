"""A byte stream of anyio at work, for both roles: a task that reads, one that writes, and how the two end.

Both feed the protocol directly. A turn of its driver takes no await from an input to the last effect of it.
"""

from __future__ import annotations

import ssl
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.tls import TLSStream

from artcafe_anyio.connecting import ConnectError
from artcafe_anyio.errors import wrapped_in
from artcafe_anyio.levels import bound_send_buffer, socket_of, unacknowledged_bytes
from artcafe_anyio.loops import Flag, Scope
from artcafe_anyio.tls_failures import explain
from artcafe_proto import Connection
from artcafe_proto.causes import told_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

    from artcafe_anyio.levels import AnySocket
    from artcafe_proto import Driver
    from artcafe_proto.effects import Connect

READ_BYTES: Final = 65_536
SEND_BYTES: Final = 64 * 1024
"""Sent at once at most, so that its progress is seen (LINK-8)."""
TRANSPORT_ERRORS: Final = (
    OSError,  # ssl.SSLError is one
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.BusyResourceError,  # TLS wants to send while it reads, and something is being sent
    RuntimeError,  # uvloop's, of a transport that was closed
)
"""What a stream raises once its connection has ended, in both roles."""


class ReadBuffer(threading.local):
    """What the connections of an event loop read into; it is emptied before anything else can be read.

    Each thread has its own: the loop of another one may read at the same time.
    """

    def __init__(self, size_bytes: int) -> None:
        self.view: Final = memoryview(bytearray(size_bytes))


class StreamShell(ABC):
    """A stream that is read and written. After `close` it tells nothing that comes in, and nothing that goes wrong.

    A subclass says whom it tells, and is a `Level`.
    """

    def __init__(self) -> None:
        self._is_open = False
        self._sock: AnySocket | None = None
        self._unsent = bytearray()
        self._in_flight_bytes = 0
        self._closing = False
        self._lingers = True
        self._something_to_do = Flag()
        self._may_read = Flag()
        self._may_read.set()
        self._scope = Scope()
        self._reading = Scope()

    # --- what a subclass is told --------------------------------------------------------------------------------------

    @abstractmethod
    def _received(self, data: bytes) -> None:
        """Bytes came in."""

    @abstractmethod
    def _peer_ended(self) -> None:
        """The peer has ended its side."""

    @abstractmethod
    def _failed(self, reason: str) -> None:
        """The connection has ended; it is told once."""

    def _reason(self, error: Exception) -> str:
        """For people: why it has ended."""
        return told_by(error)

    @abstractmethod
    def _drained(self) -> None:
        """All that was written has been sent."""

    # --- from a driver, while it carries out effects ------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data` after everything before it."""
        self._unsent += data
        self._something_to_do.set()

    @property
    def buffered_bytes(self) -> int:
        """What was written and waits for the peer."""
        return len(self._unsent) + self._in_flight_bytes

    def unsent_bytes(self) -> int:
        """What has not left: here and in the system."""
        return 0 if self._closing else self.buffered_bytes + unacknowledged_bytes(self._sock)

    def pause_reading(self) -> None:
        """Read no more, but for what is being received already."""
        if not self._closing:
            self._may_read.clear()

    def resume_reading(self) -> None:
        """Read again."""
        self._may_read.set()

    def close(self, *, abort: bool) -> None:
        """End the connection: at once, or after what was written. Whoever calls it watches how long that takes."""
        self._closing = True
        if abort or not self._is_open:
            self._scope.cancel()
        else:
            self._something_to_do.set()
            self._may_read.set()

    # --- the two tasks ------------------------------------------------------------------------------------------------

    def _begin(self, stream: ByteStream) -> None:
        self._is_open = True
        self._sock = socket_of(stream)
        bound_send_buffer(self._sock)
        self._lingers = not isinstance(stream, TLSStream)  # TLS has no half-close

    async def _work(self, stream: ByteStream) -> None:
        """Read and write until the connection is over."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._write, stream)
            await self._read(stream)
        with suppress(*TRANSPORT_ERRORS):
            await stream.aclose()  # TLS says goodbye

    async def _read(self, stream: ByteStream) -> None:
        """Read until the peer ends its side.

        While closing, what still comes is dropped but taken: closing a socket with unread bytes sends a reset, which
        can cost the peer the last that was written to it (RFC 9112 section 9.6).
        """
        with self._reading:
            while True:
                while not self._may_read.is_set():  # it may have been paused again in the turn that resumed it
                    await self._may_read.wait()
                try:
                    data = await stream.receive(READ_BYTES)
                except anyio.EndOfStream:
                    break
                except TRANSPORT_ERRORS as error:
                    self._lost(self._reason(error))
                    return
                if not data:  # as sockets tell it
                    break
                if not self._closing:
                    self._received(data)
            if not self._closing:
                self._peer_ended()

    async def _write(self, stream: ByteStream) -> None:
        """Write what there is, until the connection is closing and all is written."""
        try:
            while self._unsent or not self._closing:
                if self._unsent:
                    await self._send(stream)
                else:
                    self._something_to_do.clear()
                    await self._something_to_do.wait()
            if self._lingers:
                await stream.send_eof()
            else:
                self._reading.cancel()
        except TRANSPORT_ERRORS as error:
            self._lost(self._reason(error))

    async def _send(self, stream: ByteStream) -> None:
        data = bytes(self._unsent[:SEND_BYTES])
        del self._unsent[:SEND_BYTES]
        self._in_flight_bytes = len(data)
        await stream.send(data)
        self._in_flight_bytes = 0
        if not self._closing and not self._unsent:
            self._drained()

    def _lost(self, reason: str) -> None:
        if not self._closing:
            self._closing = True
            self._failed(reason)
        self._scope.cancel()


class StreamConnection(StreamShell, Connection):
    """One connection of the agent, from `Connect` until its stream is closed."""

    def __init__(
        self,
        driver: Driver,
        asked: Connect,
        *,
        open_stream: Callable[[Connect], Awaitable[ByteStream]],
    ) -> None:
        Connection.__init__(self, driver, asked)
        StreamShell.__init__(self)
        self._open_stream = open_stream
        self._is_awaited = False

    async def run(self) -> None:
        """Open, read and write until the connection is over; its socket is closed then."""
        with self._scope:
            stream = await self._open()
            if stream is not None:
                try:
                    await self._work(stream)
                finally:
                    with suppress(*TRANSPORT_ERRORS):
                        await anyio.aclose_forcefully(stream)
        if self._is_awaited:
            self.driver.disconnected(self.conn)

    def close(self, *, abort: bool) -> None:
        """End the connection: at once, or after what was written. The driver is told when it is over."""
        self._is_awaited = True
        super().close(abort=abort)

    async def _open(self) -> ByteStream | None:
        try:
            stream = await self._open_stream(self.asked)
        except ConnectError as error:
            if not self._closing:
                self.driver.connect_failed(self.conn, error.detail, error.cause)
            return None
        self._begin(stream)
        self.driver.connected(self.conn, tls=self.asked.tls)
        return stream

    def _received(self, data: bytes) -> None:
        self.driver.data_received(self.conn, data)

    def _peer_ended(self) -> None:
        self.driver.data_received(self.conn, b"")
        if not self._closing:  # nothing is said to a platform that has ended its side
            self._lost("the peer closed it")

    def _failed(self, reason: str) -> None:
        self.driver.disconnected(self.conn, reason)

    def _reason(self, error: Exception) -> str:
        return reason_of(error, self.asked.host)

    def _drained(self) -> None:
        if self.drained():
            with self.driver.own_turn():
                pass  # the level is looked at


def reason_of(error: Exception | None, host: str) -> str:
    """For people: why a connection with `host` has ended."""
    if error is None:
        return "the peer closed it"
    cause = wrapped_in(error)
    if isinstance(cause, ssl.SSLError):  # TLS 1.3 tells only after the handshake what is wrong with a client's side
        return explain(cause, host)
    return told_by(error)
