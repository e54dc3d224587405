"""What a generated life of an agent is made of, whether it is driven by messages or by bytes.

Two agents with the same seed get the same inputs, so that every step also shows that a run repeats exactly. Outputs are
held against a small model of what an agent may never do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from artcafe_proto import AgentConfig, AgentMachine, AgentProtocol, Instant, LocalProtocolError
from artcafe_proto import links as links_module
from artcafe_proto.agent import calls as calls_module
from artcafe_proto.effects import AgentMachineEffect, Connect, Disconnect, Effect, Sign
from artcafe_proto.events import CommandCancelled, CommandReceived, Event, Offline, Online, Stopped
from artcafe_proto.policies import outbox as outbox_module
from artcafe_proto.policies import tokens as tokens_module
from support.snapshots import snapshot

A = TypeVar("A", AgentMachine, AgentProtocol)
T = TypeVar("T")
Output = AgentMachineEffect | Effect | Event

PICKS = st.integers(0, 6)
"""Which of the things seen so far: 0 is the last."""
COMMAND_IDS = st.sampled_from(["cmd-1", "cmd-2", "cmd-3", "cmd-4", "cmd-5"])
LIVES_S = st.sampled_from([0, 30, 200, 900, 10**9])
"""Of tokens."""
WAITS_S = st.sampled_from([0.0, 0.5, 1.5, 5.0, 12.0, 35.0, 130.0, 700.0])
RESULTS = st.sampled_from([None, {"a": 1}, "x" * 700, object(), "\ud800", {1: [2.0]}, json.loads("[" * 70 + "]" * 70)])
DATA: st.SearchStrategy[Any] = st.sampled_from(
    [{}, {"a": "b"}, [], None, {"a": "x" * 700}, {"a": {1, 2}}, {"a": object()}]
)
MESSAGES = st.sampled_from(["message", "command", "heartbeat", "status", "response", "other", ""])
CONTENTS: st.SearchStrategy[Any] = st.sampled_from(
    [
        {},
        {"command": "work"},
        {"command": "work", "timeout": 0},
        {"command": "work", "args": []},
        {"command": 5},
        [],
        None,
    ]
)
COMMANDS = st.fixed_dictionaries(
    {"command": st.sampled_from(["work", "rest"])},
    optional={"args": st.just({"a": 1}), "timeout": st.sampled_from([1, 20, 500])},
)
GARBAGE = st.binary(max_size=20) | st.sampled_from([b"[" * 100, b"{}", b'{"type":"command","id":"cmd-1"}', b"null"])
LIMITS = (
    (links_module, "MAX_WAITING_REPLIES", 2),
    (calls_module, "MAX_WAITING_CALLS", 2),
    (outbox_module, "MAX_UNSETTLED_MESSAGES", 2),
    (outbox_module, "MAX_UNSETTLED_RESPONSES", 4),
    (tokens_module, "RENEW_LEAD_S", 60.0),
)


def envelope(message_type: str, message_id: str, data: object) -> bytes:
    """A message of the platform's."""
    return json.dumps({"type": message_type, "id": message_id, "data": data}).encode()


