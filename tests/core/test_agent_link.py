"""MSG, HB, STAT, CMD and LINK-7 on a link that is up, message by message."""

from __future__ import annotations

import json
import sys
from sys import getrefcount
from typing import Any

import pytest

from artcafe_proto import AgentTimer, Instant, LocalProtocolError, OutboxFullError
from artcafe_proto.agent import AuthState, LinkState
from artcafe_proto.effects import (
    Connect,
    Disconnect,
    PauseReading,
    ResumeReading,
    SendClose,
    SendPing,
    SendPong,
    SendText,
)
from artcafe_proto.events import (
    ClocksParted,
    CommandCancelled,
    CommandReceived,
    CommandRefused,
    MessageReceived,
    Offline,
    PeerViolation,
    ResponseReplaced,
    ResponsesSettled,
    Stopped,
    Undeliverable,
    UnknownReceived,
)
from artcafe_proto.limits import (
    MAX_QUEUED_COMMAND_BYTES,
    MAX_UNDRAINED_OUTPUTS,
    MAX_UNSETTLED_MESSAGES,
    MAX_UNSETTLED_RESPONSE_BYTES,
    MAX_WAITING_REPLIES,
)
from support.scripted import Scripted


def responses(script: Scripted) -> list[tuple[str, str]]:
    """(command id, success or code) of every response sent so far."""
    sent = [message["data"] for message in script.texts("response")]
    return [(data["command_id"], data["code"] if data["status"] == "error" else "success") for data in sent]


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["heartbeat", "status", "response", "something_new", ""])
def test_msg_4_unknown_types_and_wrong_directions_become_an_event_and_nothing_else(kind: str) -> None:
    script = Scripted()
    conn = script.up()
    script.receive(conn, kind, {"a": 1})
    assert script.expect(UnknownReceived).type == kind
    script.none_of(SendText, SendClose, Disconnect, PeerViolation)


def test_msg_4_a_platform_that_answers_every_message_in_its_own_way_keeps_its_link() -> None:
    script = Scripted(max_bad_messages=3)
    conn = script.up()
    for number in range(10):
        script.machine.text_received(conn, b'{"type":"ACK","message_id":"m-%d"}' % number, script.now)
        script.machine.text_received(conn, b'{"type":"ERROR","error":"?","timestamp":"t"}', script.now)
    script.drain()
    assert [output.type for output in script.said if isinstance(output, UnknownReceived)] == ["ACK", "ERROR"] * 10
    script.none_of(SendClose, Disconnect, PeerViolation)


def test_messages_of_the_application_arrive_as_events() -> None:
    script = Scripted()
    script.receive(script.up(), "message", {"text": "hello"}, "m-7")
    event = script.expect(MessageReceived)
    assert (event.message_id, event.data) == ("m-7", {"text": "hello"})


def test_msg_5_a_bad_message_is_reported_and_costs_nothing() -> None:
    script = Scripted()
    conn = script.up()
    script.machine.text_received(conn, b"nonsense", script.now)
    assert script.expect(PeerViolation).clause == "MSG-1"
    script.none_of(SendClose, Disconnect)


def test_msg_5_more_than_100_bad_messages_in_a_row_close_with_1008() -> None:
    script = Scripted()
    conn = script.up()
    for _ in range(100):
        script.machine.text_received(conn, b"{}", script.now)
    script.receive(conn, "message", {})
    for _ in range(100):
        script.machine.text_received(conn, b"{}", script.now)
    script.none_of(SendClose)
    script.machine.text_received(conn, b"{}", script.now)
    assert script.expect(Offline).clause == "MSG-5"
    assert script.expect(SendClose).code == 1008
    assert script.expect(Disconnect).conn == conn


def test_msg_5_small_bad_messages_are_bounded_whatever_comes_between_them() -> None:
    script = Scripted()
    conn = script.up()
    for _ in range(15):
        for payload in (b"", b"x") * 45:
            script.machine.text_received(conn, payload, script.now)
        script.receive(conn, "message", {})
    assert script.expect(Offline).clause == "MSG-5"
    assert script.expect(SendClose).reason == "too many small bad messages"


