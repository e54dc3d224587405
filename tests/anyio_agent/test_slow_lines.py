"""A slow line and one that swallows one direction, over sockets: LINK-7, LINK-8 and CMD-3 with both adapters.

Between agent and platform is a relay that takes no more than it passes on. Sizes and times are a tenth of life's.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from anyio_agent.fake_platform import PATIENCE_S
from artcafe_anyio import Agent
from artcafe_anyio import agent as agent_module
from artcafe_anyio.keys import load_key
from artcafe_platform import Platform
from artcafe_proto import ApiError, PlatformConfig
from artcafe_proto.events import AgentOffline, CommandAnswered, MessageReceived, MessageSettled, Offline, Online
from artcafe_proto.policies import liveness, outbox

pytestmark = pytest.mark.anyio
BYTES_PER_S = 60_000
LARGE = 120_000
"""Two seconds: longer than the interval and the time-out of a ping together."""
IMPATIENT: dict[str, Any] = {"ping_interval": 0.3, "ping_timeout": 0.9}
PIECE_S = 0.02


class Relay:
    """Listens, and passes on to the platform's port, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.is_slow = self.swallows = self.is_over = False
        """Slow both ways; swallows what agents send."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.port = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def _start(self, run: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.is_over:
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            near, _ = self._listener.accept()
            far = socket.socket()
            self._sockets += [near, far]
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            far.connect(("127.0.0.1", self.target))
            swallows = [False]  # of this connection: the next one is sound
            self._start(self._pass_on, near, far, True, swallows)
            self._start(self._pass_on, far, near, False, swallows)

    def _pass_on(self, source: socket.socket, target: socket.socket, is_up: bool, swallows: list[bool]) -> None:
        with suppress(OSError):
            while not self.is_over:
                if not select.select([source], [], [], 0.05)[0]:
                    continue
                data = source.recv(int(BYTES_PER_S * PIECE_S) if self.is_slow else 65_536)
                if not data:
                    break
                if is_up and self.swallows:
                    swallows[0], self.swallows = True, False
                if not (is_up and swallows[0]):
                    target.sendall(data)
                if self.is_slow:
                    time.sleep(PIECE_S)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.is_over = True
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._sockets):
            each.close()


@contextmanager
def relay_to(port: int) -> Generator[Relay]:
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()


class Stage:
    def __init__(self, platform: Platform, agent: Agent, relay: Relay) -> None:
        self.platform, self.agent, self.relay = platform, agent, relay
        self.agent_events: list[Any] = []
        self.hub_events: list[Any] = []
        agent.on_event(self.agent_events.append)
        platform.on_event(self.hub_events.append)

    def seen(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.agent_events + self.hub_events if isinstance(event, kind)]

    async def until_seen(self, kind: type[Any], times: int = 1) -> None:
        with anyio.fail_after(PATIENCE_S):
            while len(self.seen(kind)) < times:  # noqa: ASYNC110 both sides tell
                await anyio.sleep(0.005)


@asynccontextmanager
async def stage(key_path: Path, *, platform: dict[str, Any] | None = None, **agent: Any) -> AsyncGenerator[Stage]:
    """An agent that is online behind a relay; both ends on what the backend is there for."""
    streams = not agent_module.runs_on_asyncio()
    config = PlatformConfig(**({} if platform is None else platform))
    async with Platform(config=config, anyio_streams=streams) as running:
        await running.create_agent("tenant-1", agent_id="agent-1")
        await running.add_key("tenant-1", "agent-1", load_key(str(key_path)).public.openssh)
        with relay_to(int(running.url.rpartition(":")[2])) as relay:
            parameters: dict[str, Any] = {"private_key_path": key_path, "jitter": 0, **agent}
            parameters |= {
                "agent_id": "agent-1",
                "tenant_id": "tenant-1",
                "api_endpoint": f"http://127.0.0.1:{relay.port}",
            }
            setting = Stage(running, Agent(**parameters), relay)

            @setting.agent.command("take")
            async def take(x: str) -> int:  # pyright: ignore[reportUnusedFunction]
                return len(x)

            async with setting.agent:
                await setting.until_seen(Online)
                yield setting


async def test_link_7_a_large_message_passes_a_slow_line(key_path: Path) -> None:
    async with stage(key_path, **IMPATIENT) as setting:
        await setting.agent.deliver_message({})
        setting.relay.is_slow = True
        with anyio.fail_after(PATIENCE_S):
            message_id = await setting.agent.deliver_message({"x": "x" * LARGE})
        assert setting.seen(Offline) == setting.seen(AgentOffline) == []
        assert [event.message_id for event in setting.seen(MessageReceived)][1:] == [message_id]


async def test_link_7_a_large_command_passes_it_too(key_path: Path) -> None:
    """The pongs to both sides' pings come behind it."""
    async with stage(key_path, platform=IMPATIENT, **IMPATIENT) as setting:
        await setting.agent.deliver_message({})
        setting.relay.is_slow = True
        await setting.platform.send_command("tenant-1", "agent-1", "take", {"x": "x" * LARGE})
        await setting.until_seen(CommandAnswered)
        assert setting.seen(Offline) == setting.seen(AgentOffline) == []


async def test_cmd_3_nothing_settles_on_a_line_that_swallows_what_the_agent_says(
    key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The platform is heard all the time; that what was sent is acknowledged by a relay proves nothing."""
    monkeypatch.setattr(outbox, "SETTLE_WITHOUT_PONG_S", 0.3)
    monkeypatch.setattr(liveness, "UNANSWERED_PING_S", 1.0)
    async with stage(key_path, ping_interval=0.2, ping_timeout=0.2) as setting:
        await setting.agent.deliver_message({})
        setting.relay.swallows = True
        message_id, received = "", [""]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_talk, setting.platform)
            with anyio.fail_after(PATIENCE_S):
                message_id = await setting.agent.deliver_message({"n": 1})
            received = [event.message_id for event in setting.seen(MessageReceived)]
            tasks.cancel_scope.cancel()
        assert message_id in received
        assert len(setting.seen(Online)) == 2, "it went out on another link"
        assert not any(event.assumed for event in setting.seen(MessageSettled))


async def _talk(platform: Platform) -> None:
    """The platform says something all the time."""
    while True:
        with suppress(ApiError):  # between two links
            await platform.send_message("tenant-1", "agent-1", {})
        await anyio.sleep(0.05)
