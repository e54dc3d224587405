"""AUTH-8, TOK-6, HB-3, CMD-10, PLAT: the platform, message by message."""

from __future__ import annotations

import json
from base64 import b64encode
from random import Random
from sys import getrefcount
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from artcafe_proto import ApiError, HttpRequest, HttpResponse, LocalProtocolError, PlatformSession
from artcafe_proto.effects import (
    AcceptUpgrade,
    SendBody,
    SendClose,
    SendPing,
    SendPong,
    SendResponse,
)
from artcafe_proto.events import (
    AgentOffline,
    AgentOnline,
    AuthenticationRefused,
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    HeartbeatReceived,
    PeerViolation,
    RequestArrived,
    UnknownReceived,
)
from artcafe_proto.platform.records import Kind
from artcafe_proto.policies.ssh_wire import pack_string
from artcafe_proto.policies.timetable import GRID_S
from support.platform_stage import AGENT, TENANT, TENANT_TOKEN, Stage, answer, command_ids, say, sent, size_of

# --- authentication ---------------------------------------------------------------------------------------------------


def test_auth_1_and_3_a_signed_challenge_becomes_a_token() -> None:
    stage = Stage()
    response = stage.verify(stage.challenge())
    assert response.status == 200
    body = json.loads(response.body)
    assert body["valid"] is True
    assert body["token"].count(".") == 2


def test_auth_8_a_challenge_is_used_up_by_the_first_attempt_right_or_wrong() -> None:
    stage = Stage()
    challenge = stage.challenge()
    assert stage.verify(challenge).status == 200
    assert stage.verify(challenge).status == 401
    challenge = stage.challenge()
    assert stage.verify(challenge, response=b64encode(bytes(83)).decode()).status == 401
    assert stage.verify(challenge).status == 401


@pytest.mark.parametrize(("allowed", "status"), [(False, 401), (True, 200)])
def test_auth_8_sha_1_is_refused_unless_the_operator_allows_it(allowed: bool, status: int) -> None:
    stage = Stage(allow_sha1=allowed)
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    stage.hub.registry.add_key(TENANT, AGENT, line, "")
    challenge = stage.challenge()
    signature = private.sign(challenge.encode(), PKCS1v15(), SHA1())
    blob = pack_string(b"ssh-rsa") + pack_string(signature)
    assert stage.verify(challenge, response=b64encode(blob).decode()).status == status


def test_auth_8_a_challenge_expires() -> None:
    stage = Stage()
    challenge = stage.challenge()
    stage.wait(301)
    assert stage.verify(challenge).status == 401


def test_auth_8_all_failures_look_the_same_and_the_operator_learns_why() -> None:
    stage = Stage()
    stage.register("agent-2")
    answers = [
        stage.verify(stage.challenge("nobody"), agent_id="nobody"),
        stage.verify(stage.challenge("agent-2"), agent_id="agent-2"),
        stage.verify(stage.challenge(), tenant_id="tenant-2"),
        stage.verify(stage.challenge(), tenant_id=""),
        stage.verify(stage.challenge("nobody"), agent_id="nobody", tenant_id=""),
        stage.verify(stage.challenge(), agent_id="agent-2"),
        stage.verify(stage.challenge(), key_id="key-nobody"),
        stage.verify(stage.challenge(), response="!"),
        stage.verify(stage.challenge(), response=""),
        stage.verify("made-up.challenge.of.some.length"),
    ]
    assert {(response.status, response.body) for response in answers} == {
        (
            401,
            b'{"valid":false,"error":{"code":"authentication_failed","message":"the signature was not accepted"}}',
        )
    }
    assert len(stage.seen(AuthenticationRefused)) == len(answers)


@pytest.mark.parametrize("body", [b"", b"{", [], {}, {"agent_id": 5}, {"agent_id": ""}, {"agent_id": "x" * 129}])
def test_plat_7_a_body_that_is_no_json_is_400_and_another_than_expected_422(body: object) -> None:
    assert Stage().ask("/api/v1/auth/challenge", body).status == (400 if isinstance(body, bytes) else 422)


