"""PLAT-5: what a platform promises is stored before anybody is told."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from artcafe_proto import (
    ApiError,
    HttpRequest,
    HttpResponse,
    Instant,
    LocalProtocolError,
    PlatformConfig,
    PlatformHub,
    PlatformSession,
)
from artcafe_proto.effects import (
    AcceptUpgrade,
    Disconnect,
    Persist,
    SendBody,
    SendClose,
    SendPing,
    SendPong,
    SendResponse,
    SendText,
)
from artcafe_proto.events import (
    AgentOnline,
    AnyEvent,
    CommandAccepted,
    CommandAnswered,
    CommandRepeated,
    CommandSent,
    HeartbeatReceived,
    StoreRecovered,
    StoreStalled,
)
from artcafe_proto.platform.records import Kind
from artcafe_proto.records import DamagedRecordError, Keeps, Record
from support.platform_stage import AGENT, JSON, TENANT, TENANT_TOKEN, Stage, say
from support.virtual import signing_key

BEARER = ("authorization", f"Bearer {TENANT_TOKEN}")
OTHER_TOKEN = "the-token-of-another-tenant"


class StoringStage(Stage):
    """A stage whose hub keeps records, with a store that is played by hand. Its first batch is stored."""

    def __init__(self, stored: dict[tuple[int, int], Record] | None = None) -> None:
        self.batches: list[Persist] = []
        self.stored: dict[tuple[int, int], Record] = {} if stored is None else stored
        self.out: dict[int, list[Any]] = {}
        super().__init__()
        self.store()

    def make_hub(self, config: PlatformConfig) -> PlatformHub:
        restored = list(self.stored.values())
        return PlatformHub(
            config, rng=Random(3), signing_seed=bytes(32), restored=restored, keeps=Keeps.RECORDS, now=self.now
        )

    def drain(self) -> None:
        """Take what may leave, as a driver does."""
        while (output := self.hub.next_output()) is not None:
            match output:
                case Persist():
                    self.batches.append(output)
                case AnyEvent():
                    self.events.append(output)
                case _:
                    self.out.setdefault(output.conn, []).append(output)

    def store(self, count: int = 1) -> None:
        """The store has done with so many batches."""
        for _ in range(count):
            self.drain()
            batch = self.batches.pop(0)
            for each in batch.records:
                self.stored[each.kind, each.n] = each
            self.hub.persisted(batch.batch, self.now)
        self.drain()

    def said(self, session: PlatformSession) -> list[Any]:
        """What has left on a connection since the last time."""
        self.drain()
        return self.out.pop(session.conn, [])

    def told(self, kind: type[Any]) -> list[Any]:
        """The events of a kind that the driver was told."""
        self.drain()
        return [each for each in self.events if isinstance(each, kind)]

    def request(self, method: str, path: str, body: object = None, *fields: tuple[str, str]) -> PlatformSession:
        """A request on a connection of its own; a tenant's unless it has other fields."""
        session = self.session()
        data = b"" if body is None else json.dumps(body).encode()
        headers = (*JSON, *(fields or (BEARER,)))
        request = HttpRequest(method=method, target=f"/api/v1/{path}", headers=headers, body=data)
        session.request_received(1, request, self.now, upgrade=False)
        return session

    def answer(self, session: PlatformSession) -> tuple[int, Any]:
        """The one response that has left."""
        (sent,) = self.said(session)
        assert isinstance(sent, SendResponse)
        return sent.response.status, json.loads(sent.response.body)

    def linked(self) -> PlatformSession:
        """A link that the transport has opened, and that is online."""
        session = self.session()
        session.link_opened(AGENT, self.now)
        say(self, session, "heartbeat", {"agent_id": AGENT, "status": "online"})
        self.said(session)
        return session

    def pass_time(self, seconds: float) -> None:
        """It is later, and the hub is told."""
        self.pass_to(self.mono + seconds)
        self.hub.handle_timer(self.now)
        self.drain()


