"""One module of the adapters reads the computer's clocks; everything else is given a clock, or a named exception."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ADAPTERS = Path(__file__).parents[2] / "adapters"
FILES = {str(path.relative_to(ADAPTERS)): path for path in sorted(ADAPTERS.rglob("*.py"))}
PROGRAM = "artcafe_cli/"
"""The command line is a program, which runs by the computer's clocks."""

CLOCKS = "artcafe_anyio.clocks"
MAY_READ = {
    "artcafe_anyio/driver.py": {"guarded"},  # the clock that an agent was given, …
    "artcafe_platform/owner.py": {"guarded"},  # … a platform …
    "artcafe_anyio/testing.py": {"first_reading"},  # … or both
    "artcafe_anyio/journals.py": {"first_reading"},  # an agent's, before its journal is restored
    "artcafe_anyio/parameters.py": {"read_clocks"},  # an agent's default
    "artcafe_platform/server.py": {"read_clocks", "first_reading"},  # a platform's
    "artcafe_anyio/process_metrics.py": {"process_cpu_s"},  # what the process has used, by a count of the system's
    "artcafe_anyio/tls_failures.py": {"read_clocks"},  # OpenSSL judges certificates by the computer's clock
}
READERS = ("artcafe_anyio/clocks.py", "artcafe_anyio/driver_checks/")
"""The clocks, and the checks of drivers: those measure how long a driver takes, whatever its own clock says."""
OF_LOOPS = {"artcafe_anyio/loops.py": {"time", "current_time"}}
"""Where the event loop's own time is read: it is what waits are made of, and no moment."""
READINGS = {"now", "utcnow", "today", "localtime", "gmtime", "ctime", "current_time"}
"""Of datetime, time, and event loops."""


def readings(name: str, tree: ast.AST) -> Iterator[str]:
    """Where a module reads a clock that it was not given, as `line: what`."""
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module="time"):
                yield from (f"{node.lineno}: {each.name}" for each in node.names if each.name != "sleep")
            case ast.ImportFrom(module="artcafe_anyio") if any(each.name == "clocks" for each in node.names):
                yield f"{node.lineno}: the module of clocks as a whole"
            case ast.Import() if any(each.name == CLOCKS for each in node.names):
                yield f"{node.lineno}: the module of clocks as a whole"
            case ast.Import() if any(each.name == "time" and each.asname for each in node.names):
                yield f"{node.lineno}: time by another name"
            case ast.ImportFrom(module=module) if module == CLOCKS and not name.startswith(PROGRAM):
                taken = {each.name for each in node.names} - {"Clock"} - MAY_READ.get(name, set())
                yield from (f"{node.lineno}: {each}" for each in sorted(taken))
            case ast.Attribute(value=ast.Name(id="time"), attr=attr) if attr != "sleep":
                yield f"{node.lineno}: time.{attr}"
            case ast.Attribute(attr=attr) if attr in READINGS | {"time"}:
                if attr not in OF_LOOPS.get(name, set()):
                    yield f"{node.lineno}: .{attr}"
            case _:
                pass


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith(READERS)])
def test_no_other_module_reads_a_clock_that_it_was_not_given(name: str) -> None:
    assert list(readings(name, ast.parse(FILES[name].read_text()))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.monotonic()",
        "import time as t",
        "from time import time",
        "from datetime import datetime\ndatetime.now()",
        "import asyncio\nasyncio.get_running_loop().time()",
        "import anyio\nanyio.current_time()",
        "from artcafe_anyio.clocks import Clock, read_clocks",
        "from artcafe_anyio import clocks",
        "import artcafe_anyio.clocks",
    ],
)
def test_the_test_finds_readings(source: str) -> None:
    assert list(readings("artcafe_anyio/driver.py", ast.parse(source)))


def test_every_exception_is_one() -> None:
    for name, names in MAY_READ.items():
        source = FILES[name].read_text()
        assert all(each in source for each in names)
        assert list(readings("artcafe_anyio/another.py", ast.parse(source)))
