"""The short forms of what `tests/benchmarks` measures of stores: that it runs, and what does not depend on time."""

from __future__ import annotations

from pathlib import Path

import pytest

from artcafe_proto.limits import MAX_FINISHED_COMMANDS
from benchmarks import store_life, store_restore, store_throughput
from benchmarks.store_restore import Mix

pytestmark = pytest.mark.thorough


def test_a_store_keeps_its_size_however_many_commands_go_through_it(tmp_path: Path) -> None:
    found = store_life.ages(tmp_path / "records.db", 200_000, 25_000)
    assert [age.commands for age in found] == list(range(25_000, 200_001, 25_000))
    full = [age for age in found if age.commands > MAX_FINISHED_COMMANDS]
    assert len(full) == 4
    assert {age.records - age.lives for age in full} == {2 * MAX_FINISHED_COMMANDS + 2}
    assert max(age.file_bytes for age in full) <= store_life.GROWTH * full[0].file_bytes
    assert max(age.restart_s for age in full) <= 5 * store_life.SLOWNESS * full[0].restart_s  # others use the machine


def test_what_a_hub_has_stored_is_restored(tmp_path: Path) -> None:
    mix = Mix(agents=2_000, pending=5_000, finished=5_000)
    found = store_restore.measure(mix, repeats=1)
    assert found["records"] == 3 + 2 * mix.agents + mix.pending + 2 * mix.finished
    assert found["after"] / (mix.pending + mix.finished) <= 5_000


@pytest.mark.parametrize("mode", [store_throughput.MEMORY, store_throughput.SQLITE])
def test_commands_are_answered_with_and_without_a_store(mode: str, tmp_path: Path) -> None:
    assert store_throughput.measure(mode, tmp_path, seconds=0.5, warm_up=500)["answered"] >= 500
