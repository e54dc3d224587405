"""A simulation, as the parts that act on all others see it: faults, and whoever calls over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from artcafe_proto.testing.agents import Host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from artcafe_proto.testing.agents import AgentProcess
    from artcafe_proto.testing.disks import Disk
    from artcafe_proto.testing.networks import Network
    from artcafe_proto.testing.platforms import PlatformProcess
    from artcafe_proto.testing.tenants import Tenant


class Whole(Host, Protocol):
    """A simulation, with all parts that are acted on."""

    seconds: float
    public_keys: list[str]
    network: Network
    platform: PlatformProcess
    tenant: Tenant

    def processes_of(self, agent_id: str) -> Sequence[AgentProcess]:
        """The living processes of an agent."""
        ...

    def disk_of(self, agent_id: str) -> Disk | None:
        """The disk of an agent, if it has a journal."""
        ...

    def restart_agent(self, agent_id: str, after_s: float) -> None:
        """Kill an agent, and start it again later."""
        ...

    def start_second_process(self, agent_id: str, seconds: float) -> None:
        """Have a second process with the same id, for a while."""
        ...
