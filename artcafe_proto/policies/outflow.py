"""What was written on a connection and has not left: how much to write ahead, and when writing stalls (LINK-7, LINK-8).

Bytes are counted twice: here as they are written, and by the driver, which reports a level: what its transport holds,
and what the system has not had acknowledged. Both together tell what has left. Frame headers and TLS are in the level
only, so what has left may be taken for a little less than it is, and never for more.
"""

from __future__ import annotations

from typing import Final

from artcafe_proto.limits import WRITE_AHEAD_BYTES


class Outflow:
    """One connection's bytes on their way. Both roles use it.

    A driver may report nothing, or only what does not leave at once: while the last level was 0, what is written counts
    as having left. It does not count against `has_room` longer than `GRANT_S` unless it is reported.
    """

    __slots__ = ("_ceiling", "_left", "_reported", "_stalled_since", "unsent", "written")

    def __init__(self) -> None:
        self.written: int = 0
        """All bytes so far. Whoever writes adds to it."""
        self.unsent: int = 0
        """The level that was reported last."""
        self._ceiling = WRITE_AHEAD_BYTES  # what waits is written while `written` is below it
        self._reported = 0  # of `written`, when the level was reported
        self._left = 0  # the most that is known to have left since the level rose from 0
        self._stalled_since: float | None = None

    @property
    def has_room(self) -> bool:
        """Whether what can wait may be written."""
        return self.written < self._ceiling

    @property
    def room(self) -> int:
        """How many bytes of what can wait may be written."""
        return self._ceiling - self.written

    @property
    def awaits_report(self) -> bool:
        """Whether there is no room for what was written since the last report, and nothing else."""
        return self.written >= self._ceiling and self.unsent < WRITE_AHEAD_BYTES

    @property
    def pending(self) -> int:
        """How many bytes have not left, as far as is known; 0 unless the last report was of some."""
        return self.unsent + self.written - self._reported if self.unsent else 0

    def grant(self) -> None:
        """No report came: what was written since the last one counts no more."""
        self._ceiling = self.written - self.unsent + WRITE_AHEAD_BYTES

    def report(self, nbytes: int, mono: float, undrained_bytes: int = 0) -> bool:
        """So many bytes have not left. Returns whether any have since the last report.

        The report cannot know of `undrained_bytes`, which are written here and were handed to nobody yet.
        """
        self._reported = self.written - undrained_bytes
        left = self._reported - nbytes
        has_moved = left > self._left
        if has_moved or not self.unsent:
            self._left = left
            self._stalled_since = mono
        if not nbytes:
            self._stalled_since = None
        self.unsent = nbytes
        self._ceiling = left + WRITE_AHEAD_BYTES
        return has_moved

    def has_left(self, place: int) -> bool:
        """Whether all has left that was written while `written` was at most `place`."""
        return not self.unsent or self._reported - self.unsent >= place

    def stall_deadline(self, timeout_s: float) -> float | None:
        """When nothing will have left for so long, though something is to (LINK-8); None while nothing is."""
        return None if self._stalled_since is None else self._stalled_since + timeout_s


GRANT_S: Final = 0.01
"""How long bytes count against the room that nobody reports: a turn of an event loop, in which a driver reports."""
