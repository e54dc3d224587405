"""How far a command has come at its agent when that is killed: the marks that the agent makes, and what they mean."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Final


class AgentPhase(IntEnum):
    """How far, in order."""

    OPENED = 0
    RUNNING = 1
    RESPONDED = 2
    STORED = 3
    SENT = 4
    SETTLED = 5
    NOTED = 6


AGENT_MARKS: Final = {
    "opened-put": AgentPhase.OPENED,
    "opened-begun": AgentPhase.OPENED,
    "opened-committing": AgentPhase.OPENED,
    "opened-stored": AgentPhase.OPENED,
    "running": AgentPhase.RUNNING,
    "response-put": AgentPhase.RESPONDED,
    "response-begun": AgentPhase.RESPONDED,
    "response-committing": AgentPhase.RESPONDED,
    "response-stored": AgentPhase.STORED,
    "sent": AgentPhase.SENT,
    "settled": AgentPhase.SETTLED,
    "noted": AgentPhase.NOTED,
}
"""What each mark says has been reached, by one command."""
AGENT_MEANINGS: Final = {
    AgentPhase.OPENED: "opened, its handler not begun",
    AgentPhase.RUNNING: "its handler running",
    AgentPhase.RESPONDED: "responded, the response not stored",
    AgentPhase.STORED: "response stored, not sent",
    AgentPhase.SENT: "response sent, not settled",
    AgentPhase.SETTLED: "settled, the note of it not stored",
}
"""Of those that are under way: a command of which the note is stored is over."""


class AgentLife:
    """What the marks of one life of an agent say."""

    def __init__(self, marks: Path) -> None:
        self.phases: dict[str, AgentPhase] = {}
        """Of each command of which there is a mark."""
        self.opened: set[str] = set()
        """Those that were stored as accepted."""
        self.responded: set[str] = set()
        """Those whose responses were stored."""
        self.settled: set[str] = set()
        told = {"opened-stored": self.opened, "response-stored": self.responded, "settled": self.settled}
        lines = marks.read_text().split("\n")[:-1] if marks.exists() else []  # the last one may be half a line
        for line in lines:
            _, mark, command_id = line.split(" ")
            self.phases[command_id] = max(self.phases.get(command_id, AgentPhase.OPENED), AGENT_MARKS[mark])
            if mark in told:
                told[mark].add(command_id)

    @property
    def under_way(self) -> dict[str, AgentPhase]:
        """Those whose end is not stored."""
        return {each: phase for each, phase in self.phases.items() if phase is not AgentPhase.NOTED}
