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

from artcafe_platform.timetable import Timetable
from artcafe_proto import AgentConfig, AgentMachine, Instant, PlatformConfig, PlatformHub, PlatformSession
from artcafe_proto.agent import LinkState
from artcafe_proto.effects import (
    AcceptUpgrade,
    AgentMachineEffect,
    Connect,
    PlatformSessionEffect,
    SendPing,
    SendPong,
    SendRequest,
    SendResponse,
    SendText,
    SendUpgrade,
    Sign,
)
from support.virtual import TENANT, signing_key

Asked = AgentMachineEffect | PlatformSessionEffect
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

    def __init__(self, machine: AgentMachine) -> None:
        self.machine = machine
        self.sessions: dict[int, PlatformSession] = {}
        self.attempts: list[float] = []

    @property
    def deadline(self) -> float:
        """When to look at it, at the latest."""
        deadlines = [self.machine.deadline(), *(session.deadline() for session in self.sessions.values())]
        return min(deadline for deadline in deadlines if deadline is not None)


class World:
    """A platform and its agents, all online."""

    def __init__(self, agents: int, *, jitter: float, seed: int) -> None:
        rng = Random(seed)
        self._key = signing_key()
        self._mono = 0.0
        self._back_at = 0.0
        self._hub = PlatformHub(PlatformConfig(token_life=86_400.0), rng=Random(rng.random()), signing_seed=bytes(32))
        self._numbers = count(1)
        self._timetable = Timetable()
        self._inputs: deque[Callable[[Instant], None]] = deque()
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
        return _Member(AgentMachine(config, rng=rng))

    def _all_are_online(self) -> bool:
        return all(member.machine.state[1] is LinkState.UP for member in self._members)

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def _now(self) -> Instant:
        return Instant(self._mono, self._mono + WALL_OFFSET_S)

    def _run_to(self, end: float) -> None:
        while (due := self._timetable.next()) is not None and due <= end:
            self._mono = due
            for number in self._timetable.take_due(due):
                member = self._members[number]
                for machine in (member.machine, *member.sessions.values()):
                    machine.handle_timer(self._now)
                self._settle(number)
        self._mono = end

    # --- both ends of every connection --------------------------------------------------------------------------------

    def _settle(self, number: int) -> None:
        """Carry over what an agent and its sessions say, until they say no more."""
        member = self._members[number]
        while True:
            for machine in (member.machine, *member.sessions.values()):
                while (output := machine.next_output()) is not None:
                    if isinstance(output, Asked):
                        self._carry_over(member, machine, output)
            while self._hub.next_output() is not None:
                pass
            if not self._inputs:
                break
            while self._inputs:
                self._inputs.popleft()(self._now)
        self._timetable.set(number, member.deadline)

    def _carry_over(self, member: _Member, source: AgentMachine | PlatformSession, output: Asked) -> None:
        agent = member.machine
        if isinstance(output, Connect):
            member.attempts.append(self._mono)
            if self._mono < self._back_at:
                self._inputs.append(partial(agent.connect_failed, output.conn, "refused", "nobody listens"))
            else:
                member.sessions[output.conn] = PlatformSession(self._hub, next(self._numbers))
                self._inputs.append(lambda now: agent.connected(output.conn, now, tls=output.tls))
        elif isinstance(output, Sign):
            signature = self._key.sign(output.challenge.encode(), "ssh")
            self._inputs.append(partial(agent.signed, output.request, signature))
        elif source is agent:
            self._to_platform(member, output)
        else:
            conn = next(conn for conn, session in member.sessions.items() if session is source)
            self._to_agent(member, conn, output)

    def _to_platform(self, member: _Member, output: Asked) -> None:
        assert isinstance(output, SendRequest | SendUpgrade | SendText | SendPing | SendPong), output
        session = member.sessions[output.conn]
        self._inputs.append(session.bytes_received)
        match output:
            case SendRequest() | SendUpgrade():
                upgrade = isinstance(output, SendUpgrade)
                received = partial(session.request_received, output.exchange, output.request, upgrade=upgrade)
                self._inputs.append(lambda now: received(now=now))
            case SendText():
                self._inputs.append(partial(session.text_received, output.payload))
            case SendPing():
                self._inputs.append(partial(session.ping_received, output.payload))
            case SendPong():
                self._inputs.append(partial(session.pong_received, output.payload))

    def _to_agent(self, member: _Member, conn: int, output: Asked) -> None:
        agent = member.machine
        self._inputs.append(partial(agent.bytes_received, conn))
        match output:
            case SendResponse():
                self._inputs.append(partial(agent.response_received, conn, output.exchange, output.response))
            case AcceptUpgrade():
                self._inputs.append(partial(agent.upgraded, conn, output.exchange))
            case SendPing():
                self._inputs.append(partial(agent.ping_received, conn, output.payload))
            case SendPong():
                self._inputs.append(partial(agent.pong_received, conn, output.payload))
            case _:
                raise AssertionError(output)
