"""Commands on their way: kept until answered or expired, sent in order, so many at a time (CMD-10, PLAT-4)."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from artcafe_proto.errors import ApiError
from artcafe_proto.events import (
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    CommandSent,
)
from artcafe_proto.instants import format_timestamp
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
from artcafe_proto.messages import CommandData, ResponseData, encode, text_bytes
from artcafe_proto.platform.states import COMMAND, CommandInput, CommandState

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.events import HubEvent
    from artcafe_proto.instants import Instant


class Command(msgspec.Struct):
    """One command of a tenant for an agent."""

    tenant_id: str
    agent_id: str
    command_id: str
    data: CommandData
    accepted_at: float
    expires_at: float
    """Monotonic seconds."""
    state: CommandState = COMMAND.initial
    attempts: int = 0
    response: ResponseData | None = None
    answered_at: float | None = None
    late: bool = False
    number: int = 0
    """In the order of acceptance."""

    @property
    def size(self) -> int:
        """Bytes of its arguments and of its response."""
        response = self.response
        answered = 0
        if response is not None:
            answered = len(bytes(response.result)) + text_bytes(response.reason)
        return len(bytes(self.data.args)) + answered

    @property
    def is_over(self) -> bool:
        """Whether its state changes no more."""
        return self.state in _OVER

    def move(self, cause: CommandInput) -> None:
        """Take a transition of its life."""
        self.state = COMMAND.after(self.state, cause)

    def is_same_as(self, other: Command) -> bool:
        """Whether both ask for the same (PLAT-4); the order of names in `args` is no content (RFC 8259 section 4)."""
        return _content(self) == _content(other)

    def public(self) -> dict[str, Any]:
        """The command object of the HTTP interface (PLAT-4)."""
        response = self.response
        return {
            "command_id": self.command_id,
            "agent_id": self.agent_id,
            "command": self.data.command,
            "state": self.state,
            "attempts": self.attempts,
            "accepted_at": format_timestamp(self.accepted_at),
            "answered_at": None if self.answered_at is None else format_timestamp(self.answered_at),
            "late": self.late,
            "response": None if response is None else public_response(response),
        }


class Carrier(Protocol):
    """An agent's live link."""

    @property
    def has_room(self) -> bool:
        """Whether something may go out on it now; `Delivery.send_on` is called once it may again (LINK-8)."""
        ...

    def deliver(self, payload: bytes, now: Instant) -> None:
        """Send a message."""
        ...


class _Line(msgspec.Struct):
    """One agent's commands. All but `pending` is of the current link; `links` rises when one begins or ends."""

    pending: dict[str, Command] = {}
    pending_bytes: int = 0
    to_send: list[tuple[int, str]] = []  # a heap, by acceptance
    unanswered: dict[str, None] = {}  # a set, which would take four times as much while it is empty
    carrier: Carrier | None = None
    links: int = 0
    limit: int = 0  # of unanswered commands: the window, or fewer since the agent was overloaded
    opens_at: float = 0.0  # when it may be more again

    def queue(self, command: Command) -> None:
        """Let a command wait for its turn. Of those that are over entries stay, until there are more of them."""
        heapq.heappush(self.to_send, (command.number, command.command_id))
        if len(self.to_send) > 2 * len(self.pending) + 64:
            self.to_send = [entry for entry in self.to_send if self.find(entry) is not None]
            heapq.heapify(self.to_send)

    def find(self, entry: tuple[int, str]) -> Command | None:
        """The command of an entry of `to_send`, None if it is over; a later one may have its id by now."""
        command = self.pending.get(entry[1])
        return command if command is not None and command.number <= entry[0] else None


