"""The transition tables: total, without a row or a reason that nothing can reach, and alone in moving a state."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from artcafe_proto.agent.states import AUTHENTICATION, LINK
from artcafe_proto.hub.states import COMMAND, SESSION
from artcafe_proto.regions import Region, Table

TABLES: dict[str, Table[Any, Any]] = {
    "authentication": AUTHENTICATION,
    "link": LINK,
    "session": SESSION,
    "command": COMMAND,
}
CELLS = [
    pytest.param(table, state, cause, id=f"{name}-{state.name}-{cause.name}")
    for name, table in TABLES.items()
    for state, cause in product(type(table.initial), type(next(iter(table.refusals))))
]


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
    states, inputs = set(type(table.initial)), set(type(next(iter(table.refusals))))
    cells = {(state, cause) for state in states for cause in inputs}
    assert set(table.transitions) <= cells
    refused = {cause for state, cause in cells if (state, cause) not in table.transitions}
    assert set(table.refusals) == refused, "a reason for each input that has none of its own somewhere, and no other"
    reached = {table.initial}
    while more := {table.transitions[cell] for cell in table.transitions if cell[0] in reached} - reached:
        reached |= more
    assert reached == states
