"""Stopping in every state over real sockets (LINK-10), giving up (LINK-6), and handlers that never end (CMD-5)."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import pytest
from anyio import get_cancelled_exc_class, get_running_tasks
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from anyio.lowlevel import checkpoint
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform, Link
from anyio_agent.watched import WatchedAgent
from artcafe_anyio import CommandContext, GaveUpError
from artcafe_anyio.threads import Threads
from artcafe_proto import LocalProtocolError
from artcafe_proto.events import CommandReceived, Draining, LinkClosing, Offline, Online, Stopped

pytestmark = pytest.mark.anyio


class Scene(WatchedAgent):
    """An agent, what it tells, and what it talks to."""

    def __init__(self, platform: FakePlatform, listener: SocketListener, key_path: Path) -> None:
        super().__init__(platform, key_path)
        self.listener = listener
        """One that is no platform, and what it has accepted."""
        self.streams: list[SocketStream] = []
        self.let_go = threading.Event()
        """Lets go of the threads that hang."""

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Run it; it is up to the test to stop it."""
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                await tasks.start(self.agent.serve)
                yield

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for what another thread brings about."""
        with anyio.fail_after(PATIENCE_S):
            while not done():  # noqa: ASYNC110 a thread tells nobody
                await anyio.sleep(0.001)


@pytest.fixture
async def scene(key: Ed25519PrivateKey, key_path: Path) -> AsyncGenerator[Scene]:
    platform = FakePlatform(key.public_key())
    multi = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with multi, platform.listening():
        (listener,) = multi.listeners
        assert isinstance(listener, SocketListener)
        scene = Scene(platform, listener, key_path)
        yield scene
        scene.let_go.set()
        for stream in scene.streams:
            await stream.aclose()


# --- the ways to each state -------------------------------------------------------------------------------------------


async def resolving(scene: Scene) -> None:
    await scene.until(lambda: bool(workers()))


async def in_the_tls_handshake(scene: Scene) -> None:
    stream = await scene.listener.accept()
    scene.streams.append(stream)
    await stream.receive()  # a ClientHello that nobody answers


async def asked(scene: Scene) -> None:
    (target,) = scene.platform.mute
    await scene.platform.asked_for(target)


async def backing_off(scene: Scene) -> None:
    await scene.seen(Offline)


async def up(scene: Scene) -> None:
    await scene.platform.link()


async def draining(scene: Scene) -> None:
    link = await scene.platform.link()
    await link.command("forever")
    await scene.seen(CommandReceived)
    scene.agent.stop()
    await scene.seen(Draining)


async def draining_without_a_link(scene: Scene) -> None:
    link = await scene.platform.link()
    await link.command("forever")
    await scene.seen(CommandReceived)
    scene.platform.mute.add("/api/v1/ws/agent/agent-1")
    await link.cut()
    await scene.seen(Offline)
    scene.agent.stop()
    await scene.seen(Draining)


async def closing(scene: Scene) -> None:
    link = await scene.platform.link()
    link.may_read = anyio.Event()
    scene.agent.stop()
    await scene.seen(LinkClosing)


class State(NamedTuple):
    """How to get there, and what keeps the agent there: a request that is not answered, or an endpoint."""

    reach: Callable[[Scene], Awaitable[None]]
    mute: str = ""
    endpoint: str = "platform"


STATES = {
    "resolving": State(resolving),
    "in the TLS handshake": State(in_the_tls_handshake, endpoint="listener"),
    "challenge unanswered": State(asked, "/api/v1/auth/challenge"),
    "verify unanswered": State(asked, "/api/v1/auth/verify"),
    "upgrade unanswered": State(asked, "/api/v1/ws/agent/agent-1"),
    "backing off": State(backing_off, endpoint="nobody"),
    "up": State(up),
    "draining": State(draining),
    "draining without a link": State(draining_without_a_link),
    "closing": State(closing),
}


def workers() -> list[threading.Thread]:
    """The agent's threads that run."""
    return [thread for thread in threading.enumerate() if thread.name == "artcafe worker"]