def test_other_requests_are_the_owners_to_answer() -> None:
    stage = Stage()
    session = stage.session()
    request = HttpRequest(method="GET", target="/elsewhere")
    session.request_received(7, request, stage.now, upgrade=False)
    assert sent(session) == [RequestArrived(session.conn, 7, request)]
    assert session.respond(7, HttpResponse(status=204), stage.now)
    session.disconnected("reset", stage.now)
    assert session.respond(7, HttpResponse(status=204), stage.now) is False


@pytest.mark.parametrize("begins", [False, True])
def test_one_request_at_a_time_whatever_a_transport_has_read_ahead(begins: bool) -> None:
    stage = Stage()
    session = stage.session()
    request = HttpRequest(method="GET", target="/elsewhere")
    session.request_received(7, request, stage.now, upgrade=False)
    if begins:
        assert session.respond(7, HttpResponse(status=200), stage.now, more=True)
    for upgrade in (False, True):
        with pytest.raises(LocalProtocolError, match="one request at a time"):
            session.request_received(8, request, stage.now, upgrade=upgrade)
    if begins:
        assert session.send_body(7, b"the end", stage.now, more=False)
    else:
        assert session.respond(7, HttpResponse(status=204), stage.now)
    session.request_received(8, request, stage.now, upgrade=False)
    assert session.respond(8, HttpResponse(status=204), stage.now)


def test_an_answer_may_come_in_pieces() -> None:
    stage = Stage()
    session = stage.session()
    session.request_received(7, HttpRequest(method="GET", target="/elsewhere"), stage.now, upgrade=False)
    assert session.send_body(7, b"early", stage.now) is False
    assert session.respond(7, HttpResponse(status=200), stage.now, more=True)
    assert session.send_body(7, b"one", stage.now)
    assert session.send_body(7, b"", stage.now, more=False)
    assert session.send_body(7, b"late", stage.now) is False
    assert sent(session)[1:] == [
        SendResponse(session.conn, 7, HttpResponse(status=200), more=True),
        SendBody(session.conn, 7, b"one", more=True),
        SendBody(session.conn, 7, b"", more=False),
    ]
    assert "one" not in repr(SendBody(1, 7, b"one", more=True))


# --- tokens and links -------------------------------------------------------------------------------------------------


def status_of(session: PlatformSession) -> int:
    """The status that answered an opening handshake."""
    (output,) = sent(session)
    return 101 if isinstance(output, AcceptUpgrade) else output.response.status


def test_tok_5_a_link_opens_with_the_agents_token_only() -> None:
    stage = Stage()
    stage.register("agent-2")
    assert status_of(stage.open()) == 101
    assert status_of(stage.open("nonsense")) == 401
    assert status_of(stage.open("")) == 401
    assert status_of(stage.open(authorization="Basic abc")) == 401
    assert status_of(stage.open(TENANT_TOKEN)) == 403
    assert status_of(stage.open(agent_id="agent-2")) == 403
    assert status_of(stage.open(origin="https://evil.example")) == 403, "PLAT-8"
    stage = Stage(allowed_origins=("https://good.example",))
    assert status_of(stage.open(origin="https://good.example")) == 101
    assert status_of(stage.open(origin="https://evil.example")) == 403


def test_tok_5_a_token_lives_15_minutes_and_tok_6_does_not_end_its_link() -> None:
    stage = Stage()
    token = stage.token()
    session = stage.open(token)
    stage.wait(899, hears=session)
    assert status_of(stage.open(token)) == 101
    stage.wait(2)
    assert status_of(stage.open(token)) == 401
    assert session.state.value == "closing", "replaced by the second, not ended by the expiry"


def test_tok_6_revoking_a_key_kills_its_tokens_and_its_link() -> None:
    stage = Stage()
    token = stage.token()
    session = stage.online()
    sent(session)
    stage.hub.revoke_key(TENANT, stage.key_id, stage.now)
    assert [output.code for output in sent(session)] == [4403]
    assert status_of(stage.open(token)) == 401
    assert stage.verify(stage.challenge()).status == 401


