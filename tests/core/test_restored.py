"""A platform that is restored at any moment shows its tenants what it showed before, and keeps what it promised."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
import pytest

from artcafe_proto import HttpResponse, Instant, LocalProtocolError, PlatformConfig, PlatformHub
from artcafe_proto.limits import MAX_KEYS_PER_AGENT
from artcafe_proto.messages import CommandData, ResponseData
from artcafe_proto.platform import Change
from artcafe_proto.platform.records import (
    SCHEMA_VERSION,
    AgentRecord,
    CommandRecord,
    KeyRecord,
    Kind,
    LifeRecord,
    OutcomeRecord,
    SchemaRecord,
    TenantRecord,
    read_change,
)
from artcafe_proto.platform.session import PlatformSession
from artcafe_proto.platform.state import PlatformState
from artcafe_proto.platform.states import CommandState
from support.platform_stage import AGENT, TENANT, TENANT_TOKEN, Stage, answer, command_ids
from support.virtual import signing_key

OTHER, OTHER_TOKEN = "tenant-2", "the-token-of-another-tenant"


def changes(hub: PlatformHub) -> list[Change]:
    """What a hub has stored, as values."""
    return [read_change(record) for record in hub.records()]


def reborn(stage: Stage, rng: Random, now: Instant) -> PlatformHub:
    records = list(stage.hub.records())
    records += rng.choices(records, k=len(records) // 3)  # a store may give some twice
    rng.shuffle(records)
    return PlatformHub(stage.hub.config, rng=rng, signing_seed=bytes(32), restored=records, now=now)


class Life(Stage):
    """A stage that is driven at random, and what its tenants have been told."""

    def __init__(self, rng: Random) -> None:
        super().__init__(command_expires_in=60.0, window=2)
        self.rng = rng
        self.hub.registry.add_tenant(OTHER, OTHER_TOKEN)
        self.register("agent-3", OTHER)
        self.keys = [signing_key(number).public.openssh for number in range(20, 19 + MAX_KEYS_PER_AGENT)]
        self.commands: dict[tuple[str, str], dict[str, Any]] = {}
        self.tokens: list[str] = [self.token()]
        self.link: PlatformSession | None = None

    def get(self, target: str, token: str) -> Any:
        response = self.ask(f"/api/v1/{target}", method="GET", authorization=f"Bearer {token}")
        return response.status, json.loads(response.body)

    def seen_by_tenants(self) -> list[Any]:
        seen: list[Any] = []
        for token in (TENANT_TOKEN, OTHER_TOKEN, *self.tokens):
            seen += [self.get(f"agents/{agent_id}", token) for agent_id in (AGENT, "agent-2", "agent-3", "nobody")]
            seen.append(self.get("agents", token))
        seen += [self.get(f"commands/{name}?agent_id={agent}", TENANT_TOKEN) for agent, name in self.commands]
        return seen

    def post(self, agent_id: str, body: dict[str, Any]) -> HttpResponse:
        return self.ask(f"/api/v1/agents/{agent_id}/commands", body, authorization=f"Bearer {TENANT_TOKEN}")

    def act(self) -> None:
        rng, known = self.rng, self.hub.registry.keys(AGENT)
        match rng.randrange(9):
            case 0 if self.hub.registry.find("agent-2") is None:
                self.register("agent-2")
            case 1 if self.keys:
                self.hub.registry.add_key(TENANT, AGENT, self.keys.pop(), "another")
            case 2 if len(known) > 1:
                self.hub.revoke_key(TENANT, known[-1].key_id, self.now)
            case 3 | 4:
                body: dict[str, Any] = {
                    "command": "work",
                    "args": {"x": rng.randrange(9)},
                    "command_id": f"c-{rng.randrange(40)}",
                }
                body["expires_in"] = rng.choice((5, 60, 3600))
                agent_id = rng.choice([agent.agent_id for agent in self.hub.registry.agents(TENANT)])
                if self.post(agent_id, body).status == 202:
                    self.commands[agent_id, str(body["command_id"])] = body
            case 5 if self.link is not None:
                for command_id in command_ids(self.link)[:2]:
                    answer(self, self.link, command_id, status=rng.choice(("success", "error")), reason="r\u00e9")
            case 6 if self.link is not None and self.commands:
                agent_id, command_id = rng.choice(list(self.commands))
                answer(self, self.link, command_id, result={"late": [agent_id]})
            case 7:
                self.link = self.online()
            case _:
                self.wait(rng.choice((0.1, 6.0, 50.0)), *([] if self.link is None else [self.link]))


def of_this_life(seen: list[Any], *, is_restored: bool) -> list[Any]:
    """What of it a restored platform says too: an agent has to come back, and a command to go out again."""
    for status, body in seen:
        for each in body.get("agents", [body]) if status == 200 else ():
            if "metrics" in each:
                each |= (
                    {"status": "offline", "last_seen": None, "metrics": None} if not is_restored else {"metrics": None}
                )
            elif each["state"] in ("queued", "sent"):
                each |= {"state": "queued", "attempts": 0} if not is_restored else {}
    return seen


@pytest.mark.parametrize("seed", range(8))
def test_tenants_see_the_same_after_a_restart_at_any_moment(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_COMMANDS", 12)
    rng = Random(seed)
    life = Life(rng)
    for _ in range(12):
        for _ in range(rng.randrange(25)):
            life.act()
        before = of_this_life(life.seen_by_tenants(), is_restored=False)
        life.mono = rng.choice((0.0, -50.0, 1e6))
        life.hub, life.link = reborn(life, rng, life.now), None
        assert of_this_life(life.seen_by_tenants(), is_restored=True) == before
        for (agent_id, command_id), body in list(life.commands.items()):
            status, shown = life.get(f"commands/{command_id}?agent_id={agent_id}", TENANT_TOKEN)
            if status == 404:  # forgotten
                del life.commands[agent_id, command_id]
                continue
            assert life.post(agent_id, body).status == 202, "the same again is the same command"
            assert life.post(agent_id, body | {"args": {"x": "other"}}).status == 409
            assert life.get(f"commands/{command_id}?agent_id={agent_id}", TENANT_TOKEN) == (200, shown)


def test_cmd_10_a_command_lives_no_longer_than_it_was_given_where_the_wall_clock_was_set_back() -> None:
    stage = Stage()
    stage.command(expires_in_s=20.0)
    set_back = Instant(7.0, stage.wall - 1e8)
    hub = PlatformHub(
        PlatformConfig(), rng=Random(1), signing_seed=bytes(32), restored=stage.hub.records(), now=set_back
    )
    assert hub.deadline() == 27.0


def test_the_moment_of_the_start_is_as_sound_as_any_other() -> None:
    stage = Stage()
    stage.command(expires_in_s=20.0)
    odd = Instant(-1.0, float("inf"))
    hub = PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32), restored=stage.hub.records(), now=odd)
    lives = [record.value for record in changes(hub) if record.kind is Kind.LIFE]
    assert lives == [LifeRecord(None), LifeRecord(253_402_300_799.0 - 31 * 86_400.0)]
    hub.handle_timer(Instant(0.0, 1e9))
    assert [each.state for each in (hub.command(TENANT, name) for name in commands_of(hub))] == ["expired"]
    with pytest.raises(LocalProtocolError, match="the moment of the start"):
        PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32), restored=stage.hub.records())


def commands_of(hub: PlatformHub) -> list[str]:
    return [record.value.command_id for record in changes(hub) if isinstance(record.value, CommandRecord)]


def test_records_are_those_of_the_moment_they_were_asked_for() -> None:
    stage = Stage()
    records = stage.hub.records()
    stage.register("agent-2")
    assert not any(b"agent-2" in (record.value or b"") for record in records)


# --- records ----------------------------------------------------------------------------------------------------------

KEY = KeyRecord("key-1", "agent-1", signing_key().public.openssh, "")
AGENT_RECORD = AgentRecord("t", "agent-1", "", msgspec.Raw(b'{"capabilities":[],"metadata":{}}'), 1.0)
COMMAND = CommandRecord("t", "agent-1", "c", CommandData("work"), 1.0, 2.0)
OUTCOME = OutcomeRecord(1, CommandState.SUCCEEDED, 1, ResponseData("c", "success"), 1.5)
BASE = [
    Change(Kind.TENANT, 1, TenantRecord("t", b"a")),
    Change(Kind.AGENT, 1, AGENT_RECORD),
    Change(Kind.KEY, 1, KEY),
    Change(Kind.COMMAND, 1, COMMAND),
    Change(Kind.OUTCOME, 1, OUTCOME),
]


def contents(state: PlatformState) -> tuple[Any, ...]:
    known = (state.agent_bytes, state.finished_bytes, state.finished_count, state.agent_count)
    of_tenant = [*state.agents_of("t")], [(key.key_id, key.name) for key in state.keys_of("agent-1")]
    return [*state.records()], *known, *of_tenant, [*state.pending()], state.tenant_of(b"a")


def test_a_record_that_comes_again_changes_nothing() -> None:
    state = PlatformState(BASE)
    before = contents(state)
    for record in [*BASE, *BASE[::-1]]:
        state.apply(record)
    assert contents(state) == before
    gone = [Change(Kind.KEY, 1, None), Change(Kind.COMMAND, 1, None)]
    for record in [*gone, *gone, *BASE]:
        state.apply(record)
    assert contents(state) == contents(PlatformState([*BASE, *gone])) == contents(PlatformState([*BASE[:2], *gone]))
    assert contents(state) == contents(PlatformState(state.records()))
    assert [state.next_n(kind) for kind in (Kind.KEY, Kind.COMMAND, Kind.OUTCOME)] == [2, 2, 2], (
        "a number is given once"
    )
    before = contents(state)
    for never in (Change(Kind.KEY, 9, None), Change(Kind.COMMAND, 9, None)):
        state.apply(never)
    assert contents(state) == before


CHANGED: list[Change] = [
    Change(Kind.TENANT, 1, TenantRecord("t", b"b")),
    Change(Kind.AGENT, 1, msgspec.structs.replace(AGENT_RECORD, name="a longer one")),
    Change(Kind.KEY, 1, msgspec.structs.replace(KEY, name="a longer one")),
    Change(Kind.COMMAND, 1, msgspec.structs.replace(COMMAND, data=CommandData("work", msgspec.Raw(b'{"x":1}')))),
    Change(Kind.OUTCOME, 1, msgspec.structs.replace(OUTCOME, response=ResponseData("c", "error", reason="why"))),
]


@pytest.mark.parametrize("changed", CHANGED, ids=lambda record: record.kind.name)
def test_a_change_of_a_record_takes_the_place_of_what_was_there(changed: Change) -> None:
    state = PlatformState(BASE)
    state.apply(changed)
    anew = [changed if each[:2] == changed[:2] else each for each in BASE]
    assert contents(state) == contents(PlatformState(anew))


def test_a_pending_command_may_change_too() -> None:
    state = PlatformState(BASE[:4])
    state.apply(CHANGED[3])
    assert contents(state) == contents(PlatformState([*BASE[:3], CHANGED[3]]))


CONTRADICTIONS: list[Change] = [
    Change(Kind.SCHEMA, 0, SchemaRecord(SCHEMA_VERSION + 1)),
    Change(Kind.AGENT, 2, AGENT_RECORD),
    Change(Kind.AGENT, 1, msgspec.structs.replace(AGENT_RECORD, agent_id="agent-2")),
    Change(Kind.AGENT, 1, msgspec.structs.replace(AGENT_RECORD, tenant_id="t2")),
    Change(Kind.KEY, 2, msgspec.structs.replace(KEY, agent_id="nobody")),
    Change(Kind.KEY, 2, KEY),
    Change(Kind.KEY, 1, msgspec.structs.replace(KEY, key_id="key-2")),
    Change(Kind.COMMAND, 2, COMMAND),
    Change(Kind.COMMAND, 1, msgspec.structs.replace(COMMAND, command_id="d")),
    Change(Kind.OUTCOME, 2, OUTCOME),
    Change(Kind.OUTCOME, 2, msgspec.structs.replace(OUTCOME, command=9)),
    Change(Kind.OUTCOME, 1, None),
    Change(Kind.COMMAND, 2, msgspec.structs.replace(COMMAND, command_id="d", agent_id="nobody")),
    Change(Kind.COMMAND, 2, msgspec.structs.replace(COMMAND, command_id="d", tenant_id="t2")),
    Change(Kind.TENANT, 2, TenantRecord("t2", b"a")),
    Change(Kind.TENANT, 2, TenantRecord("t", b"a")),
    Change(Kind.KEY, 1.5, KEY),  # type: ignore[arg-type]
    Change(Kind.AGENT, 2, KEY),
    Change(Kind.AGENT, 1, None),
]


def refusal(record: Change) -> str:
    """What is said of a record that contradicts earlier ones."""
    match record:
        case Change(Kind.SCHEMA):
            return f"expected records of schema {SCHEMA_VERSION}, not {SCHEMA_VERSION + 1}"
        case Change(Kind.AGENT | Kind.OUTCOME, value=None):
            return f"expected a token, a key or a command, with its outcome, to delete, not .*{record.kind.name}"
        case _:
            return "expected"


@pytest.mark.parametrize("record", CONTRADICTIONS, ids=lambda record: record.kind.name)
def test_a_record_that_contradicts_earlier_ones_is_refused_and_changes_nothing(record: Change) -> None:
    state = PlatformState(BASE)
    before = contents(state), [state.next_n(kind) for kind in Kind]
    with pytest.raises(LocalProtocolError, match=refusal(record)):
        state.apply(record)
    assert (contents(state), [state.next_n(kind) for kind in Kind]) == before


@pytest.mark.parametrize("record", [1, None, (Kind.KEY, 1, None), "x"], ids=repr)
def test_what_is_no_record_is_refused(record: Any) -> None:
    with pytest.raises(LocalProtocolError, match="expected a Change"):
        PlatformState(BASE).apply(record)
    with pytest.raises(LocalProtocolError, match="expected a Change"):
        PlatformState([record])


def test_a_command_takes_its_outcome_with_it() -> None:
    state = PlatformState(BASE)
    state.apply(Change(Kind.COMMAND, 1, None))
    assert (state.finished_count, state.finished_bytes, [*state.pending()]) == (0, 0, [])
    assert contents(PlatformState(state.records())) == contents(state)
    assert state.next_n(Kind.OUTCOME) == 2


def test_what_is_deleted_stays_deleted_and_takes_its_outcome_with_it() -> None:
    state = PlatformState(BASE)
    before = list(state.records())
    for _ in range(2):
        state.apply(Change(Kind.COMMAND, 1, None))
        state.apply(Change(Kind.OUTCOME, 1, OUTCOME))
        state.apply(Change(Kind.OUTCOME, 2, OUTCOME))
        state.apply(Change(Kind.TENANT, 1, None))
    assert {(each.kind, each.n) for each in before} - {(each.kind, each.n) for each in state.records()} == {
        (Kind.COMMAND, 1),
        (Kind.OUTCOME, 1),
        (Kind.TENANT, 1),
    }
