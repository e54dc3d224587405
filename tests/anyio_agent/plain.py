"""A day of an agent and its platform, told without pytest: it runs under any runner, also where nobody set sniffio.

Run by itself it hides sniffio, as on a machine that has none: `python -m anyio_agent.plain asyncio`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.modules["sniffio"] = None  # type: ignore[assignment]

import anyio
import anyio.lowlevel

from artcafe_anyio import Agent
from artcafe_anyio.loops import Flag, find_call_soon
from artcafe_cli.key_files import make_key_pair
from artcafe_platform import Platform
from artcafe_proto.events import AgentOffline, AgentOnline, CommandAnswered, HubEvent, MessageReceived, StatusReceived

PATIENCE_S = 30.0
TENANT = "tenant-1"


class Day:
    """The two of them, and what the platform saw."""

    def __init__(self, platform: Platform, agent: Agent) -> None:
        self.platform = platform
        self.agent = agent
        self.events: list[HubEvent] = []
        self.heard: list[dict[str, Any]] = []
        self._news = Flag()
        platform.on_event(self._note)

    def _note(self, event: HubEvent) -> None:
        self.events.append(event)
        self._news.set()

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for what an event brings about."""
        with anyio.fail_after(PATIENCE_S):
            while not done():
                self._news.clear()
                await self._news.wait()

    def count(self, kind: type[HubEvent]) -> int:
        """How often that has happened."""
        return sum(isinstance(event, kind) for event in self.events)

    async def answers(self, *commands: str) -> list[str]:
        """Send commands, and say how each was answered."""
        ids = [await self.platform.send_command(TENANT, "a", command) for command in commands]

        def answered() -> dict[str, str]:
            found = [event for event in self.events if isinstance(event, CommandAnswered)]
            return {event.command_id: event.response.status for event in found}

        await self.until(lambda: answered().keys() >= set(ids))
        return [answered()[each] for each in ids]


@asynccontextmanager
async def morning(*, anyio_streams: bool = False) -> AsyncGenerator[Day]:
    """A platform that knows an agent, which is not online yet."""
    with tempfile.TemporaryDirectory() as directory:
        key = Path(directory) / "key"
        public = make_key_pair(key, "ed25519", "comment")
        async with Platform(anyio_streams=anyio_streams) as platform:
            await platform.create_agent(TENANT, agent_id="a")
            await platform.add_key(TENANT, "a", public.openssh)
            agent = Agent(
                agent_id="a",
                tenant_id=TENANT,
                private_key_path=key,
                api_endpoint=platform.url,
                jitter=0,
                heartbeat_interval=0.05,
                anyio_streams=anyio_streams,
            )
            day = Day(platform, agent)

            @agent.command("async")
            async def in_a_task() -> None:  # pyright: ignore[reportUnusedFunction]
                await anyio.lowlevel.checkpoint()

            @agent.command("thread")
            def in_a_thread() -> str:  # pyright: ignore[reportUnusedFunction]
                return agent.send_message({"from": "a thread"})

            @agent.command("inline", inline=True)
            def at_once() -> None: ...  # pyright: ignore[reportUnusedFunction]

            @agent.on_message
            async def hear(message: Any) -> None:  # pyright: ignore[reportUnusedFunction]
                day.heard.append(message.data)

            yield day


async def day_of_an_agent(anyio_streams: bool) -> None:
    """All that an agent does, from its sign-in to its end; what is asked of it comes from where no task runs."""
    async with morning(anyio_streams=anyio_streams) as day:
        call_soon = find_call_soon()
        platform, agent = day.platform, day.agent
        async with agent:
            await day.until(lambda: day.count(AgentOnline) == 1)
            assert await day.answers("async", "thread", "inline") == ["success"] * 3
            await agent.deliver_message({"from": "a task"})
            call_soon(lambda: agent.send_message({"from": "a callback"}))
            await day.until(lambda: day.count(MessageReceived) == 3)
            assert (await agent.details())["agent_id"] == "a"
            call_soon(lambda: agent.set_status("busy"))
            await day.until(lambda: day.count(StatusReceived) == 1)
            call_soon(lambda: platform.abort_agent("a"))
            await day.until(lambda: day.count(AgentOffline) == 1 and day.count(AgentOnline) == 2)
            await platform.send_message(TENANT, "a", {"to": "a"})
            assert await day.answers("async", "thread", "inline") == ["success"] * 3
            call_soon(agent.stop)
            await day.until(lambda: day.count(AgentOffline) == 2)
        assert day.heard == [{"to": "a"}]


def run(runner: str, function: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> None:
    """Run it as a program would that has never heard of anyio."""
    if runner == "asyncio":
        asyncio.run(function(*arguments))
    elif runner == "uvloop":
        import uvloop

        uvloop.run(function(*arguments))
    else:
        import trio

        trio.run(function, *arguments)


if __name__ == "__main__":
    for anyio_streams in (False, True):
        run(sys.argv[1], day_of_an_agent, anyio_streams)
    print("a good day")
