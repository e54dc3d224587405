"""What of an agent's commands goes out on its link, and in which order (CMD-10)."""

from __future__ import annotations

import msgspec


class Window(msgspec.Struct, gc=False):
    """Of one link: what is to be sent, and what was sent and is not answered."""

    limit: int
    """How many commands may be unanswered: as many as are configured, or fewer since the agent was overloaded."""
    to_send: list[tuple[int, str]]
    """A heap of numbers and ids. Entries of commands that are over stay, until there are more of them."""
    unanswered: dict[str, None] = {}  # a set, which would take four times as much while it is empty
    is_closed: bool = False
    """The agent drains: this link takes no more."""
    opens_at: float = 0.0
    """When the limit may rise again, monotonic seconds."""

    @property
    def has_place(self) -> bool:
        """Whether something waits, and one more may be unanswered."""
        return bool(self.to_send) and len(self.unanswered) < self.limit and not self.is_closed
