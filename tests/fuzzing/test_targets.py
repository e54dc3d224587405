"""The fuzz targets without the fuzzer: their corpora, and that each would find a bug of its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

from runner import CRASHES, TARGETS

FUZZ: Final = Path(__file__).parents[2] / "fuzz"
MAX_CORPUS_BYTES: Final = 8192
CI_SECONDS: Final = 30
SEED: Final = 1


def as_it_is(data: bytes, _: int) -> bytes:
    """What libFuzzer would change."""
    return data


def target(name: str) -> Any:
    return import_module(f"targets.{name}")


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_in_its_corpus_breaks_a_target(name: str) -> None:
    files = sorted((FUZZ / "corpus" / name).iterdir())
    assert files
    assert sum(path.stat().st_size for path in files) <= MAX_CORPUS_BYTES
    for path in files:
        target(name).check(path.read_bytes())
    target(name).check(b"")


def test_every_target_states_its_invariant_first_and_its_planted_bug_fits() -> None:
    assert {path.name for path in (FUZZ / "corpus").iterdir()} == set(TARGETS)
    for name in TARGETS:
        said = ast.get_docstring(ast.parse((FUZZ / "targets" / f"{name}.py").read_text()))
        assert said is not None
        assert said.splitlines()[0].endswith((".", ")")), name
        planted = target(name).PLANTED
        assert (FUZZ.parent / planted.path).read_text().count(planted.old) == 1, planted.name


@pytest.mark.parametrize("name", ["messages", "http_client", "http_server", "websocket", "lane", "ssh_agent"])
def test_a_mutator_keeps_to_the_size_and_to_its_seed(name: str) -> None:
    mutate, size = target(name).mutate, 100
    for data in (b"", *(path.read_bytes()[:size] for path in (FUZZ / "corpus" / name).iterdir())):
        made = [[mutate(data, size, seed, as_it_is) for seed in range(30)] for _ in range(2)]
        assert made[0] == made[1]
        assert all(len(each) <= size for each in made[0])
        assert len(set(made[0])) > 5


@pytest.mark.thorough
@pytest.mark.skipif(
    find_spec("atheris") is None and "CI" not in os.environ, reason="atheris has wheels for Linux on x86-64 only"
)
@pytest.mark.parametrize("name", TARGETS)
def test_a_target_finds_its_planted_bug_in_the_time_that_ci_gives_it(name: str) -> None:
    run = [sys.executable, str(FUZZ / "runner.py"), name]
    fuzzed = subprocess.run(
        [*run, "--planted", "--seconds", str(CI_SECONDS), "--seed", str(SEED)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert fuzzed.returncode == 1, fuzzed.stderr[-2000:]
    (found,) = [FUZZ.parent / line.split()[-1] for line in fuzzed.stdout.splitlines() if line.startswith("found: ")]
    assert found.parent == CRASHES
    assert subprocess.run([*run, "--planted", str(found)], capture_output=True, check=False).returncode == 1
    without = subprocess.run([*run, str(found)], capture_output=True, text=True, check=False)
    assert without.returncode == 0, without.stderr[-2000:]
    found.unlink()
