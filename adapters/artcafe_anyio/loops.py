"""What is needed of the event loop where no task runs: in a transport's callback, a timer, a signal handler.

anyio looks up the running task to learn which library it is on. Without a running task its scopes, events, tasks and
clock cannot be used, unless `anyio.run` started the program or sniffio is not installed. So nothing of anyio is made or
read in a turn: what these classes need of it they make in a task.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import deque
from contextlib import suppress
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Self

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from anyio.abc import TaskGroup
    from trio.lowlevel import TrioToken


class Flag:
    """Something that tasks wait for. It is set and cleared from anywhere in the loop's thread."""

    def __init__(self) -> None:
        self._is_set = False
        self._event: anyio.Event | None = None

    def set(self) -> None:
        """Let all who wait go on."""
        self._is_set = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def clear(self) -> None:
        """Have those wait who come from now on."""
        self._is_set = False

    def is_set(self) -> bool:
        """Whether nobody has to wait."""
        return self._is_set

    async def wait(self) -> None:
        """Wait until it is set; when this returns it may have been cleared again."""
        if not self._is_set:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()


class Scope:
    """A cancel scope around one block of a task. It is cancelled from anywhere, also before the task has begun."""

    def __init__(self) -> None:
        self._time = find_time()
        self._scope: anyio.CancelScope | None = None
        self._deadline = math.inf
        self.is_cancelled: bool = False
        """Whether `cancel` was called."""

    def __enter__(self) -> Self:
        self._scope = anyio.CancelScope(deadline=self._deadline)
        if self.is_cancelled:
            self._scope.cancel()
        self._scope.__enter__()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert self._scope is not None
        return self._scope.__exit__(exc_type, exc, traceback)

    def cancel(self) -> None:
        """Cancel the block: now, or when it begins."""
        self.is_cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    def cancel_after(self, seconds: float) -> None:
        """Cancel the block when that time is over, whether or not it has begun."""
        self._deadline = self._time() + seconds
        if self._scope is not None:
            self._scope.deadline = self._deadline


class Starter:
    """Starts tasks of one group for those who call from anywhere, while `run` runs in a task."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._waiting: deque[tuple[Context, Callable[..., Coroutine[Any, Any, object]], tuple[object, ...]]] = deque()
        self._is_asked = Flag()

    def start_soon(self, function: Callable[..., Coroutine[Any, Any, object]], *arguments: object) -> None:
        """Have a task call `function`, in a copy of the context that this is called in."""
        self._waiting.append((copy_context(), function, arguments))
        self._is_asked.set()

    async def run(self) -> None:
        """Start what is asked for, until cancelled; what was not started then, is not."""
        while True:
            await self._is_asked.wait()
            self._is_asked.clear()
            while self._waiting:
                context, function, arguments = self._waiting.popleft()
                context.run(self._group.start_soon, function, *arguments)


def thread_context() -> Context:
    """A copy of the current context for a thread, where no event loop runs: that thread may run one of its own."""
    context = copy_context()
    noted = getattr(sys.modules.get("sniffio"), "current_async_library_cvar", None)
    if noted is not None:  # sniffio notes in the context which library runs here
        context.run(noted.set, None)
    return context


def runs_on_asyncio() -> bool:
    """Whether the event loop is asyncio's, or another that has its transports."""
    return _trio_token() is None


def find_time() -> Callable[[], float]:
    """The running event loop's own time, by which it waits: seconds, given in any thread."""
    if runs_on_asyncio():
        return asyncio.get_running_loop().time
    return sys.modules["trio"].lowlevel.current_clock().current_time


def find_call_soon() -> Callable[[Callable[[], object]], object]:
    """What has a function called in the running event loop, from any thread; RuntimeError once the loop has ended."""
    token = _trio_token()
    return asyncio.get_running_loop().call_soon_threadsafe if token is None else token.run_sync_soon


def runs_in_loop_of(call_soon: Callable[[Callable[[], object]], object]) -> bool:
    """Whether the running event loop is the one in which `call_soon` was found; False in a thread that runs none."""
    try:
        return find_call_soon() == call_soon
    except RuntimeError:
        return False


def _trio_token() -> TrioToken | None:
    lowlevel = getattr(sys.modules.get("trio"), "lowlevel", None)
    find_token = getattr(lowlevel, "current_trio_token", None)  # another thread may be in the middle of loading trio
    if find_token is not None:
        with suppress(RuntimeError):  # it is loaded, but this is not its loop
            return find_token()
    return None
