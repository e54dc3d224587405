"""`artcafe demo`: a platform and agents in one process, over real sockets, and one connection cut under load.

Everything that is told comes from events of the agents and of the platform; every figure is counted at the platform.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from rich.console import Console
from rich.text import Text

from artcafe_anyio import Agent, CommandContext, CommandError
from artcafe_anyio.clocks import monotonic
from artcafe_anyio.errors import first_error
from artcafe_anyio.signals import Obeyed
from artcafe_cli.account import Account
from artcafe_cli.key_files import make_key_pair
from artcafe_cli.telling import say_json
from artcafe_cli.tenant_client import Operator
from artcafe_platform import Platform
from artcafe_proto.events import AgentOnline, CommandAnswered, HeartbeatReceived

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.events import Event, HubEvent

TENANT = "demo"
HEARTBEAT_INTERVAL_S = 2.0
BURST = 40
PATIENCE_S = 30.0
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("echo", {"text": "hello"}),
    ("add", {"a": 20, "b": 22}),
    ("digest", {"size": 200_000}),
    ("nap", {"seconds": 0.2}),
    ("divide", {"a": 1, "b": 0}),
    ("make_coffee", {}),
)


def add_handlers(agent: Agent) -> None:
    """What the demo's agents can do: a handler of each kind, a failing one, and nothing called make_coffee."""

    @agent.command("echo", inline=True)
    def echo(text: str) -> str:  # pyright: ignore[reportUnusedFunction]
        return text

    @agent.command("add")
    async def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        return a + b

    @agent.command("digest")
    def digest(size: int) -> str:  # pyright: ignore[reportUnusedFunction]
        return hashlib.sha256(bytes(size)).hexdigest()

    @agent.command("nap")
    async def nap(seconds: float, ctx: CommandContext) -> str:  # pyright: ignore[reportUnusedFunction]
        await anyio.sleep(seconds / 2)
        ctx.progress(50)
        await anyio.sleep(seconds / 2)
        return "rested"

    @agent.command("divide")
    async def divide(a: float, b: float) -> float:  # pyright: ignore[reportUnusedFunction]
        if b == 0:
            raise CommandError("a number cannot be divided by zero")
        return a / b


