"""One accepted connection on asyncio, by its socket: the same as `AcceptedStream`, at a fraction of its cost.

There is no task and no transport, and while nothing happens no timer and no buffer. The loop calls when the socket can
be read; what is there is read into one buffer that all connections share and is followed to its last effect at once,
and what goes out is sent at once. So an agent that does nothing costs its state, and one that says something two system
calls and the work on it.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from socket import SHUT_WR, SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Final, Protocol

from artcafe_anyio.connection import READ_BYTES, SEND_BYTES, ReadBuffer
from artcafe_anyio.levels import bound_send_buffer, unacknowledged_bytes
from artcafe_platform.connection import MAX_UNSENT_BYTES, AcceptedStream
from artcafe_proto.levels import Level

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from artcafe_proto import Instant, PlatformHub, PlatformProtocol

_buffer: Final = ReadBuffer(READ_BYTES)
FIRST_READ_BYTES: Final = 8 * 1024
"""How much is read at once after a read that was not full; each one that is full doubles the next. So the answers to a
burst of small messages begin to leave before all of it was read, and the peer works meanwhile."""
_RESET: Final = struct.pack("ii", 1, 0)


class SocketOwner(Protocol):
    """What a connection calls of its owner."""

    hub: PlatformHub

    def own_turn(self, connection: SocketConnection) -> AbstractContextManager[Instant]:
        """Call the protocol of `connection`, with the instant this gives."""
        ...

    def received(self, connection: SocketConnection, data: bytes) -> None:
        """A turn in which bytes came in."""
        ...


class SocketConnection(Level):
    """One connection, until its socket is closed: then it calls `on_over`, once."""

    __slots__ = (
        "_closing",
        "_deadline",
        "_lingers",
        "_loop",
        "_on_over",
        "_owner",
        "_peer_ended",
        "_read_bytes",
        "_reading",
        "_shut",
        "_sock",
        "_unsent",
        "conn",
        "protocol",
    )

    def __init__(
        self,
        sock: socket.socket,
        protocol: PlatformProtocol,
        owner: SocketOwner,
        on_over: Callable[[SocketConnection], None],
    ) -> None:
        """`sock` does not block, and is handed over. Nothing happens before `start`."""
        super().__init__()
        self.conn: Final = protocol.conn
        self.protocol: Final = protocol
        self._sock = sock
        self._owner = owner
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._unsent: bytearray | None = None
        self._read_bytes = FIRST_READ_BYTES
        self._reading = False
        self._closing = False
        self._peer_ended = False
        self._lingers = True
        self._shut = False
        self._deadline: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Read from now on."""
        bound_send_buffer(self._sock)
        self.resume_reading()

    @property
    def buffered_bytes(self) -> int:
        """What was written and waits for the peer."""
        return 0 if self._unsent is None else len(self._unsent)

    @property
    def held_bytes(self) -> int:
        """What waits for the peer, and what has come of what is not whole; 0 once it is aborted."""
        return 0 if self._shut else self.buffered_bytes + self.protocol.held_bytes

    # --- from the owner, while it carries out effects -----------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send `data` after everything before it."""
        if self._shut:
            return
        self.wrote(len(data))
        if self._unsent is not None:
            self._unsent += data
            return
        sent = self._send(data)
        if sent < len(data) and not self._shut:
            self._unsent = bytearray(memoryview(data)[sent:])
            self._loop.add_writer(self._sock, self._write_on)

    def unsent_bytes(self) -> int:
        """What has not left: here and in the system."""
        return 0 if self._closing else self.buffered_bytes + unacknowledged_bytes(self._sock)

    def is_overrun(self) -> bool:
        """Whether more waits for this peer than may."""
        return self._unsent is not None and len(self._unsent) > MAX_UNSENT_BYTES and not self._closing

    def pause_reading(self) -> None:
        """Read no more."""
        if self._reading and not self._closing:
            self._reading = False
            self._loop.remove_reader(self._sock)

    def resume_reading(self) -> None:
        """Read again."""
        if not (self._reading or self._peer_ended or self._shut):
            self._reading = True
            self._loop.add_reader(self._sock, self._read)

    def hasten(self) -> None:
        """When closing do not wait until the peer ends its side too: it is in the middle of nothing."""
        self._lingers = False

    def close(self, *, abort: bool) -> None:
        """End the connection: at once, or after what was written, for which there are some seconds (LINK-8)."""
        self._closing = True
        if self._shut:
            return
        if abort:
            with suppress(OSError):  # the peer is to see a reset at once; nothing lingers in the kernel
                self._sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
            self._end("aborted")
            return
        self._deadline = self._loop.call_later(self._owner.hub.config.close_timeout, self._end, "closed")
        self.resume_reading()
        if self._unsent is None:
            self._end_this_side()

    # --- from the loop ------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Something has come.

        While closing, what still comes is dropped but taken: else the peer, which may be in the middle of a request,
        would get a reset and could lose the last answer to it (RFC 9112 section 9.6).
        """
        try:
            size = self._sock.recv_into(_buffer.view, self._read_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(str(error))
            return
        self._read_bytes = min(2 * size, READ_BYTES) if size == self._read_bytes else FIRST_READ_BYTES
        if size == 0:
            self._read_end()
        elif not self._closing:
            self._owner.received(self, bytes(_buffer.view[:size]))

    def _read_end(self) -> None:
        self._peer_ended = True
        self._reading = False
        self._loop.remove_reader(self._sock)
        if self._closing:
            if self._unsent is None:
                self._end("closed")
            return
        with self._owner.own_turn(self) as now:
            self.protocol.eof_received(now)

    def _write_on(self) -> None:
        """The socket takes more."""
        assert self._unsent is not None
        sent = self._send(memoryview(self._unsent)[:SEND_BYTES])
        if self._shut or not sent:
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._unsent = None
            self._loop.remove_writer(self._sock)
            self.drained()
            if self._closing:
                self._end_this_side()
        if not self._closing:
            with self._owner.own_turn(self):
                pass  # the level is looked at, if it is time

    # --- inside -------------------------------------------------------------------------------------------------------

    def _send(self, data: bytes | memoryview) -> int:
        """How much of it the socket took."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            self._end(str(error))
            return 0

    def _end_this_side(self) -> None:
        """All is written. The peer is given time to read it and to end its side."""
        if self._lingers and not self._peer_ended:
            try:
                self._sock.shutdown(SHUT_WR)
            except OSError as error:
                self._end(str(error))
        else:
            self._end("closed")

    def _end(self, reason: str) -> None:
        """Close the socket. The owner hears of it by a call of its own, as it may be what calls now."""
        if self._shut:
            return
        self._closing = self._shut = True
        self._reading = False
        self._unsent = None
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        if self._deadline is not None:
            self._deadline.cancel()
        self._loop.call_soon(self._tell, reason)

    def _tell(self, reason: str) -> None:
        with self._owner.own_turn(self) as now:
            self.protocol.disconnected(reason, now)  # it knows already, unless the network has ended it
        self._on_over(self)


AnyConnection = AcceptedStream | SocketConnection


def address_of(sock: socket.socket) -> str:
    """Where the peer is; empty if it has gone already."""
    with suppress(OSError):
        return sock.getpeername()[0]
    return ""