def test_a_202_leaves_when_its_command_is_stored() -> None:
    stage = StoringStage()
    session = stage.request("POST", f"agents/{AGENT}/commands", {"command": "work", "command_id": "c1"})
    assert stage.said(session) == []
    stage.store()
    assert stage.answer(session) == (202, {"command_id": "c1"})


def test_a_command_goes_out_when_it_is_stored() -> None:
    stage = StoringStage()
    link = stage.linked()
    stage.command(command_id="c1")
    assert stage.said(link) == []
    assert stage.told(CommandSent) == []
    assert stage.hub.command(TENANT, "c1").attempts == 0
    stage.store()
    assert [each.message_id for each in stage.said(link)] == ["c1"]
    assert stage.hub.command(TENANT, "c1").attempts == 1


def test_commands_keep_their_order_across_batches() -> None:
    stage = StoringStage()
    link = stage.linked()
    for n in range(3):
        stage.command(command_id=f"c{n}")
        stage.drain()
    assert len(stage.batches) == 1, "what comes while one is under way shares the next"
    stage.store(2)
    assert [each.message_id for each in stage.said(link)] == ["c0", "c1", "c2"]


def test_what_expires_while_it_is_held_is_never_sent() -> None:
    stage = StoringStage()
    link = stage.linked()
    stage.command(command_id="c1", expires_in_s=2.0)
    stage.drain()
    stage.pass_time(3.0)
    stage.store(2)
    assert [each for each in stage.said(link) if isinstance(each, SendText)] == []
    assert stage.hub.command(TENANT, "c1").state == "expired"


def test_a_read_shows_nothing_that_is_not_stored() -> None:
    stage = StoringStage()
    stage.command(command_id="c1")
    session = stage.request("GET", "commands/c1")
    assert stage.said(session) == []
    stage.store()
    assert stage.answer(session)[1]["state"] == "queued"


def test_the_driver_is_told_of_what_is_stored() -> None:
    stage = StoringStage()
    link = stage.linked()
    stage.command(command_id="c1")
    stage.store()
    say(stage, link, "response", {"command_id": "c1", "status": "success", "result": 1})
    assert stage.told(CommandAnswered) == []
    stage.store()
    assert [each.command_id for each in stage.told(CommandAnswered)] == ["c1"]


def answered(stage: StoringStage) -> PlatformSession:
    """A link on which a response has come that is not stored."""
    link = stage.linked()
    stage.command(command_id="c1")
    stage.store()
    say(stage, link, "response", {"command_id": "c1", "status": "success", "result": 1})
    stage.said(link)
    return link


def test_a_pong_waits_for_the_responses_before_its_ping() -> None:
    stage = StoringStage()
    link = answered(stage)
    link.ping_received(b"1", stage.now)
    assert stage.said(link) == []
    stage.store()
    assert stage.said(link) == [SendPong(link.conn, b"1")]


def test_it_waits_for_that_of_an_earlier_link_which_a_repeated_response_does_not_store_again() -> None:
    stage = StoringStage()
    answered(stage)
    link = stage.linked()
    say(stage, link, "response", {"command_id": "c1", "status": "success", "result": 1})
    link.ping_received(b"2", stage.now)
    assert stage.said(link) == []
    stage.store()
    assert stage.said(link) == [SendPong(link.conn, b"2")]


def test_a_pong_does_not_wait_for_what_is_not_its_agents() -> None:
    stage = StoringStage()
    link = stage.linked()
    stage.command(command_id="c1")
    link.ping_received(b"1", stage.now)
    assert stage.said(link) == [SendPong(link.conn, b"1")]


def test_of_pongs_that_wait_the_first_and_the_last_are_sent() -> None:
    stage = StoringStage()
    link = answered(stage)
    for payload in (b"1", b"2", b"3"):
        link.ping_received(payload, stage.now)
    stage.store()
    assert stage.said(link) == [SendPong(link.conn, b"1"), SendPong(link.conn, b"3")]


def test_a_ping_waits_for_nothing() -> None:
    stage = StoringStage()
    link = answered(stage)
    stage.pass_time(45.0)
    assert SendPing in [type(each) for each in stage.said(link)]


