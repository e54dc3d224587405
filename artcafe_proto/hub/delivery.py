"""Commands on their way: kept until answered or expired, sent in order, so many at a time (CMD-10, PLAT-4)."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from artcafe_proto.errors import ApiError
from artcafe_proto.events import (
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    CommandSent,
)
from artcafe_proto.hub.states import COMMAND, CommandInput, CommandState
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


class _Line(msgspec.Struct):
    """One agent's commands. All but `pending` is of the link of now; `links` rises when one begins or ends."""

    pending: dict[str, Command] = {}
    pending_bytes: int = 0
    to_send: list[str] = []
    unanswered: dict[str, None] = {}  # a set, which would take four times as much while it is empty
    send: Callable[[bytes, Instant], None] | None = None
    has_room: Callable[[Instant], bool] | None = None
    """Of what `send` sends on, where there is that; if it has none, `resume` is called when it has."""
    links: int = 0


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
        self._expiries: list[tuple[float, str, str, str]] = []
        self._deferred: deque[tuple[float, str, int, str]] = deque()

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
        if not self._deferred:
            return self._expiries[0][0] if self._expiries else None
        deferred = self._deferred[0][0]
        return min(deferred, self._expiries[0][0]) if self._expiries else deferred

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
        self._commands.setdefault((command.tenant_id, command.command_id), {})[command.agent_id] = command
        line.pending[command.command_id] = command
        line.pending_bytes += command.size
        self._pending_bytes += command.size
        self._pending_count += 1
        self._watch_expiry(command)
        if line.send is not None:
            line.to_send.append(command.command_id)
            self._pump(line, now)
        return command

    # --- from links ---------------------------------------------------------------------------------------------------

    def begin(
        self,
        agent_id: str,
        send: Callable[[bytes, Instant], None],
        has_room: Callable[[Instant], bool],
        now: Instant,
    ) -> None:
        """The agent came online: everything unanswered goes out once on this link (CMD-10)."""
        self.end(agent_id)
        line = self._lines.setdefault(agent_id, _Line())
        line.send, line.has_room = send, has_room
        line.to_send.extend(line.pending)
        self._pump(line, now)

    def resume(self, agent_id: str, now: Instant) -> None:
        """The link takes more."""
        line = self._lines.get(agent_id)
        if line is not None:
            self._pump(line, now)

    def end(self, agent_id: str) -> None:
        """The link has ended: what it left unanswered is for the next one."""
        line = self._lines.get(agent_id)
        if line is not None:
            line.send = line.has_room = None
            line.links += 1
            line.to_send.clear()
            line.unanswered.clear()

    def answer(self, tenant_id: str, agent_id: str, response: ResponseData, now: Instant) -> None:
        """A response came: the first final one counts (CMD-3), a late one is stored and shown as late (CMD-10)."""
        command_id = response.command_id
        command = self._find(tenant_id, agent_id, command_id)
        if command is None or command.response is not None:
            self._emit(CommandRepeated(agent_id, command_id))
            return
        line = self._lines[agent_id]
        if response.is_final:
            if not command.is_over:
                self._take_out(line, command)
            self._finish(command, response, now)
        elif command_id in line.unanswered:
            self._defer(line, command, response.code, now)
        else:  # it is not under way on this link: nothing can have been refused
            self._emit(CommandRepeated(agent_id, command_id))
        self._pump(line, now)

    def _defer(self, line: _Line, command: Command, code: str, now: Instant) -> None:
        """The agent has not started the command (CMD-9)."""
        line.unanswered.pop(command.command_id, None)
        command.move(CommandInput.DEFER)
        self._emit(CommandDeferred(command.agent_id, command.command_id, code))
        if code == "overloaded":
            again_at = now.mono + OVERLOADED_RETRY_S
            self._deferred.append((again_at, command.agent_id, line.links, command.command_id))
        else:
            line.send = None  # draining: this link takes no more

    def _take_out(self, line: _Line, command: Command) -> None:
        """A command is no longer pending."""
        del line.pending[command.command_id]
        line.unanswered.pop(command.command_id, None)
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
        while self._deferred and self._deferred[0][0] <= now.mono:
            _, agent_id, links, command_id = self._deferred.popleft()
            line = self._lines[agent_id]
            if line.links == links and line.send is not None:
                line.to_send.append(command_id)
                self._pump(line, now)

    def _expire(self, command: Command, now: Instant) -> None:
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
        """Send what the window allows, in order; what is over meanwhile, or about to expire, is passed over."""
        while line.send is not None and line.to_send and len(line.unanswered) < self._window:
            assert line.has_room is not None, "it comes and goes with `send`, or later"
            if not line.has_room(now):
                return
            command = line.pending.get(line.to_send.pop(0))
            if command is None or command.expires_at <= now.mono:
                continue
            line.unanswered[command.command_id] = None
            command.move(CommandInput.SEND)
            command.attempts += 1
            line.send(encode("command", command.command_id, command.data, now.wall), now)
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


_OVER: Final = (CommandState.SUCCEEDED, CommandState.FAILED, CommandState.EXPIRED)
