"""The SQLite file: whose it is, what a crash leaves of it, and damage."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from artcafe_proto import ConfigError, LocalProtocolError
from artcafe_stores import SqliteStore, StoreDamaged, StoreLocked, StoreUnavailable
from artcafe_stores.locking import FileLock
from stores.killed_writer import RECORDS
from stores.sqlite_files import refusal, store_in
from support.store_benches import batch, held

WRITER = Path(__file__).with_name("killed_writer.py")


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """With a umask that takes nothing away, modes are right by themselves or not at all."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "records.db"


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_directory_and_files_are_made_for_their_owner_alone(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    anyio.run(store.commit, batch((1, 1, b"a")))
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(["records.db", "records.db-wal", "records.db-shm", "records.db.lock"], 0o600)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    anyio.run(store.aclose)
    assert {file.name for file in path.parent.iterdir()} == {"records.db", "records.db.lock"}


def as_exposed(path: Path) -> None:
    path.chmod(0o644)


def as_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def as_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def in_open_directory(path: Path) -> None:
    path.parent.chmod(0o777)


def in_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (as_exposed, r"open to others \(mode 0644\): chmod 600"),
        (as_link, "is a symbolic link"),
        (as_fifo, "must be a file"),
        (in_open_directory, "chmod go-w"),
        (in_a_file, "data cannot be used as a directory: it is a file"),
    ],
)
def test_what_others_could_change_or_read_is_refused(path: Path, change: Callable[[Path], None], reason: str) -> None:
    store_in(path, (1, 1, b"a"))
    change(path)
    with pytest.raises(ConfigError, match=reason):
        anyio.run(SqliteStore(path).open)


def test_a_directory_in_place_of_the_file_is_an_error_of_the_store(path: Path) -> None:
    path.mkdir(parents=True, mode=0o700)
    path.parent.chmod(0o700)
    assert "Is a directory" in refusal(path)


