"""The names of all invariants, and how one that does not hold is told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from artcafe_proto.testing.nodes import Stage

__all__ = ["INVARIANTS", "InvariantError"]

INVARIANTS: Final[dict[str, str]] = {
    # links.py
    "one link, up or opening": "LINK-9",
    "nothing but authentication goes out before the link": "AUTH-1",
    "nothing goes out on a connection that is over": "LINK-9",
    "a link begins with a heartbeat": "HB-1",
    "one heartbeat for each point of the grid": "HB-1",
    "heartbeats are no further apart than their interval": "HB-1, HB-2",
    "nothing follows a close frame": "RFC 6455 section 5.5.1",
    "silence is answered with a ping": "LINK-7",
    "silence after a ping ends a link": "LINK-7",
    "only silence ends a link as silent": "LINK-7",
    "a ping is answered with one pong": "RFC 6455 section 5.5.3",
    "a status of its kind goes out once a second": "STAT-2, STAT-4",
    "a rejected token is never sent again": "TOK-3",
    "no secret in any output": "TOK-4",
    "a handled timer is not due any more": "LINK-8",
    # waits.py
    "no attempt before its time": "LINK-3",
    "waits are within their bounds": "LINK-3, LINK-4, LINK-6",
    "each failure waits as its row says": "LINK-3, LINK-4, LINK-5, LINK-6",
    "a stop cuts a wait short": "LINK-10",
    "an agent gives up after so long without a link": "LINK-6",
    "renewals keep their distance": "TOK-2",
    "a token is renewed in its time": "TOK-2",
    # work.py
    "no command is executed twice in one life": "CMD-1",
    "no command starts after its answer": "CMD-4, CMD-8",
    "commands start in the order in which they came": "CMD-5",
    "a timeout is answered in its time": "CMD-4",
    "responses and messages go out in order": "CMD-3",
    "what is settled has left on its link": "CMD-3",
    "what is settled was received": "CMD-3",
    "a message is refused only for want of a place": "CMD-3",
    "who stops tells what the platform lacks": "CMD-8",
    "a drain ends in time": "CMD-8",
    "a call ends once, and in its time": "STAT-2",
    "containers keep to their limits": "CMD-3, CMD-5",
    # platforms.py
    "a challenge yields at most one token": "AUTH-8",
    "one final response for each command": "CMD-3",
    "an answer after the expiry is late": "CMD-10",
    "no more than the window is unanswered": "CMD-10",
    "a command goes out once on a connection": "CMD-10",
    "commands first go out in the order of acceptance": "CMD-10",
    "no command waits while later ones are served": "CMD-10",
    "a link that waits for no store stays": "PLAT-5",
    "AgentOnline and AgentOffline alternate, and epochs rise": "PLAT-6",
    # calls.py
    "every request gets one response, or its connection ends": "RFC 9112 section 9.3",
    "a response has a status of its operation": "PLAT-7",
    "a command is known once it is accepted": "PLAT-4",
    "a command is shown as it is": "PLAT-4",
    "a key that was revoked over HTTP is gone": "TOK-6",
    "a poll ends with its command or its wait": "PLAT-4",
    "an event stream begins with what was missed": "PLAT-4",
    "the ids of an event stream rise one by one": "PLAT-4",
    "silence on an event stream is broken": "PLAT-4",
    # batches.py
    "one batch is under way, the next or again the same": "PLAT-5, CMD-1",
    "batches and what is held keep to their limits": "PLAT-5, CMD-1",
    # stored.py
    "a promise leaves when it is stored": "PLAT-5",
    "a command goes out once it is stored": "PLAT-5",
    "whoever is shown something, it is stored": "PLAT-5",
    "a pong says that responses are stored": "PLAT-5, CMD-3",
    "a connection ends behind its response": "PLAT-5",
    "one final response is ever shown": "PLAT-5, CMD-3",
    "nobody waits for a store for long": "PLAT-5",
    "the twin of what is stored is the platform's own": "PLAT-5",
    "what was promised outlives the process": "PLAT-5",
    # journals.py
    "no command is executed twice in the life of a journal": "CMD-1, CMD-9",
    "a command starts once it is stored": "CMD-1",
    "a response or message leaves once it is stored": "CMD-1, CMD-3",
    "a command is given back once its record is deleted": "CMD-8",
    "what is settled is stored within a minute": "CMD-1",
    "a journal forgets nothing too early": "CMD-1, CMD-3",
    "a journal stalls in its time": "CMD-1",
    "a journal that stalls takes nothing new": "CMD-1, STAT-1",
    "the twin of a journal is the agent's own": "CMD-1",
    # observer.py
    "online again when all is well": "LINK-6",
    "every command answered once": "CMD-3, CMD-10",
}

EPSILON_S: Final = 1e-3
"""What rounding may make of a time, and of two that are one."""


class InvariantError(AssertionError):
    """An invariant did not hold. Says which, the seed to repeat it with, and what happened last."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        """One of INVARIANTS."""


class Checks:
    """Every look at an invariant. `evaluations` counts them by name."""

    def __init__(self, sim: Stage) -> None:
        self._sim = sim
        self.evaluations: Counter[str] = Counter()

    def check(self, name: str, holds: bool, *detail: object) -> None:
        """One look at one invariant. Raises InvariantError."""
        self.evaluations[name] += 1
        if not holds:
            sim = self._sim
            what = f"{name} [{INVARIANTS[name]}]: {' '.join(map(str, detail))}"
            where = f"seed {sim.seed}, at {sim.time:.3f} s; the last events:"
            raise InvariantError(name, "\n".join([what, where, *sim.last_events]))
