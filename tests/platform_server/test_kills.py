"""The short form of `tests/kills.py`: `kill -9` of a platform under load, of agents with journals, and of both."""

from __future__ import annotations

import pytest

import kills
from support.kill_pairs import PLATFORM, run_pairs
from support.kill_phases import MARKS, Phase
from support.link_faults import KINDS

pytestmark = pytest.mark.thorough


@pytest.mark.first
def test_a_platform_that_is_killed_has_kept_its_promises() -> None:
    rounds = 25
    report = kills.run(rounds)
    assert report.broken == []
    assert set(report.stops) == set(MARKS), "it was killed at every place"
    assert set(report.phases) == set(Phase), "commands were hit in every phase"
    assert len(report.restarts_s) >= rounds - report.stops.total()
    assert max(report.starts_cpu_s) <= kills.RESTART_S
    said = report.promises
    assert len(said.accepted) >= 5 * rounds
    assert said.settled >= said.seen
    assert said.repeats
    assert said.revoked


def test_a_store_that_lies_is_found_out() -> None:
    assert kills.run(5, planted=True).broken


@pytest.mark.first
def test_agents_and_a_platform_that_are_killed_run_each_command_once_and_answer_it() -> None:
    rounds = 60
    report = run_pairs(rounds)
    assert report.broken == []
    assert report.rare(1) == [], "commands were hit in every phase, at both sides"
    assert report.kills[PLATFORM] >= rounds // 3
    assert report.kills.total() - report.kills[PLATFORM] >= rounds // 3
    assert report.stops.total() >= rounds // 4
    assert len(report.told.accepted) >= 5 * rounds
    assert report.told.answers.keys() == report.told.accepted
    assert report.runs.keys() >= {each for each, answer in report.told.answers.items() if answer == "done"}
    assert {"done", "interrupted"} == set(report.told.answers.values())
    assert max(report.runs.values()) > 1, "what is idempotent was run again"


def test_links_may_fail_in_every_way_while_both_sides_are_killed() -> None:
    report = run_pairs(10, agents=6, faults=60, tls=True)
    assert report.broken == []
    assert report.faults.keys() == set(KINDS)
    assert report.faults.total() == 60
    assert report.told.answers.keys() == report.told.accepted
    assert len(report.told.accepted) >= 60


def test_a_journal_that_lies_is_found_out() -> None:
    assert run_pairs(10, kill="agent", planted=True).broken
