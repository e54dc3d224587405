"""A world to walk through: one real agent, one real platform, and what is on its way between them.

Messages and time, no bytes. Nothing happens by itself: `actions.py` chooses, the methods here do it, carry out what the
machines ask for, and let `watch.py` look at every output.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from artcafe_proto import AgentConfig, AgentMachine, HttpRequest, Instant, PlatformConfig, PlatformHub, PlatformSession
from artcafe_proto.effects import (
    AcceptUpgrade,
    CancelSign,
    Connect,
    Disconnect,
    PauseReading,
    Persist,
    ResumeReading,
    SendBody,
    SendClose,
    SendPing,
    SendPong,
    SendRequest,
    SendResponse,
    SendText,
    SendUpgrade,
    Sign,
    Write,
)
from artcafe_proto.events import CommandReceived, RequestArrived, Stopped
from artcafe_proto.policies.timetable import Timetable
from support.virtual import AGENT, TENANT, signing_key
from walk.watch import Watch

if TYPE_CHECKING:
    from artcafe_proto.effects import AgentMachineEffect, AgentSend, SendFrame
    from artcafe_proto.events import AgentEvent
    from walk.scenarios import Scenario

    PlatformSend = SendResponse | AcceptUpgrade | SendFrame  # here a platform writes whole answers

KEY: Final = signing_key()
TENANT_TOKEN: Final = "a-tenant-token-of-some-length"
COMMANDS: Final = ("first", "second")
"""Ids of the commands, in the order in which the tenant sends them."""
LISTENER: Final = 0
"""The number of the tenant's connection: agents' are above 0."""
LIMITS_S: Final = {"first": (150.0, 100.0), "second": (40.0, 300.0)}
"""Their timeout and how long they are kept: the first expires while it may still run, the second times out before."""


class Ended(msgspec.Struct, frozen=True):
    """On its way like a message: the other side has ended the connection, or broken it off."""

    reset: bool


class Wire:
    """One connection: what is on its way up to the platform and down to the agent, in order."""

    def __init__(self, conn: int) -> None:
        self.conn = conn
        self.up: list[AgentSend | Ended] = []
        self.down: list[PlatformSend | Ended] = []
        self.session: PlatformSession | None = None
        """The platform's end, from opening until it has ended."""
        self.is_held = True
        """Whether the agent has its end, opening or open."""
        self.is_silent_up = False
        self.is_silent_down = False
        """Which ways it passes nothing on any more."""
        self.was_opened = False

    @property
    def is_opening(self) -> bool:
        """Whether nobody has answered the agent's `Connect` yet."""
        return self.is_held and not self.was_opened

    def send_up(self, message: AgentSend | Ended) -> None:
        """The agent has written."""
        if not self.is_silent_up and self.session is not None:
            self.up.append(message)

    def send_down(self, message: PlatformSend | Ended) -> None:
        """The platform has written."""
        if not self.is_silent_down and self.is_held:
            self.down.append(message)


class Numbers(Random):
    """Random numbers that are none: each is new, and a copy is small."""

    def __init__(self, last: int = 0) -> None:
        self.last = last  # and nothing is seeded: no number is drawn from Random itself

    def __reduce__(self) -> Any:
        return Numbers, (self.last,)

    def random(self) -> float:
        """The least there is."""
        return 0.0

    def getrandbits(self, k: int, /) -> int:
        """The next number."""
        self.last += 1
        return self.last

    def randbytes(self, n: int) -> bytes:
        """The next number, as bytes."""
        return self.getrandbits(8 * n).to_bytes(n, "big")