def test_plat_6_a_newer_link_replaces_the_older_whose_end_touches_nothing() -> None:
    stage = Stage()
    older, newer = stage.online(), stage.online()
    assert [output.code for output in sent(older) if isinstance(output, SendClose)] == [4409]
    older.close_received(4409, "", stage.now)
    older.disconnected("closed", stage.now)
    assert (stage.hub.conn_of(AGENT), stage.hub.agent(TENANT, AGENT).online) == (newer.conn, True)
    assert [event.epoch for event in stage.seen(AgentOnline)] == [1, 2]
    assert [event.epoch for event in stage.seen(AgentOffline)] == [1]


def test_hb_3_an_agent_is_online_from_its_first_heartbeat_to_the_end_of_its_link() -> None:
    stage = Stage()
    session = stage.open()

    def shown() -> dict[str, Any]:
        return stage.hub.agent(TENANT, AGENT).public()

    assert (stage.hub.agent(TENANT, AGENT).online, shown()["status"]) == (False, "offline")
    assert stage.hub.agent(TENANT, AGENT).agent_id == shown()["agent_id"] == AGENT
    say(stage, session, "heartbeat", {"agent_id": AGENT, "status": "busy", "cpu_usage": 1.5, "memory_usage": 2.5})
    assert shown()["status"] == "busy"
    assert shown()["metrics"] == {"cpu_usage": 1.5, "memory_usage": 2.5}
    say(stage, session, "heartbeat", {"agent_id": AGENT, "cpu_usage": 101, "memory_usage": -1})
    assert shown()["metrics"] == {"cpu_usage": 100, "memory_usage": 0}
    assert stage.seen(HeartbeatReceived)[-1].data.cpu_usage == 100
    session.disconnected("reset", stage.now)
    assert shown()["status"] == "offline"
    assert shown()["last_seen"] is not None


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message_type", "data"),
    [
        ("heartbeat", {"agent_id": "agent-2"}),
        ("heartbeat", {"agent_id": AGENT, "status": "asleep"}),
        ("heartbeat", {}),
        ("status", {"status": 5}),
        ("response", {"command_id": "x", "status": "maybe"}),
        ("response", {"status": "success"}),
    ],
)
def test_msg_5_bad_data_is_reported_and_otherwise_ignored(message_type: str, data: object) -> None:
    stage = Stage()
    session = stage.online()
    sent(session)
    say(stage, session, message_type, data)
    assert len(stage.seen(PeerViolation)) == 1
    assert sent(session) == []


def damaged(command_id: str, result: str = "NaN") -> bytes:
    """A response as a careless agent writes it."""
    data = f'{{"command_id":"{command_id}","status":"success","result":{result}}}'
    return f'{{"type":"response","id":"resp-1","data":{data}}}'.encode()


@pytest.mark.parametrize("result", ["NaN", "[1,-Infinity]", '"\\ud800"', "[" * 70 + "]" * 70, '{"a":}', ""])
def test_msg_5_a_response_that_cannot_be_read_ends_its_command(result: str) -> None:
    stage = Stage(max_bad_messages=1)
    session = stage.online()
    command_id = stage.command()
    assert command_ids(session) == [command_id]
    for _ in range(3):  # no bad message, as that of an agent's platform is none
        session.text_received(damaged(command_id, result), stage.now)
    assert stage.hub.command(TENANT, command_id).state == "failed"
    (ended,) = stage.seen(CommandAnswered)
    assert (ended.command_id, ended.response.status, ended.response.code) == (command_id, "error", "undeliverable")
    assert ended.response.reason.startswith("the agent's response cannot be read: expected ")
    assert [violation.agent_id for violation in stage.seen(PeerViolation)] == [AGENT] * 3
    assert sent(session) == []
    assert command_ids(stage.online()) == [], "it does not run again on the next link"


