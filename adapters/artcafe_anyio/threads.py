"""Threads for what blocks: handlers, signing, name resolution.

Not anyio's: on asyncio those outlive a cancellation and then hold up the end of the process, and an agent that is told
to stop at once must not wait for a handler or a resolver that hangs (CMD-8, LINK-10). These are daemons, and what they
do after the end of the loop's part reaches nobody.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from threading import Lock, Thread, get_ident
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio

from artcafe_anyio.loops import find_call_soon, runs_in_loop_of, thread_context
from artcafe_proto import LocalProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")


class Threads:
    """Between one event loop and its worker threads, while it is entered. Construct it in that loop."""

    def __init__(self) -> None:
        self._loop_thread = get_ident()
        self._call_soon = find_call_soon()
        self._tasks = anyio.create_task_group()
        self._wake_up = anyio.Event()
        self._lock = Lock()  # for the two that follow
        self._calls: deque[_Call[Any]] = deque()
        self._is_over = False

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._make_calls)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self.end()
        self._tasks.cancel_scope.cancel()
        return await self._tasks.__aexit__(exc_type, exc, traceback)

    @property
    def is_here(self) -> bool:
        """Whether this is the event loop's thread."""
        return get_ident() == self._loop_thread

    @property
    def is_this_loop(self) -> bool:
        """Whether this is the event loop itself: its thread may run another one after it."""
        return runs_in_loop_of(self._call_soon)

    def end(self) -> None:
        """The loop's part has ended, if it ever began: who waits in a thread for a call, waits no longer."""
        with self._lock:
            self._is_over = True
            abandoned, self._calls = self._calls, deque()
        for call in abandoned:
            call.future.set_exception(_over())

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread of its own; raises what it raises. Cancelled, it is abandoned to its end."""
        return (await self.attempt(function)).result()

    async def attempt(self, function: Callable[[], T]) -> Future[T]:
        """The same, but what came of it is told apart from what happens to who waits: the future is done. The function
        sees a copy of this task's context.
        """
        call = _Call(partial(thread_context().run, function))
        over = anyio.Event()

        def work() -> None:
            call.make()
            with suppress(RuntimeError):  # the loop has ended, nobody waits
                self._call_soon(over.set)

        try:
            Thread(target=work, name="artcafe worker", daemon=True).start()
        except Exception as error:  # the system gives no more threads, or no memory for one
            call.future.set_exception(error)
        else:
            await over.wait()
        return call.future

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` in the event loop's thread, from whichever thread; returns what it returns.

        Raises LocalProtocolError in another thread when the loop's part has ended.
        """
        if self.is_here:
            return function()
        call = _Call(function)
        with self._lock:
            if self._is_over:
                raise _over()
            self._calls.append(call)
            self._call_soon(self._wake_up.set)  # the loop cannot end meanwhile: it would have to take the lock first
        return call.future.result()

    async def _make_calls(self) -> None:
        while True:
            await self._wake_up.wait()
            self._wake_up = anyio.Event()
            while self._calls:
                self._calls.popleft().make()


class _Call(Generic[T]):
    """One call of a function and, in `future`, what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self.future: Future[T] = Future()

    def make(self) -> None:
        try:
            result = self._function()
        except BaseException as error:  # all of them belong to who waits
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


def _over() -> LocalProtocolError:
    return LocalProtocolError("the agent does not run any more")
