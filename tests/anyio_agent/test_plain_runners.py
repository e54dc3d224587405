"""Under `asyncio.run`, `uvloop.run` and `trio.run`: no plugin of anyio's says there which library this is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType

import anyio
import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from anyio_agent.plain import PATIENCE_S, Day, day_of_an_agent, morning, run
from artcafe_anyio import Agent
from artcafe_anyio.loops import Flag, Scope, find_call_soon
from artcafe_anyio.testing import SimulatedPlatform
from artcafe_proto.events import AgentOnline

RUNNERS = ("asyncio", "uvloop", "trio")


@pytest.mark.parametrize("anyio_streams", [False, True], ids=["", "streams"])
@pytest.mark.parametrize("runner", RUNNERS)
def test_a_day_of_an_agent(runner: str, anyio_streams: bool) -> None:
    assert how_it_ended(runner, anyio_streams) is None


def how_it_ended(runner: str, anyio_streams: bool) -> str | None:
    try:
        run(runner, day_of_an_agent, anyio_streams)
    except Exception as error:
        return repr(error)
    return None


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])  # trio is not to be had without sniffio
def test_a_day_of_an_agent_where_sniffio_is_not_installed(runner: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "anyio_agent.plain", runner],
        env=environment,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.stdout == "a good day\n", done.stderr


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_simulated_platform(runner: str) -> None:
    agent = Agent(agent_id="a", tenant_id="t", jitter=0)

    @agent.command("wait")
    async def wait() -> None:  # pyright: ignore[reportUnusedFunction]
        await anyio.sleep(0.01)

    async def use() -> None:
        platform = SimulatedPlatform(agent)
        answered: list[str] = []

        async def ask() -> None:
            answered.append((await platform.command("wait")).status)

        with anyio.fail_after(PATIENCE_S):
            async with platform:
                async with anyio.create_task_group() as tasks:
                    for _ in range(3):
                        tasks.start_soon(ask)
                platform.cut()
                await ask()
        assert answered == ["success"] * 4

    run(runner, use)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_in_the_lifespan_of_a_web_application(loop: str) -> None:
    days: list[Day] = []

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with morning() as day, day.agent:
            days.append(day)
            yield

    async def details(_: Request) -> JSONResponse:
        (day,) = days
        await day.until(lambda: day.count(AgentOnline) == 1)
        return JSONResponse([await day.answers("async", "thread", "inline"), await day.agent.details()])

    application = Starlette(routes=[Route("/", details)], lifespan=lifespan)
    server = uvicorn.Server(uvicorn.Config(application, port=0, loop=loop, log_config=None))
    serving = threading.Thread(target=server.run)
    serving.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not server.started and serving.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        answers, shown = httpx.get(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S, trust_env=False).json()
    finally:
        server.should_exit = True
        serving.join(PATIENCE_S)
    assert not serving.is_alive()
    assert answers == ["success"] * 3
    assert shown["status"] == "online"


@pytest.mark.parametrize("runner", RUNNERS)
def test_what_a_task_waits_for_is_made_and_told_where_no_task_runs(runner: str) -> None:
    ends: list[str] = []

    async def use() -> None:
        made: list[Scope] = []
        flag, call_soon = Flag(), find_call_soon()

        def make() -> None:
            made.append(Scope())
            flag.set()

        with anyio.move_on_after(PATIENCE_S):
            call_soon(make)
            await flag.wait()
            with made[0]:
                call_soon(lambda: made[0].cancel_after(0.0))
                await anyio.sleep_forever()
            ends.append("its time was over")
            call_soon(lambda: (made.append(Scope()), made[1].cancel(), flag.set()))
            flag.clear()
            await flag.wait()
            with made[1]:
                await anyio.sleep_forever()
            ends.append("it was cancelled before it began")

    run(runner, use)
    assert ends == ["its time was over", "it was cancelled before it began"]


@pytest.mark.parametrize("runner", ["asyncio", "uvloop"])
def test_another_thread_may_be_loading_trio_and_sniffio(runner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("trio", "sniffio"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    assert how_it_ended(runner, anyio_streams=False) is None