def test_a_message_which_is_not_stored_waits_for_nothing() -> None:
    stage = StoringStage()
    link = stage.linked()
    stage.command(command_id="c1")
    message_id = stage.hub.send_message(TENANT, AGENT, {"n": 1}, stage.now)
    assert [each.message_id for each in stage.said(link)] == [message_id]
    stage.store()
    assert [each.message_id for each in stage.said(link)] == ["c1"]


def test_an_orderly_end_waits_for_what_was_said_before_it_and_an_abort_does_not() -> None:
    stage = StoringStage()
    session = stage.request("POST", f"agents/{AGENT}/commands", {"command": "work"})
    assert stage.said(session) == []
    session.drop("the platform ends", stage.now)
    assert stage.said(session) == []
    stage.store()
    assert [type(each) for each in stage.said(session)] == [SendResponse, Disconnect]
    gone = stage.request("POST", f"agents/{AGENT}/commands", {"command": "work"})
    assert stage.said(gone) == []
    gone.disconnected("the peer closed it", stage.now)
    stage.store()
    assert stage.said(gone) == []


def test_a_close_frame_passes_what_is_held_and_is_the_last() -> None:
    stage = StoringStage()
    link = answered(stage)
    link.ping_received(b"1", stage.now)
    link.close(4403, "gone", stage.now)
    assert stage.said(link) == [SendClose(link.conn, 4403, "gone")]
    stage.store()
    assert stage.said(link) == []


def test_auth_1_a_login_waits_for_its_own_agents_records_alone() -> None:
    stage = StoringStage()
    stage.register("agent-2")
    mine = stage.request("POST", "auth/challenge", {"agent_id": AGENT}, JSON[0])
    theirs = stage.request("POST", "auth/challenge", {"agent_id": "agent-2"}, JSON[0])
    nobodys = stage.request("POST", "auth/challenge", b"".hex(), JSON[0])
    assert stage.answer(mine)[0] == 200
    assert stage.answer(nobodys)[0] == 422
    assert stage.said(theirs) == []
    stage.store()
    assert stage.answer(theirs)[0] == 200


def test_a_token_that_is_wrong_is_refused_at_once() -> None:
    stage = StoringStage()
    stage.command()
    session = stage.request("GET", "agents", None, ("authorization", "Bearer not-a-token-of-anybody"))
    assert stage.answer(session)[0] == 401


def test_a_stream_begins_at_once_and_its_events_wait() -> None:
    stage = StoringStage()
    stage.command()
    session = stage.request("GET", "events")
    (head,) = stage.said(session)
    assert head.response.status == 200
    stage.pass_time(16.0)
    assert [each.data for each in stage.said(session)] == [b":\n\n"]
    stage.store()
    assert b"".join(each.data for each in stage.said(session)).count(b"event: stream.open") == 1


# --- a store that is slow, full or gone -------------------------------------------------------------------------------


def test_after_five_seconds_nobody_waits_any_longer() -> None:
    stage = StoringStage()
    link = answered(stage)
    written = stage.request("POST", f"agents/{AGENT}/commands", {"command": "work", "command_id": "c2"})
    read = stage.request("GET", "agents")
    link.ping_received(b"1", stage.now)
    stage.pass_time(4.9)
    assert stage.said(written) == stage.said(read) == []
    stage.pass_time(0.1)
    status, body = stage.answer(written)
    assert (status, body["error"]["code"], body["command_id"]) == (503, "may_be_accepted", "c2")
    status, body = stage.answer(read)
    assert (status, body["error"]["code"]) == (503, "store_unavailable")
    (close,) = stage.said(link)
    assert (close.code, [each.cause for each in stage.told(StoreStalled)]) == (1013, ["slow"])


