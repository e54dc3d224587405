"""Peers by behaviours: a test for each cell of the table, though the cells of a peer are played together.

Most of a cell is waiting. So the tests of a module have two parameters: `outcomes`, a fixture of the module that stands
for a peer and plays every chosen behaviour with it, and `behaviour`, whose outcome the test looks up there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Protocol

import anyio
import pytest

PATIENCE_S = 60.0
"""Before a cell that waits for something is taken as failed."""

CLOSE_CODES = (1000, 1001, 1011, 1012, 1013)
"""What common servers and clients close with."""
Outcomes = dict[str, Exception | None]
"""What the cell of each behaviour raised."""


class Behaviour(Protocol):
    """What is needed of a row of the table."""

    @property
    def name(self) -> str: ...
    @property
    def thorough(self) -> bool: ...


def table(behaviours: Iterable[Behaviour]) -> list[Any]:
    """The values of the parameter `behaviour`."""
    return [pytest.param(each.name, marks=[pytest.mark.thorough] * each.thorough) for each in behaviours]


def chosen_behaviours(request: pytest.FixtureRequest) -> list[str]:
    """Of the tests that will use the fixture `outcomes` with this parameter. A selection of tests plays no more."""
    tests = [item for item in request.session.items if item.path == request.path]
    cells = [test.callspec.params for test in tests if isinstance(test, pytest.Function) and hasattr(test, "callspec")]
    return [str(cell["behaviour"]) for cell in cells if cell["outcomes"] == request.param]


async def play_all(cells: Sequence[tuple[Behaviour, Callable[[], Awaitable[None]]]]) -> Outcomes:
    """Play cells, each given as a behaviour and what plays it: at once, but the thorough ones after them, one by one,
    which leave no time for the others.
    """
    outcomes: Outcomes = {}

    async def attempt(behaviour: Behaviour, play: Callable[[], Awaitable[None]]) -> None:
        outcomes[behaviour.name] = None
        try:
            await play()
        except Exception as error:
            outcomes[behaviour.name] = error

    async with anyio.create_task_group() as tasks:
        for behaviour, play in cells:
            if not behaviour.thorough:
                tasks.start_soon(attempt, behaviour, play)
    for behaviour, play in cells:
        if behaviour.thorough:
            await attempt(behaviour, play)
    return outcomes


async def until(done: Callable[[], object]) -> None:
    """Wait for what others bring about, on whichever thread. Raises TimeoutError if they do not."""
    with anyio.fail_after(PATIENCE_S):
        while not done():  # noqa: ASYNC110 threads bring it about, too
            await anyio.sleep(0.01)


def check(outcome: Exception | None) -> None:
    """Raise what a cell raised."""
    if outcome is not None:
        raise outcome
