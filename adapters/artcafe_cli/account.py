"""A readable account of events: one line each, and one line for many of a kind that come at once."""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

from artcafe_anyio import logs
from artcafe_anyio.clocks import monotonic
from artcafe_proto.events import (
    AgentAuthenticated,
    AgentEvent,
    AgentOffline,
    AgentOnline,
    AuthenticationRefused,
    ChallengeIssued,
    CommandAccepted,
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    CommandSent,
    HeartbeatReceived,
    MessageReceived,
    PeerViolation,
    RequestArrived,
    RequestFailed,
    StatusReceived,
    StoreRecovered,
    StoreStalled,
    UnknownReceived,
)
from artcafe_proto.readable import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.events import Event, HubEvent

_STYLES: Final = {logging.INFO: "bold green", logging.WARNING: "bold yellow", logging.ERROR: "bold red"}


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
        self._write(seconds, who, one_line(line.text), line.style)

    def flush(self) -> None:
        """Tell what has been held back to be told together."""
        grouped, self._open = self._open, {}
        for (who, group), lines in grouped.items():
            seconds, line = lines[0]
            if len(lines) == 1:
                self._write(seconds, who, one_line(line.text), line.style)
            else:
                items = ", ".join(f"{item} x{times}" for item, times in Counter(each.item for _, each in lines).items())
                self._write(seconds, who, one_line(f"{len(lines)} {group}: {items}"), line.style)


def describe(event: Event, now: float) -> Line | None:
    """The line for an event at `now`, monotonic seconds; None for one that is not told."""
    if not isinstance(event, AgentEvent) or isinstance(event, StoreStalled | StoreRecovered):  # of either's store
        return _describe_platform(event)
    if isinstance(event, MessageReceived | UnknownReceived | PeerViolation) and event.agent_id:  # also a platform's
        return _describe_platform(event)
    level, text = logs.describe(event, now)
    return None if level == logging.DEBUG else Line(text, _STYLES[level])


def _describe_platform(event: HubEvent | RequestArrived) -> Line | None:
    match event:
        case ChallengeIssued():
            return Line(f"{event.agent_id} asked for a challenge", "dim")
        case AgentAuthenticated():
            return Line(f"{event.agent_id} signed it ({event.algorithm}): correct, a token is issued", "green")
        case AuthenticationRefused():
            return Line(f"{event.agent_id} refused: {event.reason} [{event.clause}]", "red")
        case AgentOnline():
            return Line(f"{event.agent_id} is online, link {event.epoch}", "bold green")
        case AgentOffline():
            return Line(f"{event.agent_id} is offline: {event.reason}", "bold yellow")
        case HeartbeatReceived(data=data):
            load = f"cpu {data.cpu_usage:.1f} %, {data.memory_usage:.0f} MiB"
            return Line(f"heartbeat from {event.agent_id}: {data.status}, {load}", "magenta")
        case StatusReceived():
            task = "" if event.current_task is None else f", {short(event.current_task)}"
            progress = "" if event.progress is None else f" at {event.progress:.0f} %"
            return Line(f"status of {event.agent_id}: {event.status}{task}{progress}", "magenta")
        case CommandAccepted():
            return Line(f"command {short(event.command_id)} for {event.agent_id} is stored", "dim")
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
            return Line(f"{event.agent_id} answered: {outcome}", "blue", f"answers from {event.agent_id}", outcome)
        case CommandRepeated():
            text = f"a repeated response from {event.agent_id} was dropped"
            return Line(text, "dim", f"repeated responses from {event.agent_id} dropped", "response")
        case CommandExpired():
            return Line(f"command {short(event.command_id)} expired", "red")
        case MessageReceived():
            return Line(f"message {short(event.message_id)} from {event.agent_id}", "cyan")
        case UnknownReceived():
            return Line(f"message of unknown type {event.type!r} from {event.agent_id} ignored [MSG-4]", "yellow")
        case StoreStalled():
            return Line(f"the store is {event.cause}: new work is refused until it stores again", "bold red")
        case StoreRecovered():
            return Line(f"the store works again, after {event.after_s:.0f} s", "green")
        case PeerViolation():
            return Line(f"{event.agent_id} broke a rule: {event.reason} [{event.clause}]", "red")
        case RequestFailed():
            return Line(f"a {event.method} request failed: {type(event.error).__name__}", "red")
        case RequestArrived():
            return None


def short(identifier: str) -> str:
    """An id cut to a readable length."""
    return identifier if len(identifier) <= 12 else f"{identifier[:12]}…"
