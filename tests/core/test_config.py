"""Settings are checked when they are built, with a message that names the setting."""

from __future__ import annotations

from typing import Any

import pytest
from rich.pretty import pretty_repr

from artcafe_proto import AgentConfig, ConfigError, HttpRequest, HttpResponse, PlatformConfig
from artcafe_proto.config import Endpoint, Origin
from artcafe_proto.effects import SendText, Sign, Write
from artcafe_proto.events import RequestArrived
from artcafe_proto.wires.inputs import TextReceived


def config(**settings: Any) -> AgentConfig:
    names: dict[str, Any] = {"agent_id": "a", "tenant_id": "t"}
    return AgentConfig(**(names | settings))


def test_the_guides_defaults() -> None:
    defaults = config()
    assert (defaults.api_endpoint, defaults.heartbeat_interval) == ("https://api.artcafe.ai", 30)
    assert defaults.api == Endpoint(Origin(True, "api.artcafe.ai", 443), "")


@pytest.mark.parametrize(
    ("url", "origin", "path", "authority"),
    [
        ("https://api.artcafe.ai", Origin(True, "api.artcafe.ai", 443), "", "api.artcafe.ai"),
        ("http://127.0.0.1:8420/", Origin(False, "127.0.0.1", 8420), "", "127.0.0.1:8420"),
        ("http://[::1]:80/base/", Origin(False, "::1", 80), "/base", "[::1]"),
        ("HTTPS://Example.com:8443/a/b", Origin(True, "example.com", 8443), "/a/b", "example.com:8443"),
        ("wss://ws.example.com", Origin(True, "ws.example.com", 443), "", "ws.example.com"),
        ("ws://localhost", Origin(False, "localhost", 80), "", "localhost"),
    ],
)
def test_link_1_endpoints_are_parsed(url: str, origin: Origin, path: str, authority: str) -> None:
    endpoint = Endpoint.parse("api_endpoint", url)
    assert endpoint == Endpoint(origin, path)
    assert endpoint.origin.authority == authority


