"""Virtual TCP connections: two directions that are FIFO and late, and everything a network can do to them."""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.testing.schedule import Schedule


class End(Protocol):
    """Who sits at an end of a circuit."""

    @property
    def wakes_at(self) -> float:
        """When its timer is due, in the schedule's time."""
        ...

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        """Bytes came in."""
        ...

    def eof_arrived(self, circuit: Circuit) -> None:
        """The other side has ended its direction."""
        ...

    def reset_arrived(self, circuit: Circuit, reason: str) -> None:
        """The connection is gone."""
        ...


class Chunking(Enum):
    """How a direction cuts what it carries."""

    WHOLE = "whole"
    BYTES = "single bytes"
    SPLIT = "split at random"
    MERGED = "merged"
    HALVED = "half at once, half after the receiver's next timer"


_FULL_BYTES: Final = 1 << 20
MERGE_S = 0.25
"""How long a merging direction collects what it carries."""


LONGEST_HALF_S: Final = 25.0
"""How long a halving direction holds back the second half at most; longer than any ping goes unanswered."""


AFTER_TIMER_S: Final = 0.001
"""How long after the receiver's timer the second half comes."""


HALVED_SHARE: Final = 0.25
"""How much of it a halving direction halves, so that something gets through."""


_SINGLES: Final = 8
"""How many bytes come alone at both ends of what is carried as single bytes; the time is better spent elsewhere."""


class _Item:
    __slots__ = ("arrives_at", "data", "reset")

    def __init__(self, arrives_at: float, data: bytes, reset: str = "") -> None:
        self.arrives_at = arrives_at
        self.data = data  # empty: the end of the direction
        self.reset = reset


