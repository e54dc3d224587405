"""CMD-1, CMD-3, CMD-9: with a journal commands run and are answered once, also if the agent's process ends."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from msgspec import Raw

from artcafe_proto import AgentConfig, AgentMachine, AgentProtocol, LocalProtocolError, OutboxFullError
from artcafe_proto.agent.records import JournalRecord, Kind, OpenedRecord, ResponseRecord
from artcafe_proto.effects import Persist, PersistFailure, SendPing, SendPong, SendText
from artcafe_proto.events import (
    AnyEvent,
    CommandInterrupted,
    CommandReceived,
    CommandRefused,
    MessageSettled,
    Offline,
    RepeatReceived,
    ResponsesSettled,
    Stopped,
    StoreRecovered,
    StoreStalled,
    Undeliverable,
)
from artcafe_proto.limits import SETTLED_LIFE_S, SETTLED_UNSTORED_S, STORE_PATIENCE_S, STORE_RETRY_S
from artcafe_proto.policies.outbox import SettledBy
from artcafe_proto.records import DamagedRecordError, Keeps, Record, pack
from support.scripted import Scripted

Disk = dict[tuple[int, int], Record]


class Journaled(Scripted):
    """An agent with a journal, whose store is played by hand."""

    def __init__(self, disk: Disk | None = None, *, after_s: float = 0.0, **settings: Any) -> None:
        self.disk: Disk = {} if disk is None else disk
        self.batches: list[Persist] = []
        self._after_s = after_s
        super().__init__(**settings)
        self.mono += after_s
        self.wall += after_s

    def make_machine(self, config: AgentConfig, settled_by: SettledBy) -> AgentMachine:
        self.mono += self._after_s
        self.wall += self._after_s
        self._after_s = 0.0
        restored = list(self.disk.values())
        return AgentMachine(
            config, rng=Random(5), settled_by=settled_by, restored=restored, keeps=Keeps.RECORDS, now=self.now
        )

    def comply(self, output: Any) -> None:
        if isinstance(output, Persist):
            self.batches.append(output)
        else:
            super().comply(output)

    def under_way(self) -> Persist | None:
        """The batch that the store has been given and has not answered."""
        self.drain()
        self.batches += [output for output in self.unseen if isinstance(output, Persist)]
        self.unseen = [output for output in self.unseen if not isinstance(output, Persist)]
        return self.batches[-1] if self.batches else None

    def store(self) -> None:
        """The store has done with the batch under way."""
        batch = self.under_way()
        assert batch is not None, "nothing is to be stored"
        self.batches.clear()
        for record in batch.records:
            if record.value is None:
                self.disk.pop((record.kind, record.n), None)
            else:
                self.disk[record.kind, record.n] = record
        self.machine.persisted(batch.batch, self.now)
        self.drain()

    def store_all(self) -> None:
        """The store takes all there is."""
        while self.under_way() is not None:
            self.store()

    def fail(self, reason: PersistFailure) -> None:
        """The store takes nothing."""
        batch = self.under_way()
        assert batch is not None, "nothing is to be stored"
        self.batches.clear()
        self.machine.persist_failed(batch.batch, reason, self.now)
        self.drain()

    def restart(self, *, after_s: float = 0.0, **settings: Any) -> Journaled:
        """The process ends as by kill -9, and the next one begins."""
        return Journaled(dict(self.disk), after_s=self.mono - 100.0 + after_s, **settings)

    def up(self, value: str | None = None) -> int:
        conn = super().up(value)
        self.store_all()
        return conn

    def kinds(self) -> list[int]:
        """What is stored, but for whose journal it is."""
        return sorted(kind for kind, _ in self.disk if kind != Kind.JOURNAL)

    def told(self, kind: type[Any]) -> list[Any]:
        """All events of a kind so far."""
        self.drain()
        return [output for output in self.said if isinstance(output, kind)]

    def responses(self) -> list[tuple[str, str]]:
        """Command ids, and codes of errors or `success`, as they left."""
        sent = [message["data"] for message in self.texts("response")]
        return [(data["command_id"], data.get("code", data["status"])) for data in sent]


def with_command(agent: Journaled, command_id: str = "cmd-1", **data: Any) -> int:
    """An agent that runs a command; its connection."""
    conn = agent.up()
    agent.command(conn, command_id, **data)
    agent.store_all()
    return conn


def test_cmd_1_a_command_starts_once_its_acceptance_is_stored() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn)
    assert agent.told(CommandReceived) == []
    assert agent.machine.queued == ("cmd-1",)
    agent.store()
    assert [event.command_id for event in agent.told(CommandReceived)] == ["cmd-1"]
    assert agent.kinds() == [Kind.OPENED]


def test_cmd_3_a_response_leaves_once_it_is_stored_and_settles_with_a_ping_behind_it() -> None:
    agent = Journaled()
    conn = with_command(agent)
    pings = len(agent.told(SendPing))
    assert agent.machine.respond("cmd-1", 7, agent.now)
    assert (agent.responses(), agent.machine.outbox_size, len(agent.told(SendPing))) == ([], 1, pings)
    agent.store()
    assert (agent.responses(), agent.kinds()) == ([("cmd-1", "success")], [Kind.RESPONSE])
    agent.pong(conn)
    assert [event.command_ids for event in agent.told(ResponsesSettled)] == [("cmd-1",)]


def test_cmd_3_no_ping_settles_a_response_that_has_not_left() -> None:
    agent = Journaled()
    conn = with_command(agent)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.wait(30.0)  # pings of liveness go out meanwhile
    agent.pong(conn)
    assert agent.told(ResponsesSettled) == []
    assert agent.machine.outbox_size == 1
    agent.store()
    agent.pong(conn)
    assert len(agent.told(ResponsesSettled)) == 1


def test_cmd_9_what_was_not_finished_is_answered_interrupted_unasked() -> None:
    agent = Journaled()
    with_command(agent)
    agent = agent.restart()
    assert agent.told(CommandInterrupted) == [CommandInterrupted("cmd-1", "work", False, "CMD-9")]
    conn = agent.up()
    assert agent.responses() == [("cmd-1", "interrupted")]
    agent.command(conn)
    assert agent.told(CommandReceived) == []
    agent.pong(conn)
    assert agent.machine.outbox_size == 0


def test_cmd_9_interrupted_is_stored_before_it_is_said_and_said_the_same_after_another_crash() -> None:
    agent = Journaled()
    with_command(agent)
    agent = agent.restart()
    Scripted.up(agent)
    assert agent.responses() == []
    agent.store_all()
    first = agent.texts("response")
    agent = agent.restart()
    assert agent.told(CommandInterrupted) == []
    agent.up()
    assert agent.texts("response") == first


def test_cmd_9_what_is_idempotent_runs_when_it_comes_again() -> None:
    agent = Journaled(idempotent=frozenset({"work"}))
    with_command(agent)
    agent = agent.restart()  # as it was declared when it was accepted
    assert agent.told(CommandInterrupted) == [CommandInterrupted("cmd-1", "work", True, "CMD-9")]
    conn = agent.up()
    assert (agent.responses(), agent.kinds()) == ([], [])
    agent.command(conn)
    agent.store()
    assert len(agent.told(CommandReceived)) == 1


def test_cmd_1_what_was_never_stored_was_never_started() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn)
    agent = agent.restart()
    conn = agent.up()
    assert agent.responses() == []
    agent.command(conn)
    agent.store()
    assert len(agent.told(CommandReceived)) == 1


def test_cmd_1_a_response_outlives_the_process_and_answers_repeats() -> None:
    agent = Journaled()
    with_command(agent)
    agent.machine.respond("cmd-1", {"a": "ü"}, agent.now)
    agent.store()
    sent = agent.texts("response")
    agent = agent.restart()
    conn = agent.up()
    assert agent.texts("response") == sent
    agent.pong(conn)
    agent.command(conn)
    assert agent.texts("response") == [*sent, *sent]
    assert [event.answer for event in agent.told(RepeatReceived)] == ["stored"]


def test_cmd_1_what_is_settled_is_known_by_its_id_for_as_long_as_the_clause_says() -> None:
    agent = Journaled()
    conn = with_command(agent)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.store()
    agent.pong(conn)
    agent.wait(SETTLED_UNSTORED_S)
    agent.store_all()
    (stored,) = [record for record in agent.disk.values() if record.kind == Kind.RESPONSE]
    assert stored.value is not None
    assert b'"body":null' in stored.value

    later = agent.restart(after_s=SETTLED_LIFE_S - 100)
    conn = later.up()
    assert later.responses() == []
    later.command(conn)
    assert later.responses() == [("cmd-1", "expired_result")]

    much_later = agent.restart(after_s=SETTLED_LIFE_S + 1)
    conn = much_later.up()
    much_later.command(conn)
    much_later.store()
    assert len(much_later.told(CommandReceived)) == 1
    assert much_later.kinds() == [Kind.OPENED], "what the clause says no more is deleted"


def test_cmd_1_what_is_settled_is_stored_with_the_next_batch() -> None:
    agent = Journaled()
    conn = with_command(agent)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.store()
    agent.pong(conn)
    assert agent.under_way() is None, "it makes no batch of its own"
    agent.command(conn, "cmd-2")
    batch = agent.under_way()
    assert batch is not None
    assert [record.kind for record in batch.records] == [Kind.RESPONSE, Kind.OPENED]


def test_cmd_1_the_oldest_are_forgotten_in_the_journal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.ledger.MAX_SETTLED_COMMANDS", 2)
    agent = Journaled()
    conn = agent.up()
    for number in range(5):
        agent.command(conn, f"cmd-{number}")
        agent.store_all()
        agent.machine.respond(f"cmd-{number}", number, agent.now)
        agent.store_all()
        agent.pong(conn)
    agent.wait(SETTLED_UNSTORED_S)
    agent.store_all()
    assert agent.kinds() == [Kind.RESPONSE] * 2
    agent = agent.restart()
    conn = agent.up()
    for number in range(5):
        agent.command(conn, f"cmd-{number}")
    assert agent.responses() == [("cmd-3", "expired_result"), ("cmd-4", "expired_result")]


def test_cmd_1_those_that_settled_first_are_forgotten_first_whatever_the_clock_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("artcafe_proto.policies.ledger.MAX_SETTLED_COMMANDS", 3)
    agent = Journaled()
    for number in range(4):
        conn = with_command(agent, f"cmd-{number}")
        agent.machine.respond(f"cmd-{number}", number, agent.now)
        agent.store_all()
        agent.pong(conn)
        agent.machine.stop(agent.now, drain=False)
        agent.store_all()
        agent = agent.restart(after_s=-1_000_000.0 if number == 1 else 0.0)
    conn = agent.up()
    for number in range(4):
        agent.command(conn, f"cmd-{number}")
    expected = [(f"cmd-{number}", "expired_result") for number in (1, 2, 3)]
    assert agent.responses() == expected


def test_cmd_1_what_is_forgotten_as_soon_as_it_is_settled_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.ledger.MAX_SETTLED_COMMANDS", 2)
    agent = Journaled()
    conn = agent.up()
    for number in range(5):
        agent.command(conn, f"cmd-{number}")
    agent.store_all()
    for number in range(5):
        agent.machine.respond(f"cmd-{number}", number, agent.now)
    agent.store_all()
    agent.pong(conn)
    agent.wait(SETTLED_UNSTORED_S)
    agent.store_all()
    assert agent.kinds() == [Kind.RESPONSE] * 2


def test_cmd_3_messages_outlive_the_process_until_they_are_settled() -> None:
    agent = Journaled()
    agent.up()
    message_id = agent.machine.send_message({"n": 1}, agent.now)
    assert agent.texts("message") == []
    agent.store()
    sent = agent.texts("message")
    assert [message["id"] for message in sent] == [message_id]
    agent = agent.restart()
    conn = agent.up()
    assert agent.texts("message") == sent
    agent.pong(conn)
    assert [event.message_id for event in agent.told(MessageSettled)] == [message_id]
    agent.wait(SETTLED_UNSTORED_S)
    agent.store_all()
    assert agent.kinds() == []


def test_cmd_3_after_a_restart_everything_leaves_in_the_order_of_its_records() -> None:
    agent = Journaled()
    conn = agent.up()
    for number in range(3):
        agent.command(conn, f"cmd-{number}")
    agent.store_all()
    ids: list[str] = []
    for number in (2, 0, 1):
        agent.machine.respond(f"cmd-{number}", number, agent.now)
        ids.append(agent.machine.send_message({}, agent.now))
    agent.store_all()
    order = [message["id"] for message in map(agent.text, agent.told(SendText)) if message["type"] != "heartbeat"]
    agent = agent.restart()
    agent.up()
    again = [message["id"] for message in map(agent.text, agent.told(SendText)) if message["type"] != "heartbeat"]
    assert again == order
    assert [each for each in again if each in ids] == ids


def test_cmd_11_what_takes_the_place_of_a_poisoned_response_takes_that_of_its_record() -> None:
    agent = Journaled()
    conn = with_command(agent)
    agent.machine.respond("cmd-1", "poison", agent.now)
    agent.store()
    agent.machine.close_received(conn, 1009, "", agent.now)
    agent.store()
    assert agent.kinds() == [Kind.RESPONSE]
    agent = agent.restart()
    conn = agent.up()
    assert agent.responses() == [("cmd-1", "undeliverable")]
    agent.machine.close_received(conn, 1009, "", agent.now)
    assert agent.told(Undeliverable) == [Undeliverable("cmd-1", "cmd-1", "CMD-11")]
    agent.wait(SETTLED_UNSTORED_S)
    agent.store_all()
    agent = agent.restart()
    conn = agent.up()
    assert agent.responses() == []
    agent.command(conn)
    assert agent.responses() == [("cmd-1", "expired_result")]


def test_cmd_11_a_poisoned_message_is_deleted() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.machine.send_message({"poison": 1}, agent.now)
    agent.store()
    assert agent.kinds() == [Kind.MESSAGE]
    agent.machine.close_received(conn, 1009, "", agent.now)
    assert len(agent.told(Undeliverable)) == 1
    agent.up()
    agent.wait(SETTLED_UNSTORED_S)
    agent.store_all()
    assert agent.kinds() == []


def test_msg_5_damaged_arguments_are_answered_once_that_is_stored() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.receive(conn, "command", {"command": "work", "timeout": "soon"}, "cmd-1")
    assert agent.responses() == []
    agent.store()
    assert (agent.responses(), agent.kinds()) == ([("cmd-1", "invalid_arguments")], [Kind.RESPONSE])


# --- full, slow and absent disks --------------------------------------------------------------------------------------


def test_cmd_1_while_the_store_is_full_nothing_new_is_accepted() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn)
    agent.fail("full")
    assert agent.told(StoreStalled) == [StoreStalled("full")]
    assert agent.machine.status == "busy"
    agent.command(conn, "cmd-2")
    assert agent.responses() == [("cmd-2", "overloaded")]
    with pytest.raises(OutboxFullError, match="journal takes nothing"):
        agent.machine.send_message({}, agent.now)
    agent.receive(conn, "command", {"no": "command"}, "cmd-3")
    assert agent.responses()[1:] == [("cmd-3", "overloaded")]
    agent.wait(1.0)  # it is handed out again
    agent.store_all()
    assert agent.told(StoreRecovered) == [StoreRecovered(1.0)]
    assert agent.machine.status == "online"
    assert [event.command_id for event in agent.told(CommandReceived)] == ["cmd-1"]
    agent.machine.send_message({}, agent.now)


def test_cmd_1_a_store_that_is_slow_stalls_after_a_while() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn)
    agent.wait(STORE_PATIENCE_S - 0.1)
    assert agent.told(StoreStalled) == []
    agent.wait(0.1)
    assert agent.told(StoreStalled) == [StoreStalled("slow")]
    agent.command(conn, "cmd-2")
    assert agent.told(CommandRefused)[-1].code == "overloaded"
    agent.store_all()
    assert len(agent.told(StoreRecovered)) == 1


def test_cmd_4_what_times_out_before_it_is_stored_never_starts() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn, timeout=3)
    agent.wait(3.0)
    agent.store_all()
    assert agent.told(CommandReceived) == []
    assert agent.responses() == [("cmd-1", "timeout")]
    assert agent.kinds() == [Kind.RESPONSE]


def test_link_7_heartbeats_and_pongs_wait_for_no_store() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn)
    before = len(agent.texts("heartbeat"))
    agent.wait(30.0)
    agent.machine.ping_received(conn, b"are you there", agent.now)
    assert agent.expect(SendPong).payload == b"are you there"
    agent.pong(conn)
    agent.wait(30.0)
    agent.pong(conn)
    assert len(agent.texts("heartbeat")) == before + 2
    assert agent.told(Offline) == []


# --- the end ----------------------------------------------------------------------------------------------------------


def test_cmd_8_draining_is_said_once_the_command_is_deleted() -> None:
    agent = Journaled(max_concurrent=1)
    conn = with_command(agent)
    agent.command(conn, "cmd-2")
    agent.store_all()
    agent.machine.stop(agent.now)
    assert agent.responses() == []
    agent.store_all()
    assert agent.responses() == [("cmd-2", "draining")]
    assert agent.kinds() == [Kind.OPENED]
    agent = agent.restart()
    assert [event.command_id for event in agent.told(CommandInterrupted)] == ["cmd-1"]


def test_cmd_8_a_command_given_back_before_it_was_stored_never_starts() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn)
    agent.machine.stop(agent.now)
    agent.store()
    assert (agent.responses(), agent.told(CommandReceived)) == ([], [])
    agent.store_all()
    assert agent.responses() == [("cmd-1", "draining")]
    assert agent.kinds() == []


def test_cmd_8_what_was_given_back_on_a_link_that_is_gone_is_not_said_on_the_next() -> None:
    agent = Journaled(max_concurrent=1)
    conn = with_command(agent)
    agent.command(conn, "cmd-2")
    agent.store_all()
    agent.machine.stop(agent.now)
    agent.machine.disconnected(conn, "cut", agent.now)
    agent.store_all()
    agent.up()
    assert agent.responses() == []


@pytest.mark.parametrize("has_link", [True, False])
def test_cmd_8_what_comes_again_on_a_drains_next_link_is_given_back_there_once_it_is_deleted(has_link: bool) -> None:
    agent = Journaled(max_concurrent=1)
    conn = with_command(agent)
    agent.command(conn, "cmd-2")
    agent.store_all()
    if has_link:
        agent.machine.stop(agent.now)
        agent.machine.disconnected(conn, "cut", agent.now)
    else:
        agent.machine.disconnected(conn, "cut", agent.now)
        agent.machine.stop(agent.now)
    conn = Scripted.up(agent)
    for _ in range(2):
        agent.command(conn, "cmd-2")
    agent.drain()
    assert agent.responses() == []
    agent.store()
    assert agent.responses() == [("cmd-2", "draining")]
    agent.command(conn, "cmd-2")
    agent.drain()
    assert agent.responses() == [("cmd-2", "draining")] * 2


def test_cmd_8_a_drain_ends_once_all_is_settled_and_stored() -> None:
    agent = Journaled()
    conn = with_command(agent)
    agent.machine.stop(agent.now)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.store()
    agent.pong(conn)
    assert agent.texts("status") == []
    agent.store()
    assert [message["data"]["status"] for message in agent.texts("status")] == ["offline"]
    assert agent.machine.unstored == 0
    later = agent.restart()
    later.up()
    assert later.responses() == []


@pytest.mark.parametrize("is_up", [True, False], ids=["a link", "no link"])
def test_cmd_8_a_drain_does_not_wait_for_a_journal_alone_that_takes_nothing(is_up: bool) -> None:
    agent = Journaled()
    conn = with_command(agent)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.store_all()
    agent.pong(conn)
    if not is_up:
        agent.machine.disconnected(conn, "gone", agent.now)
    agent.machine.stop(agent.now)
    assert agent.told(Stopped) == []
    agent.fail("full")
    if is_up:
        assert [message["data"]["status"] for message in agent.texts("status")][-1] == "offline"
        agent.machine.disconnected(conn, "closed", agent.now)
    assert agent.told(Stopped) == [Stopped(())]
    assert agent.machine.unstored == 1


def test_cmd_8_what_was_given_back_is_unsettled_until_the_journal_has_forgotten_it() -> None:
    agent = Journaled(max_concurrent=1)
    conn = with_command(agent)
    agent.command(conn, "cmd-2")
    agent.store_all()
    agent.machine.stop(agent.now)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.machine.stop(agent.now, drain=False)
    assert agent.told(Stopped) == [Stopped(("cmd-1", "cmd-2"))]
    agent = agent.restart()
    agent.up()
    assert agent.responses() == [("cmd-1", "interrupted"), ("cmd-2", "interrupted")]


def test_cmd_8_stopped_lists_what_the_journal_had_no_time_to_store() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn, "cmd-1")
    agent.store_all()
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.command(conn, "cmd-2")
    message_id = agent.machine.send_message({}, agent.now)
    agent.machine.stop(agent.now, drain=False)
    (stopped,) = agent.told(Stopped)
    assert stopped == Stopped(("cmd-1", "cmd-2"), False, (message_id,))
    assert agent.machine.unstored > 0


def test_link_10_after_the_end_what_is_left_is_stored() -> None:
    agent = Journaled(max_concurrent=1)
    conn = with_command(agent)
    agent.command(conn, "cmd-2")
    agent.store_all()
    agent.machine.stop(agent.now, drain=False)
    agent.store_all()
    assert agent.machine.unstored == 0
    agent = agent.restart()
    conn = agent.up()
    assert agent.responses() == [("cmd-1", "cancelled")]
    agent.command(conn, "cmd-2")
    agent.store()
    assert [event.command_id for event in agent.told(CommandReceived)] == ["cmd-2"]


def test_link_10_after_the_end_what_was_put_off_is_stored_too() -> None:
    agent = Journaled()
    conn = with_command(agent)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.store_all()
    agent.pong(conn)
    assert agent.under_way() is None
    agent.machine.stop(agent.now, drain=False)
    agent.store_all()
    assert agent.machine.unstored == 0
    agent = agent.restart()
    agent.up()
    assert agent.responses() == []


def test_link_10_after_the_end_a_batch_that_failed_is_tried_again_and_nothing_is_told() -> None:
    agent = Journaled()
    with_command(agent)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.machine.stop(agent.now, drain=False)
    agent.fail("full")
    assert agent.under_way() is None
    agent.wait(STORE_RETRY_S)
    agent.fail("unavailable")
    agent.wait(STORE_RETRY_S)
    agent.store_all()
    assert agent.machine.unstored == 0
    assert agent.machine.deadline() is None
    assert isinstance(agent.told(AnyEvent)[-1], Stopped)


# --- what is no journal of this agent's -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent_id", "tenant_id"), [("agent-2", "tenant-1"), ("agent-1", "tenant-2")], ids=["agent", "tenant"]
)
def test_cmd_1_another_agents_journal_is_refused(agent_id: str, tenant_id: str) -> None:
    agent = Journaled()
    agent.up()
    expected = f"the journal of {agent_id} of {tenant_id}; this one is agent-1's of tenant-1"
    with pytest.raises(LocalProtocolError, match=expected):
        agent.restart(agent_id=agent_id, tenant_id=tenant_id)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (pack(Kind.JOURNAL, 0, JournalRecord(2, "agent-1", "tenant-1")), "a journal of version 1, not 2"),
        (pack(Kind.JOURNAL, 0, JournalRecord(1)), "this one is no agent's"),
        (pack(9, 1, JournalRecord(1)), "a kind of record that a journal has, not 9"),
    ],
)
def test_cmd_1_what_is_no_journal_is_refused(record: Record, problem: str) -> None:
    with pytest.raises(LocalProtocolError, match=problem):
        Journaled({(record.kind, record.n): record})


def test_cmd_1_an_unknown_kind_is_damage_if_its_checksum_does_not_fit() -> None:
    record = Record(9, 1, pack(Kind.OPENED, 1, OpenedRecord("cmd-1", "work", 1, is_idempotent=False)).value)
    with pytest.raises(DamagedRecordError, match="record 1 of kind 9 is damaged: its checksum does not fit"):
        Journaled({(9, 1): record})


def test_cmd_1_whose_journal_it_is_is_stored_once() -> None:
    agent = Journaled()
    agent.up()
    agent = agent.restart()
    assert agent.under_way() is None
    agent.machine.stop(agent.now)
    assert agent.machine.unstored == 0


def test_cmd_1_records_that_were_deleted_are_passed_over() -> None:
    agent = Journaled({(1, 3): Record(1, 3, None)})
    assert (agent.told(CommandInterrupted), agent.machine.outbox_size) == ([], 0)


def test_cmd_1_a_damaged_record_is_named() -> None:
    opened = pack(Kind.OPENED, 3, OpenedRecord("cmd-1", "work", 1, is_idempotent=False))
    assert opened.value is not None
    with pytest.raises(DamagedRecordError, match="record 3 of kind 1 is damaged"):
        Journaled({(1, 3): Record(1, 3, opened.value[:-1] + b" ")})


def test_cmd_1_two_records_of_a_command_are_damage() -> None:
    opened = OpenedRecord("cmd-1", "work", 1, is_idempotent=False)
    response = ResponseRecord("cmd-1", 1, Raw(b"{}"))
    settled = ResponseRecord("cmd-1", 1, Raw(b"null"), settled_at=1e9)
    for second in (pack(Kind.RESPONSE, 2, response), pack(Kind.RESPONSE, 2, settled), pack(Kind.OPENED, 2, opened)):
        with pytest.raises(DamagedRecordError, match=r"record 2 of kind . is damaged: its command has another record"):
            Journaled({(1, 1): pack(Kind.OPENED, 1, opened), (second.kind, 2): second})


def test_cmd_1_a_journal_needs_the_moment_and_a_store() -> None:
    config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1")
    with pytest.raises(LocalProtocolError, match="the moment of the start"):
        AgentProtocol(config, rng=Random(1), keeps=Keeps.RECORDS)
    record = pack(Kind.JOURNAL, 0, JournalRecord(1, "agent-1", "tenant-1"))
    with pytest.raises(LocalProtocolError, match=r"keeps=Keeps\.RECORDS"):
        AgentProtocol(config, rng=Random(1), restored=[record])


def test_cmd_1_late_and_unknown_batches_are_harmless() -> None:
    agent = Journaled()
    conn = agent.up()
    agent.command(conn)
    batch = agent.under_way()
    assert batch is not None
    for number in (0, batch.batch - 1, batch.batch + 1):
        agent.machine.persisted(number, agent.now)
        agent.machine.persist_failed(number, "full", agent.now)
    assert (agent.told(CommandReceived), agent.told(StoreStalled)) == ([], [])
    without = Scripted()
    without.machine.persisted(1, without.now)
    without.machine.persist_failed(1, "full", without.now)
    assert without.machine.unstored == 0


def test_a_machine_without_a_journal_asks_for_nothing_to_be_stored() -> None:
    agent = Scripted()
    conn = agent.up()
    agent.command(conn)
    agent.machine.respond("cmd-1", 7, agent.now)
    agent.drain()
    assert not [output for output in agent.said if isinstance(output, Persist)]
