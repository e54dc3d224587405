"""An agent's process in a simulation: the real `AgentProtocol`, and a driver that does what drivers must."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

from artcafe_proto.agent.protocol import AgentProtocol
from artcafe_proto.effects import (
    CancelSign,
    Connect,
    Disconnect,
    PauseReading,
    Persist,
    ResumeReading,
    Sign,
    Write,
)
from artcafe_proto.events import CommandCancelled, CommandReceived, Offline, Stopped
from artcafe_proto.limits import STORE_PATIENCE_S, WRITE_AHEAD_BYTES
from artcafe_proto.records import Keeps
from artcafe_proto.testing.applications import Application
from artcafe_proto.testing.ensuring import ensure
from artcafe_proto.testing.invariants import Watched
from artcafe_proto.testing.nodes import REPORT_INTERVAL_S, Node, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.agent.machine import ConnectFailure
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import Effect, PersistFailure
    from artcafe_proto.events import AgentEvent
    from artcafe_proto.instants import Instant
    from artcafe_proto.testing.circuits import Circuit
    from artcafe_proto.testing.disks import Disk
    from artcafe_proto.testing.invariants import Invariants


class Signer:
    """What an agent's key does when it is asked."""

    def __init__(self) -> None:
        self.delay_s: float = 0.0
        self.refuses: bool = False

    def recover(self) -> None:
        """Sign at once."""
        self.delay_s, self.refuses = 0.0, False


class Host(Stage, Protocol):
    """The simulation as processes see it: who looks at them, what signs for them, and who hears of their sessions."""

    invariants: Invariants

    def sign(self, challenge: str, key: int) -> bytes:
        """The signature of a challenge, by the first or the second key."""
        ...

    def signer_of(self, agent_id: str) -> Signer:
        """An agent's signer."""
        ...

    def session_began(self, process: AgentProcess) -> None:
        """The first byte of an attempt was written."""
        ...

    def session_ended(self, process: AgentProcess) -> None:
        """A link or an attempt is over."""
        ...

    def process_stopped(self, process: AgentProcess) -> None:
        """A process has ended in good order."""
        ...


