"""How much of what was written has not left, and when to report it (LINK-8). For the connections of both roles."""

from __future__ import annotations

import math
import socket
import sys
from abc import ABC, abstractmethod
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

ENOUGH_BYTES: Final = 16 * 1024
"""Written since the last look: from here on it is worth a system call to know what has become of it."""
FIRST_LOOK_S: Final = 0.01
"""How long after a report that something has not left the next one follows; each time twice as long …"""
LAST_LOOK_S: Final = 1.0
"""… up to this, until much is written again."""
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


class Level(ABC):
    """A connection's level: what has not left. It is looked at after much was written, and while it is not 0."""

    __slots__ = ("_level", "_unreported_bytes", "_wait_s", "look_at")

    def __init__(self) -> None:
        self._level = 0
        self._unreported_bytes = 0
        self._wait_s = FIRST_LOOK_S
        self.look_at: float = math.inf
        """When to look again, monotonic seconds."""

    @abstractmethod
    def measure(self) -> int:
        """How much has not left: in our buffers, and in the system's."""

    def wrote(self, nbytes: int) -> None:
        """So many bytes more were written."""
        self._unreported_bytes += nbytes
        if self._unreported_bytes >= ENOUGH_BYTES:
            self._wait_s = FIRST_LOOK_S
            self.look_at = -math.inf

    def has_drained(self) -> bool:
        """All that waited here was given to the system. Returns whether to look at once: if anything was reported."""
        if self._level:
            self.look_at = -math.inf
        return bool(self._level)

    def due_level(self, mono: float) -> int | None:
        """The level if it is time to report it, else None."""
        return self.level(mono) if self.look_at <= mono else None

    def level(self, mono: float) -> int:
        """The level, to be reported at `mono`."""
        self._level = self.measure()
        self._unreported_bytes = 0
        self.look_at = mono + self._wait_s if self._level else math.inf
        self._wait_s = min(2 * self._wait_s, LAST_LOOK_S)
        return self._level
