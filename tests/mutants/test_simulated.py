"""The simulation alone, without any other test, finds planted bugs; some invariants alone find theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from artcafe_proto.testing import INVARIANTS
from mutants.journaled import JOURNALED
from mutants.simulated import ALONE, BUGS, Bug
from mutants.stored import STORED
from simulated_bugs import FEW_SESSIONS, LEAST_FOUND, find_journaled, find_stored, is_found_alone, look_for

ROOT: Final = Path(__file__).parents[2]


def test_every_bug_of_the_simulation_still_fits_where_it_was_planted() -> None:
    assert len(BUGS) == 30
    assert set(ALONE) < set(INVARIANTS)
    for bug in (*BUGS, *ALONE.values(), *STORED, *JOURNALED):
        for path, old, _ in bug.changes:
            assert (ROOT / path).read_text().count(old) == 1, bug.name


@pytest.mark.thorough
@pytest.mark.first
def test_the_simulation_alone_finds_most_of_the_planted_bugs_within_few_sessions() -> None:
    found = [bug.name for bug in BUGS if look_for(bug, FEW_SESSIONS).what]
    assert len(found) >= LEAST_FOUND, found


@pytest.mark.thorough
@pytest.mark.parametrize(
    "invariant",
    [pytest.param(name, marks=[pytest.mark.by_hand] if n % 3 else []) for n, name in enumerate(ALONE)],
)
def test_an_invariant_alone_finds_its_planted_bug(invariant: str) -> None:
    assert not is_found_alone(invariant)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, id=bug.name, marks=[pytest.mark.by_hand] if n % 3 else []) for n, bug in enumerate(STORED)],
)
def test_every_planted_bug_of_a_store_is_found(bug: Bug) -> None:
    assert find_stored(bug).what


@pytest.mark.thorough
@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, id=bug.name, marks=[pytest.mark.by_hand] if n % 3 else []) for n, bug in enumerate(JOURNALED)],
)
def test_every_planted_bug_of_a_journal_is_found(bug: Bug) -> None:
    assert find_journaled(bug).what
