"""The agent's commands: which run, which wait, and what is answered (CMD-1 … CMD-9).

A command passes through one place at a time: queued, running, or answered. All that are accepted are queued; they start
while outputs are drained, as soon as there is a slot, so that one which is answered at once makes room for the next.
The ledger remembers its id from acceptance on, the outbox holds its response until a link takes it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from artcafe_proto.agent.journal import STALLS
from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.events import (
    CommandCancelled,
    CommandReceived,
    CommandRefused,
    MessageSettled,
    PeerViolation,
    RepeatReceived,
    ResponseReplaced,
    ResponsesSettled,
    Undeliverable,
)
from artcafe_proto.limits import (
    DEFAULT_COMMAND_TIMEOUT_S,
    MAX_QUEUED_COMMAND_BYTES,
    MAX_REASON_CHARS,
    SETTLE_WITHOUT_PONG_S,
)
from artcafe_proto.messages import (
    CommandData,
    ErrorData,
    SuccessData,
    decode_command,
    encode,
)
from artcafe_proto.misuse import check_text
from artcafe_proto.policies.ledger import EntryState, Ledger, fingerprint
from artcafe_proto.policies.outbox import Item, Outbox

if TYPE_CHECKING:
    from artcafe_proto.agent.journal import Journal
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.instants import Instant
    from artcafe_proto.links import LinkEnd
    from artcafe_proto.messages import FinalCode, MessageIds
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.ledger import Entry
    from artcafe_proto.policies.outbox import SettledBy


class Accepted(msgspec.Struct, gc=False):
    """A command that waits or runs."""

    command_id: str
    command: CommandData
    deadline: float
    size: int
    """Bytes of the message that it came in."""
    batch: int = 0
    """It starts once this batch of the journal is stored (CMD-1); 0 without one."""
    answered: bool = False
    """It has its final response, but its handler has not ended yet."""
    has_progress: bool = False
    """Progress of it was reported on some link (STAT-4)."""


class CommandDesk:
    """Accepts, starts, times and answers commands; the machine sends what `receive` returns and `outbox` holds."""

    def __init__(
        self,
        config: AgentConfig,
        outputs: AgentOutputs,
        ids: MessageIds,
        settled_by: SettledBy = "pong",
        journal: Journal | None = None,
    ) -> None:
        self._config = config
        self._outputs = outputs
        self._ids = ids
        self._journal = journal
        self._stored = 0  # the last batch of the journal that is
        self._ledger = Ledger()
        self.queued: dict[str, Accepted] = {}
        """The commands that wait for a slot, by id."""
        self._queued_bytes = 0
        self.running: dict[str, Accepted] = {}
        """Those that have one."""
        self.outbox: Final = Outbox(settled_by)
        self._earliest = math.inf  # no deadline is earlier; it may name one that is over already
        self._max_concurrent = config.max_concurrent
        self._max_accepted = config.max_concurrent + config.max_queued
        self._draining = False
        self._refused_in_a_row = 0

    # --- look ---------------------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether no more commands can start (STAT-1: busy)."""
        return len(self.running) >= self._max_concurrent or (self._journal is not None and self._journal.refuses)

    @property
    def unanswered(self) -> int:
        """How many run that are still to be answered."""
        return sum(not running.answered for running in self.running.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs that is still to be answered."""
        return not self.queued and not self.unanswered

    @property
    def is_settled(self) -> bool:
        """Whether nothing runs, all that was to be said has been read, and nothing more is about to be stored
        (LINK-10).
        """
        journal = self._journal
        return self.is_idle and not self.outbox and (journal is None or journal.is_stored or journal.refuses)

    @property
    def deadline(self) -> float | None:
        """When to call `expire` next."""
        return self._earliest if self._earliest < math.inf else None

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Ids of accepted commands whose final response is not settled (CMD-8)."""
        running = (key for key, running in self.running.items() if not running.answered)
        return (*self.outbox.unsettled_commands, *running, *self.queued)

    # --- from the platform --------------------------------------------------------------------------------------------

    def receive_raw(self, command_id: str, data: msgspec.Raw, size: int, now: Instant) -> bytes | None:
        """Take in a command as `receive` does, but judge its data first."""
        try:
            command = decode_command(data)
        except RemoteProtocolError as error:
            return self.receive_damaged(command_id, error, now)
        return self.receive(command_id, command, size, now)

    def receive_damaged(self, command_id: str, error: RemoteProtocolError, now: Instant) -> bytes | None:
        """Take in a command of which no more can be used than its id (MSG-5)."""
        entry = self._ledger.entries.get(command_id)
        if entry is not None:
            return self._repeat(command_id, entry, None, now)
        if self._stalls:
            return self._refuse(command_id, "", "overloaded", STALLS, "CMD-1", now)
        if not self._has_place:
            return self._refuse(command_id, "", "overloaded", _NO_PLACE, "CMD-3", now)
        self._refuse_arguments(command_id, error, now)
        return None

    def find(self, command_id: str) -> Accepted | None:
        """A command that runs. Raises LocalProtocolError for an id that is no text."""
        if type(command_id) is not str:  # hardly ever: a call less for each command
            check_text(command_id, "a command's id")
        return self.running.get(command_id)

    def receive(self, command_id: str, command: CommandData, size: int, now: Instant) -> bytes | None:
        """Take in a command that came in a message of `size` bytes, or return the reply that is to go out at once."""
        entry = self._ledger.entries.get(command_id)
        if entry is not None:
            return self._repeat(command_id, entry, command, now)
        if self._draining:
            return self._refuse(command_id, command.command, "draining", _DRAINING, "CMD-8", now)
        journal = self._journal
        if journal is not None and journal.refuses:
            return self._refuse(command_id, command.command, "overloaded", STALLS, "CMD-1", now)
        unanswered = len(self.running) + len(self.queued)
        if not self.outbox.has_place(unanswered):
            return self._refuse(command_id, command.command, "overloaded", _NO_PLACE, "CMD-3", now)
        if unanswered >= self._max_accepted:
            reason = "as many commands as allowed run and wait"
            return self._refuse(command_id, command.command, "overloaded", reason, "CMD-5", now)
        if self.queued and self._queued_bytes + size > MAX_QUEUED_COMMAND_BYTES:
            reason = f"the commands that wait have as many bytes as allowed, {MAX_QUEUED_COMMAND_BYTES}"
            return self._refuse(command_id, command.command, "overloaded", reason, "CMD-5", now)
        entry = self._ledger.open(command_id, fingerprint(command))
        timeout_s = command.timeout
        deadline = now.mono + (DEFAULT_COMMAND_TIMEOUT_S if timeout_s is None else timeout_s)
        self.queued[command_id] = accepted = Accepted(command_id, command, deadline, size)
        if journal is not None:
            accepted.batch = journal.open(command_id, command.command, entry)
        self._queued_bytes += size
        if deadline < self._earliest:
            self._earliest = deadline
        return None

    def start_next(self, now: Instant) -> None:
        """Start the command that has waited longest, if one waits and there is a slot (CMD-5)."""
        while self.queued and len(self.running) < self._max_concurrent:  # `is_full`, made quick
            command_id, accepted = next(iter(self.queued.items()))
            if accepted.deadline <= now.mono:
                self._time_out_queued(command_id, now)
                continue
            if accepted.batch > self._stored:
                return
            del self.queued[command_id]
            self._queued_bytes -= accepted.size
            self.running[command_id] = accepted
            self._refused_in_a_row = 0
            command = accepted.command
            self._outputs.events.append(CommandReceived(command_id, command.command, command.args, accepted.deadline))
            return

    def _repeat(self, command_id: str, entry: Entry, command: CommandData | None, now: Instant) -> bytes | None:
        if command is None or fingerprint(command) != entry.fingerprint:
            self._outputs.events.append(PeerViolation("a command id was used again with other content", "CMD-2"))
        still_to_come = entry.state is EntryState.OPEN or (entry.state is EntryState.ANSWERED and self.outbox.waiting)
        if still_to_come or entry.repeated_at is now:  # one read may ask a thousand times for a response of 1 MiB
            self._outputs.events.append(RepeatReceived(command_id, None, "CMD-2"))
            return None
        entry.repeated_at = now
        answer = "expired_result" if entry.body is None else "stored"
        self._outputs.events.append(RepeatReceived(command_id, answer, "CMD-2"))
        if entry.body is not None:
            return entry.body
        return self._error(command_id, "expired_result", "the result is no longer stored", now)

    def _refuse_arguments(self, command_id: str, error: RemoteProtocolError, now: Instant) -> None:
        self._ledger.open(command_id, 0)
        self._answer(command_id, self._error(command_id, "invalid_arguments", error.reason, now))
        self._outputs.events.append(PeerViolation(error.reason, error.clause))

    # --- from the application -----------------------------------------------------------------------------------------

    def respond(self, running: Accepted, raw: msgspec.Raw, now: Instant) -> None:
        """A command has ended with success."""
        command_id = running.command_id
        body = encode("response", self._ids.new("response"), SuccessData(command_id, raw), now.wall)
        if len(body) > self._config.max_message_size:
            reason = f"the encoded response has {len(body)} bytes, at most {self._config.max_message_size} are allowed"
            body = self._error(command_id, "result_too_large", reason, now)
            self._outputs.events.append(ResponseReplaced(command_id, "result_too_large", reason, "CMD-7"))
        self._answer(command_id, body)

    def fail(self, running: Accepted, code: FinalCode, reason: str, now: Instant) -> None:
        """A command has ended with an error."""
        self._answer(running.command_id, self._error(running.command_id, code, reason, now))

    # --- from the machine ---------------------------------------------------------------------------------------------

    def settle(self, items: list[Item], now: Instant, *, assumed: bool = False) -> None:
        """The platform has read these (CMD-3), or is taken to have if that is `assumed`."""
        settled = tuple([item.command_id for item in items if item.command_id is not None])
        if len(settled) < len(items):
            messages = [item.message_id for item in items if item.command_id is None]
            self._outputs.events.extend(MessageSettled(message_id, assumed) for message_id in messages)
        if settled:
            self._outputs.events.append(ResponsesSettled(settled, assumed))
        dropped = self._ledger.settle(settled, now.mono) if settled else ()
        if self._journal is not None:
            self._journal.settle(items, self._ledger.entries, dropped, now)

    def settle_without_pong(self, link: LinkEnd, now: Instant) -> None:
        """The time that stands for a pong has passed, if the peer has never sent one (CMD-3)."""
        was_assuming = self.outbox.is_assuming
        items = self.outbox.assume(link, now.mono, self._config.ping_timeout)
        if self.outbox.is_assuming and not was_assuming:
            wait_s = max(SETTLE_WITHOUT_PONG_S, self._config.ping_timeout)
            reason = f"no pong came for {wait_s:g} s after a ping had left, nor ever before, though other bytes did"
            what = f"what left {wait_s:g} s ago counts as read"
            self._outputs.events.append(PeerViolation(f"{reason}: {what}", "CMD-3"))
        self.settle(items, now, assumed=True)

    def replace_poison(self, item: Item, now: Instant) -> None:
        """An item cost every link it was sent on: a response is replaced, once; else it is dropped (CMD-11)."""
        command_id = item.command_id
        body = None if command_id is None else self._ledger.poisoned(command_id)
        if command_id is None or body is None:
            self._outputs.events.append(Undeliverable(item.message_id, command_id, "CMD-11"))
            dropped = () if command_id is None else self._ledger.settle([command_id], now.mono)
            if self._journal is not None:
                self._journal.settle([item], self._ledger.entries, dropped, now)
        else:
            reason = "the response cost every link"
            self._answer(command_id, self._error(command_id, "undeliverable", reason, now))
            self._outputs.events.append(ResponseReplaced(command_id, "undeliverable", reason, "CMD-11"))

    def expire(self, now: Instant) -> None:
        """Answer `timeout` for every command whose time is over, and cancel it if it runs (CMD-4)."""
        reason = "the command's timeout passed"
        for command_id in [key for key, queued in self.queued.items() if queued.deadline <= now.mono]:
            self._time_out_queued(command_id, now)
        for command_id, running in self.running.items():
            if running.deadline <= now.mono and not running.answered:
                self._cancel(command_id, running, "timeout", "CMD-4", reason, now)
        open_deadlines = [running.deadline for running in self.running.values() if not running.answered]
        open_deadlines += [queued.deadline for queued in self.queued.values()]
        self._earliest = min(open_deadlines, default=math.inf)

    def drain(self, now: Instant) -> dict[str, bytes]:
        """Start nothing more; returns the replies that give the queued commands back, by command (CMD-8, CMD-9)."""
        self._draining = True
        self._refused_in_a_row = 0
        given_back, self.queued = self.queued, {}
        self._queued_bytes = 0
        forgotten = [self._ledger.forget(command_id) for command_id in given_back]
        if self._journal is not None and forgotten:
            self._journal.give_back(forgotten)
        return {
            command_id: self._refuse(command_id, queued.command.command, "draining", _DRAINING, "CMD-8", now)
            for command_id, queued in given_back.items()
        }

    def cancel_running(self, reason: str, now: Instant) -> bool:
        """Answer `cancelled` for whatever still runs (CMD-8). False if nothing does."""
        still_running = [(key, running) for key, running in self.running.items() if not running.answered]
        for command_id, running in still_running:
            self._cancel(command_id, running, "cancelled", "CMD-8", reason, now)
        return bool(still_running)

    # --- from the journal ---------------------------------------------------------------------------------------------

    def restore(self, journal: Journal, now: Instant) -> None:
        """Go on where an earlier process ended, as far as the journal knows (CMD-1)."""
        reason = "the agent's process ended while the command ran, or before: it may have done some of its work"
        for opened in journal.restore(self._ledger, self.outbox, now):
            self._answer(opened.command_id, self._error(opened.command_id, "interrupted", reason, now))

    def stored_up_to(self, batch: int) -> None:
        """All batches of the journal up to this one are stored: what waited for them goes on."""
        self._stored = batch
        self.outbox.stored_up_to(batch)

    # --- inside -------------------------------------------------------------------------------------------------------

    @property
    def _stalls(self) -> bool:
        """Whether the journal is in no state to take more (CMD-1)."""
        return self._journal is not None and self._journal.refuses

    @property
    def _has_place(self) -> bool:
        """Whether the response to one more command would have a place, as those to all accepted ones have (CMD-3)."""
        return self.outbox.has_place(len(self.running) + len(self.queued))

    def _time_out_queued(self, command_id: str, now: Instant) -> None:
        accepted = self.queued.pop(command_id)
        self._queued_bytes -= accepted.size
        reason = "it waited for a slot until its timeout"
        self._answer(command_id, self._error(command_id, "timeout", reason, now))
        self._outputs.events.append(CommandRefused(command_id, "timeout", reason, "CMD-4", accepted.command.command))

    def _refuse(
        self,
        command_id: str,
        command: str,
        code: Literal["overloaded", "draining"],
        reason: str,
        clause: str,
        now: Instant,
    ) -> bytes:
        """The reply that gives a command back unstarted (CMD-9)."""
        self._refused_in_a_row += 1
        times = self._refused_in_a_row
        self._outputs.events.append(CommandRefused(command_id, code, reason, clause, command, times))
        return self._error(command_id, code, reason, now)

    def _cancel(
        self,
        command_id: str,
        running: Accepted,
        code: Literal["timeout", "cancelled"],
        clause: str,
        reason: str,
        now: Instant,
    ) -> None:
        running.answered = True
        self._answer(command_id, self._error(command_id, code, reason, now))
        self._outputs.events.append(CommandCancelled(command_id, code, clause, running.command.command))

    def _answer(self, command_id: str, body: bytes) -> None:
        entry = self._ledger.answer(command_id, body)
        item = Item(command_id, body, command_id)
        if self._journal is None:
            self.outbox.put(item)
        else:
            self.outbox.put(item, self._journal.answer(command_id, entry, body))

    def _error(self, command_id: str, code: str, reason: str, now: Instant) -> bytes:
        most = min(MAX_REASON_CHARS, self._config.max_message_size // 16)  # JSON may make six bytes of each
        text = reason[:most].encode("utf-8", "replace").decode()  # half a character, as names of files have (PEP 383)
        data = ErrorData(command_id, text, code)
        return encode("response", self._ids.new("response"), data, now.wall)


_NO_PLACE: Final = "as many responses as allowed are not settled, or to come"
_DRAINING: Final = "the agent is about to stop"
