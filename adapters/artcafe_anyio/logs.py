"""One log line for each event: what happened, by which clause, and what comes next. No event holds a secret (TOK-4).

Levels: DEBUG for what every command and message brings with it, INFO for the life of the agent and for what a caller
got wrong, WARNING for what went wrong, ERROR for what somebody has to look at.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING, Final

from artcafe_anyio.log_records import exc_info_of, readable_record
from artcafe_proto.events import (
    AgentIdContested,
    CallAnswered,
    CallFailed,
    ClocksParted,
    CommandCancelled,
    CommandInterrupted,
    CommandReceived,
    CommandRefused,
    Draining,
    ExchangeRepeated,
    KeyChanged,
    LinkClosing,
    MessageReceived,
    MessageSettled,
    Offline,
    Online,
    PeerViolation,
    RenewalFailed,
    RenewalStarted,
    RepeatReceived,
    ResponseReplaced,
    ResponsesSettled,
    Stopped,
    StoreRecovered,
    StoreStalled,
    TokenReceived,
    TokenRenewed,
    Undeliverable,
    UnknownReceived,
)
from artcafe_proto.readable import one_line
from artcafe_proto.refusals import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artcafe_proto.events import AgentEvent

logger: Final = logging.getLogger("artcafe.agent")
logger.addFilter(readable_record)

MAX_COUNTED: Final = 64
"""Different texts whose repeats are counted; what comes beyond is counted by kind."""
_REPEATED: Final = (PeerViolation, UnknownReceived)
"""Each message of a peer's can cause one of these."""

MAX_TYPE_CHARS: Final = 64
"""Shown of a type that nobody knows."""
MAX_LISTED: Final = 10
"""Ids named in one line; of more, only the number is told."""
_UNSETTLED: Final = "not settled:"
_OF_EVERY_COMMAND: Final = frozenset({CommandReceived, ResponsesSettled, MessageReceived, MessageSettled})


class AgentLog:
    """The log of one agent: its id stands before every line."""

    def __init__(self, agent_id: str) -> None:
        self._agent_id = agent_id
        self._times: Counter[str] = Counter()

    @property
    def is_verbose(self) -> bool:
        """Whether a line is written for what every command brings with it."""
        return logger.isEnabledFor(logging.DEBUG)

    def line(self, level: int, text: str, error: BaseException | None = None) -> None:
        """Log one line, and the traceback of `error` if there is one."""
        logger.log(level, "%s: %s", self._agent_id, text, exc_info=exc_info_of(error), stacklevel=2)

    def event(self, event: AgentEvent, mono: float) -> None:
        """Log an event; `mono` is the monotonic time of it."""
        if type(event) in _OF_EVERY_COMMAND and not self.is_verbose:
            return
        level, text = describe(event, mono)
        if isinstance(event, _REPEATED):
            self.repeated(level, text, type(event).__name__)
        else:
            logger.log(level, "%s: %s", self._agent_id, text)

    def repeated(self, level: int, text: str, kind: str) -> None:
        """Log what may come any number of times: the first of those that say the same, and then each tenth, hundredth
        and so on with their number. Of many different ones of a `kind`, the later ones are counted together.
        """
        key = text if text in self._times or len(self._times) < MAX_COUNTED else kind
        self._times[key] += 1
        times = self._times[key]
        if times == 1:
            logger.log(level, "%s: %s", self._agent_id, text)
        elif times == 10 ** (len(str(times)) - 1):
            what = "the same" if key == text else "one of this kind"
            logger.log(level, "%s: %s; %s for the %dth time", self._agent_id, text, what, times)


def describe(event: AgentEvent, mono: float) -> tuple[int, str]:
    """The level and the text of an event's line; `mono` is the monotonic time of it."""
    level, text = _describe(event, mono)
    return level, one_line(text)


