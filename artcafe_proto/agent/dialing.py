"""Connections and the exchanges on them: at most one of each at a time (LINK-1, LINK-2, LINK-8, LINK-9).

`ask` is all a caller needs: the dialer reuses the open connection where it may, and opens one where it must.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from artcafe_proto.agent.states import DIALING, DialInput, DialState
from artcafe_proto.effects import Connect, Disconnect, SendRequest, SendUpgrade
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.events import ExchangeRepeated
from artcafe_proto.exchanges import HttpRequest
from artcafe_proto.policies.backoff import Failure, FailureKind
from artcafe_proto.regions import Region

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artcafe_proto.config import AgentConfig, Origin
    from artcafe_proto.effects import ConnectPurpose
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.timers import Timers

__all__ = ["AgentTimer"]


class AgentTimer(IntEnum):
    """What an agent waits for. Where several are due at once, the first of these goes first."""

    HEARTBEAT = 1
    PING = 2
    STATUS = 3
    STALL = 4
    SETTLE = 5
    COMMANDS = 6
    DRAIN = 7
    CLOSE = 8
    CONNECT = 9
    EXCHANGE = 10
    SIGN = 11
    RETRY = 12
    RENEW = 13
    RENEW_CONNECT = 14
    RENEW_EXCHANGE = 15
    RENEW_SIGN = 16
    CALL = 17
    CALL_CONNECT = 18
    CALL_EXCHANGE = 19
    GIVE_UP = 20
    GRANT = 21
    STORE = 22


LINK_TIMERS: Final = (
    AgentTimer.HEARTBEAT,
    AgentTimer.PING,
    AgentTimer.STATUS,
    AgentTimer.STALL,
    AgentTimer.SETTLE,
    AgentTimer.CLOSE,
    AgentTimer.RENEW,
    AgentTimer.GRANT,
)
"""Those that end with the link."""


class Dial(NamedTuple):
    """What a dialer is for, and its two deadlines, which are its own (LINK-8)."""

    purpose: ConnectPurpose
    connect: AgentTimer
    exchange: AgentTimer


LINK_DIAL: Final = Dial("link", AgentTimer.CONNECT, AgentTimer.EXCHANGE)
RENEWAL_DIAL: Final = Dial("renewal", AgentTimer.RENEW_CONNECT, AgentTimer.RENEW_EXCHANGE)
CALL_DIAL: Final = Dial("call", AgentTimer.CALL_CONNECT, AgentTimer.CALL_EXCHANGE)


class ExchangeKind(Enum):
    """What an exchange is for."""

    CHALLENGE = "challenge"
    VERIFY = "verify"
    UPGRADE = "upgrade"
    CALL = "call"


class Loss(Enum):
    """What the end of a connection means (LINK-2). Common servers close idle connections; that must cost nothing."""

    HARMLESS = "harmless"
    """Nothing was asked on it; or it was reused and dead already, and the exchange is made once more on a new one."""
    START_OVER = "start over"
    """Likewise, but a verify is never repeated: authentication starts over at the challenge."""
    FAILURE = "failure"
    """The exchange has failed."""


class Exchange(msgspec.Struct, frozen=True, gc=False):
    """A request that went out, or is to go."""

    number: int
    kind: ExchangeKind
    request: HttpRequest


class Dialer:
    """One connection and one exchange on it. Ids are drawn from `ids`, so that no two are ever the same (LINK-9)."""

    def __init__(
        self,
        config: AgentConfig,
        outputs: AgentOutputs,
        timers: Timers[AgentTimer],
        ids: Iterator[int],
        dial: Dial,
    ) -> None:
        self._config = config
        self._outputs = outputs
        self._timers = timers
        self._dial = dial
        self._ids = ids
        self._exchange: Exchange | None = None
        self.conn: int | None = None
        """The connection, opening or open."""
        self._region = Region(DIALING)
        self._origin: Origin | None = None
        self._may_reuse = False
        self._is_reused = False
        self._heard = False
        self._reuse_failed = False

    @property
    def is_waiting(self) -> bool:
        """Whether what was asked has not gone out yet, for want of an open connection."""
        return self._exchange is not None and self._region.state is DialState.CONNECTING

    @property
    def is_unanswered(self) -> bool:
        """Whether a request went out unencrypted on a new connection, and not a byte came back."""
        is_plain = self._origin is not None and not self._origin.tls
        is_unanswered = self._region.state is DialState.EXCHANGING and not (self._heard or self._is_reused)
        return is_plain and is_unanswered

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, kind: ExchangeKind, request: HttpRequest, origin: Origin, mono: float) -> None:
        """Make an exchange, on the open connection if it is free, of this origin and known to live (LINK-1)."""
        self._exchange = Exchange(next(self._ids), kind, request)
        if self.conn is not None and self._origin == origin and self._may_reuse and not self._reuse_failed:
            self._is_reused = True
            self._send(self._exchange, mono)
        else:
            self.drop_connection()
            self.connect(origin, mono)

    def connect(self, origin: Origin, mono: float) -> None:
        """Open a connection: what was asked goes out on it, if anything was."""
        self.conn = next(self._ids)
        self._origin = origin
        self._region.fire(DialInput.DIAL)
        self._may_reuse = self._is_reused = False
        deadline = mono + self._config.connect_timeout
        self._timers.set(self._dial.connect, deadline)
        host, port, tls = origin.host, origin.port, origin.tls
        self._outputs.asks.append(Connect(self.conn, host, port, tls, deadline, self._dial.purpose))

    def check_tls(self, *, tls: bool) -> None:
        """Raise LocalProtocolError if the connection that is being opened is not to be of this kind (TOK-4)."""
        if self._region.state is DialState.CONNECTING and self._origin is not None and tls is not self._origin.tls:
            asked = "with verified TLS" if self._origin.tls else "without TLS"
            raise LocalProtocolError(
                f"expected a connection {asked}, as `Connect.tls` says, not `connected(tls={tls})`"
            )

    def connected(self, mono: float) -> None:
        """The connection is open: what was asked goes out."""
        if self._region.state is not DialState.CONNECTING:
            return
        self._region.fire(DialInput.CONNECTED)
        self._timers.cancel(self._dial.connect)
        if self._exchange is not None:
            self._send(self._exchange, mono)

    def _send(self, exchange: Exchange, mono: float) -> None:
        assert self.conn is not None
        self._region.fire(DialInput.ASK)
        self._heard = self._may_reuse = False
        upgrade = exchange.kind is ExchangeKind.UPGRADE
        timeout_s = self._config.upgrade_timeout if upgrade else self._config.exchange_timeout
        self._timers.set(self._dial.exchange, mono + timeout_s)
        send = SendUpgrade if upgrade else SendRequest
        self._outputs.sends.append(send(self.conn, exchange.number, exchange.request))

    # --- being answered -----------------------------------------------------------------------------------------------

    def heard(self) -> None:
        """Bytes came in: whatever happens now is no longer a reused connection that was already dead (LINK-2)."""
        self._heard = True

    def answered(self, exchange: int, *, reusable: bool) -> Exchange | None:
        """The exchange under way, as its answer came; None if `exchange` is not that one (LINK-9)."""
        current = self._exchange
        if current is None or current.number != exchange or self._region.state is not DialState.EXCHANGING:
            return None
        self._region.fire(DialInput.ANSWERED)
        self._exchange = None
        self._timers.cancel(self._dial.exchange)
        self._may_reuse = reusable
        return current

    def upgraded(self, exchange: int) -> bool:
        """The opening handshake under way succeeded; False if `exchange` is not that one (LINK-9)."""
        is_upgrade = self._exchange is not None and self._exchange.kind is ExchangeKind.UPGRADE
        return is_upgrade and self.answered(exchange, reusable=False) is not None

    def gone(self, mono: float) -> Loss:
        """The connection has ended by itself."""
        was_dead = self._is_reused and not self._heard
        state, origin, exchange = self._region.state, self._origin, self._exchange
        self._forget_connection()
        if state is DialState.OPEN:
            return Loss.HARMLESS
        if exchange is None or not was_dead:
            return Loss.FAILURE
        self._reuse_failed = True
        self._outputs.events.append(ExchangeRepeated(exchange.kind.value, "LINK-2"))
        if exchange.kind is ExchangeKind.VERIFY:
            return Loss.START_OVER
        assert origin is not None
        self.connect(origin, mono)
        return Loss.HARMLESS

    # --- letting go ---------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Leave the connection to a link."""
        self._forget_connection()
        self._reuse_failed = False

    def drop(self) -> None:
        """Give up the exchange and the connection."""
        self._exchange = None
        self.drop_connection()

    def drop_connection(self) -> None:
        """Close the connection; a later exchange opens a new one."""
        if self.conn is not None and not self._outputs.take_back_connect(self.conn):
            self._outputs.disconnects.append(Disconnect(self.conn, abort=True))
        self._forget_connection()

    def _forget_connection(self) -> None:
        self.conn = self._origin = None
        if self._region.state is not DialState.NONE:
            self._region.fire(DialInput.GONE)
        self._may_reuse = self._is_reused = False
        self._timers.cancel(self._dial.connect, self._dial.exchange)


def too_slow(reason: AgentTimer) -> Failure:
    """The failure that one of a dialer's two deadlines means (LINK-8)."""
    is_connect = reason in (LINK_DIAL.connect, RENEWAL_DIAL.connect, CALL_DIAL.connect)
    text = "connecting took too long" if is_connect else "the platform did not answer in time"
    return Failure(FailureKind.OTHER, text, "LINK-8")
