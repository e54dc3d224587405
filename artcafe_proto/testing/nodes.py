"""What an agent's process and a platform have in common in a simulation: clocks, and a timer that may be late."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, Protocol

from artcafe_proto.instants import Instant

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.testing.schedule import Alarms, Schedule
    from artcafe_proto.testing.worlds import World

REPORT_INTERVAL_S: Final = 1.0
"""How long after a report that much has not left the next one follows."""

_ROUNDING_S: Final = 1e-6


class Stage(Protocol):
    """What every part of a simulation has of the whole: its time, and what the world is like."""

    seed: int
    world: World
    agent_ids: list[str]
    wall_at_start: float
    schedule: Schedule
    alarms: Alarms
    is_calm: bool

    @property
    def time(self) -> float:
        """Seconds since the beginning."""
        ...

    @property
    def last_events(self) -> list[str]:
        """The last things that happened, for people."""
        ...

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Plan an action."""
        ...

    def told(self, who: str, what: object) -> None:
        """Something happened that a person may want to know of."""
        ...

    def traced(self, who: str, data: bytes) -> None:
        """Somebody wrote bytes."""
        ...

    def enter(self, node: Node) -> int:
        """Something new has a timer; returns its number."""
        ...


class Node(ABC):
    """Something with clocks of its own, which may stand still for a while."""

    def __init__(self, sim: Stage, *, wall_skew_s: float = 0.0) -> None:
        self._schedule = sim.schedule
        self._alarms = sim.alarms
        self.number: Final = sim.enter(self)
        """In the order in which they came to be: of two timers of one moment, that of the earlier one is first."""
        self.mono_offset_s: float = 1000.0
        self.wall_offset_s: float = sim.wall_at_start + wall_skew_s
        self.is_dead = False
        self.wakes_at: float = math.inf
        """When its timer is due, in the simulation's time."""
        self.held_up_until: float = -math.inf
        """What was due by then, in its monotonic time, may have been handled no earlier."""
        self._deadline: float | None = None
        self._late_until = 0.0
        self._is_asleep = False

    @property
    def now(self) -> Instant:
        """Both clocks of this node."""
        time = self._schedule.time
        return Instant(time + self.mono_offset_s, time + self.wall_offset_s)

    @property
    def mono(self) -> float:
        """Its monotonic clock."""
        return self._schedule.time + self.mono_offset_s

    def _due(self, deadline: float) -> Instant:
        """Now, as a timer that is due sees it: rounding must not have it come a moment too early."""
        now = self.now
        return Instant(max(now.mono, deadline), now.wall)

    def _is_due(self, deadline: float) -> bool:
        return deadline - (self._schedule.time + self.mono_offset_s) < _ROUNDING_S

    def be_late(self, until: float) -> None:
        """Have no timer before that time of the simulation."""
        self._late_until = until
        self._was_held_up(until + self.mono_offset_s)
        self._wait_for(self._deadline)

    @abstractmethod
    def handle_timer(self) -> None:
        """Its timer is due."""

    def _put_clock_forward(self, by_s: float) -> None:
        self.mono_offset_s += by_s

    def _was_held_up(self, until: float) -> None:
        self.held_up_until = max(self.held_up_until, until)

    def _wait_for(self, deadline: float | None) -> None:
        self._deadline = deadline
        if deadline is None or self._is_asleep or self.is_dead:
            self._wake_at(math.inf)
        else:
            at = deadline - self.mono_offset_s
            self._wake_at(at if at > self._late_until else self._late_until)

    def _wake_at(self, at: float) -> None:
        self.wakes_at = at
        if at < math.inf:
            self._alarms.set(self.number, at)
        else:
            self._alarms.remove(self.number)
