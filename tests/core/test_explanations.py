"""Every decision an agent takes by itself is an event: what, why, by which clause, and what time follows."""

from __future__ import annotations

import pytest

from artcafe_proto import OutboxFullError
from artcafe_proto.effects import Connect, Disconnect, SendRequest, Sign
from artcafe_proto.events import (
    CallFailed,
    CommandRefused,
    Draining,
    Event,
    LinkClosing,
    Offline,
    PeerViolation,
    RenewalStarted,
    RepeatReceived,
    ResponsesSettled,
    Stopped,
    TokenReceived,
    TokenRenewed,
)
from artcafe_proto.limits import MAX_UNSETTLED_MESSAGE_BYTES
from artcafe_proto.policies.outflow import GRANT_S
from support.scripted import CHALLENGE, Scripted, answer, token


def seen(script: Scripted, *kinds: type[Event]) -> list[Event]:
    """All events of some kinds so far."""
    script.drain()
    return [output for output in script.said if isinstance(output, kinds)]


# --- tokens and connections -------------------------------------------------------------------------------------------


def test_tok_2_a_renewal_says_why_it_begins_and_when_the_next_one_will() -> None:
    script = Scripted()
    conn = script.up(token(exp=1e9 + 900))
    received_at = script.mono
    assert seen(script, TokenReceived) == [TokenReceived(900.0, received_at + 720.0)]
    for _ in range(72):
        script.wait(10.0)
        script.machine.bytes_received(conn, script.now)
    assert script.expect(RenewalStarted) == RenewalStarted("the token is usable for 180 s more", "TOK-2")
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    script.answer(script.expect(SendRequest), answer(200, {"challenge": CHALLENGE, "expires_at": ""}))
    script.machine.signed(script.expect(Sign).request, b"signature", script.now)
    new = token(exp=script.wall + 900, iat=script.wall)
    script.answer(script.expect(SendRequest), answer(200, {"valid": True, "token": new}))
    assert seen(script, TokenRenewed) == [TokenRenewed(900.0, script.mono + 720.0, "TOK-2")]


def test_link_3_what_the_platform_asks_for_and_what_waits_is_told() -> None:
    script = Scripted()
    script.machine.send_message({}, script.now)
    upgrade = script.verify()
    script.machine.response_received(
        upgrade.conn, upgrade.exchange, answer(503, retry_after="60", date="x"), script.now
    )
    reason = "the platform answered the opening handshake with status 503; it asks to wait 60 s"
    assert script.expect(Offline) == Offline(reason, "LINK-3", script.mono + 60.0, unsettled=1)


# --- commands ---------------------------------------------------------------------------------------------------------


def test_cmd_5_refused_commands_are_counted_until_one_finds_a_slot() -> None:
    script = Scripted(max_concurrent=1, max_queued=0)
    conn = script.up()
    for number in range(1, 4):
        script.command(conn, f"cmd-{number}")
    reason = "as many commands as allowed run and wait"
    assert seen(script, CommandRefused) == [
        CommandRefused("cmd-2", "overloaded", reason, "CMD-5", "work", 1),
        CommandRefused("cmd-3", "overloaded", reason, "CMD-5", "work", 2),
    ]
    script.machine.respond("cmd-1", None, script.now)
    script.command(conn, "cmd-4")
    script.command(conn, "cmd-5")
    assert seen(script, CommandRefused)[2:] == [CommandRefused("cmd-5", "overloaded", reason, "CMD-5", "work", 1)]


def test_cmd_8_a_drain_tells_what_it_waits_for_and_how_long_and_its_goodbye() -> None:
    script = Scripted(max_concurrent=1, drain_timeout=7.0, close_timeout=3.0)
    conn = script.up()
    script.command(conn, "cmd-1")
    script.command(conn, "cmd-2")
    script.machine.send_message({}, script.now)
    script.machine.stop(script.now)
    refused = CommandRefused("cmd-2", "draining", "the agent is about to stop", "CMD-8", "work", 1)
    assert seen(script, CommandRefused, Draining) == [refused, Draining(1, 1, script.mono + 7.0, "CMD-8")]
    script.machine.respond("cmd-1", None, script.now)
    script.pong(conn)
    script.pong(conn)
    closing = LinkClosing(1000, "the agent stops", "STAT-3", script.mono + 3.0)
    assert seen(script, LinkClosing, Stopped) == [closing]
    script.machine.close_received(conn, 1000, "", script.now)
    assert seen(script, LinkClosing, Stopped) == [closing, Stopped(())]


