"""Every HTTP operation of a platform: (hub, request, now) → answer (AUTH-1 … AUTH-8, PLAT-1 … PLAT-4, PLAT-7).

An operation is a function and its entry in `OPERATIONS`. The opening handshake of a link is checked by a function of
its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from artcafe_proto.config import API_PREFIX
from artcafe_proto.errors import ApiError
from artcafe_proto.exchanges import HttpResponse
from artcafe_proto.limits import (
    DEFAULT_PAGE_AGENTS,
    MAX_CAPABILITIES,
    MAX_COMMAND_NAME_CHARS,
    MAX_NAME_CHARS,
    MAX_PAGE_AGENTS,
    MAX_WAIT_S,
)
from artcafe_proto.messages import AgentStatus
from artcafe_proto.platform.answers import error_answer, extra_headers, json_answer, read_json
from artcafe_proto.platform.authenticator import Principal
from artcafe_proto.platform.watches import CommandWatch, EventWatch, command_answer
from artcafe_proto.policies.token_issuer import has_form_of_token

if TYPE_CHECKING:
    from artcafe_proto.config import PlatformConfig
    from artcafe_proto.exchanges import HttpRequest
    from artcafe_proto.instants import Instant
    from artcafe_proto.platform.hub import PlatformHub
    from artcafe_proto.platform.watches import Watcher

__all__ = ["NOT_FOUND"]

INTERNAL_ERROR: Final = error_answer(ApiError(500, "internal_error", "the platform failed; its log says more"))
"""For what should not happen; it says nothing about it (PLAT-7)."""

NOT_FOUND: Final = error_answer(ApiError(404, "not_found", "there is nothing at this address"))
"""For a driver that has nothing there either."""

Answer = HttpResponse | CommandWatch | EventWatch


def handle(
    hub: PlatformHub, session: Watcher, exchange: int, request: HttpRequest, address: str | None, now: Instant
) -> bool:
    """Answer a session's request, now or later. False if no operation is at its path."""
    try:
        said = answer(hub, request, now, address)
    except Exception as error:  # a mistake of ours, which costs this request alone
        hub.request_failed(request.method, error)
        said = Said(INTERNAL_ERROR)
    if said is None:
        return False
    if isinstance(said.answer, HttpResponse):
        session.respond(exchange, said.answer, now, after=said.after)
    else:
        hub.watches.begin(session, exchange, request, said.answer, now)
    return True


class Said(NamedTuple):
    """What is answered to a request, once the batch `after` is stored (PLAT-5)."""

    answer: Answer
    after: int = 0


def answer(hub: PlatformHub, request: HttpRequest, now: Instant, address: str | None = None) -> Said | None:
    """The answer to one request, errors included; None if no operation is at its path.

    `address` is that of its session, by which attempts to sign in are limited.
    """
    now = hub.look_at_clock(now)
    path = request.target.partition("?")[0]
    operations, ids = _find(path, with_compat=hub.config.compat)
    if not operations:
        return None
    operation = operations.get("GET" if request.method == "HEAD" else request.method)
    after: int | None = 0
    try:
        if operation is None:
            is_open = not _OPEN.isdisjoint(operations.values())
            expected = "expected POST" if is_open else "this address does not take this method"
            raise ApiError(405, "method_not_allowed", expected)
        caller = _NOBODY
        if operation in _OPEN:
            after = _batch_of_login(hub, request)
        else:
            after = hub.barrier if _is_agents(request) else 0  # a 401 may say that a key was revoked
            caller = hub.principal(request, now, address)
            after = 0
            hub.check_store()
            after = None
        made = operation(Call(hub, request, caller, ids, now, address))
    except ApiError as error:
        made = error_answer(error, extra_headers(error, _allow(operations)))
    return Said(made, hub.barrier if after is None else after)


def _is_agents(request: HttpRequest) -> bool:
    """Whether a request comes with an agent's token, or what is like one."""
    return has_form_of_token((request.header("authorization") or "").rpartition(" ")[2])


def _batch_of_login(hub: PlatformHub, request: HttpRequest) -> int:
    """What is known of the agent that a login names is stored in it: a slow store keeps no other agent away."""
    try:
        return hub.batch_of(_named_decoder.decode(request.body).agent_id)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0


def link_asked_for(config: PlatformConfig, request: HttpRequest, *, upgrade: bool) -> str | None:
    """The id of the agent whose link a request is to open, None for any other request.

    `upgrade`: whether it is a sound WebSocket opening handshake.

    Raises ApiError if it cannot be opened so.
    """
    path = request.target.partition("?")[0]
    if not path.startswith(_LINK):
        if upgrade:
            raise ApiError(404, "not_found", "there is no WebSocket at this address")
        return None
    if request.method != "GET":
        raise ApiError(405, "method_not_allowed", "expected GET")
    if not upgrade:
        raise ApiError(426, "upgrade_required", "expected a WebSocket opening handshake (RFC 6455)")
    if any(name == "origin" and value not in config.allowed_origins for name, value in request.headers):
        raise ApiError(403, "forbidden", "a link is opened by agents, not by pages in a browser")  # PLAT-8
    return unquote(path[len(_LINK) :])


