"""PLAT-8, AUTH-8: how often somebody may try to sign in, and what the attempts do not tell."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto import ConfigError, HttpRequest, HttpResponse
from artcafe_proto.effects import SendResponse
from artcafe_proto.platform import api
from artcafe_proto.policies import rate_limits
from artcafe_proto.policies.rate_limits import RateLimit, network_of
from support.drained import take
from support.platform_stage import AGENT, TENANT, TENANT_TOKEN, Stage

HERE, THERE = "192.0.2.1", "198.51.100.7"


def ask(stage: Stage, step: str, address: str | None, agent_id: str = AGENT, **changes: Any) -> HttpResponse:
    """One attempt; a verify is of a signature that nobody made."""
    body = {"agent_id": agent_id}
    if step == "verify":
        body |= {"tenant_id": TENANT, "challenge": "x" * 40, "response": "eHh4"}
    return stage.ask(f"/api/v1/auth/{step}", body | changes, address=address)


# --- buckets ----------------------------------------------------------------------------------------------------------


def test_a_burst_is_let_through_and_then_what_comes_back() -> None:
    limit = RateLimit(per_second=2, burst=3)
    for _ in range(3):
        assert limit.wait_s("a", 10.0) == 0
        limit.take("a", 10.0)
    assert limit.wait_s("a", 10.0) == 0.5
    assert limit.wait_s("a", 10.25) == 0.25
    assert limit.wait_s("b", 10.0) == 0
    limit.take("a", 10.5)
    assert limit.wait_s("a", 10.5) == 0.5
    for _ in range(3):  # long after, the bucket is full, and no fuller
        assert limit.wait_s("a", 100.0) == 0
        limit.take("a", 100.0)
    assert limit.wait_s("a", 100.0) == 0.5


def test_what_is_counted_is_bounded_and_who_was_seen_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_RATE_LIMITED", 2)
    limit = RateLimit(per_second=1, burst=1)
    for key in ("a", "b", "a", "c"):
        limit.take(key, 0.0)
    assert len(limit) == 2
    assert [limit.wait_s(key, 0.0) for key in "abc"] == [2, 0, 1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "", True),
        ("/run/socket", "/run/socket", True),
    ],
)
def test_what_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


@pytest.mark.parametrize("mono", [50.0, 1234.567, 86_400.3, 1e6 + 0.1])
@pytest.mark.parametrize(("per_second", "burst"), [(50.0, 3), (7.0, 10), (100.0, 100), (500.0, 20_000)])
def test_a_burst_is_whole_however_its_numbers_round(per_second: float, burst: int, mono: float) -> None:
    limit = RateLimit(per_second, burst)
    for _ in range(burst):
        assert limit.wait_s("a", mono) == 0
        limit.take("a", mono)
    assert limit.wait_s("a", mono) == pytest.approx(1 / per_second)


@given(
    burst=st.integers(1, 5),
    per_second=st.sampled_from([0.1, 1.0, 7.0]),
    pauses=st.lists(st.sampled_from([0.0, 0.01, 0.2, 1.0, 30.0]), max_size=40),
)
def test_plat_8_in_no_stretch_of_time_is_more_let_through_than_burst_and_rate_allow(
    burst: int, per_second: float, pauses: list[float]
) -> None:
    limit, mono, taken = RateLimit(per_second, burst), 1000.25, list[float]()
    for pause in pauses:
        mono += pause
        wait_s = limit.wait_s("a", mono)
        if wait_s == 0:
            limit.take("a", mono)
            taken.append(mono)
        else:
            assert limit.wait_s("a", mono + wait_s) == 0, "whoever waits as told is let through"
    for first, since in enumerate(taken):
        for last, until in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + (until - since) * per_second + 1e-4


# --- attempts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["challenge", "verify"])
def test_plat_8_one_address_is_limited_and_another_is_not(step: str) -> None:
    stage = Stage(auth_rate_by_address=0.5, auth_burst_by_address=3)
    statuses = [ask(stage, step, HERE, agent_id=f"agent-{number}").status for number in range(4)]
    assert statuses.count(429) == 1
    assert statuses[-1] == 429
    refused = ask(stage, step, HERE)
    assert refused.header("retry-after") == "2"
    assert json.loads(refused.body) == {
        "error": {"code": "too_many_attempts", "message": "too many attempts to sign in: try again in 2 s"}
    }
    assert ask(stage, step, THERE).status != 429
    assert ask(stage, step, None).status != 429, "an owner that names no address limits by itself"
    stage.wait(2)
    assert ask(stage, step, HERE).status != 429


def test_plat_8_an_agent_that_tries_too_often_takes_nothing_from_those_behind_its_address() -> None:
    stage = Stage(auth_burst_by_address=10, auth_burst_by_agent=2)
    assert Counter(ask(stage, "challenge", HERE).status for _ in range(100)) == {200: 2, 429: 98}
    assert [ask(stage, "challenge", HERE, agent_id=f"a-{n}").status for n in range(9)] == [200] * 8 + [429]
    limits = stage.hub.authenticator
    assert len(limits._by_agent) == 9, "what is refused is not kept"  # pyright: ignore[reportPrivateUsage]


def test_plat_8_ids_longer_than_any_agents_take_no_memory_of_their_length() -> None:
    stage = Stage(auth_burst_by_agent=1)
    answers = [ask(stage, "verify", HERE, agent_id="x" * size).status for size in (60_000, 60_001)]
    assert answers == [401, 429]


@pytest.mark.parametrize("step", ["challenge", "verify"])
def test_plat_8_nobody_can_lock_out_an_agent_from_another_address(step: str) -> None:
    stage = Stage(auth_rate_by_agent=0.5, auth_burst_by_agent=3)
    assert [ask(stage, step, THERE).status == 429 for _ in range(5)] == [False] * 3 + [True] * 2
    assert ask(stage, step, THERE, agent_id="agent-2").status != 429
    assert ask(stage, step, HERE).status != 429


def ask_as_tenant(stage: Stage, address: str | None, token: str, path: str = "/api/v1/agents") -> HttpResponse:
    """A request with a tenant's token, right or wrong."""
    headers = (("authorization", f"Bearer {token}"),)
    if path.startswith("/api/v1/ws"):
        session = stage.session(address)
        session.request_received(1, HttpRequest(method="GET", target=path, headers=headers), stage.now, upgrade=True)
        output = take(session)
        assert isinstance(output, SendResponse)
        return output.response
    said = api.answer(stage.hub, HttpRequest(method="GET", target=path, headers=headers), stage.now, address)
    assert said is not None
    answer = said.answer
    assert isinstance(answer, HttpResponse)
    return answer


