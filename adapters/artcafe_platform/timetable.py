"""When which connection is due: all deadlines of a platform for its one timer."""

from __future__ import annotations

import heapq
import math
from typing import Final

LONG_WAIT_S: Final = 5.0
"""From here on a wait may last up to `GRID_S` longer, so that thousands of connections share the moments of waking."""
GRID_S: Final = 0.25


class Timetable:
    """The earliest time at which each connection must be looked at, monotonic seconds.

    A deadline that moves away costs nothing: its entry stays, and the connection is looked at once too early, which is
    harmless. So a busy connection has about one entry, and never one per request. Connections that are due at the same
    moment share its place in the heap.
    """

    def __init__(self) -> None:
        self._moments: list[float] = []  # a heap
        self._conns: dict[float, list[int]] = {}  # by moment; some are gone, or have an earlier entry
        self._entries: dict[int, float] = {}

    def set(self, conn: int, deadline: float) -> None:
        """Look at `conn` no later than `deadline`."""
        entry = self._entries.get(conn)
        if entry is not None and entry <= deadline:
            return
        self._entries[conn] = deadline
        conns = self._conns.get(deadline)
        if conns is None:
            self._conns[deadline] = [conn]
            heapq.heappush(self._moments, deadline)
        else:
            conns.append(conn)

    def forget(self, conn: int) -> None:
        """`conn` is gone."""
        self._entries.pop(conn, None)

    def next(self) -> float | None:
        """When something is due, monotonic seconds."""
        while self._moments:
            earliest = self._moments[0]
            conns = self._conns[earliest]
            while conns and self._entries.get(conns[-1]) != earliest:
                conns.pop()
            if conns:
                return earliest
            del self._conns[heapq.heappop(self._moments)]
        return None

    def take_due(self, mono: float) -> list[int]:
        """Take out what is due; set those again that still wait for something."""
        due: list[int] = []
        while (earliest := self.next()) is not None and earliest <= mono:
            for conn in self._conns.pop(heapq.heappop(self._moments)):
                if self._entries.get(conn) == earliest:
                    del self._entries[conn]
                    due.append(conn)
        return due


def shared_moment(deadline: float, mono: float) -> float:
    """When to look at what is due at `deadline`: after a long wait a little later, so that thousands share a moment."""
    return math.ceil(deadline / GRID_S) * GRID_S if deadline - mono > LONG_WAIT_S else deadline
