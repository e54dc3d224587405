"""docs/platforms.md: the platforms over asyncio and `selectors`, as printed, over real sockets."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pytest

from artcafe_anyio import Agent
from artcafe_platform import make_server_context
from artcafe_proto import Instant, PlatformConfig, PlatformHub
from artcafe_proto.events import AgentOffline, AgentOnline, CommandAnswered, Offline, ResponsesSettled
from support.certificates import issue
from support.foreign_ports import reserved_port, wait_until_it_listens
from support.virtual import signing_key

PAGE = (Path(__file__).parents[2] / "docs" / "platforms.md").read_text("utf-8")
TENANT, TOKEN = "tenant-1", "a-tenant-token-of-some-length"
PATIENCE_S = 60.0
AUTHORITY = issue(common_name="The Authority", is_authority=True)
ISSUED = issue("localhost", by=AUTHORITY)
GET = f"GET {{}} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"


def printed(name: str) -> dict[str, Any]:
    """What the program of the page defines."""
    found = re.search(rf"<!-- platform: {name} -->\n```python\n(.*?)(\n# Run it: .*?)?```", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(compile(found[1], name, "exec"), names)
    return names


class Serving(Protocol):
    """A platform of the page, in its loop."""

    hub: PlatformHub
    port: int

    async def turn(self, action: Callable[[Instant], object]) -> None:
        """Have it call the hub in a turn."""
        ...

    async def stop(self) -> None:
        """End it in an orderly way, and wait for that."""
        ...


class OnAsyncio:
    def __init__(self, hub: PlatformHub, port: int, tls: ssl.SSLContext | None) -> None:
        self.hub, self.port = hub, port
        self.platform = printed("health")["AsyncioPlatform"](hub, tls)
        self.task = asyncio.create_task(self.platform.serve("127.0.0.1", port))

    async def turn(self, action: Callable[[Instant], object]) -> None:
        self.platform.turn(action)

    async def stop(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


class OnSelectors:
    """In a thread."""

    def __init__(self, hub: PlatformHub, port: int, tls: ssl.SSLContext | None) -> None:
        self.hub, self.port = hub, port
        self.platform = printed("selectors")["SelectorsPlatform"](hub, tls)
        self.task = asyncio.create_task(asyncio.to_thread(self.platform.serve, "127.0.0.1", port))

    async def turn(self, action: Callable[[Instant], object]) -> None:
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def call() -> None:
            self.platform.turn(action)
            loop.call_soon_threadsafe(done.set)

        self.platform.call_soon(call)
        await done.wait()

    async def stop(self) -> None:
        if not self.task.done():
            self.platform.stop()
        await self.task


Kind = Callable[[PlatformHub, int, ssl.SSLContext | None], Serving]
on_both = pytest.mark.parametrize("kind", [OnAsyncio, OnSelectors])


@asynccontextmanager
async def running(kind: Kind, tls: ssl.SSLContext | None = None, **settings: Any) -> AsyncGenerator[Serving]:
    """A platform of the page that listens; it ends in an orderly way with the block."""
    hub = PlatformHub(PlatformConfig(**settings), rng=Random(1), signing_seed=bytes(32))
    hub.registry.add_tenant(TENANT, TOKEN)
    with reserved_port() as port:
        async with asyncio.timeout(PATIENCE_S):
            serving = kind(hub, port, tls)
            await asyncio.to_thread(wait_until_it_listens, port, lambda: True)
            try:
                yield serving
            finally:
                await serving.stop()


async def answer(port: int, asked: str) -> bytes:
    """What comes back until the connection ends; this side ends at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked.encode())
    writer.write_eof()
    written = await reader.read()
    writer.close()
    return written


def echo_agent(port: int) -> Agent:
    """An agent `a1` that answers `echo`."""
    agent = Agent(agent_id="a1", tenant_id=TENANT, api_endpoint=f"http://127.0.0.1:{port}")

    @agent.command("echo", inline=True)
    def echo(n: int) -> int:
        return n

    return agent


async def sign(challenge: bytes) -> bytes:
    """As `a1`."""
    return signing_key().sign(challenge, "ssh")


def enrol(serving: Serving, now: Instant) -> None:
    """By the recipe of the page."""
    found = re.search(r"<!-- platform: enrolment -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    definition, _, call = found[1].partition("\nplatform.turn")
    assert "enrol" in call
    names: dict[str, Any] = {}
    exec(compile(definition, "enrolment", "exec"), names)
    names["enrol"](serving.hub, "a1", signing_key().public.openssh, now)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/health", b"HTTP/1.1 200 .*ok$"),
        ("/nothing", b"HTTP/1.1 404 .*not_found"),
        ("/api/v1/nothing", b"HTTP/1.1 404 .*not_found"),
        ("/api/v1/agents", b"HTTP/1.1 200 .*agents"),
        ("/api/v1/ws/agent/a1", b"HTTP/1.1 426 "),
    ],
)
@on_both
def test_it_answers_what_is_left_to_it(kind: Kind, target: str, expected: bytes) -> None:
    async def main() -> None:
        async with running(kind) as serving:
            written = await answer(serving.port, GET.format(target))
            assert re.match(b"HTTP/1.1 404 " if kind is OnSelectors and "health" in target else expected, written, 16)

    asyncio.run(main())


