"""One thread for what blocks, in which calls are made one after another.

It is not one of anyio's: those are limited in number, and all of them may be busy. It is a daemon, so that a disk that
hangs does not hold up the end of the process.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from artcafe_anyio.loops import find_call_soon

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Worker:
    """A thread that makes calls in their order, until `end`. It begins when that of the worker `after` is over."""

    def __init__(self, name: str, after: Worker | None) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        before = after._thread if after else None
        self._thread = Thread(target=_make_calls, args=(self._calls, before), name=name, daemon=True)
        self._thread.start()

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in the thread; returns or raises what it does.

        Cancelled, the call is not made, or nobody waits any more for its end.
        """
        future = self._put(function)
        try:
            await _wait(future)
        except BaseException:
            future.cancel()
            raise
        return future.result()

    async def run_last(self, function: Callable[[], object]) -> None:
        """The same, and the thread ends. The call is made also when this is cancelled."""
        await _wait(self.end(function))

    def end(self, function: Callable[[], object]) -> Future[object]:
        """Have the thread make a last call and end; wait for neither."""
        future = self._put(function)
        self._calls.put(None)
        return future

    def _put(self, function: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._calls.put((function, future))
        return future


_Call = tuple["Callable[[], Any]", "Future[Any]"]


async def _wait(future: Future[Any]) -> None:
    is_done = anyio.Event()
    call_soon = find_call_soon()

    def tell(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop has ended, nobody waits
            call_soon(is_done.set)

    future.add_done_callback(tell)
    await is_done.wait()


def _make_calls(calls: SimpleQueue[_Call | None], before: Thread | None) -> None:
    if before is not None:
        before.join()
        del before
    while (call := calls.get()) is not None:
        function, future = call
        if future.set_running_or_notify_cancel():
            try:
                result = function()
            except BaseException as error:  # all of them belong to who waits
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
        del call, function, future  # nothing is kept until the next call
