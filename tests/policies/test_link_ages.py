"""LINK-3: links that are cut again and again at one age."""

from __future__ import annotations

import pytest

from artcafe_proto.policies.link_ages import LinkAges


def remarks(*ends: tuple[float, float | None]) -> list[bool]:
    """Of which ends something is said; an end is an age and for how long nothing came, None with a close frame."""
    ages = LinkAges()
    return [bool(ages.ended(*end)) for end in ends]


def test_three_in_a_row_that_were_cut_while_idle_at_one_age_are_no_accident() -> None:
    assert remarks((15.0, 15.0), (15.4, 15.0), (14.9, 10.0), (15.2, 15.0)) == [False, False, True, True]
    assert remarks((50.0, 20.0), (54.0, 20.0), (55.0, 20.0)) == [False, False, True]


@pytest.mark.parametrize(
    "other",
    [
        (15.0, None),  # a close frame
        (15.0, 0.5),  # amid talk
        (1.0, 1.0),  # closed at once
        (60.0, 20.0),  # older than any that an idle timeout cuts
    ],
)
def test_what_ended_otherwise_starts_the_count_over(other: tuple[float, float | None]) -> None:
    cut = (15.0, 15.0)
    assert remarks(cut, cut, other, cut, cut, cut) == [False, False, False, False, False, True]


def test_ages_that_differ_are_chance() -> None:
    assert remarks((5.0, 5.0), (15.0, 15.0), (25.0, 15.0), (40.0, 15.0)) == [False] * 4


def test_it_says_the_age_and_what_to_do() -> None:
    ages = LinkAges()
    said = [ages.ended(15.0, 15.0) for _ in range(3)][-1]
    assert said == (
        "; the last 3 links ended so when they were 15 s old: an idle timeout of a proxy or a firewall in between "
        "looks likely; it must be longer than ping_interval"
    )
