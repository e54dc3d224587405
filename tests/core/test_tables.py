"""The transition tables: total, without a row or a reason that nothing can reach, and alone in moving a state."""

from __future__ import annotations

import re
from enum import Enum
from itertools import product
from typing import Any

import pytest

import diagrams
from artcafe_proto.agent.states import AUTHENTICATION, DIALING, LIFE, LINK
from artcafe_proto.platform.states import ANSWER, COMMAND, SESSION
from artcafe_proto.policies.ledger import ENTRY
from artcafe_proto.regions import Region, Table

TABLES: dict[str, Table[Any, Any]] = {
    "life": LIFE,
    "authentication": AUTHENTICATION,
    "link": LINK,
    "dialing": DIALING,
    "entry": ENTRY,
    "session": SESSION,
    "answer": ANSWER,
    "command": COMMAND,
}


def cells(table: Table[Any, Any]) -> set[tuple[Enum, Enum]]:
    """Every state with every input."""
    some_state: Enum = table.initial
    some_input: Enum = next(iter(table.refusals))
    return set(product(type(some_state), type(some_input)))


CELLS = [
    pytest.param(table, state, cause, id=f"{name}-{state.name}-{cause.name}")
    for name, table in TABLES.items()
    for state, cause in sorted(cells(table), key=str)
]


@pytest.mark.repeats
@pytest.mark.parametrize(("table", "state", "cause"), CELLS)
def test_every_input_in_every_state_is_a_transition_or_a_refusal_with_its_name(
    table: Table[Any, Any], state: Any, cause: Any
) -> None:
    region = Region(table)
    region.state = state
    following = table.transitions.get((state, cause))
    if following is None:
        with pytest.raises(AssertionError) as raised:
            region.fire(cause)
        assert str(raised.value) == f"{cause.name} is refused in {state.name}: {table.refusals[cause]}"
        assert region.state is state, "a refusal changes nothing"
    else:
        region.fire(cause)
        assert region.state is following


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_no_transition_and_no_refusal_stands_for_nothing(table: Table[Any, Any]) -> None:
    assert set(table.transitions) <= cells(table)
    refused = {cause for state, cause in cells(table) if (state, cause) not in table.transitions}
    assert set(table.refusals) == refused, "a reason for every input that is refused somewhere, and for no other"
    reached = {table.initial}
    while more := {following for (state, _), following in table.transitions.items() if state in reached} - reached:
        reached |= more
    assert reached == {state for state, _ in cells(table)}


def test_the_diagrams_are_those_of_the_tables() -> None:
    hint = "draw the page again: .venv/bin/python tests/diagrams.py"
    assert diagrams.PAGE.read_text("utf-8") == diagrams.page(), hint


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_diagram_has_every_transition_once(table: Table[Any, Any]) -> None:
    drawn = {
        (source, cause, target)
        for source, target, causes in re.findall(r"^    (\w+) --> (\w+): (.+)$", diagrams.diagram(table), re.MULTILINE)
        for cause in causes.split(", ")
    }
    assert drawn == {(state.value, cause.value, to.value) for (state, cause), to in table.transitions.items()}


class Light(Enum):
    """States of a small machine."""

    RED = "red"
    GREEN = "green"


class Press(Enum):
    """Its inputs."""

    GO = "go"


def test_a_region_moves_by_its_table_and_names_what_it_refuses() -> None:
    table = Table(Light.RED, {(Light.RED, Press.GO): Light.GREEN}, {Press.GO: "it goes already"})
    region = Region(table)
    region.fire(Press.GO)
    assert region.state is Light.GREEN
    with pytest.raises(AssertionError) as refused:
        region.fire(Press.GO)
    assert str(refused.value) == "GO is refused in GREEN: it goes already"
    assert (table.initial, region.state) == (Light.RED, Light.GREEN)