def tasks() -> list[str]:
    """The agent's tasks that run, each by the name of its function."""
    return [task.name for task in get_running_tasks() if task.name and task.name.startswith("artcafe_anyio.")]


@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("name", STATES)
async def test_link_10_it_stops_in_every_state_and_leaves_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, name: str, drain: bool
) -> None:
    def hang(*_: Any, **__: Any) -> list[Any]:
        scene.let_go.wait(PATIENCE_S)
        return []

    @scene.agent.command("forever")
    async def forever() -> None:  # pyright: ignore[reportUnusedFunction]
        await anyio.sleep_forever()

    state = STATES[name]
    if name == "resolving":
        monkeypatch.setattr(socket, "getaddrinfo", hang)
    if state.mute:
        scene.platform.mute = {state.mute}
    url = scene.platform.url
    if state.endpoint == "nobody":
        url = await nobody()
    elif state.endpoint == "listener":
        url = f"https://127.0.0.1:{scene.listener.extra(SocketAttribute.local_port)}"
    # Short where the agent has to wait for its end, long where it must not.
    own_s = 0.05 if drain else 1000.0
    scene.make(
        api_endpoint=url, drain_timeout=own_s, close_timeout=own_s, connect_timeout=1000.0, exchange_timeout=1000.0
    )
    scene.agent.stop(drain=drain)  # before it began: harmless
    async with scene.serving():
        await state.reach(scene)
        assert tasks()
        scene.agent.stop(drain=drain)
        scene.agent.stop(drain=drain)  # once more is harmless, too
    scene.agent.stop(drain=drain)
    assert isinstance(scene.events[-1], Stopped)
    assert sum(isinstance(event, Stopped) for event in scene.events) == 1
    if name != "resolving":
        await scene.until(lambda: not workers())
    scene.let_go.set()
    await scene.until(lambda: not workers())
    assert tasks() == []