@pytest.mark.parametrize(("payload", "wait_s"), [(b"x" * 16, 0.0), (b"", 1.0)])
def test_msg_5_bad_messages_of_some_size_or_now_and_then_cost_nothing(payload: bytes, wait_s: float) -> None:
    script = Scripted()
    conn = script.up()
    for _ in range(50):
        for _ in range(40):
            script.machine.text_received(conn, payload, script.now)
            script.mono += wait_s
            script.wall += wait_s
        script.receive(conn, "message", {})
    script.none_of(SendClose, Disconnect)


def test_msg_4_of_a_field_that_is_given_twice_the_last_counts() -> None:
    script = Scripted()
    conn = script.up()
    payload = b'{"type":"other","type":"command","id":"cmd-1","data":{"command":"work"}}'
    script.machine.text_received(conn, payload, script.now)
    assert script.expect(CommandReceived).command == "work"


# --- heartbeats and status --------------------------------------------------------------------------------------------


def test_hb_2_heartbeats_carry_the_measured_values() -> None:
    script = Scripted()
    script.up()
    script.machine.set_metrics(12.5, 256.25)
    script.wait(30)
    assert script.texts("heartbeat")[-1]["data"] == {
        "agent_id": "agent-1",
        "status": "online",
        "cpu_usage": 12.5,
        "memory_usage": 256.25,
    }


def test_hb_2_heartbeats_go_on_while_writing_is_paused_and_responses_wait() -> None:
    script = Scripted(write_stall_timeout=1000.0)
    conn = script.up()
    script.command(conn)
    script.machine.unsent(conn, 1 << 20, script.now)
    script.machine.respond("cmd-1", {}, script.now)
    for _ in range(7):
        script.wait(10)
        script.machine.bytes_received(conn, script.now)
    assert len(script.texts("heartbeat")) == 3
    assert responses(script) == []
    script.machine.unsent(conn, 0, script.now)
    assert responses(script) == [("cmd-1", "success")]


def test_link_8_a_write_that_goes_on_slowly_has_not_stalled_and_30_s_without_progress_end_the_link() -> None:
    script = Scripted(ping_timeout=600.0, ping_interval=600.0)
    conn = script.up()
    for times in range(5):
        script.machine.unsent(conn, (1 << 20) - times, script.now)
        script.wait(29.0)
    assert not script.dropped()
    script.wait(1.0)
    offline = script.expect(Offline)
    assert (offline.reason, offline.clause) == ("writing stalled", "LINK-8")
    assert script.expect(Disconnect) == Disconnect(conn, abort=True)


@pytest.mark.parametrize("answer", ["respond", "fail"])
def test_an_answer_to_nothing_tells_the_time_all_the_same(answer: str) -> None:
    script = Scripted()
    script.up()
    later = Instant(script.now.mono + 10, script.now.wall + 10)
    if answer == "respond":
        assert script.machine.respond("cmd-1", None, later) is False
    else:
        assert script.machine.fail("cmd-1", "handler_error", "", later) is False
    script.machine.get_details(script.now)  # which is told an earlier time
    script.drain()
    assert script.expect(Connect).deadline == later.mono + script.machine.config.connect_timeout


def test_stat_2_the_command_that_takes_the_last_slot_makes_the_agent_say_that_it_is_busy() -> None:
    script = Scripted(max_concurrent=1)
    script.command(script.up())
    assert [message["data"]["status"] for message in script.texts("status")] == ["busy"]


def test_stat_1_error_outranks_busy_and_busy_outranks_online() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    assert script.machine.status == "online"
    script.command(conn)
    assert script.machine.status == "busy"
    script.machine.set_status("error", script.now)
    assert script.machine.status == "error"
    script.machine.respond("cmd-1", None, script.now)
    script.machine.set_status("online", script.now)
    assert script.machine.status == "online"
    with pytest.raises(LocalProtocolError, match="offline"):
        script.machine.set_status("offline", script.now)  # type: ignore[arg-type]


def test_a_look_before_the_drain_shows_what_the_inputs_have_led_to() -> None:
    script = Scripted()
    script.machine.start(script.now)
    assert script.machine.state == (AuthState.CHALLENGING, LinkState.DOWN)
    assert script.machine.deadline_reason is AgentTimer.CONNECT
    assert script.machine.deadline() == script.mono + script.machine.config.connect_timeout
    script.machine.stop(script.now)
    assert script.machine.is_stopped, "nothing was to be waited for"
    assert [type(output) for output in iter(script.machine.next_output, None)] == [Stopped]
    assert script.machine.deadline() is None


