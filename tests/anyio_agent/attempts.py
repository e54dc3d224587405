"""What an agent says of an attempt that fails."""

from __future__ import annotations

import anyio

from anyio_agent.fake_platform import PATIENCE_S
from artcafe_anyio import Agent
from artcafe_proto.events import AgentEvent, Offline


async def first_offline(agent: Agent) -> Offline:
    """Run `agent` until its first attempt has failed."""
    failures: list[Offline] = []

    @agent.on_event
    def note(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, Offline):
            failures.append(event)
            agent.stop()

    with anyio.fail_after(PATIENCE_S):
        await agent.serve()
    return failures[0]
