"""How targets read the fuzzer's bytes: numbers and choices from the front, until nothing is left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

SIZES_BYTES: Final = 4
"""How many bytes say how the rest is cut, where a target takes a stream."""
_AT_ONCE: Final = 0xFF


class Reader:
    """Bytes that are used up; behind their end everything is 0 or empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def left(self) -> int:
        """Bytes that are left."""
        return max(len(self._data) - self._place, 0)

    def byte(self) -> int:
        """The next byte."""
        return (self.take(1) or b"\0")[0]

    def take(self, size: int) -> bytes:
        """The next bytes, `size` of them or all there are."""
        self._place += size
        return self._data[self._place - size : self._place]

    def pick(self, things: Sequence[T]) -> T:
        """One of them."""
        return things[self.byte() % len(things)]

    def stream(self) -> tuple[bytes, list[bytes]]:
        """All the rest, whole and in pieces."""
        sizes, data = self.take(SIZES_BYTES), self.take(self.left)
        return data, list(_cut(data, sizes))


def _cut(data: bytes, sizes: bytes) -> Iterator[bytes]:
    """`data` in pieces of these sizes, in turn: 0 is an empty piece between others, 255 is all that is left."""
    place, turn = 0, 0
    sizes = sizes if any(sizes) else b"\1"
    while place < len(data):
        size = sizes[turn % len(sizes)]
        end = len(data) if size == _AT_ONCE else place + size
        yield data[place:end]
        place, turn = end, turn + 1
