"""STAT-2: requests about the agent itself, beside the link, with the rule for a 401."""

from __future__ import annotations

from typing import Any

import pytest

from artcafe_proto import HttpResponse, LocalProtocolError
from artcafe_proto.agent import AuthState, LinkState
from artcafe_proto.effects import Connect, Disconnect, SendRequest, SendUpgrade, Sign
from artcafe_proto.events import CallAnswered, CallFailed, Offline, Stopped, TokenRenewed
from artcafe_proto.limits import MAX_WAITING_CALLS
from support.scripted import CHALLENGE, Scripted, answer, token

UNANSWERED = " before it answered: if TLS is spoken there, the endpoint must begin with https://"
DETAILS: dict[str, Any] = {"agent_id": "agent-1", "status": "online", "capabilities": []}


def up(**settings: Any) -> tuple[Scripted, int]:
    script = Scripted(**settings)
    conn = script.up()
    script.unseen.clear()
    return script, conn


def to_request(script: Scripted) -> SendRequest:
    """The call's connection is opened, and the call made."""
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    return script.expect(SendRequest)


def test_stat_2_get_gives_the_agent_as_the_platform_shows_it() -> None:
    script, conn = up(agent_id="agent/1", api_endpoint="http://localhost/base")
    call = script.machine.get_details(script.now)
    request = to_request(script)
    assert request.conn != conn
    assert (request.request.method, request.request.target) == ("GET", "/base/api/v1/agents/agent%2F1")
    assert request.request.body == b""
    assert {name for name, _ in request.request.headers} == {"accept", "authorization", "user-agent"}
    script.answer(request, answer(200, DETAILS))
    assert script.expect(CallAnswered) == CallAnswered(call, DETAILS)
    assert script.expect(Disconnect).conn == request.conn
    assert script.machine.state.link is LinkState.UP


@pytest.mark.parametrize("status", ["online", "offline", "busy", "error"])
def test_stat_2_put_sets_the_status(status: Any) -> None:
    script, _ = up()
    call = script.machine.put_status(status, script.now)
    request = to_request(script).request
    assert (request.method, request.target) == ("PUT", "/api/v1/agents/agent-1/status")
    assert request.body == b'{"status":"%s"}' % status.encode()
    assert request.header("content-type") == "application/json"
    assert call > 0


def test_misuse_is_refused_and_changes_nothing() -> None:
    script = Scripted()
    with pytest.raises(LocalProtocolError, match="new"):
        script.machine.get_details(script.now)
    script.up()
    wrong: Any = "sleepy"
    with pytest.raises(LocalProtocolError, match="sleepy"):
        script.machine.put_status(wrong, script.now)
    for _ in range(MAX_WAITING_CALLS):
        script.machine.get_details(script.now)
    with pytest.raises(LocalProtocolError, match="calls wait"):
        script.machine.get_details(script.now)
    script.machine.stop(script.now, drain=False)
    script.drain()
    with pytest.raises(LocalProtocolError, match="stopped"):
        script.machine.get_details(script.now)


def test_calls_are_made_one_after_another_on_one_connection() -> None:
    script, _ = up()
    calls = [script.machine.get_details(script.now) for _ in range(3)]
    request = to_request(script)
    for _ in calls[1:]:
        script.answer(request, answer(200, DETAILS))
        following = script.expect(SendRequest)
        assert following.conn == request.conn
        request = following
    script.none_of(Connect)
    script.answer(request, answer(200, DETAILS))
    assert [output.call for output in script.said if isinstance(output, CallAnswered)] == calls


def renew(script: Scripted) -> str:
    """The renewal that is due gets a new token."""
    script.answer(to_request(script), answer(200, {"challenge": CHALLENGE, "expires_at": ""}))
    script.machine.signed(script.expect(Sign).request, b"signature", script.now)
    new = token(exp=script.wall + 901, iat=script.wall)
    script.answer(script.expect(SendRequest), answer(200, {"valid": True, "token": new}))
    script.expect(TokenRenewed)
    return new


