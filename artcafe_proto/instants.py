"""Time as the core knows it: an argument."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Final, NamedTuple

from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.limits import MAX_COMMAND_EXPIRES_IN_S

__all__ = ["Instant"]


class Instant(NamedTuple):
    """A moment on both clocks, in seconds. The core never reads a clock: every input brings its `Instant`.

    No reading of a clock is an error. One whose monotonic time is earlier than the last, or further than 2^46 s from 0,
    counts as the last one, and wall time before 1970 or after November 9999 as the nearest moment within. Anything but
    two numbers is a LocalProtocolError, and changes nothing; so are the two in the wrong order, as far as can be seen.
    """

    mono: float
    """Monotonic time, counting suspended time where the system has such a clock (CLOCK_BOOTTIME)."""
    wall: float
    """POSIX time: for timestamps on the wire, and for the life of a token that names neither Date nor iat (TOK-1)."""


_MAX_MONO: Final = 2.0**46
"""Later readings are so coarse that adding the shortest wait to one would not move it: no timer would ever be over."""
BEFORE_ALL: Final = Instant(-_MAX_MONO, 0.0)
"""The last moment before the first one is told. No caller has this object, so nothing that a caller gives is it."""


def sound_instant(now: Instant, last: Instant = BEFORE_ALL) -> Instant:
    """The moment that a reading stands for, after `last`; `last` itself where it counts as that.

    Raises LocalProtocolError for what is no `Instant` of two numbers, and where they are in the wrong order.
    """
    try:
        if last.mono <= now.mono - 0.0 < _MAX_MONO:
            if _YEAR_2001 <= now.wall - 0.0 <= _LATEST_WALL:
                return now
            if 0.0 <= now.wall < _YEAR_2001 <= now.mono:
                raise LocalProtocolError(f"expected Instant(mono, wall), and these are in the other order: {now!r}")
            return Instant(now.mono, min(max(0.0, now.wall), _LATEST_WALL))
    except (AttributeError, TypeError, OverflowError):
        raise LocalProtocolError(f"expected an Instant of two numbers, not {now!r}") from None
    return last if last is not BEFORE_ALL else Instant(0.0, 0.0)


_YEAR_2001: Final = 1e9
"""As monotonic time, 31 years without a restart: with a time of day before it, the two were swapped."""
_LATEST_WALL: Final = 253_402_300_799.0 - (MAX_COMMAND_EXPIRES_IN_S + 86_400.0)
"""So long before the last second that a timestamp can name (RFC 3339 section 1): no expiry lies further ahead."""


@lru_cache(maxsize=1)  # what is written in one go bears one moment
def format_timestamp(wall: float) -> str:
    """UTC with milliseconds and `Z`, as every written timestamp (MSG-2): `2026-05-01T12:34:56.789Z`."""
    second, fraction = divmod(wall, 1)
    microseconds = round(fraction * 1e6)
    if microseconds == _MICROSECONDS:
        second, microseconds = second + 1, 0
    return f"{_format_second(second)}.{microseconds // 1000:03d}Z"


_MICROSECONDS: Final = 1_000_000


@lru_cache(maxsize=1)  # and thousands of moments share a second
def _format_second(second: float) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:19]


def parse_timestamp(text: str) -> float | None:
    """POSIX seconds of an ISO 8601 timestamp: `Z`, an offset, or naive and taken as UTC; None if unreadable (MSG-2)."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def parse_http_date(text: str) -> float | None:
    """POSIX seconds of an HTTP date (RFC 9110 section 5.6.7); None if unreadable."""
    if not _HTTP_DATE.fullmatch(text):  # the parser takes mail's dates, and digits of every script
        return None
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


_HTTP_DATE: Final = re.compile(
    r"[A-Za-z]{3}, [0-9]{1,2} [A-Za-z]{3} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
    r"|[A-Za-z]{6,9}, [0-9]{2}-[A-Za-z]{3}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
    r"|[A-Za-z]{3} [A-Za-z]{3} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}"
)
"""IMF-fixdate, which is written today, and the two obsolete forms that a recipient must take."""


def format_http_date(wall: float) -> str:
    """The Date field for `wall` (RFC 9110 section 5.6.7)."""
    return format_datetime(datetime.fromtimestamp(wall, UTC), usegmt=True)
