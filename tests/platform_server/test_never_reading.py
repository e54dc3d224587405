"""LINK-8, PLAT-8: peers that keep sending and never read, over sockets whose windows are full.

What ends them is the deadline of a stalled write or a limit of what may wait, never that they were silent; and until
then no more waits for them than was allowed. The deadline is short here; that it is 30 s is for the core's tests.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from random import Random
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.lowlevel import checkpoint

from artcafe_platform import Platform, holdings
from artcafe_platform.connection import AcceptedStream
from artcafe_platform.holdings import Holdings
from artcafe_platform.sockets import SocketConnection
from artcafe_proto import ApiError, PlatformConfig, PlatformProtocol
from artcafe_proto.events import AgentOffline, AgentOnline, CommandSent
from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.platform import watches
from artcafe_proto.wires.frames import FrameWriter
from platform_server.foreign_agent import ForeignAgent
from platform_server.foreign_stage import AGENT, ed25519_key
from platform_server.harness import PATIENCE_S, Recorder, bare_connection, register, tenant_client
from support.platform_api import TENANT, TENANTS, TOKEN
from support.virtual import session_of

pytestmark = pytest.mark.anyio

LIST = f"GET /api/v1/agents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()
POST = b"POST /api/v1/agents HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n"
WATCH = LIST.replace(b"agents", b"events")
SHORT_S = 0.05
LONG_S = 1000.0
KIB = 1024
MESSAGE = b'{"type":"message","id":"msg-1","data":{"x":"%s"}}' % (b"x" * 30 * KIB)


class Stage:
    """A platform, and the most that ever waited for one of its peers."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.events = Recorder(platform)
        self.most_bytes = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch, kind: type[AcceptedStream] | type[SocketConnection]) -> None:
        """Note it."""
        original: Any = kind.write

        def write(each: Any, data: bytes) -> None:
            original(each, data)
            self.most_bytes = max(self.most_bytes, each.buffered_bytes)

        monkeypatch.setattr(kind, "write", write)

    async def until_alone(self, others: int) -> None:
        """Wait until the platform has no more than so many connections."""
        await until(lambda: len(self.platform._entered.connections) <= others)  # pyright: ignore[reportPrivateUsage]

    async def until_streams(self, number: int) -> None:
        """Wait until it has so many event streams."""
        await until(lambda: len(self.platform._entered.hub.watches._streams.all()) == number)  # pyright: ignore[reportPrivateUsage]

    @asynccontextmanager
    async def peer(self) -> AsyncGenerator[SocketStream]:
        """A connection with small buffers on its side."""
        async with bare_connection(self.platform) as stream:
            stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
            yield stream

    @asynccontextmanager
    async def link(self) -> AsyncGenerator[tuple[SocketStream, FrameWriter]]:
        """An agent that is online and has read nothing since its upgrade."""
        agent = ForeignAgent(self.platform.url, TENANT, AGENT, ed25519_key(), "websockets")
        async with tenant_client(self.platform) as client:
            await register(client, AGENT, agent.public_key)
        await agent.authenticate()
        head = f"GET /api/v1/ws/agent/{AGENT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {agent.token}\r\n"
        head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        head += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        async with self.peer() as stream:
            await stream.send(head.encode())
            assert (await stream.receive()).startswith(b"HTTP/1.1 101")
            frames = FrameWriter(client=True, rng=Random(1))
            await stream.send(heartbeat(frames))
            await self.events.nth(AgentOnline)
            yield stream, frames


async def until(done: Callable[[], bool]) -> None:
    """Wait for what happens in the platform without a word."""
    with anyio.fail_after(PATIENCE_S):
        while not done():  # noqa: ASYNC110 nothing of it is an event
            await anyio.sleep(0.001)


def undrained_bytes(protocol: PlatformProtocol) -> int:
    """What it has for its peer, and has told nobody of."""
    frames = session_of(protocol).outputs.undrained_bytes(protocol.conn)
    return frames + sum(map(len, protocol._chunks))  # pyright: ignore[reportPrivateUsage]


def heartbeat(frames: FrameWriter) -> bytes:
    """A sign of life."""
    return frames.text(b'{"type":"heartbeat","id":"hb-1","data":{"agent_id":"%s"}}' % AGENT.encode())


async def speak_until_cut(stream: SocketStream, data: bytes) -> None:
    """Say the same again and again, and never read."""
    with anyio.fail_after(PATIENCE_S), suppress(anyio.BrokenResourceError):
        while True:
            await stream.send(data)
            await anyio.sleep(0.001)


@pytest.fixture(params=["the loop's own", "anyio's streams"])
async def stage(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, stall_s: float
) -> AsyncGenerator[Stage]:
    streams = request.param == "anyio's streams"
    config = PlatformConfig(write_stall_timeout=stall_s, ping_interval=LONG_S, close_timeout=SHORT_S, window=8)
    async with Platform(tenants=TENANTS, config=config, anyio_streams=streams) as platform:
        setting = Stage(platform)
        for kind in (AcceptedStream, SocketConnection):
            setting.watch(monkeypatch, kind)
        yield setting


stalls_soon = pytest.mark.parametrize("stall_s", [SHORT_S])
stalls_late = pytest.mark.parametrize("stall_s", [LONG_S])


@stalls_soon
async def test_link_8_a_client_that_sends_requests_and_reads_no_answer_is_cut(stage: Stage) -> None:
    """One answer waits for it, and another to what was being received when that was found out."""
    async with tenant_client(stage.platform) as client:
        for number in range(4):
            body = {"agent_id": f"agent-{number}", "metadata": {"x": "x" * 60 * KIB}}
            assert (await client.post("/agents", json=body)).status_code == 201
        async with stage.peer() as stream:
            for _ in range(200):  # 48 MiB of answers to 20 KiB of requests, which are read until nothing more goes out
                await stream.send(LIST)
            await stage.until_alone(1)
        assert stage.most_bytes < WRITE_AHEAD_BYTES + 2 * 244 * KIB
        assert (await client.get("/agents?limit=1")).status_code == 200


