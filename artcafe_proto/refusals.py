"""Why a request was refused: what the platform says of it, and what to look at for this status at this step (AUTH-7).

What a peer says is shown shortened and escaped, and nothing of it that was secret in the request (TOK-4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, cast
from urllib.parse import urlsplit

import msgspec

from artcafe_proto.limits import MAX_SHOWN_ADDRESS_BYTES
from artcafe_proto.messages import is_too_deep
from artcafe_proto.readable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artcafe_proto.exchanges import HttpRequest, HttpResponse

__all__ = ["MAX_SAID_CHARS", "advice", "shown", "what_it_says"]

Step = Literal["challenge", "verify", "upgrade", "call", "tenant"]

MAX_SAID_CHARS: Final = 200
"""Of what a platform says: a sentence or two fit in a line of a log."""
_MIN_SECRET_CHARS: Final = 6
"""Shorter pieces of a header field, as `Basic` or `en`, are no secrets and common in what anybody says."""
_MIN_ECHO_CHARS: Final = 12
"""A word of so many characters is hidden if it is a part of a secret."""


def explain(step: Step, request: HttpRequest, response: HttpResponse) -> str:
    """One sentence for a response that is a refusal: its status, what the platform says, and what to look at."""
    text = f"the platform answered {_ASKED[step]} with status {response.status}"
    said = what_it_says(response, secrets_of(request))
    if said:
        text = f"{text}, saying {said}"
    hint = advice(step, response)
    return f"{text}: {hint}" if hint else text


def advice(step: Step, response: HttpResponse) -> str:
    """Which of endpoint, dialect, agent, key, tenant and format to look at; "" where the status says it all."""
    status = response.status
    if 300 <= status < 400:
        return _redirect(response.header("location"), step)
    if step == "upgrade" and 200 <= status < 300:
        return f"that is no answer to an opening handshake: {_NO_UPGRADE}, or is ws_endpoint wrong?"
    return _ADVICE.get((step, status)) or _ANYWHERE.get(status, "")


def what_it_says(response: HttpResponse, secrets: Iterable[str] = ()) -> str:
    """The `detail`, `error` or `message` of a JSON body, quoted, shortened and escaped; "" if it has none of them."""
    if is_too_deep(response.body):
        return ""
    try:
        body = msgspec.json.decode(response.body)
    except (msgspec.MsgspecError, ValueError):
        return ""
    said = _text(body)
    for secret in secrets:
        said = said.replace(secret, _HIDDEN)
    said = _WORD.sub(lambda word: _HIDDEN if any(word[0] in secret for secret in secrets) else word[0], said)
    return f'"{shown(said, MAX_SAID_CHARS)}"' if said.strip() else ""


def secrets_of(request: HttpRequest) -> list[str]:
    """What a peer may not have shown: the values of the fields that carry one, and a challenge with its signature."""
    values = [value for name, value in request.headers if name not in _HARMLESS]
    body: Any = msgspec.json.decode(request.body) if request.body else {}
    values += [body[name] for name in ("response", "challenge") if name in body]
    return [piece for value in values for piece in (value, *value.split()) if len(piece) >= _MIN_SECRET_CHARS]


def shown(text: str, most: int) -> str:
    """`text` cut to `most` characters, without any that would begin a line, colour or turn what stands around it."""
    return one_line(text if len(text) <= most else f"{text[:most]}…")


def shown_address(address: str) -> str:
    """The address of a peer, as `shown`, cut to `MAX_SHOWN_ADDRESS_BYTES` of UTF-8."""
    data = one_line(address[:MAX_SHOWN_ADDRESS_BYTES]).encode()
    if max(len(address), len(data)) <= MAX_SHOWN_ADDRESS_BYTES:
        return data.decode()
    return f"{data[:MAX_SHOWN_ADDRESS_BYTES].decode('utf-8', 'ignore')}…"


def _text(said: Any) -> str:
    """The text in a body of one of the common shapes."""
    if isinstance(said, list):
        return "; ".join(filter(None, map(_text, cast("list[Any]", said))))
    if not isinstance(said, dict):
        return said if isinstance(said, str) else ""
    fields = cast("dict[str, Any]", said)
    where, text = fields.get("loc"), fields.get("msg")
    if isinstance(where, list) and isinstance(text, str):  # what FastAPI says of a bad field
        return f"{'.'.join(map(str, cast('list[Any]', where)))}: {text}"
    return next(filter(None, (_text(fields.get(name)) for name in ("detail", "error", "message"))), "")


def _redirect(location: str | None, step: Step) -> str:
    try:
        parts = urlsplit(location or "")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    target = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{'' if port is None else f':{port}'}"
    where = shown(target, MAX_SAID_CHARS) if parts.scheme and host else "another address of the same host"
    setting = {"upgrade": "ws_endpoint", "tenant": "--platform"}.get(step, "api_endpoint")
    return f"it redirects to {where}, and redirects are not followed: if that is the platform, give it as {setting}"


_HIDDEN: Final = "…"
_WORD: Final = re.compile(rf"[^\s\"'()<>\[\]{{}},;:=]{{{_MIN_ECHO_CHARS},}}")
_HARMLESS: Final = frozenset({"accept", "content-type", "user-agent"})
_NO_UPGRADE: Final = "does a proxy in between not pass on the fields Upgrade and Connection"
_ASKED: Final = {
    "challenge": "the challenge request",
    "verify": "the signature",
    "upgrade": "the opening handshake",
    "call": "the call",
    "tenant": "the request",
}
_OTHER_API: Final = "does that platform speak this API?"
_ANYWHERE: Final = {
    407: "a proxy in between wants credentials of its own: it may take them as proxy-authorization in extra_headers",
    415: _OTHER_API,
    502: "a proxy answered, which cannot reach the platform behind it: does the platform run?",
    504: "a proxy answered, as the platform behind it was too slow",
}
_NO_CHALLENGE: Final = "does that platform speak this API, and is this agent_id well-formed there?"
_NO_SUCH: Final = "is api_endpoint right, does that platform speak this API, and is this agent_id registered there?"
_BARRED: Final = (
    "a challenge needs no credentials: does something in front of the platform want some, as extra_headers, or is this "
    "agent_id barred there?"
)
WRONG_KEY: Final = (
    "is this key registered there, for this agent_id, tenant_id and key_id, and does it take this signature_format?"
)
"""What to look at where a signature was found wrong."""
_WRONG_FORM: Final = "does that platform speak this API, take this signature_format, and want a key_id?"
_FORGOTTEN: Final = "the token is not accepted: has the platform forgotten this agent, or was its key revoked?"
_NO_WEBSOCKET: Final = (
    "something in between, a proxy, does not pass on the fields Upgrade and Connection: configure it for WebSocket"
)
_ADVICE: Final[dict[tuple[Step, int], str]] = {
    ("challenge", 400): _NO_CHALLENGE,
    ("challenge", 422): _NO_CHALLENGE,
    ("challenge", 401): _BARRED,
    ("challenge", 403): _BARRED,
    ("challenge", 404): _NO_SUCH,
    ("challenge", 405): _NO_SUCH,
    ("verify", 400): _WRONG_FORM,
    ("verify", 422): _WRONG_FORM,
    ("verify", 401): WRONG_KEY,
    ("verify", 403): "is this agent allowed there, of this tenant_id, and its key not revoked?",
    ("verify", 404): "is this agent_id registered there, for this tenant_id, and api_endpoint right?",
    ("verify", 405): _NO_SUCH,
    ("upgrade", 400): f"{_NO_UPGRADE}, or change others?",
    ("upgrade", 401): _FORGOTTEN,
    ("upgrade", 403): "may this agent_id open links there, and does nothing in between refuse WebSockets?",
    ("upgrade", 404): "is ws_endpoint right, or else api_endpoint, and this agent_id registered there?",
    ("upgrade", 405): "is ws_endpoint right, or else api_endpoint?",
    ("upgrade", 426): _NO_WEBSOCKET,
    ("call", 401): _FORGOTTEN,
    ("call", 403): "may this agent ask that there?",
    ("call", 404): _NO_SUCH,
    ("call", 405): _NO_SUCH,
    ("call", 422): _OTHER_API,
}
