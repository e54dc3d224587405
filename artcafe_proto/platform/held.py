"""What of a connection waits until something is stored (PLAT-5): responses, messages, pongs and an orderly end.

A hub that keeps records gives its sessions these outputs. What does not have to wait, a ping or the answer to a token
that is wrong, passes what does.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from artcafe_proto.effects import (
    AcceptUpgrade,
    Disconnect,
    SendBody,
    SendClose,
    SendPing,
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
        """Those on which something is held since the hub looked last, and the store had stalled."""
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

    __slots__ = (
        "_ends",
        "_held",
        "_holders",
        "_keeping",
        "_pongs",
        "_ready",
        "conn",
        "held_bytes",
        "presence",
        "waits_for",
    )

    def __init__(self, conn: int, keeping: Keeping, holders: Holders) -> None:
        super().__init__()
        self.conn: int = conn
        self.sends = self._ready = _Sends(self)
        self.disconnects = self._ends = _Disconnects(self)
        self.held_bytes: int = 0
        """Of payloads and bodies that are held."""
        self.presence: Presence | None = None
        """Whose link it is: a pong waits for what was stored last of its responses."""
        self.waits_for: int | None = None
        """The batch that the next send waits for, if it is not all that was put so far."""
        self._keeping = keeping
        self._holders = holders
        self._held: deque[_Held] = deque()
        self._pongs: list[tuple[int, SendPong]] = []

    @property
    def holds_link(self) -> bool:
        """Whether a link waits: for its 101, or for a pong."""
        return bool(self._pongs) or (bool(self._held) and isinstance(self._held[0].output, AcceptUpgrade))

    @property
    def holds_response(self) -> bool:
        """Whether something of a response waits."""
        return bool(self._held)

    def send(self, send: PlatformSend) -> None:
        """Let a send go, or hold it."""
        barrier, self.waits_for = self._keeping.barrier if self.waits_for is None else self.waits_for, None
        match send:
            case SendPing():
                self._ready.let_go(send)
            case SendBody() if send.data == KEEP_ALIVE:
                self._ready.let_go(send)
            case SendPong():
                self._pong(send)
            case SendClose():
                self._pass_with(send)
            case _:
                self._hold(barrier, send)

    def disconnect(self, output: Disconnect) -> None:
        """An orderly end waits for its turn; an abort waits for nothing."""
        if output.abort:
            self.discard()
        if self._held:
            self._hold(0, output)
        else:
            self._ends.let_go(output)

    def undrained_bytes(self, conn: int) -> int:
        """Payloads of frames that nobody has been told of, those that are held included."""
        held = sum(each.size for each in self._held if isinstance(each.output, SendText))
        return super().undrained_bytes(conn) + held

    def release(self) -> None:
        """More is stored: let go what waited for it, in its order."""
        stored = self._keeping.stored
        while self._pongs and self._pongs[0][0] <= stored:
            self._ready.let_go(self._pongs.pop(0)[1])
        while self._held and self._held[0].barrier <= stored:
            self._let_go(self._held.popleft())
        if not self._held and not self._pongs:
            self._holders.forget(self.conn)

    def refuse(self) -> None:
        """The store has taken too long: whoever waits for a response is told that nothing is certain.

        What is held of a response that has begun stays, and what comes behind it. A link is closed instead.
        """
        while self._held and not isinstance(self._held[0].output, SendBody | SendText):
            held = self._held.popleft()
            if isinstance(held.output, SendResponse) and not held.output.more:
                refused = SendResponse(self.conn, held.output.exchange, in_doubt(held.output.response), False)
                self._count(-held.size)
                held = _Held(0, refused)
                self._count(held.size)
            self._let_go(held)
        if not self._held and not self._pongs:
            self._holders.forget(self.conn)

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
        if barrier <= self._keeping.stored:
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


def let_wait_for(outputs: PlatformOutputs, batch: int) -> None:
    """The next send waits for this batch alone, where anything is held at all; for nothing if it is 0."""
    if isinstance(outputs, HeldOutputs):
        outputs.waits_for = batch


def is_holding(outputs: PlatformOutputs) -> bool:
    """Whether something of a response waits, for some batch."""
    return isinstance(outputs, HeldOutputs) and outputs.holds_response


class _Sends(list["PlatformSend"]):
    """Where sessions append, as they do to a list."""

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
