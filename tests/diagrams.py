"""Draws `docs/states.md` from the transition tables: `.venv/bin/python tests/diagrams.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from artcafe_proto.agent.states import AUTHENTICATION, DIALING, LIFE, LINK
from artcafe_proto.platform.states import ANSWER, COMMAND, SESSION
from artcafe_proto.policies.ledger import ENTRY

if TYPE_CHECKING:
    from enum import Enum

    from artcafe_proto.regions import Table

PAGE = Path(__file__).parents[1] / "docs" / "states.md"

_INTRODUCTION = """\
# The states

These tables say how an agent, the platform's end of a connection, and a command get on: the code moves their states by
them only, and this page is drawn from them (`.venv/bin/python tests/diagrams.py`; a test fails if it differs).
What a diagram does not show is refused: below it is why, for each input in all states in which it has no arrow. A
refusal is an error of the program, which no peer can cause.
"""

_REGIONS: dict[str, tuple[str, Table[Any, Any]]] = {
    "An agent's life": (
        "From `start` to the event `Stopped`. After `drain`, running commands end and responses are settled first\n"
        "(CMD-8); `end` comes in any state (LINK-10), also from an agent that gives up (LINK-6).",
        LIFE,
    ),
    "An agent's authentication": (
        "The way to a token: a challenge, its signature, the verdict (AUTH-1 to AUTH-7). A renewal (TOK-2) is a\n"
        "second login beside the first: its end is `taken` there and `renewed` here.",
        AUTHENTICATION,
    ),
    "An agent's link": (
        "The WebSocket and the way to it (LINK-1, LINK-9). It opens when authentication is ready, and losing it does\n"
        "not touch the token (TOK-3); only a drain ends it from this side in good order (CMD-8, STAT-3).",
        LINK,
    ),
    "An agent's dialer": (
        "One connection and one exchange on it (LINK-1, LINK-2). There are three: for the login and the link after\n"
        "it, for renewals, and for calls. A connection that has become a link is `gone` from its dialer.",
        DIALING,
    ),
    "A command in an agent": (
        "What the ledger remembers of a command id (CMD-1, CMD-2), from its acceptance on. A response that costs\n"
        "every link is taken back, once, and another takes its place (CMD-11).",
        ENTRY,
    ),
    "A platform's connection": (
        "Every accepted connection begins with HTTP, and may become an agent's link. `close` is the platform's own\n"
        "closing handshake, from which on the agent counts as offline (PLAT-6).",
        SESSION,
    ),
    "An answer of the platform": (
        "To the request that is under way on a connection. It `begin`s where its body follows in pieces.",
        ANSWER,
    ),
    "A command in the hub": (
        "What tenants see (PLAT-4, CMD-10). A lost link moves no command: it stays `sent`, and is sent again on the\n"
        "next link. `defer` is the agent's answer that it has not started it (CMD-9); a response after the expiry is\n"
        "kept, and changes no state.",
        COMMAND,
    ),
}


def diagram(table: Table[Any, Any]) -> str:
    """One table as Mermaid: an arrow for each pair of states, with all inputs that lead along it."""
    start: Enum = table.initial
    arrows: dict[tuple[Enum, Enum], list[str]] = {}
    for (state, cause), following in table.transitions.items():
        arrows.setdefault((state, following), []).append(cause.value)
    lines = [
        f"    {source.value} --> {target.value}: {', '.join(causes)}" for (source, target), causes in arrows.items()
    ]
    sources = {source for source, _ in arrows}
    ends = [f"    {state.value} --> [*]" for state in type(start) if state not in sources]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {start.value}", *lines, *ends, "```"])


def page() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for title, (prose, table) in _REGIONS.items():
        refusals = "\n".join(f"- `{cause.value}`: {reason}" for cause, reason in table.refusals.items())
        parts.append(f"## {title}\n\n{prose}\n\n{diagram(table)}\n\nRefused otherwise:\n\n{refusals}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