def test_cmd_2_repeats_are_told_with_what_answered_them() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.command(conn)
    script.machine.respond("cmd-1", "done", script.now)
    script.pong(conn)
    script.command(conn)
    assert seen(script, RepeatReceived, ResponsesSettled) == [
        RepeatReceived("cmd-1", None, "CMD-2"),
        ResponsesSettled(("cmd-1",)),
        RepeatReceived("cmd-1", "stored", "CMD-2"),
    ]


def test_cmd_3_a_platform_that_answers_no_pings_is_told_once_a_link() -> None:
    script = Scripted()
    conn = script.up()
    for _ in range(20):
        script.machine.send_message({}, script.now)
        script.wait(10.0)
        script.machine.bytes_received(conn, script.now)
    asked = "no pong came for 30 s after a ping had left, nor ever before, though other bytes did"
    reason = f"{asked}: what left 30 s ago counts as read"
    assert seen(script, PeerViolation) == [PeerViolation(reason, "CMD-3")]


# --- what the application gives up or may not do ----------------------------------------------------------------------


@pytest.mark.parametrize("under_way", [0, 1])
def test_stat_2_a_call_can_be_taken_back_and_the_next_one_goes_on(under_way: int) -> None:
    script = Scripted()
    script.up()
    calls = [script.machine.get_details(script.now) for _ in range(3)]
    asked = script.expect(Connect)
    script.machine.connected(asked.conn, script.now, tls=asked.tls)
    request = script.expect(SendRequest)
    taken = calls[1 - under_way]
    assert script.machine.cancel_call(taken, script.now) is True
    assert script.expect(CallFailed) == CallFailed(taken, "the caller gave it up", "STAT-2", None)
    assert script.machine.cancel_call(taken, script.now) is False
    if under_way:  # its answer can no longer be told from the next one's, so that is asked for elsewhere
        assert script.dropped()[-1:] == [asked.conn]
        script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
        request = script.expect(SendRequest)
    for _ in range(2):
        script.answer(request, answer(200, {}))
        script.drain()
        request = next((each for each in script.unseen if isinstance(each, SendRequest)), request)
    ended = [output.call for output in seen(script, CallFailed)]  # type: ignore[union-attr]
    assert ended == [taken]
    script.expect(Disconnect)


def test_a_call_taken_back_before_there_is_a_token_never_goes_out() -> None:
    script = Scripted()
    script.start()
    call = script.machine.get_details(script.now)
    assert script.machine.cancel_call(call, script.now)
    script.up()
    script.drain()
    assert [each for each in script.said if isinstance(each, SendRequest) and each.request.method == "GET"] == []


def test_a_call_taken_back_while_it_waits_for_another_token_leaves_no_connection() -> None:
    script = Scripted()
    script.up()
    call = script.machine.get_details(script.now)
    conn = script.expect(Connect).conn
    script.machine.connected(conn, script.now, tls=False)
    script.answer(script.expect(SendRequest), answer(401))
    assert conn not in script.dropped()
    assert script.machine.cancel_call(call, script.now)
    assert conn in script.dropped()


@pytest.mark.repeats
def test_cmd_3_messages_are_bounded_in_bytes_too_but_one_alone_goes() -> None:
    size = MAX_UNSETTLED_MESSAGE_BYTES // 2
    script = Scripted(max_message_size=2 * MAX_UNSETTLED_MESSAGE_BYTES)
    script.machine.send_message({"x": "x" * size}, script.now)
    with pytest.raises(OutboxFullError, match=r"1 messages of \d+ bytes"):
        script.machine.send_message({"x": "x" * size}, script.now)
    conn = script.up()
    script.pong(conn)
    script.wait(GRANT_S)  # nobody reports that the first has left
    script.machine.send_message({"x": "x" * 2 * size}, script.now)
    assert len(script.texts("message")) == 2
