"""What the invariants see of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from artcafe_proto.testing.nodes import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artcafe_proto.config import AgentConfig, PlatformConfig
    from artcafe_proto.platform.commands import Command
    from artcafe_proto.testing.invariants.watched import Process
    from artcafe_proto.testing.tenants import Tenant


class Platform(Protocol):
    """The platform, as it is looked at."""

    config: PlatformConfig
    held_up_until: float
    mono_offset_s: float

    @property
    def mono(self) -> float:
        """Its monotonic clock."""
        ...

    @property
    def has_store(self) -> bool:
        """Whether what it says is stored before it is said (PLAT-5)."""
        ...

    def command(self, agent_id: str, command_id: str) -> Command | None:
        """A command of the simulation's tenant, as the platform has it now, if it has it."""
        ...

    def held_bytes(self) -> list[int]:
        """What it holds for each connection that is no link."""
        ...

    def key_ids(self, agent_id: str) -> list[str]:
        """The keys that it knows of an agent."""
        ...

    def is_online(self, agent_id: str) -> bool:
        """Whether it takes the agent as online (HB-3)."""
        ...


class Scene(Stage, Protocol):
    """Everything that is looked at."""

    tenant: Tenant

    @property
    def platform(self) -> Platform:
        """The platform."""
        ...

    @property
    def processes(self) -> Sequence[Process]:
        """The living processes, in the order in which they were started."""
        ...

    def processes_of(self, agent_id: str) -> Sequence[Process]:
        """The living processes of an agent."""
        ...

    def agent_config(self, agent_id: str) -> AgentConfig:
        """The settings of an agent."""
        ...
