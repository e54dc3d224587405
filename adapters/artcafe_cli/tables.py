"""Tables for people."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_agents(agents: list[dict[str, Any]]) -> None:
    """The agents of a tenant (PLAT-3)."""
    table = Table("agent", "status", "last seen", "cpu %", "memory MiB", "capabilities", box=None)
    for agent in agents:
        metrics = agent["metrics"]
        table.add_row(
            agent["agent_id"],
            agent["status"],
            agent["last_seen"] or "never",
            f"{metrics['cpu_usage']:.1f}",
            f"{metrics['memory_usage']:.0f}",
            ", ".join(agent["capabilities"]),
        )
    Console().print(table)
