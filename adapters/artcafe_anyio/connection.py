"""One connection of the agent, from `Connect` until its socket is closed: a task that opens and reads, one that writes.

Both feed the protocol directly. A turn of the driver (`turn`) takes no await from an input to the last effect of it.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
from anyio.streams.tls import TLSStream

from artcafe_anyio.connecting import ConnectError
from artcafe_anyio.errors import cause_of
from artcafe_anyio.levels import Level, bound_send_buffer, socket_of, unacknowledged_bytes
from artcafe_anyio.loops import Flag, Scope
from artcafe_anyio.tls_failures import explain
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from anyio.abc import ByteStream

    from artcafe_anyio.levels import AnySocket
    from artcafe_proto import AgentProtocol, Instant
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


class Connection(Level):
    """One connection. After `close` it tells the protocol nothing more."""

    def __init__(
        self,
        asked: Connect,
        protocol: AgentProtocol,
        turn: Callable[[], AbstractContextManager[Instant]],
        open_stream: Callable[[Connect], Awaitable[ByteStream]],
    ) -> None:
        super().__init__()
        self.conn: Final = asked.conn
        self._asked = asked
        self._protocol = protocol
        self._turn = turn
        self._open_stream = open_stream
        self._is_open = False
        self._closing = False
        self._unsent = bytearray()
        self._unsent_bytes = 0  # what is being sent included
        self._sock: AnySocket | None = None
        self._something_to_do = Flag()
        self._may_read = Flag()
        self._may_read.set()
        self._scope = Scope()
        self._reading = Scope()

    async def run(self) -> None:
        """Open, read and write until the connection is over; its socket is closed then."""
        with self._scope:
            stream = await self._open()
            if stream is None:
                return
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write, stream)
                    await self._read(stream)
                with suppress(*TRANSPORT_ERRORS):
                    await stream.aclose()  # TLS says goodbye
            finally:
                with suppress(*TRANSPORT_ERRORS):
                    await anyio.aclose_forcefully(stream)

    # --- from the driver, while it carries out effects ----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data` after everything before it."""
        self.wrote(len(data))
        self._unsent += data
        self._unsent_bytes += len(data)
        self._something_to_do.set()

    def measure(self) -> int:
        """What has not left: here and in the system."""
        return 0 if self._closing else self._unsent_bytes + unacknowledged_bytes(self._sock)

    def pause_reading(self) -> None:
        """Read no more, but for what is being received already."""
        if not self._closing:
            self._may_read.clear()

    def resume_reading(self) -> None:
        """Read again."""
        self._may_read.set()

    def close(self, *, abort: bool, timeout_s: float) -> None:
        """End the connection: at once, or after what was written, for which there is some time (LINK-8)."""
        self._closing = True
        if abort or not self._is_open:
            self._scope.cancel()
        else:
            self._scope.cancel_after(timeout_s)
            self._something_to_do.set()
            self._may_read.set()

    # --- the two tasks ------------------------------------------------------------------------------------------------

    async def _open(self) -> ByteStream | None:
        try:
            stream = await self._open_stream(self._asked)
        except ConnectError as error:
            if not self._closing:
                self._closing = True
                with self._turn() as now:
                    self._protocol.connect_failed(self.conn, error.cause, error.detail, now)
            return None
        self._is_open = True
        self._sock = socket_of(stream)
        bound_send_buffer(self._sock)
        with self._turn() as now:
            self._protocol.connected(self.conn, now, tls=self._asked.tls)
        return stream

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
                    self._lost(reason_of(error, self._asked.host))
                    return
                if not data:  # as sockets tell it
                    break
                if not self._closing:
                    with self._turn() as now:
                        self._protocol.data_received(self.conn, data, now)
            if not self._closing:
                with self._turn() as now:
                    self._protocol.eof_received(self.conn, now)
            if not self._closing:  # nothing is said to a platform that has ended its side
                self._lost("the peer closed it")

    async def _write(self, stream: ByteStream) -> None:
        """Write what there is, until the connection is closing and all is written."""
        try:
            while self._unsent or not self._closing:
                if self._unsent:
                    await self._send(stream)
                else:
                    self._something_to_do.clear()
                    await self._something_to_do.wait()
            if isinstance(stream, TLSStream):  # which has no half-close
                self._reading.cancel()
            else:
                await stream.send_eof()
        except TRANSPORT_ERRORS as error:
            self._lost(reason_of(error, self._asked.host))

    async def _send(self, stream: ByteStream) -> None:
        data = bytes(self._unsent[:SEND_BYTES])
        del self._unsent[:SEND_BYTES]
        await stream.send(data)
        self._unsent_bytes -= len(data)
        if not self._closing and not self._unsent and self.has_drained():
            with self._turn():
                pass  # the level is looked at

    def _lost(self, reason: str) -> None:
        if not self._closing:
            self._closing = True
            with self._turn() as now:
                self._protocol.disconnected(self.conn, reason, now)
        self._scope.cancel()


def reason_of(error: BaseException | None, host: str) -> str:
    """For people: why a connection with `host` has ended; what the system said, where anyio wraps it."""
    if error is None:
        return "the peer closed it"
    cause = cause_of(error)
    if isinstance(cause, ssl.SSLError):  # TLS 1.3 tells only after the handshake what is wrong with a client's side
        return explain(cause, host)
    return text_of(cause) or type(cause).__name__
