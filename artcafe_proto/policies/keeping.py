"""What is stored, and what may be said: the one rule of durability (PLAT-5), the same in both roles.

State changes at once; an output leaves when everything before it is stored. Records are put into batches, of which one
is under way at a time; what is put meanwhile shares the next one. An output that is made now waits for `barrier`, the
number of the last batch that anything was put into, and leaves once `stored` has reached it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from artcafe_proto.effects import Persist
from artcafe_proto.limits import MAX_BATCH_BYTES, MAX_UNSTORED_BYTES, STORE_PATIENCE_S, STORE_RETRY_S

if TYPE_CHECKING:
    from artcafe_proto.effects import PersistFailure
    from artcafe_proto.records import Record


class _Batch:
    """Records that are stored together."""

    __slots__ = ("n", "nbytes", "records")

    def __init__(self, n: int) -> None:
        self.n = n
        self.records: list[Record] = []
        self.nbytes = 0


class Keeping:
    """The batches of one machine, and how far its store has come."""

    __slots__ = (
        "_is_full",
        "_retry_at",
        "_under_way",
        "_waiting",
        "barrier",
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
        """When the batch under way was handed out first, monotonic seconds; None without one. A retry moves nothing."""
        self._waiting: deque[_Batch] = deque()
        self._under_way: _Batch | None = None
        self._retry_at: float | None = None  # when a batch that could not be stored is handed out again
        self._is_full = False

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
        batch = self._under_way
        if batch is None:
            if not self._waiting:
                return None
            batch = self._under_way = self._waiting.popleft()
            self.stalled_since = mono
        elif self._retry_at is None or self._retry_at > mono:
            return None
        self._retry_at = None
        return Persist(batch.n, tuple(batch.records))

    def persisted(self, batch: int) -> bool:
        """A batch is stored. False, and nothing changes, unless it is the one under way."""
        if self._under_way is None or self._under_way.n != batch:
            return False
        self.unstored_bytes -= self._under_way.nbytes
        self.stored = batch
        self._under_way = self.stalled_since = self._retry_at = None
        self._is_full = False
        return True

    def failed(self, batch: int, reason: PersistFailure, mono: float) -> bool:
        """A batch could not be stored: it is handed out again after a while. False as for `persisted`."""
        if self._under_way is None or self._under_way.n != batch:
            return False
        self._is_full = reason == "full"
        self._retry_at = mono + STORE_RETRY_S
        return True

    def is_stalled(self, mono: float) -> bool:
        """Whether the store has let everybody wait for too long."""
        return self.stalled_since is not None and mono >= self.stalled_since + STORE_PATIENCE_S

    @property
    def has_room(self) -> bool:
        """Whether more may wait for the store."""
        return self.unstored_bytes < MAX_UNSTORED_BYTES

    def refuses(self, mono: float) -> bool:
        """Whether new work is to be refused: the store is full, has stalled, or too much waits for it."""
        return self._is_full or not self.has_room or self.is_stalled(mono)

    def deadline(self, mono: float) -> float | None:
        """When to look again, monotonic seconds: a batch is to be handed out again, or the store has stalled."""
        if self.stalled_since is None:
            return None
        stalls_at, retry_at = self.stalled_since + STORE_PATIENCE_S, self._retry_at
        if stalls_at <= mono:
            return retry_at
        return stalls_at if retry_at is None else min(stalls_at, retry_at)
