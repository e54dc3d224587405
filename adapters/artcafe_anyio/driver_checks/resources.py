"""What a process has and uses: its descriptors and processor time; and what it says of errors."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

_BUSY_CPU_S: Final = 0.4
_IDLE_S: Final = 1.5


def open_descriptors() -> int:
    """How many files and sockets this process has open; 0 where the system does not tell."""
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0


def processor_time_of_idling() -> float | None:
    """Idle for 1.5 s; the seconds of processor time that this process has taken meanwhile if those are many, else None.

    Many is a quarter of that: a thread that is busy takes as much even if it has to share its processor.
    """
    began_at, used_s = time.monotonic(), time.process_time()
    while time.monotonic() - began_at < _IDLE_S:
        time.sleep(0.05)
        if (took_s := time.process_time() - used_s) > _BUSY_CPU_S:
            return took_s
    return None


class Said:
    """What was written to standard error and logged."""

    def __init__(self) -> None:
        self._text = io.StringIO()

    def has(self, text: str) -> bool:
        """Whether it was said."""
        return text in self._text.getvalue()

    @contextlib.contextmanager
    def heard(self) -> Generator[None]:
        """Listen during this block; standard error stays empty."""
        logger, handler = logging.getLogger(), logging.StreamHandler(self._text)
        logger.addHandler(handler)
        try:
            with contextlib.redirect_stderr(self._text):
                yield
        finally:
            logger.removeHandler(handler)