def test_tok_3_a_401_renews_the_token_and_the_call_is_made_once_more() -> None:
    script, _ = up()
    call = script.machine.get_details(script.now)
    first = to_request(script)
    script.answer(first, answer(401))
    script.none_of(CallFailed)
    new = renew(script)
    again = script.expect(SendRequest)
    assert again.conn == first.conn
    assert again.request.header("authorization") == f"Bearer {new}"
    script.answer(again, answer(401))
    failed = script.expect(CallFailed)
    assert (failed.call, failed.status, failed.clause) == (call, 401, "STAT-2")
    assert script.machine.state == (AuthState.NONE, LinkState.UP)


def test_tok_3_a_401_never_rejects_a_later_token() -> None:
    script = Scripted()
    script.up(token(exp=1e9 + 20))
    script.unseen.clear()
    script.wait(15.9)
    call = script.machine.get_details(script.now)
    request = to_request(script)
    script.wait(0.2)
    new = renew(script)
    script.answer(request, answer(401))
    assert script.machine.state.auth is AuthState.READY
    again = script.expect(SendRequest)
    assert again.request.header("authorization") == f"Bearer {new}"
    script.answer(again, answer(200, DETAILS))
    assert script.expect(CallAnswered).call == call


@pytest.mark.parametrize("status", [301, 400, 403, 404, 409, 422, 429, 500, 503])
def test_any_other_answer_fails_the_call_and_nothing_else(status: int) -> None:
    script, _ = up()
    call = script.machine.get_details(script.now)
    script.answer(to_request(script), answer(status))
    failed = script.expect(CallFailed)
    assert failed.reason.startswith(f"the platform answered the call with status {status}")
    assert (failed.call, failed.clause, failed.status) == (call, "STAT-2", status)
    assert script.machine.state == (AuthState.READY, LinkState.UP)
    script.none_of(Offline, Connect)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"5", b"\xff{}", b'{"a":' * 100 + b"1" + b"}" * 100, b'{"a": "\xff"}']
)
def test_an_answer_that_is_no_object_fails_the_call(body: bytes) -> None:
    script, _ = up()
    script.machine.get_details(script.now)
    script.answer(to_request(script), HttpResponse(status=200, body=body))
    failed = script.expect(CallFailed)
    assert "expected an agent as a JSON object" in failed.reason
    assert failed.status == 200


def test_a_call_waits_for_a_token_and_gives_up_in_time() -> None:
    script = Scripted(call_timeout=20.0)
    script.start()
    call = script.machine.get_details(script.now)
    script.wait(19.9)
    script.none_of(CallFailed)
    script.wait(0.2)
    assert script.expect(CallFailed) == CallFailed(call, "no answer within 20 s", "STAT-2", None)


def test_a_call_made_before_the_link_is_up_goes_out_with_the_first_token() -> None:
    script = Scripted()
    script.connect()
    call = script.machine.get_details(script.now)
    conn = script.up()
    script.drain()
    mine = [output for output in script.said if isinstance(output, SendRequest) and output.request.method == "GET"]
    assert [request.conn == conn for request in mine] == [False]
    script.answer(mine[0], answer(200, DETAILS))
    assert script.expect(CallAnswered).call == call


