"""PLAT-1 … PLAT-3: tenants, agents and keys, and what is refused of each."""

from __future__ import annotations

import tracemalloc
from random import Random
from typing import Any

import pytest

from artcafe_proto import ApiError, ConfigError, LocalProtocolError
from artcafe_proto.platform import registry as registry_module
from artcafe_proto.platform.records import AgentRecord, Change
from artcafe_proto.platform.registry import Registry
from artcafe_proto.platform.state import PlatformState
from support.virtual import signing_key


def create(registry: Registry, agent_id: str | None = "agent-1", tenant_id: str = "tenant-1") -> AgentRecord:
    return registry.create_agent(tenant_id, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=1e9)


def registry_of(state: PlatformState | None = None) -> Registry:
    """One whose records are applied at once."""
    state = PlatformState() if state is None else state
    return Registry(state, state.apply, Random(1))


def refusal(error: pytest.ExceptionInfo[ApiError]) -> tuple[int, str]:
    return error.value.status, error.value.error


METADATA: dict[str, Any] = {"x": [{} for _ in range(20_000)]}
"""As JSON it has 60 KB, as values twenty times as much."""


def test_plat_3_what_describes_an_agent_is_kept_as_json_and_shown_as_it_came() -> None:
    registry = registry_of()
    names = ("draw", "\u00e9")
    tracemalloc.start()
    try:
        agent = registry.create_agent("t", agent_id="a", name="", capabilities=names, metadata=METADATA, wall=0.0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 60_000 < agent.size < 70_000
    assert kept < 70_000
    assert (agent.description().capabilities, agent.description().metadata) == (names, METADATA)


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_plat_2_a_number_that_json_does_not_have_describes_no_agent(number: float) -> None:
    registry = registry_of()
    with pytest.raises(LocalProtocolError, match="metadata"):
        registry.create_agent("t", agent_id="a", name="", capabilities=(), metadata={"x": [number]}, wall=0.0)
    assert registry.agents("t") == ()


def test_plat_8_agents_and_keys_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_of()
    create(registry)
    key = registry.add_key("tenant-1", "agent-1", signing_key(1).public.openssh, "\U0001f600")
    monkeypatch.setattr(registry_module, "MAX_AGENT_BYTES", registry.agent("tenant-1", "agent-1").size + key.size)
    with pytest.raises(ApiError) as refused:
        create(registry, "agent-2")
    assert refusal(refused) == (503, "store_full")
    with pytest.raises(ApiError) as refused:
        registry.add_key("tenant-1", "agent-1", signing_key(2).public.openssh, "")
    assert refusal(refused) == (503, "store_full")
    registry.remove_key("tenant-1", key.key_id)
    create(registry, "agent-2")


def test_plat_2_a_key_that_is_removed_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_of()
    create(registry)
    monkeypatch.setattr(registry_module, "MAX_KEYS_PER_AGENT", 2)
    first, second, third = (signing_key(seed).public.openssh for seed in range(3))
    key = registry.add_key("tenant-1", "agent-1", first, "")
    registry.add_key("tenant-1", "agent-1", second, "")
    with pytest.raises(ApiError) as refused:
        registry.add_key("tenant-1", "agent-1", third, "")
    assert refusal(refused) == (409, "too_many_keys")
    registry.remove_key("tenant-1", key.key_id)
    registry.add_key("tenant-1", "agent-1", third, "")


@pytest.mark.parametrize("stranger", ["tenant-2", "tenant-10", "tenant-", "tenant", "Tenant-1", "tenant-1 "])
def test_plat_1_what_is_another_tenants_reads_as_404(stranger: str) -> None:
    registry = registry_of()
    create(registry)
    key = registry.add_key("tenant-1", "agent-1", signing_key().public.openssh, "")
    with pytest.raises(ApiError) as refused:
        registry.agent(stranger, "agent-1")
    assert refusal(refused) == (404, "agent_not_found")
    for tenant_id, key_id in ((stranger, key.key_id), ("tenant-1", "key-x")):
        with pytest.raises(ApiError) as refused:
            registry.key(tenant_id, key_id)
        assert refusal(refused) == (404, "key_not_found")


def test_plat_1_tokens_that_are_not_given_any_more_speak_for_nobody() -> None:
    registry = registry_of()
    registry.add_tenant("tenant-1", "the-first-token-of-1")
    registry.add_tenant("tenant-2", "the-first-token-of-2")
    registry.set_tenants({"tenant-1": "the-second-token-of-1", "tenant-2": "the-first-token-of-2"})
    tokens = ("the-first-token-of-1", "the-second-token-of-1", "the-first-token-of-2")
    assert [registry.tenant_of(token) for token in tokens] == [None, "tenant-1", "tenant-2"]
    registry.add_tenant("tenant-1", "the-first-token-of-1")
    assert registry.tenant_of("the-first-token-of-1") == "tenant-1"


FIRST, SECOND = "the-first-token-of-all", "the-second-token-of-all"


@pytest.mark.parametrize(
    "later",
    [{"tenant-1": SECOND, "tenant-2": FIRST}, {"tenant-2": SECOND, "tenant-3": FIRST}, {"tenant-3": SECOND}, {}],
    ids=["swapped", "renamed", "renamed and one less", "none"],
)
def test_plat_1_tokens_change_hands(later: dict[str, str]) -> None:
    registry = registry_of()
    registry.set_tenants({"tenant-1": FIRST, "tenant-2": SECOND})
    registry.set_tenants(later)
    tenant_of = {token: tenant_id for tenant_id, token in later.items()}
    assert [registry.tenant_of(token) for token in (FIRST, SECOND)] == [tenant_of.get(FIRST), tenant_of.get(SECOND)]


@pytest.mark.parametrize(
    ("later", "complaint"),
    [
        ({"tenant-3": "a-token-of-tenant-3", "tenant-1": FIRST, "tenant-2": FIRST}, "tenant-2 is another tenant's"),
        ({"tenant-3": "a-token-of-tenant-3", "tenant-1": "short"}, "16 or more"),
    ],
    ids=["two tenants with one token", "a token that is too short"],
)
def test_plat_1_tenants_that_are_refused_change_nothing(later: dict[str, str], complaint: str) -> None:
    changes: list[Change] = []
    state = PlatformState()
    registry = Registry(state, lambda change: (changes.append(change), state.apply(change)), Random(1))
    registry.set_tenants({"tenant-1": FIRST, "tenant-2": SECOND})
    before = list(changes)
    with pytest.raises(ConfigError, match=complaint):
        registry.set_tenants(later)
    assert changes == before
    assert [registry.tenant_of(token) for token in (FIRST, SECOND)] == ["tenant-1", "tenant-2"]


def test_plat_1_tenants_that_stay_the_same_store_nothing() -> None:
    changes: list[Change] = []
    state = PlatformState()
    registry = Registry(state, lambda change: (changes.append(change), state.apply(change)), Random(1))
    for _ in range(2):
        registry.set_tenants({"tenant-1": FIRST, "tenant-2": SECOND})
    assert len(changes) == 2
