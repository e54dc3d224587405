"""How a token is got: challenge, signature, verify (AUTH). One `Region`, driven by its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.agent.authentication import challenge_request, read_challenge, read_verdict, verify_request
from artcafe_proto.agent.dialing import ExchangeKind
from artcafe_proto.agent.states import AUTHENTICATION, AuthInput, AuthState
from artcafe_proto.effects import CancelSign, Sign
from artcafe_proto.events import KeyChanged
from artcafe_proto.policies.backoff import Failure, FailureKind
from artcafe_proto.regions import Region
from artcafe_proto.secrecy import Secretive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from artcafe_proto.agent.dialing import AgentTimer, Dialer
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.tokens import Token
    from artcafe_proto.timers import Timers


class Keys:
    """Which of the agent's keys is to sign. Shared by all logins: what one learns of a key, the next one knows."""

    def __init__(self, config: AgentConfig, outputs: AgentOutputs) -> None:
        self._config = config
        self._outputs = outputs
        self.current: int = 0

    def refused(self, key: int, failure: Failure) -> None:
        """The platform did not accept a signature of `key`: the other one is next, if there is one."""
        if self._config.next_key and key == self.current:
            self.current = 1 - key
            key_id = self._config.next_key_id if self.current else self._config.key_id
            self._outputs.events.append(KeyChanged(self.current, key_id, failure.reason, "AUTH-6"))


class Login(Secretive):
    """Authentication on one dialer. `token` is there exactly while the state is READY."""

    __slots__ = (
        "_challenge",
        "_config",
        "_dialer",
        "_ids",
        "_key",
        "_keys",
        "_outputs",
        "_region",
        "_sign_request",
        "_sign_timer",
        "_timers",
        "token",
    )

    def __init__(
        self,
        config: AgentConfig,
        outputs: AgentOutputs,
        timers: Timers[AgentTimer],
        ids: Iterator[int],
        dialer: Dialer,
        sign_timer: AgentTimer,
        keys: Keys,
    ) -> None:
        self._config = config
        self._outputs = outputs
        self._timers = timers
        self._ids = ids
        self._dialer = dialer
        self._sign_timer = sign_timer
        self._keys = keys
        self._region = Region(AUTHENTICATION)
        self._challenge = ""
        self._key = 0
        self._sign_request: int | None = None
        self.token: Token | None = None

    @property
    def state(self) -> AuthState:
        """Where authentication stands."""
        return self._region.state

    def begin(self, mono: float) -> None:
        """Ask for a challenge."""
        self._region.fire(AuthInput.BEGIN)
        self._dialer.ask(ExchangeKind.CHALLENGE, challenge_request(self._config), self._config.api.origin, mono)

    def challenged(self, request: HttpRequest, response: HttpResponse, mono: float) -> Failure | None:
        """The challenge came: have it signed (AUTH-6)."""
        challenge = read_challenge(request, response)
        if isinstance(challenge, Failure):
            return challenge
        self._region.fire(AuthInput.CHALLENGED)
        self._challenge = challenge
        self._key = self._keys.current
        self._sign_request = next(self._ids)
        deadline = mono + self._config.sign_timeout
        self._timers.set(self._sign_timer, deadline)
        self._outputs.asks.append(Sign(self._sign_request, challenge, deadline, self._key))
        return None

    def signed(self, request: int, signature: bytes, mono: float) -> None:
        """The signature came: send it. That of another request is not this login's (LINK-9)."""
        if not self._take_sign_request(request):
            return
        self._region.fire(AuthInput.SIGNED)
        verify = verify_request(self._config, self._key, self._challenge, signature)
        self._challenge = ""
        self._dialer.ask(ExchangeKind.VERIFY, verify, self._config.api.origin, mono)

    def sign_failed(self, request: int, reason: str) -> Failure | None:
        """The signer refused; None if that was another request (LINK-9)."""
        if not self._take_sign_request(request):
            return None
        return Failure(FailureKind.AUTHENTICATION, f"signing the challenge failed: {reason}", "AUTH-6")

    def sign_timed_out(self) -> Failure:
        """The signer did not answer in time (AUTH-6)."""
        reason = f"signing the challenge took longer than {self._config.sign_timeout:g} s"
        return Failure(FailureKind.AUTHENTICATION, reason, "AUTH-6")

    def verified(self, request: HttpRequest, response: HttpResponse, now: Instant) -> Failure | None:
        """The verdict came: keep the token."""
        token = read_verdict(request, response, now)
        if isinstance(token, Failure):
            if token.kind is FailureKind.AUTHENTICATION:
                self._keys.refused(self._key, token)
            return token
        self._region.fire(AuthInput.GRANTED)
        self.token = token
        return None

    def take_token(self) -> Token:
        """Hand the token over and be ready for the next login."""
        token = self.token
        assert token is not None
        self._region.fire(AuthInput.TAKEN)
        self.token = None
        return token

    def renew(self, token: Token) -> None:
        """Go on with a token that was fetched elsewhere (TOK-2)."""
        self._region.fire(AuthInput.RENEWED)
        self.token = token

    def reject(self) -> None:
        """The token is of no use any more (TOK-3)."""
        self._region.fire(AuthInput.REJECTED)
        self.token = None

    def abandon(self) -> None:
        """Give the login up, wherever it is; a token at hand stays."""
        if self._sign_request is not None:
            self._outputs.asks.append(CancelSign(self._sign_request))
            self._sign_request = None
            self._timers.cancel(self._sign_timer)
        if self.state not in (AuthState.NONE, AuthState.READY):
            self._region.fire(AuthInput.FAILED)

    def _take_sign_request(self, request: int) -> bool:
        if self._sign_request is None or request != self._sign_request:
            return False
        self._sign_request = None
        self._timers.cancel(self._sign_timer)
        return True
