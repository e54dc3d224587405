"""An agent as tenants see it (PLAT-3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from artcafe_proto.instants import format_timestamp

if TYPE_CHECKING:
    from artcafe_proto.messages import AgentStatus
    from artcafe_proto.platform.links import Presence
    from artcafe_proto.platform.records import AgentRecord

__all__ = ["Agent"]


class Agent(msgspec.Struct, frozen=True):
    """A registered agent, as it is at a moment."""

    record: AgentRecord
    online: bool = False
    """From the first heartbeat of a link to its end (HB-3)."""
    status: AgentStatus = "offline"
    last_seen: float | None = None
    """When something last came from it, a wall-clock time in seconds."""
    cpu_usage: float = 0.0
    memory_usage: float = 0.0

    @classmethod
    def of(cls, record: AgentRecord, presence: Presence | None) -> Agent:
        """`presence` is None if nothing was heard of the agent in this life of the platform."""
        if presence is None:
            return cls(record)
        status: AgentStatus = presence.status if presence.online else "offline"
        metrics = (presence.cpu_usage, presence.memory_usage)
        return cls(record, presence.online, status, presence.last_seen, *metrics)

    @property
    def agent_id(self) -> str:
        """Its id, unique on the platform."""
        return self.record.agent_id

    def public(self) -> dict[str, Any]:
        """The agent object of the HTTP interface."""
        record, described = self.record, self.record.description()
        return {
            "agent_id": record.agent_id,
            "tenant_id": record.tenant_id,
            "name": record.name,
            "capabilities": described.capabilities,
            "metadata": described.metadata,
            "created_at": format_timestamp(record.created_at),
            "status": self.status,
            "last_seen": None if self.last_seen is None else format_timestamp(self.last_seen),
            "metrics": {"cpu_usage": self.cpu_usage, "memory_usage": self.memory_usage},
        }
