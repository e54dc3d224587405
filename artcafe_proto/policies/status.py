"""Status and progress messages: the latest wins, at most one a second each (STAT-1, STAT-2, STAT-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from artcafe_proto.limits import STATUS_INTERVAL_S
from artcafe_proto.messages import StatusData

if TYPE_CHECKING:
    from artcafe_proto.messages import AgentStatus

DeclaredStatus = Literal["online", "busy", "error"]
"""What an application may declare; `offline` only comes from a drain (STAT-1)."""

_RANK: Final[dict[AgentStatus, int]] = {"online": 0, "busy": 1, "error": 2}


def outranking(declared: DeclaredStatus, *, full: bool) -> AgentStatus:
    """The agent's status: what was declared, but at least `busy` while no more commands can start (STAT-1)."""
    return "busy" if full and _RANK[declared] < _RANK["busy"] else declared


class StatusReports:
    """What is still to be reported. The agent's own status has the key None, a command's progress its id."""

    def __init__(self) -> None:
        self._pending: dict[str | None, StatusData] = {}
        self._sent_at: dict[str | None, float] = {}

    def __bool__(self) -> bool:
        """Whether anything is pending."""
        return bool(self._pending)

    @property
    def deadline(self) -> float | None:
        """When the earliest pending report may go out, monotonic seconds."""
        never = float("-inf")
        return min((self._sent_at.get(key, never) + STATUS_INTERVAL_S for key in self._pending), default=None)

    def offer(self, key: str | None, report: StatusData) -> None:
        """Report this instead of whatever waited under the same key."""
        self._pending[key] = report

    def withdraw(self, key: str | None) -> None:
        """What waited under `key` is no longer true."""
        self._pending.pop(key, None)

    def forget(self, command_id: str) -> None:
        """The command is over: so is its progress."""
        self._pending.pop(command_id, None)
        self._sent_at.pop(command_id, None)

    def take_due(self, mono: float) -> list[StatusData]:
        """The reports that may go out now, taken as sent."""
        due = [key for key in self._pending if mono >= self._sent_at.get(key, float("-inf")) + STATUS_INTERVAL_S]
        for key in due:
            self._sent_at[key] = mono
        return [self._pending.pop(key) for key in due]
