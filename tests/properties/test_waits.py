"""Policies that say when: each against a model that is written from its clause and not from its code."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from random import Random
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from artcafe_proto.messages import StatusData
from artcafe_proto.policies.backoff import Backoff, Failure, FailureKind, Reset, close_failure
from artcafe_proto.policies.heartbeats import next_heartbeat
from artcafe_proto.policies.liveness import Liveness, Verdict
from artcafe_proto.policies.status import StatusReports, outranking

# --- backoff ----------------------------------------------------------------------------------------------------------

ROWS = {
    FailureKind.AUTHENTICATION: (5, 120),
    FailureKind.SERVER: (10, 120),
    FailureKind.OTHER: (1, 120),
    FailureKind.REPLACED: (10, 3600),
}
"""First wait and cap in seconds, by the tables of LINK-3 and LINK-6."""


@given(
    steps=st.lists(st.sampled_from(FailureKind) | st.sampled_from(["stable", "alone"]), max_size=40),
    asked_s=st.lists(st.just(0.0) | st.floats(0, 3600), min_size=40, max_size=40),
    jitter=st.floats(0, 1),
    growth=st.floats(1, 10),
    seed=st.integers(),
)
def test_link_3_every_wait_is_that_of_its_place_in_its_row(
    steps: list[FailureKind | Literal["stable", "alone"]],
    asked_s: list[float],
    jitter: float,
    growth: float,
    seed: int,
) -> None:
    backoff = Backoff(jitter=jitter, fixed_wait_growth=growth, rng=Random(seed))
    in_a_row = dict.fromkeys(FailureKind, 0)
    for step, retry_after_s in zip(steps, asked_s, strict=False):
        if step == "stable":
            backoff.reset(Reset.STABLE)
            in_a_row |= dict.fromkeys(set(FailureKind) - {FailureKind.REPLACED}, 0)
        elif step == "alone":
            backoff.reset(Reset.UNCONTESTED)
            in_a_row[FailureKind.REPLACED] = 0
        else:
            first, cap = ROWS[step]
            factor = growth if step in (FailureKind.AUTHENTICATION, FailureKind.SERVER) else 2.0
            due = min(first * factor ** in_a_row[step], cap)
            if step is FailureKind.OTHER:
                least, most = due * (1 - jitter / 2), due
            else:
                least, most = due, due * (1 + jitter / 5)
            in_a_row[step] += 1
            wait = backoff.wait_s(Failure(step, "", "", retry_after_s))
            assert max(least, retry_after_s) * 0.999999 <= wait <= max(most, retry_after_s) * 1.000001
        assert backoff.times_replaced == in_a_row[FailureKind.REPLACED]


@given(code=st.integers(1000, 4999), reason=st.text(max_size=130))
def test_link_3_any_close_of_the_platform_has_its_row_and_one_printable_line(code: int, reason: str) -> None:
    failure = close_failure(code, reason)
    expected = FailureKind.OTHER
    if code in (4001, 4401, 4403, 1008):
        expected = FailureKind.AUTHENTICATION
    elif code == 4409:
        expected = FailureKind.REPLACED
    assert failure.kind is expected
    assert failure.close_code == code
    assert failure.explanation.isprintable()


# --- heartbeats -------------------------------------------------------------------------------------------------------


@given(origin=st.integers(0, 10**9), interval=st.integers(1, 3600), after=st.integers(0, 10**7))
def test_hb_1_the_next_beat_is_the_first_grid_point_that_is_later(origin: int, interval: int, after: int) -> None:
    mono = origin + after
    expected = next(
        origin + n * interval for n in range(after // interval, after // interval + 3) if n * interval > after
    )
    assert next_heartbeat(origin, interval, mono) == expected


@given(
    origin=st.floats(0, 1e9),
    interval=st.floats(0.01, 3600),
    stalls=st.lists(st.floats(0, 10), min_size=1, max_size=20),
)
def test_hb_1_beats_stay_on_the_grid_however_late_each_is_sent(
    origin: float, interval: float, stalls: list[float]
) -> None:
    mono = origin
    for stall in stalls:
        beat = next_heartbeat(origin, interval, mono)
        assert mono < beat <= mono + interval * 1.0001
        off_grid = Fraction(beat - origin) / Fraction(interval) - round((beat - origin) / interval)
        assert abs(off_grid) * interval < 1e-5
        mono = beat + stall * interval


# --- liveness ---------------------------------------------------------------------------------------------------------

TICKS = st.integers(0, 40).map(lambda quarters: quarters / 4)  # exact in binary, so that the model may compare with ==
INTERVAL_S, TIMEOUT_S, UNANSWERED_S = 5.0, 3.0, 8.0


class LivenessModel(RuleBasedStateMachine):
    """LINK-7 told as what happened: silence is the time that passed while the end was reading."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = pytest.MonkeyPatch()
        self.limits.setattr("artcafe_proto.policies.liveness.UNANSWERED_PING_S", UNANSWERED_S)
        self.mono = self.moved_at = 8.0
        self.liveness = Liveness(self.mono, interval_s=INTERVAL_S, timeout_s=TIMEOUT_S)
        self.silence = 0.0
        self.since_ping: float | None = None
        self.is_reading = True
        self.pings: list[float] = []
        self.answered = 0
        self.rtt_s: float | None = None

    def teardown(self) -> None:
        self.limits.undo()

    @rule(seconds=TICKS)
    def time_passes(self, seconds: float) -> None:
        self.mono += seconds
        if self.is_reading:
            self.silence += seconds
            if self.since_ping is not None:
                self.since_ping += seconds

    @rule()
    def something_comes(self) -> None:
        self.liveness.received(self.mono)
        self.silence = 0.0
        if not self.answered:  # from a peer that has never answered a ping that is an answer
            self.since_ping = None

    @rule()
    def something_leaves(self) -> None:
        self.liveness.sent(self.mono)
        self.moved_at = self.mono

    @rule()
    def a_ping_goes_out(self) -> None:
        self.pings.append(self.mono)
        assert self.liveness.ping(self.mono) == b"%d" % len(self.pings)
        self.since_ping = 0.0

    @rule(payload=st.integers(0, 12).map(lambda number: b"%d" % number) | st.binary(max_size=24))
    def a_pong_comes(self, payload: bytes) -> None:
        self.liveness.pong(payload, self.mono)
        if re.fullmatch(rb"[0-9]{1,19}", payload) and self.answered < int(payload) <= len(self.pings):
            self.answered = int(payload)
            if self.answered == len(self.pings):
                self.rtt_s, self.since_ping = self.mono - self.pings[-1], None

    @rule()
    def reading_stops(self) -> None:
        self.liveness.pause(self.mono)
        self.is_reading = False

    @rule()
    def reading_goes_on(self) -> None:
        self.liveness.resume(self.mono)
        self.is_reading = True

    @invariant()
    def agrees(self) -> None:
        assert (self.liveness.pings, self.liveness.answered) == (len(self.pings), self.answered)
        assert self.liveness.rtt_s == self.rtt_s
        if not self.is_reading:
            assert self.liveness.deadline is None
            assert self.liveness.silent_for(90.0) is None
            assert self.liveness.verdict(self.mono) is Verdict.WAIT
            return
        assert self.liveness.silent_for(90.0) == self.mono + 90.0 - self.silence
        if self.since_ping is None:
            left_s, verdict = INTERVAL_S - self.silence, Verdict.PING
        else:
            still_s = min(self.silence, self.since_ping, self.mono - self.moved_at)
            left_s = min(TIMEOUT_S - still_s, UNANSWERED_S - self.since_ping)
            verdict = Verdict.PING if left_s < -1.0 else Verdict.LOST  # more than 1 s late proves nothing
        assert self.liveness.deadline == self.mono + left_s
        assert self.liveness.verdict(self.mono) is (Verdict.WAIT if left_s > 0 else verdict)


