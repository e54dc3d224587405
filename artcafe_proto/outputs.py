"""The queue between a machine and whoever drains it."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from artcafe_proto.effects import (
    AgentSend,
    Ask,
    Connect,
    Disconnect,
    PlatformAsk,
    PlatformSend,
    Send,
    SendPing,
    SendPong,
    SendText,
)
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.events import AgentEvent, Event, RequestArrived
from artcafe_proto.limits import MAX_UNDRAINED_OUTPUTS

A = TypeVar("A", bound=Ask)
S = TypeVar("S", bound=Send)
E = TypeVar("E", bound=Event)

_FRAMES: Final = (SendText, SendPing, SendPong)


class Outputs(Generic[A, S, E]):
    """Outputs in the order of a drain: events, what is asked of the world, what is sent, disconnects.

    Events come first, so that an application answering one while draining shares the write of everything else.
    The queues are short and empty most of the time: as lists they cost an idle connection next to nothing.
    """

    __slots__ = ("asks", "disconnects", "events", "sends")
    held_bytes = 0
    is_holding = False
    """Of what waits for a store, and whether anything does: a platform's affair."""

    def __init__(self) -> None:
        self.events: list[E] = []
        self.asks: list[A] = []
        self.sends: list[S] = []
        self.disconnects: list[Disconnect] = []

    def next(self) -> E | A | S | Disconnect | None:
        """Take out the next output, None when all are drained."""
        for queue in (self.events, self.asks, self.sends, self.disconnects):
            if queue:
                return queue.pop(0)
        return None

    def send_after(self, send: S, batch: int) -> None:
        """Send once a batch is stored, where anything is."""
        self.sends.append(send)

    def undrained_bytes(self, conn: int) -> int:
        """Payloads of frames for `conn` that nobody has been told of."""
        return sum(len(send.payload) for send in self.sends if isinstance(send, _FRAMES) and send.conn == conn)

    def take_back_sends(self, conn: int) -> None:
        """A connection is over: nothing goes out on it any more (LINK-9)."""
        self.sends = [send for send in self.sends if send.conn != conn]

    def take_back_connect(self, conn: int) -> bool:
        """Ask no more for a connection; False if that has gone out already."""
        for place, ask in enumerate(self.asks):
            if isinstance(ask, Connect) and ask.conn == conn:
                del self.asks[place]
                return True
        return False

    def check_drained(self) -> None:
        """Raise LocalProtocolError if the caller has stopped draining: outputs must not grow without bound."""
        waiting = len(self.events) + len(self.asks) + len(self.sends) + len(self.disconnects)
        if waiting > MAX_UNDRAINED_OUTPUTS:
            raise LocalProtocolError(f"{waiting} outputs are undrained: call next_output until None after every input")


AgentOutputs = Outputs[Ask, AgentSend, AgentEvent]
PlatformOutputs = Outputs[PlatformAsk, PlatformSend, RequestArrived]