def test_stat_2_changes_go_out_as_status_messages_latest_wins_at_most_one_a_second() -> None:
    script = Scripted()
    script.up()
    for status in ("busy", "error", "busy", "error"):
        script.machine.set_status(status, script.now)
    script.wait(5)
    assert [message["data"]["status"] for message in script.texts("status")] == ["busy", "error"]
    script.machine.set_status("busy", script.now)
    script.machine.set_status("error", script.now)
    script.wait(5)
    assert [message["data"]["status"] for message in script.texts("status")] == ["busy", "error", "busy", "error"]


def test_stat_4_progress_is_a_status_of_the_command_latest_wins() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    for percent in (1, 2, 3):
        assert script.machine.progress("cmd-1", percent, script.now)
    script.wait(1)
    sent = [message["data"] for message in script.texts("status")]
    assert [(data["current_task"], data["progress"]) for data in sent] == [("cmd-1", 1), ("cmd-1", 3)]
    script.machine.progress("cmd-1", 4, script.now)
    script.machine.respond("cmd-1", None, script.now)
    script.wait(2)
    assert len(script.texts("status")) == 2, "a command that is over has no progress"
    assert script.machine.progress("cmd-1", 5, script.now) is False
    with pytest.raises(LocalProtocolError):
        script.machine.progress("cmd-1", 101, script.now)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_cmd_2_repeats_of_running_commands_are_ignored_of_finished_ones_answered_again() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.command(conn)
    assert len([output for output in script.said if isinstance(output, CommandReceived)]) == 1
    assert script.machine.respond("cmd-1", {"n": 1}, script.now) is True
    script.command(conn)
    first, second = script.texts("response")
    assert first == second
    assert script.machine.respond("cmd-1", {"n": 2}, script.now) is False


def test_cmd_3_responses_without_a_link_wait_and_go_out_in_order_after_the_first_heartbeat() -> None:
    script = Scripted()
    conn = script.up()
    for number in range(3):
        script.command(conn, f"cmd-{number}")
    script.machine.disconnected(conn, "reset", script.now)
    for number in (2, 0, 1):
        script.machine.respond(f"cmd-{number}", number, script.now)
    assert script.machine.outbox_size == 3
    assert responses(script) == []
    conn = script.up()
    script.drain()
    sent = [script.text(output)["type"] for output in script.said if isinstance(output, SendText)]
    assert sent[-4:] == ["heartbeat", "response", "response", "response"]
    assert [command_id for command_id, _ in responses(script)] == ["cmd-2", "cmd-0", "cmd-1"]
    script.pong(conn)
    assert script.machine.outbox_size == 0


def test_cmd_4_a_command_that_waits_too_long_times_out_unstarted() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    script.command(conn, "cmd-1", timeout=100)
    script.command(conn, "cmd-2", timeout=10)
    for _ in range(11):
        script.machine.bytes_received(conn, script.now)
        script.wait(1)
    assert responses(script) == [("cmd-2", "timeout")]
    assert [output.command_id for output in script.said if isinstance(output, CommandReceived)] == ["cmd-1"]


def test_cmd_4_a_running_command_is_cancelled_at_its_deadline_and_keeps_its_slot() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    script.command(conn, "cmd-1", timeout=1)
    script.command(conn, "cmd-2", timeout=100)
    script.wait(1)
    assert script.expect(CommandCancelled) == CommandCancelled("cmd-1", "timeout", "CMD-4", "work")
    assert responses(script) == [("cmd-1", "timeout")]
    assert script.machine.in_flight == ("cmd-1",)
    assert script.machine.fail("cmd-1", "cancelled", "", script.now) is False
    script.drain()
    assert script.machine.in_flight == ("cmd-2",)
    assert responses(script) == [("cmd-1", "timeout")]


def test_cmd_7_a_result_that_is_no_json_is_misuse_and_changes_nothing() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    with pytest.raises(LocalProtocolError, match="result"):
        script.machine.respond("cmd-1", object(), script.now)
    assert script.machine.in_flight == ("cmd-1",)
    assert script.machine.fail("cmd-1", "handler_error", "TypeError", script.now) is True
    assert responses(script) == [("cmd-1", "handler_error")]


