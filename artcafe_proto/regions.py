"""States that are moved by a table only."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

State = TypeVar("State", bound=Enum)
Input = TypeVar("Input", bound=Enum)


class Table(Generic[State, Input]):
    """What every input means in every state: a transition, or a refusal that has a name.

    A refused input is a defect of whoever fires it, never something that a peer or a network did.
    """

    __slots__ = ("initial", "refusals", "transitions")

    def __init__(
        self,
        initial: State,
        transitions: Mapping[tuple[State, Input], State],
        refusals: Mapping[Input, str],
    ) -> None:
        """`refusals`: why an input has no transition, in all the states in which it has none."""
        self.initial: Final = initial
        self.transitions: Final = transitions
        self.refusals: Final = refusals

    def after(self, state: State, cause: Input) -> State:
        """The state that follows. Raises AssertionError, with its name, for a refusal."""
        following = self.transitions.get((state, cause))
        if following is None:  # no `assert`, which `python -O` leaves out
            raise AssertionError(f"{cause.name} is refused in {state.name}: {self.refusals[cause]}")
        return following


class Region(Generic[State, Input]):
    """One region's current state, moved by its table only."""

    __slots__ = ("_table", "state")

    def __init__(self, table: Table[State, Input]) -> None:
        self.state: State = table.initial
        self._table = table

    def fire(self, cause: Input) -> None:
        """Take the transition for `cause`. Raises AssertionError where the table refuses it."""
        self.state = self._table.after(self.state, cause)
