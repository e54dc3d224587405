"""An agent's process in a simulation: the real `AgentProtocol`, and a driver that does what drivers must."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from artcafe_proto.agent.protocol import AgentProtocol
from artcafe_proto.effects import (
    CancelSign,
    Connect,
    Disconnect,
    PauseReading,
    ResumeReading,
    Sign,
    Write,
)
from artcafe_proto.events import CommandCancelled, CommandReceived, Offline, Stopped
from artcafe_proto.instants import Instant
from artcafe_proto.testing.circuits import Circuit

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.agent.machine import ConnectFailure
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import MachineEffect
    from artcafe_proto.events import Event
    from artcafe_proto.testing.simulation import Simulation

_NEVER_ENDS = 0.03
"""Share of handlers that end only when they are cancelled."""

_ROUNDING_S = 1e-6


class Node:
    """Something with clocks of its own, which may stand still for a while."""

    def __init__(self, sim: Simulation, *, wall_skew_s: float = 0.0) -> None:
        self.sim = sim
        self.mono_offset_s: float = 1000.0
        self.wall_offset_s = sim.wall_at_start + wall_skew_s
        self.wakes_at = math.inf
        """When its timer is due, in the simulation's time."""
        self._deadline: float | None = None
        self._late_until = 0.0
        self._is_asleep = False

    @property
    def now(self) -> Instant:
        """Both clocks of this node."""
        time = self.sim.schedule.time
        return Instant(time + self.mono_offset_s, time + self.wall_offset_s)

    def _due(self, deadline: float) -> Instant:
        """Now, as a timer that is due sees it: rounding must not have it come a moment too early."""
        now = self.now
        return Instant(max(now.mono, deadline), now.wall)

    def _is_due(self, deadline: float) -> bool:
        return deadline - (self.sim.schedule.time + self.mono_offset_s) < _ROUNDING_S

    def be_late(self, until: float) -> None:
        """Have no timer before that time of the simulation."""
        self._late_until = until
        self._wait_for(self._deadline)

    def _wait_for(self, deadline: float | None) -> None:
        self._deadline = deadline
        if deadline is None or self._is_asleep:
            self.wakes_at = math.inf
        else:
            at = deadline - self.mono_offset_s
            self.wakes_at = at if at > self._late_until else self._late_until


