"""The short form of `tests/kills.py`: `kill -9` of a platform under load."""

from __future__ import annotations

import pytest

import kills
from support.kill_phases import MARKS, Phase

pytestmark = pytest.mark.thorough


@pytest.mark.first
def test_a_platform_that_is_killed_has_kept_its_promises() -> None:
    rounds = 25
    report = kills.run(rounds)
    assert report.broken == []
    assert set(report.stops) == set(MARKS), "it was killed at every place"
    assert set(report.phases) == set(Phase), "commands were hit in every phase"
    assert len(report.restarts_s) >= rounds - report.stops.total()
    assert min(report.restarts_s) <= kills.RESTART_S  # of a machine that has something else to do as well
    said = report.promises
    assert len(said.accepted) >= 20 * rounds
    assert said.settled >= said.seen
    assert said.repeats
    assert len(said.revoked) >= rounds


def test_a_store_that_lies_is_found_out() -> None:
    assert kills.run(5, planted=True).broken
