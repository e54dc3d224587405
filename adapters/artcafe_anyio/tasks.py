"""The tasks that run handlers of commands: anyio's, or asyncio's own, which cost a fraction of them.

Both are cancelled and waited for at the end of the agent. What they raise is an internal error, since `run` answers
for what a handler raises. anyio cancels a task again wherever it waits, asyncio once.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from artcafe_anyio.loops import Scope, Starter

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup

T = TypeVar("T")


class CommandTasks(Protocol):
    """Where they are started."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...

    def start(self, run: Callable[[T], Coroutine[Any, Any, None]], argument: T) -> Callable[[], object]:
        """Run `run(argument)` from the next turn of the loop on; what is returned cancels it."""
        ...

    async def checkpoint(self) -> None:
        """Raise if the task that runs this was cancelled by these."""
        ...


class AnyioTasks:
    """Tasks of `group`, which waits for them."""

    def __init__(self, group: TaskGroup, starter: Starter, fail: Callable[[Exception], object]) -> None:
        self._group = group
        self._starter = starter
        self._fail = fail

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._group.cancel_scope.cancel()

    def start(self, run: Callable[[T], Coroutine[Any, Any, None]], argument: T) -> Callable[[], object]:
        """Run `run(argument)` from the next turn of the loop on; what is returned cancels it."""
        scope = Scope()
        self._starter.start_soon(self._run, scope, run, argument)
        return scope.cancel

    async def _run(self, scope: Scope, run: Callable[[T], Coroutine[Any, Any, None]], argument: T) -> None:
        with scope:
            try:
                await run(argument)
            except Exception as error:
                self._fail(error)

    async def checkpoint(self) -> None:
        """Raise if the task that runs this was cancelled by these."""
        await checkpoint_if_cancelled()


class AsyncioTasks:
    """Tasks of asyncio. What they raise that is no `Exception` is raised in `group`."""

    def __init__(self, group: TaskGroup, fail: Callable[[Exception], object]) -> None:
        self._group = group
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel all, and wait until they have ended; whoever cancels this meanwhile has to wait as well."""
        for task in self._tasks:
            self._cancel(task)
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while self._tasks:
                try:
                    await asyncio.wait(tuple(self._tasks))
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled

    def start(self, run: Callable[[T], Coroutine[Any, Any, None]], argument: T) -> Callable[[], object]:
        """Run `run(argument)` from the next turn of the loop on; what is returned cancels it."""
        task = self._loop.create_task(self._run(run(argument)))
        self._tasks.add(task)
        return partial(self._cancel, task)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        """Once it has begun: else nothing of it would ever run, not even what it does when it is cancelled."""
        self._cancelled.add(task)
        self._loop.call_soon(task.cancel)

    async def checkpoint(self) -> None:
        """Raise if the task that runs this was cancelled by these."""
        if asyncio.current_task() in self._cancelled:
            raise asyncio.CancelledError

    async def _run(self, running: Coroutine[Any, Any, None]) -> None:
        try:
            await running
        except asyncio.CancelledError:
            pass  # as it was told
        except Exception as error:
            self._fail(error)
        except BaseException as error:
            self._group.start_soon(_raise, error)
        finally:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.discard(task)
            self._cancelled.discard(task)


async def _raise(error: BaseException) -> None:
    raise error
