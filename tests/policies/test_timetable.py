"""The deadlines of many connections, by themselves."""

from __future__ import annotations

from random import Random

from artcafe_proto.policies.timetable import GRID_S, LONG_WAIT_S, Timetable


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
                        timetable.set(each, wanted[each], mono)  # looked at too early: it still waits
            case _:
                wanted[conn] = mono + rng.random() * 5
                timetable.set(conn, wanted[conn], mono)
        following = timetable.next()
        assert following is None or following[1] in wanted
        assert (following is None) == (not wanted)
        assert following is None or following[0] <= min(wanted.values())


def test_a_deadline_that_moves_away_leaves_no_entries_behind() -> None:
    timetable = Timetable()
    for step in range(1000):
        timetable.set(1, 10.0 + step, 9.0)
    assert timetable.take_due(10.0) == [1]
    assert timetable.next() is None


def test_long_waits_share_their_moments_and_short_ones_end_in_time() -> None:
    timetable, rng = Timetable(), Random(4)
    deadlines = {conn: 100.0 + LONG_WAIT_S + rng.uniform(0.01, 1.0) for conn in range(1000)}
    for conn, deadline in deadlines.items():
        timetable.set(conn, deadline, 100.0)
    timetable.set(1000, 100.0 + LONG_WAIT_S, 100.0)
    moments: dict[float, list[int]] = {}
    while (following := timetable.next()) is not None:
        moments[following[0]] = timetable.take_due(following[0])
    assert moments.pop(100.0 + LONG_WAIT_S) == [1000]
    assert len(moments) <= 1.0 / GRID_S + 1
    late = [moment - deadlines[conn] for moment, conns in moments.items() for conn in conns]
    assert 0.0 <= min(late) <= max(late) < GRID_S
    assert len(late) == 1000
