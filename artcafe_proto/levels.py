"""How much of what was written has not left, and when to look (LINK-8): for the connections of both roles."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from artcafe_proto.limits import LEVEL_BYTES, LEVEL_FIRST_LOOK_S, LEVEL_LAST_LOOK_S

__all__ = ["Level"]


class Level(ABC):
    """A connection's level: what has not left. It is looked at after much was written, and while it is not 0."""

    __slots__ = ("_level", "_unseen_bytes", "_wait_s", "look_at")

    def __init__(self) -> None:
        self._level = 0
        self._unseen_bytes = 0
        self._wait_s = LEVEL_FIRST_LOOK_S
        self.look_at: float = math.inf
        """When to look again, monotonic seconds."""

    @abstractmethod
    def unsent_bytes(self) -> int:
        """How much has not left: in buffers of the program, and in the system's if it tells."""

    @property
    def is_clear(self) -> bool:
        """Whether the level is known to be 0: all had left by the last look, and nothing was written since."""
        return not (self._level or self._unseen_bytes)

    def wrote(self, nbytes: int) -> None:
        """So many bytes more were written."""
        self._unseen_bytes += nbytes
        if self._unseen_bytes >= LEVEL_BYTES:
            self._wait_s = LEVEL_FIRST_LOOK_S
            self.look_at = -math.inf

    def drained(self) -> bool:
        """All that waited in the program was given to the system. Returns whether to look at once: if the level was not
        0 at the last look. A driver looks at the end of its next turn.
        """
        if self._level:
            self.look_at = -math.inf
        return bool(self._level)

    def level(self, mono: float) -> int:
        """Look at the level, at the moment `mono`."""
        self._level = self.unsent_bytes()
        self._unseen_bytes = 0
        self.look_at = mono + self._wait_s if self._level else math.inf
        self._wait_s = min(2 * self._wait_s, LEVEL_LAST_LOOK_S)
        return self._level
