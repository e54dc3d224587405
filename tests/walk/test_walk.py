"""Every state of agent and platform, walked through: no invariant breaks, and no row of a table is left out."""

from __future__ import annotations

import pytest

from artcafe_proto.agent.login import Login
from artcafe_proto.agent.states import LINK, LinkInput, LinkState
from artcafe_proto.links import LinkEnd
from artcafe_proto.policies.ledger import Ledger
from support.forgetful import begin_forgetful
from walk.abstraction import abstract
from walk.actions import do, enabled, fair, is_good
from walk.copies import freeze, thaw
from walk.scenarios import ALL_FAULTS, QUICK, THOROUGH, Scenario
from walk.search import Report, WalkError, walk
from walk.world import World


def walked(scenarios: tuple[Scenario, ...]) -> Report:
    """All that these scenarios see; printed with `pytest -s`."""
    total = Report()
    for scenario in scenarios:
        total.add(walk(scenario))
    print(total)
    return total


@pytest.mark.first
def test_every_row_of_the_tables_is_taken_and_everything_met_that_is_worth_it() -> None:
    report = walked(QUICK)
    assert report.unvisited() == []
    assert report.unmet() == []
    assert all(report.actions[kind] for kind in ("silence", "half", "say", "declare"))


@pytest.mark.thorough
@pytest.mark.by_hand
@pytest.mark.first
def test_every_state_with_two_links_two_commands_and_one_fault() -> None:
    report = walked(THOROUGH)
    assert report.unvisited() == []
    assert report.unmet() == []
    assert report.states > 50_000


# --- the walk itself --------------------------------------------------------------------------------------------------


def at_work() -> World:
    """A world in which a command runs."""
    world = World(Scenario(name="at work", commands=2, faults=ALL_FAULTS))
    while not is_good(world):
        step(world)
    do(world, next(action for action in enabled(world) if action.kind == "command"))
    while not world.running:
        step(world)
    return world


def step(world: World) -> None:
    """Whatever comes next."""
    action = fair(world)
    assert action is not None
    do(world, action)


def test_a_copy_of_a_world_is_equal_and_shares_nothing_that_changes() -> None:
    world = at_work()
    frozen = freeze(world)
    assert abstract(thaw(frozen)) == abstract(world)
    assert freeze(thaw(frozen)) == freeze(thaw(frozen))
    for action in list(enabled(world)):
        one, other = thaw(frozen), thaw(frozen)
        before = freeze(other)
        do(one, action)
        assert freeze(other) == before, f"{action} in one copy reached the other"


def test_a_copy_goes_on_as_the_original_does() -> None:
    world = at_work()
    copy = thaw(freeze(world))
    for _ in range(100):
        step(world)
        step(copy)
        assert abstract(copy) == abstract(world)
    assert (copy.mono, copy.watch.executed, copy.watch.answered) == (
        world.mono,
        world.watch.executed,
        world.watch.answered,
    )


def test_a_ledger_that_forgets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "__init__", begin_forgetful)
    with pytest.raises(WalkError, match=r"no command is executed twice in one life \[CMD-1\]: first"):
        walk(Scenario(name="forgetful", commands=1, faults=frozenset({"reset"})))


def test_a_message_after_the_close_frame_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def close_twice(self: LinkEnd, code: int, reason: str) -> None:
        close(self, code, reason)
        close(self, code, reason)

    close = LinkEnd.close
    monkeypatch.setattr(LinkEnd, "close", close_twice)
    with pytest.raises(WalkError, match="nothing follows a close frame"):
        walk(Scenario(name="talkative", faults=frozenset({"close"})))


def test_a_refusal_that_is_met_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    lossless = {row: state for row, state in LINK.transitions.items() if row != (LinkState.UP, LinkInput.LOST)}
    monkeypatch.setattr(LINK, "transitions", lossless)
    with pytest.raises(WalkError, match="LOST is refused in UP: there is no link"):
        walk(Scenario(name="unlosable", faults=frozenset({"reset"})))


def test_an_agent_that_never_gets_anywhere_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def ignored(self: Login, request: int, signature: bytes, mono: float) -> None:
        """The signature goes nowhere, so that every login ends by its deadline."""

    monkeypatch.setattr(Login, "signed", ignored)
    with pytest.raises(WalkError, match="no good end comes of itself"):
        walk(Scenario(name="nowhere"))
