"""docs/testing.md: its programs run as printed, and it names every invariant."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from artcafe_anyio.testing import check_driver
from artcafe_proto.testing import INVARIANTS
from foreign.test_drivers import program as driver_program

PAGE: Final = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()


FRAMEWORKS: Final = {  # with the plugin that they are to pytest, and how many tests that makes of two
    "anyio's plugin": ("anyio", 4),
    "pytest-asyncio": ("asyncio", 2),
    "pytest-trio": ("trio", 2),
}


def program(name: str) -> str:
    """A program of the page."""
    found = re.search(rf"<!-- run: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def run(name: str) -> dict[str, Any]:
    """Run a program of the page; returns the names it leaves."""
    names: dict[str, Any] = {}
    exec(compile(program(name), name, "exec"), names)
    return names


def run_tests(folder: Path, *arguments: str) -> str:
    """Have a framework run the tests in a folder; returns what it says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_tests_of_handlers_run_as_printed(framework: str, tmp_path: Path) -> None:
    plugin, count = FRAMEWORKS[framework]
    if plugin != "anyio" and not os.environ.get("CI"):
        pytest.importorskip(f"pytest_{plugin}")
    row = re.search(rf"^\| {framework}[^|]*\| (.*) \|$", PAGE, re.MULTILINE)
    assert row is not None
    lines = re.findall(r"`(.*?)`", row[1])
    (tmp_path / "pyproject.toml").write_text("\n".join(["[tool.pytest.ini_options]", *lines]))
    (tmp_path / "test_handlers.py").write_text(program("handlers") + program("fixture"))
    others = [argument for other, _ in FRAMEWORKS.values() if other != plugin for argument in ("-p", f"no:{other}")]
    assert f"{count} passed" in run_tests(tmp_path, "pytest", "-W", "error", "-p", "no:cacheprovider", *others)


def test_a_test_case_of_unittest_runs_as_printed(tmp_path: Path) -> None:
    (tmp_path / "test_handlers.py").write_text(program("handlers") + program("unittest"))
    assert "Ran 1 test" in run_tests(tmp_path, "unittest", "-v")


def test_an_hour_runs_as_printed() -> None:
    names: dict[str, Any] = {}
    exec(compile(program("handlers") + program("hour"), "hour", "exec"), names)
    assert names["an_hour"]


def test_a_world_runs_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("world")["scripted"].sessions == 1
    assert capsys.readouterr().out


def test_a_test_of_a_driver_runs_as_printed() -> None:
    assert run("driver")["peer"].links


def test_a_check_of_a_driver_runs_as_printed() -> None:
    found = re.search(r"<!-- check: driver -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(compile(driver_program("asyncio") + found[1], "check", "exec"), names)
    check_driver(names["UnderTest"], only=["certificates are verified", "stop is obeyed at once", "timers are kept"])


def test_the_page_names_every_invariant_and_its_clause() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", PAGE.partition("### Invariants")[2].partition("###")[0], re.M)
    assert dict(rows[1:]) == INVARIANTS  # below the heading
