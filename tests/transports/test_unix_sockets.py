"""docs/unix-sockets.md: both roles as printed, over Unix sockets of asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from artcafe_proto import AgentConfig, PlatformHub
from artcafe_proto.events import AgentOffline, AgentOnline, Event, Offline
from artcafe_proto.testing import check_channel
from support.printed_links import Scenario, until
from support.unix_links import program, unix_channel
from support.virtual import AGENT, TENANT, new_hub

if not hasattr(socket, "SO_PEERCRED"):
    pytest.skip("SO_PEERCRED is Linux's", allow_module_level=True)
pytestmark = pytest.mark.anyio

PATIENCE_S = 60.0
CONFIG = AgentConfig(agent_id=AGENT, tenant_id=TENANT, api_endpoint="http://localhost", jitter=0.0)
ME = os.getuid()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def serving(hub: PlatformHub, users: dict[int, str], path: Path, handle: Any) -> AsyncGenerator[Any]:
    """The platform of the page, while it listens."""
    platform = program()["UnixPlatform"](hub, users, handle)
    async with asyncio.timeout(PATIENCE_S):
        task = asyncio.create_task(platform.serve(str(path)))
        await until(path.exists)
        try:
            yield platform
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.mark.parametrize("role", ["agent", "platform"])
async def test_the_link_over_a_unix_socket_is_a_transport_in_either_role(role: str, tmp_path: Path) -> None:
    async with asyncio.timeout(PATIENCE_S):
        assert await check_channel(lambda: unix_channel(tmp_path, role), clock=time.perf_counter) == (
            "opening can be given up",
        )


async def test_an_agent_and_a_platform_lose_nothing_and_run_nothing_twice(tmp_path: Path) -> None:
    scenario = Scenario()
    path = tmp_path / "socket"
    async with serving(scenario.hub, {ME: AGENT}, path, scenario.platform_told) as platform:
        agent = program()["UnixAgent"](scenario.config, str(path), scenario.agent_told)
        scenario.cut = lambda: next(iter(agent.ends.values())).transport.abort()
        running = asyncio.create_task(agent.run())
        await scenario.play(agent, platform)
        await running


async def test_whoever_is_not_known_gets_no_link(tmp_path: Path) -> None:
    """A user whom the operator has not named, and one who is named an agent that is not registered."""
    told: list[Event] = []
    for users in ({}, {ME: "agent-2"}):
        path = tmp_path / f"socket-{len(users)}"
        hub = new_hub()
        async with serving(hub, users, path, told.append):
            reader, writer = await asyncio.open_unix_connection(str(path))
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
        assert hub.deadline() is None, "nothing is left of it"
    assert told == []


async def test_an_agent_waits_for_its_platform_and_hears_when_it_stops(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    of_agent: list[Event] = []

    def told(_: Any, event: Event) -> None:
        of_agent.append(event)

    agent = program()["UnixAgent"](CONFIG, str(path), told)
    running = asyncio.create_task(agent.run())
    async with asyncio.timeout(PATIENCE_S):
        await until(lambda: bool(ended(of_agent)))
    of_hub: list[Event] = []
    async with serving(new_hub(), {ME: AGENT}, path, of_hub.append):
        await until(lambda: any(isinstance(event, AgentOnline) for event in of_hub))
    agent.turn("stop", drain=False)
    await running
    assert "No such file" in ended(of_agent)[0].reason
    assert "1001" in ended(of_agent)[1].reason
    assert [event.reason for event in of_hub if isinstance(event, AgentOffline)] == ["the platform stops"]


def ended(told: list[Event]) -> list[Offline]:
    return [event for event in told if isinstance(event, Offline)]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (struct.pack("!BI", 1, 1024 * 1024 + 1), 1009),
        (struct.pack("!BI", 2, 126), 1009),
        (struct.pack("!BI", 5, 0), 1002),
        (struct.pack("!BI", 0, 1) + b"x", 1002),
        (struct.pack("!BI", 1, 2) + b"\xff\xfe", 1007),
        (struct.pack("!BI", 4, 3) + b"\x03\xe8\xff", 1007),
    ],
    ids=["too large", "a large ping", "an unknown kind", "another one", "not UTF-8", "a reason that is not UTF-8"],
)
@pytest.mark.parametrize("role", ["agent", "platform"])
async def test_msg_6_what_may_not_be_sent_ends_the_link(role: str, sent: bytes, code: int, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with asyncio.timeout(PATIENCE_S):
        if role == "platform":
            async with serving(new_hub(), {ME: AGENT}, Path(path), pass_over):
                assert await close_code(*await asyncio.open_unix_connection(path), sent) == code
            return
        closed = asyncio.get_running_loop().create_future()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            closed.set_result(await close_code(reader, writer, sent))

        async with await asyncio.start_unix_server(accepted, path):
            agent = program()["UnixAgent"](CONFIG, path, pass_over)
            running = asyncio.create_task(agent.run())
            assert await closed == code
            agent.turn("stop", drain=False)
            await running


def pass_over(*_: object) -> None:
    """What is told is of no interest."""


async def close_code(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes) -> int:
    """Send something, byte by byte, and return the code that the link is closed with."""
    for place in range(len(sent)):
        writer.write(sent[place : place + 1])
        await asyncio.sleep(0)
    while True:
        kind, size = struct.unpack("!BI", await reader.readexactly(5))
        payload = await reader.readexactly(size)
        if kind == 4:
            break
    assert await reader.read() == b"", "it is the last"
    writer.close()
    await writer.wait_closed()
    return int.from_bytes(payload[:2], "big")
