"""The opening handshake of a WebSocket, both sides (RFC 6455 section 4): pure functions on headers.

Neither side offers or takes an extension or a subprotocol.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from hashlib import sha1
from typing import TYPE_CHECKING, Final

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.exchanges import ascii_lower, trimmed

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.exchanges import Headers, HttpRequest

VERSION: Final = "13"
"""RFC 6455 section 4.1; a refusal with 426 names it (section 4.4)."""


def make_key(rng: Random) -> str:
    """A Sec-WebSocket-Key: 16 random bytes in base64 (section 4.1)."""
    return b64encode(rng.randbytes(16)).decode()


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept that answers `key` (section 4.2.2)."""
    digest = sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return b64encode(digest).decode()


def upgrade_headers(key: str) -> Headers:
    """What the client's opening handshake adds to a request (section 4.1)."""
    return (
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", key),
        ("sec-websocket-version", VERSION),
    )


def accept_headers(key: str) -> Headers:
    """The fields of the server's 101 (section 4.2.2)."""
    return (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", accept_key(key)))


def check_response(headers: Headers, key: str) -> None:
    """Check the 101 that answers a handshake sent with `key` (section 4.1). Raises RemoteProtocolError."""
    if [ascii_lower(value) for value in _values(headers, "upgrade")] != ["websocket"]:
        raise _bad_response("Upgrade: websocket")
    if "upgrade" not in _tokens(headers, "connection"):
        raise _bad_response("Connection: Upgrade")
    if _values(headers, "sec-websocket-accept") != [accept_key(key)]:
        raise _bad_response("the one right Sec-WebSocket-Accept")
    for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
        if _values(headers, name):
            raise _bad_response(f"no {name}, as none was offered")


def wants_websocket(headers: Headers) -> bool:
    """Whether a request asks for a WebSocket, soundly or not (RFC 9110 section 7.8)."""
    return "websocket" in _tokens(headers, "upgrade")


def check_request(request: HttpRequest) -> str:
    """The key of a sound opening handshake (section 4.2.1). Raises RemoteProtocolError with 400, or 426 (4.4)."""
    headers = request.headers
    if request.method != "GET":
        raise _bad_request("the method GET")
    if request.body or request.header("transfer-encoding") is not None:
        raise _bad_request("no body")
    if "upgrade" not in _tokens(headers, "connection"):
        raise _bad_request("Connection: Upgrade")
    if _values(headers, "sec-websocket-version") != [VERSION]:
        reason = f"this server speaks WebSocket version {VERSION} only"
        raise RemoteProtocolError(426, reason, "RFC 6455 section 4.4")
    keys = _values(headers, "sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise _bad_request("one Sec-WebSocket-Key of 16 bytes in base64")
    return keys[0]


_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def _values(headers: Headers, name: str) -> list[str]:
    return [value for key, value in headers if key == name]


def _tokens(headers: Headers, name: str) -> set[str]:
    """The members of a comma-separated field, in lower case (RFC 9110 section 5.6.1)."""
    return {ascii_lower(trimmed(token)) for value in _values(headers, name) for token in value.split(",")}


def _is_key(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) == 16
    except (Base64Error, ValueError):  # the latter for characters outside ASCII
        return False


def _bad_request(expected: str) -> RemoteProtocolError:
    return RemoteProtocolError(400, f"an opening handshake needs {expected}", "RFC 6455 section 4.2.1")


def _bad_response(expected: str) -> RemoteProtocolError:
    return RemoteProtocolError(400, f"the 101 response needs {expected}", "RFC 6455 section 4.1")
