"""What must hold of a platform with a store: what it says is stored before it is said (PLAT-5)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from artcafe_proto.events import CommandAccepted, CommandAnswered, CommandExpired, CommandSent
from artcafe_proto.platform.commands import public_response
from artcafe_proto.platform.records import Kind, read_change
from artcafe_proto.platform.state import PlatformState
from artcafe_proto.records import in_order, pack
from artcafe_proto.testing.invariants.batches import BatchInvariants
from artcafe_proto.testing.responses import Begun, Piece, ResponseReader
from artcafe_proto.testing.tenants import TENANT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artcafe_proto.effects import Persist
    from artcafe_proto.events import Event
    from artcafe_proto.platform.hub import PlatformHub
    from artcafe_proto.platform.state import StoredCommand
    from artcafe_proto.records import Record
    from artcafe_proto.testing.invariants.scenes import Scene
    from artcafe_proto.testing.invariants.table import Checks

# The clauses' numbers, and not the core's, which may be wrong.
_MOST_HELD_IN_ALL_BYTES: Final = 64 * 1024 * 1024
_MOST_HELD_BYTES: Final = 8 * 1024 * 1024
_MOST_OF_A_REQUEST_BYTES: Final = 8 * 1024
"""While nothing waits for the store, a connection holds no more than what has come of a request."""
_LONGEST_WAIT_S: Final = 5.0
_PROMISES: Final = (201, 202, 204)
_LOOKS_EVERY_S: Final = 300.0
"""How long after a comparison of all that is stored the next one follows, unless the platform dies."""


class Asking(Protocol):
    """A caller's request, as it is looked at."""

    method: str
    target: str
    listens: bool
    is_stored: Callable[[PlatformState, int, bytes], bool]
    """Whether all that the whole response says is in what is stored."""
    promises: tuple[str, str] | None
    """Which command a 202 accepts, by id, and of which agent."""


class _Asked:
    """A request under way, and what has been said of its response."""

    def __init__(self, call: Asking, nbytes: int) -> None:
        self.call = call
        self.unread_bytes = nbytes
        """How much of it the platform has not been sent yet."""
        self.reader = ResponseReader()
        self.status = 0
        self.body = b""


