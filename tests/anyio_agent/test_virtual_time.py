"""The clock is an argument: real agents and platforms by virtual time, an hour of them in a moment."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from itertools import pairwise
from typing import Any, cast

import anyio
import pytest
from anyio import to_thread
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskGroup, UNIXSocketStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from trio.testing import MockClock

from artcafe_anyio import Agent, CommandContext
from artcafe_anyio.clocks import read_clocks
from artcafe_anyio.testing import Answer, LoopClock, SimulatedPlatform, VirtualTimeLoop
from artcafe_platform import Platform
from artcafe_proto import ConfigError, SigningKey
from artcafe_proto.effects import Connect
from artcafe_proto.events import (
    AgentEvent,
    CommandAnswered,
    HeartbeatReceived,
    HubEvent,
    Offline,
    Online,
    TokenReceived,
    TokenRenewed,
)

HOUR_S = 3600
TENANT, AGENT = "tenant-1", "agent-1"


@pytest.fixture(params=["asyncio", "asyncio streams", "trio"])
def anyio_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    if request.param == "trio":
        return "trio", {"clock": MockClock(autojump_threshold=0)}
    if request.param == "asyncio streams":
        monkeypatch.setattr("artcafe_anyio.agent.runs_on_asyncio", lambda: False)
    return "asyncio", {"loop_factory": VirtualTimeLoop}


class Diary:
    """The events of an agent, each with the moment at which it was told."""

    def __init__(self, agent: Agent, clock: LoopClock) -> None:
        self._clock = clock
        self._events: list[tuple[float, AgentEvent]] = []
        agent.on_event(self._add)

    def _add(self, event: AgentEvent) -> None:
        self._events.append((self._clock().mono, event))

    def of(self, *kinds: type[Any]) -> list[tuple[float, Any]]:
        return [(when, event) for when, event in self._events if isinstance(event, kinds)]


class TellingPlatform(SimulatedPlatform):
    """Keeps what its hub has told."""

    def __init__(self, agent: Agent, clock: LoopClock) -> None:
        super().__init__(agent, clock=clock)
        self.heard: list[HubEvent] = []

    def _heard(self, event: HubEvent) -> None:
        self.heard.append(event)
        super()._heard(event)


def make_agent(**parameters: Any) -> Agent:
    agent = Agent(agent_id=AGENT, tenant_id=TENANT, api_endpoint="http://localhost", **parameters)

    @agent.command("work")
    async def work(seconds: float, ctx: CommandContext) -> float:
        await anyio.sleep(seconds)
        return ctx.remaining_s

    @agent.command("echo", inline=True)
    def echo(text: str) -> str:
        return text

    return agent


def check_the_hour(diary: Diary, began: float, cut_at: float) -> None:
    """What an agent did in an hour in which its link was lost once, each thing at its time."""
    (online_at, _), (back_at, _) = diary.of(Online)
    assert online_at == began
    ((lost_at, lost),) = diary.of(Offline)
    assert lost_at == cut_at
    assert lost.retry_at > cut_at, "LINK-3: it waits before it dials again"
    assert back_at == pytest.approx(lost.retry_at)
    tokens = diary.of(TokenReceived, TokenRenewed)
    assert tokens[0][0] == began
    renewals = [when for when, event in tokens if isinstance(event, TokenRenewed)]
    assert len(renewals) >= 4, "TOK-2: a token lives for 15 min, and is renewed after 10"
    for (_, token), (when, renewed) in pairwise(tokens):
        if isinstance(renewed, TokenRenewed):
            assert when == pytest.approx(token.renew_at)


@pytest.mark.anyio
async def test_an_hour_of_an_agent_and_a_simulated_platform() -> None:
    clock, agent = LoopClock(), make_agent()
    diary = Diary(agent, clock)
    began = clock()
    async with TellingPlatform(agent, clock) as platform:
        for _ in range(5):
            assert await platform.command("work", {"seconds": 300}, timeout_s=400) == Answer("success", 100.0)
        hung = await platform.command("work", {"seconds": HOUR_S}, timeout_s=300)
        assert (hung.code, clock().mono) == ("timeout", began.mono + HOUR_S / 2)
        platform.cut()
        for _ in range(30):
            await anyio.sleep(60)
            assert await platform.command("echo", {"text": "hello"}) == Answer("success", "hello")
        assert clock().mono == pytest.approx(began.mono + HOUR_S)
        assert clock().wall == pytest.approx(began.wall + HOUR_S)
        check_the_hour(diary, began.mono, began.mono + HOUR_S / 2)
    beats = sum(isinstance(event, HeartbeatReceived) for event in platform.heard)
    assert HOUR_S / 30 <= beats <= HOUR_S / 30 + 2, "HB-1: one for each 30 s, and one when a link begins"


class PairListener(Listener[SocketStream]):
    """Listens for pairs of sockets within this process: what one end has sent is at the other at once."""

    def __init__(self) -> None:
        self.listeners = [self]
        self._give, self._take = anyio.create_memory_object_stream[socket.socket](10)

    async def connect(self, asked: Connect) -> UNIXSocketStream:
        """The other end of a connection that `serve` accepts."""
        ours, theirs = socket.socketpair()
        self._give.send_nowait(theirs)
        return await UNIXSocketStream.from_socket(ours)

    async def serve(self, handler: Callable[[SocketStream], Any], task_group: TaskGroup | None = None) -> None:
        assert task_group is not None
        async with self._take:
            async for each in self._take:
                task_group.start_soon(handler, cast("SocketStream", await UNIXSocketStream.from_socket(each)))
        raise anyio.ClosedResourceError

    async def aclose(self) -> None:
        self._give.close()

    @property
    def extra_attributes(self) -> dict[object, Callable[[], int]]:
        return {SocketAttribute.local_port: lambda: 1}


@pytest.mark.anyio
async def test_an_hour_of_an_agent_and_a_platform_over_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    listener, clock, key = PairListener(), LoopClock(), SigningKey(Ed25519PrivateKey.generate())

    async def listen(**_: object) -> PairListener:
        return listener

    async def sign(challenge: bytes) -> bytes:
        return key.sign(challenge, "ssh")

    monkeypatch.setattr(anyio, "create_tcp_listener", listen)
    agent = make_agent(clock=clock)
    diary, answers, happened = Diary(agent, clock), list[Any](), Counter[type[HubEvent]]()
    async with Platform(tenants={TENANT: "x" * 16}, clock=clock, anyio_streams=True) as platform:
        platform.on_event(lambda event: happened.update([type(event)]))
        platform.on_event(lambda event: answers.append(event.response) if isinstance(event, CommandAnswered) else None)
        await platform.create_agent(TENANT, agent_id=AGENT)
        await platform.add_key(TENANT, AGENT, key.public.openssh)
        began = clock()
        async with agent.running(sign=sign, open_stream=listener.connect):
            for minute in range(60):
                await platform.send_command(TENANT, AGENT, "work", {"seconds": 30}, timeout_s=50)
                if minute == 30:
                    platform.abort_agent(AGENT)
                await anyio.sleep(60)
            check_the_hour(diary, began.mono, began.mono + HOUR_S / 2)
            assert clock().mono == pytest.approx(began.mono + HOUR_S)
    assert [answer.status for answer in answers] == ["success"] * 60
    assert {float(answer.result) for answer in answers} <= {20.0}
    assert HOUR_S / 30 <= happened[HeartbeatReceived] <= HOUR_S / 30 + 2


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_the_computers_clocks_are_the_default() -> None:
    assert make_agent().clock is read_clocks
    assert make_agent(clock=lambda: read_clocks()).clock is not read_clocks
    with pytest.raises(ConfigError, match="clock"):
        Agent(agent_id=AGENT, tenant_id=TENANT, clock=cast("Any", 7))


@pytest.mark.anyio
async def test_a_loops_clock_goes_with_its_time_in_every_thread() -> None:
    clock = LoopClock(wall=1000.0)
    began = clock()
    assert began.wall == 1000.0
    await anyio.sleep(86_400 * 3)
    assert clock() == (began.mono + 86_400 * 3, 1000.0 + 86_400 * 3)
    found: list[Any] = []
    await to_thread.run_sync(lambda: found.append(clock()))
    assert found == [clock()]
    assert clock().mono == anyio.current_time()


# --- the loop ---------------------------------------------------------------------------------------------------------


def run(main: Callable[[], Coroutine[Any, Any, None]], autojump_threshold: float = 0.0) -> None:
    with asyncio.Runner(loop_factory=partial(VirtualTimeLoop, autojump_threshold)) as runner:
        runner.run(main())


def test_timers_come_in_order_and_each_at_its_time() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), list[float]()
        assert loop.time() == 0.0
        for seconds in (3.0, 1.0, 2.0, 1e6):
            loop.call_later(seconds, lambda: told.append(loop.time()))
        loop.call_later(0.5, lambda: None).cancel()
        await asyncio.sleep(1e6 + 1)
        assert told == [1.0, 2.0, 3.0, 1e6]

    run(main)


def test_what_sockets_have_comes_before_any_timer() -> None:
    async def main() -> None:
        loop, told = asyncio.get_running_loop(), list[object]()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.add_reader(ours, lambda: told.append((loop.time(), ours.recv(1))))
            loop.call_later(1e-6, told.append, "a timer")
            theirs.send(b"x")
            await asyncio.sleep(1)
            loop.remove_reader(ours)
        assert told == [(0.0, b"x"), "a timer"]

    run(main)


def test_threads_are_waited_for_while_no_timer_is_set_and_at_the_end() -> None:
    done: list[str] = []
    may_end = threading.Event()

    async def main() -> None:
        await asyncio.to_thread(done.append, "awaited")
        asyncio.get_running_loop().run_in_executor(None, lambda: done.append("at the end") if may_end.wait() else None)
        await asyncio.sleep(HOUR_S)
        assert done == ["awaited"]
        may_end.set()

    run(main)
    assert done == ["awaited", "at the end"]


def test_a_threshold_gives_threads_real_time() -> None:
    async def main() -> None:
        await asyncio.wait_for(asyncio.to_thread(list, range(1000)), HOUR_S)
        assert asyncio.get_running_loop().time() == 0.0

    run(main, autojump_threshold=60.0)


def test_what_waits_for_infinity_is_not_jumped_to() -> None:
    loop = VirtualTimeLoop()

    async def main() -> float:
        timer = loop.call_at(math.inf, print)
        await asyncio.sleep(5.0)
        await to_thread.run_sync(threading.Event().wait, 0.01)
        timer.cancel()
        return loop.time()

    try:
        assert loop.run_until_complete(main()) == 5.0
    finally:
        loop.close()
