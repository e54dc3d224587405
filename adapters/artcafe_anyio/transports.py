"""One connection of the agent on asyncio, by a transport of its loop: the same as `connection.Connection`, but faster.

There is no task that reads and none that writes. What comes in is read into one buffer and handed on in the callback
that tells of it. What goes out is written at once: the protocol has put together all that follows from an input.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, cast

from artcafe_anyio.connecting import ConnectError, open_tcp, text_of
from artcafe_anyio.connection import HIGH_WATER_BYTES, LOW_WATER_BYTES, SEND_BYTES, reason_of
from artcafe_anyio.loops import Scope

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from artcafe_anyio.credentials import Trust
    from artcafe_anyio.threads import Threads
    from artcafe_proto import AgentProtocol, Connect, Instant

READ_BYTES: Final = 256 * 1024
_buffer = memoryview(bytearray(READ_BYTES))
"""All connections read into it: what is in it is taken out before anything else can be read."""
_NEVER_S: Final = 1e6
"""For what asyncio would end by a time of its own, and we by ours."""


class TransportConnection(asyncio.BufferedProtocol):
    """One connection. After `close` it tells the protocol nothing more."""

    def __init__(
        self,
        asked: Connect,
        protocol: AgentProtocol,
        turn: Callable[[], AbstractContextManager[Instant]],
        *,
        trust: Trust | None,
        threads: Threads,
    ) -> None:
        self.conn: Final = asked.conn
        self._asked = asked
        self._protocol = protocol
        self._turn = turn
        self._trust = trust
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self.made: asyncio.Transport | None = None
        """The transport, from the moment that there is one."""
        self._transport: asyncio.Transport | None = None
        self._early = bytearray()  # what came before the transport was looked at
        self._closing = False
        self._peer_ended = False
        self._unsent = bytearray()
        self._piece_bytes = 0  # given to the transport last
        self._piece_waits = False  # the transport could not send it all yet
        self._congested = False
        self._over = asyncio.Event()
        self._ended_by: Exception | None = None
        self._scope = Scope()
        self._deadline: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Open the connection and wait until it is over; its socket is closed then."""
        with self._scope:
            try:
                await self._open()
                await self._over.wait()
            finally:
                if self._transport is not None:
                    self._transport.abort()
                if self._deadline is not None:
                    self._deadline.cancel()

    async def _open(self) -> None:
        opener = TransportOpener(self, None if self._trust is None else await self._trust())
        try:
            opened = await open_tcp(self._asked, opener, self._threads)
            if isinstance(opened, socket.socket):
                await opener.start(opened)
            else:
                self._begin(opened)
        except ConnectError as error:
            self._over.set()
            if not self._closing:
                self._closing = True
                with self._turn() as now:
                    self._protocol.connect_failed(self.conn, error.cause, error.detail, now)

    def _begin(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        if self._closing:  # nobody wants it any more
            transport.abort()
            return
        if not self._over.is_set():  # uvloop raises on a transport that is closed
            transport.set_write_buffer_limits(high=1, low=0)  # so that it tells when it has sent everything
        with self._turn() as now:
            self._protocol.connected(self.conn, now)
        if self._early and not self._closing:
            with self._turn() as now:
                self._protocol.data_received(self.conn, bytes(self._early), now)
        if self._over.is_set():  # between the handshake and now
            self._lost(reason_of(self._ended_by, self._asked.host))

    # --- from the driver, while it carries out effects ----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data` after everything before it."""
        transport = self._transport
        if transport is None or self._unsent or self._piece_waits or len(data) > SEND_BYTES or transport.is_closing():
            self._unsent += data
            self._flush()
        else:
            self._send(transport, data)

    def is_newly_congested(self) -> bool:
        """Whether the high-water mark was crossed since the last call; `writing_resumed` follows by itself."""
        waiting_bytes = len(self._unsent) + (self._piece_bytes if self._piece_waits else 0)
        if self._congested or self._closing or waiting_bytes <= HIGH_WATER_BYTES:
            return False
        self._congested = True
        return True

    def pause_reading(self) -> None:
        """Read no more, but for what is being received already."""
        if self._transport is not None and not self._closing:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self, *, abort: bool, timeout_s: float) -> None:
        """End the connection: at once, or after what was written, for which there is some time (LINK-8)."""
        self._closing = True
        if self._transport is None:
            self._scope.cancel()
        elif abort:
            self._transport.abort()
        else:
            self._deadline = self._loop.call_later(timeout_s, self._transport.abort)
            self._transport.resume_reading()
            self._flush()

    # --- from the loop: reading ---------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is there, and with TLS the handshake done: what that has come to is looked at first."""
        self.made = cast("asyncio.Transport", transport)  # of uvloop it is none by its class
        if not self._asked.tls:
            self._begin(self.made)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to read into."""
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes are there.

        While closing, what still comes is dropped but taken: closing a socket with unread bytes sends a reset, which
        can cost the peer the last that was written to it (RFC 9112 section 9.6).
        """
        if self._closing:
            return
        if self._transport is None:
            self._early += _buffer[:nbytes]
            return
        with self._turn() as now:
            self._protocol.data_received(self.conn, bytes(_buffer[:nbytes]), now)

    def eof_received(self) -> bool:
        """The peer has ended its side. Returns whether something is still to be written to it."""
        if self._transport is None:
            return False  # `_begin` tells of it
        self._peer_ended = True
        if not self._closing:
            with self._turn() as now:
                self._protocol.eof_received(self.conn, now)
        if not self._closing:  # nothing is said to a platform that has ended its side
            self._lost("the peer closed it")
        return bool(self._unsent) and not self._asked.tls  # TLS has no half-close

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._over.set()
        self._ended_by = exc
        if self._transport is not None:
            self._lost(reason_of(exc, self._asked.host))

    def _lost(self, reason: str) -> None:
        if not self._closing:
            self._closing = True
            with self._turn() as now:
                self._protocol.disconnected(self.conn, reason, now)
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
            if self._asked.tls or self._peer_ended:
                transport.close()
            else:
                self._end_this_side(transport)

    def _end_this_side(self, transport: asyncio.Transport) -> None:
        try:
            transport.write_eof()
        except OSError:  # the peer has ended both sides meanwhile
            transport.abort()

    def _send(self, transport: asyncio.Transport, piece: bytes) -> None:
        self._piece_bytes = len(piece)
        transport.write(piece)  # which calls `pause_writing` if it cannot send it all
        if not self._piece_waits:
            self._sent()

    def pause_writing(self) -> None:
        """The transport could not send all that it was given."""
        self._piece_waits = True

    def resume_writing(self) -> None:
        """It has sent all of it."""
        with self._turn():
            self._piece_waits = False
            self._sent()
            self._flush()

    def _sent(self) -> None:
        """A piece is sent."""
        if self._congested and not self._closing:
            self._congested = len(self._unsent) > LOW_WATER_BYTES
            with self._turn() as now:
                if self._congested:  # still, but it has not stalled: that time is counted anew (LINK-8)
                    self._protocol.writing_paused(self.conn, now)
                else:
                    self._protocol.writing_resumed(self.conn, now)


class TransportOpener:
    """Opens transports for one connection."""

    def __init__(self, connection: TransportConnection, ssl_context: ssl.SSLContext | None) -> None:
        self._connection = connection
        self._ssl_context = ssl_context
        self._loop = asyncio.get_running_loop()

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
            await self._loop.create_connection(lambda: self._connection, sock=connection)
        except Exception as error:
            connection.close()
            raise ConnectError("other", text_of(error)) from None

    async def start_tls(self, connection: socket.socket, host: str) -> asyncio.Transport:
        """The same with TLS, verified, as a transport."""
        assert self._ssl_context is not None
        transport, _ = await self._loop.create_connection(
            lambda: self._connection,
            sock=connection,
            ssl=self._ssl_context,
            server_hostname=host,
            ssl_handshake_timeout=_NEVER_S,
        )
        return transport

    def ssl_object(self, secured: asyncio.Transport) -> ssl.SSLObject:
        """What TLS has come to."""
        return secured.get_extra_info("ssl_object")

    async def abandon(self, connection: socket.socket) -> None:
        """Close it at once."""
        made = self._connection.made
        if made is None:
            connection.close()
        else:
            made.abort()  # it has the socket, and takes it from the loop before closing it
