"""Settings of the two roles, checked when they are built: a bad one is a `ConfigError`, not a surprise at midnight.

Every number is a default of the clause named beside it; times are in seconds.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast
from urllib.parse import quote, urlsplit

import msgspec

from artcafe_proto.errors import ConfigError
from artcafe_proto.exchanges import Headers
from artcafe_proto.limits import MAX_ID_CHARS

__all__ = ["AgentConfig", "PlatformConfig", "API_PREFIX", "Endpoint", "Origin", "check_agent_id"]

API_PREFIX = "/api/v1"

_fields_of = lru_cache(maxsize=4)(msgspec.structs.fields)

_SCHEMES = {"http": False, "https": True, "ws": False, "wss": True}
_AFTER_BRACKETS = re.compile(r"(?::[0-9]*)?")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?|")
_OWN_HEADERS = frozenset(
    {"accept", "authorization", "content-length", "content-type", "host", "transfer-encoding", "user-agent"}
)
_HOP_HEADERS = frozenset({"connection", "expect", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"})
"""They say how a connection is used, which is the wire's to say (RFC 9110 sections 7.6.1 and 10.1.1)."""


class Origin(NamedTuple):
    """Where to connect: connections are shared between requests of one origin (LINK-1)."""

    tls: bool
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host field: the port is left out where it is the scheme's default (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether traffic stays on this computer (TOK-4)."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Endpoint(NamedTuple):
    """A base URL in parts: an origin and the path before `/api/v1`, without a final slash."""

    origin: Origin
    path: str

    @staticmethod
    @lru_cache(maxsize=64)  # asked for with every request
    def parse(name: str, url: str) -> Endpoint:
        """The parts of `url`, http, https, ws or wss. Raises ConfigError, which shows nothing that may be a secret."""
        _check_pasted(name, url)
        if url.isprintable() and not url.isascii():
            raise ConfigError(f"has characters beyond ASCII{_ascii_host(url)}", setting=name)
        if not url.isprintable() or " " in url:
            raise ConfigError("must be printable ASCII without spaces", setting=name)
        wrong = _wrong_part(url)
        if wrong:
            example = f"{'wss' if name == 'ws_endpoint' else 'https'}://api.artcafe.ai"
            raise ConfigError(f"{wrong}: expected a base URL and nothing more, as {example} is", setting=name)
        parts = urlsplit(url)
        tls = _SCHEMES[parts.scheme]
        return Endpoint(Origin(tls, parts.hostname or "", parts.port or (443 if tls else 80)), parts.path.rstrip("/"))


def _wrong_part(url: str) -> str:
    """What keeps `url` from being a base URL, if anything."""
    if "\\" in url:
        return "has a backslash, and needs slashes"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "names no usable host and port"
    if "://" not in url:
        return "has no scheme"
    if parts.scheme not in _SCHEMES:
        return f"begins with {parts.scheme}://"
    if "@" in parts.netloc:
        return "names a user"
    if "?" in url or "#" in url:
        return f"has a {'query' if '?' in url else 'fragment'}"
    if not parts.hostname:
        return "names no host"
    wrong = _wrong_host(parts.hostname, parts.netloc)
    if not wrong and f"{API_PREFIX}/" in f"{parts.path}/":
        wrong = f"has {API_PREFIX} in its path, which is added to it: leave it out, and what follows"
    return wrong or ("has port 0" if port == 0 else "")


def _wrong_host(host: str, netloc: str) -> str:
    """What keeps `host` of `netloc` from being one, if anything."""
    if "[" not in netloc:
        return "" if _HOST.fullmatch(host) else "names a host that is neither a name nor an address"
    if "%" in host:
        return "names a zone id, the part after %, which no URL can carry: use an address without one, or a name"
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return "needs an IPv6 address in its brackets"
    return "" if _AFTER_BRACKETS.fullmatch(netloc.partition("]")[2]) else "needs a colon before its port"


