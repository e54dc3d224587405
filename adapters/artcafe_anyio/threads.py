"""Threads for what blocks: handlers, signing, name resolution.

Not anyio's: on asyncio those outlive a cancellation and then hold up the end of the process, and an agent that is told
to stop at once must not wait for a handler or a resolver that hangs (CMD-8, LINK-10). These are daemons.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Thread, get_ident
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")


class Threads:
    """Between one event loop and its worker threads, while it is entered. Construct it in that loop."""

    def __init__(self) -> None:
        self._loop_thread = get_ident()
        self._portal = BlockingPortal()

    async def __aenter__(self) -> Self:
        await self._portal.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._portal.__aexit__(exc_type, exc, traceback)

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a thread of its own; raises what it raises. Cancelled, it is abandoned to its end."""
        call = _Call(function)
        over = anyio.Event()

        def work() -> None:
            call.make()
            with suppress(RuntimeError):  # the loop has ended, nobody waits
                self._portal.start_task_soon(over.set)

        Thread(target=work, name="artcafe worker", daemon=True).start()
        await over.wait()
        return call.result()

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` in the event loop's thread, from whichever thread; returns what it returns.

        Raises RuntimeError in another thread when the loop's part has ended.
        """
        if get_ident() == self._loop_thread:
            return function()
        return self._portal.call(function)


class _Call(Generic[T]):
    """One call of a function and what came of it."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._returned: list[T] = []
        self._raised: BaseException | None = None

    def make(self) -> None:
        try:
            self._returned.append(self._function())
        except BaseException as error:  # all of them belong to who waits
            self._raised = error

    def result(self) -> T:
        if self._raised is not None:
            raise self._raised
        return self._returned[0]
