"""What the file holds, by version: `PRAGMA user_version`. A file of an older version is migrated when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_stores.errors import StoreSchema, damaged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

APPLICATION_ID: Final = 0x41434146
"""ACAF: by which a file is known to be a store (`PRAGMA application_id`)."""


_MOST_VERSIONS: Final = 1000
"""No schema will ever have a higher version: one that is, is damaged."""
_TABLE: Final = (
    "CREATE TABLE records (kind INTEGER NOT NULL, n INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, n))"
    " WITHOUT ROWID"
)


def _create(database: sqlite3.Connection) -> None:
    database.execute(_TABLE)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")


MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = [_create]
"""The one at index i makes version i + 1 of version i. Released ones stay as they are; new ones are appended."""


def check_schema(database: sqlite3.Connection, path: str) -> None:
    """Look whether the file at `path` is new, or of a version that is known here. Raises StoreSchema, and StoreDamaged
    for what no version writes.
    """
    version = _number(database, "PRAGMA user_version")
    application_id = _number(database, "PRAGMA application_id")
    tables = _number(database, "SELECT count(*) FROM sqlite_master")
    if application_id != APPLICATION_ID and (version or tables):
        if database.execute("SELECT 1 FROM sqlite_master WHERE sql = ?", [_TABLE]).fetchall():
            raise damaged(path, f"its application_id is {application_id:#x}")
        raise StoreSchema(f"{path} is the database of another program: give the store a path of its own")
    if not 0 <= version <= _MOST_VERSIONS or (version == 0 and tables):
        raise damaged(path, f"its schema has the version {version}")
    if version > len(MIGRATIONS):
        raise StoreSchema(
            f"{path} was written by a newer version (schema {version}, this one knows {len(MIGRATIONS)}): upgrade"
            " artcafe-proto, or restore a backup from before"
        )


def migrate(database: sqlite3.Connection) -> None:
    """Bring the file to the newest version, in one transaction that the caller has begun and commits."""
    version = _number(database, "PRAGMA user_version")
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        step(database)
        database.execute(f"PRAGMA user_version = {number}")


def _number(database: sqlite3.Connection, query: str) -> int:
    return int(database.execute(query).fetchall()[0][0])
