"""Thousands of agents that lose their platform at once and come back: the machines of both roles on a virtual clock.

No bytes and no latency: what is looked at is when each agent tries. While the platform is away whoever tries is refused
at once, as by a machine on which nothing listens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import NamedTuple

from artcafe_proto import AgentConfig, AgentMachine, Instant, PlatformConfig, PlatformHub, PlatformSession
from artcafe_proto.agent import LinkState
from artcafe_proto.effects import (
    AcceptUpgrade,
    AgentMachineEffect,
    Connect,
    SendPing,
    SendPong,
    SendRequest,
    SendResponse,
    SendText,
    SendUpgrade,
    Sign,
)
from artcafe_proto.events import HubEvent
from artcafe_proto.testing.schedule import Alarms
from support.virtual import TENANT, signing_key

WINDOW_S = 0.1
STARTS_WITHIN_S = 30.0
STABLE_S = 75.0
"""Until all have been up for longer than `stable_after` and been heard since: their delays begin anew (LINK-5)."""
WALL_OFFSET_S = 1.7e9


def densest(times: list[float]) -> float:
    """The greatest part of them within 100 ms, wherever those begin."""
    ordered = sorted(times)
    return max(bisect_left(ordered, time + WINDOW_S) - place for place, time in enumerate(ordered)) / len(ordered)


class Storm(NamedTuple):
    """What came of one loss; times are seconds after it."""

    away_s: float
    attempts: list[list[float]]
    """When each agent tried: the last time it came in."""

    @property
    def all_back_s(self) -> float:
        """From the platform's return until the last agent was online."""
        return max(self.met) - self.away_s

    @property
    def all(self) -> list[float]:
        """Every attempt."""
        return [time for times in self.attempts for time in times]

    @property
    def met(self) -> list[float]:
        """The attempts that met the platform: the last of each agent."""
        return [times[-1] for times in self.attempts]

    @property
    def rounds(self) -> list[list[float]]:
        """All first attempts, all second ones, and so on."""
        most = max(map(len, self.attempts))
        return [[times[number] for times in self.attempts if len(times) > number] for number in range(most)]


class _Member:
    """An agent, and the platform's end of its connections by the agent's numbers for them."""

    def __init__(self, number: int, machine: AgentMachine) -> None:
        self.number = number
        self.machine = machine
        self.sessions: dict[int, PlatformSession] = {}
        self.attempts: list[float] = []


