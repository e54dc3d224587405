"""The walk: every action in every state, breadth first, until no state is left that was not seen."""

from __future__ import annotations

import marshal
import time
from collections import Counter, deque
from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from artcafe_proto.agent.states import AUTHENTICATION, DIALING, LIFE, LINK
from artcafe_proto.platform.states import ANSWER, COMMAND, SESSION
from artcafe_proto.policies.ledger import ENTRY, Entry, EntryInput, EntryState, Ledger
from artcafe_proto.regions import Table
from walk.abstraction import CIRCUMSTANCES, abstract, circumstances, entries, situation
from walk.actions import TIMED, do, enabled, fair, is_good
from walk.copies import freeze, thaw
from walk.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from walk.abstraction import Abstract
    from walk.actions import Action
    from walk.scenarios import Scenario

TABLES: Final[dict[str, Table[Any, Any]]] = {
    "life": LIFE,
    "authentication": AUTHENTICATION,
    "dialing": DIALING,
    "entry": ENTRY,
    "answer": ANSWER,
    "link": LINK,
    "session": SESSION,
    "command": COMMAND,
}
_AGAIN: Final = 20
"""Every so many edges, where a state is met that is known, the walk goes on from that world too."""
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
        self.again = 0
        """How many worlds were walked whose state was known."""
        self.actions: Counter[str] = Counter()
        self.rows: Counter[tuple[int, Any, Any]] = Counter()
        self.circumstances: Counter[str] = Counter()
        """In how many states each of `CIRCUMSTANCES` held."""

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

    def unmet(self) -> list[str]:
        """What was never the case in any state, though it should be."""
        return [name for name in CIRCUMSTANCES if not self.circumstances[name]]

    def add(self, other: Report) -> None:
        """Count another walk in."""
        self.states += other.states
        self.edges += other.edges
        self.seconds += other.seconds
        self.again += other.again
        self.actions += other.actions
        self.rows += other.rows
        self.circumstances += other.circumstances

    def __str__(self) -> str:
        lines = [f"{self.states:,} states, {self.edges:,} edges, {self.seconds:.1f} s"]
        lines.append(f"{self.again:,} more worlds of known states")
        lines.append("actions: " + ", ".join(f"{name} {times}" for name, times in sorted(self.actions.items())))
        lines += [f"states with {name}: {self.circumstances[name]:,}" for name in CIRCUMSTANCES]
        for name, table in TABLES.items():
            lines.append(f"{name}: {len(table.transitions)} rows")
            for (state, cause), following in table.transitions.items():
                times = self.times(name, state, cause)
                lines.append(f"  {state.name:11} {cause.name:11} → {following.name:11} {times}")
        return "\n".join(lines)


def walk(scenario: Scenario, most_states: int | None = None) -> Report:
    """Walk through everything. Raises WalkError with the path that led to what must not be."""
    started = time.process_time()
    report = Report()
    with _counted(report.rows):
        _Search(scenario, report).run(most_states)
    report.seconds = time.process_time() - started
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
        with _ledger_by_its_table():
            yield
    finally:
        Table.after = original


@contextmanager
def _ledger_by_its_table() -> Generator[None]:
    """The ledger takes the two rows of every command by constants: here they are looked up, too."""
    answer, settle = Ledger.answer, Ledger.settle

    def answered(self: Ledger, command_id: str, body: bytes) -> Entry:
        entry = entries(self)[command_id]
        following = ENTRY.after(entry.state, EntryInput.ANSWER)
        answer(self, command_id, body)
        assert entry.state is following
        return entry

    def settled(self: Ledger, command_ids: Iterable[str], mono: float) -> Sequence[Entry]:
        ids = list(command_ids)
        known = [entry for entry in map(entries(self).get, ids) if entry is not None]
        found = [entry for entry in known if entry.state is EntryState.ANSWERED]
        following = [ENTRY.after(entry.state, EntryInput.SETTLE) for entry in found]
        dropped = settle(self, ids, mono)
        assert [entry.state for entry in found] == following
        return dropped

    Ledger.answer, Ledger.settle = answered, settled
    try:
        yield
    finally:
        Ledger.answer, Ledger.settle = answer, settle


def _key(state: Abstract) -> bytes:
    """Short for a state: a walk holds many of them. Equal for equal states, as this version of marshal has no memo."""
    return blake2b(marshal.dumps(state, 2), digest_size=16).digest()


class _Search:
    def __init__(self, scenario: Scenario, report: Report) -> None:
        self._report = report
        self._scenario = scenario
        self._came_from: dict[bytes, tuple[bytes, Action] | None] = {}
        self._timeless: dict[bytes, list[bytes]] = {}
        """Of each state that was left, where its actions led in which no time passes."""
        self._good: set[bytes] = set()
        self._waiting: deque[tuple[bytes, bytes]] = deque()

    def run(self, most_states: int | None) -> None:
        first = World(self._scenario)
        self._met(_key(abstract(first)), first, None)
        while self._waiting and (most_states is None or self._report.states < most_states):
            self._expand(*self._waiting.popleft())

    def _expand(self, here: bytes, frozen: bytes) -> None:
        worlds = [thaw(frozen)]
        actions = list(enabled(worlds[0]))
        worlds += [thaw(frozen) for _ in actions[1:]]
        ways: list[tuple[Action, bytes]] = []
        for action, world in zip(actions, worlds, strict=False):
            try:
                do(world, action)
                there = _key(abstract(world))
            except Exception as error:
                raise WalkError(self._story(here, [action], error)) from error
            ways.append((action, there))
            self._report.edges += 1
            self._report.actions[action.kind] += 1
            if there not in self._came_from:
                self._met(there, world, (here, action))
            elif self._report.edges % _AGAIN == 0:
                self._waiting.append((there, freeze(world)))
        self._compare(here, ways)

    def _compare(self, here: bytes, ways: list[tuple[Action, bytes]]) -> None:
        """If another world of this state was walked before: only where time passes may it have gone another way."""
        timeless = [way for action, way in ways if action.kind not in TIMED]
        known = self._timeless.setdefault(here, timeless)
        self._report.again += known is not timeless
        if known != timeless:
            error = AssertionError("the abstraction forgets what decides here: two worlds go different ways")
            raise WalkError(self._story(here, [], error))

    def _met(self, state: bytes, world: World, came_from: tuple[bytes, Action] | None) -> None:
        """A state that was not seen before."""
        self._came_from[state] = came_from
        self._report.states += 1
        self._report.circumstances.update(circumstances(world))
        frozen = freeze(world)
        self._waiting.append((state, frozen))
        self._must_end_well(state, world)

    def _must_end_well(self, state: bytes, world: World) -> None:
        """If nothing more goes wrong, a good end comes after so many steps, or a state from which it is known to."""
        world.faults = 0
        on_the_way: list[bytes] = []
        steps: list[Action | None] = []
        while not is_good(world):
            here = _key(situation(world))
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

    def _story(self, state: bytes, last: list[Action | None], error: Exception) -> str:
        """The way from the beginning to what went wrong."""
        actions = last[:_MOST_STEPS_TOLD][::-1]
        came_from = self._came_from[state]
        while came_from is not None:
            state, action = came_from
            actions.append(action)
            came_from = self._came_from[state]
        path = "\n".join(f"  {action}" for action in reversed(actions))
        return f"{self._scenario.name}: {type(error).__name__}: {error}\nafter:\n{path}"
