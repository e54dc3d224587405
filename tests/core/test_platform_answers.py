"""PLAT-2, PLAT-4, PLAT-7: every refusal of the platform, word by word, and what it shows of agents and commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from artcafe_proto import ApiError, ConfigError, HttpRequest, PlatformSession
from artcafe_proto.platform.authenticator import Principal
from support.platform_stage import AGENT, JSON, TENANT, TENANT_TOKEN, Stage, answer, say, sent, size_of
from support.virtual import signing_key

AGENT_PATH = "/api/v1/ws/agent/agent-1"
INVALID = "the token is not valid, or no longer"
FOREIGN = "a link is opened with the token of its own agent"


def opening(stage: Stage, target: str = AGENT_PATH, method: str = "GET", upgrade: bool = True, **headers: str) -> Any:
    """What answers an opening handshake."""
    session = stage.session()
    request = HttpRequest(method=method, target=target, headers=tuple(headers.items()))
    session.request_received(1, request, stage.now, upgrade=upgrade)
    (output,) = sent(session)
    return output.response


def with_a_revoked_key(stage: Stage) -> Any:
    """What answers an opening handshake whose token was made with a key that is no more."""
    token = stage.token()
    stage.hub.revoke_key(TENANT, stage.key_id, stage.now)
    return opening(stage, authorization=f"Bearer {token}")


def without_content_type(stage: Stage) -> Any:
    """What answers a request whose body is called nothing."""
    session = stage.session()
    session.request_received(1, HttpRequest(method="POST", target="/api/v1/auth/verify"), stage.now, upgrade=False)
    (output,) = sent(session)
    return output.response


REFUSALS: list[tuple[Callable[[Stage], Any], int, str, str | None, dict[str, str]]] = [
    (
        lambda s: s.ask("/api/v1/auth/verify", {}, "GET"),
        405,
        "method_not_allowed",
        "expected POST",
        {"allow": "POST"},
    ),
    (
        lambda s: s.ask("/api/v1/auth/challenge", {"agent_id": "x" * 129}),
        422,
        "invalid_agent_id",
        "expected an agent_id of 1 to 128 characters",
        {},
    ),
    (lambda s: s.ask("/api/v1/auth/challenge", [[[0]]] * 70), 422, "invalid_body", None, {}),
    (
        lambda s: s.ask("/api/v1/auth/challenge", b"[" * 65 + b"]" * 65),
        400,
        "invalid_json",
        "the body nests too deeply",
        {},
    ),
    (
        lambda s: s.ask("/api/v1/auth/challenge", b"{"),
        400,
        "invalid_json",
        "expected a body of JSON: Input data was truncated",
        {},
    ),
    (
        lambda s: s.ask("/api/v1/auth/challenge", {}),
        422,
        "invalid_body",
        "expected another body: Object missing required field `agent_id`",
        {},
    ),
    (
        without_content_type,
        415,
        "unsupported_media_type",
        "expected a body of Content-Type application/json",
        {},
    ),
    (
        lambda s: s.ask("/api/v1/auth/challenge", {"agent_id": "a"}, content_encoding="gzip"),
        415,
        "unsupported_media_type",
        "expected a body without Content-Encoding",
        {},
    ),
    (lambda s: opening(s, "/elsewhere"), 404, "not_found", "there is no WebSocket at this address", {}),
    (lambda s: opening(s, method="POST"), 405, "method_not_allowed", "expected GET", {"allow": "GET"}),
    (
        lambda s: opening(s, upgrade=False),
        426,
        "upgrade_required",
        "expected a WebSocket opening handshake (RFC 6455)",
        {"upgrade": "websocket", "connection": "upgrade", "sec-websocket-version": "13"},
    ),
    (
        lambda s: opening(s, origin="https://evil.example"),
        403,
        "forbidden",
        "a link is opened by agents, not by pages in a browser",
        {},
    ),
    (
        opening,
        401,
        "unauthorized",
        "expected the header Authorization: Bearer TOKEN",
        {"www-authenticate": "Bearer"},
    ),
    (
        lambda s: opening(s, authorization="Bearer x"),
        401,
        "invalid_token",
        INVALID,
        {"www-authenticate": "Bearer"},
    ),
    (
        lambda s: opening(s, authorization="Basic abc"),
        401,
        "unauthorized",
        "expected the header Authorization: Bearer TOKEN",
        {"www-authenticate": "Bearer"},
    ),
    (
        lambda s: opening(s, authorization="Bearer  "),
        401,
        "unauthorized",
        "expected the header Authorization: Bearer TOKEN",
        {"www-authenticate": "Bearer"},
    ),
    (with_a_revoked_key, 401, "invalid_token", INVALID, {"www-authenticate": "Bearer"}),
    (lambda s: opening(s, authorization=f"bearer   {TENANT_TOKEN} "), 403, "forbidden", FOREIGN, {}),
    (
        lambda s: opening(s, f"{AGENT_PATH}0", authorization=f"Bearer {s.token()}"),
        403,
        "forbidden",
        FOREIGN,
        {},
    ),
]


@pytest.mark.parametrize(("ask", "status", "code", "message", "headers"), REFUSALS)
def test_plat_7_each_refusal_has_its_status_code_text_and_headers(
    ask: Callable[[Stage], Any], status: int, code: str, message: str | None, headers: dict[str, str]
) -> None:
    response = ask(Stage())
    error = json.loads(response.body)["error"]
    assert response.status == status
    assert error == {"code": code, "message": message or error["message"]}
    assert dict(response.headers) == dict(JSON) | headers


def test_plat_7_only_the_media_type_of_a_content_type_counts() -> None:
    for content_type in ("application/json", "Application/JSON; charset=utf-8", " application/json ;x"):
        session = (stage := Stage()).session()
        request = HttpRequest(
            method="POST",
            target="/api/v1/auth/challenge?x=/api",
            headers=(("content-type", content_type),),
            body=b'{"agent_id":"agent-1"}',
        )
        session.request_received(1, request, stage.now, upgrade=False)
        (output,) = sent(session)
        assert output.response.status == 200
        assert output.response.headers == JSON
        body = json.loads(output.response.body)
        assert set(body) == {"challenge", "expires_at"}
        assert body["expires_at"] == "2001-09-09T01:51:40.000Z"
    refused = Stage().ask("/api/v1/auth/challenge", {}, content_type="text/plain")
    assert refused.status == 422  # the first of two headers counts


def many(stage: Stage, kind: str) -> None:
    """Fill what is bounded."""
    for number in range(2):
        if kind == "agent":
            stage.hub.registry.create_agent(
                TENANT, agent_id=f"a{number}", name="", capabilities=(), metadata={}, wall=0
            )
        else:
            stage.hub.registry.add_key(TENANT, AGENT, signing_key(100 + number).public.openssh, "")


def create(stage: Stage, agent_id: str, tenant_id: str = TENANT) -> object:
    """Register an agent."""
    return stage.hub.registry.create_agent(tenant_id, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=0)


def command(stage: Stage, name: str = "work", **options: Any) -> object:
    """Send a command."""
    return stage.hub.send_command(TENANT, AGENT, name, now=stage.now, **options)


def nested(levels: int) -> list[Any]:
    """A list in a list in a list …"""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def twice(stage: Stage) -> object:
    """One id for the commands of two agents."""
    stage.register("agent-2")
    for agent_id in (AGENT, "agent-2"):
        stage.hub.send_command(TENANT, agent_id, "work", command_id="c", now=stage.now)
    return stage.hub.command(TENANT, "c")


def other_content(stage: Stage) -> object:
    """One id for two commands."""
    command(stage, command_id="c")
    return command(stage, command_id="c", args={"n": 1})


WISHES: list[tuple[Callable[[Stage], object], int, str, str | None]] = [
    (lambda s: create(s, AGENT), 409, "agent_exists", "this agent_id is already registered"),
    (lambda s: create(s, AGENT, "tenant-2"), 409, "agent_exists", "this agent_id is already registered"),
    (lambda s: create(s, ""), 422, "invalid_agent_id", None),
    (
        lambda s: many(s, "agent"),
        503,
        "store_full",
        "the platform keeps at most 2 agents",
    ),
    (lambda s: many(s, "key"), 409, "too_many_keys", "an agent has at most 2 keys"),
    (lambda s: s.hub.registry.agent("tenant-2", AGENT), 404, "agent_not_found", "no such agent"),
    (lambda s: s.hub.registry.agent(TENANT, "nobody"), 404, "agent_not_found", "no such agent"),
    (lambda s: s.hub.registry.key("tenant-2", s.key_id), 404, "key_not_found", "no such key"),
    (lambda s: s.hub.registry.key(TENANT, "key-0"), 404, "key_not_found", "no such key"),
    (lambda s: s.hub.registry.add_key(TENANT, AGENT, "x", ""), 422, "invalid_key", None),
    (
        lambda s: s.hub.registry.add_key(TENANT, AGENT, f"{s.key.public.openssh} with a comment", ""),
        409,
        "key_exists",
        "this agent already has this key",
    ),
    (lambda s: s.hub.command(TENANT, "nothing"), 404, "command_not_found", "no such command"),
    (lambda s: s.hub.command(TENANT, "nothing", AGENT), 404, "command_not_found", "no such command"),
    (twice, 409, "ambiguous_command_id", "several agents have a command of this id: add ?agent_id="),
    (other_content, 409, "command_exists", "this command_id was used before with other content"),
    (
        lambda s: [command(s) for _ in range(3)],
        429,
        "too_many_commands",
        "as many commands as allowed wait for this agent",
    ),
    (
        lambda s: command(s, expires_in_s=0),
        422,
        "invalid_body",
        "expected expires_in to be seconds above 0 and at most 2592000",
    ),
    (
        lambda s: command(s, expires_in_s=2592001),
        422,
        "invalid_body",
        "expected expires_in to be seconds above 0 and at most 2592000",
    ),
    (lambda s: command(s, ""), 422, "invalid_body", "expected a command of 1 to 256 characters"),
    (lambda s: command(s, 5), 422, "invalid_body", "expected a command of 1 to 256 characters"),  # type: ignore[arg-type]
    (lambda s: command(s, "x" * 257), 422, "invalid_body", "expected a command of 1 to 256 characters"),
    (lambda s: command(s, command_id="x" * 129), 422, "invalid_body", None),
    (lambda s: command(s, timeout_s=-1.0), 422, "invalid_body", None),
    (lambda s: command(s, timeout_s=float("nan")), 422, "invalid_body", None),
    (lambda s: command(s, timeout_s=1e9), 422, "invalid_body", None),
    (
        lambda s: command(s, expires_in_s=float("nan")),
        422,
        "invalid_body",
        "expected expires_in to be seconds above 0 and at most 2592000",
    ),
    (lambda s: command(s, args={"a": nested(62)}), 422, "invalid_body", None),
    (lambda s: command(s, args={"x": "x" * 2**20}), 413, "too_large", "a message has at most 1048576 bytes"),
    (
        lambda s: s.hub.send_message(TENANT, AGENT, {}, s.now),
        409,
        "agent_offline",
        "the agent is not online; messages are not kept",
    ),
    (lambda s: (s.open(), s.hub.send_message(TENANT, AGENT, {}, s.now)), 409, "agent_offline", None),
    (
        lambda s: (s.online(), s.hub.send_message(TENANT, AGENT, {"x": "x" * 2**20}, s.now)),
        413,
        "too_large",
        "a message has at most 1048576 bytes",
    ),
    (
        lambda s: (s.online(), s.hub.send_message(TENANT, AGENT, {"x": {1, object()}}, s.now)),
        422,
        "invalid_body",
        None,
    ),
    (
        lambda s: (s.online(), s.hub.send_message(TENANT, AGENT, {"a": nested(62)}, s.now)),
        422,
        "invalid_body",
        None,
    ),
]


@pytest.mark.parametrize(("call", "status", "code", "message"), WISHES)
def test_plat_7_each_refusal_of_a_tenants_wish_has_its_status_code_and_text(
    call: Callable[[Stage], object], status: int, code: str, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artcafe_proto.platform.registry.MAX_AGENTS", 2)
    monkeypatch.setattr("artcafe_proto.platform.registry.MAX_KEYS_PER_AGENT", 2)
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_PENDING_COMMANDS", 2)
    with pytest.raises(ApiError) as refused:
        call(Stage())
    error = refused.value
    assert (error.status, error.error, error.message) == (status, code, message or error.message)
    assert error.message


def test_plat_4_arguments_and_data_that_are_no_json_are_named() -> None:
    stage = Stage()
    stage.online()
    for call, name in (
        (lambda: command(stage, args={"x": {1, object()}}), "args"),
        (lambda: command(stage, "\ud800"), "command"),
        (lambda: stage.hub.send_message(TENANT, AGENT, {"x": {1, object()}}, stage.now), "data"),
    ):
        with pytest.raises(ApiError) as refused:
            call()
        assert refused.value.message.startswith(f"{name} cannot be written as JSON: ")


def test_auth_8_a_refused_signature_is_a_401_as_any_other_and_the_longest_id_is_taken() -> None:
    stage = Stage()
    assert stage.verify("made-up.challenge.of.some.length").header("www-authenticate") == "Bearer"
    assert stage.ask("/api/v1/auth/challenge", {"agent_id": "x" * 128}).status == 200


def test_plat_1_a_request_is_its_tenants_or_its_agents() -> None:
    stage = Stage()
    for token, principal in (
        (TENANT_TOKEN, Principal(TENANT)),
        (stage.token(), Principal(TENANT, AGENT, stage.key_id)),
    ):
        request = HttpRequest(method="GET", target="/", headers=(("authorization", f"Bearer {token}"),))
        assert stage.hub.principal(request, stage.now) == principal


def test_tok_5_a_token_of_an_agent_that_this_platform_does_not_know_is_not_valid() -> None:
    stage, other = Stage(), Stage()  # with one signing seed
    other.register("agent-2")
    key = other.hub.registry.add_key(TENANT, "agent-2", other.key.public.openssh, "")
    challenge = other.challenge("agent-2")
    token = json.loads(other.verify(challenge, agent_id="agent-2", key_id=key.key_id).body)["token"]
    refused = opening(stage, authorization=f"Bearer {token}")
    assert (refused.status, json.loads(refused.body)["error"]["code"]) == (401, "invalid_token")


def test_plat_4_the_limits_of_a_command_themselves_are_taken() -> None:
    stage = Stage()
    for expires_in_s in (0.5, 1.0, 2592000.0):
        assert command(stage, expires_in_s=expires_in_s)
    assert command(stage, "w")
    assert command(stage, "w" * 256)
    assert command(stage, args={"a": nested(61)})
    with pytest.raises(ApiError) as refused:
        command(stage, command_id="")
    assert refused.value.message.startswith("command_id ")


def test_plat_1_a_tenants_token_is_long_visible_and_its_own() -> None:
    registry = Stage().hub.registry
    text = "a tenant token must be 16 or more visible ASCII characters: it is a password in a header"
    for token in ("", "x" * 15, "x" * 15 + " ", "x" * 16 + "\x7f", "caf\u00e9" * 5, "x" * 20 + "\n"):
        with pytest.raises(ConfigError) as refused:
            registry.add_tenant("tenant-2", token)
        assert str(refused.value) == text
    registry.add_tenant("tenant-2", "x" * 16)
    registry.add_tenant("tenant-2", "x" * 16)
    assert registry.tenant_of("x" * 16) == "tenant-2"
    assert registry.tenant_of("another") is registry.tenant_of("\ud800") is None
    with pytest.raises(ConfigError) as refused:
        registry.add_tenant("tenant-3", "x" * 16)
    assert str(refused.value) == "the token of tenant-3 is another tenant's already: give it one of its own"
    assert registry.tenant_of("x" * 16) == "tenant-2"
    with pytest.raises(ConfigError) as refused:
        registry.add_tenant("", "y" * 16)
    assert str(refused.value).startswith("tenant_id ")


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_plat_3_an_agent_is_shown_with_all_that_is_known_of_it() -> None:
    stage = Stage()
    created = stage.hub.registry.create_agent(
        TENANT, agent_id=None, name="", capabilities=("a", "b"), metadata={"k": 1}, wall=stage.wall
    )
    assert created.agent_id.startswith("agent-")
    assert len(created.agent_id) == len("agent-") + 32
    assert created.name == created.agent_id
    assert [agent.agent_id for agent in stage.hub.registry.agents(TENANT)] == [AGENT, created.agent_id]
    assert stage.hub.registry.agents("tenant-2") == ()
    named = stage.hub.registry.create_agent("t", agent_id="x", name="N", capabilities=(), metadata={}, wall=0)
    assert (stage.hub.agent("t", "x").public()["name"], named.name) == ("N", "N")
    assert stage.hub.agent(TENANT, created.agent_id).public() == {
        "agent_id": created.agent_id,
        "tenant_id": TENANT,
        "name": created.agent_id,
        "capabilities": ("a", "b"),
        "metadata": {"k": 1},
        "created_at": "2001-09-09T01:46:40.000Z",
        "status": "offline",
        "last_seen": None,
        "metrics": {"cpu_usage": 0.0, "memory_usage": 0.0},
    }
    session = stage.online()
    shown = stage.hub.agent(TENANT, AGENT).public()
    assert (shown["status"], shown["last_seen"]) == ("online", "2001-09-09T01:46:40.000Z")
    stage.hub.set_status(TENANT, AGENT, "busy", stage.now)
    assert stage.hub.agent(TENANT, AGENT).status == "busy"
    session.disconnected("reset", stage.now)
    agent = stage.hub.agent(TENANT, AGENT)
    assert (agent.status, agent.online, agent.public()["status"]) == ("offline", False, "offline")


def test_plat_4_a_command_is_shown_from_its_acceptance_to_its_answer() -> None:
    stage = Stage()
    command_id = stage.command(args={"n": 1})

    def kept() -> dict[str, Any]:
        return msgspec.json.decode(msgspec.json.encode(stage.hub.command(TENANT, command_id).public()))

    shown = {
        "command_id": command_id,
        "agent_id": AGENT,
        "command": "work",
        "state": "queued",
        "attempts": 0,
        "accepted_at": "2001-09-09T01:46:40.000Z",
        "answered_at": None,
        "late": False,
        "response": None,
    }
    assert command_id.startswith("cmd-")
    assert kept() == shown
    session = stage.online()
    assert kept() == shown | {"state": "sent", "attempts": 1}
    stage.wall += 1.5
    answer(stage, session, command_id, result=[1])
    answered = {"attempts": 1, "answered_at": "2001-09-09T01:46:41.500Z"}
    response = {"status": "success", "result": [1]}
    assert kept() == shown | answered | {"state": "succeeded", "response": response}


def test_plat_4_a_failure_is_shown_with_code_and_reason() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command()
    answer(stage, session, command_id, status="error", code="timeout", reason="too slow")
    shown = stage.hub.command(TENANT, command_id).public()
    assert (shown["state"], shown["late"]) == ("failed", False)
    assert shown["response"] == {"status": "error", "code": "timeout", "reason": "too slow"}


def test_plat_4_sizes_count_arguments_and_responses() -> None:
    stage = Stage()
    session = stage.online()
    done, failed = stage.command(args={"n": 1}), stage.command(args={})
    assert size_of(stage, done) == 7
    answer(stage, session, done, result=[1, 2])
    answer(stage, session, failed, status="error", code="timeout", reason="too slow")
    assert size_of(stage, done) == 7 + 6
    assert size_of(stage, failed) == 2 + 4 + 8


def test_plat_7_requests_of_a_connection_that_is_a_link_are_not_answered() -> None:
    stage = Stage()
    session: PlatformSession = stage.online()
    sent(session)
    session.request_received(2, HttpRequest(method="GET", target="/"), stage.now, upgrade=False)
    assert sent(session) == []
    say(stage, session, "message", {})
    assert sent(session) == []
