"""A readable account of events: one line each, and one line for many of a kind that come at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from artcafe_proto import (
    AgentAuthenticated,
    AgentOffline,
    AgentOnline,
    AuthenticationRefused,
    ChallengeIssued,
    CommandAnswered,
    CommandCancelled,
    CommandDeferred,
    CommandExpired,
    CommandReceived,
    CommandRepeated,
    CommandSent,
    HeartbeatReceived,
    MessageReceived,
    Offline,
    Online,
    PeerViolation,
    StatusReceived,
    Stopped,
    TokenReceived,
    UnknownReceived,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto import Event


class Line(NamedTuple):
    """What to say of an event. Lines of one `group` that come at once are told together, by their `item`s."""

    text: str
    style: str = ""
    group: str = ""
    item: str = ""


class Account:
    """Tells events as they come. `write(seconds, who, text, style)` prints a line; `flush` ends a group."""

    def __init__(self, write: Callable[[float, str, str, str], None], clock: Callable[[], float]) -> None:
        self._write = write
        self._clock = clock
        self._begun = clock()
        self._open: dict[tuple[str, str], list[tuple[float, Line]]] = {}

    def tell(self, who: str, event: Event, monotonic: float) -> None:
        """Tell one event of `who`; `monotonic` is the clock that the event's own times are on."""
        line = describe(event, monotonic)
        if line is None:
            return
        seconds = self._clock() - self._begun
        if line.group:
            self._open.setdefault((who, line.group), []).append((seconds, line))
            return
        self.flush()
        self._write(seconds, who, line.text, line.style)

    def flush(self) -> None:
        """Tell what has been held back to be told together."""
        grouped, self._open = self._open, {}
        for (who, group), lines in grouped.items():
            seconds, line = lines[0]
            if len(lines) == 1:
                self._write(seconds, who, line.text, line.style)
            else:
                items = ", ".join(f"{item} x{times}" for item, times in Counter(each.item for _, each in lines).items())
                self._write(seconds, who, f"{len(lines)} {group}: {items}", line.style)


def describe(event: Event, monotonic: float) -> Line | None:
    """The line for an event, None for one that only repeats what another says."""
    return _describe_agent(event, monotonic) or _describe_platform(event)


def _describe_agent(event: Event, monotonic: float) -> Line | None:
    match event:
        case TokenReceived():
            life = "no stated end" if event.life_s is None else f"for {event.life_s:.0f} s"
            return Line(f"token received, {life}", "green")
        case Online():
            return Line("link up, first heartbeat sent", "bold green")
        case Offline():
            follows = "no further attempt" if event.retry_at is None else f"again in {event.retry_at - monotonic:.1f} s"
            return Line(f"offline: {event.reason}; {follows} [{event.clause}]", "bold yellow")
        case CommandCancelled():
            return Line(f"command {short(event.command_id)} cancelled: {event.code} [{event.clause}]", "yellow")
        case PeerViolation():
            return Line(f"the peer broke a rule: {event.reason} [{event.clause}]", "red")
        case UnknownReceived():
            return Line(f"message of unknown type {event.type!r} ignored [MSG-4]", "yellow")
        case MessageReceived():
            return Line(f"message {short(event.message_id)} received", "cyan")
        case Stopped():
            left = f", {len(event.unsettled)} responses unsent" if event.unsettled else ""
            return Line(f"stopped{left}", "bold")
        case CommandReceived():
            return Line(f"command received: {event.command}", "cyan", "commands received", event.command)
        case _:
            return None


def _describe_platform(event: Event) -> Line | None:
    match event:
        case ChallengeIssued():
            return Line(f"{event.agent_id} asked for a challenge", "dim")
        case AgentAuthenticated():
            return Line(f"{event.agent_id} signed it ({event.algorithm}): right, a token is issued", "green")
        case AuthenticationRefused():
            return Line(f"{event.agent_id} refused: {event.reason} [{event.clause}]", "red")
        case AgentOnline():
            return Line(f"{event.agent_id} is online, connection {event.epoch}", "bold green")
        case AgentOffline():
            return Line(f"{event.agent_id} is offline: {event.reason}", "bold yellow")
        case HeartbeatReceived(data=data):
            text = f"heartbeat of {event.agent_id}: {data.status}, cpu {data.cpu_usage:.1f} %, {data.memory_usage:.0f} MiB"
            return Line(text, "magenta")
        case StatusReceived():
            progress = "" if event.current_task is None else f", {short(event.current_task)} at {event.progress:.0f} %"
            return Line(f"status of {event.agent_id}: {event.status}{progress}", "magenta")
        case CommandSent():
            again = f" again ({event.attempt})" if event.attempt > 1 else ""
            return Line(f"sent {event.command}{again}", "", "commands sent", f"{event.command}{again}")
        case CommandDeferred():
            return Line(f"{event.agent_id} did not start {short(event.command_id)}: {event.code}", "yellow")
        case CommandAnswered(response=response):
            outcome = "success" if response.status == "success" else f"error {response.code}"
            return Line(f"answered: {outcome}", "blue", "answers", outcome)
        case CommandRepeated():
            return Line("a repeated response was dropped", "dim", "repeated responses dropped", "response")
        case CommandExpired():
            return Line(f"command {short(event.command_id)} expired", "red")
        case _:
            return None


def short(identifier: str) -> str:
    """An id cut to a readable length."""
    return identifier if len(identifier) <= 12 else f"{identifier[:12]}…"
