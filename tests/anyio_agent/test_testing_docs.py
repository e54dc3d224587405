"""docs/testing.md: its programs run as printed, and it names every invariant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from artcafe_proto.testing import INVARIANTS

PAGE: Final = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()


def run(name: str) -> dict[str, Any]:
    """Run a program of the page; returns the names it leaves."""
    found = re.search(rf"<!-- run: {name} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(compile(found[1], name, "exec"), names)
    return names


@pytest.mark.anyio
async def test_a_test_of_handlers_runs_as_printed() -> None:
    await run("handlers")["test_resize"]()


def test_a_world_runs_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("world")["scripted"].sessions == 1
    assert capsys.readouterr().out


def test_a_test_of_a_driver_runs_as_printed() -> None:
    assert run("driver")["peer"].links


def test_the_page_names_every_invariant_and_its_clause() -> None:
    rows = re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", PAGE.partition("### Invariants")[2].partition("###")[0], re.M)
    assert dict(rows[1:]) == INVARIANTS  # below the heading
