"""Renewal: the next token is fetched while the link is up, on a connection of its own (TOK-2).

It is a second `Login` on a second `Dialer`, with waits of its own. Whatever becomes of it, the link goes on.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from artcafe_proto.agent.dialing import RENEWAL_DIAL, AgentTimer, Dialer, ExchangeKind
from artcafe_proto.agent.login import Login
from artcafe_proto.agent.states import AuthState
from artcafe_proto.events import RenewalFailed, RenewalStarted, TokenRenewed
from artcafe_proto.limits import RENEWAL_INTERVAL_S
from artcafe_proto.policies.backoff import Backoff, Reset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from artcafe_proto.agent.dialing import Exchange
    from artcafe_proto.agent.login import Keys
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.exchanges import HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.backoff import Failure
    from artcafe_proto.policies.tokens import Token
    from artcafe_proto.timers import Timers


class Renewal:
    """Fetches tokens one at a time; the caller says when, and what to do with them."""

    def __init__(
        self,
        config: AgentConfig,
        outputs: AgentOutputs,
        timers: Timers[AgentTimer],
        ids: Iterator[int],
        rng: Random,
        keys: Keys,
    ) -> None:
        self._outputs = outputs
        self.dialer: Final = Dialer(config, outputs, timers, ids, RENEWAL_DIAL)
        self._login = Login(config, outputs, timers, ids, self.dialer, AgentTimer.RENEW_SIGN, keys)
        self._backoff = Backoff(jitter=config.jitter, fixed_wait_growth=config.fixed_wait_growth, rng=rng)
        self._not_before = -math.inf

    def deadline(self, token: Token | None, mono: float) -> float | None:
        """When to begin; None while one is under way, or for a token of unknown life. Without a token it is now."""
        if self._login.state is not AuthState.NONE:
            return None
        wanted_at = mono if token is None else token.renew_at
        return None if wanted_at is None else max(wanted_at, self._not_before)

    def begin(self, token: Token | None, mono: float) -> None:
        """Ask for a challenge, to get the next token after `token`, or after one that was refused."""
        reason, clause = "the platform refused the token", "TOK-3"
        if token is not None and token.expires_at is not None:
            reason, clause = f"the token is usable for {max(token.expires_at - mono, 0):.0f} s more", "TOK-2"
        self._outputs.events.append(RenewalStarted(reason, clause))
        self._not_before = mono + RENEWAL_INTERVAL_S
        self._login.begin(mono)

    def answered(self, exchange: Exchange, response: HttpResponse, now: Instant) -> Token | None:
        """An exchange was answered; the new token, if that was the last one."""
        if exchange.kind is ExchangeKind.CHALLENGE:
            failure = self._login.challenged(exchange.request, response, now.mono)
        else:
            failure = self._login.verified(exchange.request, response, now)
        if failure is not None:
            self.fail(failure, now)
        if self._login.token is None:
            return None
        token = self._login.take_token()
        self.dialer.drop()
        self._backoff.reset(Reset.STABLE)
        self._outputs.events.append(TokenRenewed(token.life_s, token.renew_at, "TOK-2"))
        return token

    def signed(self, request: int, signature: bytes, mono: float) -> None:
        """A signature came, perhaps for this renewal."""
        self._login.signed(request, signature, mono)

    def sign_failed(self, request: int, reason: str, now: Instant) -> None:
        """A signer refused, perhaps for this renewal."""
        failure = self._login.sign_failed(request, reason)
        if failure is not None:
            self.fail(failure, now)

    def sign_timed_out(self, now: Instant) -> None:
        """The signer did not answer in time."""
        self.fail(self._login.sign_timed_out(), now)

    def start_over(self, mono: float) -> None:
        """The connection was dead before the verify (LINK-2): begin again at the challenge, at once."""
        self._login.abandon()
        self._login.begin(mono)

    def fail(self, failure: Failure, now: Instant) -> None:
        """This renewal has failed: wait as LINK-3 says, but for 10 s at least."""
        self.abandon()
        self._not_before = now.mono + max(self._backoff.wait_s(failure), RENEWAL_INTERVAL_S)
        self._outputs.events.append(RenewalFailed(failure.explanation, failure.clause, self._not_before))

    def abandon(self) -> None:
        """Give it up: nothing waits for it."""
        self._login.abandon()
        self.dialer.drop()
