"""The turns of a driver, as contexts: what is raised within one is the caller's affair, or an error of the driver.

A turn within another one is a part of it: the outermost carries out what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from artcafe_proto.errors import ArtCafeError
from artcafe_proto.instants import Instant

if TYPE_CHECKING:
    from collections.abc import Callable


class Owner(Protocol):
    """Whose turns they are: a driver."""

    def clock(self) -> Instant:
        """The moment."""
        ...

    def internal_error(self, error: Exception) -> None:
        """An error in the driver."""
        ...


class Turns:
    """How deep the turns of a driver are nested, and what was raised meanwhile."""

    def __init__(self, owner: Owner, carry_out: Callable[[Instant], object]) -> None:
        """`carry_out` is called at the end of the outermost turn, `internal_error` of the owner with what is ours."""
        self._owner = owner
        self._carry_out = carry_out
        self._now = Instant(0.0, 0.0)
        self._depth = 0
        self._raised: list[Exception] = []

    def begin(self) -> Instant:
        """A turn begins; returns its moment."""
        try:
            self._now = self._owner.clock()
        except Exception as error:  # the turn is at the moment of the last one
            self.note(error)
        self._depth += 1
        return self._now

    def end(self, error: Exception | None) -> None:
        """It ends. `error`: what was raised within, if it is ours."""
        if error is not None:
            self.note(error)
        try:
            if self._depth == 1:
                self._carry_out(self._now)
        finally:
            self._depth -= 1
        if self._raised and not self._depth:
            raised, self._raised = self._raised, []
            raise raised[0] if len(raised) == 1 else ExceptionGroup("errors in a driver", raised)

    def note(self, error: Exception) -> None:
        """Tell an internal error; what comes of that is raised at the end of the outermost turn."""
        try:
            self._owner.internal_error(error)
        except Exception as raised:
            self._raised.append(raised)


class _OneTurn:
    """The context of a call of a driver. One serves all calls of a kind, and costs a fraction of a generator."""

    __slots__ = ("_turns",)

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def __enter__(self) -> Instant:
        return self._turns.begin()


class Turn(_OneTurn):
    """Of whoever calls the agent: an ArtCafeError tells what was wrong with that."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object, /) -> None:
        self._turns.end(error if isinstance(error, Exception) and not isinstance(error, ArtCafeError) else None)


class OwnTurn(_OneTurn):
    """Of the loop, which may have nobody to raise an error to: whatever is raised is ours."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object, /) -> bool:
        is_ours = isinstance(error, Exception)
        self._turns.end(error if is_ours else None)
        return is_ours
