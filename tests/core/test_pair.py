"""Both façades back to back over byte strings, in virtual time."""

from __future__ import annotations

from itertools import pairwise

import pytest

from artcafe_proto.agent import LinkState
from artcafe_proto.events import (
    AgentIdContested,
    AgentOffline,
    CommandAnswered,
    CommandReceived,
    HeartbeatReceived,
    Offline,
    Online,
    PeerViolation,
    StatusReceived,
    Stopped,
    TokenRenewed,
)
from support.virtual import TENANT, Pair


def first_heartbeat(pair: Pair) -> float:
    """Seconds from the first `Connect` to the write that holds the first heartbeat."""
    pair.start()
    pair.run_until(lambda: bool(pair.times(Online)))
    last_write, _ = pair.writes[-1]
    return last_write - pair.connects[0]


def offline_waits(pair: Pair) -> list[float]:
    """How long the agent was to wait after each failure, in seconds."""
    offline = [(when, event) for when, event in pair.agent_events if isinstance(event, Offline)]
    return [round(event.retry_at - when, 3) for when, event in offline if event.retry_at is not None]


def test_link_1_first_heartbeat_is_written_four_round_trips_after_connect_on_one_connection() -> None:
    pair = Pair(latency_s=0.5)
    assert first_heartbeat(pair) == pytest.approx(4 * 1.0)
    assert len(pair.connects) == 1


def test_link_1_tls_costs_one_round_trip_more() -> None:
    pair = Pair(latency_s=0.5, tls=True)
    assert first_heartbeat(pair) == pytest.approx(5 * 1.0)
    assert len(pair.connects) == 1


@pytest.mark.parametrize(("tls", "round_trips"), [(False, 2), (True, 3)])
def test_link_1_with_a_usable_token_a_link_costs_two_round_trips_less(tls: bool, round_trips: int) -> None:
    pair = Pair(latency_s=0.05, tls=tls)
    first_heartbeat(pair)
    pair.run_for(60)
    pair.cut()
    pair.run_until(lambda: len(pair.times(Online)) == 2)
    assert pair.times(Online)[1] - pair.connects[1] == pytest.approx(round_trips * 0.1)


def test_hb_1_heartbeats_keep_to_a_fixed_grid() -> None:
    pair = Pair()
    first_heartbeat(pair)
    pair.run_for(301)
    times = pair.times(HeartbeatReceived)
    assert len(times) == 11
    assert [round(time - times[0], 6) for time in times] == [30.0 * i for i in range(11)]


def test_hb_1_after_a_stall_one_heartbeat_is_sent_not_the_missed_ones() -> None:
    pair = Pair()
    first_heartbeat(pair)
    pair.mono += 25  # the process does not get to run, while the platform's pings wait
    pair.mono += 100
    pair.run_for(0)
    before = len(pair.times(HeartbeatReceived))
    pair.run_for(1)
    assert len(pair.times(HeartbeatReceived)) - before <= 1


def test_cmd_3_a_command_gets_exactly_one_response() -> None:
    pair = Pair()
    first_heartbeat(pair)
    command_id = pair.send("echo", {"text": "hello"})
    pair.run_for(1)
    command = pair.hub.command(TENANT, command_id)
    assert command.state == "succeeded"
    assert command.response is not None
    assert bytes(command.response.result) == b'{"echo":{"text":"hello"}}'
    assert len(pair.seen(CommandAnswered)) == 1


