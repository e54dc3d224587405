"""A platform with a tenant's client and a foreign agent that is registered there."""

from __future__ import annotations

import io
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from artcafe_platform import Platform
from artcafe_proto.events import AgentOnline
from platform_server.foreign_agent import ForeignAgent, Link, paramiko
from platform_server.harness import PATIENCE_S, Recorder, register, tenant_client
from support.platform_api import TENANT, TENANTS

AGENT = "agent-1"


def ed25519_key() -> paramiko.PKey:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return paramiko.Ed25519Key.from_private_key(io.StringIO(pem.decode()))


class Stage(NamedTuple):
    """A platform, a tenant's client, and an agent registered there."""

    platform: Platform
    events: Recorder
    client: httpx.AsyncClient
    agent: ForeignAgent
    key_id: str

    async def shown(self) -> dict[str, Any]:
        """The agent object."""
        return (await self.client.get(f"/agents/{AGENT}")).json()

    async def send(self, command: str, **args: Any) -> str:
        """Send the agent a command; returns its id."""
        answer = await self.client.post(f"/agents/{AGENT}/commands", json={"command": command, "args": args})
        assert answer.status_code == 202
        return answer.json()["command_id"]

    async def result(self, command_id: str) -> dict[str, Any]:
        """A command once it is over."""
        return (await self.client.get(f"/commands/{command_id}", params={"wait": 30})).json()


@asynccontextmanager
async def stage(
    library: str = "websockets", key: paramiko.PKey | None = None, *, patience_s: float = PATIENCE_S
) -> AsyncGenerator[Stage]:
    with anyio.fail_after(patience_s):
        async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
            agent = ForeignAgent(platform.url, TENANT, AGENT, key or ed25519_key(), library)
            added = await register(client, AGENT, agent.public_key)
            yield Stage(platform, Recorder(platform), client, agent, added["key_id"])


@asynccontextmanager
async def online(setting: Stage, number: int = 1) -> AsyncGenerator[Link]:
    """The agent's link, once the platform shows it online for the `number`-th time."""
    if not setting.agent.token:
        await setting.agent.authenticate()
    async with setting.agent.connect() as link:
        await link.heartbeat()
        await setting.events.nth(AgentOnline, number)
        yield link
