"""Whose level is to be told before the hub is told the time, and when to look at one that is not 0 (LINK-8)."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artcafe_platform.sockets import AnyConnection


EACH_S: Final = 50e-6
"""So much older may levels that are not 0 be, for each of them, when the hub is told the time: stalls and pings are
judged by them. To look at thousands of peers that do not read before every timer would cost more than all the rest."""


class Looks:
    """Connections on which something may not have left."""

    def __init__(self, connections: Mapping[int, AnyConnection]) -> None:
        """`connections`: the open ones, by number."""
        self._connections = connections
        self._written: dict[int, None] = {}
        self._planned: list[tuple[float, int]] = []  # a heap; some of it is out of date
        self._all_at = -math.inf

    def wrote(self, conn: int) -> None:
        """Something was written on a connection."""
        self._written[conn] = None

    def plan(self, connection: AnyConnection) -> None:
        """A connection's level was told."""
        self._written.pop(connection.conn, None)
        if connection.look_at < math.inf:
            heapq.heappush(self._planned, (connection.look_at, connection.conn))

    def next(self) -> float:
        """When to look at one, monotonic seconds; infinity if all has left."""
        while self._planned and not self._is_planned(*self._planned[0]):
            heapq.heappop(self._planned)
        return self._planned[0][0] if self._planned else math.inf

    def take_due(self, mono: float) -> list[AnyConnection]:
        """Take out those to look at before the hub is told the time: of what was written last nothing is known, or what
        is known is old.
        """
        conns, self._written = self._written, {}
        if mono - self._all_at >= len(self._planned) * EACH_S:
            self._all_at = mono
            conns |= {conn: None for look_at, conn in self._planned if self._is_planned(look_at, conn)}
            self._planned.clear()
        while self.next() <= mono:
            conns[heapq.heappop(self._planned)[1]] = None
        return [self._connections[conn] for conn in conns if conn in self._connections]

    def _is_planned(self, look_at: float, conn: int) -> bool:
        connection = self._connections.get(conn)
        return connection is not None and connection.look_at == look_at