class Delivery:
    """All commands of a platform."""

    def __init__(self, emit: Callable[[HubEvent], None], *, window: int) -> None:
        self._emit = emit
        self._window = window
        self._commands: dict[tuple[str, str], dict[str, Command]] = {}  # by tenant and id, then by agent (PLAT-4)
        self._lines: dict[str, _Line] = {}
        self._finished: deque[Command] = deque()
        self._finished_bytes = 0
        self._pending_count = 0
        self._pending_bytes = 0
        self._accepted = 0
        self._expiries: list[tuple[float, str, str, str]] = []
        self._held: list[tuple[float, str, int]] = []  # a heap: when a line opens further after `overloaded`

    # --- look ---------------------------------------------------------------------------------------------------------

    def command(self, tenant_id: str, command_id: str, agent_id: str | None) -> Command:
        """A tenant's command, for `agent_id` if that is given.

        Raises ApiError: 404, also for another tenant's, or 409 if several agents have one of this id (PLAT-4).
        """
        named = self._commands.get((tenant_id, command_id), {})
        if agent_id is None and len(named) > 1:
            raise ApiError(409, "ambiguous_command_id", "several agents have a command of this id: add ?agent_id=")
        command = next(iter(named.values()), None) if agent_id is None else named.get(agent_id)
        if command is None:
            raise ApiError(404, "command_not_found", "no such command")
        return command

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer` next, monotonic seconds."""
        if not self._held:
            return self._expiries[0][0] if self._expiries else None
        held = self._held[0][0]
        return min(held, self._expiries[0][0]) if self._expiries else held

    # --- from tenants -------------------------------------------------------------------------------------------------

    def accept(self, command: Command, now: Instant) -> Command:
        """Keep a command until it is over. The same again is the same command; other content is ApiError 409.

        Raises ApiError 429 when too many of this agent's are unanswered.
        """
        known = self._find(command.tenant_id, command.agent_id, command.command_id)
        if known is not None:
            if not known.is_same_as(command):
                raise ApiError(409, "command_exists", "this command_id was used before with other content")
            return known
        line = self._lines.setdefault(command.agent_id, _Line())
        if len(line.pending) >= MAX_PENDING_COMMANDS or line.pending_bytes >= MAX_PENDING_COMMAND_BYTES:
            raise ApiError(429, "too_many_commands", "as many commands as allowed wait for this agent")
        all_bytes = self._pending_bytes + self._pending_count * COMMAND_OVERHEAD_BYTES
        if all_bytes >= MAX_ALL_PENDING_COMMAND_BYTES:
            raise ApiError(429, "too_many_commands", "as many commands as allowed wait for all agents together")
        self._accepted += 1
        command.number = self._accepted
        self._commands.setdefault((command.tenant_id, command.command_id), {})[command.agent_id] = command
        line.pending[command.command_id] = command
        line.pending_bytes += command.size
        self._pending_bytes += command.size
        self._pending_count += 1
        self._watch_expiry(command)
        if line.carrier is not None:
            line.queue(command)
            self._pump(line, now)
        return command

    # --- from links ---------------------------------------------------------------------------------------------------

    def begin(self, agent_id: str, carrier: Carrier, now: Instant) -> None:
        """The agent came online: everything unanswered goes out once on this link (CMD-10)."""
        self.end(agent_id)
        line = self._lines.setdefault(agent_id, _Line())
        line.carrier = carrier
        line.limit = self._window
        line.to_send.extend((command.number, command_id) for command_id, command in line.pending.items())
        self._pump(line, now)

    def send_on(self, agent_id: str, now: Instant) -> None:
        """There is room on the agent's link again."""
        self._pump(self._lines[agent_id], now)

    def end(self, agent_id: str) -> None:
        """The link has ended: what it left unanswered is for the next one."""
        line = self._lines.get(agent_id)
        if line is not None:
            line.carrier = None
            line.links += 1
            line.to_send.clear()
            line.unanswered.clear()

    def answer(self, tenant_id: str, agent_id: str, response: ResponseData, now: Instant) -> None:
        """A response came: the first final one counts (CMD-3), a late one is stored and shown as late (CMD-10)."""
        command_id = response.command_id
        line = self._lines.get(agent_id)
        if line is None:  # it has never had a command
            self._emit(CommandRepeated(agent_id, command_id))
            return
        was_under_way = line.unanswered.pop(command_id, _ABSENT) is not _ABSENT
        command = self._find(tenant_id, agent_id, command_id)
        if command is not None and response.is_final and command.response is None:
            if not command.is_over:
                self._take_out(line, command)
            self._finish(command, response, now)
        elif command is not None and was_under_way and not response.is_final and not command.is_over:
            command.move(CommandInput.DEFER)
            line.queue(command)
            self._emit(CommandDeferred(agent_id, command_id, response.code))
        else:  # answered already or forgotten; or it is not under way on this link: nothing can have been refused
            self._emit(CommandRepeated(agent_id, command_id))
        if was_under_way and not response.is_final:
            self._hold(agent_id, line, response.code, now)
        self._pump(line, now)

    def _hold(self, agent_id: str, line: _Line, code: str, now: Instant) -> None:
        """The agent has not started a command (CMD-9).

        One that is overloaded holds what is unanswered now: each answer makes room for the next, and time for more.
        """
        if code != "overloaded":
            line.carrier = None  # draining: this link takes no more
            return
        if line.limit == self._window:
            self._open_at(now.mono + OVERLOADED_RETRY_S, agent_id, line)
        line.opens_at = now.mono + OVERLOADED_RETRY_S
        line.limit = min(len(line.unanswered), self._window - 1)

    def _open_at(self, mono: float, agent_id: str, line: _Line) -> None:
        heapq.heappush(self._held, (mono, agent_id, line.links))

    def _open_further(self, agent_id: str, line: _Line, now: Instant) -> None:
        """A line that was held lets more out, unless the agent was overloaded again meanwhile."""
        if line.opens_at <= now.mono:
            line.limit = min(2 * line.limit + 1, self._window)
            line.opens_at = now.mono + OVERLOADED_RETRY_S
        if line.limit < self._window:
            self._open_at(line.opens_at, agent_id, line)
        self._pump(line, now)

    def _take_out(self, line: _Line, command: Command) -> None:
        """A command is no longer pending."""
        del line.pending[command.command_id]
        line.pending_bytes -= command.size
        self._pending_bytes -= command.size
        self._pending_count -= 1

    def _finish(self, command: Command, response: ResponseData, now: Instant) -> None:
        size = command.size
        # A raw result is a view of its whole message, which may be larger and must not be kept.
        kept = {"result": msgspec.Raw(bytes(response.result)), "code": response.code[:MAX_CODE_CHARS]}
        command.response = response = msgspec.structs.replace(response, **kept)
        command.answered_at = now.wall
        command.late = command.is_over
        command.move(CommandInput.SUCCEED if response.status == "success" else CommandInput.FAIL)
        if command.late:
            self._finished_bytes += command.size - size
            self._forget_oldest()
        else:
            self._remember_finished(command)
        self._emit(CommandAnswered(command.agent_id, command.command_id, response, command.late))

    def _remember_finished(self, command: Command) -> None:
        self._finished.append(command)
        self._finished_bytes += command.size
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        while len(self._finished) > MAX_FINISHED_COMMANDS or self._finished_bytes > MAX_FINISHED_BYTES:
            command = self._finished.popleft()
            self._finished_bytes -= command.size
            named = self._commands[command.tenant_id, command.command_id]
            del named[command.agent_id]
            if not named:
                del self._commands[command.tenant_id, command.command_id]

    def handle_timer(self, now: Instant) -> None:
        """Let commands expire, and send again what was refused as overloaded (CMD-10)."""
        while self._expiries and self._expiries[0][0] <= now.mono:
            _, *names = heapq.heappop(self._expiries)
            command = self._find(*names)
            # An entry may be of an earlier command that had this id.
            if command is not None and not command.is_over and command.expires_at <= now.mono:
                self._expire(command, now)
        while self._held and self._held[0][0] <= now.mono:
            _, agent_id, links = heapq.heappop(self._held)
            line = self._lines[agent_id]
            if line.links == links:
                self._open_further(agent_id, line, now)

    def _expire(self, command: Command, now: Instant) -> None:
        """It is over, but the agent may hold it: its place in the window is free with its response (CMD-10)."""
        command.move(CommandInput.EXPIRE)
        line = self._lines[command.agent_id]
        self._take_out(line, command)
        self._emit(CommandExpired(command.agent_id, command.command_id))
        self._remember_finished(command)
        self._pump(line, now)

    def _watch_expiry(self, command: Command) -> None:
        """Entries of finished commands stay in the heap until there are more of them than of others."""
        heapq.heappush(self._expiries, _expiry(command))
        if len(self._expiries) > 2 * self._pending_count + 64:
            pending = (command for line in self._lines.values() for command in line.pending.values())
            self._expiries = [_expiry(each) for each in pending]
            heapq.heapify(self._expiries)

    def _find(self, tenant_id: str, agent_id: str, command_id: str) -> Command | None:
        return self._commands.get((tenant_id, command_id), {}).get(agent_id)

    def _pump(self, line: _Line, now: Instant) -> None:
        """Send what window and link allow, in order; what is over meanwhile, or about to expire, is passed over."""
        carrier = line.carrier
        while carrier is not None and line.to_send and len(line.unanswered) < line.limit and carrier.has_room:
            command = line.find(heapq.heappop(line.to_send))
            if command is None or command.expires_at <= now.mono:
                continue
            line.unanswered[command.command_id] = None
            command.move(CommandInput.SEND)
            command.attempts += 1
            carrier.deliver(encode("command", command.command_id, command.data, now.wall), now)
            self._emit(CommandSent(command.agent_id, command.command_id, command.data.command, command.attempts))


def _expiry(command: Command) -> tuple[float, str, str, str]:
    return command.expires_at, command.tenant_id, command.agent_id, command.command_id


def _content(command: Command) -> tuple[str, float | None, bytes]:
    data = command.data
    return data.command, data.timeout, msgspec.json.encode(msgspec.json.decode(data.args), order="deterministic")


def public_response(response: ResponseData) -> dict[str, Any]:
    """The response object of the HTTP interface (PLAT-4)."""
    if response.status == "success":
        return {"status": "success", "result": response.result}
    return {"status": "error", "code": response.code, "reason": response.reason}


_ABSENT: Final = object()
_OVER: Final = (CommandState.SUCCEEDED, CommandState.FAILED, CommandState.EXPIRED)
