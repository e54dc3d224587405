"""An `async with` block of an agent or a platform, which test frameworks enter in one task and leave in another."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest
from anyio.abc import TaskStatus

from artcafe_anyio import Agent
from artcafe_anyio.background import Background
from artcafe_anyio.testing import SimulatedPlatform
from artcafe_cli.key_files import make_key_pair
from artcafe_platform import Platform
from artcafe_proto import ConfigError, LocalProtocolError

T = TypeVar("T")


class Broken(Exception):
    """What nobody expects."""


async def in_a_task(coroutine: Coroutine[Any, Any, T]) -> T:
    return await asyncio.create_task(coroutine)


async def leave(block: AbstractAsyncContextManager[Any], error: BaseException | None = None) -> bool | None:
    return await in_a_task(block.__aexit__(None if error is None else type(error), error, None))


def make_agent(**parameters: Any) -> Agent:
    agent = Agent(agent_id="agent-1", tenant_id="tenant-1", api_endpoint="https://localhost", **parameters)

    @agent.command("add")
    async def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        return a + b

    return agent


class Service:
    """Serves until it is stopped, and remembers how it ended."""

    def __init__(self) -> None:
        self.fails = asyncio.Event()
        self.stops = asyncio.Event()
        self.end = ""

    def block(self) -> AbstractAsyncContextManager[None]:
        return Background(self.serve, self.stops.set)

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._fail)
                task_status.started()
                await self.stops.wait()
                tasks.cancel_scope.cancel()
            self.end = "stopped"
        except asyncio.CancelledError:
            self.end = "cancelled"
            raise

    async def _fail(self) -> None:
        await self.fails.wait()
        raise Broken


def test_whoever_leaves_need_not_be_who_entered() -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            platform = Platform()
            await in_a_task(platform.__aenter__())
            agent = make_agent()
            simulated = SimulatedPlatform(agent)
            assert await in_a_task(simulated.__aenter__()) is simulated
            assert (await simulated.command("add", {"a": 1, "b": 2})).result == 3
            await leave(simulated)
            await leave(platform)
            with pytest.raises(ConfigError, match="private_key_path"):
                await in_a_task(agent.__aenter__())
            async with SimulatedPlatform(agent) as again:
                assert (await again.command("add", {"a": 1, "b": 2})).result == 3

    asyncio.run(main())


def test_the_end_of_the_block_stops_and_a_failure_of_the_block_cancels() -> None:
    async def main() -> None:
        good, bad = Service(), Service()
        for service in (good, bad):
            block = service.block()
            await in_a_task(block.__aenter__())
            error = None if service is good else Broken()
            assert not await leave(block, error)
        assert (good.end, bad.end) == ("stopped", "cancelled")
        service = Service()
        with pytest.raises(Broken):
            async with service.block():
                raise Broken
        assert service.end == "cancelled"

    asyncio.run(main())


def test_what_it_raises_goes_to_whoever_leaves() -> None:
    async def main() -> None:
        service = Service()
        block = service.block()
        await in_a_task(block.__aenter__())  # a task that has ended: there is nobody to cancel
        service.fails.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        with pytest.raises(Broken):
            await leave(block)

    asyncio.run(main())


def test_what_it_raises_cancels_the_block_and_comes_out_of_it() -> None:
    async def main() -> None:
        service = Service()

        async def run() -> None:
            async with service.block():
                service.fails.set()
                await asyncio.sleep(60)

        with pytest.raises(Broken):
            await run()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    asyncio.run(main())


def test_what_it_raises_cancels_the_task_that_still_runs_the_block_also_if_another_leaves() -> None:
    async def main() -> None:
        service = Service()
        block = service.block()
        entered = asyncio.Event()

        async def hold() -> None:
            await block.__aenter__()
            entered.set()
            await asyncio.sleep(60)

        holder = asyncio.create_task(hold())
        await entered.wait()
        service.fails.set()
        await asyncio.wait((holder,))
        assert holder.cancelled()
        with pytest.raises(Broken):
            await leave(block)

    asyncio.run(main())


@pytest.mark.parametrize("by", ["a scope of anyio", "asyncio"])
def test_a_block_that_is_cancelled_takes_it_along(by: str) -> None:
    async def main() -> None:
        service = Service()
        if by == "asyncio":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01), service.block():
                    await asyncio.sleep(60)
        else:
            with anyio.move_on_after(0.01) as scope:
                async with service.block():
                    await asyncio.sleep(60)
            assert scope.cancelled_caught
        assert service.end == "cancelled"

    asyncio.run(main())


def test_a_drain_that_is_cancelled_ends_at_once() -> None:
    async def main() -> None:
        service = Service()
        with anyio.move_on_after(0.01) as scope:
            async with Background(service.serve, lambda: None):
                pass
        assert scope.cancelled_caught
        assert service.end == "cancelled"

    asyncio.run(main())


def test_a_start_that_is_cancelled_leaves_nothing_running() -> None:
    """A simulated platform waits for an agent that never comes online."""

    async def main() -> None:
        platform = SimulatedPlatform(make_agent())
        with anyio.CancelScope() as scope:

            async def never(_: object) -> Any:
                scope.cancel()
                await anyio.sleep_forever()

            platform._open = never  # type: ignore[method-assign]
            await platform.__aenter__()
        assert scope.cancelled_caught
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_a_program_leaves_the_block_as_it_is(error: BaseException, backend: str) -> None:
    async def main() -> None:
        async with Platform():
            raise error

    with pytest.raises(type(error)) as raised:
        anyio.run(main, backend=backend)
    assert raised.value is error


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_block_that_was_not_entered_or_has_been_left_is_not_left(backend: str) -> None:
    async def main() -> None:
        platform = Platform()
        with pytest.raises(LocalProtocolError, match="has not been entered"):
            await platform.__aexit__(None, None, None)
        with pytest.raises(LocalProtocolError, match="has not been entered"):
            await make_agent().__aexit__(None, None, None)
        async with platform:
            pass
        with pytest.raises(LocalProtocolError, match="has been left"):
            await platform.__aexit__(None, None, None)

    anyio.run(main, backend=backend)


def test_another_event_loop_is_told_so_and_does_not_wait(tmp_path: Path) -> None:
    """Frameworks run a fixture in one and a test in another if they are told different scopes; the first one waits."""
    make_key_pair(tmp_path / "key", "ed25519", "")
    first = asyncio.new_event_loop()
    agent = make_agent(private_key_path=str(tmp_path / "key"))
    platform, simulated = Platform(), SimulatedPlatform(make_agent())
    blocks = (platform, simulated, agent)
    for block in blocks:
        first.run_until_complete(block.__aenter__())

    async def elsewhere() -> None:
        calls = [lambda: simulated.command("add"), agent.details, lambda: agent.deliver_message({})]
        for call in (*calls, *(partial(block.__aexit__, None, None, None) for block in blocks)):
            with pytest.raises(LocalProtocolError, match=r"awaited in the event loop .*, not in another"):
                await call()

    asyncio.run(elsewhere())
    for block in blocks:
        first.run_until_complete(block.__aexit__(None, None, None))
    first.close()