class Direction:
    """One way. What is sent arrives in order, after `latency_s`, and not before `held_until`."""

    def __init__(self, circuit: Circuit, receiver: End, latency_s: float) -> None:
        self.circuit = circuit
        self.receiver = receiver
        self.latency_s = latency_s
        self.is_silent = False
        """Whether everything vanishes from now on, the end included (half-open)."""
        self.is_closed = False
        """Whether the receiver has left: nothing arrives any more."""
        self.is_paused: bool = False
        self.held_until: float = 0.0
        self.chunking = Chunking.WHOLE
        self.carried_bytes: int = 0
        self.bytes_per_s: float = math.inf
        """How much passes; more waits at the sender."""
        self.network_bytes_per_s: float = math.inf
        """How much the whole network lets pass."""
        self.full_until: float = 0.0
        """Until when the sender's transport is full of something else."""
        self._arrived_bytes = 0
        self._last_arrival = 0.0
        self._items: deque[_Item] = deque()

    @property
    def unsent_bytes(self) -> int:
        """What the sender's system has not had acknowledged, as its driver reports it (LINK-8)."""
        is_full = self.circuit.schedule.time < self.full_until
        return self.carried_bytes - self._arrived_bytes + (_FULL_BYTES if is_full else 0)

    def send(self, data: bytes, *, reset: str = "") -> None:
        """Carry `data` to the receiver; no data is the end of the direction, in an orderly way or by a reset."""
        if self.is_closed:
            return
        self.carried_bytes += len(data)
        if self.is_silent:
            return
        bytes_per_s = min(self.bytes_per_s, self.network_bytes_per_s)
        if bytes_per_s < math.inf and len(data) > (most := max(int(bytes_per_s), 1)):
            for start in range(0, len(data), most):
                self._send(data[start : start + most], reset)
        else:
            self._send(data, reset)

    def _send(self, data: bytes, reset: str) -> None:
        now = self.circuit.schedule.time
        merging_s = MERGE_S if self.chunking is Chunking.MERGED else 0.0
        begins_at = max(now + self.latency_s + merging_s, self.held_until, self._last_arrival)
        arrives_at = begins_at + len(data) / min(self.bytes_per_s, self.network_bytes_per_s)
        self._last_arrival = arrives_at
        self._items.append(_Item(arrives_at, data, reset))
        self.circuit.schedule.at(arrives_at, self._arrive)

    def be_fast(self) -> None:
        """What is sent from now on passes at once, behind what waits."""
        self.bytes_per_s = math.inf

    def resume(self) -> None:
        """The receiver reads again."""
        self.is_paused = False
        self.circuit.schedule.at(self.circuit.schedule.time, self._arrive)

    def _arrive(self) -> None:
        while self._items and self._items[0].arrives_at <= self.circuit.schedule.time:
            item = self._items[0]
            if item.reset:
                self._items.clear()
                if not self.is_closed:
                    self.receiver.reset_arrived(self.circuit, item.reset)
                return
            if self.is_paused:
                return
            self._items.popleft()
            self._arrived_bytes += len(item.data)
            if not item.data:
                if not self.is_closed:
                    self.receiver.eof_arrived(self.circuit)
                return
            if self.chunking is Chunking.MERGED:
                while self._items and self._items[0].arrives_at <= self.circuit.schedule.time and self._items[0].data:
                    item.data += self._items[0].data
                    self._arrived_bytes += len(self._items.popleft().data)
            elif self.chunking is Chunking.HALVED and self.circuit.rng.random() < HALVED_SHARE and len(item.data) > 1:
                self._hold_back_half(item)
            for piece in self._pieces(item.data):
                if self.is_closed:
                    return
                self.receiver.data_arrived(self.circuit, piece)

    def _hold_back_half(self, item: _Item) -> None:
        """The receiver's timer finds half of it: the rest comes right after that."""
        now = self.circuit.schedule.time
        half = len(item.data) // 2
        arrives_at = min(max(self.receiver.wakes_at, now), now + LONGEST_HALF_S) + AFTER_TIMER_S
        self._items.appendleft(_Item(arrives_at, item.data[half:]))
        self._arrived_bytes -= len(item.data) - half
        item.data = item.data[:half]
        self._last_arrival = max(self._last_arrival, arrives_at)
        self.circuit.schedule.at(arrives_at, self._arrive)

    def _pieces(self, data: bytes) -> list[bytes]:
        if self.chunking is Chunking.BYTES:
            singles = [data[place : place + 1] for place in range(len(data))]
            middle = b"".join(singles[_SINGLES:-_SINGLES])
            return [*singles[:_SINGLES], middle, *singles[-_SINGLES:]] if middle else singles
        if self.chunking is Chunking.SPLIT and len(data) > 1:
            cuts = sorted({0, len(data), *(self.circuit.rng.randrange(len(data)) for _ in range(3))})
            return [data[start:end] for start, end in pairwise(cuts)]
        return [data]


class Circuit:
    """A connection between a client and a server."""

    def __init__(
        self,
        client: End,
        server: End,
        *,
        schedule: Schedule,
        rng: Random,
        latency_s: float,
    ) -> None:
        self.schedule = schedule
        self.rng = rng
        self.client_conn = 0
        """Its number at the client."""
        self.server_conn = 0
        """Its number at the server."""
        self.up: Final = Direction(self, server, latency_s)
        """From client to server."""
        self.down: Final = Direction(self, client, latency_s)
        """From server to client."""

    def leave(self, mine: Direction, other: Direction, *, abort: bool) -> None:
        """The end that receives `mine` closes: it hears nothing more, and the other end learns of it."""
        if not mine.is_closed:
            mine.is_closed = True
            other.send(b"", reset="reset by peer" if abort else "")

    def cut(self, reason: str) -> None:
        """Both ends are told that the connection is gone; what is under way is lost."""
        for direction in (self.up, self.down):
            if not direction.is_closed and not direction.is_silent:
                self.schedule.at(self.schedule.time, lambda each=direction: self._lose(each, reason))

    def _lose(self, direction: Direction, reason: str) -> None:
        if not direction.is_closed:
            direction.is_closed = True
            direction.receiver.reset_arrived(self, reason)