def test_link_1_the_websocket_is_derived_from_the_endpoint_and_the_id_percent_encoded() -> None:
    derived = config(agent_id="a/b%c?é", api_endpoint="https://http.example.com/http")
    assert derived.ws.origin == derived.api.origin
    assert derived.ws_target == "/http/api/v1/ws/agent/a%2Fb%25c%3F%C3%A9"
    given = config(ws_endpoint="wss://ws.example.com/x")
    assert (given.ws.origin.host, given.ws_target) == ("ws.example.com", "/x/api/v1/ws/agent/a")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"agent_id": ""}, "agent_id"),
        ({"agent_id": "x" * 129}, "agent_id"),
        ({"agent_id": "."}, "agent_id must not be '.': proxies take that out of a path"),
        ({"agent_id": ".."}, "agent_id must not be '..'"),
        ({"agent_id": "agent 1"}, "agent_id must not hold blanks: use - or _ instead"),
        ({"agent_id": " agent-1"}, "agent_id begins or ends with a blank or a line break: remove it"),
        ({"agent_id": "'agent-1'"}, "agent_id stands in quotes: leave them out"),
        ({"tenant_id": "t "}, "tenant_id begins or ends with a blank"),
        ({"key_id": "k\n"}, "key_id begins or ends with a blank"),
        ({"tenant_id": "a\nb"}, "tenant_id"),
        ({"key_id": ""}, "key_id"),
        ({"next_key": True, "next_key_id": ""}, "next_key_id"),
        ({"next_key_id": "k2"}, "next_key_id is the id of a second key, but no second key is set"),
        ({"api_endpoint": "api.artcafe.ai"}, "api_endpoint"),
        ({"api_endpoint": "ftp://api.artcafe.ai"}, "api_endpoint"),
        ({"api_endpoint": "https://"}, "api_endpoint"),
        ({"api_endpoint": "https://host:port"}, "api_endpoint"),
        ({"api_endpoint": "https://host:99999"}, "api_endpoint"),
        ({"api_endpoint": "https://[::1"}, "api_endpoint"),
        ({"api_endpoint": "https://user:secret@host"}, "api_endpoint"),
        ({"api_endpoint": "https://host?query"}, "api_endpoint"),
        ({"api_endpoint": "https://host/api/v1"}, "has /api/v1 in its path, which is added to it: leave it out"),
        ({"api_endpoint": "https://host/base/api/v1/"}, "has /api/v1 in its path"),
        ({"ws_endpoint": "wss://host/api/v1/ws/agent/a"}, "ws_endpoint has /api/v1 in its path"),
        ({"api_endpoint": "https://bücher.example"}, "beyond ASCII: write its host as xn--bcher-kva.example"),
        ({"api_endpoint": "https://host/ü"}, "has characters beyond ASCII$"),
        ({"api_endpoint": "https://ü" + "x" * 80}, "has characters beyond ASCII$"),
        ({"api_endpoint": "https://[ü"}, "has characters beyond ASCII$"),
        ({"api_endpoint": "https:\\\\host"}, "api_endpoint has a backslash"),
        ({"api_endpoint": "https://host\\api"}, "api_endpoint has a backslash"),
        ({"api_endpoint": "https://host/a\\b"}, "api_endpoint has a backslash"),
        ({"api_endpoint": "https://host:8420\\api"}, "api_endpoint has a backslash"),
        ({"api_endpoint": "https://[fe80::1%eth0]:8420"}, "names a zone id, the part after %"),
        ({"api_endpoint": "https://[v1.fe80::a]"}, "api_endpoint"),
        ({"api_endpoint": "https://[127.0.0.1]"}, "api_endpoint"),
        ({"api_endpoint": "https://a..b"}, "neither a name nor an address"),
        ({"api_endpoint": "https://.a"}, "neither a name nor an address"),
        ({"api_endpoint": f"https://{'a' * 64}.de"}, "neither a name nor an address"),
        ({"api_endpoint": "http://[::1]8420"}, "api_endpoint needs a colon before its port"),
        ({"api_endpoint": "https://[::1]x:8420"}, "api_endpoint needs a colon before its port"),
        ({"api_endpoint": "https://faß.de"}, "has characters beyond ASCII$"),
        ({"api_endpoint": "https://a%20b"}, "names a host that is neither a name nor an address"),
        ({"api_endpoint": "https://a<b>"}, "names a host that is neither a name nor an address"),
        ({"api_endpoint": " https://host"}, "begins or ends with a blank or a line break: remove it"),
        ({"api_endpoint": "https://host\n"}, "begins or ends with a blank or a line break: remove it"),
        ({"api_endpoint": '"https://host"'}, "stands in quotes: leave them out"),
        ({"api_endpoint": "https://host/a b"}, "api_endpoint"),
        ({"api_endpoint": "https://host/a\r\nX: y"}, "api_endpoint"),
        ({"ws_endpoint": "ws://ws.example.com"}, "ws_endpoint"),
        ({"heartbeat_interval": 0}, "heartbeat_interval"),
        ({"heartbeat_interval": float("nan")}, "heartbeat_interval"),
        ({"ping_timeout": -1}, "ping_timeout"),
        ({"drain_timeout": float("inf")}, "drain_timeout"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"jitter": 1.5}, "jitter"),
        ({"fixed_wait_growth": 0.5}, "fixed_wait_growth"),
        ({"idempotent": "work"}, "idempotent"),
        ({"idempotent": frozenset({1})}, "idempotent"),
        ({"extra_headers": (("a b", "x"),)}, "extra_headers"),
        ({"extra_headers": (("x-a", "b\r\nc"),)}, "extra_headers"),
        ({"extra_headers": (("Authorization", "x"),)}, "extra_headers"),
        ({"extra_headers": (("Sec-WebSocket-Key", "x"),)}, "extra_headers"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, Any], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        config(**settings)


def test_a_path_that_only_begins_like_the_apis_is_one_of_ones_own() -> None:
    assert config(api_endpoint="https://host/api/v10").ws_target == "/api/v10/api/v1/ws/agent/a"


def test_extra_headers_may_be_a_mapping() -> None:
    given: Any = {"X-Tunnel": "one", "X-Other": "two"}
    assert config(extra_headers=given).extra_headers == (("X-Tunnel", "one"), ("X-Other", "two"))
    with pytest.raises(ConfigError, match="extra_headers"):
        config(extra_headers={"a b": "x"})


def test_no_refusal_quotes_a_password() -> None:
    with pytest.raises(ConfigError) as caught:
        config(api_endpoint="https://user:secret@host")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "127.9.9.9", "[::1]:1", "localhost"])
def test_tok_4_cleartext_is_for_loopback(host: str) -> None:
    config(api_endpoint=f"http://{host}")