def test_msg_5_a_response_that_cannot_be_read_ends_no_other_command() -> None:
    stage = Stage()
    stage.register("agent-2")
    session = stage.online()
    command_id = stage.command()
    other = stage.hub.send_command(TENANT, "agent-2", "work", now=stage.now)
    before = stage.hub.command(TENANT, command_id).public()
    session.text_received(damaged(other.command_id), stage.now)
    session.text_received(damaged("nobody-knows"), stage.now)
    assert [each.command_id for each in stage.seen(CommandRepeated)] == [other.command_id, "nobody-knows"]
    assert stage.seen(CommandAnswered) == []
    assert (other.state, stage.hub.command(TENANT, command_id).public()) == ("queued", before)


def test_msg_5_what_is_told_of_a_response_that_cannot_be_read_is_short_and_visible() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command()
    answer(stage, session, command_id, status="\x1b\n" + "x" * 100_000)
    (ended,) = stage.seen(CommandAnswered)
    assert ended.response.reason.isprintable()
    assert len(ended.response.reason) < 300


def test_msg_5_too_many_bad_messages_in_a_row_close_with_1008() -> None:
    stage = Stage(max_bad_messages=3)
    session = stage.online()
    sent(session)
    for _ in range(4):
        session.text_received(b"[]", stage.now)
    assert [output.code for output in sent(session)] == [1008]


def test_msg_4_an_agent_may_say_what_nobody_knows_in_any_shape() -> None:
    stage = Stage(max_bad_messages=1)
    session = stage.online()
    sent(session)
    for _ in range(5):
        session.text_received(b'{"type":"ACK","message_id":5}', stage.now)
        session.text_received(b'{"type":"command"}', stage.now)
    assert [event.type for event in stage.seen(UnknownReceived)] == ["ACK", "command"] * 5
    assert sent(session) == [], "the link is as it was"


# --- commands ---------------------------------------------------------------------------------------------------------


def test_cmd_10_commands_wait_for_the_agent_and_go_out_in_order() -> None:
    stage = Stage()
    ids = [stage.command(args={"n": n}) for n in range(5)]
    session = stage.online()
    assert command_ids(session) == ids
    late = stage.command()
    assert command_ids(session) == [late]


def test_cmd_10_at_most_the_window_is_unanswered_on_a_connection() -> None:
    stage = Stage(window=3)
    session = stage.online()
    ids = [stage.command() for _ in range(6)]
    assert command_ids(session) == ids[:3]
    answer(stage, session, ids[1])
    assert command_ids(session) == ids[3:4]
    for command_id in ids:
        answer(stage, session, command_id)
    assert [stage.hub.command(TENANT, command_id).state for command_id in ids] == ["succeeded"] * 6


def test_cmd_10_unanswered_commands_go_out_again_on_the_next_connection_only() -> None:
    stage = Stage()
    first = stage.online()
    ids = [stage.command() for _ in range(3)]
    assert command_ids(first) == ids
    answer(stage, first, ids[0])
    stage.wait(60)
    assert command_ids(first) == []
    first.disconnected("reset", stage.now)
    assert command_ids(stage.online()) == ids[1:]


def test_cmd_9_an_overloaded_command_goes_out_again_after_a_second() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command()
    command_ids(session)
    answer(stage, session, command_id, status="error", code="overloaded", reason="")
    assert stage.hub.command(TENANT, command_id).state == "queued"
    stage.wait(0.99)
    assert command_ids(session) == []
    stage.wait(0.02)
    assert command_ids(session) == [command_id]
    assert [event.code for event in stage.seen(CommandDeferred)] == ["overloaded"]


def test_cmd_9_a_draining_command_waits_for_the_next_link() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command()
    command_ids(session)
    answer(stage, session, command_id, status="error", code="draining", reason="")
    stage.wait(10)
    say(stage, session, "status", {"status": "offline"})
    assert command_ids(session) == []
    session.disconnected("closed", stage.now)
    assert command_ids(stage.online()) == [command_id]


def test_cmd_9_an_overloaded_command_of_a_lost_link_is_not_sent_twice_on_the_next() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command()
    answer(stage, session, command_id, status="error", code="overloaded", reason="")
    session.disconnected("reset", stage.now)
    second = stage.online()
    assert command_ids(second) == [command_id]
    stage.wait(5)
    assert command_ids(second) == []


