"""docs/embedding.md: a platform with a page of its own, as printed, over sockets of asyncio."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from artcafe_anyio import Agent
from artcafe_platform import make_server_context
from artcafe_proto import PlatformConfig, PlatformHub
from artcafe_proto.events import AgentOnline, CommandAnswered
from support.certificates import issue
from support.virtual import signing_key

PAGE = (Path(__file__).parents[2] / "docs" / "embedding.md").read_text("utf-8")
TENANT, TOKEN = "tenant-1", "a-tenant-token-of-some-length"
PATIENCE_S = 60.0
AUTHORITY = issue(common_name="The Authority", is_authority=True)
ISSUED = issue("localhost", by=AUTHORITY)
GET = f"GET {{}} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"


def platform_class() -> Any:
    """The class of the page."""
    found = re.search(r"<!-- platform: health -->\n```python\n(.*?)\n# Run it: ", PAGE, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names["AsyncioPlatform"]


@asynccontextmanager
async def running(tls: ssl.SSLContext | None = None, **settings: Any) -> AsyncGenerator[tuple[PlatformHub, int]]:
    """The platform of the page, and the port on which it listens."""
    hub = PlatformHub(PlatformConfig(**settings), rng=Random(1), signing_seed=bytes(32))
    hub.registry.add_tenant(TENANT, TOKEN)
    loop, listens = asyncio.get_running_loop(), asyncio.Event()
    servers: list[asyncio.Server] = []
    create_server = loop.create_server

    async def create(*given: Any, **more: Any) -> asyncio.Server:
        servers.append(await create_server(*given, **more))
        listens.set()
        return servers[0]

    loop.create_server = create  # type: ignore[method-assign]
    async with asyncio.timeout(PATIENCE_S):
        task = asyncio.create_task(platform_class()(hub, tls).serve("127.0.0.1", 0))
        await listens.wait()
        try:
            yield hub, servers[0].sockets[0].getsockname()[1]
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def answer(port: int, asked: str) -> bytes:
    """What comes back until the connection ends; this side ends at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked.encode())
    writer.write_eof()
    written = await reader.read()
    writer.close()
    return written


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
def test_it_answers_what_is_left_to_it(target: str, expected: bytes) -> None:
    async def main() -> None:
        async with running() as (_, port):
            written = await answer(port, GET.format(target))
            assert re.match(expected, written, re.DOTALL), written

    asyncio.run(main())


def test_agents_are_served_and_a_tenants_stream_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """What comes of an input of one connection leaves on others in the same drain."""

    async def main() -> None:
        async with running() as (hub, port):
            hub.registry.create_agent(TENANT, agent_id="a1", name="", capabilities=(), metadata={}, wall=0.0)
            hub.registry.add_key(TENANT, "a1", signing_key().public.openssh, "")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET.format("/api/v1/events").encode())
            await reader.readuntil(b"event: stream.open")
            agent = Agent(agent_id="a1", tenant_id=TENANT, api_endpoint=f"http://127.0.0.1:{port}")

            @agent.command("echo", inline=True)
            def echo(n: int) -> int:
                return n

            async def sign(challenge: bytes) -> bytes:
                return signing_key().sign(challenge, "ssh")

            body = b'{"command":"echo","args":{"n":1}}'
            head = GET.format("/api/v1/agents/a1/commands").replace("GET", "POST", 1).removesuffix("\r\n")
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            async with agent.running(sign=sign):
                await reader.readuntil(b"event: agent.online")
                assert (await answer(port, head + body.decode())).startswith(b"HTTP/1.1 202 ")
                await reader.readuntil(b"event: command.answered")
            writer.close()

    asyncio.run(main())
    told = capsys.readouterr().out
    for kind in (AgentOnline, CommandAnswered):
        assert told.count(f"{kind.__name__}(") == 1


def test_plat_8_whoever_takes_too_long_to_ask_is_told_so() -> None:
    async def main() -> None:
        async with running(head_timeout=0.05) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HT")
            assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
            writer.close()

    asyncio.run(main())


def test_tok_4_it_speaks_tls_and_drops_who_does_not(tmp_path: Path) -> None:
    certificate, key = ISSUED.write(tmp_path, "platform")
    client = ssl.create_default_context(cadata=AUTHORITY.pem.decode())

    async def main() -> None:
        async with running(make_server_context(str(certificate), str(key))) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
            writer.write(GET.format("/health").encode())
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
            writer.close()
            assert await answer(port, GET.format("/health")) == b"", "nothing is said in the clear"

    asyncio.run(main())


@pytest.mark.parametrize("tls", [False, True], ids=["", "TLS"])
def test_link_8_whoever_does_not_read_is_not_read_and_cut_off_in_the_end(tls: bool, tmp_path: Path) -> None:
    context = make_server_context(*map(str, ISSUED.write(tmp_path, "platform"))) if tls else None
    client = ssl.create_default_context(cadata=AUTHORITY.pem.decode()) if tls else None
    named: dict[str, Any] = {"ssl": client, "server_hostname": "localhost"} if tls else {}

    async def main() -> None:
        async with running(context, write_stall_timeout=0.5) as (hub, port):
            for number in range(200):
                hub.registry.create_agent(
                    TENANT, agent_id=f"agent-{number}", name="x" * 200, capabilities=(), metadata={}, wall=0.0
                )
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024, **named)
            began = time.monotonic()
            while not writer.is_closing():  # what comes back is not taken, and fills the buffers of both sides
                writer.write(GET.format("/api/v1/agents").encode())
                await asyncio.sleep(0.001)
            assert time.monotonic() - began > 0.5
            assert tls or isinstance(reader.exception(), ConnectionResetError), "it was aborted"
            writer.close()

    asyncio.run(main())
