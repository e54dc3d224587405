"""The simulation's platform with a disk: what random worlds seldom come to, brought about."""

from __future__ import annotations

import msgspec
import pytest

from artcafe_proto.effects import Persist
from artcafe_proto.events import CommandAccepted
from artcafe_proto.messages import CommandData, ResponseData
from artcafe_proto.platform.commands import Command
from artcafe_proto.platform.records import Kind, OutcomeRecord
from artcafe_proto.platform.states import CommandState
from artcafe_proto.records import Record, pack
from artcafe_proto.testing import Fault, FaultKind, InvariantError
from artcafe_proto.testing.faults import inject
from artcafe_proto.testing.tenants import TENANT, Account
from support.stored_lies import AGENT, BASE, COMMAND, CONN, call, invariants, world


def test_a_platform_that_dies_before_its_first_batch_is_stored_begins_anew() -> None:
    sim = world()
    sim.platform.crash(keeps_tokens=True)
    sim.run()
    assert sim.platform.command(AGENT, "no-such-command") is None
    assert sim.platform.disk is not None
    assert sim.platform.disk.records


def test_a_command_that_is_over_may_be_forgotten() -> None:
    stored = invariants(*BASE, COMMAND)
    stored.said(CommandAccepted(AGENT, "cmd-1"))
    outcome = OutcomeRecord(1, CommandState.EXPIRED, 1)
    stored.is_stored(Persist(2, (pack(Kind.OUTCOME, 1, outcome),)))
    stored.is_stored(Persist(3, (Record(Kind.COMMAND, 1, None), Record(Kind.OUTCOME, 1, None))))
    stored.crashes(None, BASE)


def test_a_pong_may_wait_for_a_response_that_came_after_the_expiry_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    expired = pack(Kind.OUTCOME, 1, OutcomeRecord(1, CommandState.EXPIRED, 1))
    sim = world(*BASE, COMMAND, expired)
    response = ResponseData("cmd-1", "success", msgspec.Raw(b"{}"))
    data = CommandData("work", msgspec.Raw(b"{}"), None)
    now = Command(TENANT, AGENT, "cmd-1", data, 0.0, 1.0, CommandState.EXPIRED, 1, response, 2.0, late=True)

    def as_it_is(*_: str) -> Command:
        return now

    monkeypatch.setattr(sim.platform, "command", as_it_is)
    sim.tenant.accounts["cmd-1"] = Account(AGENT, 1, (0, 0, None), has_expired=True, over_at=1.0)
    assert sim.invariants.stored.may_wait(AGENT)
    late = OutcomeRecord(1, CommandState.EXPIRED, 1, response, 2.0)
    sim.invariants.stored.is_stored(Persist(2, (pack(Kind.OUTCOME, 1, late),)))
    assert not sim.invariants.stored.may_wait(AGENT)


def test_the_answer_to_a_head_shows_nothing() -> None:
    stored = invariants(*BASE, COMMAND)
    stored.asked(CONN, msgspec.structs.replace(call("agents/agent-1/commands/cmd-2"), method="HEAD"), 1)
    stored.answers(CONN, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")


def test_a_crash_that_waits_for_a_batch_does_not_come_once_all_is_calm() -> None:
    sim = world()
    sim.run_for(3.0)
    inject(sim, Fault(3.0, FaultKind.PLATFORM_CRASH, 0, 0.5, "with a batch under way"))
    hub, sim.is_calm = sim.platform.hub, True
    assert sim.tenant.send(AGENT) is not None
    sim.run_for(30.0)
    assert sim.platform.hub is hub
    assert hub.unstored == 0


def test_a_pong_is_owed_since_the_first_ping_that_has_none() -> None:
    sim = world()
    sim.run_for(3.0)
    (circuit,) = [circuit for _, circuit in sim.platform.sessions.values()]
    for number in b"12":
        sim.invariants.platform_was_sent(circuit, bytes([0x89, 0x81, 0, 0, 0, 0, number]))
        sim.schedule.time += 3.0
    with pytest.raises(InvariantError, match="a ping is answered with one pong"):
        sim.invariants.platform_handled_timers(sim.platform)
