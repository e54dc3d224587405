"""An agent author's tests of handlers, without sockets or key files."""

from __future__ import annotations

import threading

import anyio
import pytest

from anyio_agent.fake_platform import PATIENCE_S
from artcafe_anyio import Agent, CommandContext
from artcafe_anyio.testing import Answer, SimulatedPlatform
from artcafe_proto import ApiError, ConfigError, LocalProtocolError
from artcafe_proto.events import CommandRefused

pytestmark = pytest.mark.anyio

agent = Agent(agent_id="resizer", tenant_id="tenant-1")


@agent.command("resize")
async def resize(path: str, width: int, ctx: CommandContext) -> dict[str, int | str]:
    ctx.progress(0.5)
    agent.send_message({"resized": path})
    return {"path": path, "width": width}


@agent.command("square")
def square(number: int) -> int:
    return number * number


@agent.command("hang")
async def hang() -> None:
    await anyio.sleep_forever()


@agent.command("who", inline=True)
def who() -> str:
    return "resizer"


@agent.command("ask")
async def ask() -> object:
    return (await agent.details())["agent_id"]


async def test_a_handler_is_called_and_answers() -> None:
    async with SimulatedPlatform(agent) as platform:
        answer = await platform.command("resize", {"path": "a.png", "width": 3})
        assert answer == Answer("success", {"path": "a.png", "width": 3})
        assert await platform.command("square", {"number": 12}) == Answer("success", 144)
        assert await platform.command("who") == Answer("success", "resizer")
        assert await platform.command("ask") == Answer("success", "resizer")
    assert platform.messages == [{"resized": "a.png"}]
    assert platform.statuses[0].progress == 0.5


async def test_what_goes_wrong_is_answered_with_its_code() -> None:
    async with SimulatedPlatform(agent) as platform:
        wrong = await platform.command("resize", {"path": 5})
        assert (wrong.status, wrong.code) == ("error", "invalid_arguments")
        assert (await platform.command("nothing")).code == "unknown_command"
        assert (await platform.command("hang", timeout_s=0.01)).code == "timeout"
        with pytest.raises(ApiError):
            await platform.command("x" * 10_000)


async def test_a_cut_costs_no_command() -> None:
    jumpy = Agent(agent_id="resizer", tenant_id="tenant-1", jitter=1.0)
    jumpy.command("square")(square)
    async with SimulatedPlatform(jumpy) as platform:
        platform.cut()
        assert not platform.is_online
        assert await platform.command("square", {"number": 3}) == Answer("success", 9)
        assert platform.is_online


@pytest.mark.parametrize("size", [300_000, 900_000])
async def test_large_commands_and_messages_follow_one_another_as_the_agent_reads_them(size: int) -> None:
    """LINK-8: 256 KiB are written ahead."""
    reader = Agent(agent_id="a", tenant_id="t")
    reader.command("take")(len_of)
    heard: list[object] = []
    reader.on_message(heard.append)
    async with SimulatedPlatform(reader) as platform:
        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for _ in range(10):
                    tasks.start_soon(platform.command, "take", {"x": "x" * size})
            assert await platform.command("take", {"x": ""}) == Answer("success", 0)
            platform.send_message({"x": "x" * size})
            await reader.deliver_message({})  # the pong to its ping has not to wait for good either
            while not heard:  # noqa: ASYNC110 a thread tells
                await anyio.sleep(0.001)


async def len_of(x: str) -> int:
    return len(x)


async def test_cmd_10_what_an_agent_refused_as_overloaded_comes_again_by_time_alone() -> None:
    """A thread that has answered `timeout` keeps its slot, so no answer makes room."""
    busy = Agent(agent_id="a", tenant_id="t", max_concurrent=1, max_queued=0)
    busy.command("take")(len_of)
    refused, may_end = anyio.Event(), threading.Event()

    @busy.on_event
    def note(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, CommandRefused):
            refused.set()

    @busy.command("block")
    def block() -> None:  # pyright: ignore[reportUnusedFunction]
        may_end.wait(PATIENCE_S)

    async with SimulatedPlatform(busy) as platform, anyio.create_task_group() as tasks:
        assert (await platform.command("block", timeout_s=0.01)).code == "timeout"
        with anyio.fail_after(PATIENCE_S):
            tasks.start_soon(_let_go, refused, may_end)
            assert await platform.command("take", {"x": ""}) == Answer("success", 0)


async def _let_go(refused: anyio.Event, may_end: threading.Event) -> None:
    await refused.wait()
    may_end.set()


async def test_messages_reach_the_agent() -> None:
    listening = Agent(agent_id="a", tenant_id="t")
    heard = anyio.Event()

    @listening.on_message
    async def hear(message: object) -> None:
        heard.set()

    async with SimulatedPlatform(listening) as platform:
        platform.send_message({"hello": 1})
        await heard.wait()


async def test_the_agent_can_run_again_and_again() -> None:
    for _ in range(3):
        async with SimulatedPlatform(agent) as platform:
            assert (await platform.command("who")).result == "resizer"


async def test_the_block_that_fails_fails_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with SimulatedPlatform(agent):
            raise ZeroDivisionError


def test_an_agent_without_ids_is_told_so() -> None:
    with pytest.raises(ConfigError, match="agent_id"):
        SimulatedPlatform(Agent())


async def test_what_is_asked_over_http_is_answered_as_a_platform_does() -> None:
    async with SimulatedPlatform(agent) as platform:
        assert (await agent.details())["status"] == "online"
        shown = await agent.put_status("error")
        assert shown["status"] == "error"
        assert (await agent.details())["status"] == "error"
        assert [each.status for each in platform.statuses] == ["error"]
        assert set(shown) >= {"agent_id", "tenant_id", "capabilities", "metadata", "metrics", "last_seen"}


def quitter() -> Agent:
    agent = Agent(agent_id="quitter", tenant_id="tenant-1")

    @agent.command("quit")
    async def say_bye() -> str:  # pyright: ignore[reportUnusedFunction]
        agent.stop()
        return "bye"

    @agent.command("leave")
    async def leave() -> None:  # pyright: ignore[reportUnusedFunction]
        agent.stop(drain=False)
        await anyio.sleep_forever()

    return agent


async def test_nobody_waits_for_an_agent_that_has_stopped_by_itself() -> None:
    with anyio.fail_after(PATIENCE_S):
        async with SimulatedPlatform(quitter()) as platform:
            assert await platform.command("quit") == Answer("success", "bye")
            with pytest.raises(LocalProtocolError, match="has stopped by itself"):
                await platform.command("quit")
        async with SimulatedPlatform(quitter()) as platform:
            with pytest.raises(LocalProtocolError, match="has stopped by itself"):
                await platform.command("leave")
        agent = quitter()

        @agent.on_event
        def stop(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
            agent.stop()

        with pytest.raises(LocalProtocolError, match="has stopped by itself"):
            await SimulatedPlatform(agent).__aenter__()


async def test_it_is_used_within_its_block_and_entered_once() -> None:
    platform = SimulatedPlatform(quitter())
    for use in (lambda: platform.command("quit"), lambda: platform.__aexit__(None, None, None)):
        with pytest.raises(LocalProtocolError, match="has not been entered"):
            await use()
    async with platform:
        with pytest.raises(LocalProtocolError, match="entered once"):
            await platform.__aenter__()
    for use in (lambda: platform.command("quit"), lambda: platform.__aexit__(None, None, None)):
        with pytest.raises(LocalProtocolError, match="has been left"):
            await use()
