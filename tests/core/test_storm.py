"""LINK-4: very many agents that lose their platform at once, and how they come back.

With the delay d after the n-th failure in a row drawn from [d/2, d], all n-th attempts lie within 2^(n-2) s of each
other at best: the first within half a second, a fifth of them in every 100 ms. It takes four for one in twenty.
"""

from __future__ import annotations

from functools import cache

import pytest

from support.storm import World, densest

SEED = 1
AGENTS = [1_000, pytest.param(10_000, marks=pytest.mark.thorough)]
NOISE = 0.03
"""By how much the fullest 100 ms of a thousand random times may be fuller than those that are even."""


@cache
def world(agents: int, jitter: float) -> World:
    """One for all tests: every loss begins with all agents online and stable."""
    return World(agents, jitter=jitter, seed=SEED)


@pytest.mark.parametrize("agents", AGENTS)
@pytest.mark.parametrize(("away_s", "back_s"), [(0.0, 1.0), (15.1, 15.9), (30.9, 0.1)])
def test_link_4_without_jitter_all_are_back_within_30_s_of_a_return_within_31_s(
    agents: int, away_s: float, back_s: float
) -> None:
    """After that it takes as long as the next delay, 32 s and more, up to the 120 s of LINK-3."""
    storm = world(agents, 0.0).lose_platform(away_s)
    assert storm.all_back_s == pytest.approx(back_s)
    assert storm.all_back_s <= 30.0


@pytest.mark.parametrize("agents", AGENTS)
@pytest.mark.parametrize("away_s", [7.0, 30.0, 60.0])
def test_link_4_with_jitter_no_100_ms_see_more_than_one_in_twenty_come_back_after_7_s(
    agents: int, away_s: float
) -> None:
    """By then all have tried three times: 1 + 2 + 4 s."""
    storm = world(agents, 1.0).lose_platform(away_s)
    assert densest(storm.met) <= 0.05
    assert storm.all_back_s <= 2 * away_s + 1.0
    for times in storm.rounds[3:]:
        assert densest(times) * len(times) <= 0.05 * agents


@pytest.mark.parametrize("agents", AGENTS)
def test_link_4_after_a_short_loss_the_first_delay_spreads_them_over_half_a_second_and_no_more(agents: int) -> None:
    storm = world(agents, 1.0).lose_platform(0.0)
    assert 0.5 <= min(storm.met) < 0.51
    assert 0.99 < max(storm.met) <= 1.0
    assert 0.2 <= densest(storm.met) <= 0.2 + NOISE
