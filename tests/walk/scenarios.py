"""What a walk is given to walk through: settings, and how much of everything may happen."""

from __future__ import annotations

from typing import Any, Final

import msgspec

ALL_FAULTS: Final = frozenset(
    {
        "refuse",  # a connection cannot be opened
        "reset",  # a connection breaks: both sides learn it, or one alone
        "silence",  # a connection passes nothing on any more, or one way only, and nobody is told
        "half",  # a timer fires while half of a message has come
        "slow",  # a timer fires while something is on its way
        "late",  # both processes are held up for a while
        "clock",  # the wall clock is set
        "sign",  # the signer refuses
        "answer",  # the platform answers a request otherwise than it should
        "close",  # the platform closes a link, for no reason of ours
        "pause",  # a transport is full for a while
        "revoke",  # the key is revoked; another registration of it is made at once
        "restart",  # the platform forgets its links and its commands; the tenant asks for those again
        "handler",  # a handler fails
    }
)


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One walk."""

    name: str
    commands: int = 0
    """How many commands the tenant may send."""
    calls: int = 0
    """How often the application may ask for the agent's details."""
    faults: frozenset[str] = frozenset()
    """Of these kinds, one may happen on each path."""
    listeners: int = 0
    """How many event streams the tenant may open, one after another."""
    messages: int = 0
    """How many messages the application may send."""
    statuses: tuple[str, ...] = ()
    """Which statuses the application may declare, each once."""
    pongs: bool = True
    """Whether the platform answers pings (CMD-3)."""
    stops: tuple[str, ...] = ()
    """In which ways the agent may be stopped, each once: "drain", "at once"."""
    waits: bool = True
    """Whether every timer is waited for wherever nothing is on its way; else the earliest one alone."""
    agent: dict[str, Any] = {}
    platform: dict[str, Any] = {}


_CROWDED: Final = {"max_concurrent": 1, "max_queued": 0}
"""Of two commands one is given back as `overloaded`."""
_IN_LINE: Final = {"max_concurrent": 1}
"""Of two commands one waits, and is given back by a drain."""
_SHORT_TOKENS: Final = {"token_life": 100.0}
"""A link sees renewals."""
_ONE_BY_ONE: Final = {"window": 1}
"""A command waits in the hub until the one before it is answered."""

QUICK: Final = (
    Scenario(name="a link", faults=ALL_FAULTS),
    Scenario(name="a command that expires", commands=1),
    Scenario(name="a call", calls=1, faults=frozenset({"answer"})),
    Scenario(name="a stop", commands=1, stops=("drain", "at once"), faults=frozenset({"silence"}), waits=False),
    Scenario(name="a crowded agent", commands=2, agent=_CROWDED, waits=False),
    Scenario(name="messages", messages=2, faults=frozenset({"reset", "pause"}), waits=False),
    Scenario(name="a declared status", commands=1, statuses=("error",), faults=frozenset({"reset"}), waits=False),
    Scenario(name="no pongs", messages=1, pongs=False, faults=frozenset({"silence"}), waits=False),
    Scenario(name="a response that costs its link", commands=1, faults=frozenset({"close"}), waits=False),
    Scenario(name="an event stream", listeners=1, waits=False),
    Scenario(
        name="a platform that forgets", commands=2, faults=frozenset({"restart"}), platform=_ONE_BY_ONE, waits=False
    ),
)
"""Every row of every table."""

THOROUGH: Final = (
    Scenario(name="renewals", faults=ALL_FAULTS, platform=_SHORT_TOKENS),
    Scenario(name="a call", calls=1, faults=ALL_FAULTS),
    Scenario(name="stops", stops=("drain", "at once"), faults=ALL_FAULTS),
    Scenario(name="a command and a drain", commands=1, stops=("drain",), faults=ALL_FAULTS),
    Scenario(name="two commands", commands=2, faults=frozenset({"reset"})),
    Scenario(name="messages and a drain", messages=2, stops=("drain",), faults=ALL_FAULTS, waits=False),
    Scenario(name="declared statuses", commands=1, statuses=("error", "online"), faults=ALL_FAULTS, waits=False),
    Scenario(name="no pongs", commands=1, messages=1, pongs=False, stops=("drain",), faults=ALL_FAULTS, waits=False),
    Scenario(name="two commands and a drain", commands=2, stops=("drain",), agent=_IN_LINE),
    Scenario(name="a crowded agent", commands=2, agent=_CROWDED),
    Scenario(name="one by one", commands=2, faults=frozenset({"restart"}), platform=_ONE_BY_ONE),
    Scenario(name="an event stream", listeners=1, waits=False),
)
"""Each grows with every kind of thing that may happen in it, so not all happen in all: this is some minutes."""
