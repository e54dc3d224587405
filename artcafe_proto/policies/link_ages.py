"""Do links end again and again at one age? Then something between both ends cuts them, as idle timeouts do (LINK-3)."""

from __future__ import annotations

from collections import deque
from typing import Final

from artcafe_proto.limits import CUT_LINKS, IDLE_BEFORE_CUT_S, MAX_CUT_AGE_S, MIN_CUT_AGE_S

_SPREAD_S: Final = 1.0
_SPREAD: Final = 0.1
"""Ages that differ by no more than one of these are one age."""


class LinkAges:
    """The ages, in seconds, of the last links that ended without a close frame while they were idle."""

    def __init__(self) -> None:
        self._ages: deque[float] = deque(maxlen=CUT_LINKS)

    def ended(self, age_s: float, silent_s: float | None) -> str:
        """A link has ended, without a close frame and after a silence of `silent_s`; None where it ended otherwise.

        Returns what is to be said of it, if so many in a row were cut at one age.
        """
        if silent_s is None or silent_s < IDLE_BEFORE_CUT_S or not MIN_CUT_AGE_S <= age_s < MAX_CUT_AGE_S:
            self._ages.clear()
            return ""
        self._ages.append(age_s)
        longest = max(self._ages)
        if len(self._ages) < CUT_LINKS or longest - min(self._ages) > max(_SPREAD_S, _SPREAD * longest):
            return ""
        return (
            f"; the last {CUT_LINKS} links ended so when they were {age_s:.0f} s old: an idle timeout of a proxy or a "
            "firewall in between looks likely; it must be longer than ping_interval"
        )
