"""How much room the SQLite file takes, what happens when there is none, and the thread that all of it runs in."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from artcafe_stores import SqliteStore, StoreFull
from artcafe_stores.database import LOG_BYTES
from support.store_benches import SqliteBench, batch, held

pytestmark = pytest.mark.anyio
PATIENCE_S = 60


async def test_a_full_disk_is_told_and_once_there_is_room_the_batch_is_stored(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(500_000))
    store = SqliteStore(small_disk / "records.db")
    await store.open()
    stored: list[int] = []

    async def fill() -> None:
        for n in range(1000):
            await store.commit(batch((1, n, b"x" * 10_000)))
            stored.append(n)

    with pytest.raises(StoreFull, match=r"records\.db: make some"):
        await fill()
    assert len(stored) > 3
    for _ in range(3):
        with pytest.raises(StoreFull):
            await store.commit(batch((1, 1000, b"x" * 100_000)))
    ballast.unlink()
    await store.commit(batch((1, 1000, b"x" * 100_000)))
    await store.aclose()
    records = await store.open()
    assert [record.n for record in records] == [*stored, 1000]
    await store.aclose()


@pytest.mark.parametrize("free_bytes", [0, 4096, 20_000, 40_000])
async def test_a_store_that_finds_a_full_disk_when_it_opens_says_so_and_opens_later(
    small_disk: Path, free_bytes: int
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2**20 - free_bytes - 4096))  # the page is for the lock file
    store = SqliteStore(small_disk / "records.db")
    with pytest.raises(StoreFull, match=r"make some|No space left"):
        await store.open()
    ballast.unlink()
    assert held(await store.open()) == []
    await store.commit(batch((1, 1, b"a")))
    await store.aclose()


async def test_the_room_of_what_was_deleted_is_used_again(sqlite: SqliteBench) -> None:
    store = sqlite.make()
    await store.open()
    sizes: list[int] = []
    n = 0
    for _ in range(8):
        await store.commit(batch(*((1, number, b"x" * 500) for number in range(n, n + 1000))))
        await store.commit(batch(*((1, number, None) for number in range(n - 1000, n))))
        n += 1000
        sizes.append(sqlite.ask("PRAGMA page_count"))
    await store.aclose()
    assert sizes[-1] <= sizes[1] * 1.05


async def test_the_log_does_not_stay_large_after_a_large_batch(sqlite: SqliteBench) -> None:
    store = sqlite.make()
    await store.open()
    await store.commit(batch(*((1, n, b"x" * 2**20) for n in range(12))))
    log = sqlite.path.with_name("records.db-wal")
    assert log.stat().st_size > 12 * 2**20
    await store.commit(batch((1, 0, b"")))  # the log begins anew
    await store.commit(batch((1, 1, b"")))
    assert log.stat().st_size <= LOG_BYTES
    await store.aclose()
    assert not log.exists()


async def test_each_commit_is_synced(sqlite: SqliteBench) -> None:
    store = sqlite.make()
    await store.open()
    full = 2
    assert (sqlite.ask("PRAGMA synchronous"), sqlite.ask("PRAGMA fullfsync")) == (full, 1)
    assert sqlite.path.with_name("records.db-wal").exists()
    await store.aclose()


# --- the thread -------------------------------------------------------------------------------------------------------


async def test_a_store_works_while_all_threads_of_anyio_are_busy_and_leaves_none_behind(sqlite: SqliteBench) -> None:
    threads = threading.enumerate()
    limiter = anyio.to_thread.current_default_thread_limiter()
    before = limiter.total_tokens
    limiter.total_tokens = 1
    await limiter.acquire_on_behalf_of("somebody")
    try:
        with anyio.fail_after(PATIENCE_S):
            store = sqlite.make()
            await store.open()
            (thread,) = (thread for thread in threading.enumerate() if thread not in threads)
            assert (thread.name, thread.daemon) == ("store records.db", True)
            await store.commit(batch((1, 1, b"a")))
            await store.aclose()
    finally:
        limiter.release_on_behalf_of("somebody")
        limiter.total_tokens = before
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_store_serves_one_event_loop_after_another_and_a_thread(sqlite: SqliteBench) -> None:
    store = sqlite.make()

    async def add(n: int) -> int:
        records = list(await store.open())
        await store.commit(batch((1, n, b"a")))
        await store.aclose()
        return len(records)

    counts = [anyio.run(add, 0, backend="asyncio"), anyio.run(add, 1, backend="trio")]
    thread = threading.Thread(target=lambda: counts.append(anyio.run(add, 2)))
    thread.start()
    thread.join()
    assert counts == [0, 1, 2]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_may_end_without_closing_its_store(tmp_path: Path, backend: str) -> None:
    program = f"""
import anyio
from artcafe_proto.effects import Persist
from artcafe_proto.records import Record
from artcafe_stores import SqliteStore
async def main():
    store = SqliteStore({str(tmp_path / "store" / "records.db")!r})
    print([record.n for record in await store.open()])
    await store.commit(Persist(1, (Record(1, 1, b'a'),)))
anyio.run(main, backend={backend!r})
"""
    outputs: list[tuple[str, str]] = []
    for _ in range(2):
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
        outputs.append((done.stdout, done.stderr))
    assert outputs == [("[]\n", ""), ("[1]\n", "")]
