"""What must hold of the batches that any machine hands out, a platform or an agent with a journal (PLAT-5, CMD-1)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from artcafe_proto.testing.invariants.table import EPSILON_S

if TYPE_CHECKING:
    from artcafe_proto.effects import Persist
    from artcafe_proto.testing.invariants.table import Checks
    from artcafe_proto.testing.nodes import Stage

# The clauses' numbers, and not the core's, which may be wrong.
_LARGEST_BATCH_BYTES: Final = 512 * 1024
_RETRY_S: Final = 1.0


class BatchInvariants:
    """The batches of one life of one machine."""

    def __init__(self, checks: Checks, sim: Stage) -> None:
        self._check = checks.check
        self._sim = sim
        self._under_way: Persist | None = None
        self._failed: Persist | None = None
        self._retry_at = -math.inf
        self._last = 0
        """The batch that was stored last."""

    @property
    def is_pending(self) -> bool:
        """Whether one was handed out, and the machine was not told that it is stored."""
        return self._under_way is not None or self._failed is not None

    def handed_out(self, batch: Persist) -> None:
        """The machine asks for a batch to be stored."""
        self._check(
            "one batch is under way, the next or again the same", self._under_way is None, "beside", batch.batch
        )
        if self._failed is not None:
            is_same = batch == self._failed and self._sim.time >= self._retry_at - EPSILON_S
        else:
            is_same = batch.batch == self._last + 1
        self._check("one batch is under way, the next or again the same", is_same, batch.batch, "after", self._last)
        nbytes = sum(record.size for record in batch.records)
        is_small = nbytes <= _LARGEST_BATCH_BYTES or len(batch.records) == 1
        self._check("batches and what is held keep to their limits", is_small, nbytes, "bytes in batch", batch.batch)
        self._under_way, self._failed = batch, None

    def failed(self, batch: Persist) -> None:
        """The machine is about to be told that a batch could not be stored."""
        self._under_way, self._failed, self._retry_at = None, batch, self._sim.time + _RETRY_S

    def is_stored(self, batch: Persist) -> None:
        """The machine is about to be told that a batch is stored."""
        self._under_way, self._failed, self._last = None, None, batch.batch
