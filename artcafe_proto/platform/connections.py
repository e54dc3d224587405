"""The open connections of a hub: what they have to say, and when something is due on one of them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from artcafe_proto.effects import PlatformEffect, PlatformSessionEffect
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.events import HubEvent, RequestArrived
from artcafe_proto.policies.timetable import Timetable

if TYPE_CHECKING:
    from artcafe_proto.instants import Instant
    from artcafe_proto.timers import Timers


__all__ = ["PlatformOutput"]

ConnectionOutput = PlatformEffect | PlatformSessionEffect | RequestArrived
PlatformOutput = ConnectionOutput | HubEvent
"""What `PlatformHub.next_output` returns. A `PlatformProtocol` has the effects of `PlatformEffect`, a `PlatformSession`
those of `PlatformSessionEffect`: a driver whose connections are of one kind meets no others."""


class ConnectionTimer(IntEnum):
    """What a connection waits for."""

    PING = 1
    STALL = 2
    CLOSE = 3
    GRANT = 4
    WATCH = 5
    COMING = 6
    """The next part of a request, or the next request: of bytes only, and not while a link is idle."""
    WAITING = 7
    """A request that has come behind another, and has its own turn: of bytes only."""


class Connection(Protocol):
    """What the hub drains and keeps the time of: a `PlatformProtocol`, or a `PlatformSession` by itself."""

    timers: Timers[ConnectionTimer]

    @property
    def is_closed(self) -> bool:
        """Whether it is over, but for what is still to be drained."""
        ...

    def take_output(self) -> ConnectionOutput | None:
        """The next output."""
        ...

    def timer_due(self, timer: ConnectionTimer, when: float, now: Instant) -> None:
        """The time of a timer has come; it is set no more."""
        ...


class Connections:
    """All connections of a hub, by number. Only those to which something has happened are looked at."""

    def __init__(self) -> None:
        self._open: dict[int, Connection] = {}
        self.touched: dict[int, None] = {}
        """Those to which something has happened since they were drained."""
        self._timetable = Timetable()
        self._deadline: float | None = None
        self._is_deadline_known = True

    def check_free(self, conn: int) -> None:
        """Raise LocalProtocolError for the number of an open connection."""
        if conn in self._open:
            raise LocalProtocolError(f"expected a number that no open connection has, not {conn}")

    def add(self, conn: int, connection: Connection) -> None:
        """A connection was accepted, whose number is free."""
        self._open[conn] = connection
        self.touched[conn] = None

    def next_output(self, mono: float) -> ConnectionOutput | None:
        """The next output of a connection; a connection is drained before another one is looked at."""
        while self.touched:
            conn = self.touched.popitem()[0]
            connection = self._open.get(conn)
            if connection is None:
                continue
            if (output := connection.take_output()) is not None:
                self.touched[conn] = None
                return output
            if connection.timers.has_changed:
                self._keep_time(conn, connection, mono)
            if not connection.timers and connection.is_closed:
                del self._open[conn]
                self._timetable.forget(conn)
                self._is_deadline_known = False
        return None

    def deadline(self, mono: float) -> float | None:
        """When something is due, monotonic seconds."""
        if self.touched:
            self._keep_times(mono)
        if not self._is_deadline_known:
            self._deadline = self._earliest(mono)
            self._is_deadline_known = True
        return self._deadline

    def _earliest(self, mono: float) -> float | None:
        while (earliest := self._timetable.next()) is not None:
            moment, conn = earliest
            due = self._open[conn].timers.next()
            if due is not None and due[0] <= moment:
                return moment
            self._timetable.forget(conn)  # what it waited for has moved away
            if due is not None:
                self._timetable.set(conn, due[0], mono)
        return None

    def handle_timer(self, now: Instant) -> None:
        """Time has passed."""
        self._keep_times(now.mono)
        while due := self._timetable.take_due(now.mono):
            for conn in due:
                connection = self._open[conn]
                while (timer := connection.timers.pop_due(now.mono)) is not None:
                    connection.timer_due(*timer, now)
                self.touched[conn] = None
                connection.timers.has_changed = True
            self._keep_times(now.mono)

    def _keep_times(self, mono: float) -> None:
        for conn in self.touched:
            if (connection := self._open.get(conn)) is not None and connection.timers.has_changed:
                self._keep_time(conn, connection, mono)

    def _keep_time(self, conn: int, connection: Connection, mono: float) -> None:
        connection.timers.has_changed = self._is_deadline_known = False
        if (earliest := connection.timers.next()) is not None:
            self._timetable.set(conn, earliest[0], mono)
