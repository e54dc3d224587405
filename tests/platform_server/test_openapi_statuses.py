"""Every status that `docs/openapi.yaml` names for an operation, and every error code, is provoked over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from artcafe_platform import Platform
from artcafe_proto import ApiError, PlatformConfig, PlatformHub
from artcafe_proto.platform import api as routes
from artcafe_proto.platform import delivery, registry, streams
from artcafe_proto.platform.answers import store_unavailable
from artcafe_proto.platform.authenticator import Authenticator
from artcafe_proto.policies import challenges
from artcafe_proto.policies.rate_limits import RateLimit
from platform_server.foreign_agent import ForeignAgent
from platform_server.foreign_stage import AGENT, ed25519_key
from platform_server.harness import register, tenant_client
from platform_server.openapi import OPERATIONS, Operation, ask, check_answer, example_request
from support.platform_api import TENANT, TENANTS, TOKEN

CONFIG = PlatformConfig(max_message_size=8192, head_timeout=0.05)
OTHER_AGENT = "agent-2"
SIGN_IN = ("challenge", "verify", "openLink")
"""Answered by the session itself, which has no 500: a bug in there costs the connection."""


def too_often(limit: RateLimit, key: object, mono: float) -> float:
    """Seconds to wait."""
    return 2.0


class Fault(NamedTuple):
    """A request that an operation refuses, told by what is not as in the example."""

    operation: str
    status: int
    code: str
    caller: str = ""
    """`tenant`, `agent`, `other agent`, `nobody` or `forger`; or "" for the first whom the operation serves."""
    known: dict[str, str] | None = None
    query: dict[str, str] | None = None
    body: Any = None
    headers: dict[str, str | None] | None = None
    """Header fields that are others, or with None are not there."""
    version: str = "HTTP/1.1"
    cut: bool = False
    """Only the beginning of the request is sent."""
    patch: tuple[Any, str, Any] | None = None
    """What is limited, or broken, in the platform."""


def broken(*_: object) -> None:
    raise RuntimeError("a bug")


def congested(*_: object) -> None:
    raise ApiError(503, "agent_congested", "it does not read", retry_after_s=1)


def unstored(*_: object) -> None:
    raise store_unavailable()


def in_doubt(*_: object) -> None:
    raise ApiError(503, "may_be_accepted", "the store is slow", retry_after_s=5)


ALL_PENDING_BYTES = "MAX_ALL_PENDING_COMMAND_BYTES"
OWN_KEY = "the agent's"
ELSEWHERE: dict[str, str] = {"agent_id": "nobody"}
FAULTS = [
    Fault("createAgent", 409, "agent_exists"),
    Fault("createAgent", 403, "forbidden", "agent"),
    Fault("createAgent", 422, "invalid_agent_id", known={"agent_id": ""}),
    Fault("createAgent", 503, "store_full", known=ELSEWHERE, patch=(registry, "MAX_AGENTS", 0)),
    Fault("createAgent", 503, "may_be_accepted", patch=(PlatformHub, "check_store", in_doubt)),
    Fault("listAgents", 400, "invalid_query", query={"limit": "0"}),
    Fault("listAgents", 403, "forbidden", "agent"),
    Fault("addKey", 403, "forbidden", "agent"),
    Fault("addKey", 404, "agent_not_found", known=ELSEWHERE),
    Fault("addKey", 409, "key_exists", known={"public_key": OWN_KEY}),
    Fault("addKey", 409, "too_many_keys", patch=(registry, "MAX_KEYS_PER_AGENT", 1)),
    Fault("addKey", 422, "invalid_key", known={"public_key": "ssh-ed25519 AAAA"}),
    Fault("challenge", 422, "invalid_agent_id", body={"agent_id": ""}),
    Fault("challenge", 429, "too_many_attempts", patch=(RateLimit, "wait_s", too_often)),
    Fault("verify", 401, "authentication_failed"),
    Fault("verify", 429, "too_many_attempts", patch=(RateLimit, "wait_s", too_often)),
    Fault("challenge", 503, "store_unavailable", patch=(Authenticator, "challenge", unstored)),
    Fault("verify", 503, "store_unavailable", patch=(Authenticator, "verify", unstored)),
    Fault("verify", 503, "busy", patch=(challenges, "MAX_CONSUMED_CHALLENGES", 0)),
    Fault("openLink", 400, "bad_request", headers={"Sec-WebSocket-Key": "short"}),
    Fault("openLink", 403, "forbidden", "tenant"),
    Fault("openLink", 403, "forbidden", "other agent"),
    Fault("openLink", 403, "forbidden", headers={"origin": "https://example.com"}),
    Fault("openLink", 426, "upgrade_required", headers={"Sec-WebSocket-Version": "8"}),
    Fault("openLink", 426, "upgrade_required", headers={"Upgrade": None, "Connection": None}),
    Fault("showAgent", 403, "forbidden", "other agent"),
    Fault("showAgent", 404, "agent_not_found", known=ELSEWHERE),
    Fault("setStatus", 403, "forbidden", "tenant"),
    Fault("setStatus", 403, "forbidden", "other agent"),
    Fault("sendCommand", 403, "forbidden", "agent"),
    Fault("sendCommand", 404, "agent_not_found", known=ELSEWHERE),
    Fault("sendCommand", 409, "command_exists", body={"command": "other", "command_id": "resize-1"}),
    Fault("sendCommand", 413, "too_large", body={"command": "resize", "args": {"x": "x" * 5000}}),
    Fault("sendCommand", 503, "store_full", body={"command": "x"}, patch=(delivery, ALL_PENDING_BYTES, 0)),
    Fault("sendCommand", 429, "too_many_commands", body={"command": "x"}, patch=(delivery, "MAX_PENDING_COMMANDS", 0)),
    Fault("showCommand", 400, "invalid_query", query={"wait": "soon"}),
    Fault("showCommand", 403, "forbidden", "agent"),
    Fault("showCommand", 404, "command_not_found", known={"command_id": "nothing"}),
    Fault("showCommand", 409, "ambiguous_command_id"),
    Fault("sendMessage", 403, "forbidden", "agent"),
    Fault("sendMessage", 404, "agent_not_found", known=ELSEWHERE),
    Fault("sendMessage", 409, "agent_offline"),
    Fault("sendMessage", 503, "agent_congested", patch=(PlatformHub, "send_message", congested)),
    Fault("watchEvents", 400, "invalid_query", query={"agent_id": "agent-1&agent_id=agent-1"}),
    Fault("watchEvents", 403, "forbidden", "agent"),
    Fault("watchEvents", 404, "agent_not_found", query=ELSEWHERE),
    Fault("watchEvents", 429, "too_many_streams", patch=(streams, "MAX_STREAMS_PER_TENANT", 0)),
    Fault("revokeKey", 403, "forbidden", "agent"),
    Fault("revokeKey", 404, "key_not_found", known={"key_id": "nothing"}),
]


def common_faults(operation: Operation) -> Iterator[Fault]:
    """What any operation refuses, or any with a token, or any with a body."""
    name = operation.name
    yield Fault(name, 400, "bad_request", headers={"host": "a/b"})
    yield Fault(name, 408, "request_timeout", cut=True)
    yield Fault(name, 413, "content_too_large", headers={"content-length": "65537"})
    yield Fault(name, 417, "expectation_failed", headers={"expect": "a-miracle"})
    yield Fault(name, 431, "headers_too_large", headers={"x-long": "x" * 65_536})
    yield Fault(name, 501, "not_implemented", headers={"content-length": None, "transfer-encoding": "gzip, chunked"})
    yield Fault(name, 505, "version_not_supported", version="HTTP/2.0")
    if operation.schemes:
        yield Fault(name, 401, "unauthorized", "nobody")
        yield Fault(name, 401, "invalid_token", "forger")
        yield Fault(name, 429, "too_many_attempts", "forger", patch=(RateLimit, "wait_s", too_often))
        if name != "openLink":
            yield Fault(name, 503, "store_unavailable", patch=(PlatformHub, "check_store", unstored))
    if operation.request_body is not None:
        yield Fault(name, 400, "invalid_json", body=b"{")
        yield Fault(name, 415, "unsupported_media_type", headers={"content-type": "text/plain"})
        yield Fault(name, 415, "unsupported_media_type", headers={"content-encoding": "gzip"})
        yield Fault(name, 422, "invalid_body", body=b"[]")
    if name not in SIGN_IN:
        yield Fault(name, 500, "internal_error", patch=(routes, "answer", broken))


def faults(operation: Operation) -> list[Fault]:
    return [*common_faults(operation), *(fault for fault in FAULTS if fault.operation == operation.name)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_every_status_is_provoked(operation: Operation, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Platform(tenants=TENANTS, config=CONFIG) as platform, tenant_client(platform) as client:
        agents = [
            ForeignAgent(platform.url, TENANT, agent_id, ed25519_key(), "websockets")
            for agent_id in (AGENT, OTHER_AGENT)
        ]
        for agent in agents:
            await register(client, agent.agent_id, agent.public_key)
            await agent.authenticate()
            await platform.send_command(TENANT, agent.agent_id, "resize", command_id="resize-1")
        tokens = {
            "tenant": TOKEN,
            "agent": agents[0].token,
            "other agent": agents[1].token,
            "forger": "x" * 20,
            "nobody": None,
            "": {"tenantToken": TOKEN, "agentToken": agents[0].token}.get("".join(operation.schemes[:1])),
        }
        provoked = {operation.success}  # by the document's examples
        for fault in faults(operation):
            known = dict(fault.known or {})
            if known.get("public_key") == OWN_KEY:
                known["public_key"] = agents[0].public_key
            request = example_request(operation, tokens[fault.caller], known=known, query=fault.query, body=fault.body)
            headers = {**request.headers, **(fault.headers or {})}
            request = request._replace(
                headers={name: value for name, value in headers.items() if value is not None},
                target=request.target.replace("%26", "&").replace("%3D", "="),
                version=fault.version,
            )
            with monkeypatch.context() as patched:
                if fault.patch is not None:
                    patched.setattr(*fault.patch)
                answer = await ask(platform, request, size=5 if fault.cut else None)
            assert (answer.status, answer.json["error"]["code"]) == (fault.status, fault.code), fault
            check_answer(operation, answer)
            provoked.add(answer.status)
        assert provoked == set(operation.responses)


def test_every_error_code_is_provoked() -> None:
    """With the test above: codes are written down once for several operations, and each of them has to be real."""
    documented: set[tuple[int, str]] = set()
    for operation in OPERATIONS:
        for status, response in operation.responses.items():
            if status >= 400:
                documented |= {(status, code) for code in response["content"]["application/json"]["examples"]}
    provoked = {(fault.status, fault.code) for operation in OPERATIONS for fault in faults(operation)}
    assert provoked == documented


def test_an_example_of_an_error_is_named_after_its_code() -> None:
    for operation in OPERATIONS:
        for status, response in operation.responses.items():
            if status >= 400:
                for code, example in response["content"]["application/json"]["examples"].items():
                    assert example["value"]["error"]["code"] == code
