"""PLAT-4: the event stream of a tenant, over a transport that a test holds up, and over sockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.abc import TaskStatus

from artcafe_anyio.clocks import Clock, read_clocks
from artcafe_platform import Platform
from artcafe_proto.events import StatusReceived
from artcafe_proto.platform import watches
from artcafe_proto.policies.timetable import GRID_S
from platform_server.foreign_stage import AGENT, online
from platform_server.foreign_stage import stage as foreign_stage
from platform_server.harness import tenant_client
from platform_server.listener import listening
from platform_server.scripted_stream import Stage, stage
from support.drained import due_at
from support.platform_api import NOW, TENANT, TENANTS, TOKEN

# --- a transport that is held up --------------------------------------------------------------------------------------

HEAD = f"HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
WATCH = f"GET /api/v1/events {HEAD}".encode()


@asynccontextmanager
async def watching(request: bytes = WATCH, clock: Clock = read_clocks) -> AsyncGenerator[Stage]:
    """A connection on which a stream has begun."""
    async with stage(clock=clock) as setting:
        for tenant_id, token in TENANTS.items():
            setting.owner.hub.registry.add_tenant(tenant_id, token)
        setting.owner.hub.registry.create_agent(
            TENANT, agent_id=AGENT, name="", capabilities=(), metadata={}, wall=NOW.wall
        )
        setting.stream.comes(request)
        await wait_all_tasks_blocked()
        yield setting


def say(setting: Stage, message: str = "") -> None:
    """Something happens to the agent."""
    with setting.owner.turn() as now:
        setting.owner.hub._emit(StatusReceived(AGENT, "busy", None, None, message))  # type: ignore[reportPrivateUsage]
        assert now.mono > 0


def sent(setting: Stage) -> bytes:
    return b"".join(setting.stream.sent)


@pytest.mark.anyio
async def test_a_reader_that_does_not_keep_up_costs_a_bounded_memory_and_loses_its_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watches, "MAX_WAITING_BYTES", 100_000)
    async with watching(clock=lambda: NOW) as setting:  # so that events of all runs have the same sizes
        setting.stream.stick()
        most = 0
        for _ in range(2000):
            say(setting, "x" * 100)
            most = max(most, setting.connection.buffered_bytes)
        assert 100_000 < most < 100_500
        assert setting.protocol.is_closed
        assert setting.owner.hub.watches._streams.all() == []  # type: ignore[reportPrivateUsage]
        setting.stream.unstick()
        await wait_all_tasks_blocked()
        assert sent(setting).endswith(b"\r\n0\r\n\r\n"), "what waited goes out, and the end is clean"
        assert setting.stream.has_ended


@pytest.mark.anyio
async def test_a_reader_that_is_only_slow_keeps_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MAX_WAITING_BYTES", 10_000)
    async with watching() as setting:
        for _ in range(4):
            setting.stream.stick()
            for _ in range(30):
                say(setting, "x" * 100)
            setting.stream.unstick()
            await wait_all_tasks_blocked()
        assert sent(setting).count(b"event: agent.status") == 120
        assert len(sent(setting)) > 20_000
        assert not setting.protocol.is_closed


@pytest.mark.anyio
async def test_silence_is_broken_by_comments_without_a_task_for_each_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "KEEP_ALIVE_S", 0.02)
    async with stage() as setting:
        await wait_all_tasks_blocked()
        without = len(anyio.get_running_tasks())
    async with watching() as setting:
        assert len(anyio.get_running_tasks()) == without
        while sent(setting).count(b"3\r\n:\n\n\r\n") < 3:
            await setting.stream.news()


@pytest.mark.anyio
async def test_a_comment_goes_out_after_silence_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watching() as setting:
        first = due_at(setting.protocol)
        say(setting)
        then = due_at(setting.protocol)
        due = setting.owner.hub.deadline()
        assert first is not None
        assert then is not None
        assert due is not None
        assert first < then
        assert due <= then + GRID_S


@pytest.mark.anyio
@pytest.mark.parametrize("error", [anyio.BrokenResourceError(), ConnectionResetError()])
async def test_a_reader_that_is_gone_is_forgotten(error: Exception) -> None:
    async with watching() as setting:
        setting.stream.comes(error)
        await setting.over.wait()
        assert setting.owner.hub.watches._streams.all() == []  # type: ignore[reportPrivateUsage]
        say(setting)


@pytest.mark.anyio
async def test_a_reader_that_ends_its_side_is_taken_as_gone() -> None:
    async with watching(WATCH + b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n") as setting:
        setting.stream.comes(anyio.EndOfStream())
        await setting.over.wait()
        assert setting.owner.hub.watches._streams.all() == []  # type: ignore[reportPrivateUsage]
        assert setting.stream.answers == 1, "what it asked before is answered"
        assert b"\r\n0\r\n\r\nHTTP/1.1 404" in sent(setting)


# --- over sockets -----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_tenant_hears_what_happens_to_its_agents_and_commands() -> None:
    async with foreign_stage() as setting, listening(setting.platform) as listener:
        async with online(setting) as link:
            command_id = await setting.send("work", n=1)
            command = await link.receive()
            await link.send("status", {"status": "busy", "current_task": command_id, "progress": 45})
            await link.respond(command, {"done": "\u2028é"})
            await link.send("message", {"topic": "thanks"})
            await link.send("nonsense", {})
            await link.send("heartbeat", {"agent_id": "another"})
            seen = await listener.take(
                "agent.authenticated",
                "agent.online",
                "agent.heartbeat",
                "command.sent",
                "agent.status",
                "command.answered",
                "agent.message",
                "agent.unknown",
                "agent.violation",
            )
        seen += await listener.take("agent.offline")
        assert {data["agent_id"] for data in seen} == {AGENT}
        assert seen[3]["command_id"] == seen[5]["command_id"] == seen[4]["current_task"] == command_id
        assert seen[5]["response"] == {"status": "success", "result": {"done": "\u2028é"}}
        assert seen[6]["data"] == {"topic": "thanks"}
        expiring = await setting.client.post(
            f"/agents/{AGENT}/commands", json={"command": "work", "command_id": "c1", "expires_in": 0.01}
        )
        assert expiring.status_code == 202
        assert (await listener.take("command.expired"))[0]["command_id"] == "c1"


@pytest.mark.anyio
async def test_the_head_says_what_it_is_and_that_nothing_keeps_it() -> None:
    async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
        async with listening(platform) as listener:
            assert listener.headers["content-type"] == "text/event-stream"
            assert listener.headers["cache-control"] == "no-store"
            assert "content-length" not in listener.headers
        head = await client.head("/events")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == "text/event-stream"
        assert (await client.get("/agents")).status_code == 200


@pytest.mark.anyio
async def test_streams_end_cleanly_and_at_once_when_the_platform_stops() -> None:
    ends: list[bool] = []
    async with anyio.create_task_group() as tasks:
        async with Platform(tenants=TENANTS) as platform:

            async def listen(*, task_status: TaskStatus[None]) -> None:
                async with listening(platform) as stream:
                    task_status.started()
                    await stream.read_to_end()
                    ends.append(stream.is_whole)

            for _ in range(5):
                await tasks.start(listen)
            before = anyio.current_time()
        assert anyio.current_time() - before < platform.config.close_timeout, "nobody was waited for"
    assert ends == [True] * 5