def test_new_work_is_refused_until_the_store_is_back() -> None:
    stage = StoringStage()
    idle = stage.linked()
    stage.command()
    stage.drain()
    stage.pass_time(5.0)
    for session in (
        stage.request("GET", "agents"),
        stage.request("POST", f"agents/{AGENT}/commands", {"command": "x"}),
    ):
        assert stage.answer(session)[0] == 503
    with pytest.raises(ApiError, match="the store is slow"):
        stage.command()
    assert stage.answer(stage.request("POST", "auth/challenge", {"agent_id": AGENT}, JSON[0]))[0] == 200
    idle.ping_received(b"1", stage.now)
    assert SendPong(idle.conn, b"1") in stage.said(idle)
    stage.store()
    assert [each.after_s for each in stage.told(StoreRecovered)] == [5.0]
    stage.command()


def stalled(stage: StoringStage) -> None:
    """Nothing has been stored for so long that nobody waits any longer."""
    stage.register("agent-2")
    stage.drain()
    stage.pass_time(5.0)
    stage.drain()


def test_what_would_wait_for_a_stalled_store_is_told_so_at_once() -> None:
    stage = StoringStage()
    link = stage.linked()
    stage.command(command_id="c1")
    stage.store()
    stalled(stage)
    session = stage.request("POST", "auth/challenge", {"agent_id": "agent-2"}, JSON[0])
    status, body = stage.answer(session)
    assert (status, body["error"]["code"]) == (503, "store_unavailable")
    say(stage, link, "response", {"command_id": "c1", "status": "success", "result": 1})
    link.ping_received(b"1", stage.now)
    *_, close = stage.said(link)
    assert close.code == 1013
    assert stage.hub.deadline() is None or stage.hub.deadline() != stage.mono


def test_a_link_whose_101_waits_is_closed() -> None:
    stage = StoringStage()
    session = waiting_for_its_101(stage)
    stage.pass_time(5.0)
    accept, close = stage.said(session)
    assert (type(accept), close.code) == (AcceptUpgrade, 1013)


def test_events_that_tell_nothing_stored_do_not_pile_up_behind_a_stalled_store() -> None:
    stage = StoringStage()
    link = stage.linked()
    stalled(stage)
    for _ in range(3):
        say(stage, link, "heartbeat", {"agent_id": AGENT, "status": "online"})
    assert len(stage.told(HeartbeatReceived)) == 4


def test_a_command_that_is_stored_is_told_as_accepted() -> None:
    stage = StoringStage()
    stage.command(command_id="c1")
    assert stage.told(CommandAccepted) == []
    stage.store()
    assert stage.told(CommandAccepted) == [CommandAccepted(AGENT, "c1")]


def test_a_response_for_which_there_is_no_room_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = StoringStage()
    link = stage.linked()
    stage.command(command_id="c1")
    stage.store()
    stage.said(link)
    monkeypatch.setattr("artcafe_proto.policies.keeping.MAX_UNSTORED_BYTES", 100)
    stage.register("agent-2")
    with pytest.raises(ApiError, match="the store is slow"):
        stage.command()
    response = {"command_id": "c1", "status": "success", "result": 1}
    say(stage, link, "response", response)
    (close,) = stage.said(link)
    assert (close.code, stage.hub.command(TENANT, "c1").state) == (1013, "sent")
    stage.store()
    say(stage, stage.linked(), "response", response)
    assert stage.hub.command(TENANT, "c1").state == "succeeded"


def test_the_head_of_an_event_stream_leaves_nothing_that_the_next_response_waits_behind() -> None:
    """Found by the simulation: the response behind it was not refused when the store stalled."""
    stage = StoringStage()
    stage.command()
    session = stage.request("HEAD", "events")
    assert [type(each) for each in stage.said(session)] == [SendResponse, SendBody]


def test_plat_4_events_that_wait_for_a_store_break_no_silence() -> None:
    stage = StoringStage()
    link = stage.linked()
    session = stage.request("GET", "events")
    stage.said(session)
    stage.command()
    for _ in range(3):
        stage.pass_time(6.0)
        say(stage, link, "heartbeat", {"agent_id": AGENT, "status": "online"})
    assert [each.data for each in stage.said(session)] == [b":\n\n"]


