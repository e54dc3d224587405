"""The two clocks of an `Instant`."""

from __future__ import annotations

import sys
import time
from functools import partial

from artcafe_proto import Instant

if sys.platform == "linux":
    monotonic = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    """Seconds that go on while the computer sleeps, so that what waits for a time is late after it, not lost."""

else:
    monotonic = time.monotonic
    """Seconds, with or without the computer's sleep, as the system has it."""


def read_clocks() -> Instant:
    """This moment."""
    return Instant(monotonic(), time.time())
