"""The targets of `fuzz/`: every corpus holds what they hold, and each finds the bug that it can plant."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from runner import HERE, TARGETS, corpus, load

SECONDS = 30


@pytest.mark.parametrize("target", TARGETS)
def test_a_corpus_is_read_as_it_should_be(target: str) -> None:
    module = load(target)
    files = corpus(target)
    assert files, "an input to begin with"
    for file in files:
        module.check(file.read_bytes())


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_holds_stands_on_its_first_line(target: str) -> None:
    first, _, _ = (HERE / "targets" / f"{target}.py").read_text().partition("\n")
    assert first.startswith('"""')
    assert first.endswith(".")


def run(target: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`fuzz/run`, with a seed, so that it can be repeated."""
    if find_spec("atheris") is None:
        assert "CI" not in os.environ, "CI needs atheris"
        pytest.skip("atheris is not installed here: nothing was fuzzed")
    command = [sys.executable, str(HERE / "runner.py"), target, "--seconds", str(SECONDS), "--seed", "1"]
    return subprocess.run(
        [*command, "--finds", str(folder), *options], capture_output=True, text=True, timeout=10 * SECONDS, check=False
    )


@pytest.mark.thorough
@pytest.mark.parametrize("target", TARGETS)
def test_the_planted_bug_is_found(target: str, tmp_path: Path) -> None:
    done = run(target, tmp_path, "--planted")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = tmp_path.iterdir()
    repeated = subprocess.run(
        [sys.executable, str(HERE / "runner.py"), target, str(found)], capture_output=True, text=True, check=False
    )
    assert repeated.returncode == 0, f"it is the bug that is found, not something else:\n{repeated.stderr}"


@pytest.mark.thorough
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_else_is_found(target: str, tmp_path: Path) -> None:
    done = run(target, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
