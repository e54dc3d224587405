"""Calls of what the author wrote: handlers of commands and messages, callbacks, signers (CMD-7).

Whatever such a function raises is its own failure, be it SystemExit or a cancellation that nobody asked for. What comes
from outside is not: a cancellation of the task that waits for it, an interrupt of the main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterable
from functools import partial, singledispatch, singledispatchmethod
from typing import TYPE_CHECKING, Any, Final, cast

from anyio.lowlevel import checkpoint_if_cancelled

from artcafe_proto import LocalProtocolError

if TYPE_CHECKING:
    from contextvars import Context

    from artcafe_anyio.threads import Threads

Function = Callable[..., object]
"""What an author registers."""


class CallFailed(Exception):  # noqa: N818 it says what happened, and carries the error
    """What a function of the author's raised: `error`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(type(error).__name__)
        self.error: Final = seen_error(error)


def seen_error(error: BaseException) -> BaseException:
    """`error`, or a plain one of its name if it cannot be looked at, like a proxy whose target is gone."""
    try:
        for name in ("__class__", "__traceback__", "__cause__", "__context__", "__suppress_context__"):
            getattr(error, name)
    except BaseException:
        return type(type(error).__name__, (Exception,), {})("it cannot be looked at")
    return error


def raise_interrupt(error: BaseException) -> None:
    """Raise `error` if it is a KeyboardInterrupt that only a signal can have raised: one in the main thread."""
    if _is_interrupt(error) and threading.current_thread() is threading.main_thread():
        raise error


def _is_interrupt(error: BaseException) -> bool:
    kind = type(error)  # `isinstance` would ask the error
    if issubclass(kind, BaseExceptionGroup):
        return any(map(_is_interrupt, cast("BaseExceptionGroup[BaseException]", error).exceptions))
    return issubclass(kind, KeyboardInterrupt)


def call_here(call: Callable[[], object]) -> object:
    """What `call` returns. Raises CallFailed."""
    try:
        return call()
    except BaseException as error:
        raise_interrupt(error)
        raise CallFailed(error) from None


async def call_in_thread(call: Callable[[], object], threads: Threads) -> object:
    """What `call` returns in a thread. Raises CallFailed."""
    done = await threads.attempt(call)
    error = done.exception()
    if error is not None:
        raise CallFailed(error)
    return done.result()


async def awaited(result: object, checkpoint: Callable[[], Awaitable[None]] = checkpoint_if_cancelled) -> object:
    """What comes of `result`, which is awaited if it can be: a plain function may return the coroutine of another one.

    `checkpoint` raises if this task has been cancelled. Raises CallFailed.
    """
    while is_awaitable(result):
        try:
            result = await cast("Awaitable[object]", result)
            if _is_cancelled_by_itself():  # and has not noticed: the end of this task would cancel its group
                await asyncio.sleep(0)
        except BaseException as error:
            raise_interrupt(error)
            if not issubclass(type(error), (Exception, GeneratorExit)):
                await checkpoint()
            raise CallFailed(error) from None
    return result


async def call_anywhere(call: Callable[[], object], threads: Threads, *, in_thread: bool) -> object:
    """What comes of `call`, here or in a thread, and of awaiting it. Raises CallFailed."""
    return await awaited(await call_in_thread(call, threads) if in_thread else call_here(call))


def call_back(
    callbacks: Iterable[Function], event: object, context: Context, tell: Callable[[str, BaseException | None], object]
) -> None:
    """Tell all of them what happened, each in a copy of `context`; `tell` logs what they do wrong."""
    for callback in callbacks:
        try:
            result = context.copy().run(callback, event)
        except BaseException as error:
            raise_interrupt(error)
            tell(_failed_with(event), seen_error(error))
        else:
            if result is not None and is_awaitable(result):
                discard(result)
                returned = type(result).__name__
                tell(f"{_failed_with(event)}: it returned {returned}, and nothing is awaited there", None)


def _failed_with(event: object) -> str:
    return f"a callback of on_event failed with {type(event).__name__}"


def _is_cancelled_by_itself() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # this is not asyncio
        return False
    return task is not None and task.cancelling() > 0


def is_awaitable(value: object) -> bool:
    """Whether `value` can be awaited."""
    return hasattr(type(value), "__await__")


def discard(value: object) -> None:
    """Nobody will await `value`: a coroutine is closed, so that it does not complain."""
    if inspect.iscoroutine(value):
        value.close()


# --- what a function is -----------------------------------------------------------------------------------------------


def innermost(function: Any) -> Any:
    """The function within partials, static methods and objects that can be called."""
    while True:
        if isinstance(function, partial):
            function = cast("Function", function.func)
        elif isinstance(function, staticmethod):
            function = cast("Function", function.__func__)
        elif inspect.isroutine(function) or isinstance(function, type) or not callable(function):
            return function
        else:
            function = function.__call__


def is_async(function: Function) -> bool:
    """Whether calling it gives a coroutine for certain. A plain function may return one all the same."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(innermost(function))


def _nothing() -> Any: ...


_MAKE_CONTEXT_MANAGERS: Final = (
    contextlib.contextmanager(_nothing).__code__,
    contextlib.asynccontextmanager(_nothing).__code__,
)
"""What these decorators make of a function; what a context manager makes of one that it decorates is another."""


_DISPATCHERS: Final[tuple[object, ...]] = tuple(
    getattr(innermost(each), "__code__", None)
    for each in (singledispatch(_nothing), singledispatchmethod(_nothing).__get__(object()))
)
"""What these decorators make of a function, and of a method that belongs to an object."""


def dispatches(function: Function) -> bool:
    """Whether the type of its first positional argument decides what is called, as with functools.singledispatch."""
    return getattr(innermost(function), "__code__", None) in _DISPATCHERS


def check_function(function: Function, what: str) -> None:
    """Raise LocalProtocolError if `function` cannot be called, or what it gives is no result."""
    inner = innermost(function)
    if not callable(function) or isinstance(inner, classmethod):
        kind = type(function).__name__  # pyright: ignore[reportUnknownArgumentType]
        raise LocalProtocolError(f"{what} is a function or a method that can be called, not an object of {kind}")
    if isinstance(inner, type):
        raise LocalProtocolError(f"{what} is a function or a method: {name_of(function)} is a class")
    if getattr(inner, "__code__", None) in _MAKE_CONTEXT_MANAGERS:
        raise LocalProtocolError(f"{name_of(function)} makes a context manager, which is no result: use it in {what}")
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise LocalProtocolError(f"{name_of(function)} is a generator: {what} returns its result, or awaits")


def check_takes_one(function: Function, what: str) -> None:
    """Raise LocalProtocolError unless `function` can be called with one argument."""
    try:
        # A bound singledispatchmethod shows the signature of the function that it wraps, `self` included.
        inspect.signature(function, follow_wrapped=not dispatches(function)).bind(object())
    except TypeError as error:
        raise LocalProtocolError(f"{what} takes one argument: {name_of(function)}: {error}") from None
    except ValueError:
        pass  # written in C, with a signature that nobody knows


def check_callback(function: Function) -> None:
    """Raise LocalProtocolError for what `on_event` cannot call with an event, or would have to await."""
    check_function(function, "on_event")
    check_takes_one(function, "on_event")
    if is_async(function):
        why = "events are told at once and in order, so nothing is awaited: start a task, or use on_message"
        raise LocalProtocolError(f"on_event takes a plain function, and {name_of(function)} is async: {why}")


def name_of(function: object) -> str:
    """For people."""
    return getattr(innermost(function), "__qualname__", None) or repr(function)
