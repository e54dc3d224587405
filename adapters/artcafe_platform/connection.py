"""The bytes of one accepted connection on a stream of anyio, and how it ends."""

from __future__ import annotations

import struct
from contextlib import suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream

from artcafe_anyio.connection import StreamShell
from artcafe_proto.levels import Level

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


class AcceptedStream(StreamShell, Level):
    """One connection, from the end of its TLS handshake until its socket is closed."""

    def __init__(
        self,
        stream: SocketStream | TLSStream,
        protocol: PlatformProtocol,
        turn: Callable[[AcceptedStream], AbstractContextManager[Instant]],
        *,
        close_timeout_s: float,
    ) -> None:
        Level.__init__(self)
        StreamShell.__init__(self)
        self.protocol = protocol
        self._turn = turn
        self._close_timeout_s = close_timeout_s
        self._stream = stream
        self._begin(stream)

    @property
    def conn(self) -> int:
        """Its number."""
        return self.protocol.conn

    async def run(self) -> None:
        """Read and write until the connection is over. The caller then closes the stream forcefully."""
        try:
            with self._scope:
                await self._work(self._stream)
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
        super().write(data)

    def is_overrun(self) -> bool:
        """Whether more waits for this peer than may."""
        return self.buffered_bytes > MAX_UNSENT_BYTES and not self._closing

    def hasten(self) -> None:
        """When closing do not wait until the peer ends its side too: it is in the middle of nothing."""
        self._lingers = False

    def close(self, *, abort: bool) -> None:
        """End the connection: at once, or after what was written, for which there are some seconds (LINK-8)."""
        if abort:
            with suppress(*_NO_SOCKET):  # the peer is to see a reset at once; nothing lingers in the kernel
                raw_socket = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610 this is not Django's
                raw_socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        super().close(abort=abort)
        if not abort:
            self._scope.cancel_after(self._close_timeout_s)

    # --- from the stream ----------------------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        with self._turn(self) as now:
            self.protocol.data_received(data, now)

    def _peer_ended(self) -> None:
        with self._turn(self) as now:
            self.protocol.eof_received(now)

    def _failed(self, reason: str) -> None:
        with self._turn(self) as now:
            self.protocol.disconnected(reason, now)

    def _drained(self) -> None:
        if self.drained():
            with self._turn(self):
                pass  # the level is looked at
