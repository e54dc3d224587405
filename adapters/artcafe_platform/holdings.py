"""What all peers together make a platform keep in memory (PLAT-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from artcafe_platform.sockets import AnyConnection

MAX_HELD_BYTES: Final = 512 * 1024 * 1024
"""Of all peers together: what they do not read, and what has come of requests and messages that are not whole. The
connections that hold most are aborted."""


class Holdings:
    """The bytes that each connection held when it was looked at last, and all of them together."""

    def __init__(self, connections: Mapping[int, AnyConnection]) -> None:
        """`connections`: the open ones, by number."""
        self._connections = connections
        self._held: dict[int, int] = {}
        self.total_bytes: int = 0

    def look_at(self, connection: AnyConnection) -> list[AnyConnection]:
        """Count what `connection` holds. Returns those to abort, as all together hold too much."""
        held = connection.held_bytes
        self.forget(connection.conn)
        if held:
            self._held[connection.conn] = held
            self.total_bytes += held
        return [] if self.total_bytes <= MAX_HELD_BYTES else self._largest()

    def forget(self, conn: int) -> None:
        """A connection is over."""
        self.total_bytes -= self._held.pop(conn, 0)

    def _largest(self) -> list[AnyConnection]:
        alive = [conn for conn in self._held if conn in self._connections]
        self._held = {conn: self._connections[conn].held_bytes for conn in alive}  # some have been read since
        self.total_bytes = sum(self._held.values())
        largest: list[AnyConnection] = []
        while self.total_bytes > MAX_HELD_BYTES:
            conn = max(self._held, key=self._held.__getitem__)
            self.forget(conn)
            largest.append(self._connections[conn])
        return largest
