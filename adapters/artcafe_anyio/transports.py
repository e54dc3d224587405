"""One connection of the agent on asyncio, by a transport of its loop: the same as `StreamConnection`, but faster.

There is no task that reads and none that writes. What comes in is read into one buffer and handed on in the callback
that tells of it. What goes out is written at once: the protocol has put together all that follows from an input.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, cast

import anyio

from artcafe_anyio.connecting import ConnectError, context_of, open_tcp, system_text
from artcafe_anyio.connection import SEND_BYTES, ReadBuffer, reason_of
from artcafe_anyio.levels import bound_send_buffer, unacknowledged_bytes
from artcafe_anyio.loops import Scope
from artcafe_proto import Connection

if TYPE_CHECKING:
    import ssl

    from artcafe_anyio.clocks import Clock
    from artcafe_anyio.credentials import Trust
    from artcafe_anyio.levels import AnySocket
    from artcafe_anyio.threads import Threads
    from artcafe_proto import Driver
    from artcafe_proto.effects import Connect

READ_BYTES: Final = 256 * 1024
_buffer: Final = ReadBuffer(READ_BYTES)
_NEVER_S: Final = 1e6
"""For what asyncio would end by a time of its own, and we by ours."""


class TransportConnection(asyncio.BufferedProtocol, Connection):
    """One connection. After `close` it tells the protocol nothing more."""

    def __init__(
        self,
        driver: Driver,
        asked: Connect,
        *,
        trust: Trust | None,
        threads: Threads,
        clock: Clock,
    ) -> None:
        Connection.__init__(self, driver, asked)
        self._trust = trust
        self._threads = threads
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._early = bytearray()  # what came before the transport was looked at
        self._sock: AnySocket | None = None
        self._closing = False
        self._is_awaited = False
        self._peer_ended = False
        self._unsent = bytearray()
        self._piece_waits = False  # the transport could not send it all yet
        self._over = asyncio.Event()
        self._ended_by: Exception | None = None
        self._scope = Scope()

    async def run(self) -> None:
        """Open the connection and wait until it is over; its socket is closed then."""
        with self._scope:
            try:
                await self._open()
                await self._over.wait()
            finally:
                if self._transport is not None:
                    self._transport.abort()
        if self._is_awaited:
            self.driver.disconnected(self.conn)

    async def _open(self) -> None:
        try:
            opener = TransportOpener(self, await context_of(self._trust))
            opened = await open_tcp(self.asked, opener, self._threads, self._clock)
            if isinstance(opened, socket.socket):
                await opener.start(opened)
            else:
                self._begin(opened, tls=True)
        except ConnectError as error:
            self._over.set()
            if not self._closing:
                self._closing = True
                self.driver.connect_failed(self.conn, error.detail, error.cause)

    def _begin(self, transport: asyncio.Transport, *, tls: bool) -> None:
        self._transport = transport
        if self._closing:  # nobody wants it any more
            transport.abort()
            return
        if not self._over.is_set():  # uvloop raises on a transport that is closed
            self._sock = transport.get_extra_info("socket")
            bound_send_buffer(self._sock)
            transport.set_write_buffer_limits(high=1, low=0)  # so that it tells when it has sent everything
        self.driver.connected(self.conn, tls=tls)
        if self._early and not self._closing:
            self.driver.data_received(self.conn, bytes(self._early))
        if self._over.is_set():  # between the handshake and now
            self._lost(self._ended_by)

    # --- from the driver, while it carries out effects ----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data` after everything before it."""
        transport = self._transport
        if transport is None or self._unsent or self._piece_waits or len(data) > SEND_BYTES or transport.is_closing():
            self._unsent += data
            self._flush()
        else:
            self._send(transport, data)

    def unsent_bytes(self) -> int:
        """What has not left: here, in the transport, and in the system. Of TLS, some more may be on its way between."""
        transport = self._transport
        if transport is None or self._closing or transport.is_closing():
            return 0
        return len(self._unsent) + transport.get_write_buffer_size() + unacknowledged_bytes(self._sock)

    def pause_reading(self) -> None:
        """Read no more, but for what is being received already."""
        if self._transport is not None and not self._closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self, *, abort: bool) -> None:
        """End the connection: at once, or after what was written. The driver is told when it is over."""
        self._closing = self._is_awaited = True
        if self._transport is None:
            self._scope.cancel()
        elif abort:
            self._transport.abort()
        else:
            self._transport.resume_reading()
            self._flush()

    # --- from the loop: reading ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there. With TLS this is not called: what that has come to is looked at first."""
        self._begin(cast("asyncio.Transport", transport), tls=False)  # uvloop's is of another class

    @property
    def is_over(self) -> bool:
        """Whether the socket is closed."""
        return self._over.is_set()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into."""
        return _buffer.view

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes are there.

        While closing, what still comes is dropped but taken: closing a socket with unread bytes sends a reset, which
        can cost the peer the last that was written to it (RFC 9112 section 9.6).
        """
        if self._closing:
            return
        if self._transport is None:
            self._early += _buffer.view[:nbytes]
            return
        self.driver.data_received(self.conn, bytes(_buffer.view[:nbytes]))

    def eof_received(self) -> bool:
        """The peer has ended its side. Returns whether something is still to be written to it."""
        if self._transport is None:
            return False  # `_begin` tells of it
        self._peer_ended = True
        if not self._closing:
            self.driver.data_received(self.conn, b"")
        if not self._closing:  # nothing is said to a platform that has ended its side
            self._lost(None)
        return bool(self._unsent) and not self.asked.tls  # TLS has no half-close

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._over.set()
        self._ended_by = exc
        if self._transport is not None:
            self._lost(exc)

    def _lost(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self.driver.disconnected(self.conn, reason_of(error, self.asked.host))
        if self._transport is not None:
            self._transport.abort()

    # --- from the loop: writing ---------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Give the transport what it takes at once, in pieces whose progress is seen (`SEND_BYTES`)."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        while self._unsent and not self._piece_waits:
            piece = bytes(self._unsent[:SEND_BYTES])
            del self._unsent[:SEND_BYTES]
            self._send(transport, piece)
        if self._closing and not self._unsent:
            if self.asked.tls or self._peer_ended:
                transport.close()
            else:
                self._end_this_side(transport)

    def _end_this_side(self, transport: asyncio.Transport) -> None:
        try:
            transport.write_eof()
        except OSError:  # the peer has ended both sides meanwhile
            transport.abort()

    def _send(self, transport: asyncio.Transport, piece: bytes) -> None:
        transport.write(piece)  # which calls `pause_writing` if it cannot send it all

    def pause_writing(self) -> None:
        """The transport could not send all that it was given."""
        self._piece_waits = True

    def resume_writing(self) -> None:
        """It has sent all of it."""
        with self.driver.own_turn():  # at whose end the level is looked at
            self._piece_waits = False
            self._flush()
            if not self._closing and not self._unsent:
                self.drained()


class TransportOpener:
    """Opens transports for one connection."""

    def __init__(self, connection: TransportConnection, ssl_context: ssl.SSLContext | None) -> None:
        self._connection = connection
        self._ssl_context = ssl_context
        self._loop = asyncio.get_running_loop()
        self._under_tls: asyncio.Transport | None = None

    async def connect(self, address: str, port: int) -> socket.socket:
        """A TCP connection, without a transport: that would read while the race goes on. Raises OSError."""
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await self._loop.sock_connect(sock, (address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def start(self, connection: socket.socket) -> None:
        """Have a transport on it: the connection is told of it. Raises ConnectError."""
        try:
            await self._make_transport(self._connection, connection)
        except Exception as error:
            connection.close()
            raise ConnectError("other", system_text(error)) from None

    async def start_tls(self, connection: socket.socket, host: str) -> asyncio.Transport:
        """The same with TLS, verified, as a transport."""
        assert self._ssl_context is not None
        self._under_tls = await self._make_transport(_UnderTls(), connection)
        if self._under_tls.is_closing():  # nobody would tell the handshake of it
            raise ConnectionResetError
        transport = await self._loop.start_tls(
            self._under_tls, self._connection, self._ssl_context, server_hostname=host, ssl_handshake_timeout=_NEVER_S
        )
        if transport is None:
            raise ConnectionResetError
        return transport

    async def _make_transport(
        self, protocol: TransportConnection | _UnderTls, sock: socket.socket
    ) -> asyncio.Transport:
        with anyio.CancelScope(shield=True):  # the peer is not waited for; cancelled, uvloop loses track of the socket
            transport, _ = await self._loop.create_connection(lambda: protocol, sock=sock)
            if protocol.is_over:
                sock.detach()  # uvloop has closed the descriptor but not `sock`, and its number may be another's by now
            return transport
        raise AssertionError("a shielded scope is not cancelled")

    def ssl_object(self, secured: asyncio.Transport) -> ssl.SSLObject:
        """What TLS has come to."""
        return secured.get_extra_info("ssl_object")

    async def abandon(self, connection: socket.socket) -> None:
        """Close it at once."""
        if self._under_tls is None:
            connection.close()
        else:
            self._under_tls.abort()  # it has the socket, and takes it from the loop before closing it


class _UnderTls(asyncio.Protocol):
    """Of a transport on which TLS has not begun."""

    is_over = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
