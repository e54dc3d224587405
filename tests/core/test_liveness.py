"""LINK-7: what silence means."""

from __future__ import annotations

from artcafe_proto.policies.liveness import Liveness, Verdict


def liveness() -> Liveness:
    return Liveness(100.0, interval_s=20.0, timeout_s=20.0)


def test_silence_is_answered_by_a_ping_and_silence_after_it_is_the_end() -> None:
    live = liveness()
    assert live.deadline == 120
    assert live.verdict(119.9) is Verdict.WAIT
    assert live.verdict(120) is Verdict.PING
    assert live.ping(120) == b"1"
    assert live.deadline == 140
    assert live.verdict(140) is Verdict.LOST


def test_anything_received_is_a_sign_of_life_even_after_a_ping() -> None:
    live = liveness()
    live.ping(120)
    live.received(139)
    assert live.deadline == 159
    assert live.verdict(140) is Verdict.WAIT


def test_a_timer_more_than_a_second_late_proves_nothing() -> None:
    live = liveness()
    live.ping(120)
    assert live.verdict(141.1) is Verdict.PING
    live.ping(141.1)
    assert live.deadline == 161.1
    assert live.verdict(161.2) is Verdict.LOST


def test_pings_are_numbered_and_a_pong_answers_all_up_to_its_number() -> None:
    live = liveness()
    assert [live.ping(120), live.ping(121), live.ping(122)] == [b"1", b"2", b"3"]
    live.pong(b"2", 123)
    assert live.answered == 2
    assert live.rtt_s is None
    live.pong(b"3", 123.5)
    assert (live.answered, live.rtt_s) == (3, 1.5)


def test_other_pongs_are_signs_of_life_only() -> None:
    live = liveness()
    live.ping(120)
    for payload in (b"", b"0", b"2", b"-1", b"x", b"1 ", b"\xff", b"9" * 125):
        live.pong(payload, 121)
    assert (live.answered, live.rtt_s) == (0, None)


def test_time_while_reading_is_paused_does_not_count() -> None:
    live = liveness()
    live.pause(110)
    assert live.deadline is None
    assert live.verdict(1000) is Verdict.WAIT
    live.resume(1000)
    assert live.deadline == 1010
    live.ping(1010)
    live.pause(1015)
    live.pause(1020)
    live.resume(1025)
    assert live.deadline == 1040
    assert live.silent_for(90) == 100 + 890 + 10 + 90
    live.pause(1030)
    assert live.silent_for(90) is None


def test_what_comes_or_goes_out_while_reading_is_paused_counts_from_the_resumption() -> None:
    live = liveness()
    live.pause(110)
    live.received(115)
    live.resume(1000)
    assert live.deadline == 1020
    live.pause(1010)
    live.ping(1015)
    live.resume(1100)
    assert live.deadline == 1120


def test_link_7_a_pong_that_comes_twice_does_not_change_the_round_trip_time() -> None:
    liveness = Liveness(0.0, interval_s=20.0, timeout_s=20.0)
    payload = liveness.ping(1.0)
    liveness.pong(payload, 1.5)
    liveness.pong(payload, 9.0)
    assert (liveness.answered, liveness.rtt_s) == (1, 0.5)


def test_reading_that_was_not_paused_goes_on_as_before() -> None:
    live = liveness()
    live.ping(120)
    live.resume(130)
    assert live.deadline == 140


def test_link_7_what_moves_either_way_grants_an_unanswered_ping_more_time() -> None:
    live = liveness()
    live.pong(live.ping(120), 120)
    live.ping(130)
    live.sent(145)
    assert live.deadline == 165
    live.received(160)
    assert live.deadline == 180, "a peer that answers pings has not answered this one"
    assert live.verdict(180) is Verdict.LOST
    assert live.explain(180) == "nothing came for 20 s after a ping"


def test_link_7_a_ping_that_stays_unanswered_costs_the_link_whatever_moves() -> None:
    live = liveness()
    live.pong(live.ping(100), 100)
    live.ping(110)
    for at in range(120, 230, 10):
        live.received(at)
        live.sent(at)
    assert live.deadline == 230
    assert live.verdict(229) is Verdict.WAIT
    assert live.verdict(230) is Verdict.LOST
    assert live.explain(230) == "no pong came for 120 s after a ping"
    other = Liveness(0.0, interval_s=20.0, timeout_s=300.0)
    other.ping(20)
    assert other.deadline == 320
    assert other.explain(320) == "nothing came for 300 s after a ping"


def test_link_7_from_a_peer_that_has_never_answered_a_ping_anything_is_an_answer() -> None:
    live = liveness()
    live.ping(120)
    live.received(121)
    assert live.deadline == 141
    known = Liveness(100.0, interval_s=20.0, timeout_s=20.0, answers_pings=True)
    known.ping(120)
    known.received(121)
    assert known.verdict(141) is Verdict.LOST
