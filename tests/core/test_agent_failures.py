"""LINK-2, LINK-3, LINK-8, AUTH-7, TOK-3: what each failure of an attempt leads to."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from artcafe_proto import HttpResponse, RemoteProtocolError
from artcafe_proto.agent import AuthState, LinkState
from artcafe_proto.effects import CancelSign, Connect, Disconnect, SendClose, SendRequest, SendUpgrade, Sign
from artcafe_proto.events import AgentIdContested, ExchangeRepeated, Offline, Stopped
from support.scripted import CHALLENGE, Scripted, answer, token

AUTH, SERVER, OTHER = 5.0, 10.0, 1.0


@pytest.mark.parametrize(
    ("status", "wait"),
    [(status, AUTH) for status in (400, 401, 403, 404, 422)]
    + [(status, SERVER) for status in (500, 502, 503)]
    + [(status, OTHER) for status in (201, 301, 302, 307, 402, 405, 409, 429)],
)
def test_link_3_a_refused_challenge_and_a_refused_verify_wait_by_their_status(status: int, wait: float) -> None:
    for step in (Scripted.connect, Scripted.sign):
        script = Scripted()
        script.answer(step(script), answer(status, {}, location="http://localhost/elsewhere"))
        assert script.wait_after_failure()[0] == wait
        assert script.machine.state == (AuthState.NONE, LinkState.DOWN)
        assert len(script.dropped()) == 1
        script.wait(wait - 0.001)
        script.none_of(Connect)
        script.wait(0.001)
        script.expect(Connect)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("step", [Scripted.connect, Scripted.sign, Scripted.verify])
@pytest.mark.parametrize("location", ["http://elsewhere.example/api/v1/auth/verify", "//elsewhere.example/", "/other"])
def test_auth_7_a_redirect_is_followed_nowhere(
    status: int, step: Callable[[Scripted], SendRequest | SendUpgrade], location: str
) -> None:
    script = Scripted()
    for _ in range(3):
        script.answer(step(script), answer(status, {}, location=location))
    assert {(said.host, said.port) for said in script.said if isinstance(said, Connect)} == {("localhost", 80)}
    requests = [said.request for said in script.said if isinstance(said, SendRequest | SendUpgrade)]
    own = {"/api/v1/auth/challenge", "/api/v1/auth/verify", "/api/v1/ws/agent/agent-1"}
    assert len(requests) >= 3
    assert {request.target for request in requests} <= own


def test_link_1_no_request_asks_for_compression() -> None:
    script = Scripted()
    script.up()
    requests = [said.request for said in script.said if isinstance(said, SendRequest | SendUpgrade)]
    assert len(requests) == 3
    asking = {"accept-encoding", "te", "sec-websocket-extensions"}
    assert not [name for request in requests for name, _ in request.headers if name in asking]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZIP", "identity, gzip", "x", ""])
@pytest.mark.parametrize("step", [Scripted.connect, Scripted.sign])
def test_auth_7_what_is_compressed_is_not_inflated_and_said_to_be(
    coding: str, step: Callable[[Scripted], SendRequest]
) -> None:
    script = Scripted()
    body = gzip.compress(json.dumps({"challenge": CHALLENGE, "valid": True, "token": token()}).encode())
    response = HttpResponse(status=200, headers=(("content-encoding", coding),), body=body)
    script.answer(step(script), response)
    offline = script.expect(Offline)
    assert "was not understood: it is compressed, which was not asked for" in offline.reason
    assert offline.clause == "AUTH-7"
    assert offline.retry_at == script.mono + OTHER


def test_auth_7_a_refusal_is_one_whatever_its_body_is_encoded_in() -> None:
    script = Scripted()
    script.answer(script.sign(), answer(401, {}, content_encoding="gzip"))
    assert script.wait_after_failure()[0] == AUTH
    script.answer(script.connect(), answer(200, {"challenge": CHALLENGE}, content_encoding="Identity"))
    script.expect(Sign)


UNUSABLE_CHALLENGES: list[object] = [
    *(None, [], "text", {}, {"challenge": 5}, {"challenge": None}, {"challenge": "short"}, {"challenge": "x" * 1025}),
    *({"challenge": "with spaces in the challenge"}, {"challenge": "\ud800" * 20}),
]


@pytest.mark.parametrize("body", UNUSABLE_CHALLENGES)
def test_auth_7_an_unusable_challenge_is_never_signed(body: object) -> None:
    script = Scripted()
    script.answer(script.connect(), answer(200, body))
    wait, clause = script.wait_after_failure()
    assert (wait, clause) in [(1.0, "AUTH-7"), (5.0, "AUTH-2")]
    assert script.machine.state.auth is AuthState.NONE


@pytest.mark.parametrize(
    ("body", "wait"),
    [
        ({"valid": False}, AUTH),
        ({"valid": False, "token": token()}, AUTH),
        ({"valid": True}, OTHER),
        ({"valid": True, "token": None}, OTHER),
        ({"valid": True, "token": ""}, OTHER),
        ({"valid": True, "token": 5}, OTHER),
        ({"valid": True, "token": "a\r\nb"}, OTHER),
        ({"valid": True, "token": "x" * 20_000}, OTHER),
        ({"valid": "true", "token": token()}, OTHER),
        ({"token": token()}, OTHER),
        (None, OTHER),
        ([], OTHER),
    ],
)
def test_auth_7_a_verdict_without_a_usable_token_is_a_failure(body: object, wait: float) -> None:
    script = Scripted()
    script.answer(script.sign(), answer(200, body))
    assert script.wait_after_failure()[0] == wait
    assert script.machine.state.auth is AuthState.NONE


@pytest.mark.parametrize(("status", "wait"), [(401, AUTH), (403, AUTH), (404, OTHER), (500, SERVER), (200, OTHER)])
def test_link_3_a_refused_upgrade_waits_by_its_status(status: int, wait: float) -> None:
    script = Scripted()
    script.answer(script.verify(), answer(status, {}))
    assert script.wait_after_failure()[0] == wait
    kept = AuthState.NONE if status in (401, 403) else AuthState.READY
    assert script.machine.state == (kept, LinkState.DOWN), "TOK-3: a 401 or 403 rejects the token, nothing else does"


def test_link_3_a_refused_token_that_had_expired_costs_no_wait_once() -> None:
    script = Scripted()
    upgrade = script.verify(token(exp=1e9 - 1, iat=1e9 - 2))  # without a Date its life is 1 s
    script.wait(2)
    script.answer(upgrade, answer(401))
    assert script.wait_after_failure()[0] == 0
    upgrade = script.verify(token(exp=1e9 - 1, iat=1e9 - 2))
    script.wait(2)
    script.answer(upgrade, answer(401))
    assert script.wait_after_failure()[0] == AUTH


def test_tok_3_a_token_just_received_is_used_once_whatever_its_exp_says() -> None:
    script = Scripted()
    conn = script.verify(token(exp=1.0, iat=2.0)).conn
    script.machine.bytes_received(conn, script.now)
    script.machine.disconnected(conn, "reset", script.now)
    script.wait(1.0)
    script.expect(Connect)
    assert script.machine.state.auth is AuthState.CHALLENGING, "the second time it is checked"


def test_link_3_retry_after_lengthens_the_wait() -> None:
    script = Scripted()
    script.answer(script.connect(), answer(429, {}, retry_after="77"))
    assert script.wait_after_failure()[0] == 77


@pytest.mark.parametrize("step", [Scripted.start, Scripted.connect, Scripted.sign, Scripted.verify, Scripted.up])
def test_link_3_a_lost_connection_waits_exponentially(step: Callable[[Scripted], Any]) -> None:
    script = Scripted()
    reached = step(script)
    conn = reached if isinstance(reached, int) else reached.conn
    script.machine.bytes_received(conn, script.now)
    script.machine.disconnected(conn, "reset", script.now)
    assert script.wait_after_failure() == (OTHER, "LINK-3")


@pytest.mark.parametrize("cause", ["dns", "refused", "timeout", "tls", "proxy", "other"])
def test_link_3_a_failed_connect_waits_exponentially(cause: str) -> None:
    script = Scripted()
    script.machine.connect_failed(script.start().conn, cause, "detail", script.now)  # type: ignore[arg-type]
    assert script.wait_after_failure() == (OTHER, "LINK-3")


def test_link_8_every_step_has_its_deadline() -> None:
    script = Scripted()
    connect = script.start()
    assert connect.deadline == script.mono + 10
    script.wait(10)
    assert script.wait_after_failure() == (1.0, "LINK-8")
    assert script.dropped() == [connect.conn]
    script.wait(1)
    script.connect()
    script.wait(15)
    assert script.wait_after_failure() == (2.0, "LINK-8")
    script.wait(2)
    sign = script.challenge()
    script.wait(60)
    assert script.wait_after_failure() == (5.0, "AUTH-6")
    assert script.expect(CancelSign).request == sign.request
    script.wait(5)
    script.sign()
    script.wait(15)
    assert script.wait_after_failure() == (4.0, "LINK-8")
    script.wait(4)
    script.verify()
    script.wait(15)
    assert script.wait_after_failure() == (8.0, "LINK-8")


def test_auth_6_a_failed_signature_waits_as_an_authentication_failure() -> None:
    script = Scripted()
    sign = script.challenge()
    script.machine.sign_failed(sign.request, "the card was removed", script.now)
    assert script.wait_after_failure() == (5.0, "AUTH-6")
    script.machine.signed(sign.request, b"late", script.now)
    script.none_of(SendRequest)


def test_link_2_a_reused_connection_that_was_dead_costs_no_wait() -> None:
    script = Scripted()
    upgrade = script.verify()
    script.machine.disconnected(upgrade.conn, "closed", script.now)
    script.none_of(Offline)
    assert script.expect(ExchangeRepeated) == ExchangeRepeated("upgrade", "LINK-2")
    again = script.expect(Connect)
    script.machine.connected(again.conn, script.now, tls=again.tls)
    assert script.expect(SendUpgrade).conn == again.conn
    script.none_of(Offline)


def test_link_2_a_verify_is_never_repeated_it_starts_over_at_the_challenge() -> None:
    script = Scripted()
    verify = script.sign()
    script.machine.disconnected(verify.conn, "closed", script.now)
    script.none_of(Offline)
    assert script.machine.state.auth is AuthState.CHALLENGING
    second = script.sign()
    assert second.conn != verify.conn
    script.machine.disconnected(second.conn, "closed", script.now)
    assert script.wait_after_failure()[0] == OTHER, "a new connection that ends is a failure"


def test_link_2_a_connection_closed_while_signing_costs_nothing() -> None:
    script = Scripted()
    sign = script.challenge()
    conn = next(output.conn for output in script.said if isinstance(output, Connect))
    script.machine.disconnected(conn, "idle", script.now)
    script.machine.signed(sign.request, b"signature", script.now)
    script.none_of(Offline)
    connect = script.expect(Connect)
    script.machine.connected(connect.conn, script.now, tls=connect.tls)
    body = script.expect(SendRequest).request.body
    assert b"c2lnbmF0dXJl" in body
    assert CHALLENGE.encode() in body


def test_link_2_an_answer_that_began_is_a_failure_even_on_a_reused_connection() -> None:
    script = Scripted()
    upgrade = script.verify()
    script.machine.bytes_received(upgrade.conn, script.now)
    script.machine.disconnected(upgrade.conn, "closed", script.now)
    assert script.wait_after_failure()[0] == OTHER


@pytest.mark.parametrize(
    ("code", "wait"),
    [(1000, 1), (1001, 1), (1005, 1), (1008, 5), (1011, 1), (1012, 1), (1013, 1), (4001, 5), (4401, 5), (4403, 5)]
    + [(4409, 10), (4999, 1)],
)
def test_link_3_a_close_by_the_platform_waits_by_its_code(code: int, wait: float) -> None:
    script = Scripted()
    conn = script.up()
    script.machine.close_received(conn, code, "because", script.now)
    assert script.expect(Offline).reason.endswith("because")
    assert script.expect(SendClose).code == code
    assert script.expect(Disconnect) == Disconnect(conn, abort=False)
    script.wait(wait - 0.001)
    script.none_of(Connect)
    script.wait(0.001)
    script.expect(Connect)


def test_link_6_replaced_links_wait_longer_each_time_and_start_over_after_ten_minutes() -> None:
    script = Scripted()

    def replaced() -> float:
        conn = script.up()
        script.wait(15)
        script.machine.close_received(conn, 4409, "", script.now)
        return script.wait_after_failure()[0]

    assert [replaced() for _ in range(4)] == [10, 20, 40, 80]
    contested = [output.times for output in script.said if isinstance(output, AgentIdContested)]
    assert contested == [1, 2, 3, 4], "from the first it is said that another process uses this agent id"
    conn = script.up()
    for _ in range(60):
        script.wait(10)
        script.machine.bytes_received(conn, script.now)
    script.machine.disconnected(conn, "reset", script.now)
    script.wait_after_failure()
    assert replaced() == 10


def test_link_9_input_for_a_retired_connection_does_nothing() -> None:
    script = Scripted()
    upgrade = script.verify()
    script.machine.peer_failed(upgrade.conn, RemoteProtocolError(400, "nonsense", "RFC 9112"), script.now)
    assert script.wait_after_failure() == (1.0, "RFC 9112")
    before = (script.machine.state, script.machine.deadline())
    conn, now = upgrade.conn, script.now
    script.machine.connected(conn, now, tls=False)
    script.machine.upgraded(conn, upgrade.exchange, now)
    script.machine.response_received(conn, upgrade.exchange, answer(200), now)
    script.machine.text_received(conn, b"{}", now)
    script.machine.close_received(conn, 1000, "", now)
    script.machine.disconnected(conn, "late", now)
    script.machine.connect_failed(conn, "refused", "late", now)
    script.machine.ping_received(conn, b"", now)
    script.machine.pong_received(conn, b"1", now)
    script.machine.unsent(conn, 1 << 20, now)
    script.machine.unsent(conn, 0, now)
    script.drain()
    assert script.unseen[:1] in ([], [Disconnect(conn, abort=True)])
    assert (script.machine.state, script.machine.deadline()) == before


@pytest.mark.parametrize("step", [None, "start", "connect", "challenge", "sign", "verify", "up"])
@pytest.mark.parametrize("drain", [False, True])
def test_link_10_stop_ends_in_every_state(step: str | None, drain: bool) -> None:
    script = Scripted()
    conn = getattr(script, step)() if step else None
    script.machine.stop(script.now, drain=drain)
    if step == "up" and drain:
        assert script.expect(SendClose).code == 1000
        assert conn is not None
        script.machine.close_received(conn, 1000, "", script.now)
    assert script.expect(Stopped).unsettled == ()
    assert script.machine.is_stopped
    assert script.machine.deadline() is None
    assert script.machine.state == (script.machine.state.auth, LinkState.DOWN)
    connects = {output.conn for output in script.said if isinstance(output, Connect)}
    assert connects == set(script.dropped())


def test_link_6_an_agent_that_gives_up_before_anything_has_failed_names_no_failure() -> None:
    script = Scripted(give_up_after=5.0)
    script.start()
    script.wait(5.0)
    reason = "there was no link for 5 s, after which this agent is to give up"
    assert script.expect(Offline).reason == reason
    assert script.expect(Stopped).gave_up


def test_link_6_an_agent_gives_up_only_if_told_to() -> None:
    script = Scripted(give_up_after=100.0)
    conn = script.up()
    script.wait(10.0)
    script.machine.bytes_received(conn, script.now)
    script.machine.disconnected(conn, "cut", script.now)
    while script.machine.deadline() is not None and script.mono < 1000.0:
        script.wait(1.0)
        script.drain()
        for output in script.unseen:
            if isinstance(output, Connect):
                script.machine.connect_failed(output.conn, "refused", "nobody", script.now)
        script.unseen.clear()
    assert script.mono == 210.0
    *_, offline, stopped = [output for output in script.said if isinstance(output, Offline | Stopped)]
    reason = "there was no link for 100 s, after which this agent is to give up"
    last = "the last failure: cannot connect (refused): nobody"
    assert offline == Offline(f"{reason}; {last}", "LINK-6", None)
    assert stopped == Stopped((), gave_up=True)


def test_link_6_time_with_a_link_does_not_count_towards_giving_up() -> None:
    script = Scripted(give_up_after=50.0)
    conn = script.up()
    for _ in range(100):
        script.wait(10.0)
        script.machine.bytes_received(conn, script.now)
    assert not script.machine.is_stopped


def test_link_3_links_that_an_idle_timeout_cuts_are_told_as_such() -> None:
    """A proxy that gives an idle connection 15 s cuts it before the first ping."""
    script = Scripted()
    said: list[bool] = []
    for _ in range(4):
        conn = script.up()
        script.machine.bytes_received(conn, script.now)
        script.wait(15)
        script.machine.disconnected(conn, "the peer closed it", script.now)
        said.append("an idle timeout of a proxy" in script.expect(Offline).reason)
    assert said == [False, False, True, True]
    conn = script.up()
    script.wait(15)
    script.machine.close_received(conn, 1001, "", script.now)
    assert "idle" not in script.expect(Offline).reason


@pytest.mark.parametrize("endpoint", ["http://localhost", "https://localhost"])
def test_a_connection_that_ends_unanswered_may_have_wanted_tls(endpoint: str) -> None:
    script = Scripted(api_endpoint=endpoint)
    asked = script.connect()
    script.machine.disconnected(asked.conn, "reset", script.now)
    hint = " before it answered: if TLS is spoken there, the endpoint must begin with https://"
    assert script.expect(Offline).reason == f"the connection ended: reset{hint * (endpoint[4] == ':')}"
    asked = script.connect()
    script.machine.bytes_received(asked.conn, script.now)
    script.machine.disconnected(asked.conn, "reset", script.now)
    assert script.expect(Offline).reason == "the connection ended: reset"
