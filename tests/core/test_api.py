"""Every endpoint and every refusal, as a pure function: no sockets, no clock."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from artcafe_proto import HttpRequest, HttpResponse, Instant, PlatformProtocol
from artcafe_proto.events import ChallengeIssued, CommandExpired, RequestFailed, StatusReceived
from artcafe_proto.platform.api import (
    INTERNAL_ERROR,
    NOT_FOUND,
    OPERATIONS,
    CommandWatch,
    EventWatch,
    answer,
    command_answer,
)
from support.drained import take
from support.platform_api import NOW, OTHER_TOKEN, TENANT, TOKEN, Api, key


@pytest.fixture
def api() -> Api:
    return Api()


# --- agents -----------------------------------------------------------------------------------------------------------


def test_an_agent_is_registered_with_everything_or_nothing_given(api: Api) -> None:
    full = {"name": "Drawer", "agent_id": "a/1", "capabilities": ["draw"], "metadata": {"x": [1]}, "unknown": 1}
    created = api.json("POST", "/agents", full, status=201)
    assert {name: created[name] for name in ("name", "agent_id", "capabilities", "metadata", "tenant_id")} == {
        "name": "Drawer",
        "agent_id": "a/1",
        "capabilities": ["draw"],
        "metadata": {"x": [1]},
        "tenant_id": TENANT,
    }
    assert api.json("GET", "/agents/a%2F1", status=200) == created
    made_up = api.json("POST", "/agents", {}, status=201)
    assert made_up["agent_id"].startswith("agent-")
    assert made_up["status"] == "offline"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"agent_id": "taken"}, 409, "agent_exists"),
        ({"agent_id": ""}, 422, "invalid_agent_id"),
        ({"agent_id": "x" * 129}, 422, "invalid_agent_id"),
        ({"name": 5}, 422, "invalid_body"),
        ({"name": "x" * 257}, 422, "invalid_body"),
        ({"capabilities": "draw"}, 422, "invalid_body"),
        ({"capabilities": [""] * 257}, 422, "invalid_body"),
        ({"metadata": []}, 422, "invalid_body"),
        ([], 422, "invalid_body"),
        (b"{", 400, "invalid_json"),
        (b"", 400, "invalid_json"),
        (b"\xff", 400, "invalid_json"),
        (b'{"metadata":' + b'{"a":' * 100_000, 400, "invalid_json"),
    ],
)
def test_an_agent_that_cannot_be_registered(api: Api, body: object, status: int, code: str) -> None:
    api.json("POST", "/agents", {"agent_id": "taken"}, status=201)
    assert api.error("POST", "/agents", body, status=status) == code


def test_agents_are_listed_in_pages(api: Api) -> None:
    ids = [f"agent {number}/é" for number in range(5)]
    for agent_id in ids:
        api.json("POST", "/agents", {"agent_id": agent_id}, status=201)
    api.json("POST", "/agents", {"agent_id": "foreign"}, status=201, token=OTHER_TOKEN)
    seen: list[str] = []
    after = ""
    while True:
        page = api.json("GET", f"/agents?limit=2{after}", status=200)
        seen += [agent["agent_id"] for agent in page["agents"]]
        if page["next"] is None:
            break
        after = f"&after={page['next'].replace(' ', '+').replace('/', '%2F').replace('é', '%C3%A9')}"
    assert seen == ids
    assert len(api.json("GET", "/agents", status=200)["agents"]) == 5


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=nan", "limit=x", "limit=", "limit=1.0", "limit=1_0", "limit=%D9%A1", "limit=-1"]
    + [
        "limit=+1",
        f"limit={'9' * 5000}",
        "limit=1&limit=2",
        "after=nobody",
        "after=foreign",
        "after=",
        "after=a&after=b",
    ],
)
def test_a_page_that_does_not_exist(api: Api, query: str) -> None:
    api.json("POST", "/agents", {"agent_id": "foreign"}, status=201, token=OTHER_TOKEN)
    assert api.error("GET", f"/agents?{query}", status=400) == "invalid_query"


def test_an_agent_is_for_its_tenant_and_itself(api: Api) -> None:
    token, other = api.agent("a1"), api.agent("a2", 2)
    assert api.json("GET", "/agents/a1", status=200)["agent_id"] == "a1"
    assert api.json("GET", "/agents/a1", status=200, token=token)["agent_id"] == "a1"
    assert api.error("GET", "/agents/a1", status=403, token=other) == "forbidden"
    assert api.error("GET", "/agents/nobody", status=403, token=other) == "forbidden"
    assert api.error("GET", "/agents/a1", status=404, token=OTHER_TOKEN) == "agent_not_found"
    assert api.error("GET", "/agents/nobody", status=404) == "agent_not_found"


def test_an_agent_sets_its_own_status(api: Api) -> None:
    token, other = api.agent("a1"), api.agent("a2", 2)
    for status in ("online", "busy", "error", "offline"):
        updated = api.json("PUT", "/agents/a1/status", {"status": status}, status=200, token=token)
        assert updated["status"] == "offline", "HB-3: it has no link"
    assert [event.status for event in api.events(StatusReceived)] == ["online", "busy", "error", "offline"]
    for body in ({"status": "sleepy"}, {}):
        assert api.error("PUT", "/agents/a1/status", body, status=422, token=token) == "invalid_body"
    for caller in (other, TOKEN):
        assert api.error("PUT", "/agents/a1/status", {"status": "busy"}, status=403, token=caller) == "forbidden"


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_is_registered_and_revoked(api: Api) -> None:
    token = api.agent("a1")
    body = {"agent_id": "a1", "public_key": key(5).public.openssh, "key_type": "agent", "name": "laptop"}
    added = api.json("POST", "/ssh-keys", body, status=201)
    assert added == {"key_id": added["key_id"], "fingerprint": key(5).public.fingerprint}
    assert added["fingerprint"].startswith("SHA256:")
    assert api.error("POST", "/ssh-keys", body, status=409) == "key_exists"
    path = f"/ssh-keys/{added['key_id']}"
    assert api.error("DELETE", path, status=404, token=OTHER_TOKEN) == "key_not_found"
    assert api.error("DELETE", path, status=403, token=token) == "forbidden"
    gone = api.response("DELETE", path)
    assert (gone.status, gone.body, gone.header("content-type")) == (204, b"", None)
    assert api.error("DELETE", "/ssh-keys/nobody's", status=404) == "key_not_found"


def test_a_revoked_key_takes_its_tokens_with_it(api: Api) -> None:
    token = api.agent("a1")
    (key,) = api.hub.registry.keys("a1")
    assert api.response("DELETE", f"/ssh-keys/{key.key_id}").status == 204
    assert api.error("GET", "/agents/a1", status=401, token=token) == "invalid_token"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"agent_id": "nobody", "public_key": key(1).public.openssh}, 404, "agent_not_found"),
        ({"agent_id": "a1", "public_key": "ssh-ed25519 AAAA"}, 422, "invalid_key"),
        ({"agent_id": "a1", "public_key": key(1).public.openssh, "key_type": "user"}, 422, "invalid_body"),
        ({"agent_id": "a1"}, 422, "invalid_body"),
    ],
)
def test_a_key_that_cannot_be_registered(api: Api, body: object, status: int, code: str) -> None:
    api.json("POST", "/agents", {"agent_id": "a1"}, status=201)
    assert api.error("POST", "/ssh-keys", body, status=status) == code


# --- commands and messages --------------------------------------------------------------------------------------------


def test_a_command_is_accepted_once_and_watched(api: Api) -> None:
    api.json("POST", "/agents", {"agent_id": "a/1"}, status=201)
    body = {"command": "draw", "args": {"x": 1}, "timeout": 5, "expires_in": 60, "command_id": "cmd 1/2"}
    for _ in range(2):
        assert api.json("POST", "/agents/a%2F1/commands", body, status=202) == {"command_id": "cmd 1/2"}
    other = body | {"args": {"x": 2}}
    assert api.error("POST", "/agents/a%2F1/commands", other, status=409) == "command_exists"
    path = "/commands/cmd%201%2F2"
    shown = api.json("GET", path, status=200)
    assert (shown["state"], shown["agent_id"], shown["response"]) == ("queued", "a/1", None)
    assert api.json("GET", f"{path}?wait=0", status=200) == shown
    command = api.hub.command(TENANT, "cmd 1/2")
    assert api.ask("GET", f"{path}?wait=30") == CommandWatch(command, 30)
    assert api.ask("GET", f"{path}?wait=0.5&unknown=1&unknown=2") == CommandWatch(command, 0.5)
    assert api.ask("GET", f"{path}?wait=5.960464477539063e-08") == CommandWatch(command, 5.960464477539063e-08)
    assert json.loads(command_answer(command).body) == shown

    later = Instant(NOW.mono + 61, NOW.wall + 61)
    api.hub.handle_timer(later)
    assert len(api.events(CommandExpired)) == 1
    assert api.json("GET", f"{path}?wait=30", status=200)["state"] == "expired"  # over: nothing to wait for


def test_a_command_gets_an_id_if_it_has_none(api: Api) -> None:
    api.json("POST", "/agents", {"agent_id": "a1"}, status=201)
    command_id = api.json("POST", "/agents/a1/commands", {"command": "draw"}, status=202)["command_id"]
    assert command_id.startswith("cmd-")
    assert api.json("GET", f"/commands/{command_id}", status=200)["command"] == "draw"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"command": ""},
        {"command": "x" * 257},
        {"command": "draw", "args": []},
        {"command": "draw", "timeout": 0},
        {"command": "draw", "timeout": 86_401},
        {"command": "draw", "timeout": "5"},
        {"command": "draw", "expires_in": 0},
        {"command": "draw", "expires_in": -1},
        {"command": "draw", "command_id": ""},
        {"command": "draw", "command_id": "x" * 129},
        b'{"command": "draw", "expires_in": 1e999}',
    ],
)
def test_a_command_that_cannot_be_accepted(api: Api, body: object) -> None:
    api.json("POST", "/agents", {"agent_id": "a1"}, status=201)
    assert api.error("POST", "/agents/a1/commands", body, status=422) == "invalid_body"


def test_commands_belong_to_a_tenant(api: Api) -> None:
    token = api.agent("a1")
    api.json("POST", "/agents/a1/commands", {"command": "draw", "command_id": "c1"}, status=202)
    assert api.error("GET", "/commands/c1", status=404, token=OTHER_TOKEN) == "command_not_found"
    assert api.error("GET", "/commands/nothing?wait=30", status=404) == "command_not_found"
    assert api.error("GET", "/commands/c1", status=403, token=token) == "forbidden"
    body = {"command": "draw"}
    assert api.error("POST", "/agents/a1/commands", body, status=403, token=token) == "forbidden"
    assert api.error("POST", "/agents/a1/commands", body, status=404, token=OTHER_TOKEN) == "agent_not_found"
    assert api.error("POST", "/agents/nobody/commands", body, status=404) == "agent_not_found"


def test_several_agents_may_have_commands_of_one_id(api: Api) -> None:
    for agent_id in ("a/1", "a2"):
        api.json("POST", "/agents", {"agent_id": agent_id}, status=201)
    body = {"command": "draw", "command_id": "c1"}
    assert api.json("POST", "/agents/a%2F1/commands", body, status=202) == {"command_id": "c1"}
    assert api.json("GET", "/commands/c1", status=200)["agent_id"] == "a/1"
    assert api.json("POST", "/agents/a2/commands", body | {"args": {"x": 1}}, status=202) == {"command_id": "c1"}
    assert api.error("GET", "/commands/c1?wait=5", status=409) == "ambiguous_command_id"
    assert api.json("GET", "/commands/c1?agent_id=a%2F1", status=200)["agent_id"] == "a/1"
    assert api.ask("GET", "/commands/c1?wait=5&agent_id=a2") == CommandWatch(api.hub.command(TENANT, "c1", "a2"), 5)
    assert api.error("GET", "/commands/c1?agent_id=a3", status=404) == "command_not_found"
    assert api.error("GET", "/commands/c1?agent_id=a2", status=404, token=OTHER_TOKEN) == "command_not_found"


@pytest.mark.parametrize(
    "wait",
    ["-1", "60.1", "1e2", "1e999", "inf", "nan", "soon", "", "1_0", " 1", "%D9%A1", "0x1", "1&wait=1", "9" * 5000],
)
def test_a_wait_that_is_not_offered(api: Api, wait: str) -> None:
    api.json("POST", "/agents", {"agent_id": "a1"}, status=201)
    api.json("POST", "/agents/a1/commands", {"command": "draw", "command_id": "c1"}, status=202)
    assert api.error("GET", f"/commands/c1?wait={wait}", status=400) == "invalid_query"


def test_plat_3_a_page_is_bounded_in_bytes_and_next_leads_on(api: Api) -> None:
    ids = [f"agent-{number:02}" for number in range(40)]
    for agent_id in ids:
        api.json("POST", "/agents", {"agent_id": agent_id, "metadata": {"x": "x" * 60_000}}, status=201)
    listed: list[str] = []
    pages, after = 0, ""
    while after is not None:
        page = api.json("GET", f"/agents?limit=100{after and f'&after={after}'}", status=200)
        assert len(json.dumps(page)) < 1 << 20
        listed += [agent["agent_id"] for agent in page["agents"]]
        pages, after = pages + 1, page["next"]
    assert (listed, pages) == (ids, 3)


def test_a_message_is_for_an_agent_that_is_online(api: Api) -> None:
    token = api.agent("a1")
    body = {"data": {"topic": "news"}}
    assert api.error("POST", "/agents/a1/messages", body, status=409) == "agent_offline"
    assert api.error("POST", "/agents/nobody/messages", body, status=404) == "agent_not_found"
    assert api.error("POST", "/agents/a1/messages", body, status=403, token=token) == "forbidden"
    for wrong in (b"{}", b'{"data":[]}', b'{"data":null}'):
        assert api.error("POST", "/agents/a1/messages", wrong, status=422) == "invalid_body"


def test_events_are_watched_by_tenants(api: Api) -> None:
    token = api.agent("a 1")
    assert api.ask("GET", "/events") == EventWatch(TENANT, None, None)
    assert api.ask("GET", "/events?agent_id=a+1") == EventWatch(TENANT, "a 1", None)
    assert api.error("GET", "/events", status=403, token=token) == "forbidden"
    assert api.error("GET", "/events?agent_id=nobody", status=404) == "agent_not_found"
    assert api.error("GET", "/events?agent_id=a+1", status=404, token=OTHER_TOKEN) == "agent_not_found"
    headers = (("authorization", f"Bearer {TOKEN}"), ("last-event-id", "run-5"))
    said = answer(api.hub, HttpRequest(method="GET", target="/api/v1/events", headers=headers), NOW)
    assert said is not None
    assert said.answer == EventWatch(TENANT, None, "run-5")


# --- what all share ---------------------------------------------------------------------------------------------------

ENDPOINTS = [
    ("POST", "/agents"),
    ("GET", "/agents"),
    ("GET", "/agents/a1"),
    ("PUT", "/agents/a1/status"),
    ("POST", "/agents/a1/commands"),
    ("POST", "/agents/a1/messages"),
    ("POST", "/ssh-keys"),
    ("DELETE", "/ssh-keys/k1"),
    ("GET", "/commands/c1"),
    ("GET", "/events"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize("token", [None, "", "no-such-token", "x" * 20_000])
def test_nobody_unknown_is_served(api: Api, method: str, path: str, token: str | None) -> None:
    response = api.response(method, path, {}, token=token)
    assert response.status == 401
    assert response.header("www-authenticate") == "Bearer"
    assert b"no-such-token" not in response.body


@pytest.mark.parametrize(("method", "path"), [each for each in ENDPOINTS if each[0] in ("POST", "PUT")])
@pytest.mark.parametrize("media_type", [None, "text/plain", "application/jsonp"])
def test_bodies_are_json_and_say_so(api: Api, method: str, path: str, media_type: str | None) -> None:
    token = api.agent("a1") if method == "PUT" else TOKEN
    assert api.error(method, path, {}, status=415, media_type=media_type, token=token) == "unsupported_media_type"


def test_a_media_type_may_have_parameters(api: Api) -> None:
    assert api.response("POST", "/agents", {}, media_type="Application/JSON; charset=utf-8").status == 201


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/agent",
        "/agents/",
        "/agents/a1/",
        "/agents//commands",
        "/agents/a1/unknown",
        "/agents/a1/status/more",
        "/%61gents",
        "/commands",
        "/../agents",
        "/api/v1/agents",
    ],
)
def test_unknown_addresses(api: Api, path: str) -> None:
    assert api.error("GET", path, status=404, token=None) == "not_found"


@pytest.mark.parametrize("target", ["/", "/agents", "/x/api/v1/agents", "/api/v1", "/api/v2/agents", "*"])
def test_unknown_addresses_outside_of_the_interface(api: Api, target: str) -> None:
    assert answer(api.hub, HttpRequest(method="GET", target=target), NOW) is None
    assert NOT_FOUND.status == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/agents", "GET, POST, HEAD"),
        ("PUT", "/agents/a1", "GET, HEAD"),
        ("GET", "/agents/a1/status", "PUT"),
        ("OPTIONS", "/agents/a1/commands", "POST"),
        ("GET", "/ssh-keys", "POST"),
        ("HEAD", "/ssh-keys/k1", "DELETE"),
        ("POST", "/commands/c1", "GET, HEAD"),
    ],
)
def test_wrong_methods(api: Api, method: str, path: str, allow: str) -> None:
    assert api.error(method, path, status=405) == "method_not_allowed"
    assert api.response(method, path).header("allow") == allow


def test_head_is_answered_as_get(api: Api) -> None:
    assert api.response("HEAD", "/agents") == api.response("GET", "/agents")


def test_an_expired_agents_token_is_refused(api: Api) -> None:
    token = api.agent("a1")
    later = Instant(NOW.mono + 901, NOW.wall + 901)
    assert api.error("GET", "/agents/a1", status=401, token=token, now=later) == "invalid_token"


def test_a_mistake_of_ours_costs_its_request_alone_and_is_told_to_the_operator(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake = ZeroDivisionError("a detail of the inside")

    def fail(_: object) -> HttpResponse:
        raise mistake

    monkeypatch.setitem(OPERATIONS["agents",], "GET", fail)
    protocol = PlatformProtocol(api.hub, conn=1, now=NOW)
    for method, status in (("GET", b"500"), ("POST", b"415"), ("GET", b"500")):
        head = f"{method} /api/v1/agents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        protocol.data_received(head.encode(), NOW)
        written: Any = take(protocol)
        assert written.data.startswith(b"HTTP/1.1 " + status)
        assert b"inside" not in written.data
        assert take(protocol) is None
    assert api.events(RequestFailed) == [RequestFailed("GET", mistake)] * 2


def test_an_event_has_the_time_of_the_request_that_caused_it(api: Api) -> None:
    """Also if that is the first thing that happens on a platform."""
    body = msgspec.json.encode({"agent_id": "a1"})
    request = HttpRequest(
        method="POST", target="/api/v1/auth/challenge", headers=(("content-type", "application/json"),), body=body
    )
    assert answer(api.hub, request, NOW) is not None
    assert api.hub.now == NOW
    assert api.events(ChallengeIssued) == [ChallengeIssued("a1")]


def test_the_internal_error_says_nothing() -> None:
    assert INTERNAL_ERROR.status == 500
    assert json.loads(INTERNAL_ERROR.body)["error"]["code"] == "internal_error"


def test_every_answer_can_be_written_on_the_wire(api: Api) -> None:
    """An answer that HTTP cannot carry would be a bug found only when it happens."""
    protocol = PlatformProtocol(api.hub, conn=1, now=NOW)
    head = f"authorization: Bearer {TOKEN}\r\ncontent-length: 0\r\n\r\n"
    for method, path in ENDPOINTS:
        protocol.data_received(f"{method} /api/v1{path} HTTP/1.1\r\nhost: x\r\n{head}".encode(), NOW)
        written: Any = take(protocol)
        assert written.data.startswith(b"HTTP/1.1 ")
        assert take(protocol) is None
