"""When which connection is due: all deadlines of a platform for its one timer."""

from __future__ import annotations

import heapq


class Timetable:
    """The earliest time at which each connection must be looked at, monotonic seconds.

    A deadline that moves away costs nothing: its entry stays, and the connection is looked at once too early, which is
    harmless. So a busy connection has about one entry, and never one per request.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._entries: dict[int, float] = {}

    def set(self, conn: int, deadline: float) -> None:
        """Look at `conn` no later than `deadline`."""
        entry = self._entries.get(conn)
        if entry is None or deadline < entry:
            self._entries[conn] = deadline
            heapq.heappush(self._heap, (deadline, conn))

    def forget(self, conn: int) -> None:
        """`conn` is gone."""
        self._entries.pop(conn, None)

    def next(self) -> float | None:
        """When something is due, monotonic seconds."""
        while self._heap and self._entries.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # of a connection that is gone, or has an earlier entry
        return self._heap[0][0] if self._heap else None

    def take_due(self, mono: float) -> list[int]:
        """Take out what is due; set those again that still wait for something."""
        due: list[int] = []
        while (earliest := self.next()) is not None and earliest <= mono:
            _, conn = heapq.heappop(self._heap)
            del self._entries[conn]
            due.append(conn)
        return due
