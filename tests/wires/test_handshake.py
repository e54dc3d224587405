"""The opening handshake: what is written, and what is taken for one."""

from __future__ import annotations

from random import Random

import pytest

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.exchanges import Headers, HttpRequest
from artcafe_proto.wires.handshake import (
    accept_headers,
    accept_key,
    check_request,
    check_response,
    make_key,
    upgrade_headers,
    wants_websocket,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3, as is the answer
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def edited(headers: Headers, name: str, *values: str) -> Headers:
    """`headers` with the field `name` replaced by one for each value."""
    return (*((key, value) for key, value in headers if key != name), *((name, value) for value in values))


def request(headers: Headers, method: str = "GET", body: bytes = b"") -> HttpRequest:
    return HttpRequest(method=method, target="/", headers=headers, body=body)


def test_the_example_of_the_rfc() -> None:
    assert accept_key(KEY) == ACCEPT


def test_keys_are_fresh_sound_and_repeatable() -> None:
    rng = Random(1)
    keys = [make_key(rng) for _ in range(100)]
    assert len(set(keys)) == 100
    assert keys[0] == make_key(Random(1))
    for key in keys:
        assert check_request(request(upgrade_headers(key))) == key


def test_the_two_sides_fit() -> None:
    check_response(accept_headers(KEY), KEY)
    assert wants_websocket(upgrade_headers(KEY))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("upgrade", ("WebSocket",)),
        ("connection", ("keep-alive, UPGRADE",)),
        ("connection", ("keep-alive", "upgrade")),
        ("server", ("any",)),
    ],
)
def test_a_response_may_vary_in_this(name: str, values: tuple[str, ...]) -> None:
    check_response(edited(accept_headers(KEY), name, *values), KEY)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("upgrade", ()),
        ("upgrade", ("h2c",)),
        ("upgrade", ("websocket", "websocket")),
        ("connection", ()),
        ("connection", ("close",)),
        ("connection", ("Upgrade\xa0",)),
        ("connection", ("\x0bUpgrade",)),
        ("upgrade", ("websocket\xa0",)),
        ("upgrade", ("web\u017focket",)),
        ("upgrade", ("websoc\u212aet",)),
        ("sec-websocket-accept", ()),
        ("sec-websocket-accept", (ACCEPT.lower(),)),
        ("sec-websocket-accept", (accept_key("another"),)),
        ("sec-websocket-accept", (ACCEPT, ACCEPT)),
        ("sec-websocket-extensions", ("permessage-deflate",)),
        ("sec-websocket-protocol", ("chat",)),
    ],
)
def test_a_bad_response_is_refused(name: str, values: tuple[str, ...]) -> None:
    with pytest.raises(RemoteProtocolError, match=r"the 101 response needs .* \[RFC 6455 section 4.1, 400\]"):
        check_response(edited(accept_headers(KEY), name, *values), KEY)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("upgrade", ("h2c, WebSocket",)),
        ("connection", ("keep-alive, Upgrade",)),
        ("sec-websocket-extensions", ("permessage-deflate",)),
        ("sec-websocket-protocol", ("chat",)),
    ],
)
def test_a_request_may_vary_in_this(name: str, values: tuple[str, ...]) -> None:
    headers = edited(upgrade_headers(KEY), name, *values)
    assert wants_websocket(headers)
    assert check_request(request(headers)) == KEY


@pytest.mark.parametrize(
    ("name", "values", "code"),
    [
        ("connection", (), 400),
        ("connection", ("keep-alive",), 400),
        ("connection", ("Upgrade\xa0",), 400),
        ("connection", ("keep-alive,\x85Upgrade",), 400),
        ("sec-websocket-version", (), 426),
        ("sec-websocket-version", ("8",), 426),
        ("sec-websocket-version", ("13", "13"), 426),
        ("sec-websocket-key", (), 400),
        ("sec-websocket-key", (KEY, KEY), 400),
        ("sec-websocket-key", ("c2hvcnQ=",), 400),
        ("sec-websocket-key", (KEY[:-1],), 400),
        ("sec-websocket-key", ("ключ",), 400),
        ("sec-websocket-key", (KEY[:4] + "?" + KEY[5:],), 400),
        ("transfer-encoding", ("chunked",), 400),
    ],
)
def test_a_bad_request_is_refused(name: str, values: tuple[str, ...], code: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        check_request(request(edited(upgrade_headers(KEY), name, *values)))
    assert caught.value.code == code


def test_a_handshake_is_a_get_without_a_body() -> None:
    with pytest.raises(RemoteProtocolError, match="method GET"):
        check_request(request(upgrade_headers(KEY), method="POST"))
    with pytest.raises(RemoteProtocolError, match="no body"):
        check_request(request(upgrade_headers(KEY), body=b"x"))


@pytest.mark.parametrize("headers", [(), (("upgrade", "h2c"),), (("upgrade", "websocketish"),)])
def test_other_requests_do_not_want_a_websocket(headers: Headers) -> None:
    assert not wants_websocket(headers)


@pytest.mark.parametrize(
    "value", ["websocket\xa0", "\x0cwebsocket", "websoc\u212aet", "web\u017focket", "websocket\u2003"]
)
def test_what_is_a_token_of_a_websocket_in_other_scripts_only_is_none(value: str) -> None:
    assert not wants_websocket((("upgrade", value),))
    assert wants_websocket((("upgrade", f"{value},\tWebSocket "),))
