"""The turns of a platform: what calls the hub or a protocol does so within one (see `owner`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from artcafe_anyio.clocks import Clock
    from artcafe_platform.sockets import AnyConnection
    from artcafe_proto import Instant


class EndsTurns(Protocol):
    """Who carries out what follows from an input."""

    clock: Clock

    def end_turn(self, connection: AnyConnection | None, now: Instant) -> None:
        """Carry out everything that has come of it. Nothing is raised."""
        ...

    def fail(self, error: Exception) -> None:
        """An internal error."""
        ...


class _Turn:
    """The context of one input. It gives the moment that it began; at its end all that follows is carried out."""

    def __init__(self, owner: EndsTurns, connection: AnyConnection | None) -> None:
        self._owner = owner
        self._connection = connection
        self._now = owner.clock()

    def __enter__(self) -> Instant:
        return self._now


class Turn(_Turn):
    """Of whoever calls the platform: what is raised within is theirs."""

    def __exit__(self, *_: object) -> None:
        self._owner.end_turn(self._connection, self._now)


class OwnTurn(_Turn):
    """Of the platform's own parts, which have nobody to raise an error to: it ends the platform, and they go on."""

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: object) -> bool:
        if isinstance(exc, Exception):
            self._owner.fail(exc)
        self._owner.end_turn(self._connection, self._now)
        return isinstance(exc, Exception)
