"""The simulation's agents with a journal: what random worlds seldom come to, brought about (CMD-1)."""

from __future__ import annotations

import pytest

from artcafe_proto.agent.records import Kind
from artcafe_proto.records import Record
from artcafe_proto.testing import InvariantError, Simulation
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.disks import BatchFate, Disk
from artcafe_proto.testing.faults import Fault, FaultKind
from support.journal_lies import AGENT, CMD, MESSAGE, RESPONSE, SELDOM_S, JournalShow


def stopped(*, gone_until: float = 0.0) -> tuple[Simulation, AgentProcess, Disk]:
    """A world whose agent was stopped at once, as a message of its was to be stored."""
    sim = Simulation(1, faults=[], seconds=60.0, command_gap_s=SELDOM_S, says_gap_s=SELDOM_S, journal_fault_s=SELDOM_S)
    sim.run_for(10.0)
    (process,), disk = sim.processes, sim.disk_of(AGENT)
    assert disk is not None
    disk.is_gone_until = gone_until
    process.turn(process.application.say)
    process.stop(drain=False)
    assert process.protocol.is_stopped
    return sim, process, disk


def messages(disk: Disk) -> int:
    return sum(kind == Kind.MESSAGE for kind, _ in disk.records)


def test_an_agent_that_has_stopped_waits_for_its_journal() -> None:
    sim, process, disk = stopped()
    assert not process.is_dead
    process.turn(process.application.say)  # nobody is there to take it
    sim.run_for(0.5)
    assert process.is_dead
    assert process.protocol.unstored == 0
    assert messages(disk) == 1
    sim.run()


def test_but_for_5_s_only_and_then_it_is_started_again() -> None:
    sim, process, disk = stopped(gone_until=40.0)
    sim.run_for(4.9)
    assert not process.is_dead
    sim.run_for(0.2)
    assert process.is_dead
    assert process.protocol.unstored
    assert disk.fates[BatchFate.LOST] >= 1
    sim.run_for(20.0)
    assert [each is process for each in sim.processes] == [False]
    sim.run()


def test_at_the_end_of_a_world_whatever_is_settled_is_stored() -> None:
    sim, process, _ = stopped()
    sim.run()
    journal = process.watched.journal
    assert journal is not None
    journal.apply(MESSAGE)
    journal.settled_at["m-1"] = 0.0
    with pytest.raises(InvariantError, match="who stops tells what the platform lacks"):
        sim.invariants.journals.at_the_end(AGENT, journal.records)


@pytest.mark.parametrize("kind", [FaultKind.DISK_FULL, FaultKind.AGENT_DISK_FULL, FaultKind.AGENT_CRASH])
def test_who_keeps_nothing_has_no_disk_that_fails(kind: FaultKind) -> None:
    Simulation(1, faults=[Fault(5.0, kind, 0, 10.0, "")], seconds=60.0, command_gap_s=10.0, says_gap_s=10.0).run()


@pytest.mark.parametrize("age_s", [86_400.0, 86_399.0])
def test_what_is_settled_is_forgotten_a_day_later(age_s: float) -> None:
    show = JournalShow()
    show.stores(RESPONSE)
    journal = show.agent.watched.journal
    assert journal is not None
    assert CMD in journal.unsettled
    journal.settled_at[CMD] = show.agent.mono - age_s
    deletion = Record(Kind.RESPONSE, 2, None)
    if age_s < 86_400.0:
        with pytest.raises(InvariantError, match="a journal forgets nothing too early"):
            show.stores(deletion)
    else:
        show.stores(deletion)
        assert CMD not in journal.unsettled
