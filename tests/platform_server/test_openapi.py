"""`docs/openapi.yaml` is true: it is OpenAPI 3.1, has every operation, and its examples are answered as it says."""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import AsyncExitStack
from copy import deepcopy
from importlib.metadata import version
from random import Random
from typing import Any, cast

import jsonschema_rs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from openapi_spec_validator import OpenAPIV31SpecValidator

from artcafe_platform import Platform
from artcafe_proto import ConfigError, PlatformConfig, SigningKey, limits
from artcafe_proto.config import API_PREFIX, check_id
from artcafe_proto.events import AgentOnline, HubEvent
from artcafe_proto.platform import api, streams
from artcafe_proto.platform.streams import describe
from core.test_event_streams import EVENTS
from platform_server.foreign_agent import ForeignAgent, Link
from platform_server.foreign_stage import AGENT, ed25519_key
from platform_server.harness import Recorder
from platform_server.listener import EventParser
from platform_server.openapi import (
    BY_NAME,
    DOCUMENT,
    OPERATIONS,
    PATH,
    Answered,
    Operation,
    Sent,
    ask,
    check_answer,
    check_value,
    example_request,
)
from support.platform_api import NOW, TENANT, TENANTS, TOKEN

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(Random(1).randbytes(32)))
"""Of the example's public key."""
OPENING = ("GET", ("ws", "agent", ""))
"""The opening handshake of a link."""
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
VOLATILE = {
    "accepted_at",
    "answered_at",
    "challenge",
    "created_at",
    "expires_at",
    "key_id",
    "last_seen",
    "message_id",
    "token",
}
"""Fields whose values are other ones each time."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def settled(value: Any) -> Any:
    """A value without what is another one each time."""
    if isinstance(value, list):
        return [settled(each) for each in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    return {name: "…" if name in VOLATILE and each is not None else settled(each) for name, each in fields.items()}


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    document = deepcopy(DOCUMENT)
    document["components"]["schemas"]["Id"]["pattern"] = ""  # of ECMA-262, which this validator takes for Python's
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    assert DOCUMENT["info"]["version"] == version("artcafe-proto")


def test_an_operation_is_one_entry_of_the_platform_and_one_of_the_document() -> None:
    documented = [
        (operation.method, tuple("" if part[:1] == "{" else part for part in operation.path.split("/")[3:]))
        for operation in OPERATIONS
    ]
    entries = [(method, path) for path, operations in api.OPERATIONS.items() for method in operations]
    assert sorted(documented) == sorted([*entries, OPENING])
    functions = [operation for operations in api.OPERATIONS.values() for operation in operations.values()]
    assert len(set(functions)) == len(functions)
    others = {operation for operations in api.COMPAT.values() for operation in operations.values()}
    assert others < set(functions), "the document names where existing agents look for them"
    assert all(operation.path.startswith(f"{API_PREFIX}/") for operation in OPERATIONS)


def test_numbers_are_those_of_the_code() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    agent, command = schemas["NewAgent"]["properties"], schemas["NewCommand"]["properties"]
    limit, wait = (BY_NAME[name].spec["parameters"] for name in ("listAgents", "showCommand"))
    challenge = BY_NAME["challenge"].spec["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert schemas["Id"]["maxLength"] == challenge["agent_id"]["maxLength"] == limits.MAX_ID_CHARS
    assert agent["name"]["maxLength"] == agent["capabilities"]["items"]["maxLength"] == limits.MAX_NAME_CHARS
    assert schemas["NewKey"]["properties"]["name"]["maxLength"] == limits.MAX_NAME_CHARS
    assert agent["capabilities"]["maxItems"] == limits.MAX_CAPABILITIES
    assert command["command"]["maxLength"] == limits.MAX_COMMAND_NAME_CHARS == limits.MAX_NAME_CHARS
    assert command["timeout"]["maximum"] == limits.MAX_COMMAND_TIMEOUT_S
    assert command["expires_in"]["maximum"] == limits.MAX_COMMAND_EXPIRES_IN_S
    assert (limit[0]["schema"]["maximum"], limit[0]["schema"]["default"]) == (
        limits.MAX_PAGE_AGENTS,
        limits.DEFAULT_PAGE_AGENTS,
    )
    assert next(each for each in wait if each["name"] == "wait")["schema"]["maximum"] == limits.MAX_WAIT_S
    text = " ".join(PATH.read_text("utf-8").split())
    for phrase in (
        f"of {limits.MAX_HTTP_BODY_BYTES // 1024} KiB and {limits.MAX_JSON_DEPTH} levels at most",
        f"more than {limits.MAX_HTTP_HEAD_BYTES // 1024} KiB",
        f"An agent has {limits.MAX_KEYS_PER_AGENT} keys at most",
        f"within {limits.CHALLENGE_LIFE_S:.0f} s",
        f"good for {PlatformConfig().token_life / 60:.0f} min",
        f"{limits.DEFAULT_COMMAND_TIMEOUT_S:.0f} where none is given (CMD-4)",
        f"{PlatformConfig().command_expires_in:.0f} where none is given (CMD-10)",
        f"after {limits.KEEP_ALIVE_S:.0f} s of silence",
        f"more than {limits.MAX_WAITING_BYTES // 1024**2} MiB unread",
        f"at most {limits.MAX_STREAMS_PER_TENANT} event streams",
    ):
        assert text.count(phrase) == 1, phrase


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_its_examples_are_what_its_schemas_say(operation: Operation) -> None:
    if operation.request_body is not None:
        check_value(operation.request_body, operation.spec["requestBody"]["content"]["application/json"]["schema"])
    for parameter in operation.spec["parameters"]:
        if "example" in parameter:
            check_value(parameter["example"], parameter["schema"])
    for response in operation.responses.values():
        media = response.get("content", {}).get("application/json")
        if media is not None:
            named = [each["value"] for each in media.get("examples", {}).values()]
            for value in named or [media["example"]]:
                check_value(value, media["schema"])


@pytest.mark.parametrize(
    "text", ["a", "a b/é漢", " ", "\x00", "a\n", "\u00a0", "\u200b", "\ue000", "", "x" * 128, "x" * 129]
)
def test_ids_are_what_the_platform_takes(text: str) -> None:
    try:
        check_id("agent_id", text)
    except ConfigError:
        with pytest.raises(jsonschema_rs.ValidationError):
            check_value(text, DOCUMENT["components"]["schemas"]["Id"])
    else:
        check_value(text, DOCUMENT["components"]["schemas"]["Id"])


@pytest.mark.anyio
async def test_every_example_is_answered_as_it_says() -> None:
    """The operations are in the order of a story, which is told here from its beginning to its end."""
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(Platform(tenants=TENANTS))
        agent = ForeignAgent(platform.url, TENANT, AGENT, ed25519_key(), "websockets")
        link: Link | None = None
        known: dict[str, str] = {}
        for operation in OPERATIONS:
            token = {"tenantToken": TOKEN, "agentToken": agent.token, "": None}["".join(operation.schemes[:1])]
            answer = await ask(platform, example_request(operation, token, known=known))
            check_answer(operation, answer)
            assert answer.status == operation.success
            match operation.name:
                case "addKey":
                    known["key_id"] = answer.json["key_id"]
                case "challenge":
                    known["challenge"] = answer.json["challenge"]
                    known["response"] = b64encode(KEY.sign(known["challenge"].encode(), "ssh")).decode()
                case "verify":
                    agent.token = answer.json["token"]
                case "openLink":
                    events = Recorder(platform)
                    link = await stack.enter_async_context(agent.connect())
                    await link.heartbeat(cpu_usage=12.5, memory_usage=48.0)
                    await events.nth(AgentOnline)
                case "sendCommand":
                    assert link is not None
                    command = await link.receive()
                    assert command["data"]["args"] == operation.request_body["args"]
                    await link.respond(command, {"width": 640})
                case "sendMessage":
                    assert link is not None
                    assert (await link.receive())["data"] == operation.request_body["data"]
                case _:
                    pass
            check_example(operation, answer)


def check_example(operation: Operation, answer: Answered) -> None:
    """The answer is that of the document's example, but for what is another one each time."""
    response = operation.responses[answer.status]
    for name, header in response.get("headers", {}).items():
        if "example" in header:
            assert answer.headers[name.lower()] == header["example"]
    for media_type, media in response.get("content", {}).items():
        if media_type == "application/json":
            assert settled(answer.json) == settled(media["example"])
        else:
            begun, example = (EventParser() for _ in range(2))
            begun.feed(answer.body.decode())
            example.feed(media["example"])
            assert [event.name for event in begun.events] == [event.name for event in example.events]
            for event in [*begun.events, *example.events]:
                assert event.last_id
                check_event(event.name, json.loads(event.data))


