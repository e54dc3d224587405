"""Challenges, signatures and tokens, the platform's side (AUTH-8, TOK-5, TOK-6)."""

from __future__ import annotations

from base64 import b64decode
from math import ceil
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from artcafe_proto.errors import ApiError, RemoteProtocolError
from artcafe_proto.events import AgentAuthenticated, AuthenticationRefused, ChallengeIssued
from artcafe_proto.exchanges import ascii_lower, trimmed
from artcafe_proto.instants import format_timestamp
from artcafe_proto.limits import CHALLENGE_LIFE_S, MAX_ID_CHARS
from artcafe_proto.platform.answers import BEARER_CHALLENGE, json_answer, read_json
from artcafe_proto.policies.challenges import ChallengeBook
from artcafe_proto.policies.decoys import decoy_for
from artcafe_proto.policies.rate_limits import RateLimit
from artcafe_proto.policies.signatures import without_armour
from artcafe_proto.policies.token_issuer import TokenIssuer, has_form_of_token
from artcafe_proto.secrecy import Secretive, forgetful

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.config import PlatformConfig
    from artcafe_proto.events import HubEvent
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.platform.records import AgentRecord
    from artcafe_proto.platform.registry import Registry
    from artcafe_proto.platform.state import Key

__all__ = ["Principal"]


class Principal(NamedTuple):
    """Who makes a request (PLAT-1): a tenant, or one of its agents by one of its keys."""

    tenant_id: str
    agent_id: str | None = None
    key_id: str | None = None


class _ChallengeBody(msgspec.Struct, frozen=True, gc=False):
    agent_id: str


class _VerifyBody(msgspec.Struct, frozen=True, gc=False):
    tenant_id: str
    agent_id: str
    challenge: str
    response: str
    key_id: str | None = None


