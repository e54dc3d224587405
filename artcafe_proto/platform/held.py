"""What of a connection waits until something is stored (PLAT-5): responses, a 101, pongs and an orderly end.

A hub that keeps records gives its sessions these outputs. Of a link only its 101 and pongs wait: commands go out once
they are stored, and messages are not.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from artcafe_proto.effects import (
    AcceptUpgrade,
    Disconnect,
    SendBody,
    SendClose,
    SendPong,
    SendResponse,
    SendText,
)
from artcafe_proto.outputs import PlatformOutputs
from artcafe_proto.platform.answers import in_doubt
from artcafe_proto.platform.streams import KEEP_ALIVE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artcafe_proto.effects import PlatformSend
    from artcafe_proto.platform.links import Presence
    from artcafe_proto.policies.keeping import Keeping


class _Held(NamedTuple):
    barrier: int
    output: PlatformSend | Disconnect

    @property
    def size(self) -> int:
        match self.output:
            case SendText():
                return len(self.output.payload)
            case SendBody():
                return len(self.output.data)
            case SendResponse():
                return len(self.output.response.body)
            case _:
                return 0


class Holders:
    """The connections of a hub on which something is held."""

    def __init__(self) -> None:
        self.by_conn: Final[dict[int, HeldOutputs]] = {}
        self.newly: Final[dict[int, HeldOutputs]] = {}
        """Those that have not been looked at since the store stalled."""
        self.held_bytes: int = 0
        """Of payloads and bodies on all of them."""

    def add(self, outputs: HeldOutputs) -> None:
        """Something is held on a connection."""
        self.by_conn[outputs.conn] = self.newly[outputs.conn] = outputs

    def forget(self, conn: int) -> None:
        """Nothing is held on a connection any more."""
        self.by_conn.pop(conn, None)
        self.newly.pop(conn, None)

    def take_newly(self) -> list[HeldOutputs]:
        """Those to look at, as the store has stalled."""
        newly = list(self.newly.values())
        self.newly.clear()
        return newly

    def release(self) -> None:
        """More is stored: let go what waited for it. What still waits is looked at again if the store stalls again."""
        for outputs in list(self.by_conn.values()):
            outputs.release()
        self.newly.update(self.by_conn)


class HeldOutputs(PlatformOutputs):
    """The outputs of a connection, and those that are held."""

    __slots__ = ("_ends", "_held", "_holders", "_keeping", "_pongs", "_ready", "conn", "held_bytes", "presence")

    def __init__(self, conn: int, keeping: Keeping, holders: Holders) -> None:
        super().__init__()
        self.conn: int = conn
        self._ready = _Sends(self)
        self._ends = _Disconnects(self)
        self.sends: list[PlatformSend] = self._ready
        self.disconnects: list[Disconnect] = self._ends
        self.held_bytes: int = 0
        """Of payloads and bodies that are held."""
        self.presence: Presence | None = None
        """Whose link it is: a pong waits for what was stored last of its responses."""
        self._keeping = keeping
        self._holders = holders
        self._held: deque[_Held] = deque()
        self._pongs: list[tuple[int, SendPong]] = []

    @property
    def is_holding(self) -> bool:
        """Whether a response or a 101 waits, or what comes behind it."""
        return bool(self._held)

    @property
    def holds_link(self) -> bool:
        """Whether a link waits: for its 101, or for a pong."""
        return bool(self._pongs) or (bool(self._held) and isinstance(self._held[0].output, AcceptUpgrade))

    def send(self, send: PlatformSend) -> None:
        """What goes out on a link, behind its 101."""
        match send:
            case SendPong():
                self._pong(send)
            case SendClose():
                self._pass_with(send)
            case _:
                self._hold(0, send)

    def send_after(self, send: PlatformSend, batch: int) -> None:
        """Let a response, a 101 or a piece of a body go once a batch is stored, and what was sent before it has left.

        The comment of an event stream passes events that wait: it says that the stream is still there.
        """
        passes = isinstance(send, SendBody) and send.data is KEEP_ALIVE
        if passes and self._held and isinstance(self._held[0].output, SendBody):  # the head has left
            self._ready.let_go(send)
        else:
            self._hold(batch, send)

    def disconnect(self, output: Disconnect) -> None:
        """An orderly end waits for its turn; an abort waits for nothing."""
        if output.abort:
            self.discard()
        if self._held:
            self._hold(0, output)
        else:
            self._ends.let_go(output)

    def release(self) -> None:
        """More is stored: let go what waited for it, in its order."""
        stored = self._keeping.stored
        while self._held and self._held[0].barrier <= stored:
            self._let_go(self._held.popleft())
        while self._pongs and not self._held and self._pongs[0][0] <= stored:
            self._ready.let_go(self._pongs.pop(0)[1])
        if not self._held and not self._pongs:
            self._holders.forget(self.conn)

    def refuse(self) -> None:
        """The store has taken too long: whoever waits for a response is told that nothing is certain.

        What is held of a response that has begun stays, and what comes behind it. A link is closed instead.
        """
        while self._held and not self._has_begun(self._held[0]):
            held = self._held.popleft()
            if isinstance(held.output, SendResponse) and held.barrier > self._keeping.stored:
                refused = SendResponse(self.conn, held.output.exchange, in_doubt(held.output.response), False)
                self._count(-held.size)
                held = _Held(0, refused)
                self._count(held.size)
            self._let_go(held)
        if not self._held and not self._pongs:
            self._holders.forget(self.conn)

    def _has_begun(self, held: _Held) -> bool:
        """Whether it belongs to a response that goes on."""
        send = held.output
        return isinstance(send, SendBody) or (isinstance(send, SendResponse) and send.more)

    def discard(self) -> None:
        """The connection is over: nothing of what is held goes out on it."""
        self._held.clear()
        self._pongs.clear()
        self._count(-self.held_bytes)
        self._holders.forget(self.conn)

    def _hold(self, barrier: int, output: PlatformSend | Disconnect) -> None:
        if not self._held and barrier <= self._keeping.stored:
            self._pass(output)
            return
        held = _Held(barrier, output)
        self._count(held.size)
        self._held.append(held)
        self._holders.add(self)

    def _count(self, nbytes: int) -> None:
        self.held_bytes += nbytes
        self._holders.held_bytes += nbytes

    def _let_go(self, held: _Held) -> None:
        self._count(-held.size)
        self._pass(held.output)

    def _pass(self, output: PlatformSend | Disconnect) -> None:
        if isinstance(output, Disconnect):
            self._ends.let_go(output)
        else:
            self._ready.let_go(output)

    def _pong(self, pong: SendPong) -> None:
        """Of those that wait the first and the last are kept: a peer that pings all the time gets an answer, too."""
        barrier = 0 if self.presence is None else self.presence.outcome_batch
        if barrier <= self._keeping.stored and not self._held:
            self._pongs.clear()
            self._ready.let_go(pong)
        else:
            del self._pongs[1:]
            self._pongs.append((barrier, pong))
            self._holders.add(self)

    def _pass_with(self, close: SendClose) -> None:
        """A close frame is the last of a link: what is held before it is discarded, but for the handshake's answer."""
        accepts = [held.output for held in self._held if isinstance(held.output, AcceptUpgrade)]
        self.discard()
        for each in (*accepts, close):
            self._ready.let_go(each)


class _Sends(list["PlatformSend"]):
    """Where links append, as they do to a list."""

    def __init__(self, outputs: HeldOutputs) -> None:
        super().__init__()
        self._outputs = outputs

    def append(self, send: PlatformSend, /) -> None:
        self._outputs.send(send)

    def let_go(self, send: PlatformSend) -> None:
        super().append(send)

    def extend(self, sends: Iterable[PlatformSend], /) -> None:
        for send in sends:
            self._outputs.send(send)


class _Disconnects(list[Disconnect]):
    def __init__(self, outputs: HeldOutputs) -> None:
        super().__init__()
        self._outputs = outputs

    def append(self, disconnect: Disconnect, /) -> None:
        self._outputs.disconnect(disconnect)

    def let_go(self, disconnect: Disconnect) -> None:
        super().append(disconnect)