def test_cmd_3_the_first_final_response_counts_and_repeats_are_dropped() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command()
    answer(stage, session, command_id, result={"n": 1})
    answer(stage, session, command_id, result={"n": 2})
    answer(stage, session, "never-sent")
    response = stage.hub.command(TENANT, command_id).response
    assert response is not None
    assert bytes(response.result) == b'{"n": 1}'
    assert len(stage.seen(CommandAnswered)) == 1
    assert [event.command_id for event in stage.seen(CommandRepeated)] == [command_id, "never-sent"]


def test_cmd_10_an_unanswered_command_expires_and_a_late_response_is_shown_as_late() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command(expires_in_s=60)
    stage.wait(60, hears=session)
    assert stage.hub.command(TENANT, command_id).state == "expired"
    assert len(stage.seen(CommandExpired)) == 1
    answer(stage, session, command_id)
    command = stage.hub.command(TENANT, command_id)
    assert (command.state, command.late, command.response is not None) == ("expired", True, True)
    answer(stage, session, command_id)
    assert len(stage.seen(CommandRepeated)) == 1


def test_cmd_10_an_expired_command_is_not_sent_any_more() -> None:
    stage = Stage()
    gone, stays = stage.command(expires_in_s=10), stage.command()
    stage.wait(10)
    assert command_ids(stage.online()) == [stays]
    assert stage.hub.command(TENANT, gone).attempts == 0


def test_cmd_10_nothing_is_sent_in_the_moment_in_which_it_expires() -> None:
    stage = Stage(window=1)
    session = stage.online()
    first, second = stage.command(expires_in_s=10.0), stage.command(expires_in_s=10.0)
    assert command_ids(session) == [first]
    stage.wait(10.0)
    assert command_ids(session) == []
    assert [stage.hub.command(TENANT, each).attempts for each in (first, second)] == [1, 0]
    third, fourth = stage.command(expires_in_s=10.0), stage.command(expires_in_s=10.0)
    assert command_ids(session) == [], "the first keeps its place in the window"
    answer(stage, session, first)
    assert command_ids(session) == [third]
    stage.mono += 10.0  # and the timer comes late
    answer(stage, session, third)
    assert command_ids(session) == []
    stage.wait(0)
    states = [stage.hub.command(TENANT, each).state for each in (first, second, third, fourth)]
    assert states == ["expired", "expired", "succeeded", "expired"]


def test_plat_4_the_same_command_again_in_whatever_order_of_names_is_the_same_and_another_a_conflict() -> None:
    stage = Stage()
    session = stage.online()
    for args in ({"a": 1, "b": {"c": True, "d": None}}, {"b": {"d": None, "c": True}, "a": 1}):
        assert stage.command(command_id="c-1", args=args) == "c-1"
    assert command_ids(session) == ["c-1"]
    for other in ({"a": True, "b": {"c": True, "d": None}}, {"a": 1}):
        with pytest.raises(ApiError) as refused:
            stage.command(command_id="c-1", args=other)
        assert (refused.value.status, refused.value.error) == (409, "command_exists")
    with pytest.raises(ApiError):
        stage.command(command_id="c-1", args={"a": 1, "b": {"c": True, "d": None}}, timeout_s=5)


def test_plat_4_ids_are_unique_within_tenant_and_agent() -> None:
    stage = Stage()
    stage.register("agent-2")
    stage.register("agent-3", "tenant-2")
    hub, now = stage.hub, stage.now
    first = hub.send_command(TENANT, AGENT, "one", command_id="c-1", now=now)
    assert hub.command(TENANT, "c-1") == first
    second = hub.send_command(TENANT, "agent-2", "two", command_id="c-1", now=now)
    third = hub.send_command("tenant-2", "agent-3", "three", command_id="c-1", now=now)
    assert hub.send_command(TENANT, AGENT, "one", command_id="c-1", now=now) == first
    assert hub.command("tenant-2", "c-1") == third
    with pytest.raises(ApiError) as refused:
        hub.command(TENANT, "c-1")
    assert (refused.value.status, refused.value.error) == (409, "ambiguous_command_id")
    assert hub.command(TENANT, "c-1", AGENT) == first
    assert hub.command(TENANT, "c-1", "agent-2") == second
    for agent_id in ("agent-3", "nobody", ""):
        with pytest.raises(ApiError) as refused:
            hub.command(TENANT, "c-1", agent_id)
        assert refused.value.status == 404

    def states() -> list[str]:
        named = ((TENANT, AGENT), (TENANT, "agent-2"), ("tenant-2", "agent-3"))
        return [hub.command(tenant_id, "c-1", agent_id).state for tenant_id, agent_id in named]

    session = stage.online()
    assert command_ids(session) == ["c-1"]
    answer(stage, session, "c-1")
    assert states() == ["succeeded", "queued", "queued"]
    stage.wait(86_400)
    assert states() == ["succeeded", "expired", "expired"]


