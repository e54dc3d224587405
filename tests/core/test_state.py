"""What a platform stores: records alone change it, and make an equal state again."""

from __future__ import annotations

from random import Random

import pytest

from artcafe_proto import ApiError, PlatformConfig, PlatformHub
from artcafe_proto.events import AgentOnline
from artcafe_proto.limits import MAX_KEYS_PER_AGENT
from artcafe_proto.platform.records import Kind, LifeRecord, read_change
from artcafe_proto.platform.state import PlatformState
from support.platform_stage import AGENT, TENANT, TENANT_TOKEN, Stage, answer, command_ids, sent
from support.virtual import signing_key


def restored(stage: Stage, *, after_s: float = 0.0) -> Stage:
    """Another life of the platform, whose monotonic clock has begun anew."""
    stage.wall += after_s
    other = Stage()
    other.mono, other.wall = 7.0, stage.wall
    now = other.now
    other.hub = PlatformHub(
        PlatformConfig(), rng=Random(4), signing_seed=bytes(32), restored=list(stage.hub.records()), now=now
    )
    other.key_id = stage.key_id
    return other


def same(one: PlatformState, other: PlatformState) -> bool:
    sizes = [(each.agent_bytes, each.finished_bytes, each.finished_count, each.agent_count) for each in (one, other)]
    return list(one.records()) == list(other.records()) and sizes[0] == sizes[1]


@pytest.mark.parametrize("seed", range(5))
def test_records_make_an_equal_state_after_whatever_has_happened(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_COMMANDS", 5)
    rng, stage = Random(seed), Stage()
    state = stage.hub._state  # pyright: ignore[reportPrivateUsage]
    keys = [signing_key(number).public.openssh for number in range(20, 19 + MAX_KEYS_PER_AGENT)]
    session = stage.online()
    for number in range(200):
        match rng.randrange(7):
            case 0:
                stage.register(f"other-{number}", rng.choice((TENANT, "tenant-2")))
            case 1 if keys:
                stage.hub.registry.add_key(TENANT, AGENT, keys.pop(), "another")
            case 2 if len(known := stage.hub.registry.keys(AGENT)) > 1:
                stage.hub.revoke_key(TENANT, known[-1].key_id, stage.now)
            case 3 | 4:
                stage.command(args={"x": "x" * rng.randrange(100)}, expires_in_s=rng.choice((5.0, 60.0)))
            case 5:
                for command_id in command_ids(session)[:2]:
                    answer(stage, session, command_id, result="y" * rng.randrange(100))
            case _:
                stage.wait(rng.choice((0.1, 6.0)))
        sent(session)
        assert same(PlatformState(state.records()), state)
    assert state.finished_count == 5


def test_a_restored_platform_knows_its_agents_their_keys_and_their_tokens() -> None:
    stage = Stage()
    token = stage.token()
    other_key = stage.hub.registry.add_key(TENANT, AGENT, signing_key(8).public.openssh, "second")
    stage.hub.revoke_key(TENANT, other_key.key_id, stage.now)
    stage.register("agent-2")
    after = restored(stage)
    after.hub.registry.add_tenant(TENANT, TENANT_TOKEN)
    assert [agent.agent_id for agent in after.hub.registry.agents(TENANT)] == [AGENT, "agent-2"]
    assert [key.key_id for key in after.hub.registry.keys(AGENT)] == [stage.key_id]
    assert after.hub.agent(TENANT, AGENT) == stage.hub.agent(TENANT, AGENT)
    assert after.ask(f"/api/v1/agents/{AGENT}", method="GET", authorization=f"Bearer {TENANT_TOKEN}").status == 200
    with pytest.raises(ApiError, match="no such key"):
        after.hub.registry.key(TENANT, other_key.key_id)
    assert command_ids(after.open(token)) == [], "the token is still good"


def test_plat_6_epochs_rise_from_one_life_to_the_next() -> None:
    stage = Stage()
    stage.online()
    stage.online()
    after = restored(stage)
    after.online()
    epochs = [event.epoch for each in (stage, after) for event in each.seen(AgentOnline)]
    assert epochs == [1, 2, 2**32 + 1]


def test_cmd_10_what_is_pending_goes_out_again_in_its_order_and_what_is_over_stays_so() -> None:
    stage = Stage(window=2)
    session = stage.online()
    ids = [stage.command(args={"n": number}) for number in range(4)]
    answer(stage, session, ids[0], result="done")
    after = restored(stage, after_s=10.0)
    shown = after.hub.command(TENANT, ids[0])
    assert (shown.state, shown.attempts, shown.response) == ("succeeded", 1, stage.hub.command(TENANT, ids[0]).response)
    waiting = after.hub.command(TENANT, ids[1])
    assert (waiting.state, waiting.attempts) == ("queued", 0), "what was sent is of the life that sent it"
    session = after.online()
    assert command_ids(session) == ids[1:]
    fifth = after.command()
    assert command_ids(session) == [fifth], "its number is above theirs"


def test_cmd_10_a_pending_command_expires_by_the_wall_clock_across_lives() -> None:
    stage = Stage()
    early, late = stage.command(expires_in_s=20.0), stage.command(expires_in_s=60.0)
    after = restored(stage, after_s=30.0)
    assert after.hub.deadline() == 7.0 - 10.0, "it expired while nobody was there"
    after.hub.handle_timer(after.now)
    assert [after.hub.command(TENANT, each).state for each in (early, late)] == ["expired", "queued"]
    assert after.hub.deadline() == 7.0 + 30.0


def test_the_life_of_a_platform_is_recorded_with_its_time() -> None:
    lives = [record.value for record in map(read_change, restored(Stage()).hub.records()) if record.kind is Kind.LIFE]
    assert lives == [LifeRecord(None), LifeRecord(1e9)]


def test_the_deletion_of_a_command_without_an_outcome_leaves_what_is_over() -> None:
    stage = Stage()
    session = stage.online()
    answer(stage, session, stage.command(args={"x": "x" * 50}), result="y" * 50)
    state = PlatformState(map(read_change, stage.hub.records()))
    before, finished_bytes = list(state.records()), state.finished_bytes
    stage.command(args={"x": "x" * 50})
    (pending,) = (each for each in map(read_change, stage.hub.records()) if each not in before)
    state.apply(pending)
    state.apply(pending._replace(value=None))
    assert (list(state.records()), state.finished_bytes) == (before, finished_bytes)


def test_what_leaves_the_hub_cannot_be_used_to_change_it() -> None:
    stage = Stage()
    session = stage.online()
    command = stage.hub.command(TENANT, stage.command())
    agent = stage.hub.agent(TENANT, AGENT)
    for value, field in (
        (command, "state"),
        (agent, "status"),
        (agent.record, "name"),
        (stage.hub.registry.keys(AGENT)[0], "name"),
        (stage.hub.registry.keys(AGENT)[0].public_key, "openssh"),
        (stage.hub.records()[0], "n"),
    ):
        with pytest.raises(AttributeError):
            setattr(value, field, "other")
        with pytest.raises(AttributeError):
            delattr(value, field)
    answer(stage, session, command.command_id)
    assert (command.state, stage.hub.command(TENANT, command.command_id).state) == ("sent", "succeeded")
