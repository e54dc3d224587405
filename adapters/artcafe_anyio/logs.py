"""One log line for each event that reports a decision. No event holds a secret, so no line does (TOK-4)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from artcafe_proto import (
    AgentIdContested,
    CallAnswered,
    CallFailed,
    CommandCancelled,
    CommandReceived,
    MessageReceived,
    MessageSettled,
    Offline,
    Online,
    PeerViolation,
    RenewalFailed,
    Stopped,
    TokenReceived,
    TokenRenewed,
    Undeliverable,
    UnknownReceived,
)

if TYPE_CHECKING:
    from artcafe_proto import AgentEvent

logger = logging.getLogger("artcafe.agent")


def log_event(agent_id: str, event: AgentEvent, mono: float) -> None:
    """Log an event of an agent; `mono` is the monotonic time of it."""
    level, text = describe(event, mono)
    logger.log(level, "%s: %s", agent_id, text)


def describe(event: AgentEvent, mono: float) -> tuple[int, str]:
    """The level and the text of an event's line; `mono` is the monotonic time of it."""
    match event:
        case TokenReceived():
            life = "its end unknown" if event.life_s is None else f"usable for {event.life_s:.0f} s"
            return logging.INFO, f"token received, {life}"
        case TokenRenewed():
            life = "its end unknown" if event.life_s is None else f"usable for {event.life_s:.0f} s"
            return logging.INFO, f"token renewed, {life}"
        case RenewalFailed():
            again = f"again in {event.retry_at - mono:.1f} s"
            return logging.WARNING, f"token not renewed: {event.reason} [{event.clause}]; {again}"
        case CallAnswered():
            return logging.DEBUG, f"call {event.call} answered"
        case CallFailed():
            return logging.WARNING, f"call {event.call} failed: {event.reason} [{event.clause}]"
        case Online():
            return logging.INFO, "online"
        case Offline():
            again = "" if event.retry_at is None else f"; again in {event.retry_at - mono:.1f} s"
            return logging.WARNING, f"offline: {event.reason} [{event.clause}]{again}"
        case AgentIdContested():
            text = f"replaced {event.times} times in a row: another process seems to use this agent id [{event.clause}]"
            return logging.ERROR, text
        case CommandReceived():
            return logging.DEBUG, f"command {event.command_id!r} received: {event.command!r}"
        case CommandCancelled():
            return logging.WARNING, f"command {event.command_id!r} cancelled: {event.code} [{event.clause}]"
        case MessageReceived():
            return logging.DEBUG, f"message {event.message_id!r} received"
        case MessageSettled():
            return logging.DEBUG, f"message {event.message_id!r} settled"
        case Undeliverable():
            of = "" if event.command_id is None else f", the response to {event.command_id!r},"
            return logging.ERROR, f"message {event.message_id!r}{of} dropped: it cost every link [{event.clause}]"
        case UnknownReceived():
            return logging.INFO, f"message {event.message_id!r} of unknown type {event.type!r} ignored [MSG-4]"
        case PeerViolation():
            return logging.WARNING, f"the platform broke a rule: {event.reason} [{event.clause}]"
        case Stopped(unsettled=()):
            return logging.INFO, "stopped"
        case Stopped():
            return logging.WARNING, f"stopped with responses unsent [CMD-8]: {', '.join(map(repr, event.unsettled))}"
