"""What an agent's journal holds: frozen records (CMD-1).

Each has a number, which rises over all kinds; a change keeps it. Times are wall-clock times, in seconds since 1970: a
monotonic clock means nothing to the process that comes next. Fields are only ever appended, so that older records can
be read; `JOURNAL_VERSION` says what the fields mean.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import msgspec

from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.records import DamagedRecordError, body_of, in_order, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from artcafe_proto.config import AgentConfig
    from artcafe_proto.records import Record

JOURNAL_VERSION: Final = 1
"""Rises when a record comes to mean something else. Records of another version are refused."""


class Kind(IntEnum):
    """What a record is of."""

    JOURNAL = 0
    OPENED = 1
    RESPONSE = 2
    MESSAGE = 3


class JournalRecord(msgspec.Struct, frozen=True, gc=False):
    """Whose journal it is, and which version the other records have."""

    version: int
    agent_id: str = ""
    """Empty in a store that is no agent's."""
    tenant_id: str = ""


class OpenedRecord(msgspec.Struct, frozen=True, gc=False):
    """A command that was accepted, and has no final response."""

    command_id: str
    command: str
    fingerprint: int
    is_idempotent: bool


class ResponseRecord(msgspec.Struct, frozen=True, gc=False):
    """A final response. Once that is settled the record keeps the id alone, as long as CMD-1 says."""

    command_id: str
    fingerprint: int
    body: msgspec.Raw
    """The message; `null` once it is settled."""
    is_replacement: bool = False
    settled_at: float | None = None


class MessageRecord(msgspec.Struct, frozen=True, gc=False):
    """An application message that is not settled."""

    message_id: str
    payload: msgspec.Raw


Value = JournalRecord | OpenedRecord | ResponseRecord | MessageRecord
VALUES: Final[dict[int, type[Value]]] = {
    Kind.JOURNAL: JournalRecord,
    Kind.OPENED: OpenedRecord,
    Kind.RESPONSE: ResponseRecord,
    Kind.MESSAGE: MessageRecord,
}
"""What the records of a kind have as their value."""
_NEWER: Final = "use the version that wrote it, or a file of its own"


def read_journal(records: Iterable[Record], config: AgentConfig) -> Iterator[tuple[int, Value]]:
    """The numbers and values of what a store gives back, by kind and number.

    Raises DamagedRecordError, also for two records of a command, and LocalProtocolError for what is no journal of this
    agent and version.
    """
    command_ids: set[str] = set()
    for record in in_order(records):
        if record.value is None:
            continue
        value_type = VALUES.get(record.kind)
        if value_type is None:
            body_of(record)  # a damaged kind is damage, and no later version
            raise LocalProtocolError(f"expected a kind of record that a journal has, not {record.kind}: {_NEWER}")
        value = unpack(record, value_type)
        if isinstance(value, JournalRecord):
            _check_owner(value, config)
        elif isinstance(value, OpenedRecord | ResponseRecord):
            if value.command_id in command_ids:
                raise DamagedRecordError(record.kind, record.n, "its command has another record")
            command_ids.add(value.command_id)
        yield record.n, value


def _check_owner(journal: JournalRecord, config: AgentConfig) -> None:
    if journal.version != JOURNAL_VERSION:
        raise LocalProtocolError(f"expected a journal of version {JOURNAL_VERSION}, not {journal.version}: {_NEWER}")
    agent_id, tenant_id = config.agent_id, config.tenant_id
    if (journal.agent_id, journal.tenant_id) != (agent_id, tenant_id):
        other = f"{journal.agent_id}'s of {journal.tenant_id}" if journal.agent_id else "no agent's"
        raise LocalProtocolError(
            f"expected the journal of {agent_id} of {tenant_id}; this one is {other}: give each agent its own"
        )
