"""Who uses a platform's HTTP interface in a simulation: requests of a tenant and of agents, and listening to events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, assert_never

from artcafe_proto.testing.calls import Calls
from artcafe_proto.testing.circuits import Chunking, Circuit
from artcafe_proto.testing.invariants.calls import Call, Listening
from artcafe_proto.testing.responses import Begun, Ended, Piece, ResponseReader

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.testing.whole import Whole

_LEAVES: Final = 0.15
_ENDS_ITS_SIDE: Final = 0.1
_DOES_NOT_READ: Final = 0.1
"""How likely each is, whenever it would have asked for something but still waits or listens."""


class Caller:
    """One connection at a time, one request at a time; what it asks for is drawn, one thing in `gap_s` on average."""

    wakes_at: float = math.inf
    """It has no timer of its own."""

    def __init__(self, sim: Whole, rng: Random, *, gap_s: float) -> None:
        self._sim = sim
        self._rng = rng
        self._gap_s = gap_s
        self._calls = Calls(sim, rng)
        self._circuit: Circuit | None = None
        self._reader = ResponseReader()
        self._status = 0
        self._body = bytearray()
        self.call: Call | None = None
        """What it waits for."""
        self.listening: Listening | None = None
        """The event stream that has begun as the response to it."""
        self._go_on_later()

    @property
    def is_waiting(self) -> bool:
        """Whether a response has to come."""
        return self.call is not None and self.listening is None

    # --- what it does -------------------------------------------------------------------------------------------------

    def _go_on_later(self) -> None:
        self._sim.after(self._rng.expovariate(1 / self._gap_s), self._go_on)

    def _go_on(self) -> None:
        if self._sim.is_calm:
            return
        self._go_on_later()
        if self._circuit is not None:
            self._change_its_mind(self._circuit)
        if self.call is None:
            self._ask()

    def _change_its_mind(self, circuit: Circuit) -> None:
        draw = self._rng.random()
        if draw < _LEAVES:
            self._leave(circuit, abort=draw < _LEAVES / 3)
        elif self.call is None:
            return
        elif draw < _LEAVES + _ENDS_ITS_SIDE:
            self.call.has_ended_side = True
            circuit.up.send(b"")
        elif self.listening is not None and draw < _LEAVES + _ENDS_ITS_SIDE + _DOES_NOT_READ:
            self.listening.has_not_read = True
            self._sim.platform.congest([circuit], self._rng.uniform(1.0, 30.0))

    def _ask(self) -> None:
        sim, network = self._sim, self._sim.network
        if self._circuit is None and (network.refuses or sim.time < network.swallows_until):
            return
        circuit = self._circuit or self._connect()
        self.call = call = self._calls.draw()
        call.asked_at = sim.time
        sim.told("caller", f"{call.method} {call.target}")
        fields = [("host", "localhost"), ("content-length", f"{len(call.body)}"), *call.headers]
        lines = [f"{call.method} {call.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        request = "\r\n".join([*lines, "", ""]).encode() + call.body
        sim.invariants.stored.asked(circuit.server_conn, call, len(request))
        circuit.up.send(request)

    def _connect(self) -> Circuit:
        sim, rng = self._sim, self._rng
        self._reader = ResponseReader()
        self._circuit = Circuit(self, sim.platform, schedule=sim.schedule, rng=rng, latency_s=sim.world.latency_s)
        self._circuit.up.chunking = rng.choice((Chunking.WHOLE, Chunking.BYTES, Chunking.SPLIT))
        self._circuit.down.chunking = rng.choice((Chunking.WHOLE, Chunking.BYTES, Chunking.SPLIT))
        sim.platform.accept(self._circuit)
        return self._circuit

    def _leave(self, circuit: Circuit, *, abort: bool) -> None:
        circuit.leave(circuit.down, circuit.up, abort=abort)
        self._circuit = self.call = self.listening = None

    # --- what it hears ------------------------------------------------------------------------------------------------

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        """From its circuit."""
        calls = self._sim.invariants.calls
        calls.is_expected(self.call, data)
        try:
            for heard in self._reader.receive(data, to_head=self.call is not None and self.call.method == "HEAD"):
                self._hear(heard)
        except ValueError as error:
            calls.odd(str(error))
        if self.call is None:
            calls.is_expected(None, self._reader.unread)

    def eof_arrived(self, circuit: Circuit) -> None:
        """The platform has ended the connection, and with it a response that is not whole."""
        self._leave(circuit, abort=False)

    def reset_arrived(self, circuit: Circuit, reason: str) -> None:
        """The connection is gone."""
        self._leave(circuit, abort=True)

    def _hear(self, heard: Begun | Piece | Ended) -> None:
        call = self.call
        assert call is not None, "a response is read while it is expected"
        match heard:
            case Begun(status=status):
                self._status, self._body = status, bytearray()
                self._sim.told("caller", f"is answered {status}")
                self._sim.invariants.calls.answered(call, status)
                self.listening = Listening(call, self._sim.time) if call.listens else None
            case Piece(data=data) if self.listening is not None:
                self._sim.invariants.calls.came(self.listening, data)
                self._calls.last_event_id = self.listening.last_id
            case Piece(data=data):
                self._body += data
            case Ended():
                self.call = self.listening = None
                call.heard(self._status, bytes(self._body))
            case _:
                assert_never(heard)
