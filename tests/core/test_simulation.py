"""The simulated world: it repeats itself byte for byte, it sees what is wrong, and it finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from artcafe_proto.config import API_PREFIX
from artcafe_proto.effects import Connect, Effect
from artcafe_proto.events import AgentEvent, CallAnswered, CallFailed, CommandReceived, Online, Stopped
from artcafe_proto.platform.api import OPERATIONS
from artcafe_proto.policies.backoff import Backoff, Failure
from artcafe_proto.testing import INVARIANTS, Fault, FaultKind, InvariantError, Simulation, shrink
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.circuits import Circuit
from artcafe_proto.testing.invariants.calls import Call, CallInvariants
from artcafe_proto.testing.tenants import TENANT
from support.forgetful import begin_forgetful

SELDOM_S = 1e9


@pytest.mark.parametrize("seed", range(30))
def test_whatever_goes_wrong_every_invariant_holds(seed: int) -> None:
    Simulation(seed, agents=1 + seed % 2, calls_gap_s=(None, 5.0)[seed // 2 % 2]).run()


@pytest.mark.parametrize("seed", range(20))
def test_plat_5_whatever_goes_wrong_what_was_said_was_stored(seed: int) -> None:
    Simulation(seed, agents=1 + seed % 2, calls_gap_s=(None, 5.0)[seed // 2 % 2], store_fault_s=30.0).run()


@pytest.mark.parametrize("seed", range(20))
def test_cmd_1_whatever_goes_wrong_work_is_done_once_in_the_life_of_a_journal(seed: int) -> None:
    store_fault_s = (None, 30.0)[seed // 4 % 2]
    calls_gap_s = (None, 5.0)[seed // 2 % 2]
    Simulation(
        seed, agents=1 + seed % 2, calls_gap_s=calls_gap_s, store_fault_s=store_fault_s, journal_fault_s=30.0
    ).run()


def test_every_invariant_is_looked_at_and_every_fault_happens() -> None:
    evaluations: set[str] = set()
    happened: set[FaultKind] = set()
    for seed in range(100, 112):
        store_fault_s, journal_fault_s = (None, 30.0)[seed % 2], (None, 30.0)[seed // 2 % 2]
        sim = Simulation(seed, calls_gap_s=5.0, store_fault_s=store_fault_s, journal_fault_s=journal_fault_s)
        sim.run()
        evaluations |= set(sim.invariants.evaluations)
        happened |= set(sim.happened)
    assert evaluations == set(INVARIANTS)
    assert happened == set(FaultKind)


def test_the_same_seed_is_the_same_run_byte_for_byte() -> None:
    digests: list[str] = []
    for seed in (1, 1, 2):
        sim = Simulation(seed, seconds=200.0, calls_gap_s=5.0)
        sim.run()
        digests.append(sim.digest)
    assert digests[0] == digests[1] != digests[2]


def test_faults_can_be_scripted() -> None:
    sim = Simulation(1, faults=[Fault(100.0, FaultKind.RESET, 0, 0.0), Fault(200.0, FaultKind.CLOSED, 0, 0.0, "1001")])
    sim.run()
    assert sim.happened == {FaultKind.RESET: 1, FaultKind.CLOSED: 1}
    assert sim.sessions == 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("disks", [{}, {"store_fault_s": 60.0}, {"journal_fault_s": 60.0}])
def test_the_faults_of_a_run_repeat_it(seed: int, disks: dict[str, Any]) -> None:
    drawn = Simulation(seed, seconds=900.0, link_fault_s=3.0, calls_gap_s=20.0, **disks)
    drawn.run()
    repeated = Simulation(seed, seconds=900.0, calls_gap_s=20.0, **disks, faults=drawn.injected)
    repeated.run()
    assert len(drawn.injected) > 20
    assert (repeated.digest, repeated.sessions) == (drawn.digest, drawn.sessions)


def test_a_renewal_that_is_due_as_silence_ends_the_link_opens_no_connection() -> None:
    """Found by a campaign of a million sessions: six worlds connected and let go in one breath, before a wait's end."""
    faults = [
        Fault(8.094, FaultKind.RESET, 0, 0.0),
        Fault(10.1, FaultKind.PLATFORM_RESTART, 0, 5.0),
        Fault(22.816, FaultKind.RESET, 0, 0.0),
        Fault(45.358, FaultKind.PLATFORM_AMNESIA, 0, 0.5),
        Fault(75.998, FaultKind.STALL, 0, 60.0),
        Fault(111.711, FaultKind.AGENT_WALL_JUMP, 0, 3600.0),
        Fault(114.252, FaultKind.PLATFORM_RESTART, 0, 30.0),
    ]
    Simulation(114_867, seconds=1800.0, command_gap_s=30.0, faults=faults).run()


def test_every_link_can_have_its_fault() -> None:
    sim = Simulation(1, agents=2, seconds=1800.0, mean_gap_s=600.0, link_fault_s=3.0)
    sim.run()
    assert sim.sessions > 20, "without them there would be six or so"


def test_an_agent_that_cannot_write_and_is_asked_too_much_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.links.MAX_WAITING_REPLIES", 1)
    congested = Fault(20.0, FaultKind.CONGESTED, 0, 10.0, "of the agent")
    few = {"max_concurrent": 1, "max_queued": 0}
    sim = Simulation(1, faults=[congested], seconds=40.0, command_gap_s=0.5, agent=few, platform={"window": 4})

    def is_read() -> bool:
        return not any(circuit.down.is_paused for circuit in sim.processes[0].circuits.values())

    sim.run_for(29.0)
    assert not is_read()
    sim.run()
    assert sim.sessions == 1


