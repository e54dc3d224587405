"""The clocks of the computer: the default of agents and platforms, which are given a clock and read no other.

Only the dates of certificates are told by the computer's clock whatever is given, as OpenSSL judges them by it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import Final

from artcafe_proto import ConfigError, Instant

Clock = Callable[[], Instant]
"""Gives the moment; called from any thread. Its `mono` advances with the time of the event loop, by which everything
waits, and may go on while that stands still, as when the computer sleeps.
"""

if sys.platform == "linux":
    monotonic: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    """Seconds that go on while the computer sleeps, so that what waits for a time is late after it, not lost."""

else:
    monotonic = time.monotonic
    """Seconds, with or without the computer's sleep, as the system has it."""

process_cpu_s: Final = time.process_time
"""Seconds of CPU that this process has used."""

_wall: Final = time.time
_make: Final = tuple[float, float].__new__


def read_clocks() -> Instant:
    """This moment."""
    return _make(Instant, (monotonic(), _wall()))  # what `Instant(…)` does, in fewer steps: this is called all the time


def first_reading(clock: Callable[[], object]) -> Instant:
    """This moment, by a clock that was given. Raises ConfigError for what is no clock."""
    now = clock() if callable(clock) else None
    if isinstance(now, Instant):
        return now
    came = type(clock if now is None else now).__name__
    wanted = "must be a function that gives an Instant, as a LoopClock() is"
    raise ConfigError(f"{wanted}; what came is a {came}", setting="clock")


def guarded(clock: Clock, fail: Callable[[Exception], None]) -> Clock:
    """A clock that may be read where nobody is to raise an error to: `fail` is told of one, and the last moment stays.

    In another thread it is raised: what reads the clock there is told. Raises as `first_reading`.
    """
    if clock is read_clocks:
        return clock
    last, thread = first_reading(clock), get_ident()

    def read() -> Instant:
        nonlocal last
        try:
            last = clock()
        except Exception as error:
            if get_ident() != thread:
                raise
            fail(error)
        return last

    return read
