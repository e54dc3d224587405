"""The example agent of the guide, as printed but for the name of one parameter, which `websockets` has changed since.

What it does with a command, which the guide leaves open, is to note it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import websockets

from platform_server.foreign_agent import paramiko


class GuideAgent:
    """`start` runs for ever; `authenticated` counts its sign-ins, `commands` are the ids of those that it ran."""

    def __init__(self, agent_id: str, tenant_id: str, key: paramiko.PKey, api_endpoint: str) -> None:
        self.agent_id = agent_id
        self.tenant_id = tenant_id
        self.key = key
        self.api_endpoint = api_endpoint
        self.jwt_token: str | None = None
        self.jwt_expires_at: datetime | None = None
        self.authenticated = 0
        self.commands: list[str] = []

    async def start(self) -> None:
        """Sign in if needed, connect, and come back after 1, 2, 4 … s."""
        retry_delay = 1
        while True:
            try:
                if not self.is_authenticated():
                    await self.authenticate()
                async with websockets.connect(
                    f"{self.api_endpoint.replace('http', 'ws')}/api/v1/ws/agent/{self.agent_id}",
                    additional_headers={"Authorization": f"Bearer {self.jwt_token}"},
                    proxy=None,
                ) as ws:
                    retry_delay = 1
                    heartbeats = asyncio.create_task(self.send_heartbeats(ws))
                    try:
                        while True:
                            await self.process_message(ws, json.loads(await ws.recv()))
                    finally:
                        heartbeats.cancel()
            except Exception:  # as the guide has it
                await asyncio.sleep(min(retry_delay, 120))
                retry_delay *= 2

    def is_authenticated(self) -> bool:
        """Whether the token is good for another five minutes."""
        return self.jwt_expires_at is not None and datetime.now(UTC) + timedelta(minutes=5) < self.jwt_expires_at

    async def authenticate(self) -> None:
        """Challenge, signature, token."""
        async with httpx.AsyncClient(base_url=f"{self.api_endpoint}/api/v1", trust_env=False, verify=False) as client:
            response = await client.post("/auth/challenge", json={"agent_id": self.agent_id})
            challenge = response.json()["challenge"]
            signature = base64.b64encode(self.key.sign_ssh_data(challenge.encode()).asbytes()).decode()
            body = {
                "tenant_id": self.tenant_id,
                "agent_id": self.agent_id,
                "challenge": challenge,
                "response": signature,
            }
            answer = (await client.post("/auth/verify", json=body)).json()
        if not answer["valid"]:
            raise RuntimeError("Authentication failed")
        self.authenticated += 1
        self.jwt_token = answer["token"]
        claims = jwt.decode(answer["token"], options={"verify_signature": False})
        self.jwt_expires_at = datetime.fromtimestamp(claims["exp"], UTC)

    async def send_heartbeats(self, ws: websockets.ClientConnection) -> None:
        """Every 30 s."""
        while True:
            metrics = {"cpu_usage": 0.0, "memory_usage": 0.0}
            await self._send(ws, "heartbeat", {"agent_id": self.agent_id, "status": "online"} | metrics)
            await asyncio.sleep(30)

    async def process_message(self, ws: websockets.ClientConnection, message: dict[str, Any]) -> None:
        """Answer a command."""
        if message["type"] == "command":
            self.commands.append(message["id"])
            await self._send(ws, "response", {"command_id": message["id"], "status": "success", "result": {}})

    async def _send(self, ws: websockets.ClientConnection, kind: str, data: dict[str, Any]) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat()  # what `utcnow` gave
        await ws.send(json.dumps({"type": kind, "id": str(uuid.uuid4()), "data": data, "timestamp": now}))
