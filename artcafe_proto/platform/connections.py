"""The open connections of a hub: what they have to say, and when something is due on one of them."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from artcafe_proto.effects import Persist, PlatformEffect, PlatformSessionEffect
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.events import HubEvent, RequestArrived
from artcafe_proto.policies.timetable import Timetable

if TYPE_CHECKING:
    from collections.abc import Container

    from artcafe_proto.instants import Instant
    from artcafe_proto.timers import Timers


__all__ = ["PlatformOutput"]

ConnectionOutput = PlatformEffect | PlatformSessionEffect | RequestArrived
PlatformOutput = ConnectionOutput | HubEvent | Persist
"""What `PlatformHub.next_output` returns. A `PlatformProtocol` has the effects of `PlatformEffect`, a `PlatformSession`
those of `PlatformSessionEffect`: a driver whose connections are of one kind meets no others."""


class ConnectionTimer(IntEnum):
    """What a connection waits for. The last two are only a `PlatformProtocol`'s: a `PlatformSession` sees no bytes."""

    PING = 1
    """The link has been silent for so long that it is pinged, or given up (LINK-7, HB-3)."""
    STALL = 2
    """Nothing that was written has left for so long that the connection is cut (LINK-8)."""
    CLOSE = 3
    """The close frame has not been answered (LINK-8)."""
    GRANT = 4
    """Nobody has reported how much has not left: all of it counts as having left (LINK-8)."""
    WATCH = 5
    """A poll is answered, or an event stream says that it is still there (PLAT-4)."""
    COMING = 6
    """The rest of a request, or the next request, has not come in time (PLAT-8). Not set while a link is idle."""
    WAITING = 7
    """A request that came right behind another is read: in a turn of its own, due at once."""


class Drained(Protocol):
    """What the hub drains and keeps the time of: a `PlatformProtocol`, or a `PlatformSession` by itself."""

    timers: Timers[ConnectionTimer]

    @property
    def is_closed(self) -> bool:
        """Whether it has ended. It may still have outputs."""
        ...

    def take_output(self) -> ConnectionOutput | None:
        """Its next output; None if it has no more."""
        ...

    def timer_due(self, timer: ConnectionTimer, when: float, now: Instant) -> None:
        """One of `timers` is due, since `when`; it has been taken out of them."""
        ...


class Connections:
    """All connections of a hub, by number.

    Neither a drain nor a deadline looks at all of them: a drain looks at those that were touched, and the earliest
    timer of each stands in a timetable.
    """

    def __init__(self, held: Container[int] = ()) -> None:
        """`held`: the numbers of those with something that waits for a store."""
        self._held = held
        self._open: dict[int, Drained] = {}
        self.touched: dict[int, None] = {}
        """The numbers of those to which something has happened since they were last drained; an ordered set."""
        self._timetable = Timetable()
        self._deadline: float | None = None  # what `deadline` returned last
        self._is_deadline_known = True  # whether it would return the same again

    def check_free(self, conn: int) -> None:
        """Raise LocalProtocolError for the number of an open connection."""
        if conn in self._open:
            raise LocalProtocolError(f"expected a number that no open connection has, not {conn}")

    def add(self, conn: int, connection: Drained) -> None:
        """A connection was accepted, whose number is free."""
        self._open[conn] = connection
        self.touched[conn] = None

    def next_output(self, mono: float) -> ConnectionOutput | None:
        """The next output of a touched connection; None once all are drained. Each is drained before the next one.

        A connection that is drained, has ended and waits for nothing is forgotten. `mono`: the hub's last moment.
        """
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
            if not connection.timers and connection.is_closed and conn not in self._held:
                del self._open[conn]
                self._timetable.forget(conn)
                self._is_deadline_known = False
        return None

    def deadline(self, mono: float) -> float | None:
        """When the earliest timer of all is due, in monotonic seconds; None if none is set. `mono` as above."""
        if self.touched:
            self._keep_times(mono)
        if not self._is_deadline_known:
            self._deadline = self._earliest(mono)
            self._is_deadline_known = True
        return self._deadline

    def _earliest(self, mono: float) -> float | None:
        """The earliest moment in the timetable at which a timer is really due: an entry may be of an earlier wait."""
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
        """Tell connections of all their timers that are due by now, those too that are set meanwhile."""
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
        """Enter the timers of touched connections in the timetable, without draining them."""
        for conn in self.touched:
            if (connection := self._open.get(conn)) is not None and connection.timers.has_changed:
                self._keep_time(conn, connection, mono)

    def _keep_time(self, conn: int, connection: Drained, mono: float) -> None:
        connection.timers.has_changed = self._is_deadline_known = False
        if (earliest := connection.timers.next()) is not None:
            self._timetable.set(conn, earliest[0], mono)
