"""How far a command has come when its platform is killed: the marks that the platform makes, and what they mean."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path
from typing import Final

TENANT: Final = "tenant-1"
TOKEN: Final = "tenant-token-0123456789"


class Phase(IntEnum):
    """How far, in order."""

    ACCEPTED = 0
    BEING_STORED = 1
    STORED = 2
    ANSWERED = 3
    SENT = 4
    OUTCOME_MADE = 5
    OUTCOME_BEING_STORED = 6
    OUTCOME_STORED = 7
    PONG = 8


MARKS: Final = {
    "put": Phase.ACCEPTED,
    "begun": Phase.BEING_STORED,
    "committing": Phase.BEING_STORED,
    "stored": Phase.STORED,
    "answered": Phase.ANSWERED,
    "sent": Phase.SENT,
    "outcome-put": Phase.OUTCOME_MADE,
    "outcome-begun": Phase.OUTCOME_BEING_STORED,
    "outcome-committing": Phase.OUTCOME_BEING_STORED,
    "outcome-stored": Phase.OUTCOME_STORED,
    "pong": Phase.PONG,
}
"""What each mark says has been reached. All are of a command, but the pong is of an agent."""
MEANINGS: Final = {
    Phase.ACCEPTED: "accepted, its batch not begun",
    Phase.BEING_STORED: "its batch being stored",
    Phase.STORED: "stored, 202 not written",
    Phase.ANSWERED: "202 written, not sent to the agent",
    Phase.SENT: "sent to the agent, no response",
    Phase.OUTCOME_MADE: "outcome made, its batch not begun",
    Phase.OUTCOME_BEING_STORED: "its outcome's batch being stored",
    Phase.OUTCOME_STORED: "outcome stored, no pong after it",
    Phase.PONG: "pong written less than 50 ms before",
}
LATELY_NS: Final = 50_000_000
"""A command is under way until its agent has read the pong: so long at most."""


class LastLife:
    """What the marks of one life of the platform say, after its end."""

    def __init__(self, marks: Path, ended_ns: int) -> None:
        """`ended_ns`: when it was killed, on the monotonic clock."""
        self.phases: dict[str, Phase] = {}
        """Of each command of which there is a mark, also of those that are no longer under way."""
        self.under_way: dict[str, Phase] = {}
        """Of those that were under way at its end."""
        pongs: dict[str, int] = {}
        for line in marks.read_text().splitlines() if marks.exists() else []:
            at, mark, whom = line.split(" ")
            if mark == "pong":
                pongs.update(dict.fromkeys(self._stored_of(whom, pongs), int(at)))
            else:
                self.phases[whom] = max(self.phases.get(whom, Phase.ACCEPTED), MARKS[mark])
        for command_id, phase in self.phases.items():
            at = pongs.get(command_id)
            if at is None:
                self.under_way[command_id] = phase
            elif at >= ended_ns - LATELY_NS:
                self.under_way[command_id] = Phase.PONG

    def _stored_of(self, agent_id: str, known: dict[str, int]) -> list[str]:
        """The commands of an agent whose outcomes are stored, and that no pong has followed yet."""
        return [
            command_id
            for command_id, phase in self.phases.items()
            if phase is Phase.OUTCOME_STORED and command_id not in known and agent_of(command_id) == agent_id
        ]


def agent_of(command_id: str) -> str:
    """Whose a command is: the load names commands `AGENT.NUMBER`."""
    return command_id.rpartition(".")[0]