def _ascii_host(url: str) -> str:
    """For the host of `url`, what is to be written in its place."""
    try:
        meant = urlsplit(url).hostname or ""
        host = meant.encode("idna").decode()
        is_same = host.encode().decode("idna") == meant  # else it may be somebody else's: fass.de is not faß.de
    except ValueError:
        return ""
    return f": write its host as {host}" if is_same and host not in url else ""


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What both ends of a link share."""

    ping_interval: float = 20.0
    """LINK-7: silence before a ping."""
    ping_timeout: float = 20.0
    """LINK-7: silence after a ping before the link is lost."""
    close_timeout: float = 5.0
    """LINK-8: how long a closing handshake may take."""
    write_stall_timeout: float = 30.0
    """LINK-8: how long writing may stay paused."""
    max_message_size: int = 1024 * 1024
    """MSG-6: bytes of one message, judged at the frame header."""
    max_bad_messages: int = 100
    """MSG-5: bad messages in a row before the link is closed with 1008."""

    def __post_init__(self) -> None:
        for field in _fields_of(type(self)):
            value = getattr(self, field.name)
            try:
                msgspec.convert(value, field.type)
            except msgspec.ValidationError as error:
                raise ConfigError(f"is of a wrong type: {error}", setting=field.name) from None
            if isinstance(value, int | float) and not isinstance(value, bool):
                _check_number(field.name, value)


class AgentConfig(LinkSettings, frozen=True, kw_only=True):
    """Settings of an agent: the guide's parameters, and every configurable limit of the clauses."""

    agent_id: str
    tenant_id: str
    key_id: str | None = None
    """AUTH-3: sent with verify where given."""
    next_key: bool = False
    """AUTH-6: there is a second key to sign with; it is used once the platform refuses the first, and the other way
    round."""
    next_key_id: str | None = None
    """AUTH-3: the second key's `key_id`."""
    api_endpoint: str = "https://api.artcafe.ai"
    ws_endpoint: str | None = None
    """LINK-1: where the WebSocket is, if not at `api_endpoint`."""
    allow_cleartext: bool = False
    """TOK-4: let tokens travel over http:// to another computer. Only for networks that encrypt by themselves."""
    extra_headers: Headers | Mapping[str, str] = ()
    """LINK-1: added to every request, for a proxy that wants them. A mapping will do, and becomes its pairs."""
    user_agent: str = "artcafe-proto"

    heartbeat_interval: float = 30.0
    """HB-1."""
    stable_after: float = 30.0
    """LINK-5: a link that received something this long after it came up resets the waits."""
    jitter: float = 1.0
    """LINK-4: 1 is the full jitter of the clause, 0 the guide's waits to the letter."""
    fixed_wait_growth: float = 2.0
    """LINK-3: growth of the 5 s and 10 s waits; 1 is the guide to the letter."""
    give_up_after: float | None = None
    """LINK-6: end for good after this long without a link; None is never."""
    connect_timeout: float = 10.0
    """LINK-8: DNS, TCP and TLS together."""
    exchange_timeout: float = 15.0
    """LINK-8: from a request to the end of its response."""
    upgrade_timeout: float = 15.0
    """LINK-8: from the opening handshake to its answer."""
    sign_timeout: float = 60.0
    """AUTH-6: time for a person to touch a hardware key."""
    call_timeout: float = 60.0
    """STAT-2: how long a call may take, a wait for a token included."""
    max_concurrent: int = 8
    """CMD-5: commands that run at once."""
    max_queued: int = 64
    """CMD-5: commands that wait for a place."""
    idempotent: frozenset[str] = frozenset()
    """CMD-9: names of commands that may run again if the process ended while they ran. It counts with a journal."""
    drain_timeout: float = 30.0
    """CMD-8: how long running commands may finish in a drain."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("agent_id", "tenant_id", "key_id", "next_key_id"):
            value: str | None = getattr(self, name)
            if value is not None:
                _check_pasted(name, value)
                check_id(name, value)
        check_agent_id(self.agent_id)
        if self.next_key_id is not None and not self.next_key:
            raise ConfigError("is the id of a second key, but no second key is set", setting="next_key_id")
        for name, endpoint in (("api_endpoint", self.api), ("ws_endpoint", self.ws)):
            if not (endpoint.origin.tls or endpoint.origin.is_loopback or self.allow_cleartext):
                raise ConfigError(
                    f"would send tokens unencrypted to {endpoint.origin.host}: use https://, "
                    "or set allow_cleartext if that network encrypts by itself",
                    setting=name,
                )
        _check_value("user_agent", "it", self.user_agent)
        if isinstance(self.extra_headers, Mapping):
            msgspec.structs.force_setattr(self, "extra_headers", tuple(self.extra_headers.items()))
        for field, value in self.extra_fields:
            _check_header(field, value)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What `repr` and rich show: of `extra_headers` the names, as a value may be a secret (TOK-4)."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return list((fields | {"extra_headers": tuple((name, "…") for name, _ in self.extra_fields)}).items())

    def __repr__(self) -> str:
        return f"AgentConfig({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    @property
    def api(self) -> Endpoint:
        """Base of the HTTP requests."""
        return Endpoint.parse("api_endpoint", self.api_endpoint)

    @property
    def extra_fields(self) -> Headers:
        """The pairs of `extra_headers`."""
        return cast("Headers", self.extra_headers)

    @property
    def ws(self) -> Endpoint:
        """Base of the WebSocket (LINK-1)."""
        return self.api if self.ws_endpoint is None else Endpoint.parse("ws_endpoint", self.ws_endpoint)

    @property
    def ws_target(self) -> str:
        """Request target of the opening handshake, the agent id percent-encoded (LINK-1)."""
        return f"{self.ws.path}{API_PREFIX}/ws/agent/{quote(self.agent_id, safe='')}"

    @property
    def agent_target(self) -> str:
        """Request target of the agent itself, its id percent-encoded (STAT-2)."""
        return f"{self.api.path}{API_PREFIX}/agents/{quote(self.agent_id, safe='')}"


class PlatformConfig(LinkSettings, frozen=True, kw_only=True):
    """Settings of a platform."""

    issuer: str = "artcafe-platform"
    """TOK-5: `iss` and `aud` of the tokens it issues and takes."""
    token_life: float = 900.0
    """TOK-5."""
    window: int = 64
    """CMD-10: unanswered commands on one connection."""
    command_expires_in: float = 86_400.0
    """CMD-10: how long a command is kept without a final response."""
    head_timeout: float = 10.0
    """PLAT-8: from the first byte of a request to the end of its headers."""
    body_timeout: float = 15.0
    """PLAT-8: from the headers of a request to the end of its body."""
    idle_timeout: float = 75.0
    """How long a connection may stay open between requests; longer than an agent may take to sign (AUTH-6)."""
    auth_rate_by_address: float = 500.0
    auth_burst_by_address: int = 20_000
    """PLAT-8: challenge and verify requests a second from one address, and at once: the 10,000 agents of a fleet behind
    one come back together, and 500 a second use up no more challenges than can be remembered (AUTH-8)."""
    auth_rate_by_agent: float = 1.0
    auth_burst_by_agent: int = 100
    """PLAT-8: the same from one address in the name of one agent, which needs two every few minutes."""
    allow_sha1: bool = False
    """AUTH-8: take `ssh-rsa` signatures with SHA-1, for agents that cannot do better."""
    compat: bool = False
    """AUTH-1, AUTH-3: serve existing agents, which sign in below `/api/v1/auth/agent/` and call their id a key_id."""
    allowed_origins: tuple[str, ...] = ()
    """PLAT-8: values of `Origin` that may open a link; browsers send one, agents do not."""


_SECONDS: Final = (0.001, 30 * 86_400.0)
_MANY: Final = 1_000_000
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "heartbeat_interval": (0.01, 3600.0),  # HB-3: a platform that heard nothing for 90 s takes the agent as gone
    "max_message_size": (512, 2**31 - 1),  # a heartbeat has to fit
    "max_bad_messages": (0, _MANY),
    "max_concurrent": (1, _MANY),
    "max_queued": (0, _MANY),
    "window": (1, _MANY),
    "auth_rate_by_address": (0.001, _MANY),
    "auth_burst_by_address": (1, _MANY),
    "auth_rate_by_agent": (0.001, _MANY),
    "auth_burst_by_agent": (1, _MANY),
    "jitter": (0, 1),
    "fixed_wait_growth": (1, 10),
}
"""What is possible; every other number is one of seconds."""


def check_id(name: str, value: str) -> None:
    """Raise ConfigError unless `value` is a usable id: 1 to 128 printable characters (MSG-3)."""
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"must be text, not {type(value).__name__}", setting=name)
    odd = next((character for character in value if not character.isprintable()), None)
    if not value or len(value) > MAX_ID_CHARS or odd is not None:
        found = f"{len(value)} characters" if odd is None else f"one that is U+{ord(odd):04X}"
        raise ConfigError(f"must be 1 to {MAX_ID_CHARS} printable characters, got {found}", setting=name)


def check_agent_id(value: str) -> None:
    """Raise ConfigError for an agent's id that a URL would not keep, or that was hardly meant, besides `check_id`."""
    check_id("agent_id", value)
    if value in (".", ".."):
        raise ConfigError(f"must not be {value!r}: proxies take that out of a path", setting="agent_id")
    if " " in value:
        raise ConfigError("must not hold blanks: use - or _ instead", setting="agent_id")


