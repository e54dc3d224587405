"""Our platform behind nginx and HAProxy, as docs/proxies.md configures them: reloaded and killed under load, nothing is
lost and nothing is executed twice. What goes wrong without those lines is told by the agent.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import httpx
import pytest
from anyio import to_thread

from artcafe_anyio import Agent
from artcafe_cli.key_files import make_key_pair
from artcafe_platform import Platform
from artcafe_proto.events import AgentEvent, CommandAnswered, HubEvent, Offline, Online

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

PAGE: Final = Path(__file__).parents[2] / "docs" / "proxies.md"
TENANT, TOKEN = "tenant-1", "t" * 32
AGENTS, ROUNDS, COMMANDS = 5, 4, 40
PATIENCE_S: Final = 120.0
NGINX: Final = """
daemon off; worker_processes 2; pid nginx.pid; error_log stderr error; worker_shutdown_timeout 500ms; {user}
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  {lines}
}}
"""
HAPROXY: Final = """
global
  hard-stop-after 500ms
{lines}
frontend platform
  bind 127.0.0.1:{port}
  default_backend platform
backend platform
  server platform 127.0.0.1:{target}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def printed(name: str) -> str:
    """The lines of the page for a proxy."""
    found = re.search(rf"<!-- proxy: {name} -->\n```\w*\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


class Proxy(NamedTuple):
    """A kind of proxy."""

    arguments: tuple[str, ...]
    """To be run in the folder of its configuration, the file `conf`."""
    configuration: Callable[[str, int, int], str]
    """Of the lines, its port and the platform's."""
    reload: signal.Signals
    """What has it read that again."""


def nginx_configuration(lines: str, port: int, target: int) -> str:
    lines = lines.replace("listen 8421;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:8420", f"127.0.0.1:{target}")
    return NGINX.format(lines=lines, user="user root;" if os.geteuid() == 0 else "")


def haproxy_configuration(lines: str, port: int, target: int) -> str:
    return HAPROXY.format(lines=lines, port=port, target=target)


PROXIES: Final = {
    "nginx": Proxy(("-p", ".", "-e", "stderr", "-c", "conf"), nginx_configuration, signal.SIGHUP),
    "haproxy": Proxy(("-W", "-db", "-f", "conf"), haproxy_configuration, signal.SIGUSR2),
}


class Running:
    """One proxy process and those that it starts."""

    def __init__(self, name: str, folder: Path, target: int, lines: str) -> None:
        program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            if os.environ.get("CI") == "true":
                raise RuntimeError(f"there is no {name}: install it, .ci/apt.txt names its package")
            pytest.skip(f"there is no {name}")
        self._kind = PROXIES[name]
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "conf").write_text(self._kind.configuration(lines, self.port, target))
        self._command = [program, *self._kind.arguments]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self._folder / "said").open("ab") as said:
            self._process = subprocess.Popen(  # noqa: ASYNC220 it is signalled as a group, and ended by `kill`
                self._command, cwd=self._folder, stdout=said, stderr=said, start_new_session=True
            )
        with anyio.fail_after(PATIENCE_S):
            while True:
                assert self._process.poll() is None, (self._folder / "said").read_text()
                try:
                    await (await anyio.connect_tcp("127.0.0.1", self.port)).aclose()
                except OSError:
                    await anyio.sleep(0.05)
                else:
                    return

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(self._kind.reload)

    def kill(self) -> None:
        """End all its processes at once."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@asynccontextmanager
async def behind(name: str, folder: Path, platform: Platform, lines: str) -> AsyncGenerator[Running]:
    """The platform behind a proxy."""
    proxy = Running(name, folder, int(platform.url.rpartition(":")[2]), lines)
    try:
        await proxy.start()
        yield proxy
    finally:
        proxy.kill()


async def add_agent(platform: Platform, folder: Path, agent_id: str, url: str, **settings: Any) -> Agent:
    """An agent that the platform knows, to be served."""
    public = await to_thread.run_sync(make_key_pair, folder / agent_id, "ed25519", "")
    await platform.create_agent(TENANT, agent_id=agent_id)
    await platform.add_key(TENANT, agent_id, public.openssh)
    return Agent(agent_id=agent_id, tenant_id=TENANT, private_key_path=folder / agent_id, api_endpoint=url, **settings)


async def until(done: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE_S):
        while not done():  # noqa: ASYNC110 one condition of many agents' and of the platform's
            await anyio.sleep(0.02)


class Load:
    """Agents that count what they execute, and a platform's account of what was answered."""

    def __init__(self, platform: Platform) -> None:
        self.executed: Counter[tuple[str, int]] = Counter()
        self.answered: Counter[str] = Counter()
        self.sent: set[str] = set()
        self.links = 0
        self._platform = platform
        platform.on_event(self._note)

    def _note(self, event: HubEvent) -> None:
        if isinstance(event, CommandAnswered):
            self.answered[event.command_id] += 1

    def watch(self, agent_id: str, agent: Agent) -> None:
        @agent.command("work")
        async def work(n: int) -> int:  # pyright: ignore[reportUnusedFunction]
            self.executed[agent_id, n] += 1
            await anyio.sleep(0.01)
            return n

        @agent.on_event
        def count(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
            self.links += isinstance(event, Online)

    async def round(self, number: int, disturb: Callable[[], Awaitable[None]]) -> None:
        """Send commands to all agents, disturb them in the middle, and wait for every answer."""
        for n in range(COMMANDS):
            for index in range(AGENTS):
                command_id = await self._platform.send_command(
                    TENANT, f"agent-{index}", "work", {"n": number * COMMANDS + n}, timeout_s=300
                )
                self.sent.add(command_id)
            if n == COMMANDS // 2:
                await disturb()
            await anyio.sleep(0.005)
        await until(lambda: self.sent <= set(self.answered))


@pytest.mark.parametrize("name", PROXIES)
async def test_reloaded_and_killed_under_load_nothing_is_lost_or_executed_twice(name: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(Platform(tenants={TENANT: TOKEN}))
        proxy = await stack.enter_async_context(behind(name, tmp_path, platform, printed(name)))
        load = Load(platform)

        async def reload() -> None:
            proxy.reload()

        async def kill() -> None:
            proxy.kill()
            await proxy.start()

        async with anyio.create_task_group() as tasks:
            for index in range(AGENTS):
                agent = await add_agent(platform, tmp_path, f"agent-{index}", proxy.url)
                load.watch(f"agent-{index}", agent)
                tasks.start_soon(agent.serve)
            await until(lambda: load.links >= AGENTS)
            for number in range(ROUNDS):
                await load.round(number, kill if number == ROUNDS - 1 else reload)
            tasks.cancel_scope.cancel()
        assert load.links > AGENTS, "links were cut, and came back"
        assert len(load.sent) == AGENTS * ROUNDS * COMMANDS
        assert set(load.answered.values()) == {1}
        assert set(load.executed.values()) == {1}
        assert len(load.executed) == len(load.sent)


@pytest.mark.parametrize("name", PROXIES)
async def test_events_and_long_polls_pass_at_once(name: str, tmp_path: Path) -> None:
    """Without `proxy_buffering off`: the platform's own field has nginx hold nothing back."""
    lines = printed(name).replace("proxy_buffering off;", "")
    async with Platform(tenants={TENANT: TOKEN}) as platform, behind(name, tmp_path, platform, lines) as proxy:
        agent = await add_agent(platform, tmp_path, "agent-1", proxy.url)
        Load(platform).watch("agent-1", agent)
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with (
            httpx.AsyncClient(base_url=f"{proxy.url}/api/v1", headers=headers, trust_env=False, timeout=30) as client,
            client.stream("GET", "/events") as events,
            anyio.create_task_group() as tasks,
        ):
            lines_of_events = events.aiter_lines()
            with anyio.fail_after(10):
                assert await anext(lines_of_events) == "event: stream.open"
            tasks.start_soon(agent.serve)
            with anyio.fail_after(10):
                while await anext(lines_of_events) != "event: agent.online":
                    pass
            command_id = await platform.send_command(TENANT, "agent-1", "work", {"n": 1})
            over = await client.get(f"/commands/{command_id}", params={"wait": 30})
            assert over.json()["response"] == {"status": "success", "result": 1}
            tasks.cancel_scope.cancel()


async def failures(agent: Agent, times: int) -> list[str]:
    """The reasons of so many `Offline`s."""
    reasons: list[str] = []

    @agent.on_event
    def note(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, Offline):
            reasons.append(event.reason)
            if len(reasons) == times:
                agent.stop(drain=False)

    with anyio.fail_after(PATIENCE_S):
        await agent.serve()
    return reasons


async def test_a_proxy_that_passes_no_upgrade_on_is_named(tmp_path: Path) -> None:
    lines = "server { listen 8421; location / { proxy_pass http://127.0.0.1:8420; } }"
    async with Platform(tenants={TENANT: TOKEN}) as platform, behind("nginx", tmp_path, platform, lines) as proxy:
        agent = await add_agent(platform, tmp_path, "agent-1", proxy.url)
        (reason,) = await failures(agent, 1)
    assert "with status 426" in reason
    assert "a proxy, does not pass on the fields Upgrade and Connection" in reason


SHORT: Final = {"nginx": ("proxy_read_timeout 90s", "proxy_read_timeout 3s"), "haproxy": ("tunnel 1h", "tunnel 3s")}


@pytest.mark.parametrize("name", PROXIES)
async def test_an_idle_timeout_that_cuts_every_link_is_named(name: str, tmp_path: Path) -> None:
    old, new = SHORT[name]
    lines = printed(name)
    assert old in lines
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(Platform(tenants={TENANT: TOKEN}))
        proxy = await stack.enter_async_context(behind(name, tmp_path, platform, lines.replace(old, new)))
        agent = await add_agent(platform, tmp_path, "agent-1", proxy.url)
        reasons = await failures(agent, 3)
    assert ["an idle timeout of a proxy" in reason for reason in reasons] == [False, False, True]
