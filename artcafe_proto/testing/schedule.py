"""What is to happen in a simulation, and when: actions that were planned, and timers that are due."""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarms:
    """The time of the next alarm of each of many, who are known by number; of one moment the lowest number is first.

    An alarm that is moved leaves its entry in the heap, where it is skipped once it is on top.
    """

    def __init__(self) -> None:
        self._times: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def set(self, number: int, time: float) -> None:
        """Move somebody's alarm."""
        if self._times.get(number) != time:
            self._times[number] = time
            heapq.heappush(self._heap, (time, number))

    def remove(self, number: int) -> None:
        """Somebody has no alarm any more, if there was one."""
        self._times.pop(number, None)

    def next(self) -> tuple[float, int]:
        """The next alarm and whose it is; infinity and -1 without one."""
        heap, times = self._heap, self._times
        while heap:
            time, number = heap[0]
            if times.get(number) == time:
                return heap[0]
            heapq.heappop(heap)
        return math.inf, -1

    def take_due(self, is_due: Callable[[float], bool]) -> list[int]:
        """Take out all alarms that are due; whose they are."""
        due: list[int] = []
        while (time := self.next()[0]) < math.inf and is_due(time):
            number = heapq.heappop(self._heap)[1]
            del self._times[number]
            due.append(number)
        return due


class Schedule:
    """Actions in the order of their times; those of one moment in the order in which they were planned."""

    def __init__(self) -> None:
        self.time: float = 0.0
        """Seconds since the beginning."""
        self.next_at: float = math.inf
        """When the next action is due; infinity without one."""
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