# --- liars ------------------------------------------------------------------------------------------------------------


def test_cmd_9_overloaded_for_what_is_not_under_way_on_this_link_is_dropped() -> None:
    stage = Stage(window=1)
    session = stage.online()
    ids = [stage.command() for _ in range(3)]
    assert command_ids(session) == ids[:1]
    for _ in range(100):
        for command_id in ids:
            answer(stage, session, command_id, status="error", code="overloaded", reason="")
    stage.wait(10)
    sent_again = command_ids(session)
    assert sorted(sent_again) == sorted(set(sent_again))


def test_cmd_9_after_draining_the_link_gets_no_more() -> None:
    stage = Stage(window=2)
    session = stage.online()
    ids = [stage.command() for _ in range(10)]
    assert command_ids(session) == ids[:2]
    answer(stage, session, ids[0], status="error", code="draining", reason="")
    answer(stage, session, ids[1])
    assert command_ids(session) == []
    assert stage.command() not in command_ids(session)


def test_a_stored_result_does_not_keep_the_message_it_came_in() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command()
    data = {"command_id": command_id, "status": "success", "result": 1, "padding": "x" * 500_000}
    payload = json.dumps({"type": "response", "id": "x-1", "data": data}).encode()
    references = getrefcount(payload)
    session.text_received(payload, stage.now)
    stage.seen(CommandAnswered)
    assert stage.hub.command(TENANT, command_id).response is not None
    assert size_of(stage, command_id) < 100
    assert getrefcount(payload) == references


def test_finished_commands_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_BYTES", 1000)
    stage = Stage()
    session = stage.online()
    ids = [stage.command() for _ in range(5)]
    for command_id in ids:
        answer(stage, session, command_id, result="x" * 400)
    for command_id in ids[:3]:
        with pytest.raises(ApiError):
            stage.hub.command(TENANT, command_id)
    assert stage.hub.command(TENANT, ids[4]).state == "succeeded"


def test_a_stored_code_and_reason_are_bounded_and_counted() -> None:
    stage = Stage()
    session = stage.online()
    command_id = stage.command()
    answer(stage, session, command_id, status="error", code="x" * 100_000, reason="\U0001f600" * 100)
    kept = stage.hub.command(TENANT, command_id)
    assert kept.response is not None
    assert (len(kept.response.code), size_of(stage, command_id)) == (64, 2 + 4 + 400)


def test_pending_commands_of_all_agents_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_ALL_PENDING_COMMAND_BYTES", 10_000)
    stage = Stage()
    stage.register("agent-2")
    session = stage.online()
    ids = [stage.command(args={"x": "x" * 3000}) for _ in range(2)]  # 2,048 more each
    for agent_id in (AGENT, "agent-2"):
        with pytest.raises(ApiError, match="keeps at most 10000 bytes of open commands") as refused:
            stage.hub.send_command(TENANT, agent_id, "work", now=stage.now)
        assert (refused.value.status, refused.value.error) == (503, "store_full")
    answer(stage, session, ids[0])
    stage.hub.send_command(TENANT, "agent-2", "work", now=stage.now)


def test_cmd_9_giving_back_what_is_not_under_way_is_told_as_a_repeat() -> None:
    stage = Stage()
    command_id = stage.command()
    session = stage.online()
    for _ in range(2):
        answer(stage, session, command_id, status="error", code="overloaded", reason="")
    assert stage.seen(CommandRepeated) == [CommandRepeated(AGENT, command_id)]


