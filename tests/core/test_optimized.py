"""What must hold is checked under `python -O` too, which leaves every `assert` out."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("artcafe_proto", "adapters") for path in (ROOT / folder).rglob("*.py"))
OPTIMIZED = """
from random import Random

from artcafe_proto.agent.states import AUTHENTICATION, AuthInput, AuthState
from artcafe_proto.platform.states import SESSION, SessionInput, SessionState
from artcafe_proto.regions import Region
from artcafe_proto.testing import Simulation
from artcafe_proto.testing.ensuring import ensure
from artcafe_proto.testing.wiretap import WrittenRequest

assert False, "which is left out"


def refused(call):
    try:
        call()
    except AssertionError as error:
        return str(error)
    return ""


for table, inputs in ((AUTHENTICATION, AuthInput), (SESSION, SessionInput)):
    for state in type(table.initial):
        for cause in inputs:
            region = Region(table)
            region.state = state
            if (state, cause) in table.transitions:
                region.fire(cause)
                print(region.state.name)
            else:
                print(refused(lambda: region.fire(cause)), region.state is state)
print(refused(lambda: ensure(False, "what it relies on")))
print(refused(lambda: WrittenRequest(b"nonsense")))
"""


def test_a_state_is_moved_by_its_table_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-O", "-c", OPTIMIZED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    *moves, reliance, request = done.stdout.splitlines()
    assert reliance == "what it relies on"
    refusals = [line for line in moves if " is refused in " in line]
    assert len(refusals) > 10
    assert all(line.endswith(" True") for line in refusals), "a refusal leaves the state as it is"
    assert "None" not in moves
    assert request.startswith("expected a request")


def narrows(test: ast.expr) -> bool:
    """Whether a condition tells a type checker what a type is, and guards nothing."""
    match test:
        case ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return True
        case ast.Call(func=ast.Name(id="isinstance")):
            return True
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return narrows(operand)
        case _:
            return False


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_assert_only_narrows_a_type(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assert):
            assert narrows(node.test), f"line {node.lineno}: raise an error instead"
