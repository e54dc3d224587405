"""Virtual time for tests: an event loop that jumps to its next timer, and the clock of a loop, virtual or not.

trio has such a loop of its own, `trio.testing.MockClock`.
"""

from __future__ import annotations

import asyncio
import math
from selectors import DefaultSelector
from typing import TYPE_CHECKING, TypeVarTuple, Unpack

from artcafe_anyio.loops import find_time
from artcafe_proto import Instant

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from selectors import SelectorKey

Ts = TypeVarTuple("Ts")


class LoopClock:
    """A clock that goes with the event loop's own time: construct it in that loop, and give it as `clock`."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        """`wall`: the time of day at this moment, in seconds since 1970."""
        self._time = find_time()
        self._began = Instant(self._time(), wall)

    def __call__(self) -> Instant:
        """This moment, in any thread."""
        mono = self._time()
        return Instant(mono, self._began.wall + (mono - self._began.mono))


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop of asyncio whose time begins at 0 and jumps to the next timer when nothing else can go on.

        anyio.run(main, backend_options={"loop_factory": VirtualTimeLoop})

    It does not wait for what happens outside of it, in threads or on other computers: before each jump it gives that
    `autojump_threshold` real seconds, like trio's `MockClock`.
    """

    def __init__(self, autojump_threshold: float = 0.0) -> None:
        self._virtual_s = 0.0
        super().__init__(_JumpingSelector(self, autojump_threshold))

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_s

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As any loop's; but what waits for infinity never comes, and nothing jumps there."""
        if when == math.inf:
            return asyncio.TimerHandle(when, callback, args, self, context)
        return super().call_at(when, callback, *args, context=context)

    def jump(self, seconds: float) -> None:
        """Let virtual time pass at once."""
        self._virtual_s += seconds

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 asyncio's
        """Wait for the threads without a time limit, as one of virtual time would be over at once."""
        await super().shutdown_default_executor()


class _JumpingSelector(DefaultSelector):
    """Waits for what is there already; what else it was to wait for, the loop's next timer, comes at once."""

    def __init__(self, loop: VirtualTimeLoop, patience_s: float) -> None:
        super().__init__()
        self._loop = loop
        self._patience_s = patience_s

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is None:  # there is no timer to jump to
            return super().select()
        ready = super().select(min(timeout, self._patience_s))
        if not ready and timeout > 0:
            self._loop.jump(timeout)
        return ready
