"""LINK-8: whose level is told before the time, and when."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from artcafe_platform.looks import EACH_S, Looks


def connections(**look_at: float) -> dict[int, Any]:
    """Connections by number, and when each is to be looked at again."""
    return {int(name[1:]): SimpleNamespace(conn=int(name[1:]), look_at=at) for name, at in look_at.items()}


def due(looks: Looks, mono: float) -> list[int]:
    return sorted(each.conn for each in looks.take_due(mono))


def test_what_was_written_is_looked_at_at_the_next_timer_and_once() -> None:
    known = connections(c1=math.inf, c2=math.inf)
    looks = Looks(known)
    looks.wrote(1)
    looks.wrote(1)
    assert looks.next() == math.inf, "it is no reason to wake"
    assert due(looks, 5.0) == [1]
    assert due(looks, 6.0) == []


def test_what_was_told_since_it_was_written_is_not_looked_at_again() -> None:
    known = connections(c1=math.inf)
    looks = Looks(known)
    looks.wrote(1)
    looks.plan(known[1])
    assert due(looks, 5.0) == []


def test_a_level_above_0_is_looked_at_when_it_is_time_or_old_and_however_often_it_was_planned() -> None:
    known = connections(c1=3.0, c2=2.0)
    looks = Looks(known)
    for conn in (1, 2):
        looks.plan(known[conn])
    assert looks.next() == 2.0
    known[2].look_at = 4.0
    looks.plan(known[2])
    assert looks.next() == 3.0
    assert due(looks, 3.0) == [1, 2]
    assert looks.next() == math.inf
    for conn in (1, 2):
        known[conn].look_at = 3.0 + conn * 0.1
        looks.plan(known[conn])
    assert looks.next() == 3.1
    assert due(looks, 3.1) == [1, 2], "before each timer, also what was looked at lately"


def test_of_many_that_do_not_read_all_are_looked_at_a_few_times_a_second_and_no_more() -> None:
    many = round(0.25 / EACH_S)
    known = connections(**{f"c{number}": 9.0 for number in range(many)})
    looks, looked_at = Looks(known), 0
    for connection in known.values():
        looks.plan(connection)
    for step in range(100):
        for connection in looks.take_due(1.0 + step / 100):
            looked_at += 1
            looks.plan(connection)
    assert looked_at in (3 * many, 4 * many)


def test_a_connection_that_is_gone_is_not_looked_at() -> None:
    known = connections(c1=3.0, c2=math.inf)
    looks = Looks(known)
    looks.plan(known[1])
    looks.wrote(2)
    known.clear()
    assert looks.next() == math.inf
    assert due(looks, 9.0) == []
