"""PLAT-5: batches, one under way at a time, and what waits for them."""

from __future__ import annotations

from typing import Any

import pytest

from artcafe_proto.effects import Persist
from artcafe_proto.limits import MAX_BATCH_BYTES, MAX_UNSTORED_BYTES
from artcafe_proto.policies.keeping import Keeping
from artcafe_proto.records import Record


def record(n: int, nbytes: int = 10) -> Record:
    return Record(1, n, bytes(nbytes))


def handed_out(keeping: Keeping, mono: float = 0.0) -> Persist:
    persist = keeping.next_persist(mono)
    assert persist is not None
    return persist


def test_what_is_put_while_a_batch_is_under_way_shares_the_next() -> None:
    keeping = Keeping()
    assert keeping.next_persist(0.0) is None
    assert [keeping.put(record(1)), keeping.put(record(2))] == [1, 1]
    first = handed_out(keeping)
    assert (first.batch, first.records) == (1, (record(1), record(2)))
    assert [keeping.put(record(n)) for n in (3, 4, 5)] == [2, 2, 2]
    assert keeping.next_persist(0.0) is None, "one is under way"
    assert keeping.persisted(1, 0.0)
    assert handed_out(keeping).records == (record(3), record(4), record(5))


def test_an_output_waits_for_the_batch_that_was_put_into_last() -> None:
    keeping = Keeping()
    assert (keeping.barrier, keeping.stored) == (0, 0), "there is nothing to wait for"
    keeping.put(record(1))
    handed_out(keeping)
    assert keeping.barrier == 1
    keeping.put(record(2))
    assert keeping.barrier == 2
    keeping.persisted(1, 0.0)
    assert (keeping.barrier, keeping.stored) == (2, 1)


def test_records_of_one_number_stay_in_their_order_and_all_of_them_count() -> None:
    keeping = Keeping()
    put = [record(1, 100), record(1, 10), Record(1, 1, None)]
    for each in put:
        keeping.put(each)
    assert handed_out(keeping).records == tuple(put)
    assert keeping.unstored_bytes == sum(each.size for each in put)
    keeping.persisted(1, 0.0)
    assert keeping.unstored_bytes == 0


def test_records_that_are_put_together_share_a_batch() -> None:
    keeping = Keeping()
    keeping.put(record(1, MAX_BATCH_BYTES - 100))
    assert keeping.put(record(2, 10), record(3, 80)) == 2
    assert [len(handed_out(keeping).records)] == [1]


def test_a_batch_has_its_size_unless_one_record_is_larger() -> None:
    keeping = Keeping()
    sizes = [MAX_BATCH_BYTES // 2, MAX_BATCH_BYTES // 3, MAX_BATCH_BYTES // 3, 2 * MAX_BATCH_BYTES, 1]
    assert [keeping.put(record(n, size)) for n, size in enumerate(sizes)] == [1, 1, 2, 3, 4]
    batches: list[int] = []
    while (persist := keeping.next_persist(0.0)) is not None:
        batches.append(len(persist.records))
        keeping.persisted(persist.batch, 0.0)
    assert batches == [2, 1, 1, 1]


def test_a_batch_that_failed_is_handed_out_again_after_a_second() -> None:
    keeping = Keeping()
    keeping.put(record(1))
    first = handed_out(keeping, 10.0)
    assert keeping.next_persist(99.0) is None, "its driver has not reported"
    assert keeping.failed(1, "unavailable", 11.0)
    assert keeping.next_persist(11.9) is None
    assert keeping.deadline == 12.0
    assert keeping.next_persist(12.0) == first
    assert keeping.next_persist(13.0) is None


def test_a_retry_does_not_move_when_the_store_counts_as_stalled() -> None:
    keeping = Keeping()
    keeping.put(record(1))
    handed_out(keeping, 10.0)
    assert keeping.deadline == 15.0
    for second in (11.0, 12.0, 13.0):
        keeping.failed(1, "unavailable", second)
        handed_out(keeping, second + 1.0)
    assert keeping.stalled_since == 10.0
    keeping.look(14.9)
    assert not keeping.refuses
    keeping.look(15.0)
    assert keeping.refuses
    assert keeping.deadline is None, "there is nothing to be told but what the driver reports"
    keeping.persisted(1, 0.0)
    assert keeping.stalled_since is None
    assert not keeping.refuses


def test_a_full_store_refuses_new_work_until_it_has_stored_something() -> None:
    keeping = Keeping()
    keeping.put(record(1))
    handed_out(keeping)
    keeping.failed(1, "full", 0.0)
    assert keeping.refuses
    handed_out(keeping, 1.0)
    keeping.persisted(1, 0.0)
    assert not keeping.refuses


def test_more_than_may_wait_for_a_store_is_refused() -> None:
    keeping = Keeping()
    for n in range(65):
        assert keeping.refuses == (keeping.unstored_bytes >= MAX_UNSTORED_BYTES)
        keeping.put(record(n, 1 << 20))
    assert keeping.refuses


@pytest.mark.parametrize("batch", [0, 2, 99])
def test_reports_of_another_batch_change_nothing(batch: int) -> None:
    keeping = Keeping()
    keeping.put(record(1))

    def seen() -> list[Any]:
        return [keeping.stored, keeping.stalled_since, keeping.unstored_bytes, keeping.refuses]

    before = seen()
    assert not keeping.persisted(1, 0.0), "it was not handed out"
    assert not keeping.failed(1, "full", 0.0)
    assert seen() == before
    handed_out(keeping)
    before = seen()
    assert not keeping.persisted(batch, 0.0)
    assert not keeping.failed(batch, "full", 0.0)
    assert seen() == before


def test_without_a_batch_under_way_there_is_nothing_to_wait_for() -> None:
    keeping = Keeping()
    keeping.put(record(1, 10))
    assert (keeping.deadline, keeping.unstored) == (None, 1)


def test_a_late_look_proves_nothing() -> None:
    keeping = Keeping()
    keeping.put(record(1))
    handed_out(keeping, 10.0)
    keeping.look(20.0)
    assert not keeping.has_stalled, "the store's report may wait behind this look"
    assert keeping.deadline == 21.0
    keeping.look(21.0)
    assert keeping.has_stalled


def test_a_store_whose_batches_are_slow_has_stalled_when_the_oldest_record_has_waited_for_too_long() -> None:
    keeping = Keeping()
    keeping.put(record(1))
    handed_out(keeping, 0.0)
    for n in (2, 3):
        keeping.put(record(n, MAX_BATCH_BYTES))
    assert keeping.next_persist(0.5) is None
    assert keeping.persisted(1, 4.0)
    handed_out(keeping, 4.0)
    keeping.look(5.4)
    assert not keeping.has_stalled
    keeping.look(5.5)
    assert keeping.has_stalled
    keeping.persisted(2, 8.0)
    assert keeping.refuses, "the next one has waited as long"
    handed_out(keeping, 8.0)
    keeping.persisted(3, 9.0)
    assert not keeping.refuses
