"""Planted bugs and vulnerabilities: each passes the happy path; a test sees it, by an assertion and not by a crash."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from mutants.planted import MUTANTS, Mutant
from mutants.vulnerabilities import VULNERABILITIES

ROOT: Final = Path(__file__).parents[2]
_PAIR: Final = "tests/core/test_pair.py::test_"
SMOKE: Final = {
    "artcafe_proto": (
        f"{_PAIR}link_1_first_heartbeat_is_written_four_round_trips_after_connect_on_one_connection",
        f"{_PAIR}link_1_tls_costs_one_round_trip_more",
        f"{_PAIR}link_1_with_a_usable_token_a_link_costs_two_round_trips_less",
        f"{_PAIR}link_1_requests_carry_what_they_need_and_nothing_else",
        f"{_PAIR}link_1_a_websocket_elsewhere_gets_a_connection_of_its_own",
        f"{_PAIR}cmd_3_a_command_gets_exactly_one_response",
    ),
    "adapters": ("tests/cli/test_cli.py::test_from_keygen_to_an_answered_command",),
}
LEAST_MUTANTS: Final = 40
LEAST_VULNERABILITIES: Final = 20
LEAST_IN_CI: Final = 50
PLANTED: Final = (*MUTANTS, *VULNERABILITIES)
PATIENCE_S: Final = 300.0
IGNORED: Final = shutil.ignore_patterns("__pycache__")
_FAILED: Final = re.compile(r"^E +(?:\w+\.)*(\w*(?:Error|Exception|Failed|Interrupt))\b", re.MULTILINE)
_KILLED: Final = re.compile(r"^FAILED ([^\s\[]+)", re.MULTILINE)
_PASSED: Final = re.compile(r"\b(\d+) passed")
_BY_ASSERTION: Final = {"AssertionError", "InvariantError", "Failed"}
"""`Failed` is pytest's, where an exception was expected and did not come."""


def in_ci() -> set[str]:
    """The bugs that CI plants: the first of each file."""
    return {mutant.name for mutant in {each.path: each for each in reversed(PLANTED)}.values()}


IN_CI: Final = in_ci()


def test_every_planted_bug_still_fits_where_it_was_planted() -> None:
    assert len(MUTANTS) >= LEAST_MUTANTS
    assert len(VULNERABILITIES) >= LEAST_VULNERABILITIES
    assert len({mutant.name for mutant in PLANTED}) == len(PLANTED)
    assert len(IN_CI) >= LEAST_IN_CI
    for mutant in PLANTED:
        assert (ROOT / mutant.path).read_text().count(mutant.old) == 1, mutant.name
        file, _, name = mutant.killer.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(), mutant.killer


@pytest.mark.thorough
@pytest.mark.parametrize(
    "mutant",
    [pytest.param(each, id=each.name, marks=[] if each.name in IN_CI else [pytest.mark.by_hand]) for each in PLANTED],
)
def test_a_planted_bug_passes_the_happy_path_and_is_killed_by_its_clause(mutant: Mutant, tmp_path: Path) -> None:
    shutil.copytree(ROOT / package(mutant), tmp_path / package(mutant).name, ignore=IGNORED)
    target = tmp_path / Path(mutant.path).relative_to(package(mutant).parent)
    target.write_text(target.read_text().replace(mutant.old, mutant.new))
    happy_path = SMOKE[Path(mutant.path).parts[0]]
    status, report = run(tmp_path, *happy_path, mutant.killer)
    assert status == pytest.ExitCode.TESTS_FAILED, report
    assert set(_KILLED.findall(report)) == {mutant.killer.partition("[")[0]}, report
    assert int(_PASSED.findall(report)[-1]) >= len(happy_path), report
    assert set(_FAILED.findall(report)) <= _BY_ASSERTION, report


def package(mutant: Mutant) -> Path:
    """The package that is changed, within the repository."""
    first, second = Path(mutant.path).parts[:2]
    return Path(first, second) if first == "adapters" else Path(first)


def run(mutated: Path, *arguments: str) -> tuple[int, str]:
    """Run tests with the mutated package in front of the real one."""
    environment = os.environ | {"PYTHONPATH": str(mutated), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-m", "pytest", "--tb=short", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.returncode, done.stdout