def test_msg_6_a_result_that_nests_too_deeply_for_a_message_is_misuse() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    value: list[object] = []
    for _ in range(61):
        value = [value]
    with pytest.raises(LocalProtocolError, match="62"):
        script.machine.respond("cmd-1", [value], script.now)
    assert script.machine.respond("cmd-1", value, script.now)


def test_cmd_7_a_result_over_the_message_limit_becomes_result_too_large() -> None:
    script = Scripted(max_message_size=1000)
    conn = script.up()
    script.command(conn)
    assert script.machine.respond("cmd-1", "x" * 1000, script.now) is True
    replaced = script.expect(ResponseReplaced)
    assert (replaced.command_id, replaced.code, replaced.clause) == ("cmd-1", "result_too_large", "CMD-7")
    assert replaced.reason.endswith("at most 1000 are allowed")
    assert responses(script) == [("cmd-1", "result_too_large")]


def test_cmd_8_a_drain_gives_queued_commands_back_and_takes_no_more() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    script.command(conn, "cmd-1")
    script.command(conn, "cmd-2")
    script.machine.stop(script.now)
    script.command(conn, "cmd-3")
    assert responses(script) == [("cmd-2", "draining"), ("cmd-3", "draining")]
    assert script.machine.state.link is LinkState.DRAINING
    script.machine.respond("cmd-1", None, script.now)
    assert responses(script)[-1] == ("cmd-1", "success")
    script.none_of(SendClose)
    script.pong(conn)
    assert script.texts("status")[-1]["data"] == {"status": "offline"}
    assert script.expect(SendClose) == SendClose(conn, 1000, "the agent stops")
    script.wait(5)
    assert script.expect(Stopped).unsettled == ()
    assert script.expect(Disconnect).abort, "LINK-8: an unanswered close ends after 5 s"


def test_cmd_9_what_a_drain_gave_back_and_comes_again_is_given_back_again() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    script.command(conn, "cmd-1")
    script.command(conn, "cmd-2")
    script.machine.stop(script.now)
    script.wait(1.0)
    script.command(conn, "cmd-2")
    assert responses(script) == [("cmd-2", "draining"), ("cmd-2", "draining")]


def test_cmd_8_a_drain_without_a_link_makes_one_immediate_try() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.disconnected(conn, "reset", script.now)
    script.machine.respond("cmd-1", None, script.now)
    script.machine.stop(script.now)
    connect = script.expect(Connect)
    script.machine.connect_failed(connect.conn, "refused", "", script.now)
    assert script.expect(Offline).retry_at is None
    assert script.expect(Stopped).unsettled == ("cmd-1",)


def test_cmd_8_a_drain_waits_for_the_link_while_commands_run() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.disconnected(conn, "reset", script.now)
    script.machine.stop(script.now)
    script.machine.respond("cmd-1", None, script.now)
    conn = script.up()
    assert responses(script) == [("cmd-1", "success")]
    script.pong(conn)
    script.wait(5)
    assert script.expect(Stopped).unsettled == ()


def test_link_10_stopping_at_once_names_what_was_not_answered() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    script.command(conn, "cmd-1")
    script.command(conn, "cmd-2")
    message_id = script.machine.send_message({}, script.now)
    script.machine.stop(script.now, drain=False)
    assert script.expect(CommandCancelled) == CommandCancelled("cmd-1", "cancelled", "CMD-8", "work")
    assert script.expect(Stopped) == Stopped(("cmd-1", "cmd-2"), messages=(message_id,))
    assert script.expect(Disconnect) == Disconnect(conn, abort=True)
    assert script.machine.respond("cmd-1", None, script.now) is False
    script.none_of(CommandReceived)
    assert script.machine.deadline() is None


@pytest.mark.repeats
def test_application_messages_go_through_the_outbox_and_it_is_bounded() -> None:
    script = Scripted()
    for number in range(MAX_UNSETTLED_MESSAGES):
        script.machine.send_message({"n": number}, script.now)
    with pytest.raises(OutboxFullError):
        script.machine.send_message({}, script.now)
    conn = script.up()
    assert [message["data"]["n"] for message in script.texts("message")] == list(range(MAX_UNSETTLED_MESSAGES))
    script.pong(conn)
    script.machine.send_message({}, script.now)


def test_cmd_8_a_drain_waits_for_messages_of_the_application_too() -> None:
    script = Scripted()
    conn = script.up()
    script.machine.send_message({"last": "words"}, script.now)
    script.machine.stop(script.now)
    script.none_of(SendClose)
    script.pong(conn)
    script.expect(SendClose)