@pytest.mark.parametrize("host", ["api.artcafe.ai", "10.0.0.1", "localhost.evil.com", "127.0.0.1.evil.com", "0.0.0.0"])
def test_tok_4_cleartext_to_another_machine_needs_a_word(host: str) -> None:
    with pytest.raises(ConfigError, match="unencrypted"):
        config(api_endpoint=f"http://{host}")
    config(api_endpoint=f"http://{host}", allow_cleartext=True)


def test_zero_is_a_possible_number_of_waiting_commands_and_of_jitter() -> None:
    config(max_queued=0, jitter=0, max_bad_messages=0)
    PlatformConfig(window=1)


def test_tok_4_reprs_show_no_headers_and_no_bodies() -> None:
    request = HttpRequest(method="GET", target="/x", headers=(("authorization", "Bearer s3cret"),), body=b"s3cret")
    response = HttpResponse(status=200, headers=(("x-token", "s3cret"),), body=b"s3cret")
    assert "s3cret" not in repr(request) + repr(response) + str(request) + str(response)
    queried = HttpRequest(method="GET", target="/x?access_token=s3cret")
    assert repr(queried) == "HttpRequest(GET /x?…, 0 headers, 0 bytes)"
    assert "s3cret" not in repr(RequestArrived(1, 1, queried)) + pretty_repr(queried)
    assert repr(SendText(7, b"s3cret")) == "SendText(conn=7, 6 bytes)"
    assert repr(Write(7, b"s3cret")) == "Write(conn=7, 6 bytes)"
    assert repr(Sign(3, "s3cret", 9.5)) == "Sign(request=3, 6 characters, deadline=9.5, key=0)"
    assert repr(TextReceived(b"s3cret")) == "TextReceived(6 bytes)"


def test_tok_4_values_of_extra_headers_are_not_shown() -> None:
    settings = config(extra_headers=(("x-proxy-key", "s3cret"),))
    for shown in (repr(settings), str(settings), pretty_repr(settings)):
        assert "s3cret" not in shown
        assert "x-proxy-key" in shown
        assert "agent_id='a'" in shown


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ((), 0),
        ((("retry-after", "7"),), 7),
        ((("retry-after", " 7 "),), 7),
        ((("retry-after", "7\xa0"),), 0),
        ((("retry-after", "\u0667"),), 0),
        ((("retry-after", "+7"),), 0),
        ((("retry-after", "1_0"),), 0),
        ((("retry-after", "\xb2"),), 0),
        ((("retry-after", "7.5"),), 0),
        ((("retry-after", "Sunday, 06-Nov-94 08:49:37 GMT"), ("date", "Sun Nov  6 08:49:00 1994")), 37),
        ((("retry-after", "Sun, 06 Nov 1994 08:49:3\u0667 GMT"), ("date", "Sun, 06 Nov 1994 08:49:00 GMT")), 0),
        ((("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, +6 Nov 1994 08:49:00 GMT")), 0),
        ((("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 99 Nov 1994 08:49:00 GMT")), 0),
        ((("retry-after", "999999"),), 3600),
        ((("retry-after", "9" * 5000),), 3600),
        ((("retry-after", "-5"),), 0),
        ((("retry-after", "soon"),), 0),
        ((("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),), 0),
        ((("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:49:00 GMT")), 37),
        ((("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")), 0),
        ((("retry-after", "Sun, 06 Nov 1994 23:49:00 GMT"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")), 3600),
    ],
)
def test_link_3_retry_after(headers: tuple[tuple[str, str], ...], seconds: float) -> None:
    assert HttpResponse(status=503, headers=headers).retry_after_s == seconds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", "64"),
        ("window", None),
        ("window", True),
        ("token_life", "900"),
        ("issuer", 5),
        ("compat", "no"),
        ("allowed_origins", "https://pages.example.com"),  # of a text every part would be allowed
    ],
)
def test_a_setting_of_another_type_is_refused_when_it_is_built(name: str, value: object) -> None:
    """Such as come of a file or a variable: a platform would end of it when the first agent comes."""
    with pytest.raises(ConfigError, match=f"{name} is of a wrong type"):
        PlatformConfig(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["agent_id", "api_endpoint", "heartbeat_interval", "max_queued", "extra_headers"])
def test_a_setting_of_an_agent_too(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is of a wrong type"):
        config(**{name: object()})