class AgentLife(RuleBasedStateMachine, Generic[A]):
    """The application, the clocks, and what must hold; subclasses are the world."""

    def make(self, config: AgentConfig) -> A:
        """One agent; called twice."""
        raise NotImplementedError

    def comply(self, times: int, life_s: int) -> None:
        """Answer so many times what the agents ask, as a good platform does."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.limits = pytest.MonkeyPatch()
        for module, name, value in LIMITS:
            self.limits.setattr(module, name, value)
        self.mono, self.wall, self.skew = 1000.0, 1e9, 0.0
        self.latest = 0.0
        """The latest time that the agents were told."""
        self.agents: tuple[A, A]
        self.started = self.stopped = False
        self.ids: set[int] = set()
        self.conns: list[int] = []
        self.gone: set[int] = set()
        self.link: int | None = None
        self.links: list[int] = []
        self.signs: list[int] = []
        self.calls: list[int] = []
        self.received: list[str] = []
        self.cancelled: set[str] = set()
        self.answered: set[str] = set()

    def teardown(self) -> None:
        self.limits.undo()

    @property
    def now(self) -> Instant:
        """The moment; an input may be told an earlier one than the last, as threads and clocks have it."""
        told = Instant(self.mono - self.skew, self.wall)
        self.latest = max(self.latest, told.mono)
        return told

    # --- how an input is made -----------------------------------------------------------------------------------------

    def world(self, *actions: Callable[[A], object]) -> None:
        """An input from the world, perhaps told differently to the second agent: it never raises."""
        for agent, action in zip(self.agents, (actions[0], actions[-1]), strict=True):
            action(agent)
        self.drain()

    def application(self, action: Callable[[A], T]) -> T | None:
        """An input from the application: misuse raises LocalProtocolError (None here) and changes nothing."""
        before = snapshot(self.agents[0])
        try:
            result = action(self.agents[0])
        except LocalProtocolError:
            assert snapshot(self.agents[0]) == before
            with pytest.raises(LocalProtocolError):
                action(self.agents[1])
            return None
        assert action(self.agents[1]) == result
        self.drain()
        return result

    def drain(self) -> None:
        """Both agents say the same, and nothing that an agent may not say. The order may differ: between the pieces of
        a read an agent may find out that a renewal is due, which else it says at the end.
        """
        was_stopped = self.stopped
        said, other = ([*iter(agent.next_output, None)] for agent in self.agents)
        for output in said:
            assert output in other
            other.remove(output)
        assert not other
        assert not (was_stopped and said), "nothing follows `Stopped`"
        for output in said:
            self.hear(output)

    def pick(self, things: list[T], number: int) -> T | None:
        """One of the things seen so far, the last one most often."""
        return things[-1 - number % len(things)] if things else None

    def fresh(self, number: int) -> None:
        """LINK-9: no id is ever used again."""
        assert number not in self.ids
        self.ids.add(number)

    def hear(self, output: Output) -> None:
        """Keep the model."""
        assert not isinstance(output, Event) or not self.stopped, "`Stopped` is the last event"
        match output:
            case Connect():
                self.fresh(output.conn)
                assert output.deadline > self.latest
                self.conns.append(output.conn)
            case Disconnect():
                assert output.conn in self.conns
                assert output.conn not in self.gone
                self.gone.add(output.conn)
            case Sign():
                self.fresh(output.request)
                self.signs.append(output.request)
            case Online():
                assert self.link is None, "LINK-9: one link at most"
                self.link = output.link
                self.links.append(output.link)
            case Offline():
                self.link = None
                assert output.clause
            case CommandReceived():
                assert output.command_id not in self.received, "CMD-1: executed at most once"
                self.received.append(output.command_id)
            case CommandCancelled():
                assert output.command_id in self.received
                assert output.command_id not in self.cancelled | self.answered
                self.cancelled.add(output.command_id)
            case Stopped():
                assert self.agents[0].is_stopped
                self.stopped, self.link = True, None
            case _:
                pass

    # --- the beginning, and time --------------------------------------------------------------------------------------

    @initialize(
        jitter=st.sampled_from([0.0, 1.0]),
        give_up_after=st.none() | st.just(400.0),
        is_up=st.booleans(),
        life_s=LIVES_S,
    )
    def begin(self, jitter: float, give_up_after: float | None, is_up: bool, life_s: int) -> None:
        """Two agents that have not started, or are on a link with a token of that life."""
        config = AgentConfig(
            agent_id="agent-1",
            tenant_id="tenant-1",
            api_endpoint="http://localhost",
            jitter=jitter,
            give_up_after=give_up_after,
            max_concurrent=2,
            max_queued=1,
            max_bad_messages=2,
            max_message_size=600,
        )
        self.agents = (self.make(config), self.make(config))
        if is_up:
            self.start()
            self.comply(8, life_s)
            assert self.link is not None

    @rule(seconds=WAITS_S, drift_s=st.sampled_from([0.0, 0.0, 0.0, 40.0, -40.0]))
    def time_passes_unseen(self, seconds: float, drift_s: float) -> None:
        """The agents learn of it from the next input."""
        self.mono += seconds
        self.wall += seconds + drift_s

    @rule(seconds=st.sampled_from([0.0, 0.0, 0.5, 100.0]))
    def inputs_are_told_an_earlier_time(self, seconds: float) -> None:
        """Which counts as the latest one told so far."""
        self.skew = seconds

    @rule()
    def handle_timer(self) -> None:
        """On time, late, or for nothing."""
        now = self.now
        self.world(lambda agent: agent.handle_timer(now))
        deadline = self.agents[0].deadline()
        assert deadline is None or deadline > self.latest

    @rule(seconds=WAITS_S)
    def time_passes(self, seconds: float) -> None:
        """With every timer on time."""
        end = self.mono + seconds
        self.skew = 0.0
        for _ in range(100):
            due = self.agents[0].deadline()
            if due is None or due > end:
                break
            self.wall += max(due - self.mono, 0.0)
            self.mono = max(due, self.mono)
            self.handle_timer()
        self.wall += end - self.mono
        self.mono = end

    # --- the application ----------------------------------------------------------------------------------------------

    @rule()
    def start(self) -> None:
        """Once; later it is misuse."""
        now = self.now
        self.application(lambda agent: agent.start(now))
        self.started = True

    @rule(drain=st.booleans(), really=st.integers(0, 3))
    def stop(self, drain: bool, really: int) -> None:
        """Not too often, so that lives are long."""
        if really == 0:
            now = self.now
            self.application(lambda agent: agent.stop(now, drain=drain))

    @rule(number=PICKS, other=st.none() | COMMAND_IDS, result=RESULTS)
    def respond(self, number: int, other: str | None, result: object) -> None:
        """Of a command that was received, or of any."""
        command_id = other or self.pick(self.received, number) or "cmd-0"
        now = self.now
        self.settle(command_id, self.application(lambda agent: agent.respond(command_id, result, now)))

    @rule(number=PICKS, reason=st.sampled_from(["", "it broke", "x" * 5000, "\ud800"]))
    def fail(self, number: int, reason: str) -> None:
        """Likewise."""
        command_id = self.pick(self.received, number) or "cmd-0"
        now = self.now
        self.settle(command_id, self.application(lambda agent: agent.fail(command_id, "handler_error", reason, now)))

    def settle(self, command_id: str, accepted: bool | None) -> None:
        """A command is answered once, by its handler or by a cancellation."""
        if accepted:
            assert command_id in self.received
            assert command_id not in self.answered | self.cancelled
            self.answered.add(command_id)

    @rule(number=PICKS, percent=st.sampled_from([0.0, 50.0, 100.0, -1.0, 101.0, float("nan")]))
    def progress(self, number: int, percent: float) -> None:
        """A percentage, or none."""
        command_id = self.pick(self.received, number) or "cmd-0"
        now = self.now
        self.application(lambda agent: agent.progress(command_id, percent, now))

    @rule(status=st.sampled_from(["online", "busy", "error", "offline", "mad"]))
    def set_status(self, status: Any) -> None:
        """What may be declared, or not."""
        now = self.now
        self.application(lambda agent: agent.set_status(status, now))

    @rule(cpu=st.sampled_from([0.0, 99.5, 101.0, float("nan")]), memory=st.sampled_from([1.5, -1.0, float("inf")]))
    def set_metrics(self, cpu: float, memory: float) -> None:
        """What may be measured, or not."""
        self.application(lambda agent: agent.set_metrics(cpu, memory))

    @rule(data=DATA)
    def send_message(self, data: Any) -> None:
        """Objects, and what is none."""
        now = self.now
        self.application(lambda agent: agent.send_message(data, now))

    @rule(status=st.none() | st.sampled_from(["online", "mad"]))
    def call(self, status: Any) -> None:
        """One of the two calls."""
        now = self.now
        number = self.application(
            lambda agent: agent.get_details(now) if status is None else agent.put_status(status, now)
        )
        if number is not None:
            self.fresh(number)
            self.calls.append(number)

    @rule(number=PICKS)
    def cancel_call(self, number: int) -> None:
        """Under way, waiting, over or never made."""
        call, now = self.pick(self.calls, number) or 7, self.now
        self.application(lambda agent: agent.cancel_call(call, now))

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """After every step."""
        agent = self.agents[0]
        assert agent.is_stopped == self.stopped
        assert len(agent.in_flight) <= agent.config.max_concurrent
        assert len(agent.queued) <= agent.config.max_queued
        assert set(agent.in_flight) <= set(self.received)
        if self.stopped:
            assert agent.deadline() is None
        elif self.started:
            assert agent.deadline() is not None, "an agent that runs waits for something"
