"""A connection as a driver of an agent sees it: what an event loop supplies of one."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from artcafe_proto.levels import Level

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from artcafe_proto.effects import Connect, ConnectFailure
    from artcafe_proto.instants import Instant

__all__ = ["Connection"]


class DriverInputs(Protocol):
    """What a connection tells its driver: these methods of `artcafe_proto.Driver`."""

    def connected(self, conn: int, *, tls: bool) -> None:
        """It is open."""
        ...

    def connect_failed(self, conn: int, error: BaseException | str, cause: ConnectFailure | None = None) -> None:
        """It could not be opened."""
        ...

    def data_received(self, conn: int, data: bytes) -> None:
        """Bytes came in, or none: the peer has ended its side."""
        ...

    def disconnected(self, conn: int, error: BaseException | str | None = None) -> None:
        """It has ended."""
        ...

    def own_turn(self) -> AbstractContextManager[Instant, bool]:
        """For all else: a level that has changed."""
        ...


class Connection(Level):
    """A connection that an event loop opens, and what has not left of it. A subclass supplies `write` and `close`.

    It tells its driver what happens, with its number `conn`.
    """

    def __init__(self, driver: DriverInputs, asked: Connect) -> None:
        super().__init__()
        self.driver: Final = driver
        self.asked: Final = asked
        self.conn: Final = asked.conn

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send `data` after all before it, without waiting for the peer. What this raises ends the connection."""

    @abstractmethod
    def close(self, *, abort: bool) -> None:
        """Close it, or give up opening it: at once if `abort`; else after what was written, and then tell the driver
        `disconnected`. If that takes too long, it is aborted (LINK-8). After an abort nothing need be told, and what is
        told does no harm.
        """

    def pause_reading(self) -> None:
        """Read nothing until `resume_reading`."""

    def resume_reading(self) -> None:
        """Read again."""

    def unsent_bytes(self) -> int:
        """How much of what was written has not left (LINK-8), as `AgentProtocol.unsent` explains."""
        return 0
