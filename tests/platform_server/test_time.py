"""Deadlines by themselves, and the clocks."""

from __future__ import annotations

import time
from random import Random

from artcafe_anyio.clocks import read_clocks
from artcafe_platform.timetable import Timetable


def test_the_clocks_go_on() -> None:
    first, second = read_clocks(), read_clocks()
    assert second.mono >= first.mono
    assert abs(first.wall - time.time()) < 3600


def test_a_timetable_gives_every_connection_in_time_whatever_was_set_before() -> None:
    """Against a plain dictionary: nobody is late, and nobody who is gone is due."""
    rng = Random(3)
    timetable, wanted = Timetable(), dict[int, float]()
    mono = 0.0
    for _ in range(5000):
        conn = rng.randrange(20)
        match rng.randrange(4):
            case 0:
                timetable.forget(conn)
                wanted.pop(conn, None)
            case 1:
                mono += rng.random()
                due = timetable.take_due(mono)
                assert len(due) == len(set(due))
                assert {each for each, when in wanted.items() if when <= mono} <= set(due) <= set(wanted)
                for each in due:
                    if wanted[each] <= mono:
                        del wanted[each]
                    else:
                        timetable.set(each, wanted[each])  # looked at too early: it still waits
            case _:
                wanted[conn] = mono + rng.random() * 5
                timetable.set(conn, wanted[conn])
        following = timetable.next()
        assert (following is None) == (not wanted)
        assert following is None or following <= min(wanted.values())


def test_a_deadline_that_moves_away_leaves_no_entries_behind() -> None:
    timetable = Timetable()
    for step in range(1000):
        timetable.set(1, 10.0 + step)
    assert timetable.take_due(10.0) == [1]
    assert timetable.next() is None
