"""An internal error, planted wherever an input is taken: it ends the agent as it is, and nothing stands still."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform, Link
from artcafe_anyio import Agent, CommandContext
from artcafe_anyio.clocks import read_clocks
from artcafe_anyio.testing import SimulatedPlatform
from artcafe_proto import AgentProtocol, Instant, LocalProtocolError, PlatformProtocol

pytestmark = pytest.mark.anyio


class PlantedError(Exception):
    """Of a kind that nothing expects."""


class Scene:
    """A platform, an agent, and a method of its protocol that fails from the moment that the test says so."""

    def __init__(self, platform: FakePlatform, key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.platform = platform
        self.is_planted = False
        self._patch = monkeypatch
        parameters: Any = {"agent_id": "a", "tenant_id": "t", "private_key_path": key_path, "jitter": 0}
        self.agent = Agent(**parameters, api_endpoint=platform.url, heartbeat_interval=0.05)

        @self.agent.command("async")
        async def in_a_task() -> None: ...  # pyright: ignore[reportUnusedFunction]

        @self.agent.command("thread")
        def in_a_thread() -> None:  # pyright: ignore[reportUnusedFunction]
            with suppress(PlantedError):
                self.agent.send_message({})

        @self.agent.command("inline", inline=True)
        def at_once() -> str:  # pyright: ignore[reportUnusedFunction]
            return "x" * 1_000_000

        @self.agent.command("progress")
        async def tell(ctx: CommandContext) -> None:  # pyright: ignore[reportUnusedFunction]
            with suppress(PlantedError):
                ctx.progress(1.0)

    def plant(self, method: str) -> None:
        original = getattr(AgentProtocol, method)

        def fail(*arguments: Any, **more: Any) -> Any:
            if self.is_planted:
                raise PlantedError(method)
            return original(*arguments, **more)

        self._patch.setattr(AgentProtocol, method, fail)

    async def serve(self) -> BaseException | None:
        """How the agent ended."""
        try:
            with anyio.fail_after(PATIENCE_S):
                await self.agent.serve()
        except BaseException as error:
            return error
        return None


@pytest.fixture
async def scene(key: Ed25519PrivateKey, key_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Scene]:
    platform = FakePlatform(key.public_key())
    async with platform.listening():
        yield Scene(platform, key_path, monkeypatch)


# --- before there is a link -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["start", "connected", "connect_failed", "signed", "sign_failed"])
async def test_on_the_way_to_a_link(method: str, scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    serve = scene.serve
    if method == "connect_failed":
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            scene.agent = scene.agent.configured(api_endpoint=f"http://127.0.0.1:{nobody.getsockname()[1]}")
    if method == "sign_failed":
        scene.agent.serve = partial(scene.agent.serve, sign=lambda _: b"" + None)  # type: ignore[method-assign,operator]
    scene.plant(method)
    scene.is_planted = True
    ended = await serve()
    assert repr(ended) == repr(PlantedError(method))
    assert ["ended by an internal error" in each.getMessage() for each in caplog.records].count(True) == 1


# --- on a link --------------------------------------------------------------------------------------------------------


async def silence(_: Link) -> None: ...


async def end_of_tcp(link: Link) -> None:
    await link.cut()


async def reset(link: Link) -> None:
    await link.cut(reset=True)


def command(name: str) -> Callable[[Link], Awaitable[object]]:
    async def send(link: Link) -> None:
        await link.command(name)

    return send


async def a_slow_reader(link: Link) -> None:
    link.may_read = anyio.Event()
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        for _ in range(8):
            await link.command("inline")
    await anyio.sleep(0.05)  # the more is sent by now, the less is left to be resumed
    link.may_read.set()


LINKS = [
    ("handle_timer", silence),
    ("deadline", silence),
    ("next_output", silence),
    ("set_metrics", silence),
    ("eof_received", end_of_tcp),
    ("disconnected", reset),
    ("data_received", command("async")),
    *(("respond", command(name)) for name in ("async", "inline", "thread")),
    ("fail", command("unknown")),
    ("send_message", command("thread")),
    ("progress", command("progress")),
    ("unsent", a_slow_reader),
]


@pytest.mark.parametrize(("method", "provoke"), LINKS, ids=[name for name, _ in LINKS])
async def test_on_a_link(
    method: str, provoke: Callable[[Link], Awaitable[object]], scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.plant(method)

    async def provoke_it() -> None:
        link = await scene.platform.link()
        scene.is_planted = True
        await provoke(link)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(provoke_it)
        ended = await scene.serve()
        assert repr(ended) == repr(PlantedError(method))
        tasks.cancel_scope.cancel()
    assert ["ended by an internal error" in each.getMessage() for each in caplog.records].count(True) == 1


# --- whom it is told --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["handle_timer", "data_received", "next_output"])
async def test_the_block_is_cancelled_and_it_is_raised_as_it_is(method: str, scene: Scene) -> None:
    scene.plant(method)
    ended: list[BaseException] = []
    with anyio.fail_after(PATIENCE_S):
        try:
            async with scene.agent:
                link = await scene.platform.link()
                scene.is_planted = True
                await link.command("async")
                await anyio.sleep_forever()
        except PlantedError as error:
            ended.append(error)
    assert [str(each) for each in ended] == [method]


@pytest.mark.parametrize("method", ["send_message", "set_status", "stop"])
async def test_who_calls_the_agent_is_told_and_the_agent_ends(method: str, scene: Scene) -> None:
    calls: dict[str, Callable[[], object]] = {
        "send_message": lambda: scene.agent.send_message({}),
        "set_status": lambda: scene.agent.set_status("busy"),
        "stop": scene.agent.stop,
    }
    scene.plant(method)

    async def use() -> None:
        async with scene.agent:
            await scene.platform.link()
            scene.is_planted = True
            calls[method]()

    with pytest.raises(PlantedError, match=method):
        await use()
    with pytest.raises(LocalProtocolError, match="does not run"):
        scene.agent.send_message({})


class BrokenFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if "ended by an internal error" in record.getMessage():
            raise ZeroDivisionError
        return True


async def test_it_ends_also_if_that_cannot_be_logged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever raised it, what follows from it happens; and no timer is there to help."""
    broken = BrokenFilter()
    monkeypatch.setattr(logging.getLogger("artcafe.agent"), "filters", [broken])
    monkeypatch.setattr("artcafe_proto.driver.LONGEST_SLEEP_S", 1e6)
    scene.agent = scene.agent.configured(heartbeat_interval=3600, ping_interval=600)
    scene.plant("data_received")

    async def provoke() -> None:
        link = await scene.platform.link()
        scene.is_planted = True
        await link.command("async")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(provoke)
        ended = await scene.serve()
        assert repr(ended) == repr(PlantedError("data_received"))
        tasks.cancel_scope.cancel()


