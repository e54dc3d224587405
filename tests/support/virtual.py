"""An agent and a platform, both façades back to back over byte strings, on a virtual clock and a virtual network.

Nothing here sleeps: `Pair.run_for` jumps from one thing that happens to the next. Links are FIFO with a fixed latency.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from artcafe_proto import (
    AgentConfig,
    AgentProtocol,
    Instant,
    PlatformConfig,
    PlatformHub,
    PlatformProtocol,
    PlatformSession,
    SigningKey,
)
from artcafe_proto.effects import (
    Connect,
    Disconnect,
    PauseReading,
    PlatformEffect,
    ResumeReading,
    Sign,
    Write,
)
from artcafe_proto.events import AnyEvent, CommandReceived, Event, RequestArrived
from artcafe_proto.platform import NOT_FOUND, PlatformOutput
from support.well_formed import check_well_formed

_OF_CONNECTIONS = PlatformEffect | RequestArrived
WALL_AT_START = 1_700_000_000.0
TENANT = "tenant-1"
AGENT = "agent-1"


def signing_key(seed: int = 7) -> SigningKey:
    """An Ed25519 key that is the same in every run."""
    private = Ed25519PrivateKey.from_private_bytes(Random(seed).randbytes(32))
    return SigningKey.load(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


def new_hub(settings: dict[str, Any] | None = None, seed: int = 3) -> PlatformHub:
    """A platform that knows the one agent and its key."""
    hub = PlatformHub(PlatformConfig(**(settings or {})), rng=Random(seed), signing_seed=bytes(32))
    hub.registry.create_agent(TENANT, agent_id=AGENT, name="", capabilities=(), metadata={}, wall=WALL_AT_START)
    hub.registry.add_key(TENANT, AGENT, signing_key().public.openssh, "test")
    return hub


def session_of(protocol: PlatformProtocol) -> PlatformSession:
    """What the hub knows a connection by; a driver does not reach it."""
    return protocol._session  # pyright: ignore[reportPrivateUsage]


class Pair:
    """One platform, one agent, and the network between them."""

    def __init__(
        self,
        *,
        seed: int = 1,
        latency_s: float = 0.01,
        tls: bool = False,
        agent: dict[str, Any] | None = None,
        platform: dict[str, Any] | None = None,
        beside: Pair | None = None,
    ) -> None:
        """`beside` is a pair whose platform this one shares: a second process with the same agent id."""
        self.mono = 1000.0
        self.latency_s = latency_s
        self.rng = Random(seed)
        self.key = signing_key()
        scheme = "https" if tls else "http"
        settings: dict[str, Any] = {"agent_id": AGENT, "tenant_id": TENANT, "api_endpoint": f"{scheme}://localhost"}
        self.agent = AgentProtocol(AgentConfig(**(settings | (agent or {}))), rng=Random(seed + 1))
        self.hub = new_hub(platform or {}, seed + 2) if beside is None else beside.hub
        self.sessions: dict[int, PlatformProtocol] = {}
        self.agent_events: list[tuple[float, Event]] = []
        self.hub_events: list[tuple[float, Event]] = []
        self.writes: list[tuple[float, bytes]] = []
        self.connects: list[float] = []
        self.refusing = False
        self.wall_offset = WALL_AT_START - self.mono
        self.agent_conns: list[int] = []
        self.on_command: Callable[[CommandReceived], None] = lambda event: self.respond(event, {"echo": event.args})
        self._links: dict[int, int] = {}
        self._conns = count(1) if beside is None else beside._conns
        self._pairs: dict[int, Pair] = {} if beside is None else beside._pairs
        """Whose a connection of the hub is."""
        self._schedule: list[tuple[float, int, Callable[[], None]]] = []
        self._tick = count()

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> Instant:
        """Both clocks, as far apart as `wall_offset` says."""
        return Instant(self.mono, self.mono + self.wall_offset)

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._schedule, (self.mono + delay_s, next(self._tick), action))

    def start(self) -> None:
        """Start the agent."""
        self.agent.start(self.now)
        self._drain()

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        self._drain()
        end = self.mono + seconds
        while True:
            due = self._next_due()
            if due > end:
                self.mono = end
                return
            self.mono = max(self.mono, due)
            self._advance()

    def run_until(self, done: Callable[[], bool], limit_s: float = 1000.0) -> None:
        """Let time pass until something holds."""
        self._drain()
        end = self.mono + limit_s
        while not done():
            due = self._next_due()
            assert due <= end, f"it did not come about within {limit_s} s"
            self.mono = max(self.mono, due)
            self._advance()

    def _next_due(self) -> float:
        deadlines = [self.agent.deadline(), self.hub.deadline()]
        times = [deadline for deadline in deadlines if deadline is not None]
        if self._schedule:
            times.append(self._schedule[0][0])
        return min(times, default=float("inf"))

    def _advance(self) -> None:
        while self._schedule and self._schedule[0][0] <= self.mono:
            heapq.heappop(self._schedule)[2]()
            self._drain()
        for machine in (self.agent, self.hub):
            deadline = machine.deadline()
            if deadline is not None and deadline <= self.mono:
                machine.handle_timer(self.now)
                deadline = machine.deadline()
                assert deadline is None or deadline > self.mono, "a handled timer must not be due any more"
                self._drain()

    # --- the network --------------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Abort every connection; both ends learn of it after the latency."""
        for agent_conn, platform_conn in list(self._links.items()):
            self._end(agent_conn, platform_conn, "reset")

    def _end(self, agent_conn: int, platform_conn: int, reason: str) -> None:
        del self._links[agent_conn]
        session = self.sessions.pop(platform_conn)
        self.at(self.latency_s, lambda: self._disconnected(agent_conn, reason))
        session.disconnected(reason, self.now)

    def _disconnected(self, agent_conn: int, reason: str) -> None:
        self._forget(agent_conn)
        self.agent.disconnected(agent_conn, reason, self.now)

    def _drain(self) -> None:
        busy = True
        while busy:
            busy = self._drain_agent()
            while (output := self.hub.next_output()) is not None:
                busy = True
                pair = self._pairs[output.conn] if isinstance(output, _OF_CONNECTIONS) else self
                pair._hub_said(output)

    def _drain_agent(self) -> bool:
        drained = False
        while (output := self.agent.next_output()) is not None:
            drained = True
            check_well_formed(output)
            match output:
                case Connect():
                    self.agent_conns.append(output.conn)
                    self._connect(output)
                case Sign():
                    self.at(0, lambda o=output: self._sign(o))
                case Write():
                    self.writes.append((self.mono, output.data))
                    self._carry(lambda o=output: self._to_platform(o.conn, o.data))
                case Disconnect():
                    self._forget(output.conn)
                    self._carry(lambda o=output: self._closed_by_agent(o.conn))
                case CommandReceived():
                    self.agent_events.append((self.mono, output))
                    self.on_command(output)
                case _:
                    self.agent_events.append((self.mono, output))  # type: ignore[arg-type]
        return drained

    def _sign(self, sign: Sign) -> None:
        self.agent.signed(sign.request, self.key.sign(sign.challenge.encode(), "ssh"), self.now)

    def _hub_said(self, output: PlatformOutput) -> None:
        check_well_formed(output)
        match output:
            case Write():
                self._carry(lambda: self._to_agent(output.conn, output.data))
            case Disconnect():
                self._carry(lambda: self._closed_by_platform(output.conn))
            case RequestArrived():
                self.sessions[output.conn].respond(output.exchange, NOT_FOUND, self.now)
            case PauseReading() | ResumeReading():
                pass
            case AnyEvent():
                self.hub_events.append((self.mono, output))
            case _:
                raise AssertionError("only a `PlatformSession` leaves framing to its driver")

    def _carry(self, arrive: Callable[[], None]) -> None:
        self.at(self.latency_s, arrive)

    def _connect(self, connect: Connect) -> None:
        round_trips = 2 if connect.tls else 1
        self.connects.append(self.mono)
        if self.refusing:
            self.at(2 * self.latency_s, lambda: self._refused(connect.conn))
            return

        def accept() -> None:
            if connect.conn not in self.agent_conns:
                return  # given up meanwhile
            conn = next(self._conns)
            self._links[connect.conn] = conn
            self._pairs[conn] = self
            self.sessions[conn] = PlatformProtocol(self.hub, conn=conn, now=self.now)
            self.agent.connected(connect.conn, self.now, tls=connect.tls)

        self.at(2 * self.latency_s * round_trips, accept)

    def _refused(self, agent_conn: int) -> None:
        self._forget(agent_conn)
        self.agent.connect_failed(agent_conn, "refused", "nobody listens", self.now)

    def _forget(self, agent_conn: int) -> None:
        if agent_conn in self.agent_conns:
            self.agent_conns.remove(agent_conn)

    def inject_to_agent(self, data: bytes) -> None:
        """Bytes that the platform never sent."""
        for conn in list(self._links):
            self.agent.data_received(conn, data, self.now)

    def inject_to_platform(self, data: bytes) -> None:
        """Bytes that the agent never sent."""
        for session in list(self.sessions.values()):
            session.data_received(data, self.now)

    def _to_platform(self, agent_conn: int, data: bytes) -> None:
        session = self.sessions.get(self._links.get(agent_conn, 0))
        if session is not None:
            session.data_received(data, self.now)

    def _to_agent(self, platform_conn: int, data: bytes) -> None:
        for agent_conn, conn in self._links.items():
            if conn == platform_conn:
                self.agent.data_received(agent_conn, data, self.now)
                return

    def _closed_by_agent(self, agent_conn: int) -> None:
        session = self.sessions.pop(self._links.pop(agent_conn, 0), None)
        if session is not None:
            session.disconnected("closed by the agent", self.now)

    def _closed_by_platform(self, platform_conn: int) -> None:
        self.sessions.pop(platform_conn, None)
        for agent_conn, conn in list(self._links.items()):
            if conn == platform_conn:
                del self._links[agent_conn]
                self.agent.eof_received(agent_conn, self.now)
                self._disconnected(agent_conn, "closed by the platform")

    # --- what tests ask -----------------------------------------------------------------------------------------------

    def respond(self, event: CommandReceived, result: object) -> None:
        """Answer a command."""
        self.agent.respond(event.command_id, result, self.now)

    def send(self, command: str = "echo", args: dict[str, Any] | None = None, **options: Any) -> str:
        """Have the tenant send a command; returns its id."""
        sent = self.hub.send_command(TENANT, AGENT, command, args or {}, now=self.now, **options)
        self._drain()
        return sent.command_id

    def seen(self, kind: type[Any]) -> list[Any]:
        """All events of one kind, of both roles, in order."""
        events = sorted([*self.agent_events, *self.hub_events], key=lambda item: item[0])
        return [event for _, event in events if isinstance(event, kind)]

    def times(self, kind: type[Any]) -> list[float]:
        """When events of one kind came."""
        return [when for when, event in [*self.agent_events, *self.hub_events] if isinstance(event, kind)]
