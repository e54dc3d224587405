"""One table of named deadlines per protocol object: what is waited for is always one of a few reasons."""

from __future__ import annotations

from enum import IntEnum
from typing import Generic, TypeVar

Reason = TypeVar("Reason", bound=IntEnum)


class Timers(dict[Reason, float], Generic[Reason]):
    """Deadlines in monotonic seconds, at most one per reason. Ties go to the smaller reason, so runs repeat exactly."""

    __slots__ = ("has_changed",)

    def __init__(self) -> None:
        super().__init__()
        self.has_changed: bool = False
        """Whether `next` may be another; for whoever keeps it elsewhere, and resets this."""

    def set(self, reason: Reason, deadline: float) -> None:
        """Wait for `deadline`, instead of any earlier wait for the same reason."""
        self[reason] = deadline
        self.has_changed = True

    def arm(self, reason: Reason, deadline: float | None) -> None:
        """Wait for `deadline`, or stop waiting if it is None."""
        if deadline is None:
            self.cancel(reason)
        else:
            self[reason] = deadline
            self.has_changed = True

    def cancel(self, *reasons: Reason) -> None:
        """Stop waiting; harmless if nothing was waited for."""
        for reason in reasons:
            if self.pop(reason, None) is not None:
                self.has_changed = True

    def clear(self) -> None:
        """Stop waiting for anything."""
        super().clear()
        self.has_changed = True

    def next(self) -> tuple[float, Reason] | None:
        """The earliest deadline and its reason."""
        earliest: tuple[float, Reason] | None = None
        for reason, when in self.items():  # called all the time: a loop costs half of what min() does
            if earliest is None or when < earliest[0] or (when == earliest[0] and reason < earliest[1]):
                earliest = when, reason
        return earliest

    def pop_due(self, mono: float) -> tuple[Reason, float] | None:
        """Take out the earliest timer that is due at `mono`, with its deadline."""
        earliest = self.next()
        if earliest is None or earliest[0] > mono:
            return None
        when, reason = earliest
        del self[reason]
        return reason, when
