"""The twin of an agent's journal: what its processes have been told that it is stored, and what they did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from artcafe_proto.agent.records import VALUES, MessageRecord, OpenedRecord, ResponseRecord
from artcafe_proto.records import unpack

if TYPE_CHECKING:
    from artcafe_proto.agent.records import Value
    from artcafe_proto.records import Record
    from artcafe_proto.testing.invariants.batches import BatchInvariants


class Journal:
    """The twin of what one agent has been told that it is stored, and what its processes did."""

    def __init__(self) -> None:
        self.records: dict[tuple[int, int], Record] = {}
        self.opened: dict[str, OpenedRecord] = {}
        self.unsettled: dict[str, ResponseRecord] = {}
        self.settled: dict[str, ResponseRecord] = {}
        self.messages: dict[str, MessageRecord] = {}
        self.executed: set[str] = set()
        """Commands that must not start: those that did and are not idempotent, and those whose response has left."""
        self.given_back: set[str] = set()
        """Commands that came back unstarted."""
        # Of the current process; times are its monotonic ones:
        self.batches: BatchInvariants | None = None
        self.settled_at: dict[str, float] = {}
        """When responses and messages settled, or were dropped; negative for earlier processes."""
        self.to_store: dict[str, float] = {}
        """The same for those of which this is not handed out."""
        self.handed_out: set[str] = set()
        """Commands whose acceptance was handed out, and whose end is not stored."""
        self.may_run_again: set[str] = set()
        """Idempotent commands that the process before left."""
        self.interrupted: dict[str, bool] = {}
        """Commands that are to be reported as interrupted, and whether they may run again."""
        self.handed_out_at: float = math.inf
        """Since when the batch under way waits."""
        self.pending_since: float = math.inf
        """Since when something waits."""
        self.last_failure: str = ""
        self.is_stalled: bool = False
        self.to_refuse: set[str] = set()
        """Commands that came while it takes nothing."""
        self.told: set[str] = set()
        """What the process that ended last said that is unsettled."""

    def read(self, key: tuple[int, int]) -> Value | None:
        """What is stored under a kind and number."""
        return None if (record := self.records.get(key)) is None else read_value(record)

    def apply(self, record: Record) -> None:
        """One record is stored."""
        key = (record.kind, record.n)
        match self.read(key):
            case OpenedRecord(command_id=command_id):
                self.opened.pop(command_id, None)
            case ResponseRecord(command_id=command_id):
                self.unsettled.pop(command_id, None)
                self.settled.pop(command_id, None)
            case MessageRecord(message_id=message_id):
                self.messages.pop(message_id, None)
            case _:
                pass
        if record.value is None:
            self.records.pop(key, None)
            return
        self.records[key] = record
        match read_value(record):
            case OpenedRecord() as opened:
                self.opened[opened.command_id] = opened
            case ResponseRecord() as response:
                responses = self.unsettled if response.settled_at is None else self.settled
                responses[response.command_id] = response
            case MessageRecord() as message:
                self.messages[message.message_id] = message
            case _:
                pass


def read_value(record: Record) -> Value:
    """What a record holds that is no deletion."""
    return unpack(record, VALUES[record.kind])