@pytest.mark.parametrize(
    ("failure", "reason", "clause"),
    [
        ("refused", "cannot connect (refused): nobody there", "LINK-3"),
        ("reset", f"the connection ended: reset{UNANSWERED}", "LINK-3"),
        ("slow to connect", "connecting took too long", "LINK-8"),
        ("slow to answer", "the platform did not answer in time", "LINK-8"),
        ("ended", f"the connection ended: the peer closed it{UNANSWERED}", "LINK-3"),
    ],
)
def test_what_the_network_does_fails_the_call_and_not_the_link(failure: str, reason: str, clause: str) -> None:
    script, conn = up()
    call = script.machine.get_details(script.now)
    asked = script.expect(Connect)
    if failure == "refused":
        script.machine.connect_failed(asked.conn, "refused", "nobody there", script.now)
    elif failure == "slow to connect":
        script.wait(10.0)
    else:
        script.machine.connected(asked.conn, script.now, tls=asked.tls)
        if failure == "reset":
            script.machine.disconnected(asked.conn, "reset", script.now)
        elif failure == "slow to answer":
            script.wait(15.0)
        else:
            script.machine.peer_ended(asked.conn, script.now)
    assert script.expect(CallFailed) == CallFailed(call, reason, clause, None)
    assert script.machine.state.link is LinkState.UP
    script.machine.get_details(script.now)
    script.answer(to_request(script), answer(200, DETAILS))
    script.expect(CallAnswered)
    script.machine.bytes_received(conn, script.now)


def test_link_2_a_call_on_a_connection_that_was_dead_is_made_once_more() -> None:
    script, _ = up()
    calls = [script.machine.get_details(script.now) for _ in range(2)]
    request = to_request(script)
    script.answer(request, answer(200, DETAILS))
    again = script.expect(SendRequest)
    script.machine.disconnected(again.conn, "idle", script.now)
    script.none_of(CallFailed)
    repeated = to_request(script)
    assert repeated.request == again.request
    script.answer(repeated, answer(200, DETAILS))
    assert [output.call for output in script.said if isinstance(output, CallAnswered)] == calls


def test_link_10_a_stop_fails_what_was_not_answered() -> None:
    script, _ = up()
    calls = [script.machine.get_details(script.now) for _ in range(2)]
    to_request(script)
    script.machine.stop(script.now, drain=False)
    script.expect(Stopped)
    failed = [output for output in script.said if isinstance(output, CallFailed)]
    assert failed == [CallFailed(call, "the agent stopped", "LINK-10", None) for call in calls]
    assert script.machine.deadline() is None


def test_tok_3_a_call_that_has_not_gone_out_does_not_carry_a_token_that_was_refused_meanwhile() -> None:
    script = Scripted()
    verify = script.sign()
    call = script.machine.get_details(script.now)
    script.answer(verify, answer(200, {"valid": True, "token": token()}))
    dialing = script.expect(Connect).conn
    script.answer(script.expect(SendUpgrade), answer(401))
    assert dialing in script.dropped()
    script.machine.connected(dialing, script.now, tls=False)  # too late
    script.none_of(SendRequest)
    script.wait(10)
    script.verify(token(exp=1e9 + 901))
    request = script.expect(SendRequest)
    assert ("authorization", f"Bearer {token(exp=1e9 + 901)}") in request.request.headers
    script.answer(request, answer(200, DETAILS))
    assert script.expect(CallAnswered).call == call


def test_tok_3_an_upgrade_that_has_not_gone_out_does_not_carry_a_token_that_was_refused_meanwhile() -> None:
    script, conn = up()
    script.machine.get_details(script.now)
    call = to_request(script)
    script.machine.disconnected(conn, "reset", script.now)
    script.wait(1)
    upgrading = script.expect(Connect).conn
    script.answer(call, answer(401))
    assert upgrading in script.dropped()
    assert to_request(script).request.target.endswith("challenge")
    script.none_of(SendUpgrade)


def test_tok_3_nor_does_one_that_would_be_made_once_more() -> None:
    script = Scripted()
    verify = script.sign()
    script.machine.get_details(script.now)
    script.answer(verify, answer(200, {"valid": True, "token": token()}))
    dialing, upgrade = script.expect(Connect).conn, script.expect(SendUpgrade)
    script.machine.connected(dialing, script.now, tls=False)
    call = script.expect(SendRequest)
    script.answer(call, answer(401))
    assert script.machine.state == (AuthState.NONE, LinkState.OPENING), "it has gone out"
    script.machine.disconnected(upgrade.conn, "idle for too long", script.now)
    assert to_request(script).request.target.endswith("challenge"), "the next connection is for this"
    script.none_of(SendUpgrade)