class Call(NamedTuple):
    """A request for an operation, and who makes it."""

    hub: PlatformHub
    request: HttpRequest
    caller: Principal
    ids: tuple[str, ...]
    """From the path."""
    now: Instant
    address: str | None
    """Where it comes from, by which attempts to sign in are limited."""

    @property
    def tenant_id(self) -> str:
        """The calling tenant. Raises ApiError 403 if an agent calls."""
        if self.caller.agent_id is not None:
            raise ApiError(403, "forbidden", "this is for tenants; agents reach only themselves")
        return self.caller.tenant_id

    @property
    def agent_id(self) -> str:
        """The agent of the path. Raises ApiError 403 if another agent calls (PLAT-1)."""
        if self.caller.agent_id not in (None, self.ids[0]):
            raise ApiError(403, "forbidden", "agents reach only themselves")
        return self.ids[0]

    def parameter(self, name: str) -> str | None:
        """A parameter of the query. Raises ApiError 400 if it is given twice."""
        query = self.request.target.partition("?")[2]
        values = [value for key, value in parse_qsl(query, keep_blank_values=True) if key == name]
        if len(values) > 1:
            raise ApiError(400, "invalid_query", f"expected {name} once")
        return values[0] if values else None


# --- signing in -------------------------------------------------------------------------------------------------------


def _challenge(call: Call) -> HttpResponse:
    return call.hub.authenticator.challenge(call.request, call.address, call.now)


def _verify(call: Call) -> HttpResponse:
    return call.hub.authenticator.verify(call.request, call.address, call.now)


# --- agents -----------------------------------------------------------------------------------------------------------

Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]


class _AgentBody(msgspec.Struct, frozen=True, gc=False):
    name: Name | None = None
    agent_id: str | None = None
    capabilities: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_CAPABILITIES)] = ()
    metadata: dict[str, Any] = {}


class _StatusBody(msgspec.Struct, frozen=True, gc=False):
    status: AgentStatus


def _create_agent(call: Call) -> HttpResponse:
    tenant_id = call.tenant_id
    body = read_json(call.request, _agent_decoder)
    agent = call.hub.registry.create_agent(
        tenant_id,
        agent_id=body.agent_id,
        name=body.name or "",
        capabilities=body.capabilities,
        metadata=body.metadata,
        wall=call.now.wall,
    )
    return json_answer(201, call.hub.shown(agent).public())


def _list_agents(call: Call) -> HttpResponse:
    tenant_id, limit = call.tenant_id, _limit(call.parameter("limit"))
    page = call.hub.registry.page(tenant_id, call.parameter("after"), limit)
    agents = [call.hub.shown(agent).public() for agent in page.agents]
    return json_answer(200, {"agents": agents, "next": page.next})


def _show_agent(call: Call) -> HttpResponse:
    return json_answer(200, call.hub.agent(call.caller.tenant_id, call.agent_id).public())


def _set_status(call: Call) -> HttpResponse:
    if call.caller.agent_id is None:
        raise ApiError(403, "forbidden", "an agent's status is its own to set")
    agent_id = call.agent_id
    body = read_json(call.request, _status_decoder)
    return json_answer(200, call.hub.set_status(call.caller.tenant_id, agent_id, body.status, call.now).public())


# --- keys -------------------------------------------------------------------------------------------------------------


class _KeyBody(msgspec.Struct, frozen=True, gc=False):
    agent_id: str
    public_key: str
    key_type: Literal["agent"] = "agent"
    name: Name | None = None


def _add_key(call: Call) -> HttpResponse:
    tenant_id = call.tenant_id
    body = read_json(call.request, _key_decoder)
    key = call.hub.registry.add_key(tenant_id, body.agent_id, body.public_key, body.name or "")
    return json_answer(201, {"key_id": key.key_id, "fingerprint": key.public_key.fingerprint})


def _revoke_key(call: Call) -> HttpResponse:
    call.hub.revoke_key(call.tenant_id, call.ids[0], call.now)
    return HttpResponse(status=204)


# --- commands and messages --------------------------------------------------------------------------------------------


class _CommandBody(msgspec.Struct, frozen=True, gc=False):
    command: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_COMMAND_NAME_CHARS)]
    args: dict[str, Any] = {}
    timeout: float | None = None
    expires_in: float | None = None
    command_id: str | None = None


class _MessageBody(msgspec.Struct, frozen=True, gc=False):
    data: dict[str, Any]


