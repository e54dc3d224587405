"""The SQLite file among programs: other versions of this one, and whatever else opens it meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from artcafe_proto.records import Record
from artcafe_stores import SqliteStore, StoreSchema, StoreUnavailable, schema
from stores.sqlite_files import look_for_sqlite3, refusal, run_block, store_in
from support.store_benches import SqliteBench, batch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "records.db"


# --- versions ---------------------------------------------------------------------------------------------------------


def add_column(database: sqlite3.Connection) -> None:
    database.execute("ALTER TABLE records ADD COLUMN note TEXT NOT NULL DEFAULT 'old'")


def fail(database: sqlite3.Connection) -> None:
    add_column(database)
    raise sqlite3.OperationalError("planted")


def version(path: Path) -> tuple[int, int]:
    """The version of the schema and the number of columns."""
    with closing(sqlite3.connect(path)) as database:
        ((number,),) = database.execute("PRAGMA user_version").fetchall()
        return number, len(database.execute("PRAGMA table_info(records)").fetchall())


def test_an_older_file_is_migrated_and_keeps_what_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_in(path, (1, 1, b"a"))
    assert version(path) == (1, 3)
    monkeypatch.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, add_column])
    assert store_in(path, (1, 2, b"b")) == [(1, 1, b"a")]
    assert version(path) == (2, 4)
    assert store_in(path) == [(1, 1, b"a"), (1, 2, b"b")]
    store_in(path.with_name("new.db"))
    assert version(path.with_name("new.db")) == (2, 4)


def test_a_migration_that_fails_leaves_the_old_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_in(path, (1, 1, b"a"))
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, fail])
        assert "planted" in refusal(path)
    assert version(path) == (1, 3)
    assert store_in(path) == [(1, 1, b"a")]


def test_a_newer_file_is_refused_and_left_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", [*schema.MIGRATIONS, add_column])
        store_in(path)
    content = path.read_bytes()
    with pytest.raises(StoreSchema, match=r"newer version \(schema 2, this one knows 1\): upgrade"):
        anyio.run(SqliteStore(path).open)
    assert path.read_bytes() == content


@pytest.mark.parametrize("statement", ["CREATE TABLE records (a)", "PRAGMA user_version = 1"])
def test_the_database_of_another_program_is_refused_and_left_alone(path: Path, statement: str) -> None:
    path.parent.mkdir(0o700)
    path.touch(0o600)
    with closing(sqlite3.connect(path)) as other:
        other.execute(statement)
    content = path.read_bytes()
    with pytest.raises(StoreSchema, match="another program"):
        anyio.run(SqliteStore(path).open)
    assert path.read_bytes() == content


# --- other programs ---------------------------------------------------------------------------------------------------


def test_a_writer_among_other_programs_delays_a_batch_or_fails_it_for_now(
    sqlite: SqliteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artcafe_stores.database.BUSY_S", 0.01)
    store = sqlite.make()
    anyio.run(store.open)
    with closing(sqlite.other_connection()) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            anyio.run(store.commit, batch((1, 1, b"a")))
        other.execute("COMMIT")
    anyio.run(store.commit, batch((1, 1, b"a")))
    anyio.run(store.aclose)
    assert store_in(sqlite.path) == [(1, 1, b"a")]


@pytest.mark.anyio
async def test_a_cancelled_batch_does_not_wait_for_what_hangs(
    sqlite: SqliteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artcafe_stores.database.BUSY_S", 60)
    store = sqlite.make()
    await store.open()
    with closing(sqlite.other_connection()) as other:
        other.execute("BEGIN IMMEDIATE")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.commit, batch((1, 1, b"cancelled")))
                await anyio.wait_all_tasks_blocked()
                tasks.start_soon(store.commit, batch((1, 2, b"cancelled, and not begun")))
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        other.execute("COMMIT")
    await store.commit(batch((1, 3, b"next")))
    await store.aclose()
    assert [record.n for record in await store.open()] in ([3], [1, 3], [2, 3])  # one may have begun
    await store.aclose()


def test_the_file_may_be_read_meanwhile_and_what_is_read_is_stored(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    with closing(sqlite3.connect(path)) as other:
        for n in range(3):
            anyio.run(store.commit, batch((1, n, b"a")))
            assert other.execute("SELECT count(*) FROM records").fetchall() == [(n + 1,)]
    anyio.run(store.aclose)


@pytest.mark.parametrize("how", ["module", "command"])
def test_a_backup_made_under_load_is_a_store_of_whole_batches(path: Path, tmp_path: Path, how: str) -> None:
    copy = tmp_path / "copy.db"
    if how == "command":
        look_for_sqlite3()

    def back_up() -> None:
        if how == "command":
            run_block("VACUUM INTO", path)
        else:
            copy.touch(0o600)
            with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)

    async def main() -> None:
        store = SqliteStore(path)
        await store.open()
        await store.commit(batch(*((1, n, b"0") for n in range(2000))))
        number = 0
        is_over = anyio.Event()

        async def keep_storing() -> None:
            nonlocal number
            while not is_over.is_set() or number < 2:
                number += 1
                await store.commit(batch((1, 0, b"%d" % number), (1, 1999, b"%d" % number)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_storing)
            await anyio.to_thread.run_sync(back_up)
            is_over.set()
        await store.aclose()

    anyio.run(main)
    records = store_in(copy)
    assert len(records) == 2000
    assert records[0][2] == records[-1][2]


def test_a_backup_takes_the_place_of_a_damaged_file(path: Path, tmp_path: Path) -> None:
    look_for_sqlite3()
    store_in(path, (1, 1, b"a"))
    run_block("VACUUM INTO", path)
    store_in(path, (1, 2, b"b"))
    path.write_bytes(b"damaged" * 1000)
    assert "is damaged" in refusal(path)
    run_block("mv ", path)
    assert store_in(path, (1, 3, b"c")) == [(1, 1, b"a")]
    assert store_in(path) == [(1, 1, b"a"), (1, 3, b"c")]
    assert (tmp_path / "damaged" / "records.db").read_bytes().startswith(b"damaged")


def test_a_file_that_was_removed_or_replaced_takes_no_more_batches(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    anyio.run(store.commit, batch((1, 1, b"a")))
    away = path.rename(path.with_name("away"))
    with pytest.raises(StoreUnavailable, match="No such file"):
        anyio.run(store.commit, batch((1, 2, b"b")))
    path.touch(0o600)
    with pytest.raises(StoreUnavailable, match="was replaced"):
        anyio.run(store.commit, batch((1, 2, b"b")))
    path.unlink()
    away.rename(path)
    anyio.run(store.commit, batch((1, 2, b"b")))
    anyio.run(store.aclose)
    assert store_in(path) == [(1, 1, b"a"), (1, 2, b"b")]


@pytest.mark.parametrize("other", [False, True], ids=["removed", "replaced"])
def test_a_log_that_was_removed_costs_nothing(path: Path, tmp_path: Path, other: bool) -> None:
    log = path.with_name("records.db-wal")
    store = SqliteStore(path)
    anyio.run(store.open)
    anyio.run(store.commit, batch((1, 1, b"a")))
    log.unlink()
    if other:
        log.touch(0o600)
    for n in (2, 3):
        anyio.run(store.commit, batch((1, n, b"b")))
        crashed = Path(shutil.copytree(path.parent, tmp_path / f"crashed-{n}"))
        assert store_in(crashed / path.name) == [(1, each, b"a" if each == 1 else b"b") for each in range(1, n + 1)]
    anyio.run(store.aclose)


def test_a_log_that_is_removed_again_and_again_costs_nothing(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    for n in range(20):
        path.with_name("records.db-wal").unlink(missing_ok=True)
        anyio.run(store.commit, batch((1, n, b"a")))
        crashed = Path(shutil.copytree(path.parent, tmp_path / f"crashed-{n}"))
        assert len(store_in(crashed / path.name)) == n + 1
    anyio.run(store.aclose)


def test_a_removed_log_is_kept_at_the_end_though_another_program_has_the_file_open(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    anyio.run(store.commit, batch((1, 1, b"a")))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        assert other.execute("SELECT count(*) FROM records").fetchall() == [(1,)]
        path.with_name("records.db-wal").unlink()
        anyio.run(store.aclose)
    assert store_in(path) == [(1, 1, b"a")]


def test_a_directory_that_is_away_for_a_moment_is_an_error_that_passes(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    anyio.run(store.commit, batch((1, 1, b"a")))
    away = path.parent.rename(path.parent.with_name("away"))
    with pytest.raises(StoreUnavailable):
        anyio.run(store.commit, batch((1, 2, b"b")))
    away.rename(path.parent)
    anyio.run(store.commit, batch((1, 2, b"b")))
    anyio.run(store.aclose)
    assert store_in(path) == [(1, 1, b"a"), (1, 2, b"b")]


def test_a_removed_log_that_another_program_reads_is_an_error(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    anyio.run(store.commit, batch((1, 1, b"a")))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM records").fetchall() == [(1,)]
        path.with_name("records.db-wal").unlink()
        with pytest.raises(StoreUnavailable, match=r"records\.db-wal was removed while it was in use"):
            anyio.run(store.commit, batch((1, 2, b"b")))
    anyio.run(store.commit, batch((1, 2, b"b")))
    anyio.run(store.aclose)
    assert store_in(path) == [(1, 1, b"a"), (1, 2, b"b")]


def test_records_are_given_back_as_records(path: Path) -> None:
    store_in(path, (1, 1, b"a"))
    store = SqliteStore(str(path))
    assert list(anyio.run(store.open)) == [Record(1, 1, b"a")]
    anyio.run(store.aclose)