@pytest.mark.parametrize("data", [[], "text", None, object(), {"a": object()}, {"a": "x" * 2000}])
def test_messages_must_be_json_objects_within_the_limit(data: Any) -> None:
    script = Scripted(max_message_size=1000)
    with pytest.raises(LocalProtocolError):
        script.machine.send_message(data, script.now)
    assert script.machine.outbox_size == 0


@pytest.mark.repeats
def test_cmd_3_a_peer_that_reads_no_responses_gets_no_more_commands_done() -> None:
    script = Scripted()
    conn = script.up()
    script.machine.unsent(conn, 1 << 20, script.now)
    megabyte = "x" * 1_000_000
    for number in range(30):
        script.command(conn, f"cmd-{number}")
        script.machine.respond(f"cmd-{number}", megabyte, script.now)
    assert script.machine.outbox_size == MAX_UNSETTLED_RESPONSE_BYTES // 1_000_000 + 1
    script.machine.unsent(conn, 0, script.now)
    assert [outcome for _, outcome in responses(script)].count("overloaded") == 13
    script.pong(conn)
    script.command(conn, "one-more")
    assert script.machine.in_flight == ("one-more",)


def test_cmd_3_a_response_is_settled_by_the_pong_to_a_ping_sent_after_it() -> None:
    script = Scripted()
    conn = script.up()
    for number in range(3):
        script.command(conn, f"cmd-{number}")
    script.machine.respond("cmd-0", None, script.now)
    assert script.expect(SendPing).payload == b"1"
    script.machine.respond("cmd-1", None, script.now)
    script.machine.respond("cmd-2", None, script.now)
    script.none_of(SendPing)  # one such ping is under way at a time
    assert script.machine.outbox_size == 3
    script.machine.pong_received(conn, b"1", script.now)
    assert script.machine.outbox_size == 2
    assert script.expect(SendPing).payload == b"2", "a batch shares it"
    script.machine.pong_received(conn, b"2", script.now)
    assert script.machine.outbox_size == 0
    script.none_of(SendPing)


def test_cmd_3_until_then_a_lost_link_makes_it_unsent_again() -> None:
    script = Scripted()
    conn = script.up()
    for number in range(3):
        script.command(conn, f"cmd-{number}")
        script.machine.respond(f"cmd-{number}", number, script.now)
    script.machine.pong_received(conn, b"1", script.now)
    before = responses(script)
    script.machine.disconnected(conn, "reset", script.now)
    script.up()
    assert [command_id for command_id, _ in responses(script)[len(before) :]] == ["cmd-1", "cmd-2"]


def test_cmd_3_a_peer_that_answers_no_pings_settles_30_s_after_the_write() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", None, script.now)
    script.drain()
    for _ in range(29):
        script.wait(1)
        script.machine.bytes_received(conn, script.now)
    assert script.machine.outbox_size == 1
    script.wait(1)
    assert script.machine.outbox_size == 0
    script.command(conn, "cmd-2")
    script.machine.respond("cmd-2", None, script.now)
    script.wait(15)
    script.machine.bytes_received(conn, script.now)
    script.wait(14.9)
    assert script.machine.outbox_size == 1
    script.wait(0.1)
    assert script.machine.outbox_size == 0


def test_cmd_3_a_process_that_was_held_up_settles_nothing_on_a_link_that_may_be_dead() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", None, script.now)
    script.mono += 100
    script.wall += 100
    script.machine.handle_timer(script.now)
    assert script.machine.outbox_size == 1
    script.wait(19)
    script.none_of(ResponsesSettled)
    script.wait(1)
    assert script.expect(Offline).clause == "LINK-7"
    assert script.machine.outbox_size == 1, "it goes out again on the next link"


def test_cmd_8_what_was_sent_but_not_settled_is_listed_at_the_end() -> None:
    script = Scripted(drain_timeout=10.0)
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", None, script.now)
    script.machine.stop(script.now)
    for _ in range(10):
        script.none_of(SendClose)
        script.machine.bytes_received(conn, script.now)
        script.wait(1)
    assert script.expect(SendClose) == SendClose(conn, 1000, "the agent stops")
    script.none_of(Stopped)
    script.wait(25)
    assert script.expect(Stopped).unsettled == ("cmd-1",)


