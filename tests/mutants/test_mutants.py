"""Planted bugs: each passes the happy path, and the test of a clause sees it, by an assertion and not by a crash."""

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

ROOT: Final = Path(__file__).parents[2]
CORE: Final = ROOT / "artcafe_proto"
SMOKE: Final = ("tests/core/test_pair.py", "-k", "test_link_1 or one_response")
LEAST_MUTANTS: Final = 40
PATIENCE_S: Final = 300.0
_FAILED: Final = re.compile(r"^E +(?:\w+\.)*(\w*(?:Error|Exception|Failed|Interrupt))\b", re.MULTILINE)
_BY_ASSERTION: Final = {"AssertionError", "InvariantError", "Failed"}
"""`Failed` is pytest's, where an exception was expected and did not come."""


def test_every_planted_bug_still_fits_where_it_was_planted() -> None:
    assert len(MUTANTS) >= LEAST_MUTANTS
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert (CORE / mutant.path).read_text().count(mutant.old) == 1, mutant.name
        file, _, name = mutant.killer.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(), mutant.killer


@pytest.mark.thorough
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_passes_the_happy_path_and_is_killed_by_its_clause(mutant: Mutant, tmp_path: Path) -> None:
    shutil.copytree(CORE, tmp_path / "artcafe_proto", ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path / "artcafe_proto" / mutant.path
    target.write_text(target.read_text().replace(mutant.old, mutant.new))
    status, report = run(tmp_path, *SMOKE)
    assert status == pytest.ExitCode.OK, report
    status, report = run(tmp_path, mutant.killer)
    assert status == pytest.ExitCode.TESTS_FAILED, report
    assert set(_FAILED.findall(report)) <= _BY_ASSERTION, report


def run(mutated: Path, *arguments: str) -> tuple[int, str]:
    """Run tests with the mutated package in front of the real one."""
    environment = os.environ | {"PYTHONPATH": str(mutated), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    return done.returncode, done.stdout
