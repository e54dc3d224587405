"""The platform of a simulation: the real `PlatformHub` and a `PlatformProtocol` for every accepted circuit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from artcafe_proto.effects import Attend, Disconnect, PauseReading, ResumeReading, Write
from artcafe_proto.errors import ApiError
from artcafe_proto.events import RequestArrived
from artcafe_proto.hub.answers import error_answer, json_answer
from artcafe_proto.hub.hub import PlatformHub
from artcafe_proto.hub.protocol import PlatformProtocol
from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.messages import STATUSES
from artcafe_proto.testing.nodes import REPORT_INTERVAL_S, Node
from artcafe_proto.testing.schedule import Alarms
from artcafe_proto.testing.tenants import TENANT
from artcafe_proto.testing.wiretap import with_blank_pongs

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.config import PlatformConfig
    from artcafe_proto.effects import MachineEffect
    from artcafe_proto.events import Event
    from artcafe_proto.exchanges import Request, Response
    from artcafe_proto.instants import Instant
    from artcafe_proto.testing.circuits import Circuit
    from artcafe_proto.testing.simulation import Simulation

_SWITCHED: Final = b"HTTP/1.1 101"
_STATUSES: Final = {f'{{"status":"{status}"}}'.encode(): status for status in STATUSES}


class PlatformProcess(Node):
    """One platform. It can be restarted with its memory (the hub) or without; the registry is kept in any case."""

    def __init__(self, sim: Simulation, config: PlatformConfig, rng: Random) -> None:
        super().__init__(sim)
        self.config = config
        self._rng = rng
        self.sessions: dict[int, tuple[PlatformProtocol, Circuit]] = {}
        self.keys: dict[str, int] = {}
        """Which of its two keys an agent has, by agent id."""
        self.revoked: set[str] = set()
        """Agents whose key was taken away."""
        self._linked: set[int] = set()
        self._reports_at: dict[int, float] = {}
        self._conns = 0
        self._attended: list[int] = []
        """Connections that something happened to."""
        self._deadlines = Alarms()
        """Of connections, in the platform's monotonic time."""
        self.hub = self._new_hub()

    def _new_hub(self) -> PlatformHub:
        hub = PlatformHub(self.config, rng=self._rng, signing_seed=self._rng.randbytes(32))
        for agent_id in self.keys:
            self._register(hub, agent_id)
        return hub

    def _register(self, hub: PlatformHub, agent_id: str) -> None:
        hub.registry.create_agent(
            TENANT, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=self.sim.wall_at_start
        )
        if agent_id not in self.revoked:
            self._add_key(hub, agent_id)

    def _add_key(self, hub: PlatformHub, agent_id: str) -> None:
        hub.registry.add_key(TENANT, agent_id, self.sim.public_keys[self.keys[agent_id]], "simulated")

    def register(self, agent_id: str) -> None:
        """Make an agent known, with its first key."""
        self.keys[agent_id] = 0
        self._register(self.hub, agent_id)

    def revoke(self, agent_id: str) -> None:
        """Take away an agent's key."""
        if agent_id not in self.revoked:
            self.revoked.add(agent_id)
            (key_id,) = self.hub.registry.agent(TENANT, agent_id).keys
            self.turn(lambda now: self.hub.revoke_key(TENANT, key_id, now))

    def restore_key(self, agent_id: str) -> None:
        """Give it back."""
        if agent_id in self.revoked:
            self.revoked.discard(agent_id)
            self._add_key(self.hub, agent_id)

    def rotate_key(self, agent_id: str) -> None:
        """Have an agent use its other key, if it has one; else the same under another id."""
        was_revoked = agent_id in self.revoked
        self.revoke(agent_id)
        self.keys[agent_id] = (self.keys[agent_id] + 1) % self.sim.agent_keys
        if not was_revoked:
            self.restore_key(agent_id)

    def restart(self, *, keeps_memory: bool) -> None:
        """Die and be back: connections are reset. Without its memory it knows neither commands nor its old tokens."""
        for session, circuit in list(self.sessions.values()):
            circuit.leave(circuit.up, circuit.down, abort=True)
            self._attended.append(session.conn)
            session.disconnected("the platform restarts", self.now)
        self.drain()
        self.sessions.clear()
        self._deadlines = Alarms()
        self._linked.clear()
        self._reports_at.clear()
        self.sim.invariants.platform_restarts(keeps_memory=keeps_memory)
        if not keeps_memory:
            self.hub = self._new_hub()
        self.drain()

    def close_links(self, agent_id: str, code: int) -> None:
        """Close an agent's link, as a platform may."""
        session = self.hub.registry.agent(TENANT, agent_id).presence.session
        if session is not None:
            self._attended.append(session.conn)
            self.turn(lambda now: session.close(code, "by the simulation", now))

    def congest(self, circuits: list[Circuit], seconds: float) -> None:
        """Its transports of some connections are full for a while."""
        for circuit in circuits:
            circuit.down.full_until = self.sim.time + seconds
            self._report(circuit)
            self.sim.after(seconds, lambda each=circuit: self._report(each))

    def _report(self, circuit: Circuit) -> None:
        """Say how much has not left on a connection."""
        self._turn_of(circuit, lambda session, now: self._report_to(session, circuit, now))

    def _report_to(self, session: PlatformProtocol, circuit: Circuit, now: Instant) -> None:
        """The same in an input of its session; soon again if it is much."""
        unsent_bytes = circuit.down.unsent_bytes
        session.unsent(unsent_bytes, now)
        self.sim.invariants.platform_was_told_unsent(circuit, unsent_bytes)
        if unsent_bytes >= WRITE_AHEAD_BYTES and self._reports_at.get(session.conn, 0.0) <= self.sim.time:
            self._reports_at[session.conn] = self.sim.time + REPORT_INTERVAL_S
            self.sim.after(REPORT_INTERVAL_S, lambda: self._report(circuit))

    # --- inputs -------------------------------------------------------------------------------------------------------

    def turn(self, action: Callable[[Instant], object]) -> None:
        """Do something to the hub or a session, and carry out what follows."""
        action(self.now)
        self.drain()

    def accept(self, circuit: Circuit) -> None:
        """A circuit was opened."""
        self._conns += 1
        circuit.server_conn = self._conns
        self.sessions[self._conns] = (PlatformProtocol(self.hub, conn=self._conns, now=self.now), circuit)
        self._attended.append(self._conns)
        self.drain()

    def handle_timer(self) -> None:
        """A timer is due."""
        self._handle_timer(self.hub)
        for conn in sorted(self._deadlines.take_due(self._is_due)):
            self._handle_timer(self.sessions[conn][0])
            self._attended.append(conn)
        self.drain()
        self.sim.invariants.platform_handled_timers(self)

    def _handle_timer(self, machine: PlatformHub | PlatformProtocol) -> None:
        deadline = machine.deadline()
        if deadline is not None and self._is_due(deadline):
            now = self._due(deadline)
            if isinstance(machine, PlatformProtocol):
                self._report_to(machine, self.sessions[machine.conn][1], now)
            machine.handle_timer(now)
            self.sim.invariants.timer_handled(machine.deadline(), now)

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        """From a circuit."""
        self.sim.invariants.platform_was_sent(circuit, data)
        self._turn_of(circuit, lambda session, now: session.data_received(data, now))

    def eof_arrived(self, circuit: Circuit) -> None:
        """From a circuit."""
        self._turn_of(circuit, lambda session, now: session.eof_received(now))

    def reset_arrived(self, circuit: Circuit, reason: str) -> None:
        """From a circuit."""
        self._turn_of(circuit, lambda session, now: session.disconnected(reason, now))
        self._leave(circuit)

    def _turn_of(self, circuit: Circuit, action: Callable[[PlatformProtocol, Instant], object]) -> None:
        attended = self.sessions.get(circuit.server_conn)
        if attended is not None and attended[1] is circuit:
            self.sim.invariants.platform_hears(circuit)
            action(attended[0], self.now)
            self._attended.append(circuit.server_conn)
            self.drain()

    # --- outputs ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Carry out everything that the hub and those of its sessions that something happened to ask for."""
        while True:
            event = self.hub.next_output()
            if isinstance(event, Attend):
                self._attended.append(event.conn)
            elif event is not None:
                self.sim.invariants.platform_said(event)
            elif self._attended:
                self._drain_session(self._attended.pop())
            else:
                break
        hub, connections = self.hub.deadline(), self._deadlines.next()[0]
        earliest = connections if hub is None else min(hub, connections)
        self._wait_for(earliest if earliest < math.inf else None)

    def _drain_session(self, conn: int) -> None:
        attended = self.sessions.get(conn)
        if attended is None:
            return
        session, circuit = attended
        while (output := session.next_output()) is not None:
            self._carry_out(output, session, circuit)
        if conn in self.sessions:
            deadline = session.deadline()
            if deadline is None:
                self._deadlines.remove(conn)
            else:
                self._deadlines.set(conn, deadline)

    def _leave(self, circuit: Circuit) -> None:
        conn = circuit.server_conn
        self.sessions.pop(conn, None)
        self._deadlines.remove(conn)
        self._linked.discard(conn)
        self._reports_at.pop(conn, None)
        self.sim.invariants.platform_left(circuit)

    def _carry_out(self, output: MachineEffect | Event, session: PlatformProtocol, circuit: Circuit) -> None:
        match output:
            case Write():
                data = output.data
                if session.conn in self._linked:
                    self.sim.invariants.platform_wrote(circuit, data)
                    if not self.sim.world.pongs:
                        data = with_blank_pongs(data)
                elif data.startswith(_SWITCHED):
                    self._linked.add(session.conn)
                    self.sim.invariants.platform_linked(circuit, self.sim.process_at(circuit))
                self.sim.traced("platform", data)
                circuit.down.send(data)
            case Disconnect():
                circuit.leave(circuit.up, circuit.down, abort=output.abort)
                self._leave(circuit)
            case PauseReading():
                circuit.up.is_paused = True
            case ResumeReading():
                circuit.up.resume()
            case _:
                assert isinstance(output, RequestArrived), "that is all there is of a session in a simulation"
                session.respond(output.exchange, self._details(output.request), self.now)

    def _details(self, request: Request) -> Response:
        """What an agent asks about itself, or says (STAT-2)."""
        try:
            agent_id = self.hub.principal(request, self.now).agent_id
            if request.method == "PUT" and agent_id is not None:
                self.hub.set_status(TENANT, agent_id, _STATUSES[request.body], self.now)
            return json_answer(200, {"agent_id": agent_id})
        except ApiError as error:
            return error_answer(error)

    def is_online(self, agent_id: str) -> bool:
        """Whether it takes the agent as online (HB-3)."""
        return self.hub.registry.agent(TENANT, agent_id).presence.online
