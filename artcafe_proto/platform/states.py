"""The states of the platform's side, and every transition between them: a session's, its answers', and a command's.

As in `artcafe_proto/agent/states.py`, what is not a transition is a refusal with a name. Nothing that an agent or a
tenant sends reaches one: session and hub look at the state first, and report what comes too late or twice.
"""

from __future__ import annotations

from enum import Enum, StrEnum
from typing import Final

from artcafe_proto.regions import Table


class SessionState(Enum):
    """The life of an accepted connection."""

    HTTP = "http"
    UP = "up"
    CLOSING = "closing"
    CLOSED = "closed"


class SessionInput(Enum):
    """What moves a session."""

    UPGRADED = "upgraded"
    CLOSE = "close"
    ENDED = "ended"


SESSION: Final = Table(
    initial=SessionState.HTTP,
    transitions={
        (SessionState.HTTP, SessionInput.UPGRADED): SessionState.UP,
        (SessionState.HTTP, SessionInput.ENDED): SessionState.CLOSED,
        (SessionState.UP, SessionInput.CLOSE): SessionState.CLOSING,
        (SessionState.UP, SessionInput.ENDED): SessionState.CLOSED,
        (SessionState.CLOSING, SessionInput.ENDED): SessionState.CLOSED,
    },
    refusals={
        SessionInput.UPGRADED: "a connection becomes a link once, while it is open",
        SessionInput.CLOSE: "there is no link to close, or it closes already",
        SessionInput.ENDED: "a connection ends once",
    },
)


class AnswerState(Enum):
    """The answer to a request on a connection: one after the other (RFC 9112 section 9.3.2)."""

    NONE = "none"
    AWAITED = "awaited"
    BEGUN = "begun"


class AnswerInput(Enum):
    """What moves it."""

    REQUEST = "request"
    BEGIN = "begin"
    END = "end"


ANSWER: Final = Table(
    initial=AnswerState.NONE,
    transitions={
        (AnswerState.NONE, AnswerInput.REQUEST): AnswerState.AWAITED,
        (AnswerState.AWAITED, AnswerInput.BEGIN): AnswerState.BEGUN,
        (AnswerState.AWAITED, AnswerInput.END): AnswerState.NONE,
        (AnswerState.BEGUN, AnswerInput.END): AnswerState.NONE,
    },
    refusals={
        AnswerInput.REQUEST: "the answer to the request before has not ended",
        AnswerInput.BEGIN: "an answer begins once, to a request",
        AnswerInput.END: "there is no answer to end",
    },
)


class CommandState(StrEnum):
    """The life of a command in the hub, as tenants see it (PLAT-4)."""

    QUEUED = "queued"
    SENT = "sent"
    """It went out; once its link has ended it goes out again on the next, and stays `sent` meanwhile."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"


class CommandInput(Enum):
    """What moves a command."""

    SEND = "send"
    DEFER = "defer"
    """The agent has not started it: it is overloaded, or drains (CMD-9)."""
    SUCCEED = "succeed"
    FAIL = "fail"
    EXPIRE = "expire"


COMMAND: Final = Table(
    initial=CommandState.QUEUED,
    transitions={
        (CommandState.QUEUED, CommandInput.SEND): CommandState.SENT,
        (CommandState.SENT, CommandInput.SEND): CommandState.SENT,
        (CommandState.SENT, CommandInput.DEFER): CommandState.QUEUED,
        # From an agent that has had the command from an earlier life of this platform.
        (CommandState.QUEUED, CommandInput.SUCCEED): CommandState.SUCCEEDED,
        (CommandState.QUEUED, CommandInput.FAIL): CommandState.FAILED,
        (CommandState.SENT, CommandInput.SUCCEED): CommandState.SUCCEEDED,
        (CommandState.SENT, CommandInput.FAIL): CommandState.FAILED,
        (CommandState.QUEUED, CommandInput.EXPIRE): CommandState.EXPIRED,
        (CommandState.SENT, CommandInput.EXPIRE): CommandState.EXPIRED,
        # A late response is stored and changes no state (CMD-10).
        (CommandState.EXPIRED, CommandInput.SUCCEED): CommandState.EXPIRED,
        (CommandState.EXPIRED, CommandInput.FAIL): CommandState.EXPIRED,
    },
    refusals={
        CommandInput.SEND: "what is over is not sent",
        CommandInput.DEFER: "only what was sent can be given back",
        CommandInput.SUCCEED: "the first final response counts",
        CommandInput.FAIL: "the first final response counts",
        CommandInput.EXPIRE: "it is over already",
    },
)

OVER: Final = frozenset({CommandState.SUCCEEDED, CommandState.FAILED, CommandState.EXPIRED})
"""The states of a command that change no more."""