async def test_what_a_caller_does_wrong_ends_nothing(scene: Scene) -> None:
    async with scene.agent:
        link = await scene.platform.link()
        with pytest.raises(LocalProtocolError):
            scene.agent.set_status("nonsense")  # pyright: ignore[reportArgumentType]
        with pytest.raises(LocalProtocolError):
            scene.agent.send_message({"not": object()})
        await link.call("async")


async def test_one_of_the_simulated_platform(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PlantedError

    async def use() -> None:
        async with SimulatedPlatform(scene.agent) as platform:
            monkeypatch.setattr(PlatformProtocol, "data_received", fail)
            await platform.command("async")

    with anyio.fail_after(PATIENCE_S), pytest.raises(PlantedError):
        await use()


@pytest.mark.parametrize("reading", [1, 2, 5, 8, 13, 21, 34])
async def test_one_of_a_clock_that_was_given(reading: int, scene: Scene) -> None:
    """Wherever it is read, also where nobody is to raise an error to."""
    readings = count(1)

    def clock() -> Instant:
        if next(readings) == reading:
            raise PlantedError("clock")
        return read_clocks()

    with anyio.fail_after(PATIENCE_S), pytest.raises(PlantedError, match="clock"):
        await scene.agent.serve(clock=clock)  # its heartbeats alone read it often enough
