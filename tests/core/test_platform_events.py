"""Every decision of the platform is an event, an effect or a close frame: each one as a whole, word by word."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from artcafe_proto import HttpRequest, Instant, PlatformSession, RemoteProtocolError
from artcafe_proto.effects import (
    AcceptUpgrade,
    Disconnect,
    PauseReading,
    ResumeReading,
    SendClose,
    SendPing,
    SendPong,
    SendText,
)
from artcafe_proto.events import (
    AgentAuthenticated,
    AgentOffline,
    AgentOnline,
    AuthenticationRefused,
    ChallengeIssued,
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    CommandSent,
    Event,
    HeartbeatReceived,
    MessageReceived,
    PeerViolation,
    StatusReceived,
    UnknownReceived,
)
from artcafe_proto.messages import HeartbeatData, ResponseData
from support.drained import due_at
from support.platform_stage import AGENT, TENANT, Stage, answer, say, sent
from support.virtual import signing_key


def told(stage: Stage, count: int = 0) -> list[Event]:
    """All events so far, or the last `count`."""
    return stage.seen(object)[-count:]


def closed(session: PlatformSession) -> list[Any]:
    """The close frames and disconnects of a session."""
    return [output for output in sent(session) if isinstance(output, SendClose | Disconnect)]


# --- signing in -------------------------------------------------------------------------------------------------------


def test_auth_8_the_operator_learns_why_a_signature_was_refused() -> None:
    stage = Stage()
    stage.register("agent-2")

    def reason(challenge: str, agent_id: str = AGENT, **changes: Any) -> str:
        stage.verify(challenge, agent_id=agent_id, **changes)
        (refused,) = told(stage, 1)
        assert isinstance(refused, AuthenticationRefused)
        assert (refused.agent_id, refused.clause) == (agent_id, "AUTH-8")
        return refused.reason

    assert reason(stage.challenge("nobody"), "nobody") == "no such agent"
    assert reason(stage.challenge(), tenant_id="tenant-2") == "no such agent"
    unknown = "the challenge is not one of ours, has expired, or was used before"
    assert reason("made-up.challenge.of.some.length") == unknown
    assert reason(stage.challenge(), response="!") == "the response is not base64"
    assert reason(stage.challenge(), response="A===") == "the response is not base64"
    unsigned = "no active key of the agent made this signature"
    assert reason(stage.challenge(), response="") == unsigned
    assert reason(stage.challenge(), key_id="key-0") == unsigned
    assert reason(stage.challenge("agent-2"), "agent-2") == unsigned


def test_auth_7_a_challenge_and_a_right_signature_are_told() -> None:
    stage = Stage()
    assert stage.verify(stage.challenge(), key_id=stage.key_id).status == 200
    assert told(stage) == [ChallengeIssued(AGENT), AgentAuthenticated(AGENT, stage.key_id, "ssh-ed25519")]


def test_tok_5_a_refused_link_is_told_with_the_name_it_asked_for_cut_short() -> None:
    stage = Stage()
    stage.open("nonsense", agent_id="x" * 200)
    refused = AuthenticationRefused("x" * 128, "the token is not valid, or no longer", "TOK-5")
    assert told(stage) == [refused]
    stage.open(agent_id="agent%202")
    reason = "a link is opened with the token of its own agent"
    assert told(stage, 1) == [AuthenticationRefused("agent 2", reason, "TOK-5")]


# --- links ------------------------------------------------------------------------------------------------------------


def test_hb_3_the_life_of_a_link_is_told() -> None:
    stage = Stage()
    session = stage.online()
    assert told(stage, 2) == [AgentOnline(AGENT, 1), HeartbeatReceived(AGENT, HeartbeatData(AGENT, "online"))]
    heartbeat = {"agent_id": AGENT, "status": "busy", "cpu_usage": -1, "memory_usage": 0.5}
    say(stage, session, "heartbeat", heartbeat)
    assert told(stage, 1) == [HeartbeatReceived(AGENT, HeartbeatData(AGENT, "busy", 0.0, 0.5))]
    say(stage, session, "status", {"status": "busy", "current_task": "c-1", "progress": 7.5, "message": "half"})
    assert told(stage, 1) == [StatusReceived(AGENT, "busy", "c-1", 7.5, "half")]
    say(stage, session, "message", {"n": 1})
    assert told(stage, 1) == [MessageReceived("x-1", Raw(b'{"n": 1}'), AGENT)]
    say(stage, session, "command", {"n": 2})
    assert told(stage, 1) == [UnknownReceived("command", "x-1", Raw(b'{"n": 2}'), AGENT)]
    say(stage, session, "heartbeat", {"agent_id": "agent-2"})
    reason = "expected the agent_id of this link's agent in a heartbeat"
    assert told(stage, 1) == [PeerViolation(reason, "HB-2", AGENT)]
    session.disconnected("reset", stage.now)
    assert told(stage, 1) == [AgentOffline(AGENT, 1, "the connection ended: reset")]


def test_stat_2_a_status_set_by_request_is_told_and_a_sign_of_life() -> None:
    stage = Stage()
    agent = stage.hub.set_status(TENANT, AGENT, "busy", stage.now)
    assert told(stage) == [StatusReceived(AGENT, "busy", None, None, None)]
    assert (agent.status, agent.last_seen) == ("offline", stage.wall), "without a link it is not online"


def end_by_close_frame(stage: Stage, session: PlatformSession) -> None:
    session.close_received(1000, "bye", stage.now)


def end_by_revocation(stage: Stage, session: PlatformSession) -> None:
    stage.hub.revoke_key(TENANT, stage.key_id, stage.now)


def end_by_replacement(stage: Stage, session: PlatformSession) -> None:
    stage.open()


def end_by_peer(stage: Stage, session: PlatformSession) -> None:
    session.peer_ended(stage.now)


def end_by_bad_framing(stage: Stage, session: PlatformSession) -> None:
    session.peer_failed(RemoteProtocolError(1002, "nonsense", "RFC 6455"), stage.now)


def end_by_silence(stage: Stage, session: PlatformSession) -> None:
    stage.wait(40)


def end_by_owner(stage: Stage, session: PlatformSession) -> None:
    session.drop("the platform stops", stage.now)


def end_by_bad_messages(stage: Stage, session: PlatformSession) -> None:
    for _ in range(2):
        session.text_received(b"[]", stage.now)


def end_by_stall(stage: Stage, session: PlatformSession) -> None:
    session.unsent(1 << 20, stage.now)
    while session.state.value == "up":
        session.bytes_received(stage.now)
        stage.wait(1)


@pytest.mark.parametrize(
    ("end", "code", "reason", "leaves", "abort"),
    [
        (end_by_close_frame, 1000, "", "the agent closed the link with 1000", False),
        (end_by_revocation, 4403, "the key was revoked", "closed with 4403: the key was revoked", None),
        (end_by_replacement, 4409, "replaced by a newer connection", "replaced by a newer connection", None),
        (end_by_peer, 1001, "the peer closed it", "the peer closed it", False),
        (end_by_bad_framing, 1002, "nonsense", "nonsense", False),
        (end_by_silence, 4408, "nothing was received for too long", None, None),
        (end_by_owner, 1001, "the platform stops", "the platform stops", False),
        (end_by_bad_messages, 1008, "more than 1 bad messages in a row", None, None),
        (end_by_stall, None, "", "writing stalled", True),
    ],
)
def test_hb_3_the_end_of_a_link_says_why_to_the_agent_and_to_the_operator(
    end: Any, code: int | None, reason: str, leaves: str | None, abort: bool | None
) -> None:
    stage = Stage(max_bad_messages=1)
    session = stage.online()
    sent(session)
    end(stage, session)
    frames = [] if code is None else [SendClose(session.conn, code, reason)]
    ends = [] if abort is None else [Disconnect(session.conn, abort=abort)]
    assert closed(session) == [*frames, *ends]
    (offline,) = stage.seen(AgentOffline)
    assert offline == AgentOffline(AGENT, 1, leaves or f"closed with {code}: {reason}")
    assert session.is_closed is (abort is not None)
    session.disconnected("late", stage.now)
    session.peer_ended(stage.now)
    session.peer_failed(RemoteProtocolError(1002, "late", "RFC 6455"), stage.now)
    session.close_received(1000, "late", stage.now)
    assert session.is_closed
    assert len(stage.seen(AgentOffline)) == 1
    assert closed(session) == []


def test_link_8_a_closing_handshake_that_is_not_answered_ends_in_time() -> None:
    stage = Stage()
    session = stage.online()
    stage.hub.revoke_key(TENANT, stage.key_id, stage.now)
    sent(session)
    assert due_at(session) == stage.mono + 5
    session.text_received(b"{}", stage.now)
    session.unsent(1 << 20, stage.now)
    session.ping_received(b"x", stage.now)
    assert sent(session) == []
    stage.wait(5)
    assert sent(session) == [Disconnect(session.conn, abort=True)]


def test_plat_6_a_replaced_link_is_closed_in_the_same_drain() -> None:
    stage = Stage()
    older = stage.online()
    newer = stage.open()
    outputs = list(iter(stage.hub.next_output, None))
    assert AcceptUpgrade(newer.conn, 1) in outputs
    assert [(each.conn, each.code) for each in outputs if isinstance(each, SendClose)] == [(older.conn, 4409)]


def test_tok_6_only_the_link_of_the_revoked_key_ends() -> None:
    stage = Stage()
    session = stage.online()
    other = stage.hub.registry.add_key(TENANT, AGENT, signing_key(8).public.openssh, "second")
    assert (other.agent_id, other.name) == (AGENT, "second")
    assert other.key_id.startswith("key-")
    assert len(other.key_id) == len("key-") + 32
    stage.hub.revoke_key(TENANT, other.key_id, stage.now)
    assert session.state.value == "up"
    session.disconnected("reset", stage.now)
    stage.hub.revoke_key(TENANT, stage.key_id, stage.now)
    assert stage.hub.registry.keys(AGENT) == ()


def test_msg_5_bad_messages_count_in_a_row_only() -> None:
    stage = Stage(max_bad_messages=2)
    session = stage.online()
    for _ in range(3):
        session.text_received(b"[]", stage.now)
        session.text_received(b"[]", stage.now)
        say(stage, session, "message", {})
    assert closed(session) == []


def test_msg_5_small_bad_messages_are_bounded_whatever_comes_between_them() -> None:
    stage = Stage()
    session = stage.online()
    for _ in range(15):
        for _ in range(90):
            session.text_received(b"x", stage.now)
        say(stage, session, "message", {})
    assert closed(session) == [SendClose(session.conn, 1008, "too many small bad messages")]


def test_cmd_10_each_link_takes_what_is_unanswered_once_however_the_last_one_ended() -> None:
    stage = Stage()
    first = stage.online()
    command_id = stage.command()
    answer(stage, first, command_id, status="error", code="overloaded", reason="")
    second = stage.online()
    answer(stage, second, command_id, status="error", code="overloaded", reason="")
    third = stage.online()
    assert [len([text for text in sent(each) if isinstance(text, SendText)]) for each in (first, second, third)] == [
        1
    ] * 3
    stage.wait(10)
    assert not [text for text in sent(third) if isinstance(text, SendText)]
    third.disconnected("reset", stage.now)
    stage.command()
    assert told(stage, 1) == [AgentOffline(AGENT, 3, "the connection ended: reset")], "nothing is sent without a link"


# --- sending ----------------------------------------------------------------------------------------------------------


def test_plat_4_a_message_goes_out_as_it_was_given() -> None:
    stage = Stage()
    session = stage.online()
    sent(session)
    message_id = stage.hub.send_message(TENANT, AGENT, {"n": 1}, stage.now)
    assert message_id.startswith("msg-")
    (text,) = sent(session)
    message = {"type": "message", "id": message_id, "data": {"n": 1}, "timestamp": "2001-09-09T01:46:40.000Z"}
    assert json.loads(text.payload) == message


def test_cmd_10_the_life_of_commands_is_told() -> None:
    stage = Stage()
    session = stage.online()
    sent(session)
    command_id = stage.command(args={"n": 1}, timeout_s=5.0)
    assert told(stage, 1) == [CommandSent(AGENT, command_id, "work", 1)]
    (text,) = sent(session)
    data = {"command": "work", "args": {"n": 1}, "timeout": 5.0}
    command = {"type": "command", "id": command_id, "data": data, "timestamp": "2001-09-09T01:46:40.000Z"}
    assert json.loads(text.payload) == command
    answer(stage, session, command_id, status="error", code="overloaded", reason="full")
    assert told(stage, 1) == [CommandDeferred(AGENT, command_id, "overloaded")]
    stage.wait(1)
    assert told(stage, 1) == [CommandSent(AGENT, command_id, "work", 2)]
    answer(stage, session, command_id, result=7)
    assert told(stage, 1) == [CommandAnswered(AGENT, command_id, ResponseData(command_id, "success", Raw(b"7")), False)]
    answer(stage, session, command_id, result=8)
    assert told(stage, 1) == [CommandRepeated(AGENT, command_id)]
    late = stage.command(expires_in_s=10)
    stage.wait(10)
    assert told(stage, 1) == [CommandExpired(AGENT, late)]
    answer(stage, session, late, status="error", code="timeout", reason="slow")
    said = ResponseData(late, "error", Raw(b"null"), "slow", "timeout")
    assert told(stage, 1) == [CommandAnswered(AGENT, late, said, True)]


def test_cmd_10_an_expired_command_keeps_its_place_in_the_window_until_its_response_comes() -> None:
    stage = Stage(window=1)
    session = stage.online()
    sent(session)
    late = stage.command(expires_in_s=10)
    waits = stage.command()
    sent(session)
    stage.wait(10)
    assert told(stage, 1) == [CommandExpired(AGENT, late)]
    assert sent(session) == [], "the agent has one, and its window is 1"
    answer(stage, session, late)
    assert told(stage, 1) == [CommandSent(AGENT, waits, "work", 1)]
    (text,) = sent(session)
    assert isinstance(text, SendText)
    assert json.loads(text.payload)["id"] == waits


# --- backpressure and clocks ------------------------------------------------------------------------------------------


def test_plat_8_a_client_that_reads_no_answers_is_not_read_and_then_dropped() -> None:
    stage = Stage(write_stall_timeout=7.0)
    session = stage.session()
    session.unsent(1 << 20, stage.now)
    session.unsent(1 << 20, stage.now)
    assert sent(session) == [PauseReading(session.conn)]
    assert due_at(session) == stage.mono + 7
    session.unsent(0, stage.now)
    session.unsent(0, stage.now)
    assert sent(session) == [ResumeReading(session.conn)]
    assert due_at(session) is None
    session.unsent(1 << 20, stage.now)
    stage.wait(7)
    assert sent(session) == [PauseReading(session.conn), Disconnect(session.conn, abort=True)]
    session.unsent(1 << 20, stage.now)
    assert sent(session) == []


def test_link_8_a_link_that_was_paused_before_it_was_up_is_read_and_its_stall_counts() -> None:
    stage = Stage(write_stall_timeout=7.0)
    session = stage.session()
    session.unsent(1 << 20, stage.now)
    token = stage.token()
    request = HttpRequest(
        method="GET", target=f"/api/v1/ws/agent/{AGENT}", headers=(("authorization", f"Bearer {token}"),)
    )
    stage.wait(2)
    session.request_received(1, request, stage.now, upgrade=True)
    conn = session.conn
    assert sent(session) == [PauseReading(conn), ResumeReading(conn), AcceptUpgrade(conn, 1)]
    assert due_at(session) == stage.mono + 5
    stage.wait(1)
    session.ping_received(b"owed", stage.now)
    assert sent(session) == []
    session.unsent(0, stage.now)
    assert sent(session) == [SendPong(conn, b"owed")]
    assert due_at(session) == stage.mono + 19
    session.ping_received(b"x", stage.now)
    assert sent(session) == [SendPong(session.conn, b"x")]


def test_link_7_a_pong_answers_pings_and_clocks_that_part_are_met_by_a_ping() -> None:
    stage = Stage()
    session = stage.online()
    sent(session)
    session.bytes_received(Instant(stage.mono, stage.wall + 30.0))
    assert sent(session) == []
    session.bytes_received(Instant(stage.mono, stage.wall + 60.5))
    (ping,) = sent(session)
    assert isinstance(ping, SendPing)
    stage.mono += 0.25
    session.pong_received(ping.payload, stage.now)
    assert session._link is not None  # pyright: ignore[reportPrivateUsage]
    assert session._link.liveness.rtt_s == 0.25  # pyright: ignore[reportPrivateUsage]
    session.bytes_received(stage.now)
    assert len(sent(session)) == 1, "and back again"
