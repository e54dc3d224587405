"""What a driver does with a store: batches are stored one after the other, and it closes at the end (PLAT-5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from artcafe_anyio.loops import Flag
from artcafe_stores.errors import StoreDamaged, StoreError, StoreLocked, StoreSchema

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.effects import Persist, PersistFailure
    from artcafe_stores.protocol import Store


CLOSE_S: Final = 5.0
"""How long the end of a process waits for its store to close."""


class Committer:
    """Carries out `Persist`, of either role: the machine has one batch under way at a time."""

    def __init__(self, store: Store, complain: Callable[[str], object]) -> None:
        """`complain` is told why a batch was not stored, once for the same reason: it is tried every second."""
        self._store = store
        self._tell = complain
        self._batch: Persist | None = None
        self._complaint = ""  # what was told last, since something was stored
        self.is_storing: bool = False
        """Whether the store has been given a batch and has not answered; also once nobody waits for that."""
        self._is_due = Flag()

    def take(self, persist: Persist) -> None:
        """Store a batch soon. Called from anywhere in the loop's thread."""
        self._batch = persist
        self._is_due.set()

    async def run(self, stored: Callable[[int], object], failed: Callable[[int, PersistFailure], object]) -> None:
        """Store what was taken, and tell what came of it by the number of its batch, until cancelled.

        Raises what is of no use to try again: StoreDamaged, StoreLocked, StoreSchema, and what is no StoreError.
        """
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            persist, self._batch = self._batch, None
            if persist is None:
                continue
            self.is_storing = True
            try:
                await self._store.commit(persist)
            except StoreError as error:
                self.is_storing = False
                if isinstance(error, StoreDamaged | StoreLocked | StoreSchema):
                    raise
                self._complain(str(error))
                failed(persist.batch, error.failure)
            else:
                self.is_storing = False
                self._complaint = ""
                stored(persist.batch)

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            self._complaint = complaint
            self._tell(complaint)


async def close(store: Store, *, hangs: bool = False) -> None:
    """Close a store, and wait for it for 5 s, or not at all if it is known to hang."""
    with anyio.move_on_after(0.0 if hangs else CLOSE_S):
        await store.aclose()
