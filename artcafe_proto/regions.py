"""A state that is moved by a table only."""

from __future__ import annotations

from enum import Enum
from typing import Generic, TypeVar

State = TypeVar("State", bound=Enum)
Input = TypeVar("Input", bound=Enum)


class Region(Generic[State, Input]):
    """One region's current state, moved by its transitions only."""

    def __init__(self, initial: State, transitions: dict[tuple[State, Input], State]) -> None:
        self.state = initial
        self._transitions = transitions

    def fire(self, cause: Input) -> None:
        """Take the transition for `cause`. Raises AssertionError where the table has none."""
        following = self._transitions.get((self.state, cause))
        assert following is not None, f"no transition from {self.state} by {cause}"
        self.state = following