@pytest.mark.parametrize("path", ["/api/v1/agents", f"/api/v1/ws/agent/{AGENT}"])
def test_plat_8_a_tenants_token_cannot_be_guessed_at_any_pace(path: str) -> None:
    stage = Stage(auth_rate_by_agent=0.5, auth_burst_by_agent=3)
    right = 403 if "ws" in path else 200
    for _ in range(10):
        assert ask_as_tenant(stage, HERE, TENANT_TOKEN, path).status == right, "only failures count"
    guesses = [ask_as_tenant(stage, HERE, f"a-guess-number-{number}", path) for number in range(5)]
    assert [guess.status for guess in guesses] == [401] * 3 + [429] * 2
    assert guesses[4].header("retry-after") == "2"
    assert ask_as_tenant(stage, HERE, TENANT_TOKEN, path).status == 429, "else the limit would tell which is right"
    assert ask_as_tenant(stage, THERE, TENANT_TOKEN, path).status == right
    assert ask_as_tenant(stage, None, "a-guess-without-address", path).status == 401
    assert ask(stage, "challenge", HERE).status == 200, "agents behind this address sign in"
    stage.wait(2)
    assert ask_as_tenant(stage, HERE, TENANT_TOKEN, path).status == right


def test_plat_8_tokens_of_agents_are_no_guesses_however_many_of_them_have_expired() -> None:
    stage = Stage(auth_burst_by_agent=2)
    token = stage.token()
    stage.wait(1000)
    for number in range(10):
        assert ask_as_tenant(stage, HERE, f"{token}{number}", "/api/v1/agents").status == 401
        assert ask_as_tenant(stage, HERE, token, f"/api/v1/ws/agent/{AGENT}").status == 401
    assert ask_as_tenant(stage, HERE, TENANT_TOKEN).status == 200
    with pytest.raises(ConfigError, match="must not look like a JSON Web Token"):
        stage.hub.registry.add_tenant("tenant-3", token)