@on_both
def test_agents_are_served_and_a_tenants_stream_is_told(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    """What comes of an input of one connection leaves on others in the same drain."""

    async def main() -> None:
        async with running(kind) as serving:
            await serving.turn(lambda now: enrol(serving, now))
            reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
            writer.write(GET.format("/api/v1/events").encode())
            await reader.readuntil(b"event: stream.open")
            body = b'{"command":"echo","args":{"n":1}}'
            head = GET.format("/api/v1/agents/a1/commands").replace("GET", "POST", 1).removesuffix("\r\n")
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            async with echo_agent(serving.port).running(sign=sign):
                await reader.readuntil(b"event: agent.online")
                assert (await answer(serving.port, head + body.decode())).startswith(b"HTTP/1.1 202 ")
                await reader.readuntil(b"event: command.answered")
            writer.close()

    asyncio.run(main())
    told = capsys.readouterr().out
    for event in (AgentOnline, CommandAnswered):
        assert told.count(f"{event.__name__}(") == 1


@on_both
def test_at_its_end_links_are_closed_and_streams_end_as_they_should(
    kind: Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with running(kind) as serving:
            await serving.turn(lambda now: enrol(serving, now))
            reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
            writer.write(GET.format("/api/v1/events").encode())
            agent, lost = echo_agent(serving.port), asyncio.Event()
            offline: list[str] = []

            def hear(event: object) -> None:
                if isinstance(event, Offline):
                    offline.append(event.reason)
                    lost.set()

            agent.on_event(hear)
            async with agent.running(sign=sign):
                await reader.readuntil(b"event: agent.online")
                await serving.stop()
                await lost.wait()
            assert "1001" in offline[0], "a close frame said so"
            assert (await reader.read()).endswith(b"0\r\n\r\n"), "the stream has its last chunk"
            writer.close()

    asyncio.run(main())
    assert capsys.readouterr().out.count(f"{AgentOffline.__name__}(") == 1


@on_both
def test_plat_8_whoever_takes_too_long_to_ask_is_told_so(kind: Kind) -> None:
    async def main() -> None:
        async with running(kind, head_timeout=0.05) as serving:
            reader, writer = await asyncio.open_connection("127.0.0.1", serving.port)
            writer.write(b"GET / HT")
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
            writer.close()

    asyncio.run(main())


@on_both
def test_tok_4_it_speaks_tls_and_drops_who_does_not(kind: Kind, tmp_path: Path) -> None:
    certificate, key = ISSUED.write(tmp_path, "platform")
    client = ssl.create_default_context(cadata=AUTHORITY.pem.decode())

    async def main() -> None:
        async with running(kind, make_server_context(str(certificate), str(key))) as serving:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", serving.port, ssl=client, server_hostname="localhost"
            )
            writer.write(GET.format("/api/v1/agents").encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.close()
            with suppress(ConnectionResetError):
                assert b"HTTP" not in await answer(serving.port, GET.format("/health")), "nothing is said in the clear"

    asyncio.run(main())


@pytest.mark.parametrize("tls", [False, True], ids=["", "TLS"])
@on_both
def test_link_8_whoever_does_not_read_is_not_read_and_cut_off_in_the_end(kind: Kind, tls: bool, tmp_path: Path) -> None:
    context = make_server_context(*map(str, ISSUED.write(tmp_path, "platform"))) if tls else None
    client = ssl.create_default_context(cadata=AUTHORITY.pem.decode()) if tls else None
    named: dict[str, Any] = {"ssl": client, "server_hostname": "localhost"} if tls else {}

    async def main() -> None:
        async with running(kind, context, write_stall_timeout=0.5) as serving:
            for number in range(200):
                serving.hub.registry.create_agent(
                    TENANT, agent_id=f"agent-{number}", name="x" * 200, capabilities=(), metadata={}, wall=0.0
                )
            reader, writer = await asyncio.open_connection("127.0.0.1", serving.port, limit=1024, **named)
            began = time.monotonic()
            while not writer.is_closing():  # what comes back is not taken, and fills the buffers of both sides
                writer.write(GET.format("/api/v1/agents").encode())
                await asyncio.sleep(0.001)
            assert time.monotonic() - began > 0.5
            assert tls or isinstance(reader.exception(), ConnectionResetError), "it was aborted"
            writer.close()

    asyncio.run(main())


@on_both
def test_a_message_of_the_largest_size_passes_both_ways_in_parts(kind: Kind, tmp_path: Path) -> None:
    """Over TLS, where what was read may be more than what is taken."""
    certificate, key = ISSUED.write(tmp_path, "platform")
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(AUTHORITY.pem)
    text = "é" * 250_000

    async def main() -> None:
        async with running(kind, make_server_context(str(certificate), str(key))) as serving:
            await serving.turn(lambda now: enrol(serving, now))
            url = f"https://localhost:{serving.port}"
            agent = Agent(agent_id="a1", tenant_id=TENANT, api_endpoint=url, ca_file=trusted)

            @agent.command("echo", inline=True)
            def echo(text: str) -> str:
                return text

            settled = asyncio.Event()

            def hear(event: object) -> None:
                if isinstance(event, ResponsesSettled):
                    settled.set()

            agent.on_event(hear)
            async with agent.running(sign=sign):
                send = serving.hub.send_command
                await serving.turn(lambda now: send(TENANT, "a1", "echo", {"text": text}, command_id="c1", now=now))
                await settled.wait()
            answered = serving.hub.command(TENANT, "c1")
            assert answered.response is not None
            assert bytes(answered.response.result).decode() == f'"{text}"'

    asyncio.run(main())