def test_pending_bytes_are_those_of_all_that_wait_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_PENDING_COMMAND_BYTES", 18)
    stage = Stage()
    session = stage.online()
    first = stage.command(args={"n": 1})
    stage.command(args={"n": 2})
    answer(stage, session, first, result="x" * 100)
    stage.command(args={"n": 33333})
    with pytest.raises(ApiError) as refused:
        stage.command()
    assert refused.value.status == 429


def test_late_responses_are_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_BYTES", 1000)
    stage = Stage()
    ids = sorted(stage.command(expires_in_s=5) for _ in range(3))  # which expire at once, in the order of their ids
    session = stage.online()
    stage.wait(5)
    for command_id in ids:
        answer(stage, session, command_id, result="x" * 600)
    assert [event.late for event in stage.seen(CommandAnswered)] == [True] * 3
    with pytest.raises(ApiError):
        stage.hub.command(TENANT, ids[0])
    assert stage.hub.command(TENANT, ids[2]).late


def test_what_is_forgotten_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_COMMANDS", 2)
    stage = Stage()
    stage.register("agent-2")
    session = stage.online()
    for agent_id in (AGENT, "agent-2"):
        stage.hub.send_command(TENANT, agent_id, "work", command_id="c-1", expires_in_s=5, now=stage.now)
    answer(stage, session, "c-1")
    for _ in range(2):
        answer(stage, session, stage.command())
    assert stage.hub.command(TENANT, "c-1").agent_id == "agent-2"
    stage.wait(5)
    answer(stage, session, stage.command())
    answer(stage, session, stage.command())
    with pytest.raises(ApiError):
        stage.hub.command(TENANT, "c-1")
    assert len([record for record in stage.hub.records() if record.kind is Kind.COMMAND]) == 2


def test_cmd_10_an_id_that_is_used_again_expires_in_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_COMMANDS", 0)
    stage = Stage()
    session = stage.online()
    stage.command(command_id="c-1", expires_in_s=5.0)
    answer(stage, session, "c-1")  # and so it is forgotten
    monkeypatch.undo()
    stage.command(command_id="c-1", expires_in_s=60.0)
    stage.wait(59.0)
    assert stage.hub.command(TENANT, "c-1").state == "sent"


def test_pending_commands_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_PENDING_COMMAND_BYTES", 1000)
    stage = Stage()
    first = stage.command(args={"a": "x" * 1000})
    with pytest.raises(ApiError) as refused:
        stage.command()
    assert refused.value.status == 429
    session = stage.online()
    answer(stage, session, first)
    stage.command()


def test_cmd_10_the_heap_of_expiries_does_not_keep_what_is_finished() -> None:
    stage = Stage()
    session = stage.online()
    for _ in range(200):
        answer(stage, session, stage.command())
        sent(session)
    assert len(stage.hub._delivery._expiries) < 100  # type: ignore[reportPrivateUsage]


def test_cmd_10_what_expires_behind_a_full_window_leaves_nothing_in_the_line() -> None:
    stage = Stage(window=1)
    session = stage.online()
    stage.command()
    for _ in range(200):
        stage.command(expires_in_s=0.5)
        stage.wait(0.5, hears=session)
    waits = stage.command()
    window = stage.hub._links.presence(AGENT).window  # type: ignore[reportPrivateUsage]
    assert window is not None
    assert len(window.to_send) < 100
    answer(stage, session, command_ids(session)[0])
    assert command_ids(session) == [waits]


def test_cmd_10_an_id_that_is_used_again_is_sent_once_and_in_its_own_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_COMMANDS", 0)
    stage = Stage(window=3)
    session = stage.online()
    for _ in range(3):
        stage.command()
    unanswered = command_ids(session)
    stage.command(command_id="c-1", expires_in_s=5.0)
    stage.wait(5.0)  # and so it is forgotten
    between = stage.command()
    stage.command(command_id="c-1")
    for command_id in unanswered:
        answer(stage, session, command_id)
    assert command_ids(session) == [between, "c-1"]