def test_who_is_answered_as_the_store_stalls_is_refused_in_the_same_drain() -> None:
    """Found by the simulation: a poll whose command expires at that moment had `deadline` name it once more."""
    stage = StoringStage()
    stage.command(command_id="c1", expires_in_s=5.0)
    stage.store()
    poll = stage.request("GET", "commands/c1?wait=30")
    stage.command()
    stage.drain()
    stage.pass_time(5.0)
    assert stage.answer(poll)[0] == 503
    assert (stage.hub.deadline() or stage.mono + 1.0) > stage.mono


@pytest.mark.parametrize("reason", ["full", "unavailable"])
def test_a_batch_that_could_not_be_stored_is_handed_out_again_every_second(reason: Any) -> None:
    stage = StoringStage()
    stage.command(command_id="c1")
    stage.drain()
    (batch,) = stage.batches
    stage.hub.persist_failed(batch.batch, reason, stage.now)
    stage.drain()
    assert [each.cause for each in stage.told(StoreStalled)] == (["full"] if reason == "full" else [])
    assert stage.hub.deadline() == stage.mono + 1.0
    stage.pass_time(1.0)
    assert stage.batches == [batch, batch]
    if reason == "full":
        with pytest.raises(ApiError):
            stage.command()
    stage.batches.pop()
    stage.store()
    stage.command()


def test_what_is_said_of_another_batch_changes_nothing() -> None:
    stage = StoringStage()
    session = stage.request("POST", f"agents/{AGENT}/commands", {"command": "work"})
    stage.drain()
    for batch in (0, 1, 99):
        stage.hub.persisted(batch, stage.now)
        stage.hub.persist_failed(batch, "full", stage.now)
    assert stage.said(session) == []
    assert stage.told(StoreStalled) == []
    with pytest.raises(LocalProtocolError, match="full or unavailable"):
        stage.hub.persist_failed(1, "slow", stage.now)  # type: ignore[arg-type]


class Life(StoringStage):
    """A later life of the platform, from what an earlier one stored."""

    def __init__(self, earlier: StoringStage) -> None:
        super().__init__(dict(earlier.stored))

    def enrol(self) -> None:
        """Nobody registers anew."""


# --- the next life ----------------------------------------------------------------------------------------------------


def test_agents_keys_commands_and_outcomes_come_back() -> None:
    first = StoringStage()
    answered(first)
    first.command(command_id="c2")
    first.store(2)
    stage = Life(first)
    assert stage.hub.command(TENANT, "c1").state == "succeeded"
    assert stage.hub.command(TENANT, "c2").state == "queued"
    assert stage.token()
    stage.linked()
    assert [each.epoch for each in stage.told(AgentOnline)] == [2**32 + 1]


@pytest.mark.parametrize(
    "later",
    [{TENANT: OTHER_TOKEN, "tenant-2": TENANT_TOKEN}, {"tenant-3": TENANT_TOKEN}],
    ids=["swapped", "renamed"],
)
def test_plat_1_tokens_that_change_hands_do_so_in_every_later_life(later: dict[str, str]) -> None:
    stage = StoringStage()
    for tenants in ({TENANT: TENANT_TOKEN, "tenant-2": OTHER_TOKEN}, later, later):
        stage.hub = stage.make_hub(stage.hub.config)
        stage.hub.registry.set_tenants(tenants)
        stage.store()
        speaks = {stage.hub.registry.tenant_of(token): token for token in (TENANT_TOKEN, OTHER_TOKEN)}
        assert {tenant_id: token for tenant_id, token in speaks.items() if tenant_id is not None} == tenants
    restored = stage.make_hub(stage.hub.config)
    assert {restored.registry.tenant_of(token) for token in later.values()} == set(later)


def test_a_damaged_record_is_named_and_nothing_is_restored() -> None:
    stage = StoringStage()
    name, record = next(each for each in stage.stored.items() if each[0][0] == 3)
    value = record.value
    assert value is not None
    stage.stored[name] = Record(record.kind, record.n, value[:-1] + bytes([value[-1] ^ 1]))
    with pytest.raises(DamagedRecordError, match="record 1 of kind 3 is damaged"):
        stage.make_hub(stage.hub.config)


