"""Our agent and platforms of other people's libraries that misbehave: peers by behaviours.

Whatever a peer does, the agent says what it was, is back online after a second (LINK-3), and every command has run once
and has one final response. The cells of a peer are played against one server, each by an agent and a proxy of its own.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from anyio import to_thread

from artcafe_anyio import Agent, CommandContext
from artcafe_anyio.parameters import AgentParameters
from artcafe_proto.events import AgentEvent, Stopped
from support.foreign_cells import CLOSE_CODES, PATIENCE_S, Outcomes, check, chosen_behaviours, play_all, table
from support.foreign_platform import Account, ForeignPlatform
from support.foreign_ports import reserved_port
from support.foreign_proxy import RudeProxy, rude_proxy
from support.foreign_servers import PEERS, ForeignServer, new_server

BIG = 900_000
"""Bytes of a result; a few of these are more than what is buffered between two sockets."""


class Scene(NamedTuple):
    """An agent that is online, half of its commands answered and the other half under way."""

    account: Account
    proxy: RudeProxy
    server: ForeignServer
    may_finish: anyio.Event
    """The commands under way are held until this is set."""
    ran: Counter[str]
    """How often each command has run to its end."""


class Behaviour(NamedTuple):
    """What a platform, or the network, does to an agent amid its work."""

    name: str
    strike: Callable[[Scene], Awaitable[object]]
    end: str | None
    """What the agent says of the link's end, as a pattern; None if the link is to survive."""
    settings: AgentParameters = AgentParameters()
    result_size: int = 1
    bytewise: bool = False
    pongs_are_lost: bool = False
    thorough: bool = False

    @property
    def agent_id(self) -> str:
        """Of the agent that it happens to."""
        return self.name.replace(" ", "-")


async def restart(scene: Scene) -> None:
    await to_thread.run_sync(scene.server.stop)
    await to_thread.run_sync(scene.server.start)


async def abort(scene: Scene) -> None:
    scene.proxy.abort()


async def end_towards_agent(scene: Scene) -> None:
    scene.proxy.half_close("client")


async def end_towards_platform(scene: Scene) -> None:
    scene.proxy.half_close("server")


async def read_nothing(scene: Scene) -> None:
    scene.proxy.stall("server")


async def write_nothing(scene: Scene) -> None:
    scene.proxy.stall("client")


async def pause(scene: Scene) -> None:
    scene.proxy.stall("client", "server")
    scene.may_finish.set()
    await scene.account.until(lambda: len(scene.ran) == 8)
    scene.proxy.resume()


async def close(code: int, scene: Scene) -> None:
    scene.account.close(code)


async def pong_again_on_the_next_link(scene: Scene) -> None:
    scene.proxy.without_pongs_to = None


async def flood(count: int, scene: Scene) -> None:
    for _ in range(count):
        scene.account.post("work")
    await scene.account.until(lambda: scene.account.overloaded > 0)


async def do_nothing(_: Scene) -> None:
    pass


IMPATIENT: AgentParameters = {"ping_interval": 0.2, "ping_timeout": 2}
STALLS: AgentParameters = {"write_stall_timeout": 2}
SILENCE = r"nothing came for 2 s after a ping \[LINK-7\]"
TABLE = [
    Behaviour("restarts", restart, r"(closed|reset).* \[LINK-3\]"),
    Behaviour("aborts", abort, r"(closed|reset).* \[LINK-3\]"),
    Behaviour("ends its side", end_towards_agent, r"the peer closed it \[LINK-3\]"),
    Behaviour("sees the agent's side end", end_towards_platform, r"the peer closed it \[LINK-3\]"),
    Behaviour("reads nothing", read_nothing, r"writing stalled \[LINK-8\]", STALLS, result_size=BIG),
    Behaviour("writes nothing", write_nothing, SILENCE, IMPATIENT),
    Behaviour("pauses", pause, None, result_size=BIG),
    *(Behaviour(f"closes with {n}", partial(close, n), rf"closed the link with {n} \[LINK-3\]") for n in CLOSE_CODES),
    Behaviour("never pongs", pong_again_on_the_next_link, SILENCE, IMPATIENT, pongs_are_lost=True),
    Behaviour("sends byte by byte", do_nothing, None, bytewise=True),
    Behaviour("sends 500 commands at once", partial(flood, 500), None),
    Behaviour("sends 10,000 commands at once", partial(flood, 10_000), None, thorough=True),
]
BEHAVIOURS = {behaviour.name: behaviour for behaviour in TABLE}
SIDES = [(backend, peer) for backend in ("asyncio", "trio") for peer in PEERS]
"""Our event loop, and the peer, which has one of its own."""
ALWAYS = [*(("asyncio", peer) for peer in PEERS), ("trio", "uvicorn")]


