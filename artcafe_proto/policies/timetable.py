"""When which connection is due: the deadlines of all connections of a platform."""

from __future__ import annotations

import heapq
import math
from typing import Final

LONG_WAIT_S: Final = 5.0
"""From here on a wait may last up to `GRID_S` longer, so that thousands of connections share the moments of waking."""
GRID_S: Final = 0.25


class Timetable:
    """The moment at which each connection must be looked at, monotonic seconds.

    A deadline that moves away costs nothing: its entry stays until it is the earliest, and is moved then. So a busy
    connection has about one entry, and never one per request. Connections that are due at the same moment share its
    place in the heap.
    """

    def __init__(self, *, long_wait_s: float = LONG_WAIT_S) -> None:
        """`long_wait_s`: a wait of more seconds may last up to `GRID_S` longer. With infinity every wait is exact."""
        self._long_wait_s = long_wait_s
        self._moments: list[float] = []  # a heap
        self._conns: dict[float, list[int]] = {}  # by moment; some are gone, or have another entry
        self._entries: dict[int, float] = {}

    def set(self, conn: int, deadline: float, mono: float) -> None:
        """Look at `conn` when `deadline` has come, and not much later. It is `mono` now."""
        is_long = deadline - mono > self._long_wait_s
        moment = math.ceil(deadline / GRID_S) * GRID_S if is_long else deadline
        entry = self._entries.get(conn)
        if entry is not None and entry <= moment:
            return
        self._entries[conn] = moment
        conns = self._conns.get(moment)
        if conns is None:
            self._conns[moment] = [conn]
            heapq.heappush(self._moments, moment)
        else:
            conns.append(conn)

    def forget(self, conn: int) -> None:
        """`conn` is gone, or waits for nothing."""
        self._entries.pop(conn, None)

    def next(self) -> tuple[float, int] | None:
        """The earliest moment, and one of the connections that are due then."""
        while self._moments:
            earliest = self._moments[0]
            conns = self._conns[earliest]
            while conns and self._entries.get(conns[-1]) != earliest:
                conns.pop()
            if conns:
                return earliest, conns[-1]
            del self._conns[heapq.heappop(self._moments)]
        return None

    def take_due(self, mono: float) -> list[int]:
        """Take out what is due; set those again that still wait for something."""
        due: list[int] = []
        while (earliest := self.next()) is not None and earliest[0] <= mono:
            for conn in self._conns.pop(heapq.heappop(self._moments)):
                if self._entries.get(conn) == earliest[0]:
                    del self._entries[conn]
                    due.append(conn)
        return due
