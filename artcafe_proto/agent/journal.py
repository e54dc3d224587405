"""An agent's journal: what is stored of its commands, responses and messages, and who waits for that (CMD-1, CMD-3).

State changes at once, and what is said of it leaves once it is stored: a command starts, a response or message enters
the outbox, and a command that was opened is given back. What the platform has read is no promise of ours, so that is
stored with whatever comes next, within a minute, and at a drain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from artcafe_proto.agent.records import (
    JOURNAL_VERSION,
    JournalRecord,
    Kind,
    MessageRecord,
    OpenedRecord,
    ResponseRecord,
    read_journal,
)
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.events import CommandInterrupted
from artcafe_proto.limits import SETTLED_UNSTORED_S
from artcafe_proto.policies.keeping import Keeping
from artcafe_proto.policies.outbox import Item
from artcafe_proto.records import Keeps, pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from artcafe_proto.agent.records import Value
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import PersistFailure
    from artcafe_proto.instants import Instant
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.ledger import Entry, Ledger
    from artcafe_proto.policies.outbox import Outbox
    from artcafe_proto.records import Record


STALLS: Final = "the agent's journal takes nothing at the moment"
"""Why commands and messages are refused."""


def begin_journal(
    config: AgentConfig, outputs: AgentOutputs, restored: Iterable[Record], keeps: Keeps, now: Instant | None
) -> Journal | None:
    """The journal of an agent that keeps records. Raises as `read_journal`, and LocalProtocolError for records without
    a store, and a store without the moment.
    """
    if keeps is Keeps.RECORDS:
        if now is None:
            raise LocalProtocolError("expected the moment of the start where records are kept: commands are as old")
        return Journal(config, outputs, restored)
    if tuple(restored):
        raise LocalProtocolError("expected keeps=Keeps.RECORDS with what was restored: else it would be sent for ever")
    return None


class Journal:
    """Puts records in batches. What puts returns the batch, and a new number is set on the entry or item it is of."""

    def __init__(self, config: AgentConfig, outputs: AgentOutputs, restored: Iterable[Record]) -> None:
        """Raises as `read_journal`."""
        self._idempotent = config.idempotent
        self._outputs = outputs
        self._restored = list(read_journal(restored, config))
        self.keeping: Final = Keeping()
        self._n = max((n for n, _ in self._restored), default=0)
        self._later: list[Record] = []
        self._later_at: float | None = None  # when they are put at the latest
        self._settled_at = 0.0  # the latest there is: a clock that is set back changes no order
        self._is_over = False
        if not any(isinstance(value, JournalRecord) for _, value in self._restored):
            self._put(pack(Kind.JOURNAL, 0, JournalRecord(JOURNAL_VERSION, config.agent_id, config.tenant_id)))

    # --- look ---------------------------------------------------------------------------------------------------------

    @property
    def is_stored(self) -> bool:
        """Whether everything is."""
        return self.keeping.stored == self.keeping.barrier and not self._later

    @property
    def unstored(self) -> int:
        """How many records are not stored."""
        return self.keeping.unstored + len(self._later)

    @property
    def deadline(self) -> float | None:
        """When to call `look` next, monotonic seconds."""
        of_store, later = self.keeping.deadline, self._later_at
        return later if of_store is None else of_store if later is None else min(of_store, later)

    @property
    def refuses(self) -> bool:
        """Whether nothing new is to be accepted: the store is full, has stalled, or too much waits for it."""
        return self.keeping.refuses

    # --- what the life before has left --------------------------------------------------------------------------------

    def restore(self, ledger: Ledger, outbox: Outbox, now: Instant) -> list[OpenedRecord]:
        """Take in what was stored. Returns the commands that are to be answered `interrupted`."""
        restored, self._restored = self._restored, []
        self._restore_settled(restored, ledger, now)
        interrupted: list[OpenedRecord] = []
        for n, value in sorted(restored, key=_n_of):
            if isinstance(value, ResponseRecord) and value.settled_at is None:
                ledger.open(value.command_id, value.fingerprint).is_replacement = value.is_replacement
                ledger.answer(value.command_id, bytes(value.body)).n = n
                outbox.put(Item(value.command_id, bytes(value.body), value.command_id))
            elif isinstance(value, MessageRecord):
                outbox.put(Item(value.message_id, bytes(value.payload), n=n))
            elif isinstance(value, OpenedRecord):
                event = CommandInterrupted(value.command_id, value.command, value.is_idempotent, "CMD-9")
                self._outputs.events.append(event)
                if value.is_idempotent:
                    self._put(pack(Kind.OPENED, n, None))
                else:
                    ledger.open(value.command_id, value.fingerprint).n = n
                    interrupted.append(value)
        self._forget(ledger.settle((), now.mono), now)
        return interrupted

    def _restore_settled(self, restored: list[tuple[int, Value]], ledger: Ledger, now: Instant) -> None:
        settled = [
            (value.settled_at, n, value)
            for n, value in restored
            if isinstance(value, ResponseRecord) and value.settled_at is not None
        ]
        for settled_at, n, value in sorted(settled, key=_first):
            mono = now.mono - max(now.wall - settled_at, 0.0)
            ledger.restore_settled(value.command_id, value.fingerprint, mono).n = n
            self._settled_at = settled_at

    # --- what is put --------------------------------------------------------------------------------------------------

    def open(self, command_id: str, command: str, entry: Entry) -> int:
        """A command was accepted."""
        entry.n = self._next_n()
        opened = OpenedRecord(command_id, command, entry.fingerprint, command in self._idempotent)
        return self._put(pack(Kind.OPENED, entry.n, opened))

    def give_back(self, entries: Iterable[Entry]) -> int:
        """Commands that never started are given back, and forgotten."""
        return self._put(*[pack(Kind.OPENED, entry.n, None) for entry in entries])

    def answer(self, command_id: str, entry: Entry, body: bytes) -> int:
        """A command has its final response, or another one in its place."""
        opened, is_replacement = entry.n, entry.is_replacement
        if not is_replacement:
            entry.n = self._next_n()
        response = ResponseRecord(command_id, entry.fingerprint, msgspec.Raw(body), is_replacement)
        record = pack(Kind.RESPONSE, entry.n, response)
        if is_replacement or not opened:
            return self._put(record)
        return self._put(record, pack(Kind.OPENED, opened, None))

    def message(self, item: Item) -> int:
        """An application message is to be sent."""
        item.n = self._next_n()
        return self._put(pack(Kind.MESSAGE, item.n, MessageRecord(item.message_id, msgspec.Raw(item.payload))))

    # --- what is put with the next, or later --------------------------------------------------------------------------

    def settle(
        self, items: Iterable[Item], entries: Mapping[str, Entry], dropped: Iterable[Entry], now: Instant
    ) -> None:
        """The platform has read these, or never will; `entries` are those of the ledger, `dropped` are so no more."""
        wall = self._settled_at = max(now.wall, self._settled_at)
        for item in items:
            if item.command_id is None:
                self._put_later(pack(Kind.MESSAGE, item.n, None), now)
            elif (entry := entries.get(item.command_id)) is not None:
                response = ResponseRecord(item.command_id, entry.fingerprint, _NO_BODY, entry.is_replacement, wall)
                self._put_later(pack(Kind.RESPONSE, entry.n, response), now)
        self._forget(dropped, now)

    def flush(self) -> None:
        """Put what was to be put later."""
        later, self._later, self._later_at = self._later, [], None
        for record in later:
            self.keeping.put(record)

    def end(self) -> None:
        """The agent has stopped: what is left is put, and nothing more is told of the store."""
        self.flush()
        self._is_over = True

    # --- the store ----------------------------------------------------------------------------------------------------

    def hand_out(self, mono: float) -> None:
        """Ask the driver to store the next batch, unless one is under way."""
        if (persist := self.keeping.next_persist(mono)) is not None:
            self._outputs.asks.append(persist)

    def persisted(self, batch: int, mono: float) -> bool:
        """A batch is stored. False, and nothing changes, unless it is the one under way."""
        if not self.keeping.persisted(batch, mono):
            return False
        self._tell(mono)
        return True

    def persist_failed(self, batch: int, reason: PersistFailure, mono: float) -> None:
        """A batch could not be stored."""
        if self.keeping.failed(batch, reason, mono):
            self._tell(mono)

    def look(self, mono: float) -> None:
        """It is later: the store may have stalled, and what was put off long enough is put."""
        if self._later_at is not None and self._later_at <= mono:
            self.flush()
        self.keeping.look(mono)
        self._tell(mono)

    def _tell(self, mono: float) -> None:
        if not self._is_over and (news := self.keeping.news(mono)) is not None:
            self._outputs.events.append(news)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _next_n(self) -> int:
        self._n += 1
        return self._n

    def _put(self, *records: Record) -> int:
        if self._later:
            self.flush()
        return self.keeping.put(*records)

    def _forget(self, entries: Iterable[Entry], now: Instant) -> None:
        """Settled commands are no longer remembered (CMD-1)."""
        for entry in entries:
            self._put_later(pack(Kind.RESPONSE, entry.n, None), now)

    def _put_later(self, record: Record, now: Instant) -> None:
        self._later.append(record)
        if self._later_at is None:
            self._later_at = now.mono + SETTLED_UNSTORED_S


_NO_BODY: Final = msgspec.Raw(b"null")


def _n_of(numbered: tuple[int, Value]) -> int:
    return numbered[0]


def _first(timed: tuple[float, int, ResponseRecord]) -> tuple[float, int]:
    return timed[:2]