def test_link_7_a_late_look_at_a_silent_agent_pings_first() -> None:
    stage = Stage()
    session = stage.online()
    sent(session)
    stage.mono += 200
    stage.wall += 200
    stage.hub.handle_timer(stage.now)
    assert [type(output) for output in sent(session)] == [SendPing]
    stage.wait(20)
    assert [output.code for output in sent(session)] == [4408]


def test_hb_3_90_s_of_silence_end_it_whatever_the_ping_settings() -> None:
    stage = Stage(ping_interval=80.0, ping_timeout=80.0)
    session = stage.online()
    sent(session)
    stage.wait(89)
    assert [type(output) for output in sent(session)] == [SendPing]
    stage.wait(1)
    assert [output.code for output in sent(session)] == [4408]


def test_hb_3_what_is_reported_as_90_s_of_silence_end_does_not_put_that_off() -> None:
    stage = Stage(ping_interval=80.0, ping_timeout=80.0)
    session = stage.online()
    stage.wait(89)
    sent(session)
    stage.mono += 1.0
    session.unsent(0, stage.now)
    stage.hub.handle_timer(stage.now)
    assert [output.code for output in sent(session)] == [4408]


@pytest.mark.repeats
def test_hb_3_the_end_of_silence_is_a_time_that_comes() -> None:
    rng = Random(1)
    for _ in range(300):
        stage = Stage(ping_interval=80.0, ping_timeout=80.0)
        stage.mono = rng.uniform(940.0, 1020.0)  # below a power of two, unlike `end`: differences round otherwise
        session = stage.online()
        end = stage.mono + 90.0
        stage.mono += 80.0
        stage.hub.handle_timer(stage.now)
        stage.wait(end - stage.mono + GRID_S)
        assert [output.code for output in sent(session) if isinstance(output, SendClose)] == [4408]


def test_no_pong_follows_a_close_frame() -> None:
    stage = Stage()
    session = stage.online()
    session.unsent(1 << 20, stage.now)
    session.ping_received(b"1", stage.now)
    session.close(4403, "", stage.now)
    session.unsent(0, stage.now)
    assert not [output for output in sent(session) if isinstance(output, SendPong)]


def test_hb_3_a_link_that_was_never_online_does_not_go_offline() -> None:
    stage = Stage()
    stage.open().disconnected("reset", stage.now)
    assert stage.seen(AgentOffline) == []


def test_auth_8_a_full_book_answers_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.challenges.MAX_CONSUMED_CHALLENGES", 1)
    stage = Stage()
    stage.verify(stage.challenge())
    for changes in ({}, {"agent_id": "nobody"}, {"tenant_id": ""}):
        answered = stage.verify(stage.challenge(), **changes)
        message = "too many agents are signing in at this moment: try again in a few minutes"
        assert (answered.status, answered.header("retry-after")) == (503, "60")
        assert json.loads(answered.body) == {"error": {"code": "busy", "message": message}}


def test_auth_8_challenges_of_unknown_agents_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.challenges.MAX_CONSUMED_CHALLENGES", 1)
    stage = Stage()
    for _ in range(10):
        assert stage.verify(stage.challenge("nobody"), agent_id="nobody", tenant_id="").status == 401
    assert not stage.hub.authenticator._book._consumed  # type: ignore[reportPrivateUsage]
    assert stage.verify(stage.challenge()).status == 200


@pytest.mark.parametrize(
    ("address", "where"),
    [(None, ""), ("", ""), ("10.0.0.7", " from 10.0.0.7"), ("fe80::1%eth0\n", r" from fe80::1%eth0\n")],
)
def test_plat_6_who_is_replaced_hears_from_where(address: str | None, where: str) -> None:
    stage = Stage()
    older = stage.online()
    sent(older)
    stage.online(address=address)
    (close,) = [output for output in sent(older) if isinstance(output, SendClose)]
    assert (close.code, close.reason) == (4409, f"replaced by a newer connection{where}")
    assert len(close.reason.encode()) <= 123
    assert [event.reason for event in stage.seen(AgentOffline)] == [close.reason]