@stalls_soon
async def test_link_8_an_agent_that_reads_none_of_its_commands_is_cut_and_keeps_them(stage: Stage) -> None:
    """CMD-10: little is written ahead of it, and all of them are there for the next link."""
    async with stage.link() as (stream, frames):
        for _ in range(60):
            await stage.platform.send_command(TENANT, AGENT, "work", {"x": "x" * 1000 * KIB})
        await speak_until_cut(stream, heartbeat(frames))
    assert (await stage.events.nth(AgentOffline)).reason == "writing stalled"
    assert 1 <= len(stage.events.of(CommandSent)) <= 2
    assert stage.most_bytes < WRITE_AHEAD_BYTES + 1001 * KIB
    line = stage.platform.hub._delivery._lines[AGENT]  # pyright: ignore[reportPrivateUsage]
    assert len(line.pending) == 60


@stalls_late
async def test_plat_4_messages_to_an_agent_that_does_not_read_are_refused(stage: Stage) -> None:
    """Messages have no window, and are not kept."""
    async with stage.link():
        for number in range(20):
            with suppress(ApiError) if number else nullcontext():
                await stage.platform.send_message(TENANT, AGENT, {"x": "x" * 1000 * KIB})
        with pytest.raises(ApiError) as refused:
            await stage.platform.send_message(TENANT, AGENT, {})
        assert (refused.value.status, refused.value.error) == (503, "agent_congested")
    assert stage.most_bytes < WRITE_AHEAD_BYTES + 1002 * KIB


@stalls_late
async def test_plat_8_what_all_connections_hold_is_bounded_and_those_that_hold_most_are_cut(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "MAX_HELD_BYTES", 400 * KIB)
    held: list[int] = []
    original: Any = Holdings.look_at

    def look_at(self: Any, *arguments: object) -> Any:
        largest = original(self, *arguments)
        held.append(sum(each.held_bytes for each in self._connections.values() if each not in largest))
        return largest

    monkeypatch.setattr(Holdings, "look_at", look_at)
    async with tenant_client(stage.platform) as client, AsyncExitStack() as stack:
        small = await stack.enter_async_context(stage.peer())
        await small.send(POST + b"x" * 50_000)  # which is never whole
        for _ in range(12):
            large = await stack.enter_async_context(stage.peer())
            with suppress(anyio.BrokenResourceError):
                await large.send(POST + b"x" * 59_000)
            assert (await client.get("/agents?limit=1")).status_code == 200
        await stage.until_alone(8)
        assert 300 * KIB < max(held) <= 400 * KIB
        await small.send(b"x" * 10_000)
        assert (await small.receive()).startswith(b"HTTP/1.1 401"), "the smallest is served"
    await stage.until_alone(0)
    assert stage.platform._entered._holdings.total_bytes == 0  # pyright: ignore[reportPrivateUsage]


@stalls_late
async def test_plat_8_what_all_are_answered_that_wait_for_one_command_is_bounded_too(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "MAX_HELD_BYTES", 1000 * KIB)
    held: list[int] = []
    for kind in (AcceptedStream, SocketConnection):
        original: Any = kind.write

        def write(each: Any, data: bytes, original: Any = original) -> None:
            original(each, data)
            protocols = (every.protocol for every in stage.platform._entered.connections.values())  # pyright: ignore[reportPrivateUsage]
            held.append(sum(map(undrained_bytes, protocols)))

        monkeypatch.setattr(kind, "write", write)
    async with stage.link() as (link, frames), AsyncExitStack() as stack:
        command_id = await stage.platform.send_command(TENANT, AGENT, "work")
        poll = LIST.replace(b"agents", b"commands/%s?wait=60" % command_id.encode())
        for _ in range(12):
            await (await stack.enter_async_context(stage.peer())).send(poll)
        waiting = stage.platform._entered.hub.watches._polls  # pyright: ignore[reportPrivateUsage]
        await until(lambda: len(waiting.all()) == 12)
        data = b'{"command_id":"%s","status":"success","result":"%s"}' % (command_id.encode(), b"x" * 400 * KIB)
        await link.send(frames.text(b'{"type":"response","id":"r-1","data":%s}' % data))
        await until(lambda: not waiting.all())
        assert max(held) < 1000 * KIB


@stalls_soon
async def test_link_8_a_listener_that_reads_no_events_is_cut(stage: Stage) -> None:
    async with stage.link() as (link, frames), stage.peer() as stream:
        await stream.send(WATCH)
        await stage.until_streams(1)
        while stage.platform._entered.hub.watches._streams.all():  # pyright: ignore[reportPrivateUsage]
            await link.send(frames.text(MESSAGE))
            await checkpoint()
        assert stage.most_bytes < 1024 * KIB + 2 * len(MESSAGE)
        assert stage.events.of(AgentOffline) == []


@stalls_late
async def test_plat_8_the_stream_of_a_listener_for_whom_too_much_waits_is_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "MAX_WAITING_BYTES", 2000 * KIB)
    async with stage.link() as (link, frames), stage.peer() as stream:
        await stream.send(WATCH)
        await stage.until_streams(1)
        for _ in range(400):  # 12 MiB
            await link.send(frames.text(MESSAGE))
            await checkpoint()
        await stage.until_streams(0)
        assert stage.most_bytes < 2000 * KIB + 2 * len(MESSAGE)
        await stage.until_alone(1)  # after `close_timeout`
        assert stage.events.of(AgentOffline) == []
