"""A clock that stands still until it is told."""

from __future__ import annotations

from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.instants import Instant

__all__ = ["ManualClock"]


class ManualClock:
    """Both clocks of a computer, moved by hand; seconds."""

    def __init__(self, mono: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._mono = mono
        self._wall = wall

    @property
    def now(self) -> Instant:
        """What every input of the core wants to know."""
        return Instant(self._mono, self._wall)

    def advance(self, seconds: float) -> Instant:
        """Let time pass on both clocks. Raises LocalProtocolError for a step back."""
        if seconds < 0:
            raise LocalProtocolError(f"monotonic time does not go back; expected 0 s or more, not {seconds:g} s")
        self._mono += seconds
        self._wall += seconds
        return self.now

    def advance_to(self, mono: float) -> Instant:
        """Let time pass until a deadline; none at all if it has passed."""
        if mono > self._mono:
            self._wall += mono - self._mono
            self._mono = mono
        return self.now

    def set_wall(self, wall: float) -> Instant:
        """Set the wall clock, as an administrator or NTP does."""
        self._wall = wall
        return self.now
