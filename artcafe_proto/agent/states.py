"""The states of an agent, and every transition between them.

An agent shows two states at once, as an h11 connection does. *Authentication* is the way to a token; *link* is the
WebSocket. They meet in few places only: a link opens when a token is ready, and losing one does not touch the other
(TOK-6). So they are two tables, and what follows from both is one function, `JointRules.apply`, which runs until
nothing changes any more. A renewal (TOK-2) runs the table of authentication once more beside the first: its end is
`TAKEN` there and `RENEWED` here. *Dialing* and *life* are inside: how each gets a connection, and from when to when all
of it goes on.

Each state and input that is no transition is a refusal, with a name. It is a defect of the machine, never of the peer:
`Region.fire` raises AssertionError. Peers cannot reach that, because the machine drops every input whose connection,
exchange or request is not the current one (LINK-9).
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from artcafe_proto.regions import Table

__all__ = ["AgentState", "AuthState", "LinkState"]


class AuthState(Enum):
    """Authentication: the way to a token (AUTH)."""

    NONE = "none"
    CHALLENGING = "challenging"
    SIGNING = "signing"
    VERIFYING = "verifying"
    READY = "ready"


class AuthInput(Enum):
    """What moves authentication."""

    BEGIN = "begin"
    CHALLENGED = "challenged"
    SIGNED = "signed"
    GRANTED = "granted"
    FAILED = "failed"
    REJECTED = "rejected"
    TAKEN = "taken"
    RENEWED = "renewed"


class LinkState(Enum):
    """The link: the WebSocket and the way to it (LINK)."""

    DOWN = "down"
    OPENING = "opening"
    UP = "up"
    DRAINING = "draining"
    CLOSING = "closing"


class LinkInput(Enum):
    """What moves the link."""

    OPEN = "open"
    UPGRADED = "upgraded"
    DRAIN = "drain"
    CLOSE = "close"
    LOST = "lost"


AUTHENTICATION: Final = Table(
    initial=AuthState.NONE,
    transitions={
        (AuthState.NONE, AuthInput.BEGIN): AuthState.CHALLENGING,
        (AuthState.CHALLENGING, AuthInput.CHALLENGED): AuthState.SIGNING,
        (AuthState.CHALLENGING, AuthInput.FAILED): AuthState.NONE,
        (AuthState.SIGNING, AuthInput.SIGNED): AuthState.VERIFYING,
        (AuthState.SIGNING, AuthInput.FAILED): AuthState.NONE,
        (AuthState.VERIFYING, AuthInput.GRANTED): AuthState.READY,
        (AuthState.VERIFYING, AuthInput.FAILED): AuthState.NONE,
        (AuthState.READY, AuthInput.REJECTED): AuthState.NONE,
        (AuthState.READY, AuthInput.TAKEN): AuthState.NONE,
        (AuthState.READY, AuthInput.RENEWED): AuthState.READY,
        (AuthState.NONE, AuthInput.RENEWED): AuthState.READY,
    },
    refusals={
        AuthInput.BEGIN: "a login is under way, or its token is there",
        AuthInput.CHALLENGED: "no challenge was asked for",
        AuthInput.SIGNED: "no signature was asked for",
        AuthInput.GRANTED: "no verdict was asked for",
        AuthInput.FAILED: "no login is under way",
        AuthInput.REJECTED: "there is no token",
        AuthInput.TAKEN: "there is no token",
        AuthInput.RENEWED: "a login of its own is under way",
    },
)

LINK: Final = Table(
    initial=LinkState.DOWN,
    transitions={
        (LinkState.DOWN, LinkInput.OPEN): LinkState.OPENING,
        (LinkState.OPENING, LinkInput.UPGRADED): LinkState.UP,
        (LinkState.OPENING, LinkInput.LOST): LinkState.DOWN,
        (LinkState.UP, LinkInput.DRAIN): LinkState.DRAINING,
        (LinkState.UP, LinkInput.LOST): LinkState.DOWN,
        (LinkState.DRAINING, LinkInput.CLOSE): LinkState.CLOSING,
        (LinkState.DRAINING, LinkInput.LOST): LinkState.DOWN,
        (LinkState.CLOSING, LinkInput.LOST): LinkState.DOWN,
    },
    refusals={
        LinkInput.OPEN: "there is one link at most (LINK-9)",
        LinkInput.UPGRADED: "no link is being opened",
        LinkInput.DRAIN: "the link is not up, or drains already",
        LinkInput.CLOSE: "only a link that drains is closed by the agent itself (STAT-3)",
        LinkInput.LOST: "there is no link",
    },
)


class DialState(Enum):
    """A dialer's connection and the exchange on it (LINK-1, LINK-2)."""

    NONE = "none"
    CONNECTING = "connecting"
    OPEN = "open"
    EXCHANGING = "exchanging"


class DialInput(Enum):
    """What moves a dialer."""

    DIAL = "dial"
    CONNECTED = "connected"
    ASK = "ask"
    ANSWERED = "answered"
    GONE = "gone"


DIALING: Final = Table(
    initial=DialState.NONE,
    transitions={
        (DialState.NONE, DialInput.DIAL): DialState.CONNECTING,
        (DialState.CONNECTING, DialInput.CONNECTED): DialState.OPEN,
        (DialState.OPEN, DialInput.ASK): DialState.EXCHANGING,
        (DialState.EXCHANGING, DialInput.ANSWERED): DialState.OPEN,
        # It ended, was dropped, or has become a link.
        (DialState.CONNECTING, DialInput.GONE): DialState.NONE,
        (DialState.OPEN, DialInput.GONE): DialState.NONE,
        (DialState.EXCHANGING, DialInput.GONE): DialState.NONE,
    },
    refusals={
        DialInput.DIAL: "a dialer has one connection at most",
        DialInput.CONNECTED: "no connection was asked for",
        DialInput.ASK: "a request goes out on an open connection, and after the answer to the one before",
        DialInput.ANSWERED: "nothing was asked",
        DialInput.GONE: "there is no connection",
    },
)


class Life(Enum):
    """From `start` to `Stopped`: as the application wants it, or until the agent gives up (CMD-8, LINK-10, LINK-6)."""

    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class LifeInput(Enum):
    """What moves an agent's life."""

    START = "start"
    DRAIN = "drain"
    END = "end"


LIFE: Final = Table(
    initial=Life.NEW,
    transitions={
        (Life.NEW, LifeInput.START): Life.RUNNING,
        (Life.NEW, LifeInput.END): Life.STOPPED,
        (Life.RUNNING, LifeInput.DRAIN): Life.STOPPING,
        (Life.RUNNING, LifeInput.END): Life.STOPPED,
        (Life.STOPPING, LifeInput.END): Life.STOPPED,
    },
    refusals={
        LifeInput.START: "an agent starts once",
        LifeInput.DRAIN: "only an agent that runs drains, and once",
        LifeInput.END: "an agent ends once",
    },
)


class AgentState(NamedTuple):
    """The states of authentication and of the link."""

    auth: AuthState
    link: LinkState
