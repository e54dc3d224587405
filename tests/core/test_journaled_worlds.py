"""The simulation's agents with a journal: what random worlds seldom come to, brought about (CMD-1)."""

from __future__ import annotations

import pytest

from artcafe_proto.agent.records import Kind
from artcafe_proto.testing import InvariantError, Simulation
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.disks import BatchFate, Disk
from support.journal_lies import AGENT, MESSAGE, SELDOM_S


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