def test_what_a_hub_has_forgotten_is_gone_from_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_COMMANDS", 2)
    stage = StoringStage()
    session = stage.linked()
    for _ in range(5):
        command_id = stage.command()
        stage.store()
        say(stage, session, "response", {"command_id": command_id, "status": "success"})
        stage.store()
    kept = {name for name, record in stage.stored.items() if record.value is not None}
    assert kept == {(record.kind, record.n) for record in stage.hub.records()}
    forgotten = sorted(record.kind for record in stage.stored.values() if record.value is None)
    assert forgotten == [Kind.COMMAND] * 3 + [Kind.OUTCOME] * 3
    after = Life(stage)  # whose store gives deletions, too
    shown = [[each for each in hub.records() if each.kind > Kind.LIFE] for hub in (stage.hub, after.hub)]
    assert shown[0] == shown[1]


def test_no_number_is_given_twice_not_even_that_of_what_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_COMMANDS", 1)
    stage = StoringStage()
    session = stage.linked()
    ids = [stage.command() for _ in range(2)]
    stage.store()
    for command_id in reversed(ids):
        say(stage, session, "response", {"command_id": command_id, "status": "success"})
    stage.store()
    commands = {name: record for name, record in stage.stored.items() if record.kind is Kind.COMMAND}
    assert [record.value is None for record in commands.values()] == [False, True], "the newest is forgotten"
    stage.stored = {name: record for name, record in stage.stored.items() if record.value is not None}
    after = Life(stage)
    after.command()
    after.store()
    new = {name for name, record in after.stored.items() if record.kind is Kind.COMMAND} - set(commands)
    assert new == {(Kind.COMMAND, 2**32 + 1)}


def test_an_abort_lets_nothing_go_that_was_held() -> None:
    stage = StoringStage()
    link = stage.linked()
    link.close(1000, "the end", stage.now)
    stage.said(link)
    stage.command()
    stage.pass_time(stage.hub.config.close_timeout)
    assert stage.said(link) == [Disconnect(link.conn, abort=True)]


def test_what_waits_for_a_later_batch_stays() -> None:
    stage = StoringStage()
    stage.command()
    stage.drain()
    later = stage.request("POST", f"agents/{AGENT}/commands", {"command": "work", "command_id": "c2"})
    assert stage.said(later) == []
    stage.store()
    assert stage.said(later) == []
    stage.store()
    assert stage.answer(later)[0] == 202


def test_an_end_that_is_held_follows_the_refusal() -> None:
    stage = StoringStage()
    session = stage.request("POST", f"agents/{AGENT}/commands", {"command": "work"})
    assert stage.said(session) == []
    session.drop("the platform ends", stage.now)
    stage.pass_time(5.0)
    refusal, end = stage.said(session)
    assert (refusal.response.status, type(end)) == (503, Disconnect)


def test_a_hub_that_keeps_nothing_has_nothing_stored_and_nothing_to_store() -> None:
    stage = Stage()
    stage.command()
    stage.hub.persisted(1, stage.now)
    stage.hub.persist_failed(1, "full", stage.now)
    assert (stage.hub.barrier, stage.hub.stored, stage.hub.unstored) == (0, 0, 0)


def test_what_is_not_stored_is_counted() -> None:
    stage = StoringStage()
    stage.command()
    stage.drain()
    stage.command()
    assert stage.hub.unstored == 2
    stage.store(2)
    assert stage.hub.unstored == 0


def waiting_for_its_101(stage: StoringStage) -> PlatformSession:
    """A link whose 101 waits, as a key of its agent is not stored."""
    token = stage.token()
    stage.hub.registry.add_key(TENANT, AGENT, signing_key(9).public.openssh, "another")
    session = stage.open(token)
    assert stage.said(session) == []
    return session


