"""docs/aiohttp.md: both roles as printed, with each other and with our own, over loopback."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from artcafe_anyio import Agent
from artcafe_platform import Platform, make_server_context
from artcafe_proto import AgentConfig, HttpRequest, HttpResponse, PlatformHub
from artcafe_proto.effects import Connect, Disconnect, SendRequest, SendUpgrade
from artcafe_proto.events import AgentOffline, AgentOnline, CommandAnswered, CommandReceived, Event, Offline
from artcafe_proto.testing import check_channel
from support.aiohttp_links import ROLES, AiohttpChannel, program
from support.certificates import issue
from support.channels import CONN
from support.printed_links import Scenario, until
from support.virtual import AGENT, TENANT, new_hub, signing_key

pytestmark = pytest.mark.anyio

PATIENCE_S = 60.0
TOKEN = "a-tenant-token-of-some-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
AUTHORITY = issue(common_name="The Authority", is_authority=True)
ISSUED = issue("localhost", by=AUTHORITY)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def sign(challenge: bytes) -> bytes:
    return signing_key().sign(challenge, "ssh")


async def sign_later(challenge: bytes) -> bytes:
    return sign(challenge)


def pass_over(*_: object) -> None:
    """What is told is of no interest."""


def trust() -> ssl.SSLContext:
    return ssl.create_default_context(cadata=AUTHORITY.pem.decode())


@asynccontextmanager
async def serving(
    hub: PlatformHub, handle: Callable[[Event], object], tls: ssl.SSLContext | None = None
) -> AsyncGenerator[tuple[Any, str]]:
    """The platform of the page, and where it listens."""
    async with asyncio.timeout(PATIENCE_S):
        platform = program()["AiohttpPlatform"](hub, handle)
        runner: web.AppRunner = platform.runner()
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
            scheme, host = ("http", "127.0.0.1") if tls is None else ("https", "localhost")
            yield platform, f"{scheme}://{host}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()
    assert not platform.exchanges, "nothing is left of any exchange"


# --- the link ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def limited(role: str) -> AsyncGenerator[AiohttpChannel]:
    async with asyncio.timeout(PATIENCE_S), ROLES[role]() as channel:
        yield channel


def inputs(told: list[tuple[str, bytes | int]]) -> list[tuple[str, bytes | int]]:
    """What an end was told, without signs of life."""
    return [entry for entry in told if entry[0] != "bytes"]


@pytest.mark.parametrize("role", ROLES)
async def test_the_link_over_aiohttp_is_a_transport_in_either_role(role: str) -> None:
    assert await check_channel(lambda: limited(role), clock=time.perf_counter) == ("opening can be given up",)


@pytest.mark.parametrize(
    ("opcode", "size", "sent", "code"),
    [
        (1, 2, b"\xff\xfe", 1007),
        (1, 1024 * 1024 + 1, b"", 1009),
        (2, 1, b"x", 1003),
        (3, 0, b"", 1002),
    ],
    ids=["not UTF-8", "too large", "binary", "an unknown opcode"],
)
@pytest.mark.parametrize("role", ROLES)
async def test_msg_6_what_may_not_be_sent_ends_reading(
    role: str, opcode: int, size: int, sent: bytes, code: int
) -> None:
    async with limited(role) as channel:
        masked, mask = (0x80, bytes(4)) if role == "platform" else (0, b"")
        length = bytes([masked | size]) if size < 126 else bytes([masked | 127]) + size.to_bytes(8, "big")
        channel.far_write(b"before")
        channel.far.transport.write(bytes([0x80 | opcode]) + length + mask + sent)
        await until(lambda: bool(channel.failures))
        channel.close_with(channel.failures[0].code, "")
        channel.close(abort=False)
        await until(lambda: bool(inputs(channel.far_told)))
        assert inputs(channel.told) == [("text", b"before")]
        assert [failure.code for failure in channel.failures] == [code]
        assert inputs(channel.far_told) == [("close", code)]


# --- both roles together ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_tls", [False, True], ids=["", "TLS"])
async def test_an_agent_and_a_platform_lose_nothing_and_run_nothing_twice(is_tls: bool, tmp_path: Path) -> None:
    context = make_server_context(*map(str, ISSUED.write(tmp_path, "platform"))) if is_tls else None
    scenario = Scenario()
    async with serving(scenario.hub, scenario.platform_told, context) as (platform, url):
        config = msgspec.structs.replace(scenario.config, api_endpoint=url)
        agent = program()["AiohttpAgent"](config, sign, scenario.agent_told, trust())
        running = asyncio.create_task(agent.run())
        scenario.cut = lambda: link_of(agent).transport.abort()
        await scenario.play(agent, platform)
        await running


def link_of(agent: Any) -> Any:
    return next(transport.link for transport in agent.transports.values() if transport.link is not None)


async def test_an_agent_hears_when_its_platform_stops() -> None:
    of_agent: list[Event] = []
    of_hub: list[Event] = []

    def told(_: Any, event: Event) -> None:
        of_agent.append(event)

    async with serving(new_hub(), of_hub.append) as (_, url):
        config = AgentConfig(agent_id=AGENT, tenant_id=TENANT, api_endpoint=url)
        agent = program()["AiohttpAgent"](config, sign, told)
        running = asyncio.create_task(agent.run())
        await until(lambda: any(isinstance(event, AgentOnline) for event in of_hub))
    agent.turn("stop", drain=False)
    await running
    assert "1001" in next(event.reason for event in of_agent if isinstance(event, Offline))
    assert [event.reason for event in of_hub if isinstance(event, AgentOffline)] == ["the platform stops"]


# --- with our own -----------------------------------------------------------------------------------------------------


async def test_our_own_agent_and_a_tenant_are_served() -> None:
    """PLAT-4: a long poll waits for a command, and an event stream tells of it."""
    hub = new_hub()
    hub.registry.add_tenant(TENANT, TOKEN)
    async with serving(hub, pass_over) as (_, url), aiohttp.ClientSession(url, headers=BEARER) as tenant:
        agent = Agent(agent_id=AGENT, tenant_id=TENANT, api_endpoint=url)

        @agent.command("echo", inline=True)
        def echo(text: str) -> str:  # pyright: ignore[reportUnusedFunction]
            return text

        async with tenant.get("/api/v1/events") as stream:
            await stream.content.readuntil(b"event: stream.open")
            body = {"command": "echo", "args": {"text": "é" * 10_000}}
            async with tenant.post(f"/api/v1/agents/{AGENT}/commands", json=body) as accepted:
                assert accepted.status == 202
                command_id = (await accepted.json())["command_id"]
            poll = asyncio.create_task(command(tenant, command_id))
            async with agent.running(sign=sign_later):
                await stream.content.readuntil(b"event: agent.online")
                assert (await poll)["response"]["result"] == "é" * 10_000
                await stream.content.readuntil(b"event: command.answered")
            await stream.content.readuntil(b"event: agent.offline")


async def command(tenant: aiohttp.ClientSession, command_id: str) -> Any:
    async with tenant.get(f"/api/v1/commands/{command_id}", params={"wait": "30"}) as response:
        return await response.json()


async def test_our_own_platform_serves_the_agent() -> None:
    answered: list[CommandAnswered] = []

    def handle(agent: Any, event: Event) -> None:
        if isinstance(event, CommandReceived):
            agent.turn("respond", event.command_id, event.args)

    def hear(event: Event) -> None:
        if isinstance(event, CommandAnswered):
            answered.append(event)

    async with asyncio.timeout(PATIENCE_S), Platform(tenants={TENANT: TOKEN}) as platform:
        platform.on_event(hear)
        await platform.create_agent(TENANT, agent_id=AGENT)
        await platform.add_key(TENANT, AGENT, signing_key().public.openssh)
        config = AgentConfig(agent_id=AGENT, tenant_id=TENANT, api_endpoint=platform.url)
        agent = program()["AiohttpAgent"](config, sign, handle)
        running = asyncio.create_task(agent.run())
        await platform.send_command(TENANT, AGENT, "echo", {"n": 1})
        await until(lambda: bool(answered))
        agent.turn("stop")
        await running
        assert json.loads(bytes(answered[0].response.result)) == {"n": 1}


# --- requests of an agent ---------------------------------------------------------------------------------------------


class Asked:
    """Stands in for an agent: it has one transport, and keeps what that tells."""

    config = AgentConfig(agent_id=AGENT, tenant_id=TENANT, api_endpoint="http://localhost")
    tls = None

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def turn(self, happened: str, conn: int, *arguments: Any) -> None:
        self.told.append((happened, *arguments))


@pytest.mark.parametrize("is_upgrade", [False, True], ids=["request", "upgrade"])
async def test_link_1_a_refusal_and_a_redirect_are_the_machines_to_judge(is_upgrade: bool) -> None:
    """No redirect is followed, nothing is inflated, no cookie is kept, and the body of any answer is told."""
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            requests.append(head)
            port = writer.get_extra_info("sockname")[1]
            writer.write(
                b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:%d/elsewhere\r\nSet-Cookie: a=b\r\n"
                b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nnot" % port
            )
            await reader.read(0 if len(requests) < 2 else -1)
            if is_upgrade or len(requests) == 2:
                break
        writer.close()

    agent = Asked()
    async with asyncio.timeout(PATIENCE_S), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport = program()["Transport"](agent, Connect(CONN, "127.0.0.1", port, False, 0.0, "link"))
        request = HttpRequest(method="GET", target="/a%2Fb?c=%20", headers=(("authorization", "Bearer secret"),))
        for exchange in (1, 2):
            effect = SendUpgrade if is_upgrade else SendRequest
            transport.carry_out(effect(CONN, exchange, request))
            await until(lambda exchange=exchange: len(agent.told) == exchange)
        transport.carry_out(Disconnect(CONN, False))
        await asyncio.wait([transport.task])
    for number, (happened, exchange, response) in enumerate(agent.told, 1):
        assert (happened, exchange) == ("response_received", number)
        assert isinstance(response, HttpResponse)
        assert (response.status, response.body, response.header("content-encoding")) == (307, b"not", "gzip")
    assert all(request.startswith(b"GET /a%2Fb?c=%20 HTTP/1.1\r\n") for request in requests)
    assert not any(b"Cookie" in request or b"Accept" in request or b"User-Agent" in request for request in requests)
    assert len(requests) == 2


async def test_a_failure_to_connect_is_told_as_an_end() -> None:
    async with await asyncio.start_server(pass_over, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    agent = Asked()
    transport = program()["Transport"](agent, Connect(CONN, "127.0.0.1", port, False, 0.0, "link"))
    transport.carry_out(SendRequest(CONN, 1, HttpRequest(method="GET", target="/")))
    async with asyncio.timeout(PATIENCE_S):
        await transport.task
    (told,) = agent.told
    assert told[0] == "disconnected"
    assert str(port) in told[1]


# --- requests to a platform -------------------------------------------------------------------------------------------


def asking(target: str, *more: str, body: str = "", method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: x", *more, "", body]).encode("latin-1")


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), limit=1024)


AGENTS = "/api/v1/agents"
VERIFY = "/api/v1/auth/verify"


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        (asking("/nothing"), 404, b"not_found"),
        (asking(AGENTS, f"Authorization: Bearer {TOKEN}"), 200, b"agent-1"),
        (asking(AGENTS, f"Authorization: Bearer {'x' * 16_384}"), 401, b"token"),
        (asking(AGENTS, "Authorization: Bearer \xff"), 401, b"token"),
        (asking("/api/v1/ws/agent/agent-1"), 426, b"upgrade_required"),
        (asking(VERIFY, "Content-Length: 65536", body="x" * 65_536, method="POST"), 415, b"content-type"),
        (asking(VERIFY, "Content-Length: 65537", body="x" * 65_537, method="POST"), 413, b"content_too_large"),
        (asking(VERIFY, "Content-Length: 9", body="x", method="POST"), 408, b"request_timeout"),
    ],
    ids=[
        "unknown",
        "agents",
        "a long token",
        "beyond ASCII",
        "no upgrade",
        "a body",
        "too large a body",
        "a slow body",
    ],
)
async def test_plat_7_requests_are_answered_by_the_hub(asked: bytes, status: int, text: bytes) -> None:
    hub = new_hub({"body_timeout": 0.1, "close_timeout": 0.1})
    hub.registry.add_tenant(TENANT, TOKEN)
    async with serving(hub, pass_over) as (_, url):
        reader, writer = await connect(url)
        writer.write(asked.replace(b"Host: x", b"Host: x\r\nConnection: close"))
        came = await reader.read()
        assert came.startswith(b"HTTP/1.1 %d " % status)
        assert text in came.lower()
        writer.close()
        await writer.wait_closed()


async def test_plat_8_whoever_is_silent_or_slow_with_a_head_is_closed_in_the_end() -> None:
    """By aiohttp, which has one deadline for both."""
    async with serving(new_hub({"idle_timeout": 0.2}), pass_over) as (_, url):
        for sent in (b"", b"GET / HT", asking("/nothing"), asking("/nothing") + b"GET / HT"):
            reader, writer = await connect(url)
            writer.write(sent)
            assert (await reader.read()).count(b"HTTP/1.1 404 ") == sent.count(b"nothing")
            writer.close()
            await writer.wait_closed()


async def test_nobody_waits_for_an_answer_to_a_client_that_has_gone() -> None:
    hub = new_hub()
    hub.registry.add_tenant(TENANT, TOKEN)
    async with serving(hub, pass_over) as (platform, url):
        reader, writer = await connect(url)
        writer.write(asking("/api/v1/events", f"Authorization: Bearer {TOKEN}"))
        await reader.readuntil(b"event: stream.open")
        assert len(platform.exchanges) == 1
        writer.close()
        await until(lambda: not platform.exchanges)
        assert hub.deadline() is None


async def test_link_8_whoever_does_not_read_its_answers_is_cut_off() -> None:
    hub = new_hub({"write_stall_timeout": 0.2})
    hub.registry.add_tenant(TENANT, TOKEN)
    for number in range(100):
        hub.registry.create_agent(
            TENANT, agent_id=f"a-{number}", name="x" * 250, capabilities=("y" * 250,) * 20, metadata={}, wall=0.0
        )
    async with serving(hub, pass_over) as (platform, url):
        reader, writer = await connect(url)
        request = asking("/api/v1/agents?limit=100", f"Authorization: Bearer {TOKEN}")
        writer.write(request * 20)
        await until(lambda: bool(platform.exchanges))
        while not reader.exception():
            writer.write(request)
            await asyncio.sleep(0.01)
        assert isinstance(reader.exception(), ConnectionResetError)
        writer.close()
