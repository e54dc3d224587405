"""The network of a simulation: it connects agents to the platform, or does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from artcafe_proto.testing.circuits import Chunking, Circuit
from artcafe_proto.testing.rogues import Rogue

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.effects import Connect
    from artcafe_proto.testing.agents import AgentProcess
    from artcafe_proto.testing.nodes import Stage
    from artcafe_proto.testing.platforms import PlatformProcess


class Network:
    """All circuits, and what is the matter with them. Times are the simulation's."""

    def __init__(
        self, sim: Stage, platform: PlatformProcess, processes: Callable[[], list[AgentProcess]], rng: Random
    ) -> None:
        """`processes`: gives the living ones, in the order in which they were started."""
        self._sim = sim
        self._platform = platform
        self._processes = processes
        self._rng = rng
        self.latency_s: float = sim.world.latency_s
        self.refuses_until: float = 0.0
        self.swallows_until: float = 0.0
        self.rogue = ""
        self.rogue_until: float = 0.0
        self._chunking = Chunking.WHOLE
        self._chunking_until = 0.0
        self._held_until = 0.0
        self._bytes_per_s = math.inf

    def connect(self, process: AgentProcess, asked: Connect) -> None:
        """Do as a driver and a network do together: exactly one answer, in time."""
        sim, conn = self._sim, asked.conn
        if sim.time < self.swallows_until:
            at = max(asked.deadline - process.mono_offset_s, sim.time)
            sim.schedule.at(at, lambda: process.connect_failed(conn, "timeout"))
        elif self.refuses:
            sim.after(2 * self.latency_s, lambda: process.connect_failed(conn, "refused"))
        else:
            round_trips = 2 if asked.tls else 1
            sim.after(2 * self.latency_s * round_trips, lambda: self._open(process, asked))

    @property
    def refuses(self) -> bool:
        """Whether nobody listens at the platform's address."""
        return self._sim.time < self.refuses_until or not self._platform.is_listening

    def _open(self, process: AgentProcess, asked: Connect) -> None:
        sim = self._sim
        if process.is_dead or not process.is_wanted(asked.conn):
            return
        rogue = Rogue(self.rogue) if sim.time < self.rogue_until else None
        if rogue is None and not self._platform.is_listening:
            process.connect_failed(asked.conn, "refused")
            return
        server = self._platform if rogue is None else rogue
        circuit = Circuit(process, server, schedule=sim.schedule, rng=self._rng, latency_s=self.latency_s)
        self._affect(circuit)
        if rogue is None:
            self._platform.accept(circuit)
        process.opened(asked, circuit)

    def rechunk(self, chunking: Chunking, until: float) -> None:
        """Cut differently from now on, on every circuit."""
        self._chunking, self._chunking_until = chunking, until
        self._affect_all()
        self._sim.schedule.at(until, self._affect_all)

    def stall(self, until: float) -> None:
        """Carry nothing for a while; nothing is lost."""
        self._held_until = max(self._held_until, until)
        self._affect_all()

    def narrow(self, bytes_per_s: float) -> None:
        """Carry no more than this, each way on each circuit, from now on."""
        self._bytes_per_s = bytes_per_s
        self._affect_all()

    def calm(self) -> None:
        """Nothing is the matter any more; circuits that fell silent remain so, and what waits for a slow line waits."""
        self._bytes_per_s = math.inf
        self.refuses_until = self.swallows_until = self.rogue_until = 0.0
        self._chunking_until = 0.0
        for circuit in self._circuits():
            circuit.up.be_fast()
            circuit.down.be_fast()
        self._affect_all()

    def _circuits(self) -> list[Circuit]:
        return [circuit for process in self._processes() for circuit in process.circuits.values()]

    def _affect_all(self) -> None:
        for circuit in self._circuits():
            self._affect(circuit)

    def _affect(self, circuit: Circuit) -> None:
        chunking = self._chunking if self._sim.time < self._chunking_until else Chunking.WHOLE
        for direction in (circuit.up, circuit.down):
            direction.chunking = chunking
            direction.held_until = max(direction.held_until, self._held_until)
            direction.network_bytes_per_s = self._bytes_per_s