def _check_pasted(name: str, value: str) -> None:
    """Raise ConfigError for what comes of copying a value: it never belongs to one."""
    if value != value.strip():
        raise ConfigError("begins or ends with a blank or a line break: remove it", setting=name)
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        raise ConfigError("stands in quotes: leave them out", setting=name)


def _check_number(name: str, value: float) -> None:
    least, most = _RANGES.get(name, _SECONDS)
    if not least <= value <= most:  # which is false for nan, too
        unit = " seconds" if name not in _RANGES or name == "heartbeat_interval" else ""
        raise ConfigError(f"must be {least:,} to {most:,.0f}{unit}, not {value}", setting=name)


def _check_header(field: str, value: str) -> None:
    """A field of `extra_headers`; its value may be a secret and is not shown."""
    setting = "extra_headers"
    if not _FIELD_NAME.fullmatch(field):
        raise ConfigError(f"has a field {field!r}: a name is made of letters, digits and hyphens", setting=setting)
    if field.lower() in _OWN_HEADERS | _HOP_HEADERS or field.lower().startswith("sec-websocket-"):
        raise ConfigError(f"has a field {field!r}: that one is the protocol's own to send", setting=setting)
    _check_value(setting, f"the value of {field!r}", value)


def _check_value(setting: str, what: str, value: str) -> None:
    if not _FIELD_VALUE.fullmatch(value):
        raise ConfigError(f"is unusable: {what} must be printable ASCII without spaces around it", setting=setting)