class StoredInvariants:
    """The store of a platform, and all that it says. Without a store nothing is looked at."""

    def __init__(self, checks: Checks, sim: Scene) -> None:
        self._check = checks.check
        self._sim = sim
        self._twin = PlatformState()
        """What the platform has been told that it is stored."""
        self._checks = checks
        self._batches = BatchInvariants(checks, sim)
        self._stored_at = -math.inf
        self._looked_at = 0.0
        self._asked: dict[int, _Asked] = {}
        self._promised: dict[str, str] = {}
        """Agents, by the ids of the commands that were said to be accepted."""
        self._responses: dict[str, bytes] = {}
        """Final responses that anybody was shown, by command."""
        self._came: dict[str, dict[str, None]] = {}
        """Responses that have come and may not be stored: ids of commands, by agent."""
        self._pings: dict[int, list[tuple[bytes, tuple[str, ...]]]] = {}
        """Pings that are owed a pong, by connection, each with the responses of its agent that had come before it."""

    @property
    def longest_wait_s(self) -> float:
        """How long anything may wait for the store that must not wait until it is back."""
        return _LONGEST_WAIT_S if self._sim.platform.has_store else 0.0

    @property
    def waits_until(self) -> float:
        """Until when the platform may have had to wait for its store, on its monotonic clock."""
        if self._batches.is_pending:
            return math.inf
        return self._stored_at

    # --- the store ----------------------------------------------------------------------------------------------------

    def handed_out(self, batch: Persist) -> None:
        """The platform asks for a batch to be stored."""
        self._batches.handed_out(batch)

    def failed(self, batch: Persist) -> None:
        """The platform is about to be told that a batch could not be stored."""
        self._batches.failed(batch)

    def is_stored(self, batch: Persist) -> None:
        """The platform is about to be told that a batch is stored."""
        self._batches.is_stored(batch)
        self._stored_at = self._sim.platform.mono
        self._apply(batch)
        self._came = {agent_id: dict.fromkeys(self.unstored(agent_id)) for agent_id in self._came}

    def _apply(self, batch: Persist) -> None:
        has_forgotten = False
        for change in map(read_change, batch.records):
            if change.kind is Kind.COMMAND and change.value is None:
                has_forgotten, is_over = True, self._twin.outcome_of(change) is not None
                self._check("what was promised outlives the process", is_over, "command", change.n, "is forgotten")
            self._twin.apply(change)
        if has_forgotten:
            known = self._promised.items()
            self._promised = {each: agent_id for each, agent_id in known if self._command(agent_id, each) is not None}

    def crashes(self, kept: Persist | None, records: Iterable[Record]) -> None:
        """The platform has died; `records` are what it is restored from. `kept`: stored without its being told."""
        if kept is not None:
            self._apply(kept)
        self.are_stored(records)
        self._batches = BatchInvariants(self._checks, self._sim)
        self._asked.clear()
        self._came.clear()
        self._pings.clear()
        for command_id, agent_id in self._promised.items():
            is_known = self._command(agent_id, command_id) is not None
            self._check("what was promised outlives the process", is_known, command_id)

    def at_rest(self, hub: PlatformHub) -> None:
        """Something was stored, and all that follows from it was done."""
        held, is_pending = self._sim.platform.held_bytes(), hub.unstored > 0
        most = _MOST_HELD_BYTES if is_pending else _MOST_OF_A_REQUEST_BYTES
        is_little = all(nbytes <= most for nbytes in held) and sum(held) <= _MOST_HELD_IN_ALL_BYTES
        self._check("batches and what is held keep to their limits", is_little, held, "held, pending:", is_pending)
        if hub.stored == hub.barrier and self._sim.time >= self._looked_at + _LOOKS_EVERY_S:
            self._looked_at = self._sim.time
            self._is_twin(hub.records(), "in memory")

    def are_stored(self, records: Iterable[Record]) -> None:
        """All that is on the disk: what it would make of a platform, and nothing beside that."""
        ordered = in_order(records)
        restored = PlatformState(map(read_change, ordered))
        self._is_twin(tuple(pack(*each) for each in restored.records()), "restored")
        if ordered:  # else it died before its first batch was stored
            self._is_twin(tuple(ordered), "on disk")

    def at_the_end(self, hub: PlatformHub, records: Iterable[Record]) -> None:
        """Everything had the time to be stored; `records` are on the disk."""
        is_all = hub.stored == hub.barrier
        self._check("the twin of what is stored is the platform's own", is_all, hub.stored, "of", hub.barrier)
        self._is_twin(hub.records(), "in memory")
        self.are_stored(records)
        for command_id, agent_id in self._promised.items():
            command = self._command(agent_id, command_id)
            is_over = command is not None and command.outcome is not None
            self._check("every command answered once", is_over, command_id, "after it was promised")

    def _is_twin(self, records: tuple[Record, ...], where: str) -> None:
        twin = tuple(pack(*each) for each in self._twin.records())
        names = [] if twin == records else [(each.kind, each.n) for each in {*twin} ^ {*records}]
        self._check("the twin of what is stored is the platform's own", twin == records, where, names)

    # --- what is said -------------------------------------------------------------------------------------------------

    def asked(self, conn: int, call: Asking, nbytes: int) -> None:
        """A caller sends a request of so many bytes."""
        if self._sim.platform.has_store:
            self._asked[conn] = _Asked(call, nbytes)

    def was_sent(self, conn: int, nbytes: int) -> None:
        """So much reached the platform on a connection."""
        if (asked := self._asked.get(conn)) is not None:
            asked.unread_bytes -= nbytes

    def ends(self, conn: int, *, abort: bool) -> None:
        """The platform ends a connection."""
        asked = self._asked.pop(conn, None)
        if self._sim.platform.has_store and not abort:
            is_owed = asked is not None and asked.unread_bytes <= 0
            target = "" if asked is None else asked.call.target
            self._check("a connection ends behind its response", not is_owed, target)

    def answers(self, conn: int, data: bytes) -> None:
        """The platform writes on a connection that is no link."""
        asked = self._asked.get(conn)
        if asked is None:
            return
        for said in asked.reader.receive(data, to_head=asked.call.method == "HEAD"):
            match said:
                case Begun(status=status):
                    asked.status = status
                case Piece(data=piece):
                    asked.body += piece
                    if asked.call.listens:
                        asked.body = self._streams(asked.body)
                case _:  # it has ended
                    del self._asked[conn]
                    if not asked.call.listens and asked.call.method != "HEAD":
                        self._answered(asked)

    def _answered(self, asked: _Asked) -> None:
        call = asked.call
        holds = call.is_stored(self._twin, asked.status, asked.body)
        is_promise = asked.status in _PROMISES
        name = "a promise leaves when it is stored" if is_promise else "whoever is shown something, it is stored"
        self._check(name, holds, call.method, call.target, asked.status)
        if call.promises and asked.status == 202:
            command_id, self._promised[command_id] = call.promises
        if asked.status == 200 and call.target.startswith("/api/v1/commands/"):
            shown = msgspec.json.decode(asked.body)
            self._shows(shown["agent_id"], shown["command_id"], shown["response"])

    def _streams(self, data: bytes) -> bytes:
        """Look at the events of a stream; returns what is left of one that is not whole."""
        *events, rest = data.split(b"\n\n")
        for event in events:
            fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if line[:1] != b":")
            if fields.get(b"event") == b"command.answered":
                shown = msgspec.json.decode(fields[b"data"])
                self._shows(shown["agent_id"], shown["command_id"], shown["response"])
        return rest

    def _shows(self, agent_id: str, command_id: str, response: dict[str, Any] | None) -> None:
        """A final response is shown, or none."""
        if response is None:
            return
        command, shown = self._command(agent_id, command_id), _normal(response)
        outcome = None if command is None else command.outcome
        stored = None if outcome is None or outcome.response is None else _normal(public_response(outcome.response))
        self._check("whoever is shown something, it is stored", shown == stored, command_id, shown[:80])
        first = self._responses.setdefault(command_id, shown)
        self._check("one final response is ever shown", shown == first, command_id, shown[:80], first[:80])

    def said(self, event: Event) -> None:
        """The hub reports something."""
        if not self._sim.platform.has_store:
            return
        match event:
            case CommandAccepted():
                is_known = self._command(event.agent_id, event.command_id) is not None
                self._check("a promise leaves when it is stored", is_known, event.command_id)
                self._promised[event.command_id] = event.agent_id
            case CommandSent():
                self._is_known(event.agent_id, event.command_id)
            case CommandAnswered():
                self._shows(event.agent_id, event.command_id, public_response(event.response))
            case CommandExpired():
                command = self._command(event.agent_id, event.command_id)
                is_over = command is not None and command.outcome is not None
                self._check("whoever is shown something, it is stored", is_over, event.command_id, "has expired")
            case _:
                pass

    def sends(self, agent_id: str, command_id: str) -> None:
        """A command goes out on a link."""
        if self._sim.platform.has_store:
            self._is_known(agent_id, command_id)

    def _is_known(self, agent_id: str, command_id: str) -> None:
        is_known = self._command(agent_id, command_id) is not None
        self._check("a command goes out once it is stored", is_known, command_id)

    def _command(self, agent_id: str, command_id: str) -> StoredCommand | None:
        return self._twin.command(TENANT, command_id, agent_id)

    # --- responses and pongs ------------------------------------------------------------------------------------------

    def came(self, agent_id: str, command_id: str) -> None:
        """A final response has come over a link."""
        self._came.setdefault(agent_id, {})[command_id] = None

    def pinged(self, conn: int, agent_id: str, payload: bytes) -> None:
        """A ping has come over a link."""
        self._pings.setdefault(conn, []).append((payload, tuple(self._came.get(agent_id, ()))))

    def may_wait(self, agent_id: str) -> bool:
        """Whether a pong to this agent may wait: something has become of one of its commands that is not stored."""
        accounts = self._sim.tenant.accounts.items()
        its_own = [each for each, account in accounts if account.agent_id == agent_id]
        return bool(self._came.get(agent_id)) or not all(self._is_stored_as_it_is(agent_id, each) for each in its_own)

    def ponged(self, conn: int, agent_id: str, payload: bytes) -> None:
        """A pong goes out on a link."""
        pings = self._pings.get(conn, [])
        while any(each == payload for each, _ in pings):  # if none, it is owed to nobody: that is looked at elsewhere
            carried, came = pings.pop(0)
            for command_id in came:
                is_stored = self._is_stored_as_it_is(agent_id, command_id)
                self._check("a pong says that responses are stored", is_stored, command_id, "before", payload)
                self._came.get(agent_id, {}).pop(command_id, None)
            if carried == payload:
                break

    def unstored(self, agent_id: str) -> list[str]:
        """The commands whose responses have come and are not stored."""
        came = self._came.get(agent_id, ())
        return [command_id for command_id in came if not self._is_stored_as_it_is(agent_id, command_id)]

    def _is_stored_as_it_is(self, agent_id: str, command_id: str) -> bool:
        """Whether what the platform knows of a response is stored; it may not know the command (any more)."""
        known, command = self._sim.platform.command(agent_id, command_id), self._command(agent_id, command_id)
        outcome = None if command is None else command.outcome
        if known is None or not known.is_over:
            return True
        if outcome is None:
            return False
        return outcome.state == known.state and (outcome.response is None) == (known.response is None)  # it may be late


def _normal(response: dict[str, Any]) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(msgspec.json.encode(response)))
