"""Tables for people."""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from artcafe_cli.tenant_client import ListedAgent
from artcafe_proto.readable import one_line


def print_agents(agents: list[dict[str, Any]]) -> None:
    """The agents of a tenant (PLAT-3). Nothing is cut off: ids may differ at their ends. A program gets a line each."""
    names = ("agent", "status", "last seen", "cpu %", "memory MiB", "capabilities")
    table = Table(*(Column(name, overflow="fold") for name in names), box=None)
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
    Console(width=None if sys.stdout.isatty() else _UNLIMITED).print(table)


_UNLIMITED: Final = 1 << 16
"""Columns, for what is no terminal."""
