"""What a platform stores: frozen records, of which `PlatformState` is made and by which alone it changes.

A record is named by its kind and a number, which is given once and rises within its kind; a change keeps it. Times are
wall-clock times, in seconds since 1970: a monotonic clock means nothing to the process that comes next. Fields are only
ever appended, so that older records can be read; `SCHEMA_VERSION` says what the fields mean.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgspec

from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.limits import AGENT_OVERHEAD_BYTES
from artcafe_proto.messages import CommandData, ResponseData, text_bytes
from artcafe_proto.platform.states import CommandState
from artcafe_proto.records import Record, body_of, unpack

__all__ = ["AgentRecord", "Change"]

NUMBERS_OF_A_LIFE: Final = 2**32
"""In each life of a platform numbers begin anew above those of the lives before: none is ever given twice."""
SCHEMA_VERSION: Final = 1
"""Rises when a record comes to mean something else. Records of another version are refused."""


class Kind(IntEnum):
    """What a record is of."""

    SCHEMA = 0
    LIFE = 1
    TENANT = 2
    AGENT = 3
    KEY = 4
    COMMAND = 5
    OUTCOME = 6


class SchemaRecord(msgspec.Struct, frozen=True, gc=False):
    """Which version of the schema the other records have."""

    version: int


class LifeRecord(msgspec.Struct, frozen=True, gc=False):
    """One life of the platform, from the start of its hub. Its number is part of every epoch of a link (PLAT-6)."""

    began_at: float | None
    """None for a hub that was given no time."""


class TenantRecord(msgspec.Struct, frozen=True, gc=False):
    """A token that speaks for a tenant (PLAT-1), by its SHA-256."""

    tenant_id: str
    token_hash: bytes


class AgentRecord(msgspec.Struct, frozen=True, gc=False):
    """A registered agent (PLAT-2)."""

    tenant_id: str
    agent_id: str
    name: str
    described: msgspec.Raw
    """Its capabilities and its metadata, in JSON: as values they would take twenty times as much."""
    created_at: float

    @property
    def size(self) -> int:
        """Bytes that are kept of it, without its keys."""
        return AGENT_OVERHEAD_BYTES + len(bytes(self.described)) + text_bytes(self.name)

    def description(self) -> Description:
        """Its capabilities and its metadata, as values."""
        return _description_decoder.decode(self.described)


class Description(msgspec.Struct, frozen=True, gc=False):
    """How an agent's tenant describes it."""

    capabilities: tuple[str, ...]
    metadata: dict[str, Any]


class KeyRecord(msgspec.Struct, frozen=True, gc=False):
    """A public key of an agent. Revoking it deletes it: tokens made with it name a key that is not there (TOK-6)."""

    key_id: str
    agent_id: str
    public_key: str
    """The canonical OpenSSH line, without a comment."""
    name: str


class CommandRecord(msgspec.Struct, frozen=True, gc=False):
    """A command that was accepted (PLAT-4). Its number is its place in the order of acceptance."""

    tenant_id: str
    agent_id: str
    command_id: str
    data: CommandData
    accepted_at: float
    expires_at: float

    @property
    def size(self) -> int:
        """Bytes of its arguments."""
        return len(bytes(self.data.args))


class OutcomeRecord(msgspec.Struct, frozen=True, gc=False):
    """How a command ended: with a response, or expired. A late response replaces the outcome (CMD-10)."""

    command: int
    """The number of the command's record."""
    state: CommandState
    attempts: int
    response: ResponseData | None = None
    answered_at: float | None = None
    late: bool = False

    @property
    def size(self) -> int:
        """Bytes of the response."""
        response = self.response
        return 0 if response is None else len(bytes(response.result)) + text_bytes(response.reason)


VALUES: Final[dict[Kind, type[Value]]] = {
    Kind.SCHEMA: SchemaRecord,
    Kind.LIFE: LifeRecord,
    Kind.TENANT: TenantRecord,
    Kind.AGENT: AgentRecord,
    Kind.KEY: KeyRecord,
    Kind.COMMAND: CommandRecord,
    Kind.OUTCOME: OutcomeRecord,
}
"""What the records of a kind have as their value."""
Value = SchemaRecord | LifeRecord | TenantRecord | AgentRecord | KeyRecord | CommandRecord | OutcomeRecord


class Change(NamedTuple):
    """One change of what is stored: `value` is what `(kind, n)` has from now on, None if it is deleted."""

    kind: Kind
    n: int
    value: Value | None


def read_change(record: Record) -> Change:
    """The change that a stored record is. Raises DamagedRecordError, and LocalProtocolError for an unknown kind."""
    known = _KINDS.get(record.kind)
    if known is None:
        if record.value is not None:
            body_of(record)  # a damaged kind is damage, and no later version
        raise LocalProtocolError(f"expected a kind of record that is known, not {record.kind}")
    kind, value = known
    return Change(kind, record.n, None if record.value is None else unpack(record, value))


def check_agent(agent: object) -> None:
    """Raise LocalProtocolError for what is no registered agent, such as the id of one."""
    if not isinstance(agent, AgentRecord):
        raise LocalProtocolError(f"expected an AgentRecord, not {type(agent).__name__}")


_KINDS: Final[dict[int, tuple[Kind, type[Value]]]] = {int(kind): (kind, value) for kind, value in VALUES.items()}
_description_decoder: Final = msgspec.json.Decoder(Description)
