"""Tables for people."""

from __future__ import annotations

from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from artcafe_cli.tenant_client import ListedAgent
from artcafe_proto.readable import one_line


def print_agents(agents: list[dict[str, Any]]) -> None:
    """The agents of a tenant (PLAT-3)."""
    table = Table("agent", "status", "last seen", "cpu %", "memory MiB", "capabilities", box=None)
    for agent in msgspec.convert(agents, list[ListedAgent]):
        cells = (
            agent.agent_id,
            agent.status,
            agent.last_seen or "never",
            f"{agent.metrics.cpu_usage:.1f}",
            f"{agent.metrics.memory_usage:.0f}",
            ", ".join(agent.capabilities),
        )
        table.add_row(*(Text(one_line(cell)) for cell in cells))  # rich reads a plain string as markup
    Console().print(table)