@pytest.mark.parametrize("code", [1007, 1009])
def test_cmd_11_a_response_that_is_answered_with_1007_or_1009_is_replaced_once(code: int) -> None:
    script = Scripted()
    conn = script.up()
    for number in range(2):
        script.command(conn, f"cmd-{number}")
        script.machine.respond(f"cmd-{number}", None, script.now)
    script.machine.close_received(conn, code, "", script.now)
    script.none_of(Undeliverable)
    before = len(responses(script))
    if code == 1007:  # which may be of either
        conn = script.up()
        assert responses(script)[before:] == [("cmd-0", "success")], "alone"
        script.machine.close_received(conn, code, "", script.now)
        before = len(responses(script))
    conn = script.up()
    if code == 1007:  # caution goes on
        assert responses(script)[before:] == [("cmd-1", "success")]
        script.pong(conn)
    assert responses(script)[before:] == [("cmd-1", "success"), ("cmd-0", "undeliverable")]
    script.pong(conn)
    assert script.machine.outbox_size == 0
    script.command(conn, "cmd-0")
    assert responses(script)[-1] == ("cmd-0", "undeliverable"), "CMD-2"


def test_cmd_11_short_links_blame_no_response() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", None, script.now)
    script.drain()
    for _ in range(49):
        script.machine.disconnected(conn, "reset", script.now)
        script.machine.connect_failed(script.start().conn, "refused", "", script.now)
        script.none_of(ResponseReplaced, Undeliverable)
        conn = script.up()
        script.none_of(ResponseReplaced, Undeliverable)
    assert len(responses(script)) == 38, "every fourth link is without it"
    script.machine.disconnected(conn, "reset", script.now)
    conn = script.up()
    script.pong(conn)
    assert script.machine.outbox_size == 0


def live_on(script: Scripted, conn: int, seconds: int = 30) -> None:
    """The platform answers every ping of so many seconds, but for those of the last moment."""
    for _ in range(seconds):
        script.wait(1)
        script.pong(conn)


def test_cmd_11_a_response_is_blamed_if_links_without_it_live_and_links_with_it_do_not() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", None, script.now)
    for _ in range(3):
        script.machine.disconnected(conn, "reset", script.now)
        conn = script.up()
    for outcome in ("success", "undeliverable"):
        before = len(responses(script))
        script.command(conn, f"other-{outcome}")
        script.machine.respond(f"other-{outcome}", None, script.now)
        script.command(conn, "cmd-1")
        live_on(script, conn)
        assert responses(script)[before:] == [(f"other-{outcome}", "success"), ("cmd-1", outcome)]
        script.machine.disconnected(conn, "reset", script.now)
        if outcome == "success":
            assert script.expect(ResponseReplaced).command_id == "cmd-1"
            for _ in range(3):
                conn = script.up()
                script.none_of(Undeliverable)
                script.machine.disconnected(conn, "reset", script.now)
            conn = script.up()
    assert script.expect(Undeliverable).command_id == "cmd-1"
    script.up()
    assert script.machine.outbox_size == 0


def test_cmd_11_a_drain_sends_what_was_held_back() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", None, script.now)
    for _ in range(3):
        script.machine.disconnected(conn, "reset", script.now)
        conn = script.up()
    before = len(responses(script))
    script.machine.stop(script.now)
    script.drain()
    assert responses(script)[before:] == [("cmd-1", "success")]
    script.pong(conn)
    assert script.expect(SendClose).code == 1000


def test_stat_3_nothing_follows_the_close_frame_of_a_drain() -> None:
    script = Scripted(heartbeat_interval=1.0, ping_interval=1.0, close_timeout=60.0)
    script.up()
    script.machine.stop(script.now)
    script.expect(SendClose)
    script.machine.set_status("error", script.now)
    script.wall += 3600  # the clocks part (LINK-7)
    script.wait(59)
    script.none_of(SendText, SendPing)
    script.wait(1)
    script.expect(Stopped)


def test_stat_3_nor_does_what_was_owed_while_writing_was_paused() -> None:
    script = Scripted()
    conn = script.up()
    script.machine.unsent(conn, 1 << 20, script.now)
    script.machine.ping_received(conn, b"9", script.now)
    script.machine.stop(script.now)
    script.expect(SendClose)
    script.machine.unsent(conn, 0, script.now)
    script.none_of(SendPong)


