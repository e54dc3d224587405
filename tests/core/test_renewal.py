"""TOK-2: the next token is fetched while the link is up, and never touches it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from artcafe_proto.agent import AuthState, LinkState
from artcafe_proto.effects import CancelSign, Connect, Disconnect, SendClose, SendPing, SendRequest, SendUpgrade, Sign
from artcafe_proto.events import (
    CallFailed,
    Offline,
    Online,
    RenewalFailed,
    RenewalStarted,
    Stopped,
    TokenReceived,
    TokenRenewed,
)
from support.scripted import CHALLENGE, Scripted, answer, token


def up(life_s: float = 900.0, **settings: Any) -> tuple[Scripted, int]:
    """An agent whose link came up with a token of that life."""
    script = Scripted(**settings)
    conn = script.up(token(exp=1e9 + life_s))
    script.unseen.clear()
    return script, conn


def keep_alive(script: Scripted, conn: int, seconds: float) -> None:
    """Let time pass on a link whose platform answers pings."""
    end = script.mono + seconds
    while script.mono < end:
        script.wait(min(10.0, end - script.mono))
        script.machine.bytes_received(conn, script.now)


def await_connect(script: Scripted, conn: int) -> Connect:
    """Wait until it connects."""
    for _ in range(10_000):
        script.drain()
        if any(isinstance(output, Connect) for output in script.unseen):
            break
        keep_alive(script, conn, 1.0)
    return script.expect(Connect)


def begin_renewal(script: Scripted, conn: int) -> SendRequest:
    """Wait until a renewal has connected and asks for a challenge."""
    script.machine.connected(await_connect(script, conn).conn, script.now, tls=False)
    return script.expect(SendRequest)


def to_verify(script: Scripted, request: SendRequest) -> SendRequest:
    """… and until it has the challenge signed."""
    script.answer(request, answer(200, {"challenge": CHALLENGE, "expires_at": ""}))
    script.machine.signed(script.expect(Sign).request, b"signature", script.now)
    return script.expect(SendRequest)


def grant(script: Scripted, request: SendRequest, life_s: float = 900.0) -> None:
    value = token(exp=script.wall + life_s, iat=script.wall)
    script.answer(request, answer(200, {"valid": True, "token": value}))


@pytest.mark.parametrize(
    ("life_s", "renewed_after_s"),
    [
        (100.0, 80.0),
        (900.0, 720.0),
        pytest.param(3600.0, 3300.0, marks=pytest.mark.repeats),
        pytest.param(86_400.0, 86_100.0, marks=pytest.mark.repeats),
    ],
)
def test_tok_2_a_token_is_renewed_when_300_s_or_20_percent_of_its_life_are_left(
    life_s: float, renewed_after_s: float
) -> None:
    script, conn = up(life_s)
    began = script.mono
    keep_alive(script, conn, renewed_after_s - 1.0)
    script.none_of(Connect)
    keep_alive(script, conn, 1.0)
    connect = script.expect(Connect)
    assert script.mono - began == pytest.approx(renewed_after_s)
    assert connect.conn != conn


def test_tok_2_a_renewal_has_a_connection_of_its_own_and_the_next_attempt_uses_its_token() -> None:
    script, conn = up()
    request = begin_renewal(script, conn)
    assert script.machine.state == (AuthState.READY, LinkState.UP)
    assert request.conn != conn
    verify = to_verify(script, request)
    assert verify.conn == request.conn
    grant(script, verify)
    assert script.expect(TokenRenewed).life_s == 900.0
    assert script.expect(Disconnect).conn == request.conn
    script.machine.disconnected(conn, "cut", script.now)
    script.expect(Offline)
    script.wait(1.0)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    upgrade = script.expect(SendUpgrade)
    assert upgrade.request.header("authorization") == f"Bearer {token(exp=script.wall + 899, iat=script.wall - 1)}"


@pytest.mark.repeats
def test_tok_2_tokens_of_unknown_life_are_not_renewed() -> None:
    script = Scripted()
    conn = script.up("an-opaque-token")
    script.unseen.clear()
    keep_alive(script, conn, 100_000.0)
    script.none_of(Connect)


def test_tok_2_renewals_lie_10_s_apart_however_short_the_lives_are() -> None:
    script, conn = up(life_s=5.0)
    begun: list[float] = []
    for _ in range(4):
        request = begin_renewal(script, conn)
        begun.append(script.mono)
        grant(script, to_verify(script, request), life_s=5.0)
    assert [later - earlier for earlier, later in pairwise(begun)] == [10.0, 10.0, 10.0]


@pytest.mark.repeats
def test_tok_2_failed_renewals_wait_by_themselves_and_never_touch_the_link() -> None:
    script, conn = up(heartbeat_interval=30.0)
    waits: list[float] = []
    for status in (401, 401, 401, 503, 503, 418, 418, 418, 418, 418):
        request = begin_renewal(script, conn)
        script.answer(request, answer(status))
        failed = script.expect(RenewalFailed)
        waits.append(round(failed.retry_at - script.mono, 6))
        assert f"status {status}" in failed.reason
    assert waits == [10.0, 10.0, 20.0, 10.0, 20.0, 10.0, 10.0, 10.0, 10.0, 16.0]
    assert script.machine.state.link is LinkState.UP
    assert not [output for output in script.said if isinstance(output, Offline | SendClose)]
    assert len([output for output in script.said if isinstance(output, Online)]) == 1
    beats = 1 + int((script.mono - 100.0) // 30.0)
    assert len(script.texts("heartbeat")) == beats
    grant(script, to_verify(script, begin_renewal(script, conn)))
    script.expect(TokenRenewed)
    begin_renewal(script, conn)
    script.machine.disconnected(conn, "cut", script.now)
    assert script.wait_after_failure() == (1.0, "LINK-3")  # the link's own count, which no renewal has touched


def test_tok_2_success_begins_a_renewals_waits_anew() -> None:
    script, conn = up()
    for _ in range(3):
        script.answer(begin_renewal(script, conn), answer(401))
    assert script.expect(RenewalFailed).retry_at - script.mono == pytest.approx(20.0)
    grant(script, to_verify(script, begin_renewal(script, conn)))
    waits: list[float] = []
    for _ in range(3):
        script.answer(begin_renewal(script, conn), answer(401))
        waits.append(round(script.expect(RenewalFailed).retry_at - script.mono, 6))
    assert waits == [10.0, 10.0, 20.0]


@pytest.mark.parametrize("retry_after_s", [11, 1800])
def test_tok_2_retry_after_lengthens_the_wait(retry_after_s: int) -> None:
    script, conn = up()
    script.answer(begin_renewal(script, conn), answer(429, retry_after=str(retry_after_s)))
    assert script.expect(RenewalFailed).retry_at - script.mono == pytest.approx(retry_after_s)


def test_tok_2_every_deadline_of_a_renewal_is_its_own() -> None:
    script, conn = up()
    reasons: list[str] = []
    for steps in range(4):
        connect = await_connect(script, conn)
        if steps > 0:
            script.machine.connected(connect.conn, script.now, tls=connect.tls)
            request = script.expect(SendRequest)
            if steps > 1:
                script.answer(request, answer(200, {"challenge": CHALLENGE, "expires_at": ""}))
                sign = script.expect(Sign)
                if steps > 2:
                    script.machine.signed(sign.request, b"signature", script.now)
        keep_alive(script, conn, (10.0, 15.0, 60.0, 15.0)[steps])
        reasons.append(script.expect(RenewalFailed).reason)
    late = "the platform did not answer in time"
    assert reasons == ["connecting took too long", late, "signing the challenge took longer than 60 s", late]
    assert script.machine.state.link is LinkState.UP


def test_tok_2_a_lost_link_does_not_wait_for_a_renewal() -> None:
    script, conn = up()
    request = begin_renewal(script, conn)
    script.answer(request, answer(200, {"challenge": CHALLENGE, "expires_at": ""}))
    sign = script.expect(Sign)
    script.machine.disconnected(conn, "cut", script.now)
    assert script.wait_after_failure()[0] == 1.0
    script.machine.signed(sign.request, b"late", script.now)
    script.none_of(SendRequest)
    assert [o.request for o in script.said if isinstance(o, CancelSign)] == [sign.request]
    assert script.dropped().count(request.conn) == 1
    script.wait(1.0)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    script.expect(SendUpgrade)


def test_tok_6_an_expired_token_closes_no_link_and_a_lost_link_fetches_another() -> None:
    script, conn = up()
    while script.mono < 100.0 + 1000.0:
        script.machine.connect_failed(await_connect(script, conn).conn, "refused", "down", script.now)
    assert script.machine.state.link is LinkState.UP
    script.unseen.clear()
    script.machine.disconnected(conn, "cut", script.now)
    script.expect(Offline)
    script.wait(1.0)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    assert script.expect(SendRequest).request.target.endswith("/challenge")


def test_link_2_a_renewal_on_a_dead_connection_is_made_once_more_and_a_verify_starts_over() -> None:
    script, conn = up()
    request = begin_renewal(script, conn)
    verify = to_verify(script, request)
    script.machine.disconnected(verify.conn, "idle", script.now)
    script.none_of(RenewalFailed)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    again = script.expect(SendRequest)
    assert again.request.target.endswith("/challenge")
    script.machine.disconnected(again.conn, "reset", script.now)
    assert "reset" in script.expect(RenewalFailed).reason


def test_a_drain_and_a_stop_end_a_renewal() -> None:
    script, conn = up()
    request = begin_renewal(script, conn)
    script.command(conn)
    script.machine.stop(script.now)
    assert script.expect(Disconnect).conn == request.conn
    keep_alive(script, conn, 25.0)
    script.none_of(Connect, Stopped)
    script, conn = up()
    request = begin_renewal(script, conn)
    script.machine.stop(script.now, drain=False)
    assert {conn, request.conn} <= set(script.dropped())
    assert script.machine.deadline() is None


def test_link_7_sleep_brings_the_renewal_nearer() -> None:
    script, conn = up()
    keep_alive(script, conn, 100.0)
    script.wall += 700.0
    script.machine.bytes_received(conn, script.now)
    script.machine.handle_timer(script.now)
    script.expect(Connect)


def test_tok_3_the_refused_token_of_a_call_is_replaced_by_a_renewal() -> None:
    script, conn = up()
    script.machine.get_details(script.now)
    script.machine.connected(script.expect(Connect).conn, script.now, tls=False)
    script.answer(script.expect(SendRequest), answer(401))
    assert script.expect(RenewalStarted) == RenewalStarted("the platform refused the token", "TOK-3")
    assert script.machine.state == (AuthState.NONE, LinkState.UP)
    request = begin_renewal(script, conn)
    grant(script, to_verify(script, request))
    script.expect(TokenRenewed)
    assert script.machine.state == (AuthState.READY, LinkState.UP)
    assert not [output for output in script.said if isinstance(output, CallFailed | Offline)]
    assert len([output for output in script.said if isinstance(output, TokenReceived)]) == 1
    assert script.expect(SendRequest).request.method == "GET"


def test_pings_of_the_link_go_on_during_a_renewal() -> None:
    script, conn = up()
    begin_renewal(script, conn)
    script.wait(14.0)
    script.machine.bytes_received(conn, script.now)
    script.unseen.clear()
    script.wait(20.0)
    assert script.expect(SendPing).conn == conn


def test_link_9_a_renewal_that_begins_as_the_link_ends_opens_no_connection() -> None:
    script, conn = up(life_s=100.0)
    keep_alive(script, conn, 79.0)
    script.mono, script.wall = script.mono + 1.0, script.wall + 1.0  # what comes is earlier than the timer
    script.machine.unsent(conn, 0, script.now)
    script.machine.close_received(conn, 1011, "", script.now)
    script.expect(RenewalStarted)
    script.expect(Offline)
    script.none_of(Connect)
    assert [output.conn for output in script.said if isinstance(output, Disconnect)] == [conn]
