"""The heartbeat grid (HB-1)."""

from __future__ import annotations

import math


def next_heartbeat(origin: float, interval_s: float, mono: float) -> float:
    """The first point after `mono` of the grid that starts at `origin`: after a stall the missed ones are skipped."""
    beat = origin + (math.floor((mono - origin) / interval_s) + 1) * interval_s
    return beat if beat > mono else beat + interval_s