def _send_command(call: Call) -> HttpResponse:
    tenant_id = call.tenant_id
    body = read_json(call.request, _command_decoder)
    command = call.hub.send_command(
        tenant_id,
        call.ids[0],
        body.command,
        body.args,
        timeout_s=body.timeout,
        expires_in_s=body.expires_in,
        command_id=body.command_id,
        now=call.now,
    )
    return json_answer(202, {"command_id": command.command_id})


def _show_command(call: Call) -> Answer:
    tenant_id = call.tenant_id
    wait_s = _wait(call.parameter("wait"))
    command = call.hub.command(tenant_id, call.ids[0], call.parameter("agent_id"))
    if command.is_over or wait_s == 0:
        return command_answer(command)
    return CommandWatch(command, wait_s)


def _send_message(call: Call) -> HttpResponse:
    tenant_id = call.tenant_id
    body = read_json(call.request, _message_decoder)
    message_id = call.hub.send_message(tenant_id, call.ids[0], body.data, call.now)
    return json_answer(202, {"message_id": message_id})


def _watch_events(call: Call) -> Answer:
    tenant_id, agent_id = call.tenant_id, call.parameter("agent_id")
    if agent_id is not None:
        call.hub.registry.agent(tenant_id, agent_id)
    return EventWatch(tenant_id, agent_id, call.request.header("last-event-id"))


# --- which is which ---------------------------------------------------------------------------------------------------

_LINK: Final = f"{API_PREFIX}/ws/agent/"
_ID: Final = ""  # stands for an id in a path
Operation = Callable[[Call], Answer]
OPERATIONS: Final[dict[tuple[str, ...], dict[str, Operation]]] = {
    ("auth", "challenge"): {"POST": _challenge},
    ("auth", "verify"): {"POST": _verify},
    ("agents",): {"GET": _list_agents, "POST": _create_agent},
    ("agents", _ID): {"GET": _show_agent},
    ("agents", _ID, "status"): {"PUT": _set_status},
    ("agents", _ID, "commands"): {"POST": _send_command},
    ("agents", _ID, "messages"): {"POST": _send_message},
    ("ssh-keys",): {"POST": _add_key},
    ("ssh-keys", _ID): {"DELETE": _revoke_key},
    ("commands", _ID): {"GET": _show_command},
    ("events",): {"GET": _watch_events},
}
"""Operations by the segments of a path and by method; `docs/openapi.yaml` says what they take and answer."""
COMPAT: Final[dict[tuple[str, ...], dict[str, Operation]]] = {
    ("auth", "agent", step): OPERATIONS["auth", step] for step in ("challenge", "verify")
}
"""Where existing agents look for some of them (AUTH-1, AUTH-3), with `PlatformConfig.compat`."""
_OPEN: Final = frozenset({_challenge, _verify})
"""Whoever calls these is nobody yet."""
_NOBODY: Final = Principal("")


def _find(path: str, *, with_compat: bool) -> tuple[dict[str, Operation], tuple[str, ...]]:
    """The operations at a path, by method, and the ids in the path; both are empty where there is no operation.

    An id is decoded after splitting: it may hold a slash (RFC 3986 section 2.4).
    """
    prefix, _, rest = path.partition(f"{API_PREFIX}/")
    kind, *more = segments = tuple(rest.split("/"))
    if prefix or more[:1] == [""]:
        return {}, ()
    operations = OPERATIONS.get(segments) or (COMPAT.get(segments) if with_compat else None)
    if operations is not None or not more:
        return operations or {}, ()
    return OPERATIONS.get((kind, _ID, *more[1:]), {}), tuple(unquote(segment) for segment in more[:1])


def _allow(operations: dict[str, Operation]) -> str:
    return ", ".join([*operations, *(["HEAD"] if "GET" in operations else [])])


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE_AGENTS
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= MAX_PAGE_AGENTS:
        raise ApiError(400, "invalid_query", f"expected limit to be a whole number from 1 to {MAX_PAGE_AGENTS}")
    return int(text)


def _wait(text: str | None) -> float:
    if text is None:
        return 0.0
    if not _NUMBER.fullmatch(text) or not 0 <= float(text) <= MAX_WAIT_S:
        raise ApiError(400, "invalid_query", f"expected wait to be seconds from 0 to {MAX_WAIT_S:.0f}")
    return float(text)


_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?")


class _Named(msgspec.Struct, frozen=True, gc=False):
    agent_id: str = ""


_named_decoder = msgspec.json.Decoder(_Named)
_agent_decoder = msgspec.json.Decoder(_AgentBody)
_status_decoder = msgspec.json.Decoder(_StatusBody)
_key_decoder = msgspec.json.Decoder(_KeyBody)
_command_decoder = msgspec.json.Decoder(_CommandBody)
_message_decoder = msgspec.json.Decoder(_MessageBody)