class World:
    """A platform and its agents, all online."""

    def __init__(self, agents: int, *, jitter: float, seed: int) -> None:
        rng = Random(seed)
        self._key = signing_key()
        self._mono = 0.0
        self._back_at = 0.0
        self._hub = PlatformHub(PlatformConfig(token_life=86_400.0), rng=Random(rng.random()), signing_seed=bytes(32))
        self._numbers = count(1)
        self._alarms = Alarms()
        self._accepted: dict[int, tuple[_Member, int]] = {}
        self._inputs: deque[tuple[int, Callable[[Instant], None]]] = deque()
        self._members = [self._new_member(number, jitter, Random(rng.random())) for number in range(agents)]
        for number, start in enumerate(sorted(rng.uniform(0.0, STARTS_WITHIN_S) for _ in range(agents))):
            self._run_to(start)
            self._members[number].machine.start(self._now)
            self._settle(number)

    def lose_platform(self, away_s: float) -> Storm:
        """It is gone for so long, and every agent learns of it at once. Ends when all are back."""
        self._run_to(self._mono + STABLE_S)
        assert self._all_are_online()
        lost_at = self._mono
        self._back_at = lost_at + away_s
        for number, member in enumerate(self._members):
            member.attempts.clear()
            sessions, member.sessions = member.sessions, {}
            for conn, session in sessions.items():
                session.disconnected("gone", self._now)
                member.machine.disconnected(conn, "reset", self._now)
            self._settle(number)
        while not self._all_are_online():
            self._run_to(self._mono + 1.0)
        return Storm(away_s, [[time - lost_at for time in member.attempts] for member in self._members])

    def _new_member(self, number: int, jitter: float, rng: Random) -> _Member:
        agent_id = f"agent-{number}"
        registry = self._hub.registry
        registry.create_agent(TENANT, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=WALL_OFFSET_S)
        registry.add_key(TENANT, agent_id, self._key.public.openssh, "")
        config = AgentConfig(agent_id=agent_id, tenant_id=TENANT, api_endpoint="http://localhost", jitter=jitter)
        return _Member(number, AgentMachine(config, rng=rng))

    def _all_are_online(self) -> bool:
        return all(member.machine.state[1] is LinkState.UP for member in self._members)

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> Instant:
        return Instant(self._mono, self._mono + WALL_OFFSET_S)

    def _run_to(self, end: float) -> None:
        while True:
            hub, (due, number) = self._hub.deadline(), self._alarms.next()
            self._mono = min(due, end if hub is None else hub, end)
            if hub is not None and hub <= self._mono:
                self._hub.handle_timer(self._now)
                self._settle()
            elif due <= self._mono < end:
                self._members[number].machine.handle_timer(self._now)
                self._settle(number)
            else:
                break

    # --- both ends of every connection --------------------------------------------------------------------------------

    def _settle(self, *numbers: int) -> None:
        """Carry over what some agents and the platform say, until nobody says more."""
        talking = dict.fromkeys(numbers)
        while True:
            for member in [self._members[number] for number in talking]:
                while (output := member.machine.next_output()) is not None:
                    if isinstance(output, AgentMachineEffect):
                        self._carry_over(member, output)
            while (output := self._hub.next_output()) is not None:
                if isinstance(output, SendResponse | AcceptUpgrade | SendPing | SendPong):
                    self._to_agent(output)
                else:
                    assert isinstance(output, HubEvent), output
            if not self._inputs:
                break
            while self._inputs:
                number, give = self._inputs.popleft()
                give(self._now)
                talking[number] = None
        for number in talking:
            deadline = self._members[number].machine.deadline()
            assert deadline is not None
            self._alarms.set(number, deadline)

    def _carry_over(self, member: _Member, output: AgentMachineEffect) -> None:
        agent, number = member.machine, member.number
        if isinstance(output, Connect):
            member.attempts.append(self._mono)
            if self._mono < self._back_at:
                self._inputs.append((number, partial(agent.connect_failed, output.conn, "refused", "nobody listens")))
            else:
                conn = next(self._numbers)
                member.sessions[output.conn] = PlatformSession(self._hub, conn)
                self._accepted[conn] = member, output.conn
                self._inputs.append((number, lambda now: agent.connected(output.conn, now, tls=output.tls)))
        elif isinstance(output, Sign):
            signature = self._key.sign(output.challenge.encode(), "ssh")
            self._inputs.append((number, partial(agent.signed, output.request, signature)))
        else:
            self._to_platform(member, output)

    def _to_platform(self, member: _Member, output: AgentMachineEffect) -> None:
        assert isinstance(output, SendRequest | SendUpgrade | SendText | SendPing | SendPong), output
        session, number = member.sessions[output.conn], member.number
        self._inputs.append((number, session.bytes_received))
        match output:
            case SendRequest() | SendUpgrade():
                upgrade = isinstance(output, SendUpgrade)
                received = partial(session.request_received, output.exchange, output.request, upgrade=upgrade)
                self._inputs.append((number, lambda now: received(now=now)))
            case SendText():
                self._inputs.append((number, partial(session.text_received, output.payload)))
            case SendPing():
                self._inputs.append((number, partial(session.ping_received, output.payload)))
            case SendPong():
                self._inputs.append((number, partial(session.pong_received, output.payload)))

    def _to_agent(self, output: SendResponse | AcceptUpgrade | SendPing | SendPong) -> None:
        member, conn = self._accepted[output.conn]
        agent, number = member.machine, member.number
        self._inputs.append((number, partial(agent.bytes_received, conn)))
        match output:
            case SendResponse():
                answered = partial(agent.response_received, conn, output.exchange, output.response)
                self._inputs.append((number, answered))
            case AcceptUpgrade():
                self._inputs.append((number, partial(agent.upgraded, conn, output.exchange)))
            case SendPing():
                self._inputs.append((number, partial(agent.ping_received, conn, output.payload)))
            case SendPong():
                self._inputs.append((number, partial(agent.pong_received, conn, output.payload)))
