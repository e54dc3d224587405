"""How an agent gets a link: a token, a connection and the opening handshake (AUTH, TOK, LINK-1, LINK-2).

The joint rules say when to take the next step. What an attempt ended with is returned to them as a `Failure`; that of a
renewal, or of a call, costs no link and stays here.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from artcafe_proto.agent.authentication import upgrade_request
from artcafe_proto.agent.calls import Calls
from artcafe_proto.agent.dialing import LINK_DIAL, AgentTimer, Dialer, ExchangeKind, Loss, too_slow
from artcafe_proto.agent.login import Keys, Login
from artcafe_proto.agent.renewal import Renewal
from artcafe_proto.agent.states import AuthState
from artcafe_proto.effects import ConnectFailure
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.events import TokenReceived
from artcafe_proto.misuse import check_connected
from artcafe_proto.policies.backoff import Failure, FailureKind, ended_by_itself, failure_kind
from artcafe_proto.refusals import explain
from artcafe_proto.secrecy import Secretive

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.agent.dialing import Exchange
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.tokens import Token
    from artcafe_proto.timers import Timers

__all__ = ["ConnectFailure"]


class Connector(Secretive):
    """Three connections at most: for the login and the link after it, for renewals, and for calls."""

    __slots__ = (
        "_authenticates",
        "_calls",
        "_config",
        "_dialer",
        "_login",
        "_opened_with",
        "_outputs",
        "_renewal",
        "_retried_at_once",
    )

    def __init__(
        self,
        config: AgentConfig,
        outputs: AgentOutputs,
        timers: Timers[AgentTimer],
        rng: Random,
        *,
        authenticates: bool,
    ) -> None:
        """Unless it `authenticates`, a connection is a link as soon as it is open: nothing goes over HTTP."""
        ids = count(1)
        keys = Keys(config, outputs)
        self._config = config
        self._outputs = outputs
        self._authenticates = authenticates
        self._dialer = Dialer(config, outputs, timers, ids, LINK_DIAL)
        self._login = Login(config, outputs, timers, ids, self._dialer, AgentTimer.SIGN, keys)
        self._renewal = Renewal(config, outputs, timers, ids, rng, keys)
        self._calls = Calls(config, outputs, timers, ids)
        self._retried_at_once = False
        self._opened_with: Token | None = None
        """The token that the link was opened with, or is being opened."""

    # --- look ---------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> AuthState:
        """Where authentication stands."""
        return self._login.state if self._authenticates else AuthState.READY

    @property
    def is_at_rest(self) -> bool:
        """Whether an attempt may begin: no login is under way."""
        return self._login.state in (AuthState.NONE, AuthState.READY)

    @property
    def is_void(self) -> bool:
        """Whether the opening handshake that has not gone out would carry a token that was refused since (TOK-3)."""
        return self._login.token is None and self._dialer.is_waiting

    def owns(self, conn: int) -> bool:
        """Whether `conn` is one of its connections, and not over."""
        return self._dialer_of(conn) is not None

    def renewal_deadline(self, mono: float) -> float | None:
        """When `renew` begins, while a link is up that may lead to another (TOK-2)."""
        if not self._authenticates:
            return None
        return self._renewal.deadline(self._login.token, mono)

    @property
    def call_deadline(self) -> float | None:
        """When the first call has waited for long enough."""
        return self._calls.deadline

    # --- from the joint rules -----------------------------------------------------------------------------------------

    def attempt(self, mono: float) -> bool:
        """Take one step to a link (TOK-3): get a token, open with the one at hand, or drop it if it is too old. Whether
        a link is opening.
        """
        if not self._authenticates:
            self._dialer.connect(self._config.ws.origin, mono)
            return True
        token = self._login.token
        if token is None:
            self._login.begin(mono)
        elif token.usable(mono):
            token.used = True
            self._opened_with = token
            upgrade = upgrade_request(self._config, token)
            self._dialer.ask(ExchangeKind.UPGRADE, upgrade, self._config.ws.origin, mono)
            return True
        else:
            self._login.reject()
        return False

    def renew(self, mono: float) -> bool:
        """Begin to fetch the next token, if it is time (TOK-2)."""
        deadline = self.renewal_deadline(mono)
        if deadline is None or deadline > mono:
            return False
        self._renewal.begin(self._login.token, mono)
        return True

    def send_calls(self, mono: float) -> bool:
        """Make the first call that waits, as `Calls.send`."""
        return self._calls.send(self._login.token, mono)

    def stop_renewing(self) -> None:
        """No other link will be opened."""
        self._renewal.abandon()

    def drop(self) -> None:
        """Let go of every attempt and connection but the calls'; a token at hand stays."""
        self._renewal.abandon()
        self._login.abandon()
        self._dialer.drop()

    def end(self, reason: str, clause: str) -> None:
        """The agent is at its end: no call is answered any more."""
        self._calls.fail_all(reason, clause)

    def link_closed(self, failure: Failure) -> None:
        """The platform has closed the link. If that was for its token, the token is rejected (TOK-3)."""
        token = self._login.token
        if failure.kind is FailureKind.AUTHENTICATION and token is not None and token is self._opened_with:
            self._login.reject()

    def slept(self, seconds: float) -> None:
        """The monotonic clock stood still for so long: the token is older than it says (LINK-7)."""
        if self._login.token is not None:
            self._login.token.age(seconds)

    # --- from the application -----------------------------------------------------------------------------------------

    def check_room(self) -> None:
        """Raise LocalProtocolError if no call can be made, or too many wait."""
        if not self._authenticates:
            raise LocalProtocolError("expected an agent that authenticates: a call is a request with its token")
        self._calls.check_room()

    def call(self, request: Callable[[Token], HttpRequest], mono: float) -> int:
        """Queue a call; returns its number."""
        return self._calls.add(request, mono)

    def cancel_call(self, call: int) -> bool:
        """Give up a call. False if it is over."""
        return self._calls.cancel(call)

    # --- from the world -----------------------------------------------------------------------------------------------

    def check_connected(self, conn: int, *, tls: bool) -> None:
        """Raise LocalProtocolError if a connection was opened otherwise than it was asked for (TOK-4)."""
        check_connected(conn, tls)
        if (dialer := self._dialer_of(conn)) is not None:
            dialer.check_tls(tls=tls)

    def connected(self, conn: int, mono: float) -> bool:
        """A connection is open, and what was asked goes out on it. True if it is a link now, without a handshake."""
        dialer = self._dialer_of(conn)
        if dialer is None:
            return False
        dialer.connected(mono)
        if not self._authenticates:
            dialer.release()
        return not self._authenticates

    def heard(self, conn: int) -> None:
        """Bytes came in on `conn`."""
        if (dialer := self._dialer_of(conn)) is not None:
            dialer.heard()

    def gone(self, conn: int, reason: str, now: Instant) -> Failure | None:
        """A connection has ended by itself (LINK-2)."""
        dialer = self._dialer_of(conn)
        if dialer is None:
            return None
        if dialer.is_unanswered:
            reason = f"{reason} before it answered: if TLS is spoken there, the endpoint must begin with https://"
        loss = dialer.gone(now.mono)
        if loss is Loss.FAILURE:
            return self._failed_on(dialer, ended_by_itself(reason), now)
        if loss is Loss.START_OVER and dialer is self._dialer:
            self._login.abandon()  # the joint rules begin again, without a wait
        elif loss is Loss.START_OVER:
            self._renewal.start_over(now.mono)
        return None

    def connect_failed(self, conn: int, cause: ConnectFailure, detail: str, now: Instant) -> Failure | None:
        """A connection could not be opened."""
        dialer = self._dialer_of(conn)
        if dialer is None:
            return None
        dialer.gone(now.mono)
        return self._failed_on(dialer, Failure(FailureKind.OTHER, f"cannot connect ({cause}): {detail}", "LINK-3"), now)

    def peer_failed(self, conn: int, failure: Failure, now: Instant) -> Failure | None:
        """Nothing more can be read from a connection."""
        dialer = self._dialer_of(conn)
        return None if dialer is None else self._failed_on(dialer, failure, now)

    def response_received(self, conn: int, exchange: int, response: HttpResponse, now: Instant) -> Failure | None:
        """The answer to a request, or to an opening handshake that was refused."""
        dialer = self._dialer_of(conn)
        asked = None if dialer is None else dialer.answered(exchange, reusable=response.reusable)
        if asked is None:
            return None
        if asked.kind is ExchangeKind.CALL:
            refused = self._calls.answered(asked.request, response)
            if refused is not None and refused is self._login.token:
                self._login.reject()
            return None
        if dialer is self._renewal.dialer:
            token = self._renewal.answered(asked, response, now)
            if token is not None:
                self._login.renew(token)
            return None
        return self._answered(asked, response, now)

    def upgraded(self, conn: int, exchange: int) -> bool:
        """The opening handshake succeeded, and the connection is a link's. False if it was none of its own (LINK-9)."""
        if conn != self._dialer.conn or not self._dialer.upgraded(exchange):
            return False
        self._dialer.release()
        self._retried_at_once = False
        return True

    def signed(self, request: int, signature: bytes, mono: float) -> None:
        """A signature came, for a login or a renewal."""
        self._login.signed(request, signature, mono)
        self._renewal.signed(request, signature, mono)

    def sign_failed(self, request: int, reason: str, now: Instant) -> Failure | None:
        """There is no signature."""
        self._renewal.sign_failed(request, reason, now)
        return self._login.sign_failed(request, reason)

    def timer_due(self, timer: AgentTimer, now: Instant) -> Failure | None:
        """A deadline of its own has passed."""
        match timer:
            case AgentTimer.CONNECT | AgentTimer.EXCHANGE:
                return too_slow(timer)
            case AgentTimer.SIGN:
                return self._login.sign_timed_out()
            case AgentTimer.RENEW_CONNECT | AgentTimer.RENEW_EXCHANGE:
                self._renewal.fail(too_slow(timer), now)
            case AgentTimer.RENEW_SIGN:
                self._renewal.sign_timed_out(now)
            case AgentTimer.CALL_CONNECT | AgentTimer.CALL_EXCHANGE:
                self._failed_on(self._calls.dialer, too_slow(timer), now)
            case _:  # CALL
                self._calls.expire(now.mono)
        return None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _dialer_of(self, conn: int) -> Dialer | None:
        dialers = (self._dialer, self._renewal.dialer, self._calls.dialer)
        return next((dialer for dialer in dialers if dialer.conn is not None and dialer.conn == conn), None)

    def _failed_on(self, dialer: Dialer, failure: Failure, now: Instant) -> Failure | None:
        """What a dialer was busy with has failed; only the first one's matters to the link."""
        if dialer is self._dialer:
            return failure
        if dialer is self._renewal.dialer:
            self._renewal.fail(failure, now)
        else:
            self._calls.fail(failure.reason, failure.clause)
        return None

    def _answered(self, asked: Exchange, response: HttpResponse, now: Instant) -> Failure | None:
        if asked.kind is ExchangeKind.CHALLENGE:
            return self._login.challenged(asked.request, response, now.mono)
        if asked.kind is ExchangeKind.UPGRADE:
            return self._upgrade_refused(asked.request, response, now)
        failure = self._login.verified(asked.request, response, now)
        if self._login.token is not None:
            token = self._login.token
            self._outputs.events.append(TokenReceived(token.life_s, token.renew_at))
        return failure

    def _upgrade_refused(self, request: HttpRequest, response: HttpResponse, now: Instant) -> Failure:
        status, token = response.status, self._login.token
        at_once = False
        if status in (401, 403) and token is not None:
            was_expired = token.expires_at is not None and token.expires_at <= now.mono
            at_once = was_expired and not self._retried_at_once
            self._retried_at_once |= at_once
            self._login.reject()
        reason, kind = explain("upgrade", request, response), failure_kind("upgrade", status)
        return Failure(kind, reason, "LINK-3", response.retry_after_s, at_once=at_once)
