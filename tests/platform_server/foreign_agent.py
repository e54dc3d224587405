"""An agent made of well-known parts only, in the way of the guide's example, with what that gets wrong put right.

Nothing of this project is used: httpx, paramiko, the standard library's json, and a WebSocket library of several.
"""

from __future__ import annotations

import base64
import json
import uuid
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx

from support.foreign_clients import CLIENTS, PATIENCE_S, WebSocket

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of cryptography about algorithms that paramiko offers to SSH
    import paramiko


class AuthenticationFailedError(Exception):
    """The platform did not accept the signature."""


class Link:
    """An open WebSocket of an agent."""

    def __init__(self, agent_id: str, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._agent_id = agent_id

    async def heartbeat(self, cpu_usage: float = 0.0, memory_usage: float = 0.0) -> None:
        await self.send(
            "heartbeat",
            {
                "agent_id": self._agent_id,
                "status": "online",
                "cpu_usage": cpu_usage,
                "memory_usage": memory_usage,
            },
        )

    async def receive(self) -> dict[str, Any]:
        return json.loads(await self._websocket.receive())

    async def respond(self, command: dict[str, Any], result: Any) -> None:
        await self.send("response", {"command_id": command["id"], "status": "success", "result": result})

    async def fail(self, command: dict[str, Any], reason: str) -> None:
        await self.send("response", {"command_id": command["id"], "status": "error", "reason": reason})

    async def send(self, kind: str, data: dict[str, Any]) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()  # what datetime.utcnow() gave: naive, microseconds
        message = {"type": kind, "id": str(uuid.uuid4()), "data": data, "timestamp": now}
        await self._websocket.send(json.dumps(message))

    async def close(self, code: int) -> None:
        await self._websocket.close(code)


class ForeignAgent:
    """One agent with one key."""

    def __init__(self, url: str, tenant_id: str, agent_id: str, key: paramiko.PKey, library: str) -> None:
        self.agent_id = agent_id
        self.token = ""
        self._url = url
        self._tenant_id = tenant_id
        self._key = key
        self._open = CLIENTS[library]

    @property
    def public_key(self) -> str:
        """As a tenant registers it."""
        return f"{self._key.get_name()} {self._key.get_base64()}"

    async def authenticate(self) -> None:
        """Challenge, signature, verify: as the example, without a key_id."""
        async with httpx.AsyncClient(base_url=self._url, trust_env=False, verify=False, timeout=PATIENCE_S) as client:
            response = await client.post("/api/v1/auth/challenge", json={"agent_id": self.agent_id})
            challenge = response.json()["challenge"]
            signature = self._key.sign_ssh_data(challenge.encode())
            response = await client.post(
                "/api/v1/auth/verify",
                json={
                    "tenant_id": self._tenant_id,
                    "agent_id": self.agent_id,
                    "challenge": challenge,
                    "response": base64.b64encode(signature.asbytes()).decode(),
                },
            )
            result = response.json()
            if not result["valid"]:
                raise AuthenticationFailedError(response.status_code)
            self.token = result["token"]

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Link]:
        """Open the WebSocket with the last token."""
        uri = f"{self._url.replace('http', 'ws')}/api/v1/ws/agent/{self.agent_id}"
        headers = {"Authorization": f"Bearer {self.token}"}
        async with self._open(uri, headers) as websocket:
            yield Link(self.agent_id, websocket)