class AgentProcess(Node):
    """One life of one agent, from `start` to its end or its death."""

    def __init__(self, sim: Simulation, config: AgentConfig, rng: Random, *, wall_skew_s: float = 0.0) -> None:
        super().__init__(sim, wall_skew_s=wall_skew_s)
        self.agent_id = config.agent_id
        self.protocol = AgentProtocol(config, rng=rng)
        self.circuits: dict[int, Circuit] = {}
        self.is_dead = False
        self.is_stopping = False
        self.is_in_session = False
        """Whether it has written something for the link that it has or tries to have."""
        self.signs = 0
        self.executed: set[str] = set()
        self._rng = rng
        self._unfinished: dict[str, bool] = {}
        self._is_draining = False
        self._asleep_until = -math.inf
        self._mono_at_sleep = 0.0
        self._postponed: list[Callable[[Instant], object]] = []

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

    def connect_failed(self, conn: int, cause: ConnectFailure) -> None:
        """The network could not connect it."""

        def fail(now: Instant) -> None:
            self.sim.invariants.agent_lost(self, conn)
            self.protocol.connect_failed(conn, cause, "by the simulation", now)

        if self.sim.invariants.is_wanted(self, conn):
            self.turn(fail)

    def stop(self) -> None:
        """Drain and end."""
        self.is_stopping = True
        self.turn(self.protocol.stop)

    def die(self) -> None:
        """End without a word, as a killed process does: the system resets its connections."""
        self.is_dead = True
        self.wakes_at = math.inf
        for circuit in self.circuits.values():
            circuit.leave(circuit.down, circuit.up, abort=True)
        self.circuits.clear()

    def sleep(self, seconds: float, *, mono_counts: bool) -> None:
        """Suspend: what comes in waits; the monotonic clock may or may not count that time."""
        until = max(self._asleep_until, self.sim.time + seconds)
        if not self._is_asleep:
            self._mono_at_sleep = self.now.mono
        if not mono_counts:
            self.mono_offset_s -= until - max(self._asleep_until, self.sim.time)
        self._asleep_until = until
        self._is_asleep = True
        self.wakes_at = math.inf
        self.sim.schedule.at(until, self._wake_in_time)

    def wake(self) -> None:
        """Go on, with everything that waited."""
        if not self._is_asleep:
            return
        self._is_asleep = False
        self._asleep_until = -math.inf
        self.mono_offset_s += max(0.0, self._mono_at_sleep - self.now.mono)  # woken early, it must not go back
        self._wait_for(self._deadline)
        postponed, self._postponed = self._postponed, []
        for action in postponed:
            self.turn(action)

    def _wake_in_time(self) -> None:
        if self._asleep_until <= self.sim.time:
            self.wake()

    def congest(self, seconds: float) -> None:
        """Its transport is at the high-water mark for a while."""
        for conn in list(self.circuits):
            self.turn(lambda now, conn=conn: self.protocol.writing_paused(conn, now))
            self.sim.after(seconds, lambda conn=conn: self.turn(lambda now: self.protocol.writing_resumed(conn, now)))

    def handle_timer(self) -> None:
        """Its timer is due."""
        assert self._deadline is not None
        now = self._due(self._deadline)
        self.protocol.handle_timer(now)
        self.sim.invariants.timer_handled(self.protocol.deadline(), now)
        self._drain()

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        """From a circuit."""
        conn = circuit.client_conn
        self.sim.invariants.agent_was_sent(self, conn, data)
        self.turn(lambda now: self.protocol.data_received(conn, data, now))

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
        self.sim.invariants.agent_settled(self)

    def _carry_out(self, output: MachineEffect | Event) -> None:
        sim = self.sim
        match output:
            case Connect():
                sim.network.connect(self, output)
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
            case CommandReceived():
                self._execute(output)
            case CommandCancelled():
                if self._unfinished.get(output.command_id):
                    sim.after(0.1, lambda: self._finish(output.command_id))
            case Offline():
                self.is_in_session = False
                sim.session_ended(self)
            case Stopped():
                sim.session_ended(self)
                self._drop_all()
            case CancelSign():
                pass  # a late signature does no harm
            case _:
                pass

    def opened(self, conn: int, circuit: Circuit) -> None:
        """The network has connected it."""
        self.circuits[conn] = circuit
        circuit.client_conn = conn
        self.turn(lambda now: self.protocol.connected(conn, now))

    def _forget(self, conn: int) -> None:
        self.circuits.pop(conn, None)

    def _drop_all(self) -> None:
        for conn in list(self.circuits):
            circuit = self.circuits.pop(conn)
            circuit.leave(circuit.down, circuit.up, abort=True)

    # --- the signer and the handlers ----------------------------------------------------------------------------------

    def _sign(self, asked: Sign) -> None:
        self.signs += 1
        signer = self.sim.signer_of(self.agent_id)
        if signer.refuses:
            self.sim.after(
                signer.delay_s, lambda: self.turn(lambda now: self.protocol.sign_failed(asked.request, "refused", now))
            )
            return
        signature = self.sim.sign(asked.challenge)
        self.sim.after(
            signer.delay_s, lambda: self.turn(lambda now: self.protocol.signed(asked.request, signature, now))
        )

    def _execute(self, event: CommandReceived) -> None:
        draw = self._rng.random()
        self._unfinished[event.command_id] = draw < _NEVER_ENDS
        if draw < _NEVER_ENDS:
            return
        if draw < 0.4:
            self._finish(event.command_id)  # while the outputs are drained
        else:
            delay_s = self._rng.uniform(0.01, 3.0) if draw < 0.9 else self._rng.uniform(3.0, 40.0)
            self.sim.after(delay_s, lambda: self._finish(event.command_id))

    def _finish(self, command_id: str) -> None:
        if self._unfinished.pop(command_id, None) is None or self.is_dead:
            return
        draw = self._rng.random()
        if draw < 0.7:
            result = {"n": "x" * self._rng.choice([1, 40, 3000])}
            self.turn(lambda now: self.protocol.respond(command_id, result, now))
        else:
            self.turn(lambda now: self.protocol.fail(command_id, "handler_error", "ValueError", now))
