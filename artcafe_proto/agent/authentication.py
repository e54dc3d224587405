"""The agent's requests and what their answers mean (AUTH-1 … AUTH-7, LINK-1, STAT-2). Pure functions of values."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from artcafe_proto.config import API_PREFIX
from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.exchanges import JSON_HEADERS, HttpRequest
from artcafe_proto.messages import is_too_deep
from artcafe_proto.policies.backoff import Failure, FailureKind, failure_kind
from artcafe_proto.policies.challenges import check_challenge
from artcafe_proto.policies.tokens import read_token
from artcafe_proto.refusals import WRONG_KEY, explain, secrets_of, what_it_says

if TYPE_CHECKING:
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.exchanges import Headers, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus
    from artcafe_proto.policies.tokens import Token
    from artcafe_proto.refusals import Step


T = TypeVar("T")


class _ChallengeAnswer(msgspec.Struct, frozen=True, gc=False):
    challenge: str


class _VerifyAnswer(msgspec.Struct, frozen=True, gc=False):
    valid: bool
    token: str | None = None


def challenge_request(config: AgentConfig) -> HttpRequest:
    """Ask for a challenge (AUTH-1)."""
    return _post(config, "challenge", {"agent_id": config.agent_id})


def verify_request(config: AgentConfig, key: int, challenge: str, signature: bytes) -> HttpRequest:
    """Answer a challenge with its signature by the first or the second key (AUTH-3)."""
    fields = {
        "tenant_id": config.tenant_id,
        "key_id": config.next_key_id if key else config.key_id,
        "challenge": challenge,
        "response": b64encode(signature).decode(),
        "agent_id": config.agent_id,
    }
    return _post(config, "verify", {name: value for name, value in fields.items() if value is not None})


def upgrade_request(config: AgentConfig, token: Token) -> HttpRequest:
    """Open the WebSocket (LINK-1). The opening handshake's own fields are the wire's."""
    return HttpRequest(method="GET", target=config.ws_target, headers=(_bearer(token), *_common(config)))


def details_request(config: AgentConfig, token: Token) -> HttpRequest:
    """Ask for the agent as the platform shows it (STAT-2)."""
    headers = (("accept", "application/json"), _bearer(token), *_common(config))
    return HttpRequest(method="GET", target=config.agent_target, headers=headers)


def status_request(config: AgentConfig, token: Token, status: AgentStatus) -> HttpRequest:
    """Set the agent's status (STAT-2)."""
    return HttpRequest(
        method="PUT",
        target=f"{config.agent_target}/status",
        headers=(*JSON_HEADERS, ("accept", "application/json"), _bearer(token), *_common(config)),
        body=msgspec.json.encode({"status": status}),
    )


def read_challenge(request: HttpRequest, response: HttpResponse) -> str | Failure:
    """The challenge to sign (AUTH-1), or why it is missing: refused, not understood, or not fit to sign (AUTH-2)."""
    if response.status != 200:
        return _refusal("challenge", request, response)
    try:
        challenge = _read(response, _challenge_decoder).challenge
    except (msgspec.MsgspecError, ValueError) as error:
        return Failure(FailureKind.OTHER, f"the challenge response was not understood: {error}", "AUTH-7")
    try:
        check_challenge(challenge)
    except RemoteProtocolError as error:
        return Failure(FailureKind.AUTHENTICATION, error.reason, error.clause)
    return challenge


def read_verdict(request: HttpRequest, response: HttpResponse, now: Instant) -> Token | Failure:
    """The token (TOK-1), or why it is missing (AUTH-7)."""
    if response.status != 200:
        return _refusal("verify", request, response)
    try:
        answer = _read(response, _verify_decoder)
    except (msgspec.MsgspecError, ValueError) as error:
        return Failure(FailureKind.OTHER, f"the verify response was not understood: {error}", "AUTH-7")
    if not answer.valid:
        said = what_it_says(response, secrets_of(request))
        found = f"the platform found the signature not valid{said and f', saying {said}'}"
        return Failure(FailureKind.AUTHENTICATION, f"{found}: {WRONG_KEY}", "AUTH-7")
    if answer.token is None:
        return Failure(FailureKind.OTHER, "the platform found the signature valid but sent no token", "AUTH-7")
    try:
        return read_token(answer.token, response.date, now)
    except RemoteProtocolError as error:
        return Failure(FailureKind.OTHER, error.reason, error.clause)


def read_details(request: HttpRequest, response: HttpResponse) -> dict[str, Any]:
    """The agent object (STAT-2). Raises RemoteProtocolError for any other answer."""
    if response.status != 200:
        raise RemoteProtocolError(response.status, explain("call", request, response), "STAT-2")
    try:
        return _read(response, _details_decoder)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RemoteProtocolError(400, f"expected an agent as a JSON object: {error}", "STAT-2") from None


_COMPRESSED: Final = (
    "it is compressed, which was not asked for: if a proxy does that, ask it not to, by Accept-Encoding: identity in "
    "extra_headers"
)


def _read(response: HttpResponse, decoder: msgspec.json.Decoder[T]) -> T:
    """The body. Raises MsgspecError or ValueError: a decoder left alone with any depth raises RecursionError."""
    if response.codings:
        raise ValueError(_COMPRESSED)
    if is_too_deep(response.body):
        raise ValueError("it nests too deeply")
    return decoder.decode(response.body)


def _refusal(step: Step, request: HttpRequest, response: HttpResponse) -> Failure:
    kind = failure_kind("exchange", response.status)
    return Failure(kind, explain(step, request, response), "AUTH-7", response.retry_after_s)


def _post(config: AgentConfig, endpoint: str, fields: dict[str, str]) -> HttpRequest:
    return HttpRequest(
        method="POST",
        target=f"{config.api.path}{API_PREFIX}/auth/{endpoint}",
        headers=(*JSON_HEADERS, ("accept", "application/json"), *_common(config)),
        body=msgspec.json.encode(fields),
    )


def _bearer(token: Token) -> tuple[str, str]:
    return ("authorization", f"Bearer {token.value}")


def _common(config: AgentConfig) -> Headers:
    return (("user-agent", config.user_agent), *config.extra_fields)


_challenge_decoder = msgspec.json.Decoder(_ChallengeAnswer)
_verify_decoder = msgspec.json.Decoder(_VerifyAnswer)
_details_decoder = msgspec.json.Decoder(dict[str, Any])
