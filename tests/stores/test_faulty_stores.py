"""The store with faults does what a test says, and is otherwise the store that it was given."""

from __future__ import annotations

import anyio
import pytest

from artcafe_stores import MemoryStore, StoreFull, StoreUnavailable
from support.faulty_stores import FaultyStore
from support.store_benches import batch

pytestmark = pytest.mark.anyio


async def test_it_fails_as_often_as_it_is_told_and_stores_nothing_then() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner)
    await store.open()
    store.fail(StoreFull("no room"), 2)
    for _ in range(2):
        with pytest.raises(StoreFull, match="no room"):
            await store.commit(batch((1, 1, b"a")))
    assert inner.held == {}
    await store.commit(batch((1, 1, b"b")))
    assert inner.held == {(1, 1): b"b"}
    assert len(store.persists) == 3


async def test_a_batch_may_be_stored_although_it_fails() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner)
    await store.open()
    store.fail(StoreUnavailable("no answer"), is_stored=True)
    with pytest.raises(StoreUnavailable):
        await store.commit(batch((1, 1, b"a")))
    assert inner.held == {(1, 1): b"a"}
    store.heal()
    await store.commit(batch((1, 1, b"a")))


async def test_a_held_batch_waits_until_it_is_released() -> None:
    inner = MemoryStore()
    store = FaultyStore(inner)
    await store.open()
    store.hold()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(store.commit, batch((1, 1, b"a")))
        await anyio.wait_all_tasks_blocked()
        assert inner.held == {}
        store.release()
    assert inner.held == {(1, 1): b"a"}


async def test_a_delayed_batch_is_stored_after_that_time() -> None:
    store = FaultyStore(MemoryStore())
    await store.open()
    store.delay_s = 0.01
    started = anyio.current_time()
    await store.commit(batch((1, 1, b"a")))
    assert anyio.current_time() - started >= 0.009
