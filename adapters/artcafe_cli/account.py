"""A readable account of events: one line each, and one line for many of a kind that come at once."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from artcafe_anyio.clocks import monotonic
from artcafe_proto import (
    AgentAuthenticated,
    AgentIdContested,
    AgentOffline,
    AgentOnline,
    AuthenticationRefused,
    ChallengeIssued,
    CommandAnswered,
    CommandCancelled,
    CommandDeferred,
    CommandExpired,
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

    def __init__(self, write: Callable[[float, str, str, str], None]) -> None:
        self._write = write
        self._begun = monotonic()
        self._open: dict[tuple[str, str], list[tuple[float, Line]]] = {}

    def tell(self, who: str, event: Event) -> None:
        """Tell one event of `who`."""
        now = monotonic()
        line = describe(event, now)
        if line is None:
            return
        seconds = now - self._begun
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


def describe(event: Event, now: float) -> Line | None:
    """The line for an event at `now`, monotonic seconds; None for one that is not told."""
    return _describe_agent(event, now) or _describe_platform(event)


def _describe_agent(event: Event, now: float) -> Line | None:
    match event:
        case TokenReceived():
            life = "no stated end" if event.life_s is None else f"for {event.life_s:.0f} s"
            return Line(f"token received, {life}", "green")
        case Online():
            return Line("link up, first heartbeat sent", "bold green")
        case Offline():
            follows = "no further attempt" if event.retry_at is None else f"again in {event.retry_at - now:.1f} s"
            return Line(f"offline: {event.reason}; {follows} [{event.clause}]", "bold yellow")
        case AgentIdContested():
            text = f"replaced {event.times} times in a row: another process seems to use this agent id [{event.clause}]"
            return Line(text, "bold red")
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
            text = (
                f"heartbeat of {event.agent_id}: {data.status}, cpu {data.cpu_usage:.1f} %, {data.memory_usage:.0f} MiB"
            )
            return Line(text, "magenta")
        case StatusReceived():
            progress = "" if event.current_task is None else f", {short(event.current_task)} at {event.progress:.0f} %"
            return Line(f"status of {event.agent_id}: {event.status}{progress}", "magenta")
        case CommandSent():
            again = f" again ({event.attempt})" if event.attempt > 1 else ""
            return Line(
                f"sent {event.agent_id} the command {event.command}{again}",
                "",
                f"commands sent to {event.agent_id}",
                f"{event.command}{again}",
            )
        case CommandDeferred():
            return Line(f"{event.agent_id} did not start {short(event.command_id)}: {event.code}", "yellow")
        case CommandAnswered(response=response):
            outcome = "success" if response.status == "success" else f"error {response.code}"
            return Line(f"{event.agent_id} answered: {outcome}", "blue", f"answers of {event.agent_id}", outcome)
        case CommandRepeated():
            text = f"a repeated response of {event.agent_id} was dropped"
            return Line(text, "dim", f"repeated responses of {event.agent_id} dropped", "response")
        case CommandExpired():
            return Line(f"command {short(event.command_id)} expired", "red")
        case _:
            return None


def short(identifier: str) -> str:
    """An id cut to a readable length."""
    return identifier if len(identifier) <= 12 else f"{identifier[:12]}…"