def test_plat_1_a_credential_in_the_query_is_none() -> None:
    stage = Stage()
    for name in ("access_token", "token", "authorization", "Authorization"):
        query = f"?{name}={TENANT_TOKEN}"
        said = api.answer(stage.hub, HttpRequest(method="GET", target=f"/api/v1/agents{query}"), stage.now)
        assert said is not None
        answer = said.answer
        assert isinstance(answer, HttpResponse)
        assert answer.status == 401


def test_plat_1_two_credentials_are_none() -> None:
    stage = Stage()
    bearer = ("authorization", f"Bearer {TENANT_TOKEN}")
    for headers in ((bearer, bearer), (bearer, ("authorization", ""))):
        request = HttpRequest(method="GET", target="/api/v1/agents", headers=headers)
        said = api.answer(stage.hub, request, stage.now)
        assert said is not None
        answer = said.answer
        assert isinstance(answer, HttpResponse)
        assert answer.status == 400
    for odd in (f"Bearer {TENANT_TOKEN}\xa0", f"Bearer\xa0{TENANT_TOKEN}", f"Bearer \x85{TENANT_TOKEN}"):
        request = HttpRequest(method="GET", target="/api/v1/agents", headers=(("authorization", odd),))
        said = api.answer(stage.hub, request, stage.now)
        assert said is not None
        answer = said.answer
        assert isinstance(answer, HttpResponse)
        assert answer.status == 401


def test_plat_8_both_steps_count_together_and_a_login_is_two_of_them() -> None:
    stage = Stage(auth_burst_by_agent=2)
    assert [ask(stage, step, HERE).status for step in ("challenge", "verify", "challenge")] == [200, 401, 429]


def test_plat_8_a_fleet_behind_one_address_comes_back_at_once() -> None:
    stage = Stage()
    statuses = Counter(ask(stage, "challenge", HERE, agent_id=f"a-{n}").status for n in range(20_000))
    assert statuses == {200: 20_000}
    assert ask(stage, "challenge", HERE).status == 429


def test_auth_8_one_address_uses_up_fewer_challenges_than_can_be_remembered() -> None:
    config = Stage().hub.config
    verifies = (config.auth_burst_by_address + 300 * config.auth_rate_by_address) / 2  # a challenge is half an attempt
    assert verifies < 100_000


def test_auth_8_who_uses_up_all_challenges_it_can_is_held_back_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.challenges.MAX_CONSUMED_CHALLENGES", 10)
    stage = Stage()

    def verify(address: str) -> HttpResponse:
        return ask(stage, "verify", address, challenge=stage.challenge())

    assert [verify(HERE).status for _ in range(7)] == [401] * 5 + [429] * 2
    assert verify(HERE).header("retry-after") == "60"
    assert ask(stage, "verify", HERE, agent_id="nobody").status == 429, "which does not tell who is registered"
    assert verify(THERE).status == 401
    stage.wait(301)
    assert verify(HERE).status == 401


# --- what they do not tell --------------------------------------------------------------------------------------------
