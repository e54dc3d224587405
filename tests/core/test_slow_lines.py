"""Lines that are slow, or carry one way only: nothing settles unread, large things arrive (LINK-7, LINK-8, CMD-3).

Each world is one that broke a promise once, with an honest peer.
"""

from __future__ import annotations

from typing import Any

import pytest

from artcafe_proto import ApiError
from artcafe_proto.events import (
    AgentOffline,
    CommandReceived,
    CommandSent,
    Event,
    MessageReceived,
    MessageSettled,
    Offline,
    Online,
    Stopped,
)
from artcafe_proto.limits import UNANSWERED_PING_S, WRITE_AHEAD_BYTES
from artcafe_proto.testing import Fault, FaultKind, Simulation
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.platforms import TENANT

AGENT = "agent-1"


class World:
    """A simulation of one agent, by script, and what both sides say in it."""

    def __init__(self, *faults: Fault, seconds: float = 300.0, **settings: Any) -> None:
        self.sim = Simulation(1, seconds=seconds, command_gap_s=1e9, says_gap_s=1e9, faults=faults, **settings)
        self.sim.network.latency_s = 0.01
        self.process: AgentProcess = self.sim.processes[0]
        self.agent_events: list[tuple[float, Any]] = []
        self.hub_events: list[tuple[float, Any]] = []
        self.by_script: list[str] = []
        invariants = self.sim.invariants
        agent_said, platform_said = invariants.agent_said, invariants.platform_said

        def on_agent(process: AgentProcess, output: Any) -> None:
            self.agent_events.append((self.sim.time, output))
            agent_said(process, output)

        def on_platform(event: Event) -> None:
            self.hub_events.append((self.sim.time, event))
            platform_said(event)

        invariants.agent_said, invariants.platform_said = on_agent, on_platform  # type: ignore[method-assign]

    def say(self, data: dict[str, object]) -> None:
        self.process.turn(lambda now: self.process.protocol.send_message(data, now))

    def command(self, size: int = 1) -> None:
        command_id = self.sim.tenant.send(AGENT, (0, size, 10.0))
        assert command_id is not None
        self.by_script.append(command_id)

    def agent_said(self, kind: type[Event]) -> list[Any]:
        return [event for _, event in self.agent_events if type(event) is kind]

    def commands(self, kind: type[Event]) -> list[str]:
        """Of which of the commands by script either side has told this."""
        said = self.agent_said(kind) + self.hub_said(kind)
        return [event.command_id for event in said if event.command_id in self.by_script]

    def hub_said(self, kind: type[Event]) -> list[Any]:
        return [event for _, event in self.hub_events if type(event) is kind]

    @property
    def received(self) -> list[str]:
        return [event.message_id for event in self.hub_said(MessageReceived)]

    def unread(self) -> list[str]:
        """What was told to be settled and never came."""
        settled = [event.message_id for event in self.agent_said(MessageSettled)]
        return [each for each in settled if each not in self.received]


def silence(at: float, kind: FaultKind = FaultKind.SILENT_UP) -> Fault:
    return Fault(at=at, kind=kind, agent=0, amount=0.0)


def test_cmd_3_nothing_settles_that_no_longer_reaches_the_platform_though_it_is_heard() -> None:
    world = World(silence(100.0))
    for at in (99.0, 100.1):
        world.sim.after(at, lambda: world.say({}))
    world.sim.run()
    assert world.unread() == []
    settled = world.agent_said(MessageSettled)
    assert [event.assumed for event in settled] == [False, False]
    assert len(set(world.received)) == 2, "the second came on the next link"


def test_cmd_8_a_drain_over_such_a_line_says_what_is_not_settled() -> None:
    world = World(silence(100.0), agent={"drain_timeout": 20.0})
    world.sim.after(99.0, lambda: world.say({}))
    world.sim.after(100.1, lambda: world.say({}))
    world.sim.after(101.0, world.process.stop)
    world.sim.run_for(200.0)
    (stopped,) = world.agent_said(Stopped)
    assert len(stopped.messages) == 1
    assert stopped.messages[0] not in world.received


@pytest.mark.parametrize("kind", [FaultKind.SILENT_UP, FaultKind.SILENT_DOWN])
def test_link_7_a_line_that_carries_one_way_only_is_lost_in_time(kind: FaultKind) -> None:
    world = World(silence(100.0, kind))
    world.sim.after(100.1, lambda: world.say({}))
    world.sim.run_for(100.0 + UNANSWERED_PING_S)
    (lost,) = world.agent_said(Offline)
    assert lost.unsettled == 1
    assert len(world.agent_said(Online)) == 2


def test_link_7_a_large_message_passes_a_slow_line_on_one_link_and_settles_when_it_is_read() -> None:
    world = World()
    world.sim.run_for(60.0)
    world.sim.network.narrow(20_000.0)
    world.say({"x": "x" * 900_000})
    world.sim.run_for(100.0)
    assert world.agent_said(Offline) == world.hub_said(AgentOffline) == []
    ((at, settled),) = [each for each in world.agent_events if isinstance(each[1], MessageSettled)]
    ((came_at, _),) = [each for each in world.hub_events if isinstance(each[1], MessageReceived)]
    assert 45.0 < came_at - 60.0 < 50.0
    assert (at >= came_at, settled.assumed) == (True, False)


def test_link_7_many_of_them_pass_it_too_since_little_is_written_ahead() -> None:
    world = World()
    world.sim.run_for(60.0)
    world.sim.network.narrow(40_000.0)
    for _ in range(8):
        world.say({"x": "x" * 500_000})
    world.sim.run_for(150.0)
    assert world.agent_said(Offline) == world.hub_said(AgentOffline) == []
    assert len(world.received) == len(world.agent_said(MessageSettled)) == 8
    assert world.unread() == []


def test_link_7_a_pong_behind_a_large_command_is_waited_for_in_both_roles() -> None:
    world = World()
    world.sim.run_for(60.0)
    world.sim.network.narrow(20_000.0)
    world.command(1_000_000)
    world.sim.run_for(0.1)
    world.say({})  # whose pong comes behind the command
    world.sim.run_for(100.0)
    assert world.agent_said(Offline) == world.hub_said(AgentOffline) == []
    assert len(world.commands(CommandReceived)) == len(world.agent_said(MessageSettled)) == 1


def test_link_8_commands_wait_in_their_line_while_much_has_not_left_and_messages_are_refused() -> None:
    world = World(platform={"window": 64})
    world.sim.run_for(60.0)
    world.sim.network.narrow(100_000.0)
    for _ in range(40):
        world.command(500_000)
    circuit = next(iter(world.process.circuits.values()))
    assert len(world.commands(CommandSent)) == 1
    most = 0
    for _ in range(260):
        world.sim.run_for(1.0)
        most = max(most, circuit.down.unsent_bytes)
        if circuit.down.unsent_bytes > WRITE_AHEAD_BYTES:
            hub = world.sim.platform.hub
            with pytest.raises(ApiError) as refused:
                hub.send_message(TENANT, AGENT, {}, world.sim.platform.now)
            assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
    assert most < WRITE_AHEAD_BYTES + 600_000
    assert world.hub_said(AgentOffline) == []
    assert set(world.commands(CommandSent)) == set(world.by_script)
    assert [world.sim.commands[each] for each in world.by_script] == [1] * 40, "all of them were answered"
