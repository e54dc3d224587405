"""A store in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from artcafe_proto import LocalProtocolError
from artcafe_proto.records import Record
from artcafe_stores.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artcafe_proto.effects import Persist

__all__ = ["MemoryStore"]


class MemoryStore:
    """A `Store` for tests, and the shortest one that does everything right.

    What it holds is in `held`, by kind and number. It outlives the store: given to another one, it is restored.
    """

    def __init__(self, held: dict[tuple[int, int], bytes] | None = None) -> None:
        self.held: dict[tuple[int, int], bytes] = {} if held is None else held
        self._is_open = False

    async def open(self) -> Iterable[Record]:
        """As `Store.open`."""
        if self._is_open:
            raise LocalProtocolError("the store is open already")
        await checkpoint()
        self._is_open = True
        return [Record(kind, n, value) for (kind, n), value in sorted(self.held.items())]

    async def commit(self, persist: Persist) -> None:
        """As `Store.commit`."""
        await checkpoint()
        if not self._is_open:
            raise StoreUnavailable("the store is not open")
        for record in persist.records:
            if record.value is None:
                self.held.pop((record.kind, record.n), None)
            else:
                self.held[record.kind, record.n] = record.value

    async def aclose(self) -> None:
        """As `Store.aclose`."""
        self._is_open = False
        await checkpoint()
