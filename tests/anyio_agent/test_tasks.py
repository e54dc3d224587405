"""Tasks of command handlers, by asyncio itself: what ends them, and what their end leaves behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
import pytest

from artcafe_anyio.tasks import AsyncioTasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Crash(BaseException):
    """Not to be caught by those who catch every Exception."""


def unexpected(error: Exception) -> None:
    raise error


def noting(said: list[str], work: Callable[[], Awaitable[object]]) -> Callable[[str], Awaitable[None]]:
    """`work`, which says how it ended."""

    async def run(name: str) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            said.append(f"{name} cancelled")
            raise
        said.append(f"{name} done")

    return run


async def test_one_that_is_cancelled_before_it_began_hears_of_it() -> None:
    said: list[str] = []
    run = noting(said, anyio.sleep_forever)
    async with anyio.create_task_group() as group, AsyncioTasks(group, unexpected) as tasks:
        cancel = tasks.start(run, "one")  # pyright: ignore[reportArgumentType]
        tasks.start(noting(said, asyncio.Event().wait), "left")  # pyright: ignore[reportArgumentType]
        cancel()
        assert said == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert said == ["one cancelled"]
    assert said == ["one cancelled", "left cancelled"]


async def test_who_cancels_the_end_waits_for_it_as_well() -> None:
    said: list[str] = []
    may_end = asyncio.Event()

    async def slow(_: None) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await may_end.wait()
            said.append("cleaned up")

    async def serve() -> None:
        async with anyio.create_task_group() as group, AsyncioTasks(group, unexpected) as tasks:
            tasks.start(slow, None)
            await asyncio.sleep(1000)

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0)
    serving.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    serving.cancel()
    await asyncio.sleep(0)
    assert not serving.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert said == ["cleaned up"]


async def test_what_is_no_exception_ends_the_agent() -> None:
    async def crash(_: None) -> None:
        raise Crash

    async def serve() -> None:
        async with anyio.create_task_group() as group, AsyncioTasks(group, unexpected) as tasks:
            tasks.start(crash, None)
            await anyio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await serve()
    assert caught.group_contains(Crash)