@pytest.mark.repeats
def test_twenty_four_hours_with_a_cut_every_few_minutes_always_back_and_every_command_answered() -> None:
    pair = Pair(latency_s=0.02)
    pair.on_command = lambda event: pair.at(pair.rng.uniform(0, 90), lambda: pair.respond(event, event.args))
    pair.start()
    cuts = 0
    sent: list[str] = []

    def later() -> None:
        nonlocal cuts
        if pair.rng.random() < 0.9:
            pair.cut()
            cuts += 1
        else:
            pair.refusing = not pair.refusing
            pair.at(pair.rng.uniform(1, 600), lambda: setattr(pair, "refusing", False))
        pair.at(pair.rng.uniform(60, 400), later)

    def command() -> None:
        sent.append(pair.send("work", {"n": len(sent)}))
        pair.at(pair.rng.uniform(1, 60), command)

    pair.at(100, later)
    pair.at(50, command)
    pair.run_for(24 * 3600)
    pair.refusing = False
    pair._schedule = [item for item in pair._schedule if item[2] not in (later, command)]  # type: ignore[reportPrivateUsage]
    pair.run_for(900)

    assert cuts > 200
    assert pair.agent.state.link is LinkState.UP
    assert len(sent) > 2000
    states = {command_id: pair.hub.command(TENANT, command_id).state for command_id in sent}
    assert set(states.values()) == {"succeeded"}
    received = [event.command_id for event in pair.seen(CommandReceived)]
    assert sorted(received) == sorted(sent), "CMD-1: each was executed once"
    assert len(pair.seen(CommandAnswered)) == len(sent)
    assert not pair.seen(PeerViolation)


@pytest.mark.repeats
def test_tok_2_a_day_on_one_link_takes_a_new_token_every_twelve_minutes() -> None:
    pair = Pair()
    pair.start()
    pair.run_for(86_400)
    renewed = [mono for mono, event in pair.agent_events if isinstance(event, TokenRenewed)]
    assert {round(later - earlier) for earlier, later in pairwise(renewed)} == {720}
    assert len(renewed) == 119
    assert len([event for _, event in pair.agent_events if isinstance(event, Online | Offline)]) == 1


def test_link_5_an_accepting_and_closing_platform_is_met_with_growing_waits() -> None:
    pair = Pair(agent={"jitter": 0.0})
    pair.start()
    for _ in range(6):
        pair.run_until(lambda: pair.agent.state.link is LinkState.UP)
        pair.cut()
        pair.run_until(lambda: pair.agent.state.link is LinkState.DOWN)
    waits = offline_waits(pair)
    assert waits == [1, 2, 4, 8, 16, 32]


def test_link_5_a_link_that_received_something_after_30_s_resets_the_waits() -> None:
    pair = Pair(agent={"jitter": 0.0})
    pair.start()
    for _ in range(3):
        pair.run_for(100)
        pair.cut()
    pair.run_for(1)
    waits = offline_waits(pair)
    assert waits == [1, 1, 1]


@pytest.mark.repeats
def test_link_6_two_processes_with_one_id_do_not_fight_and_both_are_told() -> None:
    pair = Pair(seed=1, agent={"jitter": 0})
    pair.start()
    pair.run_for(1)
    other = Pair(seed=2, beside=pair, agent={"jitter": 0})
    other.start()
    for _ in range(7200):
        other.run_for(1)
        pair.run_for(1)
    for each in (pair, other):
        waits = [wait for wait in offline_waits(each) if wait]
        assert waits == [10.0 * 2**n for n in range(len(waits))]
        assert [event.times for event in each.seen(AgentIdContested)] == list(range(1, len(waits) + 1))
        assert 7 <= len(waits) <= 10, "in two hours"
    other.agent.stop(other.now, drain=False)
    other.run_for(1)
    pair.run_for(3600)
    assert pair.agent.state.link is LinkState.UP


def test_cmd_5_no_more_than_max_concurrent_run_and_the_rest_wait_in_order() -> None:
    pair = Pair(agent={"max_concurrent": 2, "max_queued": 3})
    events: list[CommandReceived] = []
    pair.on_command = events.append
    first_heartbeat(pair)
    ids = [pair.send("work", {"n": n}) for n in range(7)]
    pair.run_for(0.5)
    assert list(pair.agent.in_flight) == ids[:2]
    assert list(pair.agent.queued) == ids[2:5]
    assert pair.agent.status == "busy"
    while len(events) < 7:
        for event in events:
            pair.agent.respond(event.command_id, None, pair.now)
        pair.run_for(1.5)  # CMD-10: the overloaded ones come again after 1 s
    for event in events:
        pair.agent.respond(event.command_id, None, pair.now)
    pair.run_for(1)
    assert sorted(event.command_id for event in events) == sorted(ids)
    assert {pair.hub.command(TENANT, command_id).state for command_id in ids} == {"succeeded"}


