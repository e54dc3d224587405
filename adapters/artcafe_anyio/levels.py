"""How much of what was written the system has not sent (LINK-8). For the connections of both roles."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from anyio import TypedAttributeProvider

if sys.platform == "linux":
    from fcntl import ioctl
    from termios import TIOCOUTQ  # what Linux calls SIOCOUTQ for a socket, see tcp(7)
else:
    ioctl = TIOCOUTQ = None

SEND_BUFFER_BYTES: Final = 64 * 1024
"""The system's, where it does not tell what is in it: so much may seem to have left, and no more."""


class AnySocket(Protocol):
    """A socket, whatever an event loop has made of it."""

    def fileno(self) -> int:
        """Its file descriptor; -1 if it is closed."""
        ...

    def setsockopt(self, level: int, optname: int, value: int, /) -> None:
        """Set an option."""
        ...


def socket_of(stream: TypedAttributeProvider) -> AnySocket | None:
    """The socket under a stream of anyio; None if the stream has no socket, or has closed it."""
    with suppress(OSError, AttributeError):  # AttributeError: uvloop's, of a transport that is closed
        return stream.extra(SocketAttribute.raw_socket, None)  # noqa: S610 of anyio, not of Django
    return None


def unacknowledged_bytes(sock: AnySocket | None) -> int:
    """What the system holds of a TCP connection until the peer acknowledges it; 0 where it does not tell."""
    if sock is None or ioctl is None:
        return 0
    try:
        return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except (OSError, ValueError):  # it is closed
        return 0


def bound_send_buffer(sock: AnySocket | None) -> None:
    """Where the system does not tell what is in its buffer, keep it small."""
    if ioctl is None and sock is not None:
        with suppress(OSError):  # it is closed
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
