"""LINK-8: when it is worth a look what has not left of a connection."""

from __future__ import annotations

import math

import pytest

from artcafe_proto.levels import Level
from artcafe_proto.limits import LEVEL_BYTES, LEVEL_FIRST_LOOK_S, LEVEL_LAST_LOOK_S


class Measured(Level):
    def __init__(self) -> None:
        super().__init__()
        self.held = 0
        self.looks = 0

    def unsent_bytes(self) -> int:
        self.looks += 1
        return self.held


def due(level: Level, mono: float) -> int | None:
    """The level if it is time to look."""
    return level.level(mono) if level.look_at <= mono else None


def test_little_is_not_looked_at_and_much_is_until_it_has_left() -> None:
    level = Measured()
    assert level.is_clear
    level.wrote(LEVEL_BYTES - 1)
    assert not level.is_clear
    assert (due(level, 10.0), level.look_at, level.looks) == (None, math.inf, 0)
    level.wrote(1)
    level.held = 5
    assert due(level, 10.0) == 5
    assert level.look_at == 10.0 + LEVEL_FIRST_LOOK_S
    assert due(level, 10.0) is None
    waits: list[float] = []
    for _ in range(12):
        at = level.look_at
        assert due(level, at) == 5
        waits.append(level.look_at - at)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(LEVEL_LAST_LOOK_S)
    level.drained()
    level.held = 0
    assert not level.is_clear
    assert due(level, 20.0) == 0
    assert level.is_clear
    assert level.look_at == math.inf
    level.drained()
    assert due(level, 30.0) is None, "nothing was reported"
