"""An input as a sequence of operations: the façades' targets read it byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

WAITS_S: Final = (0.0, 0.5, 1.0, 5.0, 20.0, 31.0, 130.0, 4000.0)


class Operations:
    """What is left of an input."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    def __bool__(self) -> bool:
        return self._place < len(self._data)

    def byte(self) -> int:
        """The next byte; 0 beyond the end."""
        self._place += 1
        return self._data[self._place - 1] if self._place <= len(self._data) else 0

    def bytes(self) -> bytes:
        """So many bytes as the next one says, or what is left."""
        size = self.byte()
        self._place += size
        return self._data[self._place - size : self._place]

    def one_of(self, choices: Sequence[T]) -> T:
        """One of these, of which there is at least one."""
        return choices[self.byte() % len(choices)]
