"""The bytes of one accepted connection: a task that reads, a task that writes, and how the two end.

Both feed the protocol directly. A turn of the owner (`turn`) takes no await from an input to the last effect of it.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream

from artcafe_anyio.connection import READ_BYTES, SEND_BYTES, TRANSPORT_ERRORS
from artcafe_anyio.errors import cause_of
from artcafe_anyio.levels import bound_send_buffer, socket_of, unacknowledged_bytes
from artcafe_anyio.loops import Flag, Scope
from artcafe_proto.levels import Level
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from anyio.abc import SocketStream

    from artcafe_proto import Instant, PlatformProtocol

MAX_UNSENT_BYTES: Final = 6 * 1024 * 1024
"""Of a peer that does not read: above all that the protocol writes ahead (LINK-8) and a stream may keep waiting
(PLAT-4); the connection is aborted."""
_NO_SOCKET: Final = (OSError, AttributeError, anyio.TypedAttributeLookupError)
"""The connection has ended already. AttributeError: uvloop has no socket of a transport that was closed."""


def peer_address(stream: SocketStream | TLSStream) -> str:
    """Where the peer is; empty if it has gone already."""
    with suppress(*_NO_SOCKET):
        peer = stream.extra(SocketAttribute.remote_address)  # noqa: S610 of anyio, not of Django
        return peer if isinstance(peer, str) else peer[0]
    return ""


class Connection(Level):
    """One connection, from the end of its TLS handshake until its socket is closed."""

    def __init__(
        self,
        stream: SocketStream | TLSStream,
        protocol: PlatformProtocol,
        turn: Callable[[Connection], AbstractContextManager[Instant]],
        *,
        close_timeout_s: float,
    ) -> None:
        super().__init__()
        self.protocol = protocol
        self._stream = stream
        self._sock = socket_of(stream)
        bound_send_buffer(self._sock)
        self._turn = turn
        self._close_timeout_s = close_timeout_s
        self._unsent = bytearray()
        self._in_flight_bytes = 0
        self._closing = False
        self._lingers = not isinstance(stream, TLSStream)  # TLS has no half-close
        self._something_to_do = Flag()
        self._may_read = Flag()
        self._may_read.set()
        self._scope = Scope()
        self._reading = Scope()

    @property
    def conn(self) -> int:
        """Its number."""
        return self.protocol.conn

    @property
    def buffered_bytes(self) -> int:
        """What was written and waits for the peer."""
        return len(self._unsent) + self._in_flight_bytes

    async def run(self) -> None:
        """Read and write until the connection is over. The caller then closes the stream forcefully."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write)
                    await self._read()
                with suppress(*TRANSPORT_ERRORS):
                    await self._stream.aclose()  # TLS says goodbye
        finally:
            with self._turn(self) as now:
                self.protocol.disconnected("closed", now)  # it knows already, unless this task failed

    @property
    def held_bytes(self) -> int:
        """What waits for the peer, and what has come of what is not whole; 0 once it is aborted."""
        return 0 if self._scope.is_cancelled else self.buffered_bytes + self.protocol.held_bytes

    # --- from the owner, while it carries out effects -----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data` after everything before it."""
        self.wrote(len(data))
        self._unsent += data
        self._something_to_do.set()

    def unsent_bytes(self) -> int:
        """What has not left: here and in the system."""
        return 0 if self._closing else self.buffered_bytes + unacknowledged_bytes(self._sock)

    def is_overrun(self) -> bool:
        """Whether more waits for this peer than may."""
        return self.buffered_bytes > MAX_UNSENT_BYTES and not self._closing

    def pause_reading(self) -> None:
        """Read no more, but for what is being received already."""
        if not self._closing:
            self._may_read.clear()

    def resume_reading(self) -> None:
        """Read again."""
        self._may_read.set()

    def hasten(self) -> None:
        """When closing do not wait until the peer ends its side too: it is in the middle of nothing."""
        self._lingers = False

    def close(self, *, abort: bool) -> None:
        """End the connection: at once, or after what was written, for which there are some seconds (LINK-8)."""
        self._closing = True
        if abort:
            with suppress(*_NO_SOCKET):  # the peer is to see a reset at once; nothing lingers in the kernel
                raw_socket = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610 this is not Django's
                raw_socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self._scope.cancel()
        else:
            self._scope.cancel_after(self._close_timeout_s)
            self._something_to_do.set()
            self._may_read.set()

    # --- the two tasks ------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Read until the peer ends its side.

        While closing, what still comes is dropped but taken: else the peer, which may be in the middle of a request,
        would get a reset and could lose the last answer to it (RFC 9112 section 9.6).
        """
        with self._reading:
            while True:
                while not self._may_read.is_set():  # it may have been paused again in the turn that resumed it
                    await self._may_read.wait()
                try:
                    data = await self._stream.receive(READ_BYTES)
                except anyio.EndOfStream:
                    break
                except TRANSPORT_ERRORS as error:
                    self._lost(error)
                    return
                if not data:  # as sockets tell it
                    break
                if not self._closing:
                    with self._turn(self) as now:
                        self.protocol.data_received(data, now)
            if not self._closing:
                with self._turn(self) as now:
                    self.protocol.eof_received(now)

    async def _write(self) -> None:
        """Write what there is, until the connection is closing and all is written."""
        try:
            while self._unsent or not self._closing:
                if self._unsent:
                    await self._send()
                else:
                    self._something_to_do.clear()
                    await self._something_to_do.wait()
            if self._lingers:
                await self._stream.send_eof()
            else:
                self._reading.cancel()
        except TRANSPORT_ERRORS as error:
            self._lost(error)

    async def _send(self) -> None:
        data = bytes(self._unsent[:SEND_BYTES])
        del self._unsent[:SEND_BYTES]
        self._in_flight_bytes = len(data)
        await self._stream.send(data)
        self._in_flight_bytes = 0
        if not self._closing and not self._unsent and self.has_drained():
            with self._turn(self):
                pass  # the level is looked at

    def _lost(self, error: Exception) -> None:
        if not self._closing:
            self._closing = True
            with self._turn(self) as now:
                self.protocol.disconnected(_reason(error), now)
        self._scope.cancel()


def _reason(error: Exception) -> str:
    """For people: what the system said, where anyio wraps it."""
    cause = cause_of(error)
    return text_of(cause) or type(cause).__name__
