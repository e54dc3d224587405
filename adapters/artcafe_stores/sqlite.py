"""A store in a SQLite file: one table by kind and number, with a write-ahead log that is synced at each commit.

The file belongs to one process at a time, by a lock file beside it. SQLite's own locking stays as it is, so that
`sqlite3` and other tools may read the file meanwhile, and back it up.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from artcafe_proto import LocalProtocolError
from artcafe_stores.database import Database
from artcafe_stores.errors import StoreUnavailable
from artcafe_stores.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artcafe_proto.effects import Persist
    from artcafe_proto.records import Record

__all__ = ["SqliteStore"]


class SqliteStore:
    """A `Store` in the file `path`, on asyncio and on trio. It works in a thread of its own."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """The directory is made if it is missing. It must be on a local disk: SQLite's log cannot be shared."""
        self._path = os.path.abspath(path)
        self._database: Database | None = None
        self._refused: Database | None = None  # which could not be opened
        self._worker: Worker | None = None

    def __str__(self) -> str:
        return self._path

    async def open(self) -> Iterable[Record]:
        """As `Store.open`. Raises ConfigError if the directory or the file is open to others, or cannot be used."""
        if self._database is not None:
            raise LocalProtocolError("the store is open already")
        worker = self._worker = Worker(f"store {os.path.basename(self._path)}", self._worker)
        database = self._database = Database(self._path)
        try:
            return await worker.run(database.open)
        except BaseException:
            self._database, self._refused = None, database
            worker.end(database.close)
            raise

    async def commit(self, persist: Persist) -> None:
        """As `Store.commit`."""
        if self._worker is None or self._database is None:
            await checkpoint()
            raise StoreUnavailable(f"{self._path} is not open")
        await self._worker.run(partial(self._database.commit, persist.records))

    async def put_aside(self, name: str) -> str | None:
        """Rename a file that was found damaged, by `open` or in what that gave, and close it; then `open` makes a new
        one.

        Its new path ends in `.name`, or `.name.2` and so on if that is taken; what is left of its log goes with it.
        Returns that path, and None if another process was first. Raises StoreError if it cannot be renamed, and
        LocalProtocolError if `open` was not called.
        """
        database = self._database or self._refused
        if self._worker is None or database is None:
            raise LocalProtocolError("the store has not been opened")
        if self._database is None:
            self._worker = Worker(f"store {os.path.basename(self._path)}", self._worker)
        worker, self._database, self._refused = self._worker, None, None
        try:
            return await worker.run(partial(database.put_aside, name))
        finally:
            worker.end(database.close)

    async def aclose(self) -> None:
        """As `Store.aclose`. What is in the log goes into the file, which can then be copied by itself."""
        database, self._database = self._database, None
        if self._worker is None or database is None:
            await checkpoint()
            return
        await self._worker.run_last(database.close)
