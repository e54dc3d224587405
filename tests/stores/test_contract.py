"""What holds for every store: order, whole batches, repeats, failures that pass, and cancellation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random

import anyio
import pytest

from artcafe_proto import ArtCafeError, LocalProtocolError
from artcafe_proto.records import Record
from artcafe_stores import Store, StoreError, StoreFull, StoreUnavailable
from support.store_benches import StoreBench, batch, held

pytestmark = pytest.mark.anyio
LARGE = b"x" * 256 * 1024


@asynccontextmanager
async def opened(bench: StoreBench) -> AsyncGenerator[Store]:
    store = bench.make()
    await store.open()
    try:
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()


async def reopened(bench: StoreBench) -> list[tuple[int, int, bytes | None]]:
    store = bench.make()
    records = held(await store.open())
    await store.aclose()
    return records


async def test_a_new_store_is_empty(bench: StoreBench) -> None:
    assert await reopened(bench) == []


async def test_what_was_stored_is_given_back_by_kind_and_number(bench: StoreBench) -> None:
    async with opened(bench) as store:
        await store.commit(batch((2, 7, b"d"), (1, 10, b"c"), (0, 0, b"a")))
        await store.commit(batch((1, 9, b"b")))
    assert await reopened(bench) == [(0, 0, b"a"), (1, 9, b"b"), (1, 10, b"c"), (2, 7, b"d")]


async def test_the_last_value_wins_in_a_batch_and_across_batches(bench: StoreBench) -> None:
    async with opened(bench) as store:
        await store.commit(batch((1, 1, b"first"), (1, 2, b"first"), (1, 1, b"second")))
        await store.commit(batch((1, 2, b"third")))
    assert await reopened(bench) == [(1, 1, b"second"), (1, 2, b"third")]


async def test_a_deletion_removes_and_a_later_value_is_new(bench: StoreBench) -> None:
    async with opened(bench) as store:
        await store.commit(batch((1, 1, b"a"), (1, 2, b"b"), (1, 3, b"c")))
        await store.commit(batch((1, 1, None), (1, 2, None), (1, 2, b"new"), (1, 4, b"short"), (1, 4, None)))
        await store.commit(batch((1, 99, None)))  # what was never there
    assert await reopened(bench) == [(1, 2, b"new"), (1, 3, b"c")]


async def test_storing_a_batch_again_is_storing_it_once(bench: StoreBench) -> None:
    once = batch((1, 1, b"a"), (1, 2, None), (1, 3, b"c"))
    async with opened(bench) as store:
        await store.commit(batch((1, 2, b"b")))
        await store.commit(once)
        await store.commit(once)
    async with opened(bench) as store:  # after a crash, say, before which nobody was told
        await store.commit(once)
    assert await reopened(bench) == [(1, 1, b"a"), (1, 3, b"c")]


async def test_a_batch_without_records_is_stored_when_those_before_it_are(bench: StoreBench) -> None:
    async with opened(bench) as store:
        await store.commit(batch())
        await store.commit(batch((1, 1, b"a")))
        await store.commit(batch())
    assert await reopened(bench) == [(1, 1, b"a")]


@pytest.mark.parametrize(
    "value", [b"", b"\0", b"\xff\xfe not UTF-8", b"1", Random(1).randbytes(2**20)], ids=lambda value: str(len(value))
)
async def test_values_are_opaque_and_may_be_large(bench: StoreBench, value: bytes) -> None:
    async with opened(bench) as store:
        await store.commit(batch((0, 0, value), (255, 2**63 - 1, value)))
    assert await reopened(bench) == [(0, 0, value), (255, 2**63 - 1, value)]


async def test_any_batches_lead_to_what_a_dictionary_would_hold(bench: StoreBench) -> None:
    rng = Random(7)
    model: dict[tuple[int, int], bytes] = {}
    for _ in range(4):
        async with opened(bench) as store:
            for number in range(20):
                records: list[tuple[int, int, bytes | None]] = []
                for _ in range(rng.randrange(30)):
                    key = rng.randrange(3), rng.randrange(40)
                    value = rng.randbytes(rng.randrange(300)) if rng.random() < 0.6 else None
                    records.append((*key, value))
                    if value is None:
                        model.pop(key, None)
                    else:
                        model[key] = value
                await store.commit(batch(*records, number=number))
        assert await reopened(bench) == [(*key, value) for key, value in sorted(model.items())]


async def test_batches_that_come_while_one_is_under_way_are_stored_whole_one_after_another(bench: StoreBench) -> None:
    async with opened(bench) as store, anyio.create_task_group() as tasks:
        for number in range(20):
            value = b"%d" % number
            tasks.start_soon(store.commit, batch((1, 1, value), (2, number, value), (3, 1, value), number=number))
    records = await reopened(bench)
    assert records[0][2] == records[-1][2]
    assert records[1:-1] == [(2, number, b"%d" % number) for number in range(20)]


# --- failures ---------------------------------------------------------------------------------------------------------


async def test_a_full_store_says_so_keeps_what_it_has_and_heals_by_itself(bench: StoreBench) -> None:
    large = batch((1, 1, b"new"), (1, 2, LARGE))
    async with opened(bench) as store:
        await store.commit(batch((1, 1, b"old")))
        bench.fill()
        for _ in range(3):
            with pytest.raises(StoreFull) as raised:
                await store.commit(large)
            assert raised.value.failure == "full"
        bench.heal()
        await store.commit(large)
        await store.commit(batch((1, 3, b"later")))
    assert await reopened(bench) == [(1, 1, b"new"), (1, 2, LARGE), (1, 3, b"later")]


async def test_a_batch_that_found_no_room_left_nothing_of_itself(bench: StoreBench) -> None:
    async with opened(bench) as store:
        await store.commit(batch((1, 1, b"old"), (1, 2, b"old")))
        bench.fill()
        with pytest.raises(StoreFull):
            await store.commit(batch((1, 1, b"new"), (1, 2, None), (1, 3, LARGE)))
    assert await reopened(bench) == [(1, 1, b"old"), (1, 2, b"old")]


async def test_a_store_that_cannot_be_reached_says_so_and_heals_by_itself(bench: StoreBench) -> None:
    async with opened(bench) as store:
        await store.commit(batch((1, 1, b"old")))
        bench.block()
        with pytest.raises(StoreUnavailable) as raised:
            await store.commit(batch((1, 1, b"new")))
        assert raised.value.failure == "unavailable"
        bench.heal()
        await store.commit(batch((1, 1, b"newer")))
    assert await reopened(bench) == [(1, 1, b"newer")]


async def test_a_store_that_is_not_open_is_unavailable_and_opens_again(bench: StoreBench) -> None:
    store = bench.make()
    with pytest.raises(StoreUnavailable):
        await store.commit(batch((1, 1, b"too early")))
    await store.aclose()
    await store.open()
    await store.commit(batch((1, 1, b"a")))
    await store.aclose()
    await store.aclose()
    with pytest.raises(StoreUnavailable):
        await store.commit(batch((1, 1, b"too late")))
    assert held(await store.open()) == [(1, 1, b"a")]
    await store.aclose()


async def test_a_store_is_opened_once(bench: StoreBench) -> None:
    async with opened(bench) as store:
        with pytest.raises(LocalProtocolError, match="open already"):
            await store.open()
        await store.commit(batch((1, 1, b"a")))


def test_all_errors_of_stores_are_this_projects() -> None:
    assert issubclass(StoreError, ArtCafeError)
    assert {StoreFull.failure, StoreUnavailable.failure, StoreError.failure} == {"full", "unavailable"}


# --- cancellation -----------------------------------------------------------------------------------------------------


async def test_a_cancelled_batch_is_whole_or_absent_and_the_next_one_is_stored(bench: StoreBench) -> None:
    async with opened(bench) as store:
        for number in range(30):
            records = [(1, n, b"%d" % number) for n in range(50)]
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(store.commit, batch(*records, number=number))
                    for _ in range(number % 5):
                        await anyio.lowlevel.checkpoint()
                    scope.cancel()
            await store.commit(batch((2, number, b""), number=number))
    records = await reopened(bench)
    assert len({value for kind, _, value in records if kind == 1}) <= 1
    assert len(records) in (30, 80)


async def test_what_follows_a_cancelled_batch_is_not_undone_by_it(bench: StoreBench) -> None:
    async with opened(bench) as store:
        for number in range(10):
            with anyio.move_on_after(0):
                await store.commit(batch((1, number, b"cancelled")))
            await store.commit(batch((1, number, b"next")))
    assert await reopened(bench) == [(1, number, b"next") for number in range(10)]


async def test_a_store_whose_opening_was_cancelled_opens_again(bench: StoreBench) -> None:
    store = bench.make()
    for _ in range(5):
        with anyio.move_on_after(0) as scope:
            await store.open()
        if not scope.cancelled_caught:
            await store.aclose()
    assert list[Record](await store.open()) == []
    await store.commit(batch((1, 1, b"a")))
    await store.aclose()


async def test_a_store_whose_closing_was_cancelled_closes_by_itself(bench: StoreBench) -> None:
    store = bench.make()
    await store.open()
    await store.commit(batch((1, 1, b"a")))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await store.aclose()
    with pytest.raises(StoreUnavailable):
        await store.commit(batch((1, 1, b"b")))
    assert held(await store.open()) == [(1, 1, b"a")]
    await store.aclose()
