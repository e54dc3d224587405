"""What is to happen, and when: the one queue of a simulation."""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Schedule:
    """Actions in the order of their times; those of one moment in the order in which they were planned."""

    def __init__(self) -> None:
        self.time = 0.0
        """Seconds since the beginning."""
        self.next_at = math.inf
        """When the next action is due; infinity if there is none."""
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Plan an action."""
        heapq.heappush(self._planned, (time, next(self._order), action))
        if time < self.next_at:
            self.next_at = time

    def pop(self) -> Callable[[], None]:
        """Take out the next action."""
        action = heapq.heappop(self._planned)[2]
        self.next_at = self._planned[0][0] if self._planned else math.inf
        return action