def test_a_platform_that_cannot_write_reads_no_request() -> None:
    sim = Simulation(1, faults=[Fault(0.05, FaultKind.CONGESTED, 0, 5.0, "of the platform")], seconds=40.0)
    sim.network.latency_s = 0.02
    sim.run_for(1.0)
    assert [circuit.up.is_paused for circuit in sim.processes[0].circuits.values()] == [True]
    sim.run()


def test_an_agent_of_a_world_can_ask_about_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulation(1, faults=[], says_gap_s=SELDOM_S)
    agent, heard, look = sim.processes[0], list[object](), sim.invariants.agent_said

    def hear(process: AgentProcess, output: Effect | AgentEvent) -> None:
        heard.append(output)
        look(process, output)

    monkeypatch.setattr(sim.invariants, "agent_said", hear)
    sim.run_for(20.0)
    agent.turn(agent.protocol.get_details)
    sim.run_for(5.0)
    assert [each.details["agent_id"] for each in heard if isinstance(each, CallAnswered)] == ["agent-1"]
    registry = sim.platform.hub.registry
    (key,) = registry.keys("agent-1")
    registry.remove_key(TENANT, key.key_id)  # which closes no link: the call is what learns of it
    sim.platform.keys.clear()
    agent.turn(agent.protocol.get_details)
    sim.run_for(70.0)
    assert [each.status for each in heard if isinstance(each, CallFailed)]


def test_a_platform_of_a_world_hears_of_an_orderly_end() -> None:
    sim = Simulation(1, faults=[], seconds=40.0)
    sim.run_for(20.0)
    assert sim.platform.is_online("agent-1")
    (circuit,) = sim.processes[0].circuits.values()
    circuit.leave(circuit.down, circuit.up, abort=False)
    sim.run_for(1.0)
    assert not sim.platform.is_online("agent-1")
    sim.run()


def test_an_agent_may_say_hello_and_goodbye_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that its first heartbeat lets out finds the link closed."""
    sim = Simulation(1, faults=[Fault(0.0, FaultKind.MERGED, 0, 60.0)], command_gap_s=1e9)
    agent, said = sim.processes[0], list[type]()
    look = sim.invariants.agent_said

    def hear(process: AgentProcess, output: Effect | AgentEvent) -> None:
        look(process, output)
        if process is agent:  # and not one that is started after it
            said.append(type(output))
            if isinstance(output, Online):
                sim.after(0.0, agent.stop)

    monkeypatch.setattr(sim.invariants, "agent_said", hear)
    sim.tenant.send("agent-1")
    sim.run_for(10.0)
    assert Stopped in said
    assert CommandReceived not in said


def test_callers_ask_for_every_operation_and_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    answered: set[tuple[str, tuple[str, ...], int]] = set()
    look = CallInvariants.answered

    def hear(invariants: CallInvariants, call: Call, status: int) -> None:
        look(invariants, call, status)
        segments = call.target.partition("?")[0].removeprefix(f"{API_PREFIX}/").split("/")
        path = (segments[0], *("" for _ in segments[1:2]), *segments[2:])
        answered.add((call.method, tuple(segments) if segments[0] == "auth" else path, status))

    monkeypatch.setattr(CallInvariants, "answered", hear)
    for seed in range(6):
        Simulation(seed, agents=2, calls_gap_s=1.0).run()
    done = {(method, path) for method, path, status in answered if status < 300}
    assert done >= {(method, path) for path, operations in OPERATIONS.items() for method in operations}
    assert {status for _, _, status in answered} >= {400, 401, 403, 404, 405, 409, 422, 426}


def test_a_calm_world_keeps_its_link() -> None:
    sim = Simulation(1, faults=[])
    sim.run()
    assert sim.sessions == 0
    assert len(sim.commands) > 50


def no_wait(backoff: Backoff, failure: Failure) -> float:
    return 0.25


@pytest.mark.parametrize(
    ("target", "bug", "invariant"),
    [
        ("artcafe_proto.policies.backoff.Backoff.wait_s", no_wait, "waits are within their bounds"),
        ("artcafe_proto.policies.ledger.Ledger.__init__", begin_forgetful, "no command is executed twice in one life"),
    ],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, target: str, bug: Callable[..., object], invariant: str
) -> None:
    monkeypatch.setattr(target, bug)
    found, seed = [""], 0
    for seed in range(20):
        try:
            Simulation(seed).run()
        except InvariantError as violation:
            found = str(violation).splitlines()
            break
    assert found[0].startswith(invariant)
    assert found[1].startswith(f"seed {seed}, at ")


def test_what_breaks_an_invariant_is_shrunk_to_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.backoff.Backoff.wait_s", no_wait)
    drawn = Simulation(2)
    with pytest.raises(InvariantError):
        drawn.run()
    kept = shrink(lambda faults: Simulation(2, faults=faults).run(), drawn.injected)
    assert len(kept) == 1 < len(drawn.injected)
    with pytest.raises(ValueError, match="expected a run that breaks an invariant"):
        shrink(lambda faults: None, kept)


def test_a_process_that_dies_while_it_connects_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = Simulation(5, seconds=30.0, faults=[Fault(0.1, FaultKind.AGENT_RESTART, 0, 5.0)])
    assert sim.network.latency_s == 0.2
    opened: list[float] = []
    opens = AgentProcess.opened

    def noted(process: AgentProcess, asked: Connect, circuit: Circuit) -> None:
        opened.append(sim.time)
        opens(process, asked, circuit)

    monkeypatch.setattr(AgentProcess, "opened", noted)
    sim.run()
    assert opened
    assert opened[0] > 5.0
