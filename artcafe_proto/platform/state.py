"""What a platform knows that outlives its process: tenants, agents, keys, commands, outcomes.

`PlatformState` is changed by `apply` alone, and `records` gives back what makes an equal one. There is no session,
callback or monotonic clock in it: what lives as long as a connection is in `Links`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple, assert_never

import msgspec

from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.limits import KEY_OVERHEAD_BYTES
from artcafe_proto.messages import text_bytes
from artcafe_proto.platform.records import (
    NUMBERS_OF_A_LIFE,
    SCHEMA_VERSION,
    VALUES,
    AgentRecord,
    Change,
    CommandRecord,
    KeyRecord,
    Kind,
    LifeRecord,
    OutcomeRecord,
    SchemaRecord,
    TenantRecord,
)
from artcafe_proto.policies.public_keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from artcafe_proto.platform.records import Value

__all__ = ["Key"]


class Key(NamedTuple):
    """A public key of an agent, ready to verify with."""

    key_id: str
    agent_id: str
    public_key: PublicKey
    name: str

    @property
    def size(self) -> int:
        """Bytes that are kept of it."""
        return KEY_OVERHEAD_BYTES + 4 * len(self.public_key.blob) + text_bytes(self.name)


class _Agent(NamedTuple):
    n: int
    record: AgentRecord
    place: int  # among its tenant's
    keys: tuple[int, ...]  # their numbers


class StoredCommand(msgspec.Struct, gc=False):
    """A command and, once it is over, its outcome. To be read: `PlatformState.apply` alone changes it."""

    n: int
    record: CommandRecord
    outcome: OutcomeRecord | None = None
    outcome_n: int = 0

    @property
    def size(self) -> int:
        """Bytes of its arguments and of its response."""
        return self.record.size + (0 if self.outcome is None else self.outcome.size)


class PlatformState:
    """All that is stored. Agent ids are unique on a platform: a challenge names no tenant (AUTH-1)."""

    def __init__(self, records: Iterable[Change] = ()) -> None:
        """Made of `records`, by kind and number or as they came to be. Raises as `apply`."""
        self._last = dict.fromkeys(Kind, 0)
        self._lives: dict[int, LifeRecord] = {}
        self._tenants: dict[int, TenantRecord] = {}
        self._tenant_of: dict[bytes, int] = {}  # by the hash of a token, the number of its record
        self._agents: dict[str, _Agent] = {}
        self._agents_of: dict[str, list[AgentRecord]] = {}
        self._keys: dict[int, Key] = {}
        self._key_of: dict[str, int] = {}
        self._commands: dict[int, StoredCommand] = {}
        self._commands_of: dict[tuple[str, str], dict[str, StoredCommand]] = {}  # by tenant and id, by agent (PLAT-4)
        self._finished: OrderedDict[int, StoredCommand] = OrderedDict()  # by the number of the outcome
        self.agent_bytes: int = 0
        """How many bytes agents and keys take."""
        self.finished_bytes: int = 0
        """How many bytes the commands that are over take, with their responses."""
        for record in records:
            self.apply(record)

    # --- changing it --------------------------------------------------------------------------------------------------

    def next_n(self, kind: Kind) -> int:
        """The number of the next record of a kind: above all that were ever given, also to what has been deleted.

        Each life has numbers of its own, as nobody knows the last one of an earlier life.
        """
        last = self._last[kind]
        return (last if kind is Kind.LIFE else max(last, (self.life - 1) * NUMBERS_OF_A_LIFE)) + 1

    def apply(self, record: Change) -> None:
        """Change what is known as `record` says. The same record again changes nothing, also after its deletion.

        A token, a key, a command or an outcome that is not held counts as deleted if its number is not above the last
        of its kind.

        Raises LocalProtocolError, and changes nothing, for another schema, for what contradicts earlier records, and
        for the deletion of what is kept for good; KeyRefusedError for a key that is not taken (AUTH-5).
        """
        kind, n, value = _checked(record)
        is_new = n > self._last[kind]
        if value is None:
            self._delete(kind, n)
        elif is_new or not self._is_deleted(kind, n):
            self._set(n, value)
        if is_new:
            self._last[kind] = n

    def _is_deleted(self, kind: Kind, n: int) -> bool:
        """Of a number that was given already."""
        kept = {
            Kind.TENANT: self._tenants,
            Kind.KEY: self._keys,
            Kind.COMMAND: self._commands,
            Kind.OUTCOME: self._finished,
        }.get(kind)
        return kept is not None and n not in kept

    def _set(self, n: int, value: Value) -> None:
        match value:
            case OutcomeRecord():  # there are most of these
                self._set_outcome(n, value)
            case CommandRecord():
                self._set_command(n, value)
            case SchemaRecord():
                if value.version != SCHEMA_VERSION:
                    raise LocalProtocolError(f"expected records of schema {SCHEMA_VERSION}, not {value.version}")
            case LifeRecord():
                self._lives[n] = value
            case TenantRecord():
                if self._tenant_of.get(value.token_hash, n) != n:
                    raise _another("token")
                if n in self._tenants:
                    del self._tenant_of[self._tenants[n].token_hash]
                self._tenants[n] = value
                self._tenant_of[value.token_hash] = n
            case AgentRecord():
                self._set_agent(n, value)
            case KeyRecord():
                self._set_key(n, value)
            case _:
                assert_never(value)

    def _set_agent(self, n: int, record: AgentRecord) -> None:
        known, others = self._agents.get(record.agent_id), self._agents_of.setdefault(record.tenant_id, [])
        if known is None and n > self._last[Kind.AGENT]:
            self._agents[record.agent_id] = _Agent(n, record, len(others), ())
            others.append(record)
        elif known is not None and (known.n, known.record.tenant_id) == (n, record.tenant_id):
            self._agents[record.agent_id] = known._replace(record=record)
            others[known.place] = record
            self.agent_bytes -= known.record.size
        else:
            raise _another("agent")
        self.agent_bytes += record.size

    def _set_key(self, n: int, record: KeyRecord) -> None:
        agent, known = self._agents.get(record.agent_id), self._keys.get(n)
        is_sound = known is None or known.agent_id == record.agent_id
        if agent is None or not is_sound or self._key_of.get(record.key_id) != (None if known is None else n):
            raise _another("key")
        key = Key(record.key_id, record.agent_id, PublicKey.parse(record.public_key), record.name)
        self._keys[n], self._key_of[key.key_id] = key, n
        self.agent_bytes += key.size
        if known is None:
            self._agents[key.agent_id] = _Agent(agent.n, agent.record, agent.place, (*agent.keys, n))
        else:
            self.agent_bytes -= known.size

    def _set_command(self, n: int, record: CommandRecord) -> None:
        name = (record.tenant_id, record.command_id)
        named = self._commands_of.get(name)
        known, command = self._commands.get(n), None if named is None else named.get(record.agent_id)
        agent = self._agents.get(record.agent_id)
        if known is not command or agent is None or agent.record.tenant_id != record.tenant_id:
            raise _another("command")
        if command is None:
            command = self._commands[n] = StoredCommand(n, record)
            if named is None:
                self._commands_of[name] = {record.agent_id: command}
            else:
                named[record.agent_id] = command
        elif command.outcome is not None:
            self.finished_bytes += record.size - command.record.size
        command.record = record

    def _set_outcome(self, n: int, outcome: OutcomeRecord) -> None:
        command = self._commands.get(outcome.command)
        if command is None and 0 < outcome.command <= self._last[Kind.COMMAND]:
            return  # it was deleted, and its outcome with it
        if command is None or self._finished.get(n) is not (None if command.outcome is None else command):
            raise _another("outcome")
        if command.outcome is not None:
            self.finished_bytes -= command.size
        command.outcome, command.outcome_n = outcome, n
        self._finished[n] = command
        self.finished_bytes += command.size

    def _delete(self, kind: Kind, n: int) -> None:
        match kind:
            case Kind.TENANT:
                tenant = self._tenants.pop(n, None)
                if tenant is not None:
                    del self._tenant_of[tenant.token_hash]
            case Kind.KEY:
                key = self._keys.pop(n, None)
                if key is not None:
                    del self._key_of[key.key_id]
                    agent = self._agents[key.agent_id]
                    self._agents[key.agent_id] = agent._replace(keys=tuple(each for each in agent.keys if each != n))
                    self.agent_bytes -= key.size
            case Kind.COMMAND:
                command = self._commands.pop(n, None)
                if command is not None:
                    record = command.record
                    named = self._commands_of[record.tenant_id, record.command_id]
                    del named[record.agent_id]
                    if not named:
                        del self._commands_of[record.tenant_id, record.command_id]
                    if self._finished.pop(command.outcome_n, None) is not None:
                        self.finished_bytes -= command.size
            case Kind.OUTCOME if n not in self._finished:
                pass  # it went with its command
            case _:
                raise LocalProtocolError(
                    f"expected a token, a key or a command, with its outcome, to delete, not {kind!r}"
                )

    # --- looking at it ------------------------------------------------------------------------------------------------

    def records(self) -> Iterator[Change]:
        """What makes an equal state."""
        yield Change(Kind.SCHEMA, 0, SchemaRecord(SCHEMA_VERSION))
        yield from (Change(Kind.LIFE, n, life) for n, life in self._lives.items())
        yield from (Change(Kind.TENANT, n, tenant) for n, tenant in self._tenants.items())
        yield from (Change(Kind.AGENT, agent.n, agent.record) for agent in self._agents.values())
        for n, key in self._keys.items():
            yield Change(Kind.KEY, n, KeyRecord(key.key_id, key.agent_id, key.public_key.openssh, key.name))
        yield from (Change(Kind.COMMAND, n, command.record) for n, command in self._commands.items())
        for n, command in self._finished.items():
            assert command.outcome is not None
            yield Change(Kind.OUTCOME, n, command.outcome)

    @property
    def life(self) -> int:
        """How many lives of this platform have begun."""
        return self._last[Kind.LIFE]

    def tenant_of(self, token_hash: bytes) -> str | None:
        """The tenant that a token speaks for."""
        n = self._tenant_of.get(token_hash)
        return None if n is None else self._tenants[n].tenant_id

    def tokens_but(self, tenants: Mapping[bytes, str]) -> list[int]:
        """The numbers of the records of all tokens but those with these hashes, which speak for these tenants."""
        return [n for n, each in self._tenants.items() if tenants.get(each.token_hash) != each.tenant_id]

    @property
    def agent_count(self) -> int:
        """How many agents are registered."""
        return len(self._agents)

    def agent(self, agent_id: str) -> AgentRecord | None:
        """The agent of this id, of whichever tenant."""
        agent = self._agents.get(agent_id)
        return None if agent is None else agent.record

    def agents_of(self, tenant_id: str) -> Sequence[AgentRecord]:
        """A tenant's agents, in order of registration."""
        return self._agents_of.get(tenant_id, ())

    def place(self, agent_id: str) -> int:
        """Where an agent stands among its tenant's, from 0."""
        return self._agents[agent_id].place

    def keys_of(self, agent_id: str) -> tuple[Key, ...]:
        """An agent's keys; none for an unknown agent."""
        agent = self._agents.get(agent_id)
        return () if agent is None else tuple([self._keys[n] for n in agent.keys])

    def key(self, key_id: str) -> tuple[int, Key] | None:
        """A key and the number of its record."""
        n = self._key_of.get(key_id)
        return None if n is None else (n, self._keys[n])

    def agent_of(self, change: Change) -> str | None:
        """Whose login a change is about: an agent, or the owner of a key; None for any other change."""
        if isinstance(change.value, AgentRecord | KeyRecord):
            return change.value.agent_id
        key = self._keys.get(change.n) if change.kind is Kind.KEY else None
        return None if key is None else key.agent_id

    def outcome_of(self, change: Change) -> int | None:
        """The number of the outcome of the command that a change is of; None if it has none, or is of no command."""
        command = self._commands.get(change.n) if change.kind is Kind.COMMAND else None
        return None if command is None or command.outcome is None else command.outcome_n

    def command(self, tenant_id: str, command_id: str, agent_id: str) -> StoredCommand | None:
        """An agent's command."""
        return self._commands_of.get((tenant_id, command_id), {}).get(agent_id)

    def commands(self, tenant_id: str, command_id: str) -> Sequence[StoredCommand]:
        """A tenant's commands of this id, each of another agent (PLAT-4)."""
        return tuple(self._commands_of.get((tenant_id, command_id), {}).values())

    def pending(self) -> Iterator[StoredCommand]:
        """The commands that are not over, in order of acceptance."""
        return (command for command in self._commands.values() if command.outcome is None)

    @property
    def finished_count(self) -> int:
        """How many commands are over."""
        return len(self._finished)

    def oldest_finished(self) -> StoredCommand:
        """The command that ended first."""
        return next(iter(self._finished.values()))


def _checked(record: object) -> Change:
    if not isinstance(record, Change) or type(record.n) is not int:
        raise LocalProtocolError(f"expected a Change with a whole number, not {record!r}")
    if record.value is not None and type(record.value) is not VALUES.get(record.kind):
        found = type(record.value).__name__
        raise LocalProtocolError(f"expected the value of a record of {record.kind!r}, not {found}")
    return record


def _another(what: str) -> LocalProtocolError:
    return LocalProtocolError(f"expected a record that fits the earlier ones: its {what} is missing, or another")