class World:
    """One state of everything."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.mono, self.wall = 1000.0, 1e9
        self.commands, self.calls = scenario.commands, scenario.calls  # those that may still come
        self.stops = scenario.stops
        self.messages, self.statuses = scenario.messages, scenario.statuses
        self.faults = 1 if scenario.faults else 0
        self.sent: list[str] = []
        self.wires: dict[int, Wire] = {}
        self.signing: list[Sign] = []
        self.running: list[str] = []
        """Commands whose handlers have not ended."""
        self.paused: tuple[str, int] | None = None
        """Which transport is full: "agent" or "platform", and the connection."""
        self.watch = Watch()
        self.restarts = 0
        self.hub = self._new_hub()
        config = AgentConfig(
            agent_id=AGENT, tenant_id=TENANT, api_endpoint="http://localhost", jitter=0.0, **scenario.agent
        )
        self.agent = AgentMachine(config, rng=Numbers())
        self.is_started = False
        self.listeners = scenario.listeners
        self.listener: PlatformSession | None = None
        """The platform's end of a connection on which the tenant is told what happens."""

    @property
    def now(self) -> Instant:
        """The moment, on both clocks."""
        return Instant(self.mono, self.wall)

    def sessions(self) -> list[PlatformSession]:
        """The platform's connections."""
        sessions = [wire.session for wire in self.wires.values() if wire.session is not None]
        return sessions if self.listener is None else [*sessions, self.listener]

    # --- the platform -------------------------------------------------------------------------------------------------

    def _new_hub(self) -> PlatformHub:
        """A platform that knows its tenant and its agent, and nothing else."""
        rng = Numbers(1_000_000 * (1 + self.restarts))
        hub = PlatformHub(PlatformConfig(**self.scenario.platform), rng=rng, signing_seed=bytes(32))
        timetable = Timetable(long_wait_s=math.inf)  # what is due is due at its moment
        hub._connections._timetable = timetable  # pyright: ignore[reportPrivateUsage]
        hub.registry.add_tenant(TENANT, TENANT_TOKEN)
        hub.registry.create_agent(TENANT, agent_id=AGENT, name="", capabilities=(), metadata={}, wall=self.wall)
        hub.registry.add_key(TENANT, AGENT, KEY.public.openssh, "")
        return hub

    def send_command(self, command_id: str) -> None:
        """The tenant sends a command, or sends it again."""
        timeout_s, expires_in_s = LIMITS_S[command_id]
        self.hub.send_command(
            TENANT,
            AGENT,
            "work",
            timeout_s=timeout_s,
            expires_in_s=expires_in_s,
            command_id=command_id,
            now=self.now,
        )
        self.drain()

    def restart(self) -> None:
        """The platform's process ends and starts again: all in its memory is gone, its connections are reset."""
        self.restarts += 1
        self.hub = self._new_hub()
        self.watch.platform_restarted()
        self.listener = None
        for wire in list(self.wires.values()):
            if wire.session is not None:
                wire.session = None
                wire.up.clear()
                wire.send_down(Ended(reset=True))
        self.paused = None if self.paused is None or self.paused[0] == "platform" else self.paused
        for command_id in self.sent:  # its tenant is told that there is no such command
            self.send_command(command_id)
        self.drain()

    def close_link(self, code: int) -> None:
        """The platform closes the link."""
        for wire in list(self.wires.values()):
            if wire.session is not None:
                wire.session.close(code, "in this walk", self.now)
        self.drain_hub()

    def listen(self) -> None:
        """The tenant opens an event stream."""
        self.listener = PlatformSession(self.hub, LISTENER)
        headers = (("authorization", f"Bearer {TENANT_TOKEN}"),)
        request = HttpRequest(method="GET", target="/api/v1/events", headers=headers)
        self.listener.request_received(1, request, self.now, upgrade=False)
        self.drain_hub()

    # --- the network --------------------------------------------------------------------------------------------------

    def open(self, wire: Wire) -> None:
        """A connection is open."""
        wire.was_opened = True
        wire.session = PlatformSession(self.hub, wire.conn)
        self.agent.connected(wire.conn, self.now, tls=False)
        self.drain()

    def refuse(self, wire: Wire) -> None:
        """A connection cannot be opened."""
        wire.is_held = False
        self.agent.connect_failed(wire.conn, "refused", "in this walk", self.now)
        self.drain()

    def deliver_up(self, wire: Wire) -> None:
        """The next message reaches the platform."""
        message, session = wire.up.pop(0), wire.session
        assert session is not None
        now = self.now
        if not isinstance(message, Ended):
            session.bytes_received(now)
        match message:
            case Ended(reset=True):
                session.disconnected("reset", now)
            case Ended():
                session.peer_ended(now)
            case SendRequest() | SendUpgrade():
                upgrade = isinstance(message, SendUpgrade)
                session.request_received(message.exchange, message.request, now, upgrade=upgrade)
            case SendText():
                self.watch.platform_reads(message.payload)
                session.text_received(message.payload, now)
            case SendPing():
                session.ping_received(message.payload, now)
            case SendPong():
                session.pong_received(message.payload, now)
            case SendClose():
                session.close_received(message.code, message.reason, now)
        self.drain()

    def deliver_down(self, wire: Wire) -> None:
        """The next message reaches the agent."""
        message, conn, agent, now = wire.down.pop(0), wire.conn, self.agent, self.now
        if not isinstance(message, Ended):
            agent.bytes_received(conn, now)
        self.watch.agent_reads(self, wire, message)
        match message:
            case Ended(reset=True):
                wire.is_held = False
                agent.disconnected(conn, "reset", now)
            case Ended():
                agent.peer_ended(conn, now)
            case SendResponse():
                agent.response_received(conn, message.exchange, message.response, now)
            case AcceptUpgrade():
                agent.upgraded(conn, message.exchange, now)
            case SendText():
                agent.text_received(conn, message.payload, now)
            case SendPing():
                agent.ping_received(conn, message.payload, now)
            case SendPong():
                agent.pong_received(conn, message.payload, now)
            case SendClose():
                agent.close_received(conn, message.code, message.reason, now)
        self.drain()

    # --- time ---------------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When the next timer is due."""
        machines = self.agent, self.hub
        return min((due for machine in machines if (due := machine.deadline()) is not None), default=None)

    def pass_time(self, until: float) -> None:
        """It is `until` now, and whoever waited for an earlier moment finds that out."""
        passed_s = max(until - self.mono, 0.0)
        self.mono += passed_s
        self.wall += passed_s
        for machine in self.agent, self.hub:
            due = machine.deadline()
            if due is not None and due <= self.mono:
                machine.handle_timer(self.now)
                self.watch.timer_was_handled(machine.deadline(), self.now)
                self.drain()

    # --- what the machines say ----------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Carry out everything that is asked for."""
        while (output := self.agent.next_output()) is not None:
            self.watch.agent_said(self, output)
            self._agent_said(output)
        self.drain_hub()
        self._forget_what_is_over()
        self.watch.settled(self)

    def drain_hub(self) -> None:
        """Carry out what the platform asks for, and see which connections are over."""
        while (output := self.hub.next_output()) is not None:
            match output:
                case SendResponse() | AcceptUpgrade() | SendText() | SendPing() | SendPong() | SendClose():
                    if (wire := self._wire_of(output)) is not None:
                        self._session_said(wire, output)
                case SendBody():
                    if not output.more:  # what the tenant is told is not looked at here; the stream has ended
                        assert self.listener is not None
                        self.listener.disconnected("in this walk", self.now)
                        self.listener = None
                case Disconnect():
                    if (wire := self._wire_of(output)) is not None:
                        self._session_left(wire, output)
                case PauseReading() | ResumeReading() | RequestArrived():
                    pass
                case _:
                    assert not isinstance(output, Write | Persist), "sessions frame nothing, and nothing is kept"
                    self.watch.hub_said(output)
        for wire in self.wires.values():
            if wire.session is not None and wire.session.is_closed:
                wire.session = None

    def _wire_of(self, output: PlatformSend | Disconnect) -> Wire | None:
        """Which wire a session speaks on, unless it is the listener's or nobody holds it any more."""
        wire = self.wires.get(output.conn)
        return None if wire is None or wire.session is None else wire

    def _session_said(self, wire: Wire, output: PlatformSend) -> None:
        self.watch.platform_writes(wire.conn, output)
        if isinstance(output, SendPong) and not self.scenario.pongs:
            output = SendPong(output.conn, b"")
        wire.send_down(output)

    def _session_left(self, wire: Wire, output: Disconnect) -> None:
        wire.up.clear()
        if output.abort:
            wire.down.clear()
        wire.send_down(Ended(output.abort))

    def _agent_said(self, output: AgentMachineEffect | AgentEvent) -> None:
        match output:
            case Connect():
                self.wires[output.conn] = Wire(output.conn)
            case SendRequest() | SendUpgrade() | SendText() | SendPing() | SendPong() | SendClose():
                self.wires[output.conn].send_up(output)
            case Disconnect():
                wire = self.wires[output.conn]
                wire.is_held = False
                wire.down.clear()
                if output.abort:
                    wire.up.clear()
                wire.send_up(Ended(output.abort))
            case Sign():
                self.signing.append(output)
            case CancelSign():
                self.signing = [sign for sign in self.signing if sign.request != output.request]
            case CommandReceived():
                self.running.append(output.command_id)
            case Stopped():
                self.running.clear()
            case _:
                pass

    def _forget_what_is_over(self) -> None:
        for conn, wire in list(self.wires.items()):
            if wire.session is None:
                wire.up.clear()
            if not wire.is_held and wire.session is None:
                del self.wires[conn]
                self.watch.is_over(conn)
        if self.paused is not None and not self._can_resume(*self.paused):
            self.paused = None

    def _can_resume(self, side: str, conn: int) -> bool:
        wire = self.wires.get(conn)
        return wire is not None and (wire.is_held if side == "agent" else wire.session is not None)
