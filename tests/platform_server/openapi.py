"""`docs/openapi.yaml` for tests: its operations, the requests of its examples, and whether an answer is as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode

import h11
import jsonschema_rs
import yaml
from anyio.abc import SocketStream

from artcafe_platform import Platform
from platform_server.harness import bare_connection

PATH = Path(__file__).parents[2] / "docs" / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(PATH.read_text("utf-8"))


class Operation(NamedTuple):
    """One operation of the document. `spec` has the parameters of its path as well."""

    method: str
    path: str
    spec: dict[str, Any]

    @property
    def name(self) -> str:
        return self.spec["operationId"]

    @property
    def responses(self) -> dict[int, dict[str, Any]]:
        """By status, without references."""
        return {int(status): resolve(response) for status, response in self.spec["responses"].items()}

    @property
    def success(self) -> int:
        """The one status that is no error."""
        (status,) = (status for status in self.responses if status < 400)
        return status

    @property
    def request_body(self) -> Any:
        """The example of its body, None without one."""
        body = self.spec.get("requestBody")
        return None if body is None else body["content"]["application/json"]["example"]

    @property
    def schemes(self) -> list[str]:
        """Whose tokens it takes."""
        return [name for need in self.spec.get("security", DOCUMENT["security"]) for name in need]


class Sent(NamedTuple):
    """A request as it goes out, byte by byte."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    version: str = "HTTP/1.1"

    @property
    def raw(self) -> bytes:
        lines = [
            f"{self.method} {self.target} {self.version}",
            *(f"{name}: {self.headers[name]}" for name in self.headers),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


class Answered(NamedTuple):
    """An answer; of a stream what came until the end of its first event."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def _operations() -> Iterator[Operation]:
    for path, item in DOCUMENT["paths"].items():
        shared = item.get("parameters", [])
        for method, spec in item.items():
            if method != "parameters":
                parameters = [resolve(parameter) for parameter in [*shared, *spec.get("parameters", [])]]
                yield Operation(method.upper(), path, {**spec, "parameters": parameters})


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference refers to."""
    if "$ref" not in node:
        return node
    found: Any = DOCUMENT
    for name in node["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return found


def example_request(
    operation: Operation,
    token: str | None,
    *,
    known: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
    body: Any = None,
) -> Sent:
    """The request of an operation's examples. `known` replaces what only the platform can name, by parameter or field;
    `query` and `body` replace the examples of those.
    """
    known = known or {}
    target, asked, headers = operation.path, {}, {"host": "platform"}
    for parameter in operation.spec["parameters"]:
        name = parameter["name"]
        value = known.get(name, parameter.get("example"))
        if value is None:
            continue
        match parameter["in"]:
            case "path":
                target = target.replace(f"{{{name}}}", quote(value, safe=""))
            case "query":
                asked[name] = str(value)
            case _:
                headers[name] = value
    asked = asked if query is None else query
    if asked:
        target += f"?{urlencode(asked)}"
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    body = operation.request_body if body is None else body
    if isinstance(body, dict):
        body = {name: known.get(name, value) for name, value in cast("dict[str, Any]", body).items()}
    raw = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    if raw:
        headers |= {"content-type": "application/json", "content-length": str(len(raw))}
    return Sent(operation.method, target, headers, raw)


async def ask(platform: Platform, sent: Sent, *, size: int | None = None) -> Answered:
    """Send a request, or its first `size` bytes, on a connection of its own."""
    async with bare_connection(platform) as stream:
        await stream.send(sent.raw[:size])
        return await _read_answer(stream, sent.method)


async def _read_answer(stream: SocketStream, method: str) -> Answered:
    """Read one answer by h11, which is not told what was asked but for the method."""
    connection = h11.Connection(h11.CLIENT)
    upgrade = [("connection", "upgrade"), ("upgrade", "websocket")]
    connection.send(h11.Request(method=method, target="/", headers=[("host", "x"), *upgrade]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | h11.InformationalResponse | None = None
    body = b""
    while True:
        event = connection.next_event()
        match event:
            case h11.NEED_DATA:
                connection.receive_data(await stream.receive())
            case h11.Response():
                head = event
            case h11.Data():
                body += bytes(event.data)
            case h11.InformationalResponse() | h11.EndOfMessage():
                head = event if isinstance(event, h11.InformationalResponse) else head
                break
            case _:
                raise AssertionError(f"expected an answer, got {event}")
        if head is not None and (b"content-type", b"text/event-stream") in list(head.headers) and body[-2:] == b"\n\n":
            break
    assert head is not None
    return Answered(head.status_code, {name.decode(): value.decode() for name, value in head.headers}, body)


def check_answer(operation: Operation, answer: Answered) -> None:
    """Hold an answer against the document: status, headers, media type, body, and of an error its code."""
    assert answer.status in operation.responses, f"{operation.name} does not say {answer.status}: {answer.body!r}"
    response = operation.responses[answer.status]
    for name, header in response.get("headers", {}).items():
        check_value(answer.headers[name.lower()], _as_text(resolve(header)["schema"]))
    content = response.get("content", {})
    assert answer.headers.get("content-type") == next(iter(content), None)
    if "text/event-stream" in content:
        return
    if not content:
        assert answer.body == b""
        return
    media = content["application/json"]
    check_value(answer.json, media["schema"])
    if answer.status >= 400:
        assert answer.json["error"]["code"] in media["examples"]


def check_value(value: Any, schema: dict[str, Any]) -> None:
    """Validate a value by JSON Schema 2020-12, as OpenAPI 3.1 has it; properties that are not named are wrong here."""
    whole = {**_closed(schema), "components": _CLOSED_COMPONENTS}  # where "#/components/…" is looked for
    jsonschema_rs.Draft202012Validator(whole).validate(value)


def _as_text(schema: dict[str, Any]) -> dict[str, Any]:
    """What a header's schema says of its text."""
    return {"type": "string", "pattern": "^[0-9]+$"} if schema.get("type") == "integer" else schema


def _closed(node: Any) -> Any:
    """A schema, or part of one, whose objects have no properties but those it names."""
    if isinstance(node, list):
        return [_closed(each) for each in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(value) for name, value in cast("dict[str, Any]", node).items()}
    names_all = closed.get("type") == "object" and "properties" in closed
    return {"additionalProperties": False, **closed} if names_all else closed


_CLOSED_COMPONENTS = _closed(DOCUMENT["components"])
OPERATIONS = list(_operations())
BY_NAME = {operation.name: operation for operation in OPERATIONS}
