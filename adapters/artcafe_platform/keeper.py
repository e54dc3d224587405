"""The store of a platform: batches are stored one after the other, away from the event loop (PLAT-5)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio

from artcafe_anyio.loops import find_time
from artcafe_platform.logs import tell
from artcafe_proto import ApiError
from artcafe_proto.effects import Persist
from artcafe_stores import StoreUnavailable
from artcafe_stores.committing import Committer

if TYPE_CHECKING:
    from artcafe_platform.owner import Owner
    from artcafe_proto import Instant, PlatformHub
    from artcafe_proto.effects import PersistFailure
    from artcafe_stores import Store

PATIENCE_S: Final = 5.0
"""PLAT-5: nobody waits longer for a store."""
RETRY_AFTER_S: Final = 5


async def begin(hub: PlatformHub, store: Store, now: Instant) -> None:
    """Store that this life has begun: before that, nobody is served. Raises StoreError."""
    while (output := hub.next_output()) is not None:
        if isinstance(output, Persist):
            await store.commit(output)
            hub.persisted(output.batch, now)


class Keeper:
    """Carries out what the hub has stored."""

    def __init__(self, store: Store, owner: Owner) -> None:
        self._owner = owner
        self._time = find_time()
        self._committer = Committer(store, _complain)
        self._waits: dict[int, _Wait] = {}  # by the batch that is waited for
        owner.persist = self._committer.take

    async def run(self) -> None:
        """Until it is cancelled. An internal error ends the platform, and so does what cannot be tried again."""
        try:
            await self._committer.run(self._stored, self._failed)
        except Exception as error:
            self._owner.fail(error)

    def _stored(self, batch: int) -> None:
        with self._owner.own_turn() as now:
            self._owner.hub.persisted(batch, now)
        for barrier, wait in self._waits.items():
            if barrier <= batch:
                wait.over.set()

    def _failed(self, batch: int, reason: PersistFailure) -> None:
        with self._owner.own_turn() as now:
            self._owner.hub.persist_failed(batch, reason, now)

    async def stored(self, barrier: int, what: str) -> None:
        """Wait until a batch is stored. Raises ApiError 503, which names `what` is in it, once it has been waited for
        as long as anybody waits: then it may be, or will be.
        """
        if not await self._wait_for(barrier):
            message = f"the store is slow: ask later whether {what} was accepted"
            raise ApiError(503, "may_be_accepted", message, retry_after_s=RETRY_AFTER_S)

    async def _wait_for(self, barrier: int) -> bool:
        hub, until = self._owner.hub, self._time() + PATIENCE_S
        while hub.stored < barrier:
            wait = self._waits.get(barrier)
            if wait is None:
                wait = await self._lead(barrier, until)
            else:
                await wait.over.wait()
            if wait.is_in_vain:
                break
        return hub.stored >= barrier

    async def _lead(self, barrier: int, until: float) -> _Wait:
        """Wait as the first, and look at the clock for all. Cancelled, the next one leads, until its own time."""
        wait = self._waits[barrier] = _Wait()
        try:
            with anyio.CancelScope(deadline=until) as scope:
                await wait.over.wait()
            wait.is_in_vain = scope.cancelled_caught
        finally:
            del self._waits[barrier]
            wait.over.set()
        return wait

    async def finish(self) -> bool:
        """Wait for all that was put, for 5 s; returns whether it is stored."""
        return self._owner.failure is None and await self._wait_for(self._owner.hub.barrier)

    @property
    def hangs(self) -> bool:
        """Whether the store has not done with a batch, at the end."""
        return self._committer.is_storing

    def failure(self) -> StoreUnavailable | None:
        """What to say at the end, if something is not stored."""
        if not (unstored := self._owner.hub.unstored):
            return None
        return StoreUnavailable(
            f"the store did not take everything in {PATIENCE_S:.0f} s, and the platform ended without storing "
            f"{unstored} of its records: what was answered 503 may_be_accepted is to be sent again"
        )


def _complain(complaint: str) -> None:
    tell(logging.ERROR, f"cannot store, trying again: {complaint} [PLAT-5]")


class _Wait:
    """Of all who wait for one batch: thousands share it, and one timer."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.is_in_vain = False