def test_cmd_8_a_drain_without_a_link_starts_nothing_that_waited() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    script.command(conn, "cmd-1")
    script.command(conn, "cmd-2")
    script.machine.disconnected(conn, "reset", script.now)
    script.machine.stop(script.now)
    script.machine.respond("cmd-1", None, script.now)
    assert script.machine.in_flight == ()
    script.up()
    assert responses(script) == [("cmd-1", "success")]


# --- the peer's life signs --------------------------------------------------------------------------------------------


def test_link_7_silence_leads_to_a_ping_and_then_to_the_end() -> None:
    script = Scripted()
    conn = script.up()
    script.wait(20)
    assert script.expect(SendPing).payload == b"1"
    script.wait(20)
    offline = script.expect(Offline)
    assert (offline.clause, offline.retry_at) == ("LINK-7", script.mono + 1)
    assert script.expect(Disconnect) == Disconnect(conn, abort=True)


def test_link_7_a_pong_that_answers_nothing_is_a_sign_of_life_and_no_more() -> None:
    script = Scripted()
    conn = script.up()
    script.wait(script.machine.config.ping_interval)
    ping = script.expect(SendPing).payload

    def calls(payload: bytes) -> int:
        """How many functions a pong has called."""
        called: list[object] = []
        sys.setprofile(lambda frame, event, _: called.append(frame.f_code) if event == "call" else None)
        script.machine.pong_received(conn, payload, script.now)
        assert script.machine.next_output() is None
        sys.setprofile(None)
        return len(called)

    useless = [calls(payload) for payload in (b"", b"0", b"9", b"x" * 125)]
    assert max(useless) < calls(ping) / 2, "the joint rules have nothing to conclude from it"


def test_link_7_a_pong_gives_the_round_trip_time() -> None:
    script = Scripted()
    conn = script.up()
    script.wait(20)
    script.mono += 0.25
    script.machine.bytes_received(conn, script.now)
    script.machine.pong_received(conn, b"1", script.now)
    assert script.machine.rtt_s == 0.25
    script.wait(19.9)
    script.expect(SendPing)
    script.none_of(SendPing, Offline)


def test_link_7_a_late_timer_pings_again_and_grants_the_full_timeout() -> None:
    script = Scripted()
    script.up()
    script.wait(20)
    script.mono += 25
    script.wall += 25
    script.machine.handle_timer(script.now)
    script.none_of(Offline)
    assert [output.payload for output in script.said if isinstance(output, SendPing)] == [b"1", b"2"]
    script.wait(20)
    assert script.expect(Offline).clause == "LINK-7"


def test_link_7_clocks_that_part_ping_at_once_and_age_the_token() -> None:
    script = Scripted()
    conn = script.up()
    script.wall += 3600  # suspended for an hour that the monotonic clock did not count
    script.machine.bytes_received(conn, script.now)
    assert script.expect(ClocksParted) == ClocksParted(3600.0, "LINK-7")
    script.expect(SendPing)
    script.machine.disconnected(conn, "reset", script.now)
    script.wait(1)
    connect = script.expect(Connect)
    script.machine.connected(connect.conn, script.now, tls=connect.tls)
    script.drain()
    assert "challenge" in repr(script.unseen), "the token's 15 minutes are over"


def test_pings_are_answered_and_only_the_latest_is_owed_while_writing_is_paused() -> None:
    script = Scripted()
    conn = script.up()
    script.machine.ping_received(conn, b"a", script.now)
    assert script.expect(SendPong).payload == b"a"
    script.machine.unsent(conn, 1 << 20, script.now)
    for payload in (b"b", b"c", b"d"):
        script.machine.ping_received(conn, payload, script.now)
    script.none_of(SendPong)
    script.machine.unsent(conn, 0, script.now)
    assert script.expect(SendPong).payload == b"d"
    script.machine.unsent(conn, 1 << 20, script.now)
    script.machine.unsent(conn, 0, script.now)
    script.none_of(SendPong)