def test_a_second_store_on_a_file_says_who_has_it(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    with pytest.raises(StoreLocked) as raised:
        anyio.run(SqliteStore(path).open)
    assert (raised.value.pid, raised.value.host) == (os.getpid(), socket.gethostname())
    assert raised.value.since == pytest.approx(path.with_name("records.db.lock").stat().st_mtime)
    assert f"process {os.getpid()} on {socket.gethostname()} since 2" in str(raised.value)
    anyio.run(store.commit, batch((1, 1, b"a")))  # the refusal has taken nothing from it
    anyio.run(store.aclose)
    assert store_in(path) == [(1, 1, b"a")]


def test_a_lock_without_a_name_in_it_is_a_lock(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    path.with_name("records.db.lock").write_bytes(b"\xff" * 600)
    with pytest.raises(StoreLocked, match="in use by another process") as raised:
        anyio.run(SqliteStore(path).open)
    assert (raised.value.pid, raised.value.host, raised.value.since) == (None, None, None)
    anyio.run(store.aclose)


def test_a_lock_file_that_is_removed_lets_nobody_in_for_long(path: Path) -> None:
    store, other = SqliteStore(path), SqliteStore(path)
    anyio.run(store.open)
    lock = path.with_name("records.db.lock")
    lock.unlink()
    anyio.run(store.commit, batch((1, 1, b"a")))
    with pytest.raises(StoreLocked, match=rf"records\.db is in use by process {os.getpid()} on"):
        anyio.run(other.open)
    lock.unlink()
    assert held(anyio.run(other.open)) == [(1, 1, b"a")]
    with pytest.raises(StoreLocked):
        anyio.run(store.commit, batch((1, 1, b"b")))
    anyio.run(other.aclose)
    anyio.run(store.aclose)
    assert store_in(path) == [(1, 1, b"a")]


def test_a_lock_that_cannot_be_renewed_is_tried_again_with_each_batch(path: Path) -> None:
    store, other = SqliteStore(path), SqliteStore(path)
    anyio.run(store.open)
    lock = path.with_name("records.db.lock")
    lock.unlink()
    lock.symlink_to("elsewhere")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match=r"records\.db\.lock cannot be used"):
            anyio.run(store.commit, batch((1, 1, b"a")))
    lock.unlink()
    anyio.run(store.commit, batch((1, 1, b"a")))
    with pytest.raises(StoreLocked):
        anyio.run(other.open)
    anyio.run(store.aclose)
    assert store_in(path) == [(1, 1, b"a")]


def test_a_lock_that_cannot_be_used_is_named(path: Path) -> None:
    store_in(path)
    lock = path.with_name("records.db.lock")
    lock.unlink()
    lock.symlink_to("elsewhere")
    assert refusal(path).startswith(f"{lock} cannot be used: ")


FORKED = """
import os, sys
from artcafe_stores.locking import FileLock

lock = FileLock(sys.argv[1], "it")
lock.acquire()
heard, told = os.pipe()
if os.fork() == 0:
    os.write(told, b"!")
    os.close(1)  # whoever reads the output does not wait for this
    sys.stdin.read()
    os._exit(0)
if sys.argv[2] == "released":
    lock.release()  # at once
    lock.acquire()
else:
    os.read(heard, 1)  # the child runs
print("held", flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX systems only")
@pytest.mark.parametrize("way", ["killed", "released"])
def test_a_forked_process_does_not_keep_the_lock(tmp_path: Path, way: str) -> None:
    path = str(tmp_path / "lock")
    command = [sys.executable, "-c", FORKED, path, way]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert process.wait() == -signal.SIGKILL
        lock = FileLock(path, "it")
        lock.acquire()  # its child still runs
        lock.release()


# --- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a process is killed in this way on POSIX systems only")
def test_a_killed_process_leaves_whole_batches_all_that_it_was_told_of_and_no_lock(path: Path) -> None:
    last_told = 0
    for lines in (1, 2, 3, 5, 8, 13):
        with subprocess.Popen([sys.executable, WRITER, path], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                last_told = int(writer.stdout.readline())
            with pytest.raises(StoreLocked, match=f"process {writer.pid} on "):
                anyio.run(SqliteStore(path).open)
            writer.kill()
            last_told = max([last_told, *map(int, writer.stdout.read().split())])
        records = store_in(path)
        last = records[-1][1]
        assert last in (last_told, last_told + 1)
        value = b"%d" % last
        assert records[:RECORDS] == [(1, n, value) for n in range(RECORDS)]
        assert records[RECORDS:] == [(2, n, b"%d" % n) for n in range(max(1, last - 2), last + 1)]


def test_the_log_is_read_again_after_a_crash_and_its_damaged_end_is_dropped(path: Path, tmp_path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    sizes: list[int] = []
    log = path.with_name("records.db-wal")
    for n in range(3):
        anyio.run(store.commit, batch((1, n, b"a" * 5000), (2, n, b"a")))
        sizes.append(log.stat().st_size)
    crashed = tmp_path / "crashed"
    shutil.copytree(path.parent, crashed)
    anyio.run(store.aclose)
    damaged = bytearray((crashed / log.name).read_bytes())
    damaged[sizes[1] + 100] ^= 0xFF  # in what the third batch has written
    (crashed / log.name).write_bytes(damaged)
    assert [key[:2] for key in store_in(crashed / path.name)] == [(1, 0), (1, 1), (2, 0), (2, 1)]


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"This is a text.\n" * 500, b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    store_in(path)
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"records\.db is damaged"):
        anyio.run(SqliteStore(path).open)
    assert "put a backup in its place" in refusal(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("damage", ["truncated", "zeroed", "swapped"])
def test_damaged_pages_are_noticed_before_anything_is_given_back(path: Path, damage: str) -> None:
    store_in(path, *((1, n, b"%06d" % n * 100) for n in range(200)))
    content = bytearray(path.read_bytes())
    pages = len(content) // 4096
    if damage == "truncated":
        del content[4096 * (pages // 2) :]
    elif damage == "zeroed":
        content[4096 * 5 : 4096 * 6] = bytes(4096)
    else:  # each page by itself is sound
        one, another = (slice(4096 * page, 4096 * (page + 1)) for page in (5, 9))
        content[one], content[another] = content[another], content[one]
    path.write_bytes(content)
    with pytest.raises(StoreDamaged):
        anyio.run(SqliteStore(path).open)


DAMAGE: dict[str, tuple[int | bytes, bytes]] = {
    "application_id": (68, b"ACAG"),
    "a version that no schema has": (60, (2**25 + 1).to_bytes(4, "big")),
    "a negative version": (60, (2**32 - 1).to_bytes(4, "big")),
    "no version": (60, bytes(4)),
    "the format of the schema": (44, (68).to_bytes(4, "big")),
    "the name of the table": (b"TABLE records", b"TABLE rdcords"),
    "the name of a column": (b"value BLOB", b"valve BLOB"),
    "text that is none": (b"CREATE", b"CR\xffATE"),
}


@pytest.mark.parametrize(("place", "damage"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_schema_is_damage_and_no_other_program_or_version(
    path: Path, place: int | bytes, damage: bytes
) -> None:
    store_in(path, (1, 1, b"a"))
    content = bytearray(path.read_bytes())
    start = place if isinstance(place, int) else content.index(place)
    content[start : start + len(damage)] = damage
    path.write_bytes(content)
    with pytest.raises(StoreDamaged):
        anyio.run(SqliteStore(path).open)
    assert "put a backup in its place" in refusal(path)


def test_a_damaged_value_is_given_back_as_it_is(path: Path) -> None:
    store_in(path, (1, 1, b"the value 4711"), (1, 2, b"b"), (1, 3, b"c"))
    content = path.read_bytes()
    assert content.count(b"4711") == 1
    path.write_bytes(content.replace(b"4711", b"\xff711"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE records SET value = CAST(x'ff62' AS TEXT) WHERE n = 2")
        other.execute("UPDATE records SET value = 17 WHERE n = 3")
    assert store_in(path) == [(1, 1, b"the value \xff711"), (1, 2, b"\xffb"), (1, 3, b"17")]


def test_a_damaged_file_is_put_aside_and_the_next_one_is_new(path: Path) -> None:
    store_in(path, (1, 1, b"a"))
    path.write_bytes(b"This is a text.\n" * 500)
    path.with_name("records.db-shm").write_bytes(b"left by a crash")
    store = SqliteStore(path)
    with pytest.raises(StoreDamaged) as found:
        anyio.run(store.open)
    assert found.value.problem == "file is not a database"
    aside = f"{path}.damaged-today"
    assert anyio.run(store.put_aside, "damaged-today") == aside
    assert Path(aside).read_bytes().startswith(b"This is a text.")
    assert Path(f"{aside}-shm").exists()
    assert list(anyio.run(store.open)) == []
    anyio.run(store.aclose)
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "records.db",
        "records.db.damaged-today",
        "records.db.damaged-today-shm",
        "records.db.lock",
    ]


def test_an_open_store_whose_values_are_damaged_is_put_aside_with_all_its_log(path: Path) -> None:
    store = SqliteStore(path)
    anyio.run(store.open)
    anyio.run(store.commit, batch((1, 1, b"a")))
    Path(f"{path}.damaged").touch()
    aside = anyio.run(store.put_aside, "damaged")
    assert aside == f"{path}.damaged.2"
    assert store_in(Path(f"{path}.damaged.2")) == [(1, 1, b"a")]
    with pytest.raises(StoreUnavailable, match="is not open"):
        anyio.run(store.commit, batch((1, 1, b"a")))
    assert store_in(path) == []


def test_of_two_who_find_a_file_damaged_one_puts_it_aside_and_nobody_the_new_one(path: Path) -> None:
    store_in(path)
    path.write_bytes(b"This is a text.\n" * 500)
    stores = [SqliteStore(path) for _ in range(3)]
    for store in stores:
        with pytest.raises(StoreDamaged):
            anyio.run(store.open)
    first, second, third = stores
    assert anyio.run(first.put_aside, "damaged") is not None
    assert anyio.run(second.put_aside, "damaged") is None
    anyio.run(first.open)
    with pytest.raises(StoreLocked):
        anyio.run(third.put_aside, "damaged")
    anyio.run(first.commit, batch((1, 1, b"a")))
    anyio.run(first.aclose)
    assert store_in(path) == [(1, 1, b"a")]


def test_what_cannot_be_renamed_or_was_not_opened_is_not_put_aside(path: Path) -> None:
    store_in(path)
    store = SqliteStore(path)
    with pytest.raises(LocalProtocolError, match="has not been opened"):
        anyio.run(store.put_aside, "damaged")
    anyio.run(store.open)
    with pytest.raises(StoreUnavailable, match="cannot be used: File name too long"):
        anyio.run(store.put_aside, "x" * 300)
    assert store_in(path) == []


def test_a_batch_given_before_its_store_failed_to_open_is_refused_as_well(path: Path) -> None:
    store_in(path)
    path.write_bytes(b"damaged" * 1000)
    store = SqliteStore(path)

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_in_vain)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(StoreUnavailable, match="not open"):
                await store.commit(batch((1, 1, b"a")))

    async def open_in_vain() -> None:
        with pytest.raises(StoreDamaged):
            await store.open()

    anyio.run(main)
