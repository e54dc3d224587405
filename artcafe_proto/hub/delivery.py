"""Commands on their way: kept until answered or expired, sent in order, so many at a time (CMD-10, PLAT-4)."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

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
from artcafe_proto.limits import MAX_FINISHED_COMMANDS, MAX_PENDING_COMMANDS, OVERLOADED_RETRY_S
from artcafe_proto.messages import CommandData, ResponseData, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.events import HubEvent
    from artcafe_proto.instants import Instant

CommandState = Literal["queued", "sent", "succeeded", "failed", "expired"]


class Command(msgspec.Struct):
    """One command of a tenant for an agent."""

    tenant_id: str
    agent_id: str
    command_id: str
    data: CommandData
    accepted_at: float
    expires_at: float
    """Monotonic seconds."""
    state: CommandState = "queued"
    attempts: int = 0
    response: ResponseData | None = None
    answered_at: float | None = None
    late: bool = False

    @property
    def is_over(self) -> bool:
        """Whether its state changes no more."""
        return self.state in ("succeeded", "failed", "expired")

    def is_same_as(self, other: Command) -> bool:
        """Whether both ask one agent for the same (PLAT-4)."""
        return self.agent_id == other.agent_id and msgspec.json.encode(self.data) == msgspec.json.encode(other.data)

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
            "response": None if response is None else _public_response(response),
        }


class _Line(msgspec.Struct):
    """One agent's commands. All but `pending` is of the current link only; `links` counts them."""

    pending: dict[str, Command] = {}
    to_send: deque[str] = msgspec.field(default_factory=deque[str])
    unanswered: set[str] = set()
    send: Callable[[bytes], None] | None = None
    links: int = 0


class Delivery:
    """All commands of a platform."""

    def __init__(self, emit: Callable[[HubEvent], None], *, window: int) -> None:
        self._emit = emit
        self._window = window
        self._commands: dict[tuple[str, str], Command] = {}
        self._lines: dict[str, _Line] = {}
        self._finished: deque[tuple[str, str]] = deque()
        self._expiries: list[tuple[float, str, str]] = []
        self._deferred: deque[tuple[float, str, int, str]] = deque()

    # --- look ---------------------------------------------------------------------------------------------------------

    def command(self, tenant_id: str, command_id: str) -> Command:
        """A tenant's command. Raises ApiError 404, also for another tenant's (PLAT-4)."""
        command = self._commands.get((tenant_id, command_id))
        if command is None:
            raise ApiError(404, "command_not_found", "no such command")
        return command

    @property
    def deadline(self) -> float | None:
        """When to call `handle_timer` next, monotonic seconds."""
        times = [queue[0][0] for queue in (self._deferred, self._expiries) if queue]
        return min(times, default=None)

    # --- from tenants -------------------------------------------------------------------------------------------------

    def accept(self, command: Command, now: Instant) -> Command:
        """Keep a command until it is over. The same again is the same command; other content is ApiError 409.

        Raises ApiError 429 when too many of this agent's are unanswered.
        """
        key = (command.tenant_id, command.command_id)
        known = self._commands.get(key)
        if known is not None:
            if not known.is_same_as(command):
                raise ApiError(409, "command_exists", "this command_id was used before with other content")
            return known
        line = self._lines.setdefault(command.agent_id, _Line())
        if len(line.pending) >= MAX_PENDING_COMMANDS:
            raise ApiError(429, "too_many_commands", f"{MAX_PENDING_COMMANDS} commands wait for this agent")
        self._commands[key] = line.pending[command.command_id] = command
        heapq.heappush(self._expiries, (command.expires_at, *key))
        if line.send is not None:
            line.to_send.append(command.command_id)
            self._pump(line, now)
        return command

    # --- from links ---------------------------------------------------------------------------------------------------

    def begin(self, agent_id: str, send: Callable[[bytes], None], now: Instant) -> None:
        """The agent came online: everything unanswered goes out once on this link (CMD-10)."""
        self.end(agent_id)
        line = self._lines.setdefault(agent_id, _Line())
        line.send = send
        line.to_send.extend(line.pending)
        self._pump(line, now)

    def end(self, agent_id: str) -> None:
        """The link has ended: what it left unanswered is for the next one."""
        line = self._lines.get(agent_id)
        if line is not None:
            line.send = None
            line.links += 1
            line.to_send.clear()
            line.unanswered.clear()

    def answer(self, tenant_id: str, agent_id: str, response: ResponseData, now: Instant) -> None:
        """A response came: the first final one counts (CMD-3), a late one is stored and shown as late (CMD-10)."""
        command_id = response.command_id
        command = self._commands.get((tenant_id, command_id))
        if command is None or command.agent_id != agent_id or command.response is not None:
            self._emit(CommandRepeated(agent_id, command_id))
            return
        line = self._lines[agent_id]
        line.unanswered.discard(command_id)
        if response.is_final:
            line.pending.pop(command_id, None)
            self._finish(command, response, now)
        elif not command.is_over:
            command.state = "queued"
            self._emit(CommandDeferred(agent_id, command_id, response.code))
            if response.code == "overloaded":
                self._deferred.append((now.mono + OVERLOADED_RETRY_S, agent_id, line.links, command_id))
        self._pump(line, now)

    def _finish(self, command: Command, response: ResponseData, now: Instant) -> None:
        command.response = response
        command.answered_at = now.wall
        command.late = command.is_over
        if not command.late:
            command.state = "succeeded" if response.status == "success" else "failed"
            self._remember_finished(command)
        self._emit(CommandAnswered(command.agent_id, command.command_id, response, command.late))

    def _remember_finished(self, command: Command) -> None:
        self._finished.append((command.tenant_id, command.command_id))
        if len(self._finished) > MAX_FINISHED_COMMANDS:
            del self._commands[self._finished.popleft()]

    def handle_timer(self, now: Instant) -> None:
        """Let commands expire, and send again what was refused as overloaded (CMD-10)."""
        while self._expiries and self._expiries[0][0] <= now.mono:
            _, tenant_id, command_id = heapq.heappop(self._expiries)
            command = self._commands.get((tenant_id, command_id))
            if command is not None and not command.is_over:
                self._expire(command, now)
        while self._deferred and self._deferred[0][0] <= now.mono:
            _, agent_id, links, command_id = self._deferred.popleft()
            line = self._lines[agent_id]
            if line.links == links and line.send is not None:
                line.to_send.append(command_id)
                self._pump(line, now)

    def _expire(self, command: Command, now: Instant) -> None:
        command.state = "expired"
        line = self._lines[command.agent_id]
        del line.pending[command.command_id]
        line.unanswered.discard(command.command_id)
        self._emit(CommandExpired(command.agent_id, command.command_id))
        self._remember_finished(command)
        self._pump(line, now)

    def _pump(self, line: _Line, now: Instant) -> None:
        """Send what the window allows, in order; what is over meanwhile is passed over."""
        while line.send is not None and line.to_send and len(line.unanswered) < self._window:
            command = line.pending.get(line.to_send.popleft())
            if command is None:
                continue
            line.unanswered.add(command.command_id)
            command.state = "sent"
            command.attempts += 1
            line.send(encode("command", command.command_id, command.data, now.wall))
            self._emit(CommandSent(command.agent_id, command.command_id, command.data.command, command.attempts))


def _public_response(response: ResponseData) -> dict[str, Any]:
    if response.status == "success":
        return {"status": "success", "result": response.result}
    return {"status": "error", "code": response.code, "reason": response.reason}
