"""Our platform and agents of other people's libraries that misbehave: peers by behaviours.

Whatever an agent does, the platform says what it was and shows the right status, and once the agent is back every
command has run once and has one final response. Each cell is played by a platform, a proxy and an agent of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import anyio
import httpx
import pytest
from anyio.abc import TaskGroup

from artcafe_platform import Platform
from artcafe_proto import PlatformConfig
from artcafe_proto.events import AgentOffline, AgentOnline, CommandAnswered, CommandSent
from platform_server.foreign_agent import ForeignAgent, Link
from platform_server.harness import Recorder, register, tenant_client
from platform_server.test_foreign_agent import AGENT, ed25519_key
from support.foreign_cells import CLOSE_CODES, PATIENCE_S, Outcomes, check, chosen_behaviours, play_all, table, until
from support.foreign_clients import IMPOSSIBLE, SIDES, LinkClosedError
from support.foreign_proxy import RudeProxy, rude_proxy
from support.platform_api import TENANT, TENANTS

BIG = 900_000
"""Bytes of an argument; a few of these are more than what is buffered between two sockets."""


class Worker:
    """A foreign agent at work: it comes back by itself, and answers a command that comes again as before."""

    def __init__(self, agent: ForeignAgent) -> None:
        self.agent = agent
        self.link: Link | None = None
        self.codes: list[int | None] = []
        """Of the platform's close frames, by link; None where there was none."""
        self.ran: Counter[str] = Counter()
        """How often each command has run to its end."""
        self.under_way: set[str] = set()
        self.most_under_way = 0
        self.may_connect = anyio.Event()
        self.may_connect.set()
        self.may_finish = anyio.Event()
        """The commands called `hold` are held until this is set."""
        self._process = anyio.CancelScope()

    async def run(self) -> None:
        """One process after the other."""
        while True:
            self.under_way.clear()
            self.agent.token = ""
            with anyio.CancelScope() as self._process:
                async with anyio.create_task_group() as tasks:
                    while True:
                        await self._stay_online(tasks)

    def restart(self) -> None:
        """What is under way is lost with the process."""
        self._process.cancel()

    async def _stay_online(self, tasks: TaskGroup) -> None:
        await self.may_connect.wait()
        if not self.agent.token:
            await self.agent.authenticate()
        async with self.agent.connect() as self.link:
            try:
                await self.link.heartbeat()
                while True:
                    command = await self.link.receive()
                    if command["id"] not in self.under_way:
                        self.under_way.add(command["id"])
                        self.most_under_way = max(self.most_under_way, len(self.under_way))
                        tasks.start_soon(self._work, command)
            except LinkClosedError as error:
                self.codes.append(error.code)

    async def _work(self, command: dict[str, Any]) -> None:
        if command["data"]["command"] == "hold":
            await self.may_finish.wait()
        if command["id"] not in self.ran:
            self.ran[command["id"]] += 1
        self.under_way.discard(command["id"])
        assert self.link is not None
        with suppress(LinkClosedError):  # then the command comes again
            await self.link.respond(command, command["id"])


class Scene(NamedTuple):
    """An agent that is online, half of its commands answered and the other half under way."""

    platform: Platform
    events: Recorder
    proxy: RudeProxy
    worker: Worker
    sent: list[str]
    """Ids of the commands."""

    async def send(self, command: str, padding: int = 0) -> None:
        """Send the agent a command."""
        self.sent.append(await self.platform.send_command(TENANT, AGENT, command, {"padding": "x" * padding}))


class Behaviour(NamedTuple):
    """What an agent, or the network, does to the platform amid its work."""

    name: str
    strike: Callable[[Scene], Awaitable[object]]
    reason: str | None
    """What the platform says of the link's end, as a pattern; None if the link is to survive."""
    code: int | None = None
    """Of the close frame that the agent gets, where it gets one."""
    config: PlatformConfig = PlatformConfig()
    padding: int = 0
    bytewise: bool = False
    pongs_are_lost: bool = False
    thorough: bool = False


async def restart(scene: Scene) -> None:
    scene.proxy.abort()
    scene.worker.restart()


async def abort(scene: Scene) -> None:
    scene.proxy.abort()


async def end_towards_platform(scene: Scene) -> None:
    scene.proxy.half_close("server")


async def end_towards_agent(scene: Scene) -> None:
    scene.proxy.half_close("client")


async def read_nothing(scene: Scene) -> None:
    scene.proxy.stall("client")


async def write_nothing(scene: Scene) -> None:
    scene.proxy.stall("server")


async def pause(scene: Scene) -> None:
    """The first of the commands fills the line, and the others wait in theirs (LINK-8)."""
    scene.proxy.stall("client", "server")
    sent = len(scene.events.of(CommandSent))
    for _ in range(8):
        await scene.send("work", BIG)
    await until(lambda: sent < len(scene.events.of(CommandSent)) < len(scene.sent))
    scene.proxy.resume()


async def close(code: int, scene: Scene) -> None:
    assert scene.worker.link is not None
    await scene.worker.link.close(code)


async def pong_again_on_the_next_link(scene: Scene) -> None:
    scene.proxy.without_pongs_to = None


async def be_flooded(count: int, scene: Scene) -> None:
    """That many commands are unanswered: the agent gets a window of them, and the next ones as it answers (CMD-10).
    It answers all that it has at once.
    """
    for _ in range(count - 4):
        await scene.send("hold")
    await until(lambda: len(scene.worker.under_way) == scene.platform.config.window)
    scene.worker.may_finish.set()
    await until(lambda: len(scene.events.of(CommandAnswered)) == len(scene.sent))