def test_nothing_goes_out_on_a_link_before_its_101() -> None:
    stage = StoringStage()
    session = waiting_for_its_101(stage)
    session.ping_received(b"early", stage.now)
    session.outputs.sends.extend([SendText(session.conn, b"{}"), SendPing(session.conn, b"1")])
    assert stage.said(session) == []
    stage.store()
    assert [type(each) for each in stage.said(session)] == [AcceptUpgrade, SendText, SendPing, SendPong]


def test_a_link_that_waits_for_its_101_is_looked_after(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.keeping.STORE_PATIENCE_S", 1000.0)
    stage = StoringStage()
    session = waiting_for_its_101(stage)
    stage.pass_time(25.0)
    assert stage.said(session) == []
    stage.store()
    assert [type(each) for each in stage.said(session)] == [AcceptUpgrade, SendPing]


def test_nobody_is_served_before_this_life_is_stored() -> None:
    hub = PlatformHub(PlatformConfig(), rng=Random(3), signing_seed=bytes(32), keeps=Keeps.RECORDS, now=Instant(1, 2))
    with pytest.raises(LocalProtocolError, match="expected the first batch to be stored"):
        PlatformSession(hub, 1)
    batch = hub.next_output()
    assert isinstance(batch, Persist)
    hub.persisted(batch.batch, Instant(1, 2))
    PlatformSession(hub, 1)


def test_a_hub_that_keeps_records_is_given_the_moment() -> None:
    with pytest.raises(LocalProtocolError, match="expected the moment of the start"):
        PlatformHub(PlatformConfig(), rng=Random(3), signing_seed=bytes(32), keeps=Keeps.RECORDS)


def test_the_next_request_comes_when_the_answer_before_it_has_left() -> None:
    stage = StoringStage()
    session = stage.request("POST", f"agents/{AGENT}/commands", {"command": "work"})
    assert stage.said(session) == []
    request = HttpRequest(method="GET", target="/api/v1/agents", headers=(BEARER,))
    with pytest.raises(LocalProtocolError, match="one request at a time"):
        session.request_received(2, request, stage.now, upgrade=False)
    stage.store()
    session.request_received(2, request, stage.now, upgrade=False)


def test_an_answer_of_the_driver_waits_for_what_it_names_and_for_nothing_else() -> None:
    stage = StoringStage()
    stage.command()
    own = [stage.session() for _ in range(3)]
    for session in own:
        session.request_received(1, HttpRequest(method="GET", target="/health"), stage.now, upgrade=False)
    stage.drain()
    own[0].respond(1, HttpResponse(status=200), stage.now)
    own[1].respond(1, HttpResponse(status=202, body=b"queued"), stage.now, after=stage.hub.barrier)
    own[2].respond(1, HttpResponse(status=200), stage.now, more=True, after=stage.hub.barrier)
    own[2].send_body(1, b":\n\n", stage.now)
    assert [len(stage.said(session)) for session in own] == [1, 0, 0]
    stage.pass_time(5.0)
    assert stage.answer(own[1])[0] == 503
    assert stage.said(own[2]) == [], "what goes on is not refused"
    stage.store()
    assert [type(each) for each in stage.said(own[2])] == [SendResponse, SendBody]


def test_a_401_that_tells_of_a_revoked_key_waits() -> None:
    stage = StoringStage()
    token = stage.token()
    stage.hub.revoke_key(TENANT, stage.key_id, stage.now)
    read = stage.request("GET", f"agents/{AGENT}", None, ("authorization", f"Bearer {token}"))
    link = stage.open(token)
    challenge = stage.request("POST", "auth/challenge", {"agent_id": AGENT}, JSON[0])
    assert [stage.said(each) for each in (read, link, challenge)] == [[], [], []]
    stage.store()
    assert [stage.answer(each)[0] for each in (read, link, challenge)] == [401, 401, 200]


def test_repeated_responses_do_not_pile_up_behind_a_stalled_store() -> None:
    stage = StoringStage()
    link = answered(stage)
    for _ in range(3):
        say(stage, link, "response", {"command_id": "c1", "status": "success", "result": 1})
    assert len(stage.told(CommandRepeated)) == 3