def _describe(event: AgentEvent, mono: float) -> tuple[int, str]:
    match event:
        case TokenReceived():
            return logging.INFO, f"token received, {_life(event.life_s, event.renew_at, mono)}"
        case RenewalStarted():
            return logging.DEBUG, f"fetching the next token: {event.reason} [{event.clause}]"
        case TokenRenewed():
            return logging.INFO, f"token renewed, {_life(event.life_s, event.renew_at, mono)} [{event.clause}]"
        case RenewalFailed():
            next_attempt = _next_attempt(event.retry_at, mono)
            return logging.WARNING, f"token not renewed: {event.reason} [{event.clause}]; {next_attempt}"
        case KeyChanged():
            which = "first" if event.key == 0 else "second"
            return logging.WARNING, f"key refused: {event.reason} [{event.clause}]; the {which} key is next"
        case CallAnswered():
            return logging.DEBUG, f"call {event.call} answered"
        case CallFailed():
            return logging.WARNING, f"call {event.call} failed: {event.reason} [{event.clause}]"
        case Online():
            return logging.INFO, "online"
        case Offline():
            waiting = f"; {_UNSETTLED} {event.unsettled}" if event.unsettled else ""
            next_attempt = _next_attempt(event.retry_at, mono)
            return logging.WARNING, f"offline: {event.reason} [{event.clause}]{waiting}; {next_attempt}"
        case ExchangeRepeated():
            then = f"the {event.exchange} request is repeated"
            if event.exchange == "verify":
                then = "authentication starts over"
            text = f"the platform had closed the connection while it was idle: {then} at once [{event.clause}]"
            return logging.INFO, text
        case ClocksParted():
            slept = f"the clocks diverged by {event.drift_s:+.1f} s, by sleep or by being set"
            return logging.INFO, f"{slept}: link and token are checked at once [{event.clause}]"
        case AgentIdContested():
            times = "" if event.times == 1 else f", {event.times} times in a row now"
            text = f"another process uses this agent id{times}: {event.reason} [{event.clause}]"
            return logging.ERROR, text
        case PeerViolation():
            return logging.WARNING, f"the platform broke a rule: {event.reason} [{event.clause}]"
        case UnknownReceived():
            return (
                logging.INFO,
                f"a message of the unknown type '{shown(event.type, MAX_TYPE_CHARS)}' is ignored [MSG-4]",
            )
        case MessageReceived():
            return logging.DEBUG, f"message {event.message_id!r} received"
        case MessageSettled():
            return logging.DEBUG, f"message {event.message_id!r} settled"
        case StoreStalled():
            why = {"full": "it is full", "unavailable": "it cannot be written", "slow": "it is slow"}[event.cause]
            return logging.ERROR, f"the journal takes nothing, {why}: commands and messages are refused [CMD-1]"
        case StoreRecovered():
            return logging.WARNING, f"the journal takes everything again, after {event.after_s:.1f} s [CMD-1]"
        case Draining():
            left = f"running commands: {event.running}, {_UNSETTLED} {event.unsettled}"
            return logging.INFO, f"draining: {left}; at most {event.deadline - mono:.1f} s [{event.clause}]"
        case LinkClosing():
            answer_s = event.deadline - mono
            what = f"closing the link with {event.code}, {event.reason}"
            return logging.DEBUG, f"{what}; at most {answer_s:.1f} s [{event.clause}]"
        case Stopped():
            return _describe_end(event)
        case _:
            return _describe_command(event)


def _describe_command(
    event: CommandReceived
    | CommandCancelled
    | CommandRefused
    | CommandInterrupted
    | RepeatReceived
    | ResponseReplaced
    | ResponsesSettled
    | Undeliverable,
) -> tuple[int, str]:
    match event:
        case CommandReceived():
            return logging.DEBUG, f"command {event.command_id!r} received: {event.command!r}"
        case CommandCancelled():
            what = f"command {event.command_id!r} ({event.command!r})"
            return logging.WARNING, f"{what} cancelled: {event.code} [{event.clause}]"
        case CommandRefused():
            what = f"command {event.command_id!r} ({event.command!r}) not started"
            text = f"{what}: {event.code}, {event.reason} [{event.clause}]"
            if event.code == "timeout":
                return logging.WARNING, text
            first_level = logging.WARNING if event.code == "overloaded" else logging.INFO
            if event.times > 1:
                return logging.DEBUG, f"{text}; the platform keeps it"
            return first_level, f"{text}; the platform keeps it, and further ones are logged at DEBUG"
        case CommandInterrupted():
            what = f"command {event.command_id!r} ({event.command!r}) was not finished when the last process ended"
            then = "it may run again" if event.may_run_again else "it may have run, and is answered 'interrupted'"
            return logging.WARNING, f"{what}: {then} [{event.clause}]"
        case RepeatReceived(answer=None):
            text = f"command {event.command_id!r} came again: its response is still pending [{event.clause}]"
            return logging.DEBUG, text
        case RepeatReceived(answer="stored"):
            text = f"command {event.command_id!r} came again: its response is sent again [{event.clause}]"
            return logging.DEBUG, text
        case RepeatReceived():
            text = f"command {event.command_id!r} came again: its response is no longer stored [{event.clause}]"
            return logging.WARNING, text
        case ResponseReplaced():
            text = f"the response to {event.command_id!r} replaced by the error {event.code}: {event.reason}"
            return logging.WARNING, f"{text} [{event.clause}]"
        case ResponsesSettled():
            return logging.DEBUG, _listed("responses settled, to", event.command_ids)
        case Undeliverable():
            of = "" if event.command_id is None else f", the response to {event.command_id!r},"
            return logging.ERROR, f"message {event.message_id!r}{of} dropped: each link with it ended [{event.clause}]"


def _describe_end(event: Stopped) -> tuple[int, str]:
    text = "stopped: gave up [LINK-6]" if event.gave_up else "stopped"
    lost = " and ".join(filter(None, (_listed("responses to", event.unsettled), _listed("messages", event.messages))))
    if lost:
        text = f"{text}, and the platform may not have {lost} [CMD-8]"
    if event.gave_up:
        return logging.ERROR, text
    return (logging.WARNING if lost else logging.INFO), text


def _listed(what: str, ids: Sequence[str]) -> str:
    if not ids:
        return ""
    more = f" … {len(ids)} in all" if len(ids) > MAX_LISTED else ""
    return f"{what} {', '.join(map(repr, ids[:MAX_LISTED]))}{more}"


def _life(life_s: float | None, renew_at: float | None, mono: float) -> str:
    if life_s is None or renew_at is None:
        return "its expiry unknown"
    return f"usable for {life_s:.0f} s, the next one is fetched in {max(renew_at - mono, 0):.0f} s"


def _next_attempt(retry_at: float | None, mono: float) -> str:
    if retry_at is None:
        return "no further attempt"
    wait_s = retry_at - mono
    return f"next attempt in {wait_s:.1f} s" if wait_s > 0 else "next attempt at once"
