"""The operator's side: a tenant's requests to a platform's HTTP interface (PLAT-2 … PLAT-4)."""

from __future__ import annotations

import re
import time
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLError
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from artcafe_anyio.clocks import monotonic
from artcafe_anyio.proxies import unused_proxy
from artcafe_anyio.tls import make_ssl_context
from artcafe_anyio.tls_failures import explain
from artcafe_proto import ArtCafeError, ConfigError, HttpResponse
from artcafe_proto.config import API_PREFIX, Endpoint, Origin
from artcafe_proto.refusals import MAX_SAID_CHARS, advice, shown, what_it_says
from artcafe_proto.secrecy import Secretive, forgetful

if TYPE_CHECKING:
    from collections.abc import Callable

TENANT_TOKEN = "ARTCAFE_TENANT_TOKEN"  # noqa: S105 the name of a variable

PATIENCE_S = 30.0
"""How long an agent that has just been started may take to come online."""
AWAY_S = 120.0
"""How long a platform, or its store, may be away while somebody waits for a response."""
_RETRY_S = 1.0
_OF_PROXIES = (502, 503, 504)  # while what is behind them is away
_NOT_STORED = ("may_be_accepted", "store_unavailable")  # PLAT-5
_MARGIN_S = 15.0  # how much longer than asked an answer may take
_TOKEN = re.compile(r"[!-~]{16,}")
_PLATFORM = re.compile(r"https?://[^/:?#@]", re.IGNORECASE)

T = TypeVar("T")


class RequestFailedError(ArtCafeError):
    """The platform refused a request, with an HTTP `status` and the `code` of its error, or could not be reached.

    `is_in_doubt`: it may have been done all the same, as the connection or the store failed before the answer.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str = "", is_in_doubt: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.is_in_doubt: bool = is_in_doubt or code in _NOT_STORED


class Metrics(msgspec.Struct):
    """What an agent's last heartbeat told."""

    cpu_usage: float
    memory_usage: float


class ListedAgent(msgspec.Struct):
    """What every agent object has (PLAT-3)."""

    agent_id: str
    status: str
    last_seen: str | None
    metrics: Metrics
    capabilities: list[str]


class SentCommand(msgspec.Struct):
    """What every command object has (PLAT-4)."""

    state: str
    response: dict[str, Any] | None

    @property
    def is_over(self) -> bool:
        """Whether it waits for nothing more."""
        return self.state in ("succeeded", "failed", "expired")


class _Page(msgspec.Struct):
    agents: list[dict[str, Any]]
    next: str | None


class _CreatedAgent(msgspec.Struct):
    agent_id: str


class _AddedKey(msgspec.Struct):
    key_id: str
    fingerprint: str


class _AcceptedCommand(msgspec.Struct):
    command_id: str


class _Error(msgspec.Struct):
    code: str
    message: str


class _ErrorBody(msgspec.Struct):
    error: _Error


def checked_token(token: str) -> str:
    """The tenant token without whitespace around it. Raises ConfigError, without it, if no header can carry it."""
    token = token.strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigError(f"{TENANT_TOKEN} must be 16 or more visible ASCII characters: it is a password in a header")
    return token


def _why(error: Exception, origin: Origin) -> str:
    """Why there was no answer, and what to look at."""
    if isinstance(error, SSLError):
        return explain(error, origin.host)
    if isinstance(error, ConnectionRefusedError):
        return f"{error.strerror}: is the platform running there?"
    if isinstance(error, ConnectionResetError):
        hint = "" if origin.tls else ", unless it speaks TLS, and --platform must begin with https://"
        return f"it ended the connection without an answer, as if it was stopped{hint}"
    if isinstance(error, HTTPException) and not origin.tls:
        return "the answer is not HTTP: if the platform speaks TLS, --platform must begin with https://"
    return str(error)


