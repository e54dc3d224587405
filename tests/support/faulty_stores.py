"""A store that fails, or takes its time, when a test says so."""

from __future__ import annotations

import math
from collections.abc import Iterable

import anyio

from artcafe_proto.effects import Persist
from artcafe_proto.records import Record
from artcafe_stores import Store, StoreError


class FaultyStore:
    """The store that it is given, with faults. All of them hold for commits that begin from then on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._error: StoreError | None = None
        self._failures_left = 0.0
        self._is_stored = False
        self._gate = anyio.Event()
        self._gate.set()
        self.delay_s = 0.0
        """How long each commit sleeps before anything else, seconds."""
        self.persists: list[Persist] = []
        """Every batch that it was asked to store, in order, also those that failed."""

    def fail(self, error: StoreError, times: float = math.inf, *, is_stored: bool = False) -> None:
        """Have so many commits raise `error`; with `is_stored` after the batch was stored."""
        self._error, self._failures_left, self._is_stored = error, times, is_stored

    def heal(self) -> None:
        """Have no more commits fail."""
        self._failures_left = 0

    def hold(self) -> None:
        """Have commits wait, after their delay, until `release`."""
        if self._gate.is_set():
            self._gate = anyio.Event()

    def release(self) -> None:
        """Let those go on that wait."""
        self._gate.set()

    async def open(self) -> Iterable[Record]:
        """As `Store.open`."""
        return await self._store.open()

    async def commit(self, persist: Persist) -> None:
        """As `Store.commit`, with the faults."""
        self.persists.append(persist)
        await anyio.sleep(self.delay_s)
        await self._gate.wait()
        if self._failures_left < 1 or self._error is None:
            await self._store.commit(persist)
            return
        self._failures_left -= 1
        if self._is_stored:
            await self._store.commit(persist)
        raise self._error

    async def aclose(self) -> None:
        """As `Store.aclose`, behind what is held."""
        if not self._gate.is_set():
            await self._gate.wait()
        await self._store.aclose()
