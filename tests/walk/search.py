"""The walk: every action in every state, breadth first, until no state is left that was not seen."""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from artcafe_proto.agent.states import AUTHENTICATION, LINK
from artcafe_proto.hub.states import COMMAND, SESSION
from artcafe_proto.regions import Table
from walk.abstraction import abstract, situation
from walk.actions import do, enabled, fair, is_good
from walk.copies import freeze, thaw
from walk.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from walk.abstraction import Abstract
    from walk.actions import Action
    from walk.scenarios import Scenario

TABLES: Final[dict[str, Table[Any, Any]]] = {
    "authentication": AUTHENTICATION,
    "link": LINK,
    "session": SESSION,
    "command": COMMAND,
}
_MOST_STEPS_TO_A_GOOD_END: Final = 400
_MOST_STEPS_TOLD: Final = 60


class WalkError(AssertionError):
    """Something went wrong somewhere: on which path, and what."""


class Report:
    """What a walk has seen."""

    def __init__(self) -> None:
        self.states = 0
        self.edges = 0
        self.seconds = 0.0
        self.actions: Counter[str] = Counter()
        self.rows: Counter[tuple[int, Any, Any]] = Counter()

    def times(self, name: str, state: Any, cause: Any) -> int:
        """How often a row of a table was taken."""
        return self.rows[id(TABLES[name]), state, cause]

    def unvisited(self) -> list[str]:
        """Rows of the tables that were never taken."""
        return [
            f"{name}: {state.name} by {cause.name}"
            for name, table in TABLES.items()
            for state, cause in table.transitions
            if not self.times(name, state, cause)
        ]

    def add(self, other: Report) -> None:
        """Count another walk in."""
        self.states += other.states
        self.edges += other.edges
        self.seconds += other.seconds
        self.actions += other.actions
        self.rows += other.rows

    def __str__(self) -> str:
        lines = [f"{self.states} states, {self.edges} edges, {self.seconds:.1f} s"]
        lines.append("actions: " + ", ".join(f"{name} {times}" for name, times in sorted(self.actions.items())))
        for name, table in TABLES.items():
            lines.append(f"{name}: {len(table.transitions)} rows")
            for (state, cause), following in table.transitions.items():
                times = self.times(name, state, cause)
                lines.append(f"  {state.name:11} {cause.name:11} → {following.name:11} {times}")
        return "\n".join(lines)


def walk(scenario: Scenario, most_states: int | None = None) -> Report:
    """Walk through everything. Raises WalkError with the path that led to what must not be."""
    started = time.perf_counter()
    report = Report()
    with _counted(report.rows):
        _Search(scenario, report).run(most_states)
    report.seconds = time.perf_counter() - started
    return report


@contextmanager
def _counted(rows: Counter[tuple[int, Any, Any]]) -> Generator[None]:
    """Count the rows of the tables that are taken."""
    original: Callable[[Table[Any, Any], Any, Any], Any] = Table[Any, Any].after

    def after(self: Table[Any, Any], state: Any, cause: Any) -> Any:
        following = original(self, state, cause)
        rows[id(self), state, cause] += 1
        return following

    Table.after = after
    try:
        yield
    finally:
        Table.after = original


class _Search:
    def __init__(self, scenario: Scenario, report: Report) -> None:
        self._report = report
        self._scenario = scenario
        self._came_from: dict[Abstract, tuple[Abstract, Action] | None] = {}
        self._good: set[Abstract] = set()
        self._waiting: deque[tuple[Abstract, bytes]] = deque()

    def run(self, most_states: int | None) -> None:
        first = World(self._scenario)
        self._met(abstract(first), first, None)
        while self._waiting and (most_states is None or self._report.states < most_states):
            self._expand(*self._waiting.popleft())

    def _expand(self, here: Abstract, frozen: bytes) -> None:
        worlds = [thaw(frozen)]
        actions = list(enabled(worlds[0]))
        worlds += [thaw(frozen) for _ in actions[1:]]
        for action, world in zip(actions, worlds, strict=False):
            try:
                do(world, action)
                there = abstract(world)
            except Exception as error:
                raise WalkError(self._story(here, [action], error)) from error
            self._report.edges += 1
            self._report.actions[action.kind] += 1
            if there not in self._came_from:
                self._met(there, world, (here, action))

    def _met(self, state: Abstract, world: World, came_from: tuple[Abstract, Action] | None) -> None:
        """A state that was not seen before."""
        self._came_from[state] = came_from
        self._report.states += 1
        frozen = freeze(world)
        self._waiting.append((state, frozen))
        if state[1] not in self._good:
            self._must_end_well(state, thaw(frozen))

    def _must_end_well(self, state: Abstract, world: World) -> None:
        """If nothing more goes wrong, a good end comes after so many steps, or a state from which it is known to."""
        world.faults = 0
        on_the_way: list[Abstract] = []
        steps: list[Action | None] = []
        while not is_good(world):
            here = situation(world)
            if here in self._good:
                break
            on_the_way.append(here)
            steps.append(fair(world))
            try:
                if steps[-1] is None or len(steps) > _MOST_STEPS_TO_A_GOOD_END:
                    raise AssertionError("no good end comes of itself")
                do(world, steps[-1])
            except Exception as error:
                raise WalkError(self._story(state, steps, error)) from error
        self._good.update(on_the_way)

    def _story(self, state: Abstract, last: list[Action | None], error: Exception) -> str:
        """The way from the beginning to what went wrong."""
        actions = last[:_MOST_STEPS_TOLD][::-1]
        came_from = self._came_from[state]
        while came_from is not None:
            state, action = came_from
            actions.append(action)
            came_from = self._came_from[state]
        path = "\n".join(f"  {action}" for action in reversed(actions))
        return f"{self._scenario.name}: {type(error).__name__}: {error}\nafter:\n{path}"