def test_stat_3_a_drain_finishes_what_runs_then_says_offline_and_closes_with_1000() -> None:
    pair = Pair()
    pair.on_command = lambda event: pair.at(3, lambda: pair.respond(event, "done"))
    first_heartbeat(pair)
    command_id = pair.send("work")
    pair.run_for(1)
    pair.agent.stop(pair.now)
    late = pair.send("work")
    pair.run_for(10)
    assert pair.seen(Stopped) == [Stopped(())]
    assert pair.hub.command(TENANT, command_id).state == "succeeded"
    assert pair.hub.command(TENANT, late).state == "queued", "CMD-9: draining is not final"
    assert pair.seen(StatusReceived)[-1].status == "offline"
    assert "1000" in pair.seen(AgentOffline)[-1].reason
    assert pair.agent.deadline() is None


def header_names(request: bytes) -> list[str]:
    """The names of a request's header fields, in lower case."""
    head = request.partition(b"\r\n\r\n")[0].decode()
    return [line.partition(":")[0].lower() for line in head.split("\r\n")[1:]]


def test_link_1_requests_carry_what_they_need_and_nothing_else() -> None:
    pair = Pair(agent={"extra_headers": (("x-tenant-proxy", "yes"),)})
    first_heartbeat(pair)
    challenge, verify, upgrade = (data for _, data in pair.writes[:3])
    posted = ["host", "content-type", "accept", "user-agent", "x-tenant-proxy", "content-length"]
    assert challenge.startswith(b"POST /api/v1/auth/challenge HTTP/1.1\r\n")
    assert header_names(challenge) == posted
    assert verify.startswith(b"POST /api/v1/auth/verify HTTP/1.1\r\n")
    assert header_names(verify) == posted
    assert b'"key_id"' not in verify, "AUTH-3: left out when none is configured"
    assert upgrade.startswith(b"GET /api/v1/ws/agent/agent-1 HTTP/1.1\r\n")
    handshake = ["upgrade", "connection", "sec-websocket-key", "sec-websocket-version"]
    assert sorted(header_names(upgrade)) == sorted(
        ["host", "authorization", "user-agent", "x-tenant-proxy", *handshake]
    )


def test_link_1_a_websocket_elsewhere_gets_a_connection_of_its_own() -> None:
    pair = Pair(agent={"ws_endpoint": "ws://127.0.0.1:9000/base"})
    pair.start()
    pair.run_until(lambda: len(pair.connects) == 2)
    pair.run_for(1)
    assert pair.writes[2][1].startswith(b"GET /base/api/v1/ws/agent/agent-1 HTTP/1.1\r\n")
    assert b"127.0.0.1:9000\r\n" in pair.writes[2][1]


def test_plat_8_an_agent_that_is_turned_away_waits_as_after_any_503_and_then_comes_in() -> None:
    """The 503 and its first request cross on the way."""
    pair = Pair(agent={"jitter": 1})
    pair.start()
    for expected_s in (10.0, 20.0):
        pair.run_until(lambda: bool(pair.sessions))
        (session,) = pair.sessions.values()
        session.turn_away(pair.now)
        before = len(pair.connects)
        pair.run_until(lambda before=before: len(pair.connects) > before)
        waited_s = pair.connects[-1] - pair.connects[-2]
        assert expected_s < waited_s < 1.2 * expected_s + 1.0
    offline = pair.seen(Offline)
    assert ["status 503" in event.reason and "; it asks to wait 10 s" in event.reason for event in offline] == [
        True,
        True,
    ]
    pair.run_until(lambda: bool(pair.seen(Online)))
