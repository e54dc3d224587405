"""The operator's side: a tenant's requests to a platform's HTTP interface (PLAT-2 … PLAT-4)."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import quote

import msgspec

from artcafe_proto import ArtCafeError, ConfigError
from artcafe_proto.config import API_PREFIX, Endpoint

_MARGIN_S = 15.0  # how much longer than asked an answer may take


class RequestFailedError(ArtCafeError):
    """The platform refused a request, or could not be reached."""


class Operator:
    """One tenant's access to one platform. A connection a request; call from any thread."""

    def __init__(self, platform: str, token: str) -> None:
        """Raises ConfigError for an unusable address, and for one that would send the token unencrypted (TOK-4)."""
        self._endpoint = Endpoint.parse("--platform", platform)
        if not (self._endpoint.origin.tls or self._endpoint.origin.is_loopback):
            raise ConfigError(f"--platform would send the tenant token unencrypted: use https:// for {platform}")
        self._token = token

    def register(self, agent_id: str, public_key: str) -> dict[str, Any]:
        """Register an agent, unless it is registered, and a public key of it; returns both ids."""
        try:
            self._call("POST", "/agents", {"agent_id": agent_id})
        except RequestFailedError as error:
            if "agent_exists" not in str(error):
                raise
        key = {"agent_id": agent_id, "public_key": public_key, "key_type": "agent"}
        return {"agent_id": agent_id, **self._call("POST", "/ssh-keys", key)}

    def agents(self) -> list[dict[str, Any]]:
        """All agents of the tenant."""
        agents: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self._call("GET", f"/agents?limit=100{after}")
            agents += page["agents"]
            if page["next"] is None:
                return agents
            after = f"&after={quote(page['next'], safe='')}"

    def send(self, agent_id: str, command: str, args: dict[str, Any], timeout_s: float | None) -> dict[str, Any]:
        """Send a command and wait until it is over; returns the command object with its response."""
        body = {"command": command, "args": args} | ({} if timeout_s is None else {"timeout": timeout_s})
        accepted = self._call("POST", f"/agents/{quote(agent_id, safe='')}/commands", body)
        path = f"/commands/{quote(accepted['command_id'], safe='')}?wait=30"
        while True:
            sent = self._call("GET", path)
            if sent["state"] in ("succeeded", "failed", "expired"):
                return sent

    def _call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        origin = self._endpoint.origin
        connection_class = HTTPSConnection if origin.tls else HTTPConnection
        connection = connection_class(origin.host, origin.port, timeout=30 + _MARGIN_S)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            data = None if body is None else msgspec.json.encode(body)
            connection.request(method, f"{self._endpoint.path}{API_PREFIX}{path}", data, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            where = f"{origin.host}:{origin.port}"
            raise RequestFailedError(f"cannot reach the platform at {where}: {error}") from None
        finally:
            connection.close()
        return _read_answer(response.status, answer)


def _read_answer(status: int, answer: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(answer, type=dict[str, Any]) if answer else {}
    except msgspec.MsgspecError:
        raise RequestFailedError(f"the platform answered with status {status} and no JSON") from None
    if status >= 400:
        error: dict[str, Any] = value.get("error", {})
        raise RequestFailedError(f"the platform refused: {error.get('message')} ({error.get('code')}, {status})")
    return value
