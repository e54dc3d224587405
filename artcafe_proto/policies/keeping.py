"""What is stored, and what may be said: the one rule of durability (PLAT-5), the same in both roles.

State changes at once; an output leaves when everything before it is stored. Records are put into batches, of which one
is under way at a time; what is put meanwhile shares the next one. An output that is made now waits for `barrier`, the
number of the last batch that anything was put into, and leaves once `stored` has reached it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Literal

from artcafe_proto.effects import Persist
from artcafe_proto.events import StoreRecovered, StoreStalled
from artcafe_proto.limits import LATE_TIMER_S, MAX_BATCH_BYTES, MAX_UNSTORED_BYTES, STORE_PATIENCE_S, STORE_RETRY_S

if TYPE_CHECKING:
    from artcafe_proto.effects import PersistFailure
    from artcafe_proto.records import Record


class _Batch:
    """Records that are stored together."""

    __slots__ = ("n", "nbytes", "records", "since")

    def __init__(self, n: int) -> None:
        self.n = n
        self.since: float | None = None  # about when its first record was put
        self.records: list[Record] = []
        self.nbytes = 0


class Keeping:
    """The batches of one machine, and how far its store has come."""

    __slots__ = (
        "_is_full",
        "_refuses_since",
        "_retry_at",
        "_stalls_at",
        "_under_way",
        "_waiting",
        "barrier",
        "cause",
        "has_stalled",
        "stalled_since",
        "stored",
        "unstored_bytes",
    )

    def __init__(self) -> None:
        self.barrier: int = 0
        """The batch that what was put last is in: an output that is made now waits for it."""
        self.stored: int = 0
        """The last batch that is stored, and all before it are."""
        self.unstored_bytes: int = 0
        """Of all records that are not stored."""
        self.stalled_since: float | None = None
        """Since when the oldest record waits that is not stored, monotonic seconds; None if all are. A retry moves
        nothing."""
        self.has_stalled: bool = False
        """Whether it has waited for too long (`look`)."""
        self.cause: PersistFailure | Literal["slow"] = "slow"
        """Why the batch under way is not stored, as far as is known."""
        self._waiting: deque[_Batch] = deque()
        self._under_way: _Batch | None = None
        self._stalls_at = 0.0  # when the store has stalled, if the batch under way is not stored
        self._retry_at: float | None = None  # when a batch that could not be stored is handed out again
        self._is_full = False
        self._refuses_since: float | None = None  # as told

    @property
    def unstored(self) -> int:
        """How many records are not stored."""
        under_way = () if self._under_way is None else (self._under_way,)
        return sum(len(batch.records) for batch in (*under_way, *self._waiting))

    def put(self, *records: Record) -> int:
        """Store records, all or none, with the next batch that has room; returns the number of that batch."""
        nbytes = 0
        for record in records:
            nbytes += record.size
        batch = self._waiting[-1] if self._waiting else None
        if batch is None or batch.nbytes + nbytes > MAX_BATCH_BYTES:
            self.barrier += 1
            batch = _Batch(self.barrier)
            self._waiting.append(batch)
        batch.records += records
        batch.nbytes += nbytes
        self.unstored_bytes += nbytes
        return self.barrier

    def next_persist(self, mono: float) -> Persist | None:
        """The batch to hand out now: the next one, or again one that could not be stored. None while one is stored."""
        for waiting in reversed(self._waiting):
            if waiting.since is not None:
                break
            waiting.since = mono
        batch = self._under_way
        if batch is None:
            if not self._waiting:
                return None
            batch = self._under_way = self._waiting.popleft()
            self.stalled_since = batch.since
            self._stalls_at = max(mono, self._stalls(batch))
        elif self._retry_at is None or self._retry_at > mono:
            return None
        self._retry_at = None
        return Persist(batch.n, tuple(batch.records))

    def persisted(self, batch: int, mono: float) -> bool:
        """A batch is stored. False, and nothing changes, unless it is the one under way."""
        if self._under_way is None or self._under_way.n != batch:
            return False
        self.unstored_bytes -= self._under_way.nbytes
        self.stored = batch
        self._under_way = self.stalled_since = self._retry_at = None
        self._is_full = False
        self.cause = "slow"
        self.has_stalled = self.has_stalled and bool(self._waiting) and self._stalls(self._waiting[0]) <= mono
        return True

    def failed(self, batch: int, reason: PersistFailure, mono: float) -> bool:
        """A batch could not be stored: it is handed out again after a while. False as for `persisted`."""
        if self._under_way is None or self._under_way.n != batch:
            return False
        self._is_full = reason == "full"
        self.cause = reason
        self._retry_at = mono + STORE_RETRY_S
        return True

    def look(self, mono: float) -> None:
        """It is later: the store may have stalled. A late look proves nothing, so there is another one."""
        if self._under_way is not None and self._stalls_at <= mono:
            if mono - self._stalls_at > LATE_TIMER_S and not self.has_stalled:
                self._stalls_at = mono + STORE_RETRY_S
            else:
                self.has_stalled = True

    def news(self, mono: float) -> StoreStalled | StoreRecovered | None:
        """What to tell after any of these three: that new work is refused from now on, or taken again."""
        since = self._refuses_since
        if self.refuses and since is None:
            self._refuses_since = mono if self.stalled_since is None else self.stalled_since
            return StoreStalled(self.cause)
        if since is not None and not self.refuses:
            self._refuses_since = None
            return StoreRecovered(mono - since)
        return None

    @property
    def has_room(self) -> bool:
        """Whether more may wait for the store."""
        return self.unstored_bytes < MAX_UNSTORED_BYTES

    @property
    def refuses(self) -> bool:
        """Whether new work is to be refused: the store is full, has stalled, or too much waits for it."""
        return self._is_full or self.has_stalled or not self.has_room

    @property
    def deadline(self) -> float | None:
        """When to look again, monotonic seconds: a batch is to be handed out again, or the store has stalled."""
        if self._under_way is None:
            return None
        if self.has_stalled:
            return self._retry_at
        return self._stalls_at if self._retry_at is None else min(self._stalls_at, self._retry_at)

    def _stalls(self, batch: _Batch) -> float:
        return math.inf if batch.since is None else batch.since + STORE_PATIENCE_S
