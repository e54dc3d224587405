"""An agent that is configured for a platform, and what it tells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform
from artcafe_anyio import Agent
from artcafe_proto.events import AgentEvent


class WatchedAgent:
    """A platform that listens, an agent that knows where, and the agent's events so far."""

    def __init__(self, platform: FakePlatform, key_path: Path) -> None:
        self.platform = platform
        self.events: list[AgentEvent] = []
        self.agent = Agent()
        self._key_path = key_path
        self._news = anyio.Event()

    def make(self, **parameters: Any) -> Agent:
        """Configure the agent for the platform."""
        own: Any = {
            "api_endpoint": self.platform.url,
            "agent_id": "agent-1",
            "tenant_id": "tenant-1",
            "private_key_path": self._key_path,
            "jitter": 0,
        }
        self.agent = self.agent.configured(**(own | parameters))
        self.agent.on_event(self._note)
        return self.agent

    def _note(self, event: AgentEvent) -> None:
        self.events.append(event)
        self._news.set()
        self._news = anyio.Event()

    async def seen(self, kind: type[AgentEvent], times: int = 1) -> None:
        """Wait until this has happened so often."""
        with anyio.fail_after(PATIENCE_S):
            while sum(isinstance(event, kind) for event in self.events) < times:
                await self._news.wait()