class Place(NamedTuple):
    """A server, and what it serves."""

    platform: ForeignPlatform
    port: int
    server: ForeignServer


@pytest.fixture(
    scope="module",
    params=[pytest.param(side, marks=[pytest.mark.thorough] * (side not in ALWAYS)) for side in SIDES],
    ids="-".join,
)
def outcomes(request: pytest.FixtureRequest, keys: Path) -> Outcomes:
    """What came of the chosen behaviours of a peer."""
    backend, peer = request.param
    key = keys / "ed25519"
    chosen = [BEHAVIOURS[name] for name in chosen_behaviours(request)]
    restarts = [behaviour for behaviour in chosen if behaviour.strike is restart]
    others = [behaviour for behaviour in chosen if behaviour.strike is not restart]
    with place_for(restarts, peer, key, request) as own_place, place_for(others, peer, key, request) as place:
        cells = [(each, partial(play, each, own_place, key)) for each in restarts]
        cells += [(each, partial(play, each, place, key)) for each in others]
        return anyio.run(play_all, cells, backend=backend)


@contextmanager
def place_for(behaviours: list[Behaviour], peer: str, key: Path, request: pytest.FixtureRequest) -> Generator[Place]:
    """A server that knows an agent for each of these."""
    platform = ForeignPlatform()
    for behaviour in behaviours:
        platform.register(behaviour.agent_id, key.with_suffix(".pub").read_text())
    with reserved_port() as port:
        server = new_server(peer, platform, port, request)
        server.start()
        try:
            yield Place(platform, port, server)
        finally:
            server.stop()


async def play(behaviour: Behaviour, place: Place, key: Path) -> None:
    """One cell."""
    account = place.platform.accounts[behaviour.agent_id]
    ran: Counter[str] = Counter()
    started: set[str] = set()
    may_finish = anyio.Event()
    events: list[AgentEvent] = []
    async with rude_proxy(place.port) as proxy:
        proxy.bytewise_to = "client" if behaviour.bytewise else None
        proxy.without_pongs_to = "client" if behaviour.pongs_are_lost else None
        parameters = AgentParameters(
            agent_id=account.agent_id,
            tenant_id="tenant-1",
            private_key_path=key,
            api_endpoint=proxy.url,
            jitter=0,
            stable_after=0.05,
            exchange_timeout=PATIENCE_S,
            upgrade_timeout=PATIENCE_S,
        )
        parameters.update(behaviour.settings)
        agent = Agent(**parameters)
        agent.on_event(events.append)

        @agent.command("work")
        async def work(ctx: CommandContext) -> str:  # pyright: ignore[reportUnusedFunction]
            ran[ctx.command_id] += 1
            return "x" * (behaviour.result_size if may_finish.is_set() else 1)

        @agent.command("hold")
        async def hold(ctx: CommandContext) -> str:  # pyright: ignore[reportUnusedFunction]
            started.add(ctx.command_id)
            await may_finish.wait()
            return await work(ctx)

        with lines_about_ends(account.agent_id) as lines:
            async with agent:
                for command in ("work", "hold") * 4:
                    account.post(command)
                await account.until(lambda: len(account.finals) == 4 and len(started) == 4)
                await behaviour.strike(Scene(account, proxy, place.server, may_finish, ran))
                may_finish.set()
                for _ in range(4):
                    account.post("work")
                await account.until(lambda: account.links > (behaviour.end is not None))
                await account.until(lambda: account.is_answered() and account.link is not None)
                ends = lines.copy()
            await account.until(lambda: account.received[-1]["data"] == {"status": "offline"})
    assert events[-1] == Stopped(())
    if behaviour.end is None:
        assert ends == []
    else:
        assert re.fullmatch(f"offline: .*(?:{behaviour.end}); .*in 1\\.0 s", ends[0]), ends
    assert ran == dict.fromkeys(account.commands, 1)
    assert all(len(set(texts)) == 1 for texts in account.finals.values())
    assert {data["status"] for data in account.responses().values()} == {"success"}


@contextmanager
def lines_about_ends(agent_id: str) -> Generator[list[str]]:
    """What an agent logs about links and attempts that end, from now on."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            prefix, _, line = record.getMessage().partition(": ")
            if prefix == agent_id and line.startswith("offline: "):
                lines.append(line)

    handler = Lines()
    logger = logging.getLogger("artcafe.agent")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def test_the_table_is_whole() -> None:
    assert len(BEHAVIOURS) == len(TABLE) == 16
    assert len(SIDES) * len(TABLE) == 2 * 4 * 16 == 128


@pytest.mark.parametrize("behaviour", table(TABLE))
def test_the_agent_is_back_and_every_command_ran_and_was_answered_once(outcomes: Outcomes, behaviour: str) -> None:
    check(outcomes[behaviour])
