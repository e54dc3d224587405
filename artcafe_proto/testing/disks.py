"""A disk of a platform or an agent in a simulation: one batch at a time, stored whole or not at all (PLAT-5, CMD-1)."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.effects import Persist, PersistFailure
    from artcafe_proto.records import Record
    from artcafe_proto.testing.nodes import Stage

_QUICK_S: Final = (0.0, 0.002, 0.05, 0.4)
"""How long a batch takes at most on a sound disk; one of them for a world."""
_SLOW_S: Final = (0.5, 9.0)
"""And on a slow one, at least and at most: shorter and longer than anybody waits (PLAT-5)."""
_IS_STORED_THOUGH_UNAVAILABLE: Final = 0.3
_IS_KEPT: Final = 0.5


class BatchFate(Enum):
    """What becomes of a batch. The values are for people."""

    STORED = "a batch is stored"
    FULL = "a batch finds the disk full"
    LOST = "a batch is lost as the disk cannot be reached"
    UNREPORTED = "a batch is stored, though the disk seems not to be reached"
    KEPT_AT_CRASH = "a batch under way is kept at a crash"
    LOST_AT_CRASH = "a batch under way is lost at a crash"


_ARE_STORED: Final = (BatchFate.STORED, BatchFate.UNREPORTED, BatchFate.KEPT_AT_CRASH)


class Disk:
    """What outlives a process. How long a batch takes is drawn. Times are the simulation's."""

    def __init__(self, sim: Stage, rng: Random) -> None:
        self._sim = sim
        self._rng = rng
        self.records: Final[dict[tuple[int, int], Record]] = {}
        """What is stored, by kind and number."""
        self.is_slow_until: float = 0.0
        self.is_full_until: float = 0.0
        self.is_gone_until: float = 0.0
        self.fates: Final[Counter[BatchFate]] = Counter()
        self._quick_s = rng.choice(_QUICK_S)
        self._meanwhile: Callable[[], None] | None = None
        self._under_way: Persist | None = None
        self._unreported: Persist | None = None
        """Stored, but reported as `unavailable`."""

    def commit(self, batch: Persist, done: Callable[[PersistFailure | None], None]) -> None:
        """Store a batch. `done` is called later, with the reason if it could not be stored."""
        self._under_way = batch
        at_least_s, at_most_s = _SLOW_S if self._sim.time < self.is_slow_until else (0.0, self._quick_s)
        takes_s = self._rng.uniform(at_least_s, at_most_s)
        self._sim.after(takes_s, lambda: self._end(batch, done))
        if self._meanwhile is not None:
            self._sim.after(self._rng.uniform(0.0, takes_s), self._meanwhile)
            self._meanwhile = None

    def meanwhile(self, action: Callable[[], None]) -> None:
        """Have something happen while a batch is under way: now or, if none is, during the next one."""
        if self._under_way is not None:
            action()
        else:
            self._meanwhile = action

    def crash(self) -> Persist | None:
        """The process has died. Returns what is stored all the same of what nobody was told that it is stored."""
        batch, self._under_way = self._under_way, None
        if batch is not None and self._sim.time >= self.is_full_until and self._rng.random() < _IS_KEPT:
            self._meets(batch, BatchFate.KEPT_AT_CRASH)
            return batch
        self.fates[BatchFate.LOST_AT_CRASH] += batch is not None
        unreported, self._unreported = self._unreported, None
        return unreported

    def calm(self) -> None:
        """Nothing is the matter any more."""
        self.is_slow_until = self.is_full_until = self.is_gone_until = 0.0
        self._meanwhile = None

    def _end(self, batch: Persist, done: Callable[[PersistFailure | None], None]) -> None:
        if self._under_way is not batch:
            return  # the process has died meanwhile
        self._under_way = None
        if self._sim.time < self.is_full_until:
            self._meets(batch, BatchFate.FULL)
            done("full")
        elif self._sim.time >= self.is_gone_until:
            self._meets(batch, BatchFate.STORED)
            done(None)
        else:
            is_stored = self._rng.random() < _IS_STORED_THOUGH_UNAVAILABLE
            self._meets(batch, BatchFate.UNREPORTED if is_stored else BatchFate.LOST)
            done("unavailable")

    def _meets(self, batch: Persist, fate: BatchFate) -> None:
        self.fates[fate] += 1
        if fate in _ARE_STORED:
            self._store(batch)
            self._unreported = batch if fate is BatchFate.UNREPORTED else None

    def _store(self, batch: Persist) -> None:
        for record in batch.records:
            if record.value is None:
                self.records.pop((record.kind, record.n), None)
            else:
                self.records[record.kind, record.n] = record
