"""Stores as the contract's tests need them: each with a place that outlives it, and ways to make it fail and heal.

A further store needs a `StoreBench` of its own, and a line in `tests/stores/conftest.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from artcafe_proto.effects import Persist
from artcafe_proto.records import Record
from artcafe_stores import MemoryStore, SqliteStore, Store, StoreFull, StoreUnavailable
from support.faulty_stores import FaultyStore


def batch(*records: tuple[int, int, bytes | None], number: int = 1) -> Persist:
    """A batch of records, each given as kind, number and value."""
    return Persist(number, tuple(Record(*record) for record in records))


def held(records: Iterable[Record]) -> list[tuple[int, int, bytes | None]]:
    """The same of what a store has given back, in its order."""
    return [(record.kind, record.n, record.value) for record in records]


class StoreBench(Protocol):
    """One place, and the stores on it: one after another."""

    def make(self) -> Store:
        """A store on the place, with whatever was stored there before."""
        ...

    def fill(self) -> None:
        """Leave no room for 256 KiB in the store that was opened last."""
        ...

    def block(self) -> None:
        """Make the store that was opened last fail for another reason."""
        ...

    def heal(self) -> None:
        """Undo `fill` or `block`."""
        ...


class MemoryBench:
    """A `MemoryStore`; its failures are those of a `FaultyStore`."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], bytes] = {}
        self._store: FaultyStore | None = None

    def make(self) -> Store:
        """As `StoreBench.make`."""
        self._store = FaultyStore(MemoryStore(self._held))
        return self._store

    def fill(self) -> None:
        """As `StoreBench.fill`."""
        assert self._store is not None
        self._store.fail(StoreFull("no room"))

    def block(self) -> None:
        """As `StoreBench.block`."""
        assert self._store is not None
        self._store.fail(StoreUnavailable("no answer"))

    def heal(self) -> None:
        """As `StoreBench.heal`."""
        assert self._store is not None
        self._store.heal()


class SqliteBench:
    """A `SqliteStore` whose connection the test can reach from its own thread."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self._connections: list[sqlite3.Connection] = []
        connections = self._connections

        class Reached(sqlite3.Connection):
            """Told to the bench."""

            def __init__(self, path: str, *args: object, **options: object) -> None:
                super().__init__(path, *args, **options)  # type: ignore[arg-type]
                connections.append(self)

        self._connect = sqlite3.connect
        reached = partial(sqlite3.connect, factory=Reached, check_same_thread=False)
        monkeypatch.setattr(sqlite3, "connect", reached)

    def make(self) -> Store:
        """As `StoreBench.make`."""
        return SqliteStore(self.path)

    def other_connection(self) -> sqlite3.Connection:
        """One as another program has it, without transactions that begin by themselves."""
        return self._connect(self.path, isolation_level=None)

    def ask(self, query: str) -> int:
        """Ask the store's own connection, while the store is idle."""
        return int(self._connections[-1].execute(query).fetchall()[0][0])

    def fill(self) -> None:
        """As `StoreBench.fill`: the file may not grow."""
        self.ask(f"PRAGMA max_page_count = {self.ask('PRAGMA page_count')}")

    def block(self) -> None:
        """As `StoreBench.block`: the file is moved away."""
        self.path.rename(self.path.with_name("away"))

    def heal(self) -> None:
        """As `StoreBench.heal`."""
        self.ask(f"PRAGMA max_page_count = {2**30}")
        if not self.path.exists():
            self.path.with_name("away").rename(self.path)