class Authenticator(Secretive):
    """Answers challenge and verify requests, and tells who sent a request."""

    def __init__(
        self,
        config: PlatformConfig,
        registry: Registry,
        emit: Callable[[HubEvent], None],
        *,
        signing_seed: bytes,
        rng: Random,
    ) -> None:
        self._registry = registry
        self._emit = emit
        self._rng = rng
        self._allow_sha1 = config.allow_sha1
        self._compat = config.compat
        self._book = ChallengeBook(rng.randbytes(32))
        self._by_address = RateLimit(config.auth_rate_by_address, config.auth_burst_by_address)
        self._by_agent = RateLimit(config.auth_rate_by_agent, config.auth_burst_by_agent)
        self._issuer = TokenIssuer(signing_seed, issuer=config.issuer, life_s=config.token_life)

    def challenge(self, request: HttpRequest, address: str | None, now: Instant) -> HttpResponse:
        """AUTH-1. An unknown agent gets a challenge too, so that nothing can be enumerated (AUTH-8).

        Raises ApiError 429 if `address`, as `network_of` has it, or that in the name of this agent, tries too often.
        """
        agent_id = read_json(request, _challenge_decoder).agent_id
        self._limit(address, agent_id, now)
        if not 1 <= len(agent_id) <= MAX_ID_CHARS:
            raise ApiError(422, "invalid_agent_id", f"expected an agent_id of 1 to {MAX_ID_CHARS} characters")
        agent = self._registry.find(agent_id)
        tenant_id = "" if agent is None else agent.tenant_id
        challenge = self._book.issue(agent_id, tenant_id, self._rng.randbytes(32), now.mono)
        self._emit(ChallengeIssued(agent_id))
        return json_answer(200, {"challenge": challenge, "expires_at": format_timestamp(now.wall + CHALLENGE_LIFE_S)})

    @forgetful
    def verify(self, request: HttpRequest, address: str | None, now: Instant) -> HttpResponse:
        """AUTH-3, AUTH-7: a token for a right signature, and the same failure for everything else.

        Raises ApiError 429 as `challenge`.
        """
        body = read_json(request, _verify_decoder)
        self._limit(address, body.agent_id, now)
        found = self._verified_key(body, address, now)
        if isinstance(found, str):
            self._emit(AuthenticationRefused(body.agent_id[:MAX_ID_CHARS], found, "AUTH-8"))
            error = {"code": "authentication_failed", "message": "the signature was not accepted"}
            return json_answer(401, {"valid": False, "error": error}, BEARER_CHALLENGE)
        key, algorithm = found
        token = self._issuer.issue(
            agent_id=body.agent_id,
            tenant_id=body.tenant_id,
            key_id=key.key_id,
            jti=f"{self._rng.getrandbits(128):032x}",
            wall=now.wall,
        )
        self._emit(AgentAuthenticated(body.agent_id, key.key_id, algorithm))
        return json_answer(200, {"valid": True, "token": token})

    def _limit(self, address: str | None, agent_id: str, now: Instant) -> None:
        """Raise ApiError 429 for too many attempts (PLAT-8), whether or not there is such an agent (AUTH-8).

        One that is refused does not count: an agent that tries too often takes nothing from those behind its address.
        """
        if address is None:
            return
        pair = (address, agent_id[:MAX_ID_CHARS])
        _check_wait(max(self._by_address.wait_s(address, now.mono), self._by_agent.wait_s(pair, now.mono)))
        self._by_address.take(address, now.mono)
        self._by_agent.take(pair, now.mono)

    def _verified_key(self, body: _VerifyBody, address: str | None, now: Instant) -> tuple[Key, str] | str:
        """The key that made the signature and its algorithm, or the reason, for the operator, why no key did.

        What is not there is looked for all the same, lest the time it takes tell who is registered (AUTH-8).
        """
        self._book.check_room(now.mono, address)
        agent = self._registry.find(body.agent_id)
        if agent is not None and agent.tenant_id != body.tenant_id:
            agent = None
        tenant_id = body.tenant_id if agent is not None else f"\0{body.tenant_id}"  # to which no challenge is bound
        is_ours = self._book.consume(body.challenge, body.agent_id, tenant_id, now.mono, address)
        try:
            signature = without_armour(b64decode(body.response, validate=True))
        except ValueError:
            return "the response is not base64"
        key_id = None if self._compat and body.key_id == body.agent_id else body.key_id
        known = () if agent is None else self._registry.keys(agent.agent_id)
        keys = [key for key in known if key_id in (None, key.key_id)]
        made_by = self._made_by(keys, signature, body.challenge.encode("utf-8", "surrogatepass"))
        if agent is None:
            return "no such agent"
        if not is_ours:
            return "the challenge is not one of ours, has expired, or was used before"
        return made_by or "no active key of the agent made this signature"

    def _made_by(self, keys: list[Key], signature: bytes, signed: bytes) -> tuple[Key, str] | None:
        """Which key made a signature, by which algorithm. What none of them could have made takes no less time.

        No key is tried whose signatures have another shape: anyone may ask for this work.
        """
        decoy, sha1 = decoy_for(signature), self._allow_sha1
        fitting = [key for key in keys if key.public_key.could_have_made(signature, allow_sha1=sha1)]
        if not fitting:
            decoy.verify(signature, signed, allow_sha1=sha1)
        for key in fitting:
            algorithm = key.public_key.verify(signature, signed, allow_sha1=sha1)
            if algorithm is not None:
                return key, algorithm
        return None

    @forgetful
    def principal(self, request: HttpRequest, now: Instant, address: str | None = None) -> Principal:
        """Who makes a request (PLAT-1), by its header alone: a query is written into logs.

        Raises ApiError: 401, 400 for two such headers, and 429 if too many attempts of `address` have failed.
        """
        values = [value for name, value in request.headers if name == "authorization"]
        if len(values) > 1:
            raise ApiError(400, "bad_request", "expected one header Authorization, found several")
        scheme, _, token = "".join(values).partition(" ")
        token = trimmed(token)
        if ascii_lower(scheme) != "bearer" or not token:
            raise ApiError(401, "unauthorized", "expected the header Authorization: Bearer TOKEN")
        if not has_form_of_token(token):
            return Principal(self._tenant(token, address, now))
        try:
            claims = self._issuer.check(token, now.wall)
        except RemoteProtocolError:
            raise ApiError(401, "invalid_token", _NOT_VALID) from None
        agent = self._registry.find(claims.agent_id)
        if agent is None or agent.tenant_id != claims.tenant_id or not self._registry.has_key(agent, claims.key_id):
            raise ApiError(401, "invalid_token", _NOT_VALID)  # TOK-6
        return Principal(claims.tenant_id, claims.agent_id, claims.key_id)

    def _tenant(self, token: str, address: str | None, now: Instant) -> str:
        """Whose token it is. It is a password, and so an address is limited as one agent's name is (PLAT-8).

        Failures alone count, and not those of agents' tokens: these cannot be guessed, and a fleet may bring old ones.
        """
        pair = (address, None)
        if address is not None:
            _check_wait(self._by_agent.wait_s(pair, now.mono))
        tenant_id = self._registry.tenant_of(token)
        if tenant_id is None:
            if address is not None:
                self._by_agent.take(pair, now.mono)
            raise ApiError(401, "invalid_token", _NOT_VALID)
        return tenant_id

    def linking_agent(
        self, request: HttpRequest, agent_id: str, address: str | None, now: Instant
    ) -> tuple[AgentRecord, str]:
        """The agent that may open the link of `agent_id`, and its key's id. Raises ApiError 403, and as `principal`."""
        try:
            principal = self.principal(request, now, address)
            agent = self._registry.find(agent_id)
            if agent is None or principal.key_id is None or principal.agent_id != agent_id:
                raise ApiError(403, "forbidden", "a link is opened with the token of its own agent")
        except ApiError as error:
            self._emit(AuthenticationRefused(agent_id[:MAX_ID_CHARS], error.message, "TOK-5"))
            raise
        return agent, principal.key_id


def _check_wait(wait_s: float) -> None:
    """Raise ApiError 429 where there is something to wait for."""
    if wait_s > 0:
        message = f"too many attempts to sign in: try again in {ceil(wait_s)} s"
        raise ApiError(429, "too_many_attempts", message, retry_after_s=ceil(wait_s))


_NOT_VALID: Final = "the token is not valid, or no longer"
_challenge_decoder = msgspec.json.Decoder(_ChallengeBody)
_verify_decoder = msgspec.json.Decoder(_VerifyBody)