TestLiveness = LivenessModel.TestCase

# --- status -----------------------------------------------------------------------------------------------------------


class StatusReportsModel(RuleBasedStateMachine):
    """STAT-2, STAT-4: of each key the latest report, and a second between two of them."""

    keys = st.sampled_from([None, "cmd-1", "cmd-2"])

    def __init__(self) -> None:
        super().__init__()
        self.mono = 16.0
        self.reports = StatusReports()
        self.latest: dict[str | None, StatusData] = {}
        self.sent_at: dict[str | None, float] = {}

    @rule(key=keys, progress=st.integers(0, 100))
    def offer(self, key: str | None, progress: int) -> None:
        self.latest[key] = StatusData("online", key, progress)
        self.reports.offer(key, self.latest[key])

    @rule(key=keys)
    def withdraw(self, key: str | None) -> None:
        self.latest.pop(key, None)
        self.reports.withdraw(key)

    @rule(command_id=st.sampled_from(["cmd-1", "cmd-2"]))
    def forget(self, command_id: str) -> None:
        self.latest.pop(command_id, None)
        self.sent_at.pop(command_id, None)
        self.reports.forget(command_id)

    @rule(seconds=st.sampled_from([0.0, 0.25, 0.75, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.mono += seconds

    def due_at(self, key: str | None) -> float:
        return self.sent_at.get(key, -math.inf) + 1.0

    @rule()
    def report(self) -> None:
        due = {key: report for key, report in self.latest.items() if self.due_at(key) <= self.mono}
        taken = self.reports.take_due(self.mono)
        assert {report.current_task: report for report in taken} == due
        assert len(taken) == len(due)
        for key in due:
            del self.latest[key]
            self.sent_at[key] = self.mono

    @rule()
    def wait_for_the_deadline(self) -> None:
        deadline = self.reports.deadline
        if deadline is None:
            assert not self.latest
        else:
            assert deadline == min(map(self.due_at, self.latest))
            self.mono = max(self.mono, deadline)
            self.report()


TestStatusReports = StatusReportsModel.TestCase


@pytest.mark.parametrize("full", [False, True])
def test_stat_1_error_outranks_busy_and_busy_outranks_online(full: bool) -> None:
    ranks = ["online", "busy", "error"]
    for declared in ("online", "busy", "error"):
        expected = max(declared, "busy" if full else "online", key=ranks.index)
        assert outranking(declared, full=full) == expected