async def nobody() -> str:
    """A URL where nobody listens."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        return f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}"


# --- handlers that never end ------------------------------------------------------------------------------------------


@asynccontextmanager
async def hanging(scene: Scene, **parameters: Any) -> AsyncGenerator[Link]:
    """The agent, online, with three handlers of each kind that do not end."""

    @scene.agent.command("block")
    def block() -> str:  # pyright: ignore[reportUnusedFunction]
        assert scene.let_go.wait(PATIENCE_S)
        return "after all"

    @scene.agent.command("forever")
    async def forever() -> None:  # pyright: ignore[reportUnusedFunction]
        await anyio.sleep_forever()

    @scene.agent.command("task")
    async def task() -> str:  # pyright: ignore[reportUnusedFunction]
        await checkpoint()
        return "task"

    @scene.agent.command("thread")
    def thread() -> str:  # pyright: ignore[reportUnusedFunction]
        return "thread"

    @scene.agent.command("inline", inline=True)
    def inline() -> str:  # pyright: ignore[reportUnusedFunction]
        return "inline"

    scene.make(heartbeat_interval=0.02, **parameters)
    async with scene.serving():
        link = await scene.platform.link()
        for _ in range(3):
            await link.command("block")
            await link.command("forever")
        await scene.seen(CommandReceived, 6)
        yield link
        if parameters.get("drain_timeout"):
            scene.agent.stop()
        else:
            scene.agent.stop(drain=False)


async def test_cmd_5_handlers_that_never_end_hold_up_no_heartbeat_and_no_other_command(scene: Scene) -> None:
    async with hanging(scene) as link:
        for _ in range(3):
            await link.heartbeats(2)
            for kind in ("task", "thread", "inline"):
                assert (await link.call(kind))["result"] == kind
        assert not scene.let_go.is_set()
        await scene.until(lambda: len(workers()) == 3)
    assert [type(event) for event in scene.events if isinstance(event, Online | Offline)] == [Online]


async def test_cmd_8_a_drain_with_handlers_that_never_end_has_its_time(scene: Scene) -> None:
    async with hanging(scene, drain_timeout=0.1) as link:
        pass
    codes = [message["data"].get("code") for message in link.received if message["type"] == "response"]
    assert codes == ["cancelled"] * 6
    assert await link.wait_closed() == 1000
    assert scene.events[-1] == Stopped(())


# --- giving up --------------------------------------------------------------------------------------------------------


async def test_link_6_giving_up_is_raised_where_it_is_served(scene: Scene) -> None:
    scene.platform.mute = {"/api/v1/auth/challenge"}
    scene.make(give_up_after=0.05)
    for _ in range(2):  # it may be tried again
        with pytest.raises(GaveUpError, match=r"^there was no link for 0\.05 s, .* give up \[LINK-6\]$"):
            await scene.agent.serve()
        assert isinstance(scene.events[-1], Stopped)
        assert scene.events[-1].gave_up
    assert not workers()


async def test_link_6_giving_up_cancels_the_block_and_is_raised_as_it_is(scene: Scene) -> None:
    scene.make(give_up_after=0.05, api_endpoint=await nobody())
    with pytest.raises(GaveUpError, match="the last failure: cannot connect"):
        async with scene.agent:
            await anyio.sleep_forever()


async def test_link_6_what_the_block_says_when_it_is_cancelled_so_is_the_cause(scene: Scene) -> None:
    scene.make(give_up_after=0.05, api_endpoint=await nobody())

    async def block() -> None:
        async with scene.agent:
            try:
                await anyio.sleep_forever()
            except get_cancelled_exc_class():
                raise ValueError("it left something undone") from None

    with pytest.raises(GaveUpError) as raised:
        await block()
    assert isinstance(raised.value.__cause__, ValueError)


async def test_link_6_a_link_in_time_keeps_it(scene: Scene) -> None:
    async with scene.make(give_up_after=30.0):
        await scene.platform.link()
    assert scene.events[-1] == Stopped(())


# --- threads that outlive the agent -----------------------------------------------------------------------------------


async def test_a_thread_that_outlives_the_agent_is_told_so(scene: Scene) -> None:
    told: list[str] = []

    @scene.agent.command("block")
    def block(ctx: CommandContext) -> None:  # pyright: ignore[reportUnusedFunction]
        assert scene.let_go.wait(PATIENCE_S)
        for what in (scene.agent.stop, lambda: ctx.progress(50), lambda: scene.agent.send_message({})):
            try:
                what()
            except LocalProtocolError as error:
                told.append(str(error))

    scene.make()
    async with scene.serving():
        link = await scene.platform.link()
        await link.command("block")
        await scene.seen(CommandReceived)
        scene.agent.stop(drain=False)
    scene.let_go.set()
    await scene.until(lambda: not workers())
    assert told == ["the agent does not run any more", "the agent does not run"]


async def test_a_stop_that_comes_when_all_is_being_let_go_of_begins_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = Threads.__aexit__

    async def stop_and_leave(threads: Threads, *exc_info: Any) -> bool | None:
        scene.agent.stop()  # as another task may just then; with a message unsettled, it would try once more
        return await leave(threads, *exc_info)

    monkeypatch.setattr(Threads, "__aexit__", stop_and_leave)
    scene.make()
    async with anyio.create_task_group() as group:
        await group.start(scene.agent.serve)
        link = await scene.platform.link()
        await link.cut()
        await scene.seen(Offline)
        scene.agent.send_message({})
        group.cancel_scope.cancel()
    assert scene.platform.connections == 1
    assert tasks() == []


async def test_a_call_from_a_thread_that_the_end_overtakes_is_abandoned(scene: Scene) -> None:
    told: list[str] = []
    async with Threads() as threads:
        held = threading.Thread(target=lambda: told.append(call_from_here(threads)))
        held.start()
        while not threads._calls:  # pyright: ignore[reportPrivateUsage] # the loop does not run, so it cannot be made
            pass
        threads.end()
        held.join(PATIENCE_S)
    assert told == ["the agent does not run any more"]


def call_from_here(threads: Threads) -> str:
    try:
        threads.call(lambda: None)
    except LocalProtocolError as error:
        return str(error)
    return "it was made"
