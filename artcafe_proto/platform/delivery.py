"""Commands on their way: kept until answered or expired, sent in order, so many at a time (CMD-10, PLAT-4).

`Delivery` says which command is to go to which agent next; whoever has the links sends it. What it knows beyond the
stored state is of this process: how often a command went out, and when it expires by the monotonic clock.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from artcafe_proto.errors import ApiError
from artcafe_proto.events import CommandAnswered, CommandDeferred, CommandExpired, CommandRepeated
from artcafe_proto.limits import (
    COMMAND_OVERHEAD_BYTES,
    MAX_ALL_PENDING_COMMAND_BYTES,
    MAX_CODE_CHARS,
    MAX_FINISHED_BYTES,
    MAX_FINISHED_COMMANDS,
    MAX_PENDING_COMMAND_BYTES,
    MAX_PENDING_COMMANDS,
    OVERLOADED_RETRY_S,
)
from artcafe_proto.misuse import check_text
from artcafe_proto.platform.answers import store_full
from artcafe_proto.platform.commands import Command, is_same
from artcafe_proto.platform.records import Change, Kind, OutcomeRecord
from artcafe_proto.platform.states import COMMAND, CommandInput, CommandState
from artcafe_proto.platform.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from artcafe_proto.events import HubEvent
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import ResponseData
    from artcafe_proto.platform.links import Links
    from artcafe_proto.platform.records import CommandRecord
    from artcafe_proto.platform.state import PlatformState, StoredCommand


class ToSend(NamedTuple):
    """A command that is to go out now, for the `attempt`-th time."""

    command: CommandRecord
    attempt: int


class _Pending(msgspec.Struct, gc=False):
    """A command that is not over."""

    command: StoredCommand
    expires_at: float  # monotonic seconds
    batch: int  # in which it is stored; 0 if nothing is
    state: CommandState = COMMAND.initial
    attempts: int = 0

    def move(self, cause: CommandInput) -> CommandState:
        self.state = COMMAND.after(self.state, cause)
        return self.state


class _Line(msgspec.Struct):
    """The pending commands of an agent, in order of acceptance."""

    pending: dict[str, _Pending] = {}
    pending_bytes: int = 0

    def find(self, entry: tuple[int, str]) -> _Pending | None:
        """The command of an entry of a window, None if it is over; a later one may have its id by now."""
        pending = self.pending.get(entry[1])
        return pending if pending is not None and pending.command.n <= entry[0] else None


class Delivery:
    """All commands of a platform that are on their way."""

    def __init__(
        self,
        state: PlatformState,
        links: Links,
        put: Callable[[Change], int],
        emit: Callable[[HubEvent], None],
        *,
        window: int,
    ) -> None:
        """`put` changes `state`, and returns the batch in which that is stored; 0 if nothing is."""
        self._state = state
        self._links = links
        self._put = put
        self._emit = emit
        self._window = window
        self._lines: dict[str, _Line] = {}
        self._pending_count = 0
        self._pending_bytes = 0
        self._expiries: list[tuple[float, str, str]] = []  # a heap: when, agent and id
        self._held: list[tuple[float, str, int]] = []  # a heap: when a window opens further after `overloaded`
        self._unstored: deque[tuple[int, str]] = deque()  # batches of commands that are not stored, and whose they are
        self._stored = 0  # the last batch that is

    def restore(self, now: Instant) -> None:
        """What is pending in a state that was just restored is on its way again: times are converted here.

        Nothing lives longer than it was given, even where the wall clock was set back.
        """
        for command in self._state.pending():
            record = command.record
            left_s = record.expires_at - max(now.wall, record.accepted_at)
            self._begin(command, now.mono + left_s)

    # --- look ---------------------------------------------------------------------------------------------------------

    def command(self, tenant_id: str, command_id: str, agent_id: str | None) -> Command:
        """A tenant's command, for `agent_id` if that is given.

        Raises ApiError: 404, also for another tenant's, or 409 if several agents have one of this id (PLAT-4).
        """
        check_text(tenant_id, "a tenant's id")
        check_text(command_id, "a command's id")
        if agent_id is None:
            named = self._state.commands(tenant_id, command_id)
            if len(named) > 1:
                raise ApiError(409, "ambiguous_command_id", "several agents have a command of this id: add ?agent_id=")
            command = named[0] if named else None
        else:
            check_text(agent_id, "an agent's id")
            command = self._state.command(tenant_id, command_id, agent_id)
        if command is None:
            raise ApiError(404, "command_not_found", "no such command")
        return self.shown(command)

    def shown(self, command: StoredCommand) -> Command:
        """A command as it is now."""
        record, outcome = command.record, command.outcome
        about = (record.tenant_id, record.agent_id, record.command_id, record.data)
        times = (record.accepted_at, record.expires_at)
        if outcome is None:
            pending = self._lines[record.agent_id].pending[record.command_id]
            return Command(*about, *times, pending.state, pending.attempts)
        ended = (outcome.state, outcome.attempts, outcome.response, outcome.answered_at, outcome.late)
        return Command(*about, *times, *ended)

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer` next, monotonic seconds."""
        if not self._held:
            return self._expiries[0][0] if self._expiries else None
        held = self._held[0][0]
        return min(held, self._expiries[0][0]) if self._expiries else held

    # --- from tenants -------------------------------------------------------------------------------------------------

    def accept(self, record: CommandRecord, expires_at: float) -> StoredCommand:
        """Keep a command until it is over, at `expires_at` by the monotonic clock at the latest.

        The same again is the same command. Raises ApiError: 409 for other content, 429 when too many are unanswered.
        """
        known = self._state.command(record.tenant_id, record.command_id, record.agent_id)
        if known is not None:
            if not is_same(known.record, record):
                raise ApiError(409, "command_exists", "this command_id was used before with other content")
            return known
        line = self._lines.get(record.agent_id)
        if line is not None and (
            len(line.pending) >= MAX_PENDING_COMMANDS or line.pending_bytes >= MAX_PENDING_COMMAND_BYTES
        ):
            raise ApiError(429, "too_many_commands", "as many commands as allowed wait for this agent")
        all_bytes = self._pending_bytes + self._pending_count * COMMAND_OVERHEAD_BYTES
        if all_bytes >= MAX_ALL_PENDING_COMMAND_BYTES:
            raise store_full(f"{MAX_ALL_PENDING_COMMAND_BYTES} bytes of open commands")
        batch = self._put(Change(Kind.COMMAND, self._state.next_n(Kind.COMMAND), record))
        command = self._state.command(record.tenant_id, record.command_id, record.agent_id)
        assert command is not None, "it was just put"
        if batch:
            self._unstored.append((batch, record.agent_id))
        line = self._begin(command, expires_at, batch)
        window = self._window_of(record.agent_id)
        if window is not None and not window.is_closed:
            _queue(line, window, command)
        return command

    def _begin(self, command: StoredCommand, expires_at: float, batch: int = 0) -> _Line:
        """A command is pending from now on."""
        record = command.record
        line = self._lines.get(record.agent_id)
        if line is None:
            line = self._lines[record.agent_id] = _Line()
        line.pending[record.command_id] = _Pending(command, expires_at, batch)
        line.pending_bytes += record.size
        self._pending_bytes += record.size
        self._pending_count += 1
        self._watch_expiry(record, expires_at)
        return line

    def _watch_expiry(self, record: CommandRecord, expires_at: float) -> None:
        """Entries of finished commands stay in the heap until there are more of them than of others."""
        heapq.heappush(self._expiries, (expires_at, record.agent_id, record.command_id))
        if len(self._expiries) > 2 * self._pending_count + 64:
            every = (each for line in self._lines.values() for each in line.pending.values())
            named = ((each.expires_at, each.command.record) for each in every)
            self._expiries = [(at, each.agent_id, each.command_id) for at, each in named]
            heapq.heapify(self._expiries)

    # --- to links -----------------------------------------------------------------------------------------------------

    def window_for(self, agent_id: str) -> Window:
        """The window of a link on which its agent came online: every pending command goes out on it once (CMD-10)."""
        line = self._lines.get(agent_id, _NOTHING)
        entries = ((each.command.n, command_id) for command_id, each in line.pending.items())
        return Window(self._window, list(entries))

    def next_to_send(self, agent_id: str, now: Instant) -> ToSend | None:
        """What goes out on the agent's link now that it has room, in order; None if nothing waits, or may go out.

        What is over meanwhile, or about to expire, is passed over.
        """
        window, line = self._window_of(agent_id), self._lines.get(agent_id)
        while window is not None and line is not None and window.has_place:
            pending = line.find(window.to_send[0])
            if pending is not None and pending.batch > self._stored:
                return None  # what is not stored was not said, and what comes behind it keeps its order (PLAT-5)
            heapq.heappop(window.to_send)
            if pending is None or pending.expires_at <= now.mono:
                continue
            record = pending.command.record
            window.unanswered[record.command_id] = None
            pending.move(CommandInput.SEND)
            pending.attempts += 1
            return ToSend(record, pending.attempts)
        return None

    # --- from links ---------------------------------------------------------------------------------------------------

    def answer(self, tenant_id: str, agent_id: str, response: ResponseData, now: Instant) -> None:
        """A response came: the first final one counts (CMD-3), a late one is stored and shown as late (CMD-10)."""
        command_id = response.command_id
        window, line = self._window_of(agent_id), self._lines.get(agent_id, _NOTHING)
        was_under_way = window is not None and window.unanswered.pop(command_id, _ABSENT) is not _ABSENT
        command = self._state.command(tenant_id, command_id, agent_id)
        outcome = None if command is None else command.outcome
        if command is not None and response.is_final and (outcome is None or outcome.response is None):
            self._finish(command, response, now)
        elif window is not None and was_under_way and not response.is_final and command_id in line.pending:
            pending = line.pending[command_id]
            pending.move(CommandInput.DEFER)
            _queue(line, window, pending.command)
            self._emit(CommandDeferred(agent_id, command_id, response.code))
        else:  # answered already or forgotten; or it is not under way on this link: nothing can have been refused
            self._emit(CommandRepeated(agent_id, command_id))
        if window is not None and was_under_way and not response.is_final:
            self._hold(agent_id, window, response.code, now)

    def _hold(self, agent_id: str, window: Window, code: str, now: Instant) -> None:
        """The agent has not started a command (CMD-9).

        One that is overloaded holds what is unanswered now: each answer makes room for the next, and time for more.
        """
        if code != "overloaded":
            window.is_closed = True  # draining
            return
        if window.limit == self._window:
            self._open_at(now.mono + OVERLOADED_RETRY_S, agent_id)
        window.opens_at = now.mono + OVERLOADED_RETRY_S
        window.limit = min(len(window.unanswered), self._window - 1)

    def _open_at(self, mono: float, agent_id: str) -> None:
        heapq.heappush(self._held, (mono, agent_id, self._links.presence(agent_id).epoch.n))

    def _open_further(self, agent_id: str, window: Window, now: Instant) -> None:
        """A window that was held lets more out, unless the agent was overloaded again meanwhile."""
        if window.opens_at <= now.mono:
            window.limit = min(2 * window.limit + 1, self._window)
            window.opens_at = now.mono + OVERLOADED_RETRY_S
        if window.limit < self._window:
            self._open_at(window.opens_at, agent_id)

    # --- the end of a command -----------------------------------------------------------------------------------------

    def _finish(self, command: StoredCommand, response: ResponseData, now: Instant) -> None:
        record, earlier = command.record, command.outcome
        # A raw result is a view of its whole message, which may be larger and must not be kept.
        kept = {"result": msgspec.Raw(bytes(response.result)), "code": response.code[:MAX_CODE_CHARS]}
        response = msgspec.structs.replace(response, **kept)
        cause = CommandInput.SUCCEED if response.status == "success" else CommandInput.FAIL
        if earlier is None:
            pending = self._take_out(record)
            state, attempts, n = pending.move(cause), pending.attempts, self._state.next_n(Kind.OUTCOME)
        else:
            state, attempts, n = COMMAND.after(earlier.state, cause), earlier.attempts, command.outcome_n
        is_late = earlier is not None
        outcome = OutcomeRecord(command.n, state, attempts, response, now.wall, is_late)
        self._put_outcome(n, outcome, record.agent_id)
        self._emit(CommandAnswered(record.agent_id, record.command_id, response, is_late))
        self._forget_oldest()

    def _expire(self, pending: _Pending) -> None:
        """It is over, but the agent may hold it: its place in the window is free with its response (CMD-10)."""
        command = pending.command
        self._take_out(command.record)
        outcome = OutcomeRecord(command.n, pending.move(CommandInput.EXPIRE), pending.attempts)
        self._put_outcome(self._state.next_n(Kind.OUTCOME), outcome, command.record.agent_id)
        self._emit(CommandExpired(command.record.agent_id, command.record.command_id))
        self._forget_oldest()

    def _put_outcome(self, n: int, outcome: OutcomeRecord, agent_id: str) -> None:
        if batch := self._put(Change(Kind.OUTCOME, n, outcome)):
            self._links.presence(agent_id).outcome_batch = batch

    def stored_up_to(self, batch: int) -> Iterable[str]:
        """All batches up to this one are stored. Returns the id of each agent to which something may go out now."""
        self._stored = batch
        agent_ids: dict[str, None] = {}
        while self._unstored and self._unstored[0][0] <= batch:
            agent_ids[self._unstored.popleft()[1]] = None
        return agent_ids

    def _take_out(self, record: CommandRecord) -> _Pending:
        """A command is no longer pending."""
        line = self._lines[record.agent_id]
        line.pending_bytes -= record.size
        self._pending_bytes -= record.size
        self._pending_count -= 1
        return line.pending.pop(record.command_id)

    def _forget_oldest(self) -> None:
        state = self._state
        while state.finished_count > MAX_FINISHED_COMMANDS or state.finished_bytes > MAX_FINISHED_BYTES:
            self._put(Change(Kind.COMMAND, state.oldest_finished().n, None))

    def handle_timer(self, now: Instant) -> Iterator[str]:
        """Let commands expire, and send again what was refused as overloaded (CMD-10).

        Yields the id of each agent to which something may go out now, as soon as it may.
        """
        while self._expiries and self._expiries[0][0] <= now.mono:
            _, agent_id, command_id = heapq.heappop(self._expiries)
            pending = self._lines[agent_id].pending.get(command_id)
            # An entry may be of an earlier command that had this id.
            if pending is not None and pending.expires_at <= now.mono:
                self._expire(pending)
                yield agent_id
        while self._held and self._held[0][0] <= now.mono:
            _, agent_id, n = heapq.heappop(self._held)
            presence = self._links.presence(agent_id)
            if presence.window is not None and presence.epoch.n == n:
                self._open_further(agent_id, presence.window, now)
                yield agent_id

    def _window_of(self, agent_id: str) -> Window | None:
        presence = self._links.find(agent_id)
        return None if presence is None else presence.window


def _queue(line: _Line, window: Window, command: StoredCommand) -> None:
    """Let a command wait for its turn. Of those that are over entries stay, until there are more of them."""
    heapq.heappush(window.to_send, (command.n, command.record.command_id))
    if len(window.to_send) > 2 * len(line.pending) + 64:
        window.to_send = [entry for entry in window.to_send if line.find(entry) is not None]
        heapq.heapify(window.to_send)


_ABSENT: Final = object()
_NOTHING: Final = _Line()  # never changed
