"""LINK-3, LINK-4, LINK-6: which failure waits how long."""

from __future__ import annotations

from random import Random

import pytest

from artcafe_proto.policies.backoff import (
    Backoff,
    Failure,
    FailureKind,
    Reset,
    close_failure,
    failure_kind,
)


def waits(kind: FailureKind, times: int, *, jitter: float = 0.0, growth: float = 2.0, seed: int = 1) -> list[float]:
    backoff = Backoff(jitter=jitter, fixed_wait_growth=growth, rng=Random(seed))
    return [backoff.wait_s(Failure(kind, "", "")) for _ in range(times)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailureKind.OTHER, [1, 2, 4, 8, 16, 32, 64, 120, 120]),
        (FailureKind.AUTHENTICATION, [5, 10, 20, 40, 80, 120, 120]),
        (FailureKind.SERVER, [10, 20, 40, 80, 120, 120]),
        (FailureKind.REPLACED, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]),
    ],
)
def test_link_3_waits_double_up_to_their_cap(kind: FailureKind, expected: list[float]) -> None:
    assert waits(kind, len(expected)) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FailureKind.AUTHENTICATION, [5, 5, 5, 5, 5]),
        (FailureKind.SERVER, [10, 10, 10, 10, 10]),
        (FailureKind.OTHER, [1, 2, 4, 8, 16]),
        (FailureKind.REPLACED, [10, 20, 40, 80, 160]),
    ],
)
def test_link_3_growth_1_is_the_guide_to_the_letter_and_changes_no_other_row(
    kind: FailureKind, expected: list[float]
) -> None:
    assert waits(kind, 5, growth=1.0) == expected


def test_link_4_the_exponential_wait_is_drawn_from_its_upper_half() -> None:
    drawn = [waits(FailureKind.OTHER, 8, jitter=1.0, seed=seed)[-1] for seed in range(200)]
    assert 60 <= min(drawn) < 65
    assert 115 < max(drawn) <= 120


@pytest.mark.parametrize(("kind", "first"), [(FailureKind.AUTHENTICATION, 5), (FailureKind.SERVER, 10)])
def test_link_4_the_fixed_waits_are_stretched_by_up_to_a_fifth(kind: FailureKind, first: float) -> None:
    drawn = [waits(kind, 1, jitter=1.0, seed=seed)[0] for seed in range(200)]
    assert first <= min(drawn) < first * 1.01
    assert first * 1.19 < max(drawn) <= first * 1.2


def test_link_5_a_reset_starts_every_row_over_but_the_one_of_link_6() -> None:
    backoff = Backoff(jitter=0.0, fixed_wait_growth=2.0, rng=Random(1))
    for _ in range(2):
        for kind in FailureKind:
            backoff.wait_s(Failure(kind, "", ""))
    backoff.reset(Reset.STABLE)
    assert {kind: backoff.wait_s(Failure(kind, "", "")) for kind in FailureKind} == {
        FailureKind.AUTHENTICATION: 5,
        FailureKind.SERVER: 10,
        FailureKind.OTHER: 1,
        FailureKind.REPLACED: 40,
    }
    backoff.reset(Reset.UNCONTESTED)
    assert backoff.wait_s(Failure(FailureKind.REPLACED, "", "")) == 10


def test_link_3_retry_after_lengthens_a_wait_and_never_shortens_one() -> None:
    backoff = Backoff(jitter=0.0, fixed_wait_growth=2.0, rng=Random(1))
    assert backoff.wait_s(Failure(FailureKind.OTHER, "", "", retry_after_s=30.0)) == 30
    assert backoff.wait_s(Failure(FailureKind.OTHER, "", "", retry_after_s=0.5)) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_auth_7_these_statuses_of_an_exchange_are_authentication_failures(status: int) -> None:
    assert failure_kind("exchange", status) is FailureKind.AUTHENTICATION


@pytest.mark.parametrize("status", [201, 204, 301, 302, 307, 402, 405, 408, 409, 418, 429, 499])
def test_link_3_other_statuses_of_an_exchange_wait_exponentially(status: int) -> None:
    assert failure_kind("exchange", status) is FailureKind.OTHER


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_link_3_server_errors_wait_10_s(status: int) -> None:
    assert failure_kind("exchange", status) is FailureKind.SERVER
    assert failure_kind("upgrade", status) is FailureKind.SERVER


@pytest.mark.parametrize(("status", "kind"), [(401, "AUTHENTICATION"), (403, "AUTHENTICATION"), (404, "OTHER")])
def test_link_3_at_the_upgrade_only_401_and_403_are_authentication_failures(status: int, kind: str) -> None:
    assert failure_kind("upgrade", status) is FailureKind[kind]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1000, "OTHER"), (1001, "OTHER"), (1005, "OTHER"), (1008, "AUTHENTICATION"), (1011, "OTHER"), (1013, "OTHER")]
    + [(4001, "AUTHENTICATION"), (4401, "AUTHENTICATION"), (4403, "AUTHENTICATION"), (4409, "REPLACED")],
)
def test_link_3_close_codes_have_their_rows(code: int, kind: str) -> None:
    failure = close_failure(code, "")
    assert (failure.kind, failure.close_code) == (FailureKind[kind], code)
    assert failure.clause == ("LINK-6" if code == 4409 else "LINK-3")


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (1001, "", "the platform closed the link with 1001"),
        (1001, "good\n\x1b[2Jnight", "the platform closed the link with 1001: good[2Jnight"),
        (1005, "", "the platform closed the link: it gave no code"),
        (4403, "", "the platform closed the link with 4403: this agent may not connect, perhaps its key was revoked"),
        (4409, "", "the platform closed the link with 4409: a newer connection of this agent has replaced it"),
        (4409, "replaced", "the platform closed the link with 4409: replaced"),
    ],
)
def test_a_close_is_told_in_the_platforms_words_or_else_in_ours(code: int, reason: str, text: str) -> None:
    assert close_failure(code, reason).explanation == text


def test_link_3_what_the_platform_asks_for_is_told() -> None:
    failure = Failure(FailureKind.OTHER, "status 429", "LINK-3", retry_after_s=30.0)
    assert failure.explanation == "status 429; it asks to wait 30 s"


def test_link_6_after_a_reset_the_first_replacement_is_the_first_in_a_row() -> None:
    backoff = Backoff(jitter=0.0, fixed_wait_growth=2.0, rng=Random(1))
    for _ in range(2):
        backoff.wait_s(Failure(FailureKind.REPLACED, "", ""))
    assert backoff.times_replaced == 2
    backoff.reset(Reset.UNCONTESTED)
    assert backoff.times_replaced == 0
