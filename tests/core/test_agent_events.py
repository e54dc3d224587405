"""What an agent asks for, says and decides, each as a whole: requests, final responses, events and their reasons."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from artcafe_proto import (
    AgentConfig,
    AgentProtocol,
    AgentTimer,
    HttpRequest,
    Instant,
    LocalProtocolError,
    OutboxFullError,
    RemoteProtocolError,
)
from artcafe_proto.agent.authentication import read_details
from artcafe_proto.effects import (
    Connect,
    Disconnect,
    SendClose,
    SendPing,
    SendPong,
    SendRequest,
    SendText,
    Sign,
    Write,
)
from artcafe_proto.events import (
    CallFailed,
    ClocksParted,
    CommandCancelled,
    CommandReceived,
    CommandRefused,
    MessageSettled,
    Offline,
    PeerViolation,
    RenewalFailed,
    RepeatReceived,
    ResponseReplaced,
    Stopped,
    Undeliverable,
)
from support.scripted import CHALLENGE, Scripted, answer, token

TIMESTAMP = "2001-09-09T01:46:40.000Z"


def responses(script: Scripted) -> list[dict[str, Any]]:
    """The data of all responses that were sent so far."""
    return [message["data"] for message in script.texts("response")]


# --- requests ---------------------------------------------------------------------------------------------------------


def test_link_1_every_request_is_what_the_guide_says_and_nothing_else() -> None:
    script = Scripted(
        tenant_id="t",
        key_id="k",
        api_endpoint="http://localhost/base",
        user_agent="ua",
        extra_headers=(("x-extra", "1"),),
    )
    common = (("user-agent", "ua"), ("x-extra", "1"))
    json_body = (("content-type", "application/json"), ("accept", "application/json"), *common)
    challenge = script.connect().request
    assert (challenge.method, challenge.target) == ("POST", "/base/api/v1/auth/challenge")
    assert challenge.headers == json_body
    assert json.loads(challenge.body) == {"agent_id": "agent-1"}
    verify = script.sign().request
    assert (verify.method, verify.target, verify.headers) == ("POST", "/base/api/v1/auth/verify", json_body)
    assert json.loads(verify.body) == {
        "tenant_id": "t",
        "key_id": "k",
        "challenge": CHALLENGE,
        "response": "c2lnbmF0dXJl",
        "agent_id": "agent-1",
    }
    assert "key_id" not in json.loads(Scripted().sign().request.body), "where none is configured"
    value = token()
    upgrade = script.verify(value).request
    bearer = ("authorization", f"Bearer {value}")
    assert (upgrade.method, upgrade.target) == ("GET", "/base/api/v1/ws/agent/agent-1")
    assert (upgrade.headers, upgrade.body) == ((bearer, *common), b"")
    script.up()
    script.machine.get_details(script.now)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    details = script.expect(SendRequest)
    assert details.request.headers == (("accept", "application/json"), bearer, *common)
    script.machine.put_status("busy", script.now)
    script.answer(details, answer(200, {}))
    status = script.expect(SendRequest).request
    assert (status.method, status.target) == ("PUT", "/base/api/v1/agents/agent-1/status")
    assert status.headers == (*json_body[:2], bearer, *common)
    assert status.body == b'{"status":"busy"}'


@pytest.mark.parametrize(
    ("response", "reason", "status"),
    [
        (answer(409), "the platform answered the call with status 409", 409),
        (
            answer(200, {"a": json.loads("[" * 64 + "]" * 64)}),
            "expected an agent as a JSON object: it nests too deeply",
            200,
        ),
        (answer(200, []), "expected an agent as a JSON object: Expected `object`, got `array`", 200),
    ],
)
def test_stat_2_a_call_that_fails_says_why(response: Any, reason: str, status: int) -> None:
    script = Scripted()
    script.up()
    call = script.machine.get_details(script.now)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    script.answer(script.expect(SendRequest), response)
    assert script.expect(CallFailed) == CallFailed(call, reason, "STAT-2", status)


def test_stat_2_a_failed_call_names_the_status_it_got_or_400() -> None:
    for response, code in ((answer(404), 404), (answer(200, []), 400)):
        with pytest.raises(RemoteProtocolError) as refused:
            read_details(HttpRequest(method="GET", target="/"), response)
        assert refused.value.code == code


# --- failures ---------------------------------------------------------------------------------------------------------


class Alive(Scripted):
    """A script whose platform may be heard all the time."""

    def alive(self) -> None:
        """A second passes in which something was heard."""
        if self.machine.state.link.value == "up":
            conn = next(output.conn for output in reversed(self.said) if isinstance(output, SendText))
            self.machine.bytes_received(conn, self.now)
        self.wait(1)


FAILURES: list[tuple[Callable[[Alive], object], str, str]] = [
    (lambda s: s.machine.peer_ended(s.up(), s.now), "the connection ended: the peer closed it", "LINK-3"),
    (
        lambda s: s.machine.peer_failed(s.up(), RemoteProtocolError(1002, "nonsense", "RFC 6455"), s.now),
        "nonsense",
        "RFC 6455",
    ),
    (
        lambda s: s.machine.peer_failed(s.connect().conn, RemoteProtocolError(400, "odd", "RFC 9112"), s.now),
        "odd",
        "RFC 9112",
    ),
    (
        lambda s: s.machine.sign_failed(s.challenge().request, "no agent", s.now),
        "signing the challenge failed: no agent",
        "AUTH-6",
    ),
    (
        lambda s: (s.challenge(), s.wait(60)),
        "signing the challenge took longer than 60 s",
        "AUTH-6",
    ),
    (
        lambda s: s.machine.connect_failed(s.start().conn, "dns", "who?", s.now),
        "cannot connect (dns): who?",
        "LINK-3",
    ),
    (lambda s: (s.start(), s.wait(10)), "connecting took too long", "LINK-8"),
    (lambda s: (s.connect(), s.wait(15)), "the platform did not answer in time", "LINK-8"),
    (
        lambda s: (s.machine.unsent(s.up(), 1 << 20, s.now), [s.alive() for _ in range(30)]),
        "writing stalled",
        "LINK-8",
    ),
    (lambda s: (s.up(), s.wait(40)), "nothing came for 20 s after a ping", "LINK-7"),
    (
        lambda s: s.answer(s.connect(), answer(401)),
        "the platform answered the challenge request with status 401: "
        "a challenge needs no credentials: does something in front of the platform want some, as extra_headers, or is "
        "this agent_id barred there?",
        "AUTH-7",
    ),
    (
        lambda s: s.answer(s.connect(), answer(500)),
        "the platform answered the challenge request with status 500",
        "AUTH-7",
    ),
    (
        lambda s: s.answer(s.connect(), answer(200, {})),
        "the challenge response was not understood: Object missing required field `challenge`",
        "AUTH-7",
    ),
    (
        lambda s: s.answer(s.sign(), answer(403)),
        "the platform answered the signature with status 403: "
        "is this agent allowed there, of this tenant_id, and its key not revoked?",
        "AUTH-7",
    ),
    (
        lambda s: s.answer(s.sign(), answer(200, {})),
        "the verify response was not understood: Object missing required field `valid`",
        "AUTH-7",
    ),
    (
        lambda s: s.answer(s.sign(), answer(200, {"valid": False})),
        "the platform found the signature not valid: "
        "is this key registered there, for this agent_id, tenant_id and key_id, and does it take this "
        "signature_format?",
        "AUTH-7",
    ),
    (
        lambda s: s.answer(s.sign(), answer(200, {"valid": True})),
        "the platform found the signature valid but sent no token",
        "AUTH-7",
    ),
    (
        lambda s: s.answer(s.sign(), answer(200, {"valid": True, "token": "ä"})),
        "expected a bearer token of RFC 6750's characters, got others",
        "TOK-1",
    ),
    (
        lambda s: s.answer(s.verify(), answer(503)),
        "the platform answered the opening handshake with status 503",
        "LINK-3",
    ),
]


@pytest.mark.parametrize(("failure", "reason", "clause"), FAILURES)
def test_link_3_every_failure_says_what_happened_and_by_which_clause(
    failure: Callable[[Alive], object], reason: str, clause: str
) -> None:
    script = Alive()
    failure(script)
    offline = script.expect(Offline)
    assert (offline.reason, offline.clause) == (reason, clause)
    assert offline.retry_at is not None


def test_link_3_every_way_a_link_ends_says_how_its_connection_does() -> None:
    script = Scripted(max_bad_messages=1)
    conn = script.up()
    for _ in range(2):
        script.machine.text_received(conn, b"[]", script.now)
    reason = "more than 1 bad messages in a row"
    script.drain()
    ends = [output for output in script.said if isinstance(output, PeerViolation | SendClose | Offline | Disconnect)]
    violation = ends[0]
    assert isinstance(violation, PeerViolation)
    assert violation.reason
    assert ends[1:] == [violation, Offline(reason, "MSG-5", script.mono + 1), SendClose(conn, 1008, reason)] + [
        Disconnect(conn, abort=False)
    ]
    conn = script.up()
    script.machine.peer_failed(conn, RemoteProtocolError(1002, "nonsense", "RFC 6455"), script.now)
    assert script.expect(SendClose) == SendClose(conn, 1002, "nonsense")
    assert script.expect(Disconnect) == Disconnect(conn, abort=False)
    conn = script.up()
    script.machine.peer_ended(conn + 1000, script.now)
    script.none_of(Disconnect, Offline)
    script.machine.peer_ended(conn, script.now)
    assert script.expect(Disconnect) == Disconnect(conn, abort=True)
    conn = script.up()
    script.machine.close_received(conn, 1001, "bye", script.now)
    assert script.expect(SendClose) == SendClose(conn, 1001, "")
    assert script.expect(Disconnect) == Disconnect(conn, abort=False)


def test_link_3_a_token_refused_at_once_is_replaced_at_once_but_once_in_a_row() -> None:
    script = Scripted()
    waits: list[float] = []
    for _ in range(4):
        upgrade = script.verify(token(exp=script.wall, iat=script.wall))
        script.answer(upgrade, answer(401))
        offline = script.expect(Offline)
        assert offline.retry_at is not None
        waits.append(offline.retry_at - script.mono)
    assert waits[0] == 0.0
    assert min(waits[1:]) >= 5.0, "once in a row"


def test_tok_2_a_renewal_whose_signature_fails_says_so_and_the_link_stays_up() -> None:
    script = Scripted()
    conn = script.up(token(exp=1e9 + 50))
    script.unseen.clear()
    for _ in range(4):
        script.wait(10)
        script.machine.bytes_received(conn, script.now)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    script.answer(script.expect(SendRequest), answer(200, {"challenge": CHALLENGE, "expires_at": ""}))
    sign = script.expect(Sign)
    script.machine.sign_failed(sign.request + 1000, "not this one", script.now)
    script.none_of(RenewalFailed, Offline)
    script.machine.sign_failed(sign.request, "no agent", script.now)
    reason = "signing the challenge failed: no agent"
    assert script.expect(RenewalFailed) == RenewalFailed(reason, "AUTH-6", script.mono + 10)
    script.none_of(Offline)


def test_link_7_clocks_that_part_age_the_token_by_what_they_parted_and_ping() -> None:
    script = Scripted(ping_timeout=7.0)
    conn = script.up(token(exp=1e9 + 900))
    renew_at = script.mono + 720
    script.machine.bytes_received(conn, Instant(script.mono, script.wall - 100.0))
    assert script.expect(ClocksParted) == ClocksParted(-100.0, "LINK-7")
    assert script.expect(SendPing).conn == conn
    timers = script.machine._timers  # pyright: ignore[reportPrivateUsage]
    assert timers.get(AgentTimer.RENEW) == renew_at, "a clock set back makes no token older"
    assert timers.get(AgentTimer.PING) == script.mono + 7
    script.machine.bytes_received(conn, Instant(script.mono, script.wall))
    assert timers.get(AgentTimer.RENEW) == renew_at - 100


# --- commands ---------------------------------------------------------------------------------------------------------


def test_cmd_3_a_response_is_what_the_guide_says() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", {"n": 1}, script.now)
    (message,) = script.texts("response")
    assert message.pop("id").startswith("resp-")
    data = {"command_id": "cmd-1", "status": "success", "result": {"n": 1}}
    assert message == {"type": "response", "data": data, "timestamp": TIMESTAMP}


def test_cmd_9_every_final_error_has_its_code_and_reason() -> None:
    script = Scripted(max_concurrent=1, close_timeout=1.0, drain_timeout=1.0)
    conn = script.up()
    script.command(conn, "late", timeout=1)
    script.command(conn, "waits", timeout=2)
    script.wait(1)
    assert script.expect(CommandCancelled) == CommandCancelled("late", "timeout", "CMD-4", "work")
    script.wait(1)
    reason = "it waited for a slot until its timeout"
    assert script.expect(CommandRefused) == CommandRefused("waits", "timeout", reason, "CMD-4", "work")
    assert script.machine.respond("late", None, script.now) is False
    script.command(conn, "failed")
    assert script.machine.fail("failed", "handler_error", "ValueError", script.now)
    script.receive(conn, "command", {"command": 5}, "bad")
    script.command(conn, "runs")
    script.command(conn, "queued")
    script.machine.stop(script.now)
    script.wait(1)
    assert script.expect(CommandCancelled) == CommandCancelled("runs", "cancelled", "CMD-8", "work")
    said = [(data["command_id"], data["code"], data["reason"]) for data in responses(script)]
    bad = next(reason for command_id, _, reason in said if command_id == "bad")
    assert said == [
        ("late", "timeout", "the command's timeout passed"),
        ("waits", "timeout", "it waited for a slot until its timeout"),
        ("failed", "handler_error", "ValueError"),
        ("bad", "invalid_arguments", bad),
        ("queued", "draining", "the agent is about to stop"),
        ("runs", "cancelled", "the agent stopped before the command was done"),
    ]
    assert PeerViolation(bad, "MSG-5") in script.said
    assert {data["status"] for data in responses(script)} == {"error"}


def test_cmd_2_a_repeat_whose_result_is_gone_is_answered_expired_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.ledger.MAX_STORED_BODIES_BYTES", 1000)
    script = Scripted()
    conn = script.up()
    script.command(conn, "large")
    script.machine.respond("large", "x" * 500, script.now)
    script.pong(conn)
    script.command(conn, "next")
    script.machine.respond("next", "x" * 500, script.now)
    script.drain()
    script.unseen.clear()
    script.command(conn, "large")
    assert script.expect(RepeatReceived) == RepeatReceived("large", "expired_result", "CMD-2")
    text = script.text(script.expect(SendText))
    assert text["data"] == {
        "command_id": "large",
        "status": "error",
        "reason": "the result is no longer stored",
        "code": "expired_result",
    }
    script.none_of(PeerViolation)


@pytest.mark.parametrize("other", [{"args": {"n": 2}}, {"command": 5}])
def test_cmd_2_other_content_under_a_known_id_is_told_and_a_repeat_all_the_same(other: dict[str, Any]) -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn, args={"n": 1})
    script.command(conn, args={"n": 1})
    script.none_of(PeerViolation)
    script.command(conn, **other)
    reason = "a command id was used again with other content"
    assert script.expect(PeerViolation) == PeerViolation(reason, "CMD-2")
    assert script.expect(RepeatReceived) == RepeatReceived("cmd-1", None, "CMD-2")
    assert script.machine.in_flight == ("cmd-1",)
    assert responses(script) == []


@pytest.mark.parametrize("data", [{}, {"command": 5}, {"command": "x", "timeout": 0}, {"command": "x", "args": []}])
def test_cmd_2_a_bad_command_is_answered_and_a_repeat_when_it_comes_again_good_or_bad(data: dict[str, Any]) -> None:
    script = Scripted()
    conn = script.up()
    script.receive(conn, "command", data, "bad")
    script.pong(conn)
    (answered,) = responses(script)
    assert (answered["command_id"], answered["code"]) == ("bad", "invalid_arguments")
    for again in (data, {"command": "x"}):
        script.receive(conn, "command", again, "bad")
    assert responses(script) == [answered] * 3, "the id alone is the identity"
    script.none_of(CommandReceived)


def test_cmd_11_poison_is_told_when_it_is_replaced_and_when_it_is_dropped() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", "x" * 100, script.now)
    script.machine.close_received(conn, 1009, "", script.now)
    reason = "the response cost every link"
    assert script.expect(ResponseReplaced) == ResponseReplaced("cmd-1", "undeliverable", reason, "CMD-11")
    conn = script.up()
    assert responses(script)[-1] == {
        "command_id": "cmd-1",
        "status": "error",
        "reason": reason,
        "code": "undeliverable",
    }
    stored = script.machine._desk._ledger.stored_bytes  # pyright: ignore[reportPrivateUsage]
    last = [output for output in script.said if isinstance(output, SendText)]
    assert stored in {len(output.payload) for output in last}
    script.machine.close_received(conn, 1009, "", script.now)
    assert script.expect(Undeliverable) == Undeliverable("cmd-1", "cmd-1", "CMD-11")
    conn = script.up()
    script.command(conn)
    assert script.expect(RepeatReceived) == RepeatReceived("cmd-1", "stored", "CMD-2"), "it counts as settled"
    message_id = script.machine.send_message({}, script.now)
    script.machine.close_received(conn, 1009, "", script.now)
    assert script.expect(Undeliverable) == Undeliverable(message_id, None, "CMD-11")


def test_cmd_4_the_next_deadline_is_the_earliest_of_all_that_run_and_wait() -> None:
    script = Scripted(max_concurrent=2)
    conn = script.up()
    for number, timeout in enumerate((10, 30, 20, 40)):
        script.command(conn, f"cmd-{number}", timeout=timeout)
    begun = script.mono
    desk = script.machine._desk  # pyright: ignore[reportPrivateUsage]
    assert desk.deadline == begun + 10
    for deadline in (20, 30, 40):
        desk.expire(script.now._replace(mono=begun + deadline - 10))
        assert desk.deadline == begun + deadline
    desk.expire(script.now._replace(mono=begun + 40))
    assert desk.deadline is None


def test_cmd_2_a_repeat_while_the_response_waits_is_ignored_and_a_settled_one_is_answered() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn, "settled")
    script.machine.respond("settled", None, script.now)
    script.pong(conn)
    script.command(conn, "waits")
    script.machine.unsent(conn, 1 << 20, script.now)
    script.machine.respond("waits", None, script.now)
    script.command(conn, "settled")
    assert script.expect(RepeatReceived) == RepeatReceived("settled", "stored", "CMD-2")
    script.command(conn, "waits")
    assert script.expect(RepeatReceived) == RepeatReceived("waits", None, "CMD-2")


def test_cmd_7_a_response_may_be_as_large_as_a_message() -> None:
    sizes: list[int] = []
    for limit in (512, 513):
        script = Scripted(max_message_size=limit)
        conn = script.up()
        for size in range(300, 512):
            script.command(conn, f"cmd-{size}")
            script.machine.respond(f"cmd-{size}", "x" * size, script.now)
        script.drain()
        sizes.append(max(len(output.payload) for output in script.said if isinstance(output, SendText)))
    assert sizes == [512, 513]


def test_stat_4_the_progress_of_a_failed_command_is_not_told_any_more() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    for percent in (1, 2):
        script.machine.progress("cmd-1", percent, script.now)
    script.machine.fail("cmd-1", "handler_error", "ValueError", script.now)
    script.wait(5)
    told = [message["data"]["progress"] for message in script.texts("status") if "progress" in message["data"]]
    assert told == [1.0]


def test_link_6_an_agent_that_gives_up_cancels_what_runs() -> None:
    script = Scripted(give_up_after=100.0)
    conn = script.up()
    script.command(conn)
    script.machine.disconnected(conn, "cut", script.now)
    script.unseen.clear()
    for _ in range(20):
        script.wait(10)
        for output in script.unseen:
            if isinstance(output, Connect):
                script.machine.connect_failed(output.conn, "refused", "", script.now)
        script.drain()
        if any(isinstance(output, Stopped) for output in script.said):
            break
        script.unseen.clear()
    cancelled = [output for output in script.said if isinstance(output, CommandCancelled)]
    assert cancelled == [CommandCancelled("cmd-1", "cancelled", "CMD-8", "work")]
    assert Stopped(("cmd-1",), gave_up=True) in script.said


def test_cmd_4_a_slot_that_is_free_at_a_deadline_comes_too_late() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    script.command(conn, "cmd-1", timeout=100)
    script.command(conn, "cmd-2", timeout=5)
    script.mono += 5
    script.machine.respond("cmd-1", None, script.now)
    reason = "it waited for a slot until its timeout"
    assert script.expect(CommandRefused) == CommandRefused("cmd-2", "timeout", reason, "CMD-4", "work")
    assert script.machine.queued == ()


# --- messages and misuse ----------------------------------------------------------------------------------------------


def test_cmd_3_an_application_message_is_what_the_guide_says_and_settles_by_its_id() -> None:
    script = Scripted()
    conn = script.up()
    message_id = script.machine.send_message({"n": 1}, script.now)
    assert script.texts("message") == [{"type": "message", "id": message_id, "data": {"n": 1}, "timestamp": TIMESTAMP}]
    assert message_id.startswith("msg-")
    script.none_of(MessageSettled)
    script.pong(conn)
    assert script.expect(MessageSettled) == MessageSettled(message_id)


def test_stat_4_progress_is_0_to_100_both_included_and_carries_the_status() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    script.command(conn)
    for percent in (0, 100, 0.5, Decimal("0.25")):
        assert script.machine.progress("cmd-1", percent, script.now)  # type: ignore[arg-type] # pyright: ignore
        script.wait(1)
    said = [message["data"] for message in script.texts("status") if "progress" in message["data"]]
    assert said == [{"status": "busy", "current_task": "cmd-1", "progress": each} for each in (0.0, 100.0, 0.5, 0.25)]
    for percent in (-0.1, 100.1, float("nan"), None, "50", [1]):
        with pytest.raises(LocalProtocolError) as refused:
            script.machine.progress("cmd-1", percent, script.now)  # type: ignore[arg-type] # pyright: ignore
        assert str(refused.value) == f"progress is a percentage from 0 to 100, not {percent}"


def test_hb_2_metrics_may_be_0_and_100_percent() -> None:
    script = Scripted()
    for cpu_usage, memory_usage in ((0.0, 0.0), (100.0, 1e9), (0.5, 0.5)):
        script.machine.set_metrics(cpu_usage, memory_usage)
    odd: list[Any] = [(float("nan"), 1.0), (1.0, float("nan")), (None, 1.0), (1.0, "2")]
    for wrong in [(-0.1, 1.0), (100.1, 1.0), (1.0, -0.1), (1.0, float("inf")), *odd]:
        with pytest.raises(LocalProtocolError) as refused:
            script.machine.set_metrics(*wrong)
        assert str(refused.value) == f"expected cpu 0 to 100 and memory in MiB, not {wrong[0]} and {wrong[1]}"


def test_misuse_is_told_in_full() -> None:
    script = Scripted()
    script.up()
    misuse = [
        (lambda: script.machine.start(script.now), "an agent starts once; this one is running: make a new one"),
        (
            lambda: script.machine.set_status("offline", script.now),  # type: ignore[arg-type]
            "expected the status online, busy or error, not 'offline'; offline is a drain's",
        ),
        (
            lambda: script.machine.put_status("idle", script.now),  # type: ignore[arg-type]
            "expected one of the statuses online, offline, busy, error, not 'idle'",
        ),
    ]
    for call, text in misuse:
        with pytest.raises(LocalProtocolError) as refused:
            call()
        assert str(refused.value) == text
    script.machine.stop(script.now, drain=False)
    with pytest.raises(LocalProtocolError) as refused:
        script.machine.start(script.now)
    assert str(refused.value) == "an agent starts once; this one is stopped: make a new one"
    with pytest.raises(LocalProtocolError) as refused:
        script.machine.send_message({}, script.now)
    assert str(refused.value) == "the agent has stopped, and sends no more messages"
    with pytest.raises(LocalProtocolError) as refused:
        script.machine.get_details(script.now)
    assert str(refused.value) == "a call needs an agent that runs; this one is stopped"


def test_a_message_that_cannot_be_sent_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGES", 1)
    script = Scripted(max_message_size=512)
    with pytest.raises(LocalProtocolError) as refused:
        script.machine.send_message({"x": {1, object()}}, script.now)
    assert str(refused.value).startswith("data cannot be written as JSON: ")
    with pytest.raises(LocalProtocolError) as refused:
        script.machine.send_message({"x": "y" * 512}, script.now)
    assert str(refused.value).endswith(" bytes, at most 512 are allowed")
    script.machine.send_message({}, script.now)
    with pytest.raises(OutboxFullError) as full:
        script.machine.send_message({}, script.now)
    size = script.machine._desk.outbox.message_bytes  # pyright: ignore[reportPrivateUsage]
    text = f"1 messages of {size} bytes in all are not settled: no more are taken until `MessageSettled` [CMD-3]"
    assert str(full.value) == text


def test_cmd_8_a_drain_that_cannot_say_goodbye_ends_without() -> None:
    script = Scripted(drain_timeout=3.0, close_timeout=2.0)
    conn = script.up()
    script.command(conn)
    script.machine.unsent(conn, 1 << 20, script.now)
    script.machine.stop(script.now)
    script.wait(3)
    script.none_of(Stopped)
    script.wait(2)
    assert script.expect(Stopped) == Stopped(("cmd-1",))


# --- bytes ------------------------------------------------------------------------------------------------------------


class Bytes:
    """An `AgentProtocol` whose bytes are written by hand."""

    def __init__(self) -> None:
        config = AgentConfig(agent_id="a", tenant_id="t", api_endpoint="https://h.example:444", jitter=0.0)
        self.protocol = AgentProtocol(config, rng=Random(1))
        self.now = Instant(100.0, 1e9)
        self.protocol.start(self.now)
        (connect,) = self.outputs()
        assert isinstance(connect, Connect)
        self.conn = connect.conn

    def outputs(self) -> list[Any]:
        """Everything said since the last time."""
        return list(iter(self.protocol.next_output, None))

    def offline(self) -> str:
        """Why the attempt failed."""
        return next(output.reason for output in self.outputs() if isinstance(output, Offline))


def test_link_3_the_facade_hands_every_end_of_a_connection_on() -> None:
    player = Bytes()
    player.protocol.connect_failed(player.conn, "refused", "nobody", player.now)
    assert player.offline() == "cannot connect (refused): nobody"
    assert player.protocol._channels == {}  # pyright: ignore[reportPrivateUsage]
    ends: list[tuple[Callable[[Bytes], None], str | None]] = [
        (lambda p: p.protocol.disconnected(p.conn, "reset", p.now), "the connection ended: reset"),
        (lambda p: p.protocol.eof_received(p.conn, p.now), "the connection ended: the peer closed it"),
        (lambda p: p.protocol.data_received(p.conn, b"nonsense\r\n\r\n", p.now), None),
    ]
    for end, reason in ends:
        player = Bytes()
        player.protocol.connected(player.conn, player.now, tls=True)
        (write,) = player.outputs()
        assert isinstance(write, Write)
        assert b"\r\nhost: h.example:444\r\n" in write.data.lower()
        player.protocol.data_received(player.conn + 1, b"x", player.now)
        player.protocol.eof_received(player.conn + 1, player.now)
        assert player.outputs() == []
        end(player)
        said = player.offline()
        assert reason is None or said == reason
        channels = player.protocol._channels  # pyright: ignore[reportPrivateUsage]
        assert channels == {}, "nothing is kept of a connection that ended"


def test_auth_7_an_answer_that_ends_with_its_connection_is_one() -> None:
    player = Bytes()
    player.protocol.connected(player.conn, player.now, tls=True)
    player.outputs()
    player.protocol.data_received(player.conn, b"HTTP/1.1 500 Oops\r\n\r\nsorry", player.now)
    assert player.outputs() == []
    player.protocol.eof_received(player.conn, player.now)
    assert player.offline() == "the platform answered the challenge request with status 500"


def test_link_9_what_was_to_be_written_on_a_connection_that_ended_is_not() -> None:
    player = Bytes()
    player.protocol.connected(player.conn, player.now, tls=True)
    player.protocol.disconnected(player.conn, "reset", player.now)
    assert not [output for output in player.outputs() if isinstance(output, Write)]


# --- what is counted --------------------------------------------------------------------------------------------------


def test_cmd_3_a_command_without_a_place_for_its_response_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSES", 1)
    script = Scripted()
    conn = script.up()
    script.command(conn)
    script.machine.respond("cmd-1", None, script.now)
    script.command(conn, "cmd-2")
    reason = "as many responses as allowed are not settled, or to come"
    assert script.expect(CommandRefused) == CommandRefused("cmd-2", "overloaded", reason, "CMD-3", "work", 1)
    assert responses(script)[-1] == {
        "command_id": "cmd-2",
        "status": "error",
        "reason": reason,
        "code": "overloaded",
    }


def test_cmd_3_a_place_is_reserved_when_a_command_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSES", 3)
    script = Scripted(max_concurrent=1)
    conn = script.up()
    for number in range(5):
        script.command(conn, f"cmd-{number}")
    assert (script.machine.in_flight, script.machine.queued) == (("cmd-0",), ("cmd-1", "cmd-2"))
    for number in range(3):
        assert script.machine.respond(f"cmd-{number}", None, script.now)
        script.drain()
    script.command(conn, "cmd-5")
    assert script.machine.outbox_size == 3
    assert [each["code"] for each in responses(script) if "code" in each] == ["overloaded"] * 3


def test_cmd_3_commands_with_bad_data_need_places_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_RESPONSES", 3)
    script = Scripted()
    conn = script.up()
    for number in range(5):
        text = b'{"type":"command","id":"bad-%d","data":{"command":5}}' % number
        script.machine.text_received(conn, text, script.now)
    assert script.machine.outbox_size == 3
    assert [each["code"] for each in responses(script)] == ["invalid_arguments"] * 3 + ["overloaded"] * 2
    refused = [output for output in script.said if isinstance(output, CommandRefused)]
    assert [(each.command_id, each.clause) for each in refused] == [("bad-3", "CMD-3"), ("bad-4", "CMD-3")]


@pytest.mark.repeats
def test_of_pings_in_a_row_the_latest_is_answered_however_many_there_are() -> None:
    script = Scripted()
    conn = script.up()
    for number in range(100_000):  # more than there may be undrained outputs
        script.machine.ping_received(conn, b"%d" % number, script.now)
    script.drain()
    assert [output.payload for output in script.said if isinstance(output, SendPong)] == [b"99999"]


def test_stat_4_progress_that_waited_carries_the_status_of_then() -> None:
    script = Scripted(max_concurrent=2)
    conn = script.up()
    script.command(conn, "cmd-1")
    for percent in (10, 20):
        script.machine.progress("cmd-1", percent, script.now)
    script.wait(0.5)
    script.command(conn, "cmd-2")
    script.wait(0.6)
    told = [each["data"] for each in script.texts("status")]
    assert {"status": "busy", "current_task": "cmd-1", "progress": 20.0} in told
    assert told[-1]["status"] == "busy"


def test_msg_5_good_commands_part_bad_messages() -> None:
    script = Scripted(max_bad_messages=2)
    conn = script.up()
    for number in range(3):
        for _ in range(2):
            script.machine.text_received(conn, b"[]", script.now)
        script.command(conn, f"cmd-{number}")
    script.none_of(Offline)
    for _ in range(3):
        script.machine.text_received(conn, b"[]", script.now)
    assert script.expect(Offline).clause == "MSG-5"


def test_cmd_2_other_content_of_a_command_that_waits_is_told() -> None:
    script = Scripted(max_concurrent=1)
    conn = script.up()
    for command_id in ("runs", "waits"):
        script.command(conn, command_id, args={"n": 1})
        script.command(conn, command_id, args={"n": 1})
    script.none_of(PeerViolation)
    script.command(conn, "waits", args={"n": 2})
    script.expect(PeerViolation)


def test_cmd_7_a_result_that_cannot_be_written_is_named_and_one_that_nobody_wants_is_not_looked_at() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn, timeout=1)
    with pytest.raises(LocalProtocolError) as refused:
        script.machine.respond("cmd-1", {1, object()}, script.now)
    assert str(refused.value).startswith("result cannot be written as JSON: ")
    script.wait(1)
    assert script.machine.respond("cmd-1", {1, object()}, script.now) is False
    assert script.machine.respond("unknown", {1, object()}, script.now) is False


def test_an_answer_that_is_none_is_misuse_and_changes_nothing() -> None:
    script = Scripted()
    conn = script.up()
    script.command(conn)
    for code, reason in (("handler_error", None), ("handler_error", ValueError("x")), ("overloaded", "x"), (None, "x")):
        with pytest.raises(LocalProtocolError, match=r"expected (one of the codes|a reason as text)"):
            script.machine.fail("cmd-1", code, reason, script.now)  # type: ignore[arg-type] # pyright: ignore
    assert script.machine.in_flight == ("cmd-1",)
    for signature in (None, "text", bytearray(b"x")):
        with pytest.raises(LocalProtocolError, match="expected a signature"):
            script.machine.signed(1, signature, script.now)  # type: ignore[arg-type] # pyright: ignore
    assert script.machine.fail("cmd-1", "handler_error", "text", script.now)


@pytest.mark.parametrize("args", [b"NaN", b'{"a":-Infinity}', b'{"a":"\\ud800"}', b"[" * 70 + b"]" * 70, b'{"a":}'])
def test_msg_5_a_command_whose_data_is_damaged_is_answered_once(args: bytes) -> None:
    script = Scripted(max_bad_messages=1)
    conn = script.up()
    payload = b'{"type":"command","id":"cmd-1","data":{"command":"work","args":' + args + b"}}"
    for _ in range(3):
        script.machine.text_received(conn, payload, script.now)
        script.drain()
        script.none_of(CommandReceived)
    answers = responses(script)
    assert [(data["command_id"], data["code"]) for data in answers] == [("cmd-1", "invalid_arguments")] * len(answers)
    assert answers
    script.none_of(Offline)
