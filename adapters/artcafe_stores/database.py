"""The SQLite file of a store and its lock. All of it blocks, and is used in one thread."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

from artcafe_anyio.files import exposure, flags, open_directory
from artcafe_proto import ConfigError
from artcafe_proto.records import Record
from artcafe_stores.errors import StoreError, StoreFull, StoreUnavailable, damaged
from artcafe_stores.locking import FileLock
from artcafe_stores.schema import check_schema, migrate

if TYPE_CHECKING:
    from collections.abc import Iterable

BUSY_S: Final = 1.0
"""How long a commit waits for another program that writes, or checkpoints, before it fails."""
LOG_BYTES: Final = 8 * 2**20
"""To how much the log is cut when it begins anew: twice what SQLite lets it grow to by itself (1000 pages)."""
LEAST_BYTES: Final = 64 * 2**10
"""With less than that on the disk, what cannot be written found no room: the index of a log takes 32 KiB at once."""

_SETTINGS: Final = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # the log is synced at each commit
    "PRAGMA fullfsync = ON",  # macOS: down to the disk itself
    f"PRAGMA journal_size_limit = {LOG_BYTES}",
)
_READ: Final = """
    SELECT CAST(kind AS INTEGER), CAST(n AS INTEGER), coalesce(CAST(value AS BLOB), x'') FROM records ORDER BY kind, n