def test_a_peer_that_sends_too_much_and_reads_nothing_is_not_read_either() -> None:
    script = Scripted(max_concurrent=1, max_queued=0)
    conn = script.up()
    script.command(conn, "first")
    script.machine.unsent(conn, 1 << 20, script.now)
    for number in range(MAX_WAITING_REPLIES):
        script.none_of(PauseReading)
        script.command(conn, f"more-{number}")
    assert script.expect(PauseReading) == PauseReading(conn)
    script.machine.ping_received(conn, b"owed", script.now)
    script.machine.unsent(conn, 0, script.now)
    assert script.expect(ResumeReading) == ResumeReading(conn)
    assert responses(script) == [(f"more-{number}", "overloaded") for number in range(MAX_WAITING_REPLIES)]


def test_cmd_5_commands_that_wait_are_bounded_in_bytes() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    padding = "x" * (1 << 20)
    for number in range(18):  # one runs
        script.receive(conn, "command", {"command": "work", "more": padding}, f"cmd-{number}")
    refused = script.expect(CommandRefused)
    assert (refused.command_id, refused.code, refused.clause) == ("cmd-16", "overloaded", "CMD-5")
    assert refused.reason == f"the commands that wait have as many bytes as allowed, {MAX_QUEUED_COMMAND_BYTES}"
    assert script.expect(CommandRefused).command_id == "cmd-17"
    script.command(conn, "small")
    assert script.machine.queued[-1] == "small"
    script.machine.respond("cmd-0", None, script.now)
    script.drain()
    script.receive(conn, "command", {"command": "work", "more": padding}, "cmd-17")
    assert script.machine.queued[-1] == "cmd-17"
    script.none_of(CommandRefused)
    script.wait(301)
    assert script.machine.queued == ()
    conn = script.up()
    for number in range(20, 38):
        script.receive(conn, "command", {"command": "work", "more": padding}, f"cmd-{number}")
    assert len(script.machine.queued) == 15
    script.machine.stop(script.now)
    assert script.machine.queued == ()


def test_a_message_of_the_application_does_not_keep_what_it_came_in() -> None:
    script = Scripted()
    conn = script.up()
    payload = json.dumps({"type": "message", "id": "m-1", "data": {"n": 1}, "more": "x" * 1000}).encode()
    before = getrefcount(payload)
    script.machine.text_received(conn, payload, script.now)
    assert script.expect(MessageReceived).data == {"n": 1}
    assert getrefcount(payload) == before


# --- misuse -----------------------------------------------------------------------------------------------------------


@pytest.mark.repeats
def test_outputs_that_nobody_drains_are_misuse() -> None:
    script = Scripted()
    conn = script.up()
    payload = json.dumps({"type": "message", "id": "m", "data": {}}).encode()
    for _ in range(MAX_UNDRAINED_OUTPUTS + 1):
        script.machine.text_received(conn, payload, script.now)
    with pytest.raises(LocalProtocolError, match="next_output"):
        script.machine.text_received(conn, payload, script.now)


def test_an_earlier_now_counts_as_the_last() -> None:
    script = Scripted()
    script.up()
    deadline = script.machine.deadline()
    script.mono -= 50
    script.machine.handle_timer(script.now)
    script.none_of(SendPing, Offline)
    assert script.machine.deadline() == deadline


def test_what_a_late_timer_leads_to_comes_in_the_order_in_which_it_was_due() -> None:
    """What was received has put the look at liveness off, behind the heartbeat."""
    script = Scripted()
    conn = script.up()
    assert script.machine.deadline() is not None, "which was asked for before"
    script.mono, script.wall = script.mono + 12.0, script.wall + 12.0
    script.machine.bytes_received(conn, script.now)
    script.mono, script.wall = script.mono + 35.0, script.wall + 35.0
    script.machine.handle_timer(script.now)
    said = [type(output) for output in iter(script.machine.next_output, None)]
    assert [each for each in said if each in (SendText, SendPing)] == [SendText, SendPing]


def test_link_9_nothing_goes_out_on_a_connection_that_ended_as_the_clocks_parted() -> None:
    script = Scripted()
    conn = script.up()
    script.wall += 100.0
    script.machine.disconnected(conn, "reset", script.now)
    assert [output for output in iter(script.machine.next_output, None) if isinstance(output, SendPing)] == []


@pytest.mark.parametrize("fields", [{}, {"timeout": None}])
def test_cmd_4_a_missing_timeout_means_300_s(fields: dict[str, Any]) -> None:
    script = Scripted()
    script.command(script.up(), **fields)
    assert script.expect(CommandReceived).deadline == script.mono + 300