class Tally:
    """What the platform counts."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.answers: Counter[str] = Counter()
        self.heartbeats: int = 0
        self.reconnects: int = 0

    def count(self, event: HubEvent) -> None:
        """Count one event of the platform."""
        match event:
            case CommandAnswered():
                self.answers[event.command_id] += 1
            case HeartbeatReceived():
                self.heartbeats += 1
            case AgentOnline():
                self.reconnects += event.epoch > 1
            case _:
                pass

    @property
    def ok(self) -> bool:
        """Whether every command got exactly one final response."""
        return bool(self.sent) and all(self.answers[key] == 1 for key in self.sent)

    @property
    def all_answered(self) -> bool:
        """Whether nothing is awaited any more."""
        return all(self.answers[key] for key in self.sent)


class Demo:
    """One run."""

    def __init__(self, agents: int, seconds: float, console: Console) -> None:
        self._names = [f"agent-{number}" for number in range(1, agents + 1)]
        self._seconds = seconds
        self._console = console
        self._account = Account(self._write)
        self._lines: list[Text] = []
        self._tally = Tally()
        self._cuts = 0
        self._changed = anyio.Event()

    async def run(self) -> dict[str, Any]:
        """Run the demo; returns the summary."""
        token = secrets.token_urlsafe(32)
        with tempfile.TemporaryDirectory(prefix="artcafe-demo-") as folder:
            async with Platform(tenants={TENANT: token}) as platform:
                platform.on_event(self._platform_event)
                self._console.print(Text(f"platform on {platform.url}, keys in {folder}", "dim"))
                agents = await self._make_agents(Path(folder), platform.url, Operator(platform.url, token))
                async with anyio.create_task_group() as background:
                    background.start_soon(self._print_regularly)
                    async with anyio.create_task_group() as running:
                        for agent in agents:
                            await running.start(agent.serve)
                        await self._wait_until(lambda: self._online(platform) == len(agents))
                        await self._send_commands(platform)
                        for agent in agents:
                            agent.stop()
                    background.cancel_scope.cancel()
                self._print()
        tally = self._tally
        return {
            "ok": tally.ok and tally.reconnects >= self._cuts > 0,
            "agents": len(self._names),
            "commands_sent": len(tally.sent),
            "responses": sum(tally.answers.values()),
            "heartbeats": tally.heartbeats,
            "reconnects": tally.reconnects,
        }

    async def _make_agents(self, folder: Path, url: str, operator: Operator) -> list[Agent]:
        agents: list[Agent] = []
        for name in self._names:
            path = folder / name
            public = await to_thread.run_sync(make_key_pair, path, "ed25519", name)
            await to_thread.run_sync(operator.register, name, public.openssh)
            agent = Agent(
                agent_id=name,
                tenant_id=TENANT,
                private_key_path=path,
                api_endpoint=url,
                heartbeat_interval=HEARTBEAT_INTERVAL_S,
            )
            add_handlers(agent)
            agent.on_event(partial(self._agent_event, name))
            agents.append(agent)
        return agents

    async def _send_commands(self, platform: Platform) -> None:
        """A few commands a second to every agent; halfway, many at once, and the first agent's connection is cut."""
        end = monotonic() + self._seconds
        halfway = monotonic() + self._seconds / 2
        number = 0
        while monotonic() < end:
            for name in self._names:
                await self._send(platform, name, number)
            if self._cuts == 0 and monotonic() >= halfway:
                for burst in range(BURST):
                    await self._send(platform, self._names[0], burst)
                await anyio.sleep(0.02)
                self._cuts += platform.abort_agent(self._names[0])
            number += 1
            await anyio.sleep(0.5)
        await self._wait_until(lambda: self._tally.all_answered)

    async def _send(self, platform: Platform, agent_id: str, number: int) -> None:
        command, args = KINDS[number % len(KINDS)]
        self._tally.sent.append(await platform.send_command(TENANT, agent_id, command, args, timeout_s=10))

    def _online(self, platform: Platform) -> int:
        return sum(platform.hub.shown(agent).online for agent in platform.hub.registry.agents(TENANT))

    async def _wait_until(self, done: Callable[[], bool]) -> None:
        """Wait for events of the platform until `done`, or for so long that something must have gone wrong."""
        with anyio.move_on_after(PATIENCE_S):
            while not done():
                self._changed = anyio.Event()
                await self._changed.wait()

    # --- telling ------------------------------------------------------------------------------------------------------

    def _agent_event(self, name: str, event: Event) -> None:
        self._account.tell(name, event)

    def _platform_event(self, event: HubEvent) -> None:
        self._tally.count(event)
        self._changed.set()
        self._account.tell("platform", event)

    def _write(self, seconds: float, who: str, text: str, style: str) -> None:
        self._lines.append(Text(f"{seconds:7.3f}  {who:<9} {text}", style))

    def _print(self) -> None:
        """Print what there is to tell. Not in a callback, whose errors end nothing."""
        self._account.flush()
        lines, self._lines = self._lines, []
        for line in lines:
            self._console.print(line, soft_wrap=True)

    async def _print_regularly(self) -> None:
        while True:
            await anyio.sleep(0.1)
            self._print()


class _Console(Console):
    """One that says so if whoever reads the output has had enough, instead of ending the program by itself."""

    def on_broken_pipe(self) -> None:
        """Called where the error is handled."""
        raise


async def _run_until_told(demo: Demo) -> dict[str, Any] | int:
    """The summary of a run; or, of one that a signal has cut short, the exit status that shells know it by.

    However many signals come, the keys are removed first.
    """
    status: int | None = None
    with Obeyed().receive() as signals:
        async with anyio.create_task_group() as tasks:

            async def obey() -> None:
                nonlocal status
                async for received in signals:
                    status = 128 + received
                    tasks.cancel_scope.cancel()

            tasks.start_soon(obey)
            summary = await demo.run()
            tasks.cancel_scope.cancel()
            return summary
    assert status is not None, "nothing else cancels it"
    return status


def run_demo(*, agents: int, seconds: float, json: bool) -> int:
    """Run the demo and print its account, or only the summary as one line of JSON; returns the exit status."""
    logging.getLogger("artcafe").addHandler(logging.NullHandler())  # the account tells it all
    console = _Console(stderr=json)
    try:
        summary = anyio.run(_run_until_told, Demo(agents, seconds, console))
    except ExceptionGroup as group:
        raise first_error(group) from None
    if isinstance(summary, int):
        return summary
    if json:
        say_json(summary)
        return 0 if summary["ok"] else 1
    console.print()
    for name, value in list(summary.items())[1:]:
        console.print(f"{name.replace('_', ' '):>14}  {value}", highlight=False)
    verdict = f"{'every' if summary['ok'] else 'NOT every'} command got exactly one final response"
    console.print(f"\n{verdict}", style="bold green" if summary["ok"] else "bold red")
    return 0 if summary["ok"] else 1