"""
"""Damage may change a type. A value that was lost must not pass for a deletion: empty, it fails its checksum."""
_PUT: Final = "INSERT OR REPLACE INTO records (kind, n, value) VALUES (?, ?, ?)"
_DELETE: Final = "DELETE FROM records WHERE kind = ? AND n = ?"
_PARTS: Final = ("-wal", "-shm", "")
"""The files of a database, by how their names end. The log goes first: beside a new file it would be taken for its."""


class Database:
    """The file at `path`, an absolute one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = FileLock(f"{path}.lock", path)
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._log_identity: tuple[int, int] | None = None

    def open(self) -> list[Record]:
        """Lock, check, migrate and read the file; make it if it is missing. Raises StoreError and ConfigError."""
        try:
            open_directory(Path(self._path).parent)
            self._lock.acquire()
            self._identity = self._make_private()
            return self._connect()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError | sqlite3.Error | UnicodeError):
                raise self._reason(error) from error
            raise

    def commit(self, records: Iterable[Record]) -> None:
        """Store all of `records`, or none. Raises StoreError, and what a record of impossible numbers leads to."""
        last = {(record.kind, record.n): record for record in records}
        if not last:
            return
        connection = self._connection
        if connection is None:  # it was given before `open` had failed
            raise StoreUnavailable(f"{self._path} is not open")
        try:
            _roll_back(connection)  # what could not be rolled back before
            connection.execute("BEGIN IMMEDIATE")
            self._check_place()
            connection.executemany(_DELETE, [key for key, record in last.items() if record.value is None])
            put = [(each.kind, each.n, each.value) for each in last.values() if each.value is not None]
            connection.executemany(_PUT, put)
            connection.execute("COMMIT")
            self._check_log(connection)
        except BaseException as error:
            with suppress(sqlite3.Error):
                _roll_back(connection)
            if isinstance(error, OSError | sqlite3.Error):
                raise self._reason(error) from error
            raise

    def put_aside(self, name: str) -> str | None:
        """Rename the file that was opened, or tried to be, and what its closing leaves of its log: `name` follows its
        own. Returns the new path, None if another file has its place by now. Raises StoreError.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        try:
            self._lock.acquire()  # of several who find it damaged, one renames it, and nobody the file that comes next
            with suppress(FileNotFoundError):
                status = os.stat(self._path)
                if (status.st_dev, status.st_ino) == self._identity:
                    return self._rename(name)
        except OSError as error:
            raise self._reason(error) from error
        finally:
            self._lock.release()
        return None

    def _rename(self, name: str) -> str:
        path = f"{self._path}.{name}"
        for number in count(2):
            if not any(os.path.lexists(path + end) for end in _PARTS):
                break
            path = f"{self._path}.{name}.{number}"
        for end in _PARTS:
            with suppress(FileNotFoundError):
                os.rename(self._path + end, path + end)
        return path

    def close(self) -> None:
        """Close what is open. The log is moved into the file, unless another program reads it."""
        if self._connection is not None:
            if self._log_identity is not None:  # else it could not be opened
                with suppress(sqlite3.Error, StoreError):
                    self._check_log(self._connection)
            self._connection.close()
            self._connection = None
        self._lock.release()

    def _make_private(self) -> tuple[int, int]:
        """Make the file for its owner alone, or check that it is; which one it is."""
        try:
            # A FIFO in its place must not block, a link not lead elsewhere: its log and its lock have their place here.
            access = os.O_RDWR | os.O_CREAT | flags("O_NOFOLLOW", "O_NONBLOCK")
            descriptor = os.open(self._path, access, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ConfigError(f"{self._path} is a symbolic link: a store must be a file of its own") from None
            raise
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{self._path} must be a file")
        exposed = exposure(self._path, status)
        if exposed is not None:
            raise ConfigError(f"{self._path} {exposed}")
        return status.st_dev, status.st_ino

    def _connect(self) -> list[Record]:
        connection = self._connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        check_schema(connection, self._path)
        for setting in _SETTINGS:
            connection.execute(setting)
        connection.execute("BEGIN IMMEDIATE")
        migrate(connection)
        connection.execute("COMMIT")
        self._log_identity = _identity_of(self._log)
        # Reading alone does not notice that a page has taken the place of another one.
        ((found,),) = connection.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise self._damaged(found)
        return [Record(*row) for row in connection.execute(_READ)]

    @property
    def _log(self) -> str:
        return f"{self._path}-wal"

    def _check_place(self) -> None:
        """A file that was removed or replaced still takes what is written, and nobody will ever find it."""
        self._lock.renew()
        status = os.stat(self._path)
        if (status.st_dev, status.st_ino) != self._identity:
            raise StoreUnavailable(f"{self._path} was replaced while it was in use: put it back, or restart")

    def _check_log(self, connection: sqlite3.Connection) -> None:
        """A log that was removed does the same. What it has is moved into the file, with each batch from then on."""
        if self._log_identity is not None and _identity_of(self._log) == self._log_identity:
            return
        ((is_busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        if is_busy:
            raise StoreUnavailable(f"{self._log} was removed while it was in use, and another program reads the store")

    def _reason(self, error: OSError | sqlite3.Error | UnicodeError) -> StoreError:
        """What an error of the system, or of SQLite, means to who uses the store."""
        if isinstance(error, OSError):
            kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreUnavailable
            return kind(f"{error.filename or self._path} cannot be used: {error.strerror}")
        if isinstance(error, UnicodeError):
            return self._damaged(str(error))
        no_code = sqlite3.SQLITE_ERROR if isinstance(error, sqlite3.OperationalError) else sqlite3.SQLITE_MISUSE
        match getattr(error, "sqlite_errorcode", no_code) & 0xFF:  # what is above are details
            case sqlite3.SQLITE_FULL:
                return StoreFull(f"there is no room for {self._path}: make some")
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_ERROR:  # the statements are right
                return self._damaged(str(error))
            case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if self._is_disk_full():
                return StoreFull(f"there is no room for the log of {self._path}: make some")
            case _:
                return StoreUnavailable(f"{self._path} cannot be used: {error}")

    def _damaged(self, problem: str) -> StoreError:
        return damaged(self._path, problem)

    def _is_disk_full(self) -> bool:
        """SQLite says of some files only that they could not be written."""
        if not hasattr(os, "statvfs"):
            return False
        try:
            status = os.statvfs(os.path.dirname(self._path))
        except OSError:  # it cannot be reached
            return False
        return status.f_bavail * status.f_frsize < LEAST_BYTES or bool(status.f_files and not status.f_favail)


def _identity_of(path: str) -> tuple[int, int] | None:
    """Which file is at `path`, if there is one."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # after some errors SQLite has rolled back by itself
        connection.execute("ROLLBACK")