class Operator(Secretive):
    """One tenant's access to one platform. A connection a request; call from any thread."""

    __slots__ = ("_endpoint", "_ssl_context", "_token")

    @forgetful
    def __init__(self, platform: str, token: str, ca_file: str | None = None) -> None:
        """`ca_file` is the agent's. Raises ConfigError for an unusable address, token or file, and for a token that
        would go unencrypted (TOK-4).
        """
        if not _PLATFORM.match(platform):
            raise ConfigError("--platform must be a URL with http:// or https:// and a host, as http://127.0.0.1:8420")
        self._endpoint = Endpoint.parse("--platform", platform)
        if not (self._endpoint.origin.tls or self._endpoint.origin.is_loopback):
            raise ConfigError(f"--platform would send the tenant token unencrypted: use https:// for {platform}")
        self._token = checked_token(token)
        self._ssl_context = make_ssl_context(ca_file) if self._endpoint.origin.tls else None

    def register(self, agent_id: str, public_key: str) -> dict[str, Any]:
        """Register an agent, unless it is registered, and a public key of it; returns both ids."""
        exists = False
        try:
            self._call(_CreatedAgent, "POST", "/agents", {"agent_id": agent_id})
        except RequestFailedError as error:
            if error.code != "agent_exists":
                raise
            exists = True
        body = {"agent_id": agent_id, "public_key": public_key, "key_type": "agent"}
        try:
            key = self._call(_AddedKey, "POST", "/ssh-keys", body)
        except RequestFailedError as error:
            if exists and error.code == "agent_not_found":  # it exists, but not for this tenant
                text = f"the agent_id {agent_id!r} is taken by another tenant: choose another one"
                raise RequestFailedError(text, status=error.status, code=error.code) from None
            raise
        return {"agent_id": agent_id, "key_id": key.key_id, "fingerprint": key.fingerprint}

    def agents(self) -> list[dict[str, Any]]:
        """All agents of the tenant, as the platform shows them: each has at least what a `ListedAgent` has."""
        agents: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self._call(_Page, "GET", f"/agents?limit=100{after}")
            try:
                msgspec.convert(page.agents, list[ListedAgent])
            except msgspec.ValidationError:
                raise self._no_platform(HttpResponse(status=200)) from None
            agents += page.agents
            if page.next is None:
                return agents
            after = f"&after={quote(page.next, safe='')}"

    def is_offline(self, agent_id: str) -> bool:
        """Whether an agent has no link now."""
        return self._call(ListedAgent, "GET", f"/agents/{quote(agent_id, safe='')}").status == "offline"

    def wait_for(self, agent_id: str) -> None:
        """Wait until an agent is not offline. Raises RequestFailedError after `PATIENCE_S`."""
        until = monotonic() + PATIENCE_S
        while self.is_offline(agent_id):
            if monotonic() >= until:
                raise RequestFailedError(f"{agent_id} is still offline after {PATIENCE_S:.0f} s: its log says why")
            time.sleep(0.2)

    def run(
        self,
        agent_id: str,
        command: str,
        args: dict[str, Any],
        timeout_s: float | None,
        command_id: str,
        tell: Callable[[str], object],
    ) -> SentCommand:
        """Send a command and wait until it is over, which may take until it expires.

        It is asked for again while the platform or its store is away, for 2 minutes at most; `tell` is told what is
        waited for. The same again with the same `command_id` changes nothing (PLAT-4).
        """
        send = partial(self.send, agent_id, command, args, timeout_s, command_id)
        try:
            send()
        except RequestFailedError as error:
            if not error.is_in_doubt:
                raise
            _persist(send, tell)
        try:
            if _persist(partial(self.is_offline, agent_id), tell):
                tell(f"{agent_id} is offline: waiting until it is back and answers; Ctrl-C stops waiting")
            while not (sent := _persist(partial(self._wait, agent_id, command_id), tell)).is_over:
                pass
        except RequestFailedError as error:
            if error.code == "command_not_found":
                text = f"{error}: it was restarted, and keeps commands in memory"
            elif error.code:
                raise
            else:
                text = f"{error}; to wait on, add --command-id {command_id}"
            raise RequestFailedError(text, status=error.status, code=error.code) from None
        return sent

    def send(
        self,
        agent_id: str,
        command: str,
        args: dict[str, Any],
        timeout_s: float | None,
        command_id: str | None = None,
    ) -> str:
        """Send a command; returns its id."""
        options = {"timeout": timeout_s, "command_id": command_id}
        body = {"command": command, "args": args} | {name: each for name, each in options.items() if each is not None}
        return self._call(_AcceptedCommand, "POST", f"/agents/{quote(agent_id, safe='')}/commands", body).command_id

    def _wait(self, agent_id: str, command_id: str) -> SentCommand:
        query = f"wait=30&agent_id={quote(agent_id, safe='')}"
        return self._call(SentCommand, "GET", f"/commands/{quote(command_id, safe='')}?{query}")

    @forgetful
    def _call(self, expected: type[T], method: str, path: str, body: object = None) -> T:
        origin = self._endpoint.origin
        timeout_s = 30 + _MARGIN_S
        if origin.tls:
            connection = HTTPSConnection(origin.host, origin.port, timeout=timeout_s, context=self._ssl_context)
        else:
            connection = HTTPConnection(origin.host, origin.port, timeout=timeout_s)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            data = None if body is None else msgspec.json.encode(body)
            connection.request(method, f"{self._endpoint.path}{API_PREFIX}{path}", data, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            text = f"cannot reach the platform at {origin.authority}: {_why(error, origin)}"
            proxy = unused_proxy(origin)
            is_in_doubt = not isinstance(error, ConnectionRefusedError)
            raise RequestFailedError(f"{text}; {proxy}" if proxy else text, is_in_doubt=is_in_doubt) from None
        finally:
            connection.close()
        fields = tuple((name.lower(), value) for name, value in response.getheaders())
        return self._read_answer(expected, HttpResponse(status=response.status, headers=fields, body=answer))

    def _read_answer(self, expected: type[T], response: HttpResponse) -> T:
        status = response.status
        try:
            if 200 <= status < 300:
                return msgspec.json.decode(response.body, type=expected)
            error = msgspec.json.decode(response.body, type=_ErrorBody).error
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise self._no_platform(response) from None
        message, code = (shown(text, MAX_SAID_CHARS) for text in (error.message, error.code))
        text = f"the platform refused: {message} ({code}, {status})"
        if status == 401:
            text = f"{text}: is {TENANT_TOKEN} that platform's, as in the file tenant-token of its data directory?"
        raise RequestFailedError(text.replace(self._token, "…"), status=status, code=error.code)

    def _no_platform(self, response: HttpResponse) -> RequestFailedError:
        where, status = self._endpoint.origin.authority, response.status
        said = what_it_says(response, [self._token])
        told = f" (it says {said})" if said else ""
        hint = advice("tenant", response) or "is --platform right?"
        text = f"what answered at {where}, with status {status}, is not an ArtCafe platform: {hint}{told}"
        return RequestFailedError(text, status=status, is_in_doubt=status in _OF_PROXIES)


def _persist(ask: Callable[[], T], tell: Callable[[str], object]) -> T:
    until: float | None = None
    while True:
        try:
            return ask()
        except RequestFailedError as error:
            if not error.is_in_doubt and error.status is not None:
                raise
            if until is None:
                until = monotonic() + AWAY_S
                tell(f"{error}; asking again for {AWAY_S:.0f} s")
            elif monotonic() >= until:
                raise
            time.sleep(_RETRY_S)
