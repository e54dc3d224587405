"""What the invariants remember of one agent's process."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Protocol

from artcafe_proto.testing.invariants.table import EPSILON_S

if TYPE_CHECKING:
    from artcafe_proto.agent.protocol import AgentProtocol
    from artcafe_proto.instants import Instant
    from artcafe_proto.testing.circuits import Circuit
    from artcafe_proto.testing.invariants.twins import Journal
    from artcafe_proto.testing.wiretap import Wiretap

__all__ = ["Watched"]


class Process(Protocol):
    """One life of one agent, as it is looked at."""

    agent_id: str
    protocol: AgentProtocol
    circuits: dict[int, Circuit]
    is_stopping: bool
    held_up_until: float
    watched: Watched

    @property
    def now(self) -> Instant:
        """Both of its clocks."""
        ...

    @property
    def mono(self) -> float:
        """Its monotonic clock."""
        ...


class WatchedLink:
    """One link that is up, from `Online` to its end. Times are the process's monotonic ones."""

    def __init__(self, conn: int, mono: float) -> None:
        self.conn = conn
        self.up_at = mono
        self.heard_at = mono
        self.pinged_at: float = -math.inf
        self.pinged = b""
        """What the ping carries that is not answered, as far as this peer answers pings."""
        self.beat_at = mono
        self.last_slot = -1
        """Of the grid of heartbeats."""
        self.is_closed = False
        """Whether the agent has sent its close frame."""
        self.paused_at: float | None = None
        """Since when it is not read."""
        self.owed_pongs: list[bytes] = []
        self.owed_since = mono
        """Since when it owes a pong, and its transport is not full."""
        self.told_at: dict[str | None, float] = {}
        """When a status of each kind went out last."""
        self.last_sent = -1
        """The place, in the order of answers, of the response or message that went out last."""
        self.sent: list[str] = []
        """All of them that went out."""
        self.replaced: dict[str, int] = {}
        """Places, by command, of responses that were replaced: on this link it is still the first that goes out."""
        self.repeats: dict[str, int] = {}
        """Stored responses that are to go out again, by command."""
        self.close_code: int | None = None
        """What the platform closed it with."""


class Watched:
    """All that is remembered of a process."""

    def __init__(self, process: Process) -> None:
        self.process = process
        # Connections:
        self.taps: dict[int, Wiretap] = {}
        self.linking: set[int] = set()
        self.links: dict[int, WatchedLink] = {}
        self.link: WatchedLink | None = None
        """The one that is up."""
        self.ended_link: WatchedLink | None = None
        """The one that was up before; the last of what went out on it may be seen after its end."""
        self.reading: int | None = None
        """The connection whose bytes are what happens now."""
        self.rejected: set[str] = set()
        self.secrets: set[str] = set()
        self.is_ponged = False
        """Whether its platform has ever answered a ping."""
        # Waits:
        self.retry_at: float | None = None
        self.was_at_once = False
        self.delays_s: dict[str, float] = {}
        """The next wait of each row that has waited."""
        self.without_link_since: float = process.mono
        self.renew_at: float = math.inf
        self.is_token_refused = False
        self.no_renewal_before: float = -math.inf
        self.is_renewing = False
        self.stops_by: float = math.inf
        # Work:
        self.known: set[str] = set()
        """Commands that came and were not given back."""
        self.executed: set[str] = set()
        self.waiting: OrderedDict[str, None] = OrderedDict()
        """Those that were not started yet, in order."""
        self.open: dict[str, float] = {}
        """Those that were not answered yet, with the end of their time."""
        self.places: dict[str, int] = {}
        """Of responses by command, and of messages by id: the order in which they were given."""
        self.given: int = 0
        self.settled: set[str] = set()
        self.times_blamed: Counter[str] = Counter()
        """How many links each of them may have cost."""
        self.messages: dict[str, int] = {}
        """Sizes of messages that are not settled."""
        self.received: set[str] = set()
        """Commands whose responses, and messages that, the platform has received from this process."""
        self.assumed: set[str] = set()
        """Those that settled without a pong, by a platform that has never answered one."""
        self.lost: set[str] = set()
        """Those that were dropped as undeliverable, which an event told."""
        self.calls: OrderedDict[int, float] = OrderedDict()
        """Calls that have not ended, with the end of their time."""
        self.ended_calls: set[int] = set()
        self.journal: Journal | None = None
        """What is stored of its agent, if that has a journal."""

    def is_due(self, deadline: float, margin_s: float = 0.0) -> bool:
        """Whether something should have been done by now: at its time, or when this process was no longer held up."""
        return self.process.mono > max(deadline, self.process.held_up_until) + margin_s + EPSILON_S

    def place(self, key: str) -> None:
        """A response or a message joins the others."""
        self.places[key] = self.given
        self.given += 1
