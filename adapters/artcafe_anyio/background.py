"""Running something while an `async with` block runs."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.abc import TaskStatus

from artcafe_anyio.errors import first_error
from artcafe_anyio.loops import Scope, find_call_soon, runs_in_loop_of, runs_on_asyncio
from artcafe_proto import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType


class Serve(Protocol):
    """Runs until it is stopped, and calls `task_status.started` when it has begun."""

    async def __call__(self, *, task_status: TaskStatus[None]) -> None: ...


class Background:
    """Runs `serve` while a block runs. The end of the block calls `stop` and waits; a block that fails cancels it.

    What `serve` raises cancels the block and comes out of it as it is, not in a group. On asyncio a block may be left
    in another task than it was entered in, as in test frameworks: then there may be nothing to cancel, and whoever
    leaves it gets what `serve` raised. On trio it is one task, which trio demands.
    """

    def __init__(self, serve: Serve, stop: Callable[[], object]) -> None:
        self._serve = serve
        self._stop = stop
        self._block: AbstractAsyncContextManager[None] | None = None

    async def __aenter__(self) -> None:
        block = (_by_own_task if runs_on_asyncio() else _by_task_group)(self._serve, self._stop)
        await block.__aenter__()
        self._block, self._call_soon = block, find_call_soon()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        block, self._block = self.check(), None
        return await block.__aexit__(exc_type, exc, traceback)

    def check(self) -> AbstractAsyncContextManager[None]:
        """The block, which runs in this event loop. Raises LocalProtocolError if it does not."""
        if self._block is None:
            raise LocalProtocolError("this needs the async with block, which has not been entered or has been left")
        if not runs_in_loop_of(self._call_soon):  # which may never run again: nobody would be told of anything
            raise LocalProtocolError("this is awaited in the event loop that the block was entered in, not in another")
        return self._block


@asynccontextmanager
async def _by_task_group(serve: Serve, stop: Callable[[], object]) -> AsyncGenerator[None]:
    failure: BaseException | None = None  # of the block or of the start, to come out as it is, not in a group
    end: Exception | None = None  # of `serve`, likewise
    try:
        async with anyio.create_task_group() as tasks:
            try:
                await tasks.start(serve)
                yield
                stop()
            except (Exception, GeneratorExit, KeyboardInterrupt, SystemExit) as error:
                failure = error
                tasks.cancel_scope.cancel()
    except ExceptionGroup as group:
        end = first_error(group)
    _raise(end, failure)


@asynccontextmanager
async def _by_own_task(serve: Serve, stop: Callable[[], object]) -> AsyncGenerator[None]:
    running = _OwnTask(serve)
    failure: BaseException | None = None  # of the block, of the start, or what cancels this
    try:
        await running.begin()
        yield
        running.leave()
        stop()
        await running.wait()
    except BaseException as error:
        is_own = running.leave() and isinstance(error, asyncio.CancelledError)
        failure = None if is_own else error
        await running.cancel()
    _raise(running.failure, failure)


def _raise(end: Exception | None, failure: BaseException | None) -> None:
    if failure is not None and not isinstance(failure, Exception):
        raise failure
    if end is not None and failure is not None and failure is not end:
        raise end from failure
    if end is not None:
        raise end
    if failure is not None:
        raise failure


class _OwnTask(TaskStatus[None]):
    """A task of asyncio's, which is cancelled as those of anyio are: wherever it waits, unless shielded."""

    def __init__(self, serve: Serve) -> None:
        self.failure: Exception | None = None
        """What `serve` has raised."""
        self._scope = Scope()
        self._has_begun = asyncio.Event()
        self._block = asyncio.current_task()
        self._is_in_block = False
        self._has_cancelled_block = False
        self._task = asyncio.create_task(self._run(serve))

    async def begin(self) -> None:
        """Return when `serve` has begun. Raises what it has raised."""
        await self._has_begun.wait()
        if self.failure is not None:
            raise self.failure
        self._is_in_block = True

    def leave(self) -> bool:
        """The block is over. Whether nothing but the end of `serve` has cancelled it."""
        self._is_in_block = False
        if not self._has_cancelled_block or asyncio.current_task() is not self._block:
            return False
        assert self._block is not None
        self._has_cancelled_block = False
        return self._block.uncancel() == 0

    async def wait(self) -> None:
        """Return when it has ended."""
        await asyncio.wait((self._task,))

    async def cancel(self) -> None:
        """Cancel it and return when it has ended, whoever cancels the caller."""
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            while not self._task.done():
                with suppress(asyncio.CancelledError):
                    await self.wait()

    def started(self, value: None = None) -> None:
        """`serve` has begun."""
        self._has_begun.set()

    async def _run(self, serve: Serve) -> None:
        with self._scope:
            try:
                await serve(task_status=self)
            except Exception as error:
                self.failure = first_error(error)
            finally:
                self._has_begun.set()
        if self.failure is not None and self._is_in_block and self._block is not None:
            self._has_cancelled_block = self._block.cancel()
