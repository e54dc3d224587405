"""What the platform's tests share: a recorder of events, and a bare client that sends any bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import httpx
from anyio.abc import SocketStream

from artcafe_platform import Platform
from artcafe_proto.events import HubEvent
from support.platform_api import TOKEN

PATIENCE_S = 30.0
"""Before a test that waits for something is taken as failed."""

E = TypeVar("E")


class Recorder:
    """All events of a platform, and waiting for one."""

    def __init__(self, platform: Platform) -> None:
        self.events: list[HubEvent] = []
        self._news = anyio.Event()
        platform.on_event(self._note)

    def _note(self, event: HubEvent) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E]) -> list[E]:
        """The events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def nth(self, kind: type[E], number: int = 1) -> E:
        """The `number`-th event of a kind, once it has come."""
        await self.until(lambda: len(self.of(kind)) >= number)
        return self.of(kind)[number - 1]

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for what events bring about."""
        with anyio.fail_after(PATIENCE_S):
            while not done():
                self._news = anyio.Event()
                await self._news.wait()


@asynccontextmanager
async def tenant_client(platform: Platform, token: str = TOKEN) -> AsyncGenerator[httpx.AsyncClient]:
    """A tenant's HTTP client."""
    headers = {"authorization": f"Bearer {token}"}
    base_url = f"{platform.url}/api/v1"
    # Over http:// there is nothing to verify, and loading the system's authorities takes longer than most tests.
    async with httpx.AsyncClient(
        base_url=base_url, headers=headers, trust_env=False, timeout=PATIENCE_S, verify=False
    ) as client:
        yield client


@asynccontextmanager
async def bare_connection(platform: Platform) -> AsyncGenerator[SocketStream]:
    """A TCP connection to a platform."""
    with anyio.fail_after(PATIENCE_S):
        async with await anyio.connect_tcp("127.0.0.1", int(platform.url.rpartition(":")[2])) as stream:
            yield stream


async def read_to_end(stream: SocketStream) -> bytes:
    """Everything until the platform closes; a reset counts as an end."""
    data = bytearray()
    try:
        async for chunk in stream:
            data += chunk
    except anyio.BrokenResourceError:
        pass
    return bytes(data)


async def register(client: httpx.AsyncClient, agent_id: str, public_key: str) -> dict[str, Any]:
    """Register an agent and its key; returns the answer to the latter."""
    created = await client.post("/agents", json={"agent_id": agent_id})
    assert created.status_code == 201
    body = {"agent_id": agent_id, "public_key": public_key, "key_type": "agent"}
    added = await client.post("/ssh-keys", json=body)
    assert added.status_code == 201
    return added.json()
