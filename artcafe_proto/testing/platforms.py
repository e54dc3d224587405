"""The platform of a simulation: the real `PlatformHub` and a `PlatformProtocol` for every accepted circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_proto.effects import Disconnect, PauseReading, Persist, ResumeReading, Write
from artcafe_proto.errors import ApiError
from artcafe_proto.events import AnyEvent, RequestArrived
from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.platform.api import NOT_FOUND
from artcafe_proto.platform.hub import PlatformHub
from artcafe_proto.platform.protocol import PlatformProtocol
from artcafe_proto.records import Keeps
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.nodes import REPORT_INTERVAL_S, Node
from artcafe_proto.testing.tenants import TENANT, TENANT_TOKEN
from artcafe_proto.testing.wiretap import with_blank_pongs

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.config import PlatformConfig
    from artcafe_proto.effects import PersistFailure
    from artcafe_proto.instants import Instant
    from artcafe_proto.platform.commands import Command
    from artcafe_proto.platform.connections import PlatformOutput
    from artcafe_proto.testing.circuits import Circuit
    from artcafe_proto.testing.disks import Disk
    from artcafe_proto.testing.invariants import Invariants
    from artcafe_proto.testing.nodes import Stage

_SWITCHED: Final = b"HTTP/1.1 101"
_ASKS_AGAIN_AFTER_S: Final = 2.0
"""What the store did not take is asked for again."""


class PlatformProcess(Node):
    """One platform. It can be restarted with its memory (the hub), without, or from what is on its disk; agents and
    keys are registered again if need be.
    """

    def __init__(
        self,
        sim: Stage,
        invariants: Invariants,
        config: PlatformConfig,
        rng: Random,
        *,
        public_keys: list[str],
        disk: Disk | None = None,
    ) -> None:
        """`public_keys`: those that each agent has, one of which it is registered with. `disk`: if it has a store."""
        super().__init__(sim)
        self._sim = sim
        self._invariants = invariants
        self._public_keys = public_keys
        self.config = config
        self._rng = rng
        self.sessions: dict[int, tuple[PlatformProtocol, Circuit]] = {}
        self.keys: dict[str, int] = {}
        """Which of its keys an agent has, by agent id."""
        self.revoked: set[str] = set()
        """Agents whose key was taken away."""
        self._linked: set[int] = set()
        self._reports_at: dict[int, float] = {}
        self._unread: set[int] = set()
        """Connections of which it is not known that all has left."""
        self._conns = 0
        self._looks: list[Callable[[], bool]] = []
        self.disk = disk
        self._signing_seed = b""
        self.hub: PlatformHub = self._new_hub()

    def _new_hub(self) -> PlatformHub:
        if self.disk is not None:
            return self._restored_hub(self.disk)
        hub = PlatformHub(self.config, rng=self._rng, signing_seed=self._rng.randbytes(32))
        hub.registry.add_tenant(TENANT, TENANT_TOKEN)
        for agent_id in self.keys:
            self._register(hub, agent_id)
        return hub

    def _restored_hub(self, disk: Disk) -> PlatformHub:
        self._signing_seed = self._signing_seed or self._rng.randbytes(32)
        restored = disk.records.values()
        hub = PlatformHub(
            self.config,
            rng=self._rng,
            signing_seed=self._signing_seed,
            restored=restored,
            keeps=Keeps.RECORDS,
            now=self.now,
        )
        hub.registry.add_tenant(TENANT, TENANT_TOKEN)
        for agent_id in self.keys:
            if hub.registry.find(agent_id) is None:
                self._register(hub, agent_id)
        return hub

    def _register(self, hub: PlatformHub, agent_id: str) -> None:
        hub.registry.create_agent(
            TENANT, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=self._sim.wall_at_start
        )
        if agent_id not in self.revoked:
            self._add_key(hub, agent_id)

    def _add_key(self, hub: PlatformHub, agent_id: str) -> None:
        hub.registry.add_key(TENANT, agent_id, self._public_keys[self.keys[agent_id]], "simulated")

    def register(self, agent_id: str) -> None:
        """Make an agent known, with its first key."""
        self.keys[agent_id] = 0
        self._register(self.hub, agent_id)

    def revoke(self, agent_id: str) -> None:
        """Take away an agent's key."""
        if agent_id not in self.revoked:
            self.revoked.add(agent_id)
            if self.disk is not None:
                self._arrange_key(agent_id)
                return
            (key_id,) = self.key_ids(agent_id)
            self.turn(lambda now: self.hub.revoke_key(TENANT, key_id, now))

    def restore_key(self, agent_id: str) -> None:
        """Give an agent back the key that was taken away."""
        if agent_id in self.revoked:
            self.revoked.discard(agent_id)
            if self.disk is not None:
                self._arrange_key(agent_id)
            else:
                self._add_key(self.hub, agent_id)

    def rotate_key(self, agent_id: str) -> None:
        """Have an agent use its other key, if it has one; else the same under another id."""
        was_revoked = agent_id in self.revoked
        self.revoke(agent_id)
        self.keys[agent_id] = (self.keys[agent_id] + 1) % len(self._public_keys)
        if not was_revoked:
            self.restore_key(agent_id)

    def _arrange_key(self, agent_id: str) -> None:
        """Have the hub know the key that an agent has now, and no other; again later if its store takes nothing."""
        hub, wanted = self.hub, None if agent_id in self.revoked else self._public_keys[self.keys[agent_id]]
        known = {key.public_key.openssh: key.key_id for key in hub.registry.keys(agent_id)}
        try:
            for public_key, key_id in known.items():
                if public_key != wanted:
                    self.turn(lambda now, each=key_id: hub.revoke_key(TENANT, each, now))
            if wanted is not None and wanted not in known:
                self.turn(lambda now: self._add_key(hub, agent_id))
        except ApiError:
            self._sim.after(_ASKS_AGAIN_AFTER_S, lambda: self._arrange_key(agent_id))

    @property
    def has_store(self) -> bool:
        """Whether what it says is stored before it is said (PLAT-5)."""
        return self.disk is not None

    @property
    def is_listening(self) -> bool:
        """Whether anybody can connect: nobody is served before a hub's first batch is stored."""
        return self.disk is None or self.hub.stored > 0

    def command(self, agent_id: str, command_id: str) -> Command | None:
        """A command of the simulation's tenant, as the platform has it now, if it has it."""
        try:
            return self.hub.command(TENANT, command_id, agent_id)
        except ApiError:
            return None

    def held_bytes(self) -> list[int]:
        """What it holds for each connection that is no link."""
        return [session.held_bytes for conn, (session, _) in self.sessions.items() if conn not in self._linked]

    def key_ids(self, agent_id: str) -> list[str]:
        """The ids of the keys that it knows of an agent, one or none."""
        return [key.key_id for key in self.hub.registry.keys(agent_id)]

    def crash(self, *, keeps_tokens: bool) -> None:
        """Die without a warning, and be back with what is on the disk. Tokens are good while their key is there."""
        disk = self.disk
        assert disk is not None, "without a disk nothing outlives it"
        for _, circuit in self.sessions.values():
            circuit.leave(circuit.up, circuit.down, abort=True)
        self._forget_connections()
        self._invariants.platform_crashes(disk.crash(), disk.records.values())
        if not keeps_tokens:
            self._signing_seed = b""
        self.hub = self._new_hub()
        self.drain()
        for agent_id in self.keys:
            self._arrange_key(agent_id)

    def _forget_connections(self) -> None:
        self.sessions.clear()
        self._linked.clear()
        self._unread.clear()
        self._reports_at.clear()

    def restart(self, *, keeps_memory: bool) -> None:
        """Die and be back: connections are reset. Without its memory it knows neither commands nor its old tokens."""
        for session, circuit in list(self.sessions.values()):
            circuit.leave(circuit.up, circuit.down, abort=True)
            session.disconnected("the platform restarts", self.now)
        self.drain()
        self._forget_connections()
        self._invariants.platform_restarts(keeps_memory=keeps_memory)
        if not keeps_memory:
            self.hub = self._new_hub()
        self.drain()

    def close_links(self, agent_id: str, code: int) -> None:
        """Close an agent's link, as a platform may."""
        conn = self.hub.conn_of(agent_id)
        if conn is not None:
            self.turn(lambda now: self.sessions[conn][0].close(code, "by the simulation", now))

    def congest(self, circuits: list[Circuit], seconds: float) -> None:
        """The transports of some of its connections are full for a while."""
        for circuit in circuits:
            circuit.down.full_until = self._sim.time + seconds
            self._report(circuit)
            self._sim.after(seconds, lambda each=circuit: self._report(each))

    def _report(self, circuit: Circuit) -> None:
        """A turn in which its session is told how much has not left on a connection."""
        self._turn_of(circuit, lambda session, now: self._report_to(session, circuit, now))

    def _report_to(self, session: PlatformProtocol, circuit: Circuit, now: Instant) -> None:
        """Tell a session, within a turn, how much has not left; while that is much, soon again."""
        unsent_bytes = circuit.down.unsent_bytes
        session.unsent(unsent_bytes, now)
        if not unsent_bytes:
            self._unread.discard(session.conn)
        self._invariants.platform_was_told_unsent(circuit, unsent_bytes)
        if unsent_bytes >= WRITE_AHEAD_BYTES and self._reports_at.get(session.conn, 0.0) <= self._sim.time:
            self._reports_at[session.conn] = self._sim.time + REPORT_INTERVAL_S
            self._sim.after(REPORT_INTERVAL_S, lambda: self._report(circuit))

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
        self.drain()

    def handle_timer(self) -> None:
        """A timer is due."""
        while (deadline := self.hub.deadline()) is not None and self._is_due(deadline):
            now = self._due(deadline)
            for conn in sorted(self._unread):
                self._report_to(*self.sessions[conn], now)
            self.hub.handle_timer(now)
            self.drain()
            self._invariants.timer_handled(self.hub.deadline(), now)
        self.drain()
        self._invariants.platform_handled_timers(self)

    def look_for(self, has_happened: Callable[[], bool]) -> None:
        """Ask `has_happened` after every input, before the events of that input are told, until it says yes."""
        self._looks.append(has_happened)

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        """From a circuit."""
        self._invariants.platform_was_sent(circuit, data)
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
            self._invariants.platform_hears(circuit)
            action(attended[0], self.now)
            self.drain()

    # --- outputs ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Carry out everything that the hub asks for."""
        while True:
            output = self.hub.next_output()
            if self._looks:
                self._looks = [has_happened for has_happened in self._looks if not has_happened()]
            if output is None:
                break
            self._carry_out(output)
        self._wait_for(self.hub.deadline())

    def _leave(self, circuit: Circuit) -> None:
        conn = circuit.server_conn
        self.sessions.pop(conn, None)
        self._linked.discard(conn)
        self._unread.discard(conn)
        self._reports_at.pop(conn, None)
        self._invariants.platform_left(circuit)

    def _carry_out(self, output: PlatformOutput) -> None:
        match output:
            case Write():
                self._write(output)
            case Disconnect():
                circuit = self.sessions[output.conn][1]
                self._invariants.stored.ends(output.conn, abort=output.abort)
                circuit.leave(circuit.up, circuit.down, abort=output.abort)
                self._leave(circuit)
            case Persist():
                self._commit(output)
            case PauseReading():
                self.sessions[output.conn][1].up.is_paused = True
            case RequestArrived():
                self.sessions[output.conn][0].respond(output.exchange, NOT_FOUND, self.now)
            case AnyEvent():
                self._invariants.platform_said(output)
            case _:
                assert isinstance(output, ResumeReading), "only a `PlatformSession` leaves framing to its driver"
                self.sessions[output.conn][1].up.resume()

    def _commit(self, batch: Persist) -> None:
        assert self.disk is not None, "who keeps nothing has nothing stored"
        self._invariants.stored.handed_out(batch)
        self.disk.commit(batch, lambda failure: self._committed(batch, failure))

    def _committed(self, batch: Persist, failure: PersistFailure | None) -> None:
        if failure is None:
            self._invariants.stored.is_stored(batch)
            self.turn(lambda now: self.hub.persisted(batch.batch, now))
            self._invariants.stored.at_rest(self.hub)
        else:
            self._invariants.stored.failed(batch)
            self.turn(lambda now: self.hub.persist_failed(batch.batch, failure, now))

    def _write(self, output: Write) -> None:
        circuit, data = self.sessions[output.conn][1], output.data
        if output.conn in self._linked:
            self._invariants.platform_wrote(circuit, data)
            if not self._sim.world.pongs:
                data = with_blank_pongs(data)
        elif data.startswith(_SWITCHED):
            self._linked.add(output.conn)
            process = circuit.down.receiver
            assert isinstance(process, AgentProcess), "only agents connect here"
            self._invariants.platform_linked(circuit, process)
        else:
            self._invariants.stored.answers(output.conn, data)
        self._sim.traced("platform", data)
        circuit.down.send(data)
        self._unread.add(output.conn)

    def is_online(self, agent_id: str) -> bool:
        """Whether it takes the agent as online (HB-3)."""
        return self.hub.agent(TENANT, agent_id).online
