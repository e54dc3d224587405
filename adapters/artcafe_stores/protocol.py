"""What a store is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artcafe_proto.effects import Persist
    from artcafe_proto.records import Record

__all__ = ["Store"]


class Store(Protocol):
    """Keeps records beyond the life of a process, for one hub or one agent (PLAT-5).

    To a store kinds, numbers and values are opaque. It gives values back as it has them: that one was damaged is for
    the core to notice.
    """

    async def open(self) -> Iterable[Record]:
        """Take the store for this process alone; returns what it holds, by kind and number, without deletions.

        Raises StoreError: StoreLocked, StoreDamaged and StoreSchema need a person, the others may pass. What has failed
        or was cancelled may be tried again. Raises LocalProtocolError if it is open already.
        """
        ...

    async def commit(self, persist: Persist) -> None:
        """Store all records of a batch, or none. When this returns, they outlive the process; those of a store on disk
        a loss of power, too.

        A later record of one kind and number takes the place of an earlier one. Batches are stored in the order of the
        calls. A batch without records is stored when all before it are. Storing a batch again is storing it once.
        Cancelled, the batch is stored or it is not, as a whole, and before the next one.

        Raises StoreFull or StoreUnavailable: the store stays open and unharmed, and the same batch is to be tried again
        before any other. Raises StoreDamaged, StoreLocked or StoreSchema if trying again is of no use: the platform
        ends. After any of them, too, a process that ends leaves the whole batch or nothing of it.
        """
        ...

    async def aclose(self) -> None:
        """Give up the store; calling it again does nothing. It waits for the batches under way, unless cancelled: then
        the store closes by itself after them.
        """
        ...