def check_event(name: str, data: Any) -> None:
    check_value(data, DOCUMENT["components"]["schemas"]["EventData"]["properties"][name])


def test_it_has_every_event_of_the_stream() -> None:
    names = {name for _, name, _ in EVENTS} | {"stream.open", "stream.reset"}
    assert set(DOCUMENT["components"]["schemas"]["EventData"]["properties"]) == names


@pytest.mark.parametrize("event", [event for event, _, _ in EVENTS], ids=lambda event: type(event).__name__)
def test_events_are_as_it_says(event: HubEvent) -> None:
    described = describe(event)
    assert described is not None
    all_streams = streams.Streams(Random(1))
    all_streams.add(streams.Stream(1, 1, TENANT, None), None, NOW)
    publication = all_streams.publish(TENANT, event, NOW)
    assert publication is not None
    parser = EventParser()
    parser.feed(publication.data.decode())
    (parsed,) = parser.events
    check_event(parsed.name, json.loads(parsed.data))


@pytest.mark.anyio
async def test_other_methods_are_405_and_other_addresses_404() -> None:
    error = DOCUMENT["components"]["schemas"]["Error"]
    async with Platform(tenants=TENANTS) as platform:
        for path in DOCUMENT["paths"]:
            allowed = {operation.method for operation in OPERATIONS if operation.path == path}
            with_head = allowed | {"HEAD" for method in allowed if method == "GET" and "/ws/" not in path}
            for method in METHODS:
                target = path.replace("{", "").replace("}", "")
                if method not in allowed:
                    answer = await ask(platform, Sent(method, target, {"host": "x"}, b""))
                    assert (answer.status, answer.json["error"]["code"]) == (405, "method_not_allowed")
                    assert set(answer.headers["allow"].split(", ")) == with_head
                    check_value(answer.json, error)
                answer = await ask(platform, Sent(method, f"{target}/nothing/here", {"host": "x"}, b""))
                if "/ws/" not in path:
                    assert (answer.status, answer.json["error"]["code"]) == (404, "not_found")
                    check_value(answer.json, error)
        upgrade = example_request(BY_NAME["openLink"], TOKEN)
        answer = await ask(platform, upgrade._replace(target=f"{API_PREFIX}/agents"))
        assert (answer.status, answer.json["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 418},
        {"headers": {"content-type": "text/plain"}},
        {"body": b'{"command_id": 5}'},
        {"body": b'{"command_id": "c1", "more": 1}'},
        {"body": b"{}"},
        {"status": 404, "body": b'{"error": {"code": "key_exists", "message": ""}}'},
    ],
)
def test_an_answer_that_is_not_as_it_says_is_found(wrong: dict[str, Any]) -> None:
    right = Answered(202, {"content-type": "application/json"}, b'{"command_id": "c1"}')
    check_answer(BY_NAME["sendCommand"], right)
    with pytest.raises((AssertionError, jsonschema_rs.ValidationError)):
        check_answer(BY_NAME["sendCommand"], right._replace(**wrong))