async def do_nothing(_: Scene) -> None:
    pass


IMPATIENT = PlatformConfig(ping_interval=0.2, ping_timeout=2)
STALLS = PlatformConfig(write_stall_timeout=2)
PATIENT = PlatformConfig(head_timeout=PATIENCE_S, body_timeout=PATIENCE_S)
WIDE = PlatformConfig(window=500)
WIDEST = PlatformConfig(window=10_000)
TABLE = [
    Behaviour("restarts", restart, "the connection ended"),
    Behaviour("aborts", abort, "reset"),
    Behaviour("ends its side", end_towards_platform, "the peer closed it"),
    Behaviour("sees the platform's side end", end_towards_agent, "the peer closed it"),
    Behaviour("reads nothing", read_nothing, "writing stalled", config=STALLS, padding=BIG),
    Behaviour("writes nothing", write_nothing, "closed with 4408", config=IMPATIENT),
    Behaviour("pauses", pause, None),
    *(Behaviour(f"closes with {n}", partial(close, n), f"the agent closed the link with {n}", n) for n in CLOSE_CODES),
    Behaviour("never pongs", pong_again_on_the_next_link, "closed with 4408", 4408, IMPATIENT, pongs_are_lost=True),
    Behaviour("sends byte by byte", do_nothing, None, config=PATIENT, bytewise=True),
    Behaviour("gets 500 commands at once", partial(be_flooded, 500), None),
    Behaviour("gets 10,000 commands at once", partial(be_flooded, 10_000), None, thorough=True),
    Behaviour("sends 500 responses at once", partial(be_flooded, 500), None, config=WIDE),
    Behaviour("sends 10,000 responses at once", partial(be_flooded, 10_000), None, config=WIDEST, thorough=True),
]
BEHAVIOURS = {behaviour.name: behaviour for behaviour in TABLE}


@pytest.fixture(scope="module", params=SIDES, ids="-".join)
def outcomes(request: pytest.FixtureRequest) -> Outcomes:
    """What came of the chosen behaviours of a peer."""
    backend, library = request.param
    chosen = [BEHAVIOURS[name] for name in chosen_behaviours(request)]
    cells = [(each, partial(play, each, library)) for each in chosen]
    return anyio.run(play_all, cells, backend=backend)


async def play(behaviour: Behaviour, library: str) -> None:
    """One cell."""
    async with (
        Platform(tenants=TENANTS, config=behaviour.config) as platform,
        rude_proxy(int(platform.url.rpartition(":")[2])) as proxy,
        tenant_client(platform) as client,
        anyio.create_task_group() as tasks,
    ):
        proxy.bytewise_to = "server" if behaviour.bytewise else None
        proxy.without_pongs_to = "server" if behaviour.pongs_are_lost else None
        agent = ForeignAgent(proxy.url, TENANT, AGENT, ed25519_key(), library)
        await register(client, AGENT, agent.public_key)
        scene = Scene(platform, Recorder(platform), proxy, Worker(agent), [])
        tasks.start_soon(scene.worker.run)
        await play_scene(behaviour, scene, client)
        tasks.cancel_scope.cancel()


async def play_scene(behaviour: Behaviour, scene: Scene, client: httpx.AsyncClient) -> None:
    async def until_shown(status: str) -> None:
        with anyio.fail_after(PATIENCE_S):
            while (await client.get(f"/agents/{AGENT}")).json()["status"] != status:  # noqa: ASYNC110 it asks over the network
                await anyio.sleep(0.01)

    events, worker = scene.events, scene.worker
    for command in ("work", "hold") * 4:
        await scene.send(command)
    await until(lambda: len(worker.ran) == 4 and len(worker.under_way) == 4)
    await until_shown("online")
    await until(lambda: len(events.of(AgentOnline)) > len(events.of(AgentOffline)))
    worker.may_connect = anyio.Event()
    ends_before, codes_before = len(events.of(AgentOffline)), len(worker.codes)
    await behaviour.strike(scene)
    for _ in range(8):
        await scene.send("work", behaviour.padding)
    if behaviour.reason is not None:
        await until(lambda: len(events.of(AgentOffline)) > ends_before)
        assert re.search(behaviour.reason, events.of(AgentOffline)[-1].reason), events.of(AgentOffline)
        await until_shown("offline")
        if behaviour.code is not None:
            await until(lambda: len(worker.codes) > codes_before)
            assert worker.codes[-1] == behaviour.code
        scene.proxy.abort()  # where the agent was cut off it learns it now
    worker.may_connect.set()
    worker.may_finish.set()
    await until(lambda: len(events.of(CommandAnswered)) >= len(scene.sent))
    await until_shown("online")
    assert len(events.of(AgentOnline)) == len(events.of(AgentOffline)) + 1
    assert behaviour.reason is not None or not events.of(AgentOffline)
    assert worker.ran == dict.fromkeys(scene.sent, 1)
    assert worker.most_under_way <= scene.platform.config.window
    answered = Counter(event.command_id for event in events.of(CommandAnswered))
    assert answered == dict.fromkeys(scene.sent, 1)


def test_the_table_is_whole() -> None:
    assert len(BEHAVIOURS) == len(TABLE) == 18
    assert len(SIDES) * len(TABLE) == 2 * 3 * 18 - len(IMPOSSIBLE) * 18 == 72


@pytest.mark.parametrize("behaviour", table(TABLE))
def test_the_status_is_right_and_every_command_ran_and_was_answered_once(outcomes: Outcomes, behaviour: str) -> None:
    check(outcomes[behaviour])
