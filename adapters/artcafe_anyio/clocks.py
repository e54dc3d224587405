"""The two clocks of an `Instant`."""

from __future__ import annotations

import sys
import time

from artcafe_proto import Instant

if sys.platform == "linux":

    def monotonic() -> float:
        """Seconds that go on while the machine sleeps, so that what waits for a time is late after it, not lost."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

else:

    def monotonic() -> float:
        """Seconds, with or without the machine's sleep, as the system has it."""
        return time.monotonic()


def read_clocks() -> Instant:
    """This moment."""
    return Instant(monotonic(), time.time())
