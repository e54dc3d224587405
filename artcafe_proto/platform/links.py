"""What a platform knows of the links of this process: it lives as long as they do, and nothing of it is stored.

An epoch is `(life, n)`: the life of the platform, and a count of the agent's links in it. So it rises with every link
of an agent, also across restarts, and fences what an older link still says (PLAT-6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus
    from artcafe_proto.outputs import PlatformOutputs
    from artcafe_proto.platform.records import AgentRecord
    from artcafe_proto.platform.window import Window

_LINKS_OF_A_LIFE: Final = 2**32


class Epoch(msgspec.Struct, frozen=True, gc=False):
    """Which link of an agent this is."""

    life: int
    n: int

    @property
    def number(self) -> int:
        """The same as one number, for people and streams: it is `n` in the first life."""
        return (self.life - 1) * _LINKS_OF_A_LIFE + self.n


class Carrier(Protocol):
    """What carries a link: a `PlatformSession`."""

    conn: int
    linked: LinkedAgent | None
    """Whose link it is, from its 101 on."""
    outputs: PlatformOutputs
    address: str | None
    origin: str
    """Where the link is opened from; `address` as for `PlatformHub.principal`, `origin` for people."""

    @property
    def has_room(self) -> bool:
        """Whether something may go out on it now (LINK-8)."""
        ...

    def deliver(self, payload: bytes, now: Instant) -> None:
        """Send a message, while `has_room`."""
        ...

    def close(self, code: int, reason: str, now: Instant) -> None:
        """Begin the closing handshake; from now on the agent is offline."""
        ...


class Presence(msgspec.Struct):
    """An agent as this process has seen it (HB-3)."""

    epoch: Epoch
    session: Carrier | None = None
    """The one that carries its live link."""
    window: Window | None = None
    """What goes out on its live link, from the first heartbeat on."""
    status: AgentStatus = "offline"
    last_seen: float | None = None
    outcome_batch: int = 0
    """The batch with the outcome of its commands that was put last; a pong waits for it (PLAT-5)."""
    cpu_usage: float = 0.0
    memory_usage: float = 0.0

    @property
    def online(self) -> bool:
        """From the first heartbeat of a link to its end."""
        return self.window is not None


class LinkedAgent(NamedTuple):
    """Whose link a session has, which of that agent's links it is, and with which key it was opened."""

    record: AgentRecord
    presence: Presence
    epoch: Epoch
    key_id: str | None
    """None: the transport has authenticated the agent."""


class Links:
    """What this process has seen of agents, by their ids: their links, and the statuses that they set over HTTP."""

    def __init__(self, life: int) -> None:
        self._life = life
        self._presences: dict[str, Presence] = {}

    def find(self, agent_id: str) -> Presence | None:
        """What this process has seen of an agent; None if nothing."""
        return self._presences.get(agent_id)

    def presence(self, agent_id: str) -> Presence:
        """The same; it is made for an agent that is seen for the first time."""
        presence = self._presences.get(agent_id)
        if presence is None:
            presence = self._presences[agent_id] = Presence(Epoch(self._life, 0))
        return presence

    def carrier(self, agent_id: str) -> Carrier | None:
        """What carries an agent's live link; None if it has none."""
        presence = self._presences.get(agent_id)
        return None if presence is None else presence.session

    def open(self, session: Carrier, agent: AgentRecord, key_id: str | None) -> LinkedAgent:
        """A link of an agent begins, and takes the place of an older one."""
        presence = self.presence(agent.agent_id)
        presence.epoch = Epoch(self._life, presence.epoch.n + 1)
        presence.session = session
        return LinkedAgent(agent, presence, presence.epoch, key_id)
