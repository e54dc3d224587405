"""What must hold of agents with a journal, from one process to the next: work is done once, and is stored before
anybody can tell (CMD-1, CMD-3, CMD-8, CMD-9).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from artcafe_proto.agent.records import MessageRecord, OpenedRecord, ResponseRecord
from artcafe_proto.testing.invariants.batches import BatchInvariants
from artcafe_proto.testing.invariants.links import GIVEN_BACK, read_message
from artcafe_proto.testing.invariants.table import EPSILON_S
from artcafe_proto.testing.invariants.twins import Journal, read_value
from artcafe_proto.testing.tenants import IDEMPOTENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artcafe_proto.effects import Persist, PersistFailure
    from artcafe_proto.events import CommandInterrupted, CommandReceived, CommandRefused, Stopped, StoreStalled
    from artcafe_proto.records import Record
    from artcafe_proto.testing.invariants.links import Message
    from artcafe_proto.testing.invariants.table import Checks
    from artcafe_proto.testing.invariants.watched import Process, Watched
    from artcafe_proto.testing.nodes import Stage

# The clauses' numbers, and not the core's, which may be wrong.
_REMEMBERED_S: Final = 86_400.0
_STORED_WITHIN_S: Final = 60.0
_PATIENCE_S: Final = 5.0
_LATE_LOOK_S: Final = 2.0
"""A look that comes late proves nothing, and gives the store another second."""

_TWIN: Final = "the twin of a journal is the agent's own"
_TOO_EARLY: Final = "a journal forgets nothing too early"
_TAKES_NOTHING: Final = "a journal that stalls takes nothing new"
_IN_ITS_TIME: Final = "a journal stalls in its time"


class JournalInvariants:
    """The journals of all agents. Of an agent without one nothing is looked at."""

    def __init__(self, checks: Checks, sim: Stage) -> None:
        self._checks = checks
        self._check = checks.check
        self._sim = sim
        self._journals: dict[str, Journal] = {}

    # --- a process ----------------------------------------------------------------------------------------------------

    def begins(self, process: Process, records: Mapping[tuple[int, int], Record]) -> None:
        """A process is about to go on from what is on its disk."""
        watched, now = process.watched, process.now
        journal = self._journals.setdefault(process.agent_id, Journal())
        watched.journal = journal
        self._is_on_disk(journal, records)
        journal.batches = BatchInvariants(self._checks, self._sim)
        journal.to_store.clear()
        journal.handed_out.clear()
        journal.to_refuse.clear()
        journal.is_stalled, journal.last_failure = False, ""
        journal.handed_out_at = journal.pending_since = math.inf
        ages = {key: max(now.wall - (each.settled_at or 0.0), 0.0) for key, each in journal.settled.items()}
        journal.settled_at = {key: now.mono - age_s for key, age_s in ages.items()}
        remembered = {key for key, age_s in ages.items() if age_s < _REMEMBERED_S}
        journal.interrupted = {key: each.is_idempotent for key, each in journal.opened.items()}
        journal.may_run_again = {key for key, may in journal.interrupted.items() if may}
        watched.settled |= remembered
        for key in self._in_order(journal):
            watched.place(key)
        watched.known |= remembered | watched.places.keys()
        watched.messages = {key: len(bytes(each.payload)) for key, each in journal.messages.items()}
        is_whole = process.protocol.outbox_size == len(watched.places)
        self._check(_TWIN, is_whole, process.protocol.outbox_size, "restored, not", list(watched.places))

    def _in_order(self, journal: Journal) -> list[str]:
        """What is to go out after a restart: as it was stored, and then what was interrupted (CMD-3, CMD-9)."""
        stored: list[tuple[int, str]] = []
        interrupted: list[tuple[int, str]] = []
        for (_, n), record in journal.records.items():
            match read_value(record):
                case ResponseRecord(command_id=key, settled_at=None) | MessageRecord(message_id=key):
                    stored.append((n, key))
                case OpenedRecord(command_id=key, is_idempotent=False):
                    interrupted.append((n, key))
                case _:
                    pass
        return [key for _, key in (*sorted(stored), *sorted(interrupted))]

    def interrupted(self, watched: Watched, event: CommandInterrupted) -> None:
        """A process says that the one before it has left a command."""
        journal, _ = _journal_of(watched)
        may_run_again = journal.interrupted.pop(event.command_id, None)
        self._check(_TWIN, may_run_again is event.may_run_again, "interrupted:", event)

    def ends(self, process: Process, kept: Persist | None) -> None:
        """A process has ended. `kept`: stored without its being told."""
        if kept is not None and (journal := process.watched.journal) is not None:
            self._apply(process, journal, kept)

    def at_the_end(self, agent_id: str, records: Mapping[tuple[int, int], Record]) -> None:
        """All processes have stopped; `records` are on the disk: nothing but what they said is unsettled."""
        journal = self._journals[agent_id]
        self._is_on_disk(journal, records)
        left = {*journal.opened, *journal.unsettled, *journal.messages} - journal.told
        self._check("who stops tells what the platform lacks", not left, "left in its journal:", left)

    def _is_on_disk(self, journal: Journal, records: Mapping[tuple[int, int], Record]) -> None:
        names = [] if journal.records == records else [*{*journal.records.items()} ^ {*records.items()}]
        self._check(_TWIN, not names, "on disk", names)

    def stopped(self, watched: Watched, event: Stopped) -> None:
        """A process has ended in good order."""
        if (journal := watched.journal) is not None:
            journal.told = {*event.unsettled, *event.messages}

    # --- the store ----------------------------------------------------------------------------------------------------

    def handed_out(self, watched: Watched, batch: Persist) -> None:
        """A process asks for a batch to be stored."""
        journal, batches = _journal_of(watched)
        if not batches.is_pending:
            journal.handed_out_at = watched.process.mono
        batches.handed_out(batch)
        for record in batch.records:
            value = journal.read((record.kind, record.n)) if record.value is None else read_value(record)
            match value:
                case OpenedRecord(command_id=command_id) if record.value is not None:
                    journal.handed_out.add(command_id)
                case ResponseRecord(command_id=key, settled_at=settled_at) if settled_at is not None:
                    journal.to_store.pop(key, None)
                case MessageRecord(message_id=key) if record.value is None:
                    journal.to_store.pop(key, None)
                case _:
                    pass

    def failed(self, process: Process, batch: Persist, reason: PersistFailure) -> None:
        """A process is about to be told that a batch could not be stored."""
        journal, batches = _journal_of(process.watched)
        batches.failed(batch)
        journal.last_failure = reason

    def is_stored(self, process: Process, batch: Persist) -> None:
        """A process is about to be told that a batch is stored."""
        journal, batches = _journal_of(process.watched)
        batches.is_stored(batch)
        journal.handed_out_at, journal.last_failure = math.inf, ""
        self._apply(process, journal, batch)

    def _apply(self, process: Process, journal: Journal, batch: Persist) -> None:
        deleted: list[OpenedRecord] = []
        for record in batch.records:
            before, is_deletion = journal.read((record.kind, record.n)), record.value is None
            match before:
                case OpenedRecord() if is_deletion:
                    deleted.append(before)
                    journal.handed_out.discard(before.command_id)
                case ResponseRecord(command_id=key) if is_deletion:
                    age_s = process.mono - journal.settled_at.get(key, math.inf)
                    self._check(_TOO_EARLY, age_s >= _REMEMBERED_S - EPSILON_S, key, "after", age_s, "s")
                    journal.executed.discard(key)
                case MessageRecord(message_id=key) if is_deletion:
                    self._check(_TOO_EARLY, key in journal.settled_at, key, "is not settled")
                case ResponseRecord(command_id=key) if _is_settled(record):
                    self._check(_TOO_EARLY, key in journal.settled_at, key, "is not settled")
                case _:
                    pass
            journal.apply(record)
        for opened in deleted:
            key = opened.command_id
            is_answered = key in journal.unsettled or key in journal.settled
            is_over = is_answered or key in journal.given_back or key in journal.may_run_again
            self._check(_TOO_EARLY, is_over, key, "is not answered")

    def stalls(self, watched: Watched, event: StoreStalled) -> None:
        """The agent says that its journal takes nothing new."""
        journal, _ = _journal_of(watched)
        journal.is_stalled = True
        waits_s = watched.process.mono - journal.pending_since
        is_time = journal.last_failure == "full" or waits_s >= _PATIENCE_S - EPSILON_S
        self._check(_IN_ITS_TIME, is_time, event, "after", waits_s, "s")

    def recovers(self, watched: Watched) -> None:
        """The agent says that its journal takes something again."""
        journal, _ = _journal_of(watched)
        journal.is_stalled = False
        journal.to_refuse.clear()

    # --- commands, responses, messages --------------------------------------------------------------------------------

    def came(self, watched: Watched, messages: Iterable[Message]) -> None:
        """Messages reach the agent, before anything is known of them."""
        if (journal := watched.journal) is not None:
            commands = {message.id for message in messages if message.type == "command"}
            journal.given_back -= commands
            if journal.is_stalled:
                journal.to_refuse |= commands - watched.known

    def says(self, watched: Watched, message_id: str) -> None:
        """An application's message was taken."""
        if (journal := watched.journal) is not None:
            self._check(_TAKES_NOTHING, not journal.is_stalled, message_id)

    def refused(self, watched: Watched, event: CommandRefused) -> None:
        """A command was answered without being started."""
        if (journal := watched.journal) is not None and event.code in GIVEN_BACK:
            journal.given_back.add(event.command_id)
            journal.to_refuse.discard(event.command_id)

    def started(self, watched: Watched, event: CommandReceived) -> None:
        """A command is executed."""
        if (journal := watched.journal) is None:
            return
        command_id = event.command_id
        is_first = command_id not in journal.executed
        self._check("no command is executed twice in the life of a journal", is_first, command_id)
        self._check("a command starts once it is stored", command_id in journal.opened, command_id)
        if event.command != IDEMPOTENT:
            journal.executed.add(command_id)

    def sends(self, watched: Watched, message: Message) -> None:
        """A response or a message goes out."""
        if (journal := watched.journal) is None:
            return
        key = message.data.command_id
        if message.type == "message":
            is_stored = message.id in journal.messages
            self._check("a response or message leaves once it is stored", is_stored, message.id)
        elif message.data.code in GIVEN_BACK:
            is_deleted = key not in journal.handed_out
            self._check("a command is given back once its record is deleted", is_deleted, key)
        else:
            response = journal.unsettled.get(key)
            is_stored = key in journal.settled if response is None else _id_of(response) == message.id
            self._check("a response or message leaves once it is stored", is_stored, key, message.id)
            journal.executed.add(key)

    def settled(self, watched: Watched, keys: Iterable[str]) -> None:
        """Responses, by their commands, or messages are taken as received, or were dropped."""
        if (journal := watched.journal) is not None:
            for key in keys:
                journal.settled_at[key] = journal.to_store[key] = watched.process.mono

    # --- after everything ---------------------------------------------------------------------------------------------

    def at_rest(self, watched: Watched) -> None:
        """Something happened, and all that follows from it."""
        journal, protocol = watched.journal, watched.process.protocol
        if journal is None or protocol.is_stopped:
            return
        mono = watched.process.mono
        self._check(_TWIN, not journal.interrupted, "not interrupted:", journal.interrupted)
        if protocol.unstored:
            journal.pending_since = min(journal.pending_since, mono)
        else:
            journal.pending_since = math.inf
            is_twin = journal.opened.keys() == watched.open.keys()
            self._check(_TWIN, is_twin, "open:", list(journal.opened), "not", list(watched.open))
            unsettled = len(journal.unsettled) + len(journal.messages)
            self._check(_TWIN, unsettled == protocol.outbox_size, unsettled, "not", protocol.outbox_size)
        if journal.is_stalled:
            is_refused = not journal.to_refuse and protocol.status != "online"
            self._check(_TAKES_NOTHING, is_refused, protocol.status, journal.to_refuse)
        else:
            is_late = watched.is_due(journal.handed_out_at + _PATIENCE_S, _LATE_LOOK_S)
            self._check(_IN_ITS_TIME, not is_late, "since", journal.handed_out_at)
        if journal.to_store and journal.handed_out_at == math.inf:
            first = min(journal.to_store.values())
            is_late = watched.is_due(first + _STORED_WITHIN_S)
            self._check("what is settled is stored within a minute", not is_late, journal.to_store)


def _journal_of(watched: Watched) -> tuple[Journal, BatchInvariants]:
    """Of a process that says what none without a journal says."""
    journal = watched.journal
    assert journal is not None, "who keeps nothing stores nothing"
    assert journal.batches is not None, "a process has begun"
    return journal, journal.batches


def _is_settled(record: Record) -> bool:
    value = read_value(record)
    return isinstance(value, ResponseRecord) and value.settled_at is not None


def _id_of(response: ResponseRecord) -> str:
    return read_message(bytes(response.body)).id