class AgentProcess(Node):
    """One life of one agent, from `start` to its end or its death."""

    def __init__(
        self,
        sim: Host,
        config: AgentConfig,
        rng: Random,
        *,
        connect: Callable[[AgentProcess, Connect], None],
        wall_skew_s: float = 0.0,
        disk: Disk | None = None,
    ) -> None:
        """`connect`: what has a network answer, once, whether there is a connection. `disk`: of an agent with a
        journal, which goes on from what is there.
        """
        super().__init__(sim, wall_skew_s=wall_skew_s)
        self.sim = sim
        self._connect = connect
        self.agent_id: str = config.agent_id
        self._disk = disk
        self._untold: Persist | None = None
        """A batch that is stored, which the process that sleeps was not told."""
        self._stores_until = math.inf
        self.protocol: Final = AgentProtocol(config, rng=rng, **({} if disk is None else self._journal_of(disk)))
        self.circuits: dict[int, Circuit] = {}
        self.is_stopping = False
        self.is_in_session: bool = False
        """Whether it has written something for the link that it has or tries to have."""
        self.signs: int = 0
        self.watched: Final = Watched(self)
        self.application: Final = Application(self, sim, sim.invariants, rng)
        self._is_draining = False
        self._asleep_until = -math.inf
        self._mono_at_sleep = 0.0
        self._postponed: list[Callable[[Instant], object]] = []
        self._reports_at = -math.inf
        if disk is not None:
            sim.invariants.journals.begins(self, disk.records)

    # --- inputs -------------------------------------------------------------------------------------------------------

    def turn(self, action: Callable[[Instant], object]) -> None:
        """Do something to the protocol, as soon as the process is awake, and carry out what it asks for."""
        if self.is_dead:
            return
        if self._is_asleep:
            self._postponed.append(action)
            return
        action(self.now)
        self._drain()

    def start(self) -> None:
        """Begin."""
        self.turn(self.protocol.start)
        self.application.begin()

    def connect_failed(self, conn: int, cause: ConnectFailure) -> None:
        """The network could not connect it."""

        def fail(now: Instant) -> None:
            self.sim.invariants.agent_lost(self, conn)
            self.protocol.connect_failed(conn, cause, "by the simulation", now)

        if self.is_wanted(conn):
            self.turn(fail)

    def is_wanted(self, conn: int) -> bool:
        """Whether it still waits for this connection."""
        return conn in self.watched.taps

    def stop(self, *, drain: bool = True) -> None:
        """Drain and end, or end at once."""

        def stop(now: Instant) -> None:
            was_stopping, self.is_stopping = self.is_stopping, True
            self.protocol.stop(now, drain=drain)
            if not (was_stopping and drain):  # that changes nothing
                self.sim.invariants.agent_stops(self, drain=drain)

        self.turn(stop)

    def die(self) -> None:
        """End without a word, as a killed process does: the system resets its connections."""
        self._end()
        for circuit in self.circuits.values():
            circuit.leave(circuit.down, circuit.up, abort=True)
        self.circuits.clear()

    def _end(self) -> None:
        self.is_dead: bool = True
        self._wake_at(math.inf)
        self._leave_disk()

    def sleep(self, seconds: float, *, mono_counts: bool) -> None:
        """Suspend: what comes in waits; the monotonic clock may or may not count that time."""
        until = max(self._asleep_until, self.sim.time + seconds)
        if not self._is_asleep:
            self._mono_at_sleep = self.now.mono
        if not mono_counts:
            self._put_clock_forward(max(self._asleep_until, self.sim.time) - until)
        self._asleep_until = until
        self._is_asleep = True
        self._wake_at(math.inf)
        self.sim.schedule.at(until, self._wake_in_time)

    def wake(self) -> None:
        """Go on, with everything that waited."""
        if not self._is_asleep:
            return
        self._is_asleep = False
        self._asleep_until = -math.inf
        self._put_clock_forward(max(0.0, self._mono_at_sleep - self.now.mono))  # woken early, it must not go back
        self._was_held_up(self.now.mono)
        self._wait_for(self._deadline)
        postponed, self._postponed = self._postponed, []
        for action in postponed:
            self.turn(action)

    def _wake_in_time(self) -> None:
        if self._asleep_until <= self.sim.time:
            self.wake()

    def congest(self, seconds: float) -> None:
        """Its transports are full for a while."""
        for circuit in self.circuits.values():
            circuit.up.full_until = self.sim.time + seconds
        self.turn(self._report)
        self.sim.after(seconds, lambda: self.turn(self._report))

    def _report(self, now: Instant) -> None:
        """Say how much has not left; soon again if that is much."""
        for conn, circuit in self.circuits.items():
            unsent_bytes = circuit.up.unsent_bytes
            self.protocol.unsent(conn, unsent_bytes, now)
            if unsent_bytes >= WRITE_AHEAD_BYTES and self._reports_at <= self.sim.time:
                self._reports_at = self.sim.time + REPORT_INTERVAL_S
                self.sim.after(REPORT_INTERVAL_S, lambda: self.turn(self._report))

    def handle_timer(self) -> None:
        """Its timer is due."""
        assert self._deadline is not None
        now = self._due(self._deadline)
        self._report(now)
        self.protocol.handle_timer(now)
        self.sim.invariants.timer_handled(self.protocol.deadline(), now)
        self._drain()

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        """From a circuit."""
        conn = circuit.client_conn

        def read(now: Instant) -> None:
            self.sim.invariants.agent_was_sent(self, conn, data)
            self.protocol.data_received(conn, data, now)

        self.turn(read)

    def eof_arrived(self, circuit: Circuit) -> None:
        """From a circuit."""
        conn = circuit.client_conn
        self.turn(lambda now: self.protocol.eof_received(conn, now))

    def reset_arrived(self, circuit: Circuit, reason: str) -> None:
        """From a circuit."""
        conn = circuit.client_conn

        def lose(now: Instant) -> None:
            self._forget(conn)
            self.sim.invariants.agent_lost(self, conn)
            self.protocol.disconnected(conn, reason, now)

        self.turn(lose)

    # --- outputs ------------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        if self._is_draining:
            return  # a handler answered at once
        self._is_draining = True
        while (output := self.protocol.next_output()) is not None:
            self.sim.invariants.agent_said(self, output)
            self._carry_out(output)
        self._is_draining = False
        self._wait_for(self.protocol.deadline())
        self.sim.invariants.agent_at_rest(self)
        if self.protocol.is_stopped and not self.is_dead:
            ensure(not self.circuits, "who has stopped holds no connection (LINK-10)")
            if not self._stores():
                self._end()
                self.sim.process_stopped(self)

    def _carry_out(self, output: Effect | AgentEvent) -> None:
        sim = self.sim
        match output:
            case Connect():
                self._connect(self, output)
            case Write():
                sim.traced(self.agent_id, output.data)
                if not self.is_in_session:
                    self.is_in_session = True
                    sim.session_began(self)
                self.circuits[output.conn].up.send(output.data)
            case Disconnect():
                circuit = self.circuits.get(output.conn)
                if circuit is not None:
                    self._forget(output.conn)
                    circuit.leave(circuit.down, circuit.up, abort=output.abort)
            case PauseReading():
                self.circuits[output.conn].down.is_paused = True
            case ResumeReading():
                self.circuits[output.conn].down.resume()
            case Sign():
                self._sign(output)
            case Persist():
                self._commit(output)
            case CommandReceived():
                self.application.execute(output)
            case CommandCancelled():
                self.application.cancelled(output)
            case Offline():
                self.is_in_session = False
                sim.session_ended(self)
            case Stopped():
                sim.session_ended(self)
            case CancelSign():
                pass  # a late signature does no harm
            case _:
                pass

    def opened(self, asked: Connect, circuit: Circuit) -> None:
        """The network has connected it."""
        self.circuits[asked.conn] = circuit
        circuit.client_conn = asked.conn
        self.turn(lambda now: self.protocol.connected(asked.conn, now, tls=asked.tls))

    def _forget(self, conn: int) -> None:
        self.circuits.pop(conn, None)

    # --- the journal --------------------------------------------------------------------------------------------------

    def _commit(self, batch: Persist) -> None:
        assert self._disk is not None, "who keeps nothing has nothing stored"
        self._disk.commit(batch, lambda failure: self._committed(batch, failure))

    def _committed(self, batch: Persist, failure: PersistFailure | None) -> None:
        def tell(now: Instant) -> None:
            journals = self.sim.invariants.journals
            if failure is None:
                self._untold = None
                journals.is_stored(self, batch)
                self.protocol.persisted(batch.batch, now)
            else:
                journals.failed(self, batch, failure)
                self.protocol.persist_failed(batch.batch, failure, now)

        self._untold = batch if failure is None else None
        self.turn(tell)

    def _journal_of(self, disk: Disk) -> dict[str, Any]:
        return {"keeps": Keeps.RECORDS, "restored": disk.records.values(), "now": self.now}

    def _stores(self) -> bool:
        """Whether the disk of a process that has stopped is still waited for, as a driver does."""
        if not self.protocol.unstored:
            return False
        if self._stores_until == math.inf:
            self._stores_until = self.sim.time + STORE_PATIENCE_S
            self.sim.schedule.at(self._stores_until, lambda: self.turn(_look))
        return self.sim.time < self._stores_until

    def _leave_disk(self) -> None:
        """A batch under way is kept or lost, whole."""
        if self._disk is not None:
            self.sim.invariants.journals.ends(self, self._disk.crash() or self._untold)

    # --- the signer ---------------------------------------------------------------------------------------------------

    def _sign(self, asked: Sign) -> None:
        self.signs += 1
        signer = self.sim.signer_of(self.agent_id)
        if signer.refuses:
            self.sim.after(
                signer.delay_s, lambda: self.turn(lambda now: self.protocol.sign_failed(asked.request, "refused", now))
            )
            return
        signature = self.sim.sign(asked.challenge, asked.key)
        self.sim.after(
            signer.delay_s, lambda: self.turn(lambda now: self.protocol.signed(asked.request, signature, now))
        )


def _look(_: Instant) -> None:
    """Nothing but what follows every turn."""
