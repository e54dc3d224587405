"""The random numbers of a recorded machine, which do not depend on the order in which it draws them."""

from __future__ import annotations

from random import Random


class Draws(Random):
    """Each kind of draw (a number below 1, so many bits, so many bytes) comes from a stream of its own.

    So a machine may draw its mask keys earlier or later than its ids or its waits, and gets the same of each.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed
        self._streams: dict[str, Random] = {}

    def random(self) -> float:
        """A number from 0 to 1."""
        return self._stream("numbers").random()

    def getrandbits(self, k: int, /) -> int:
        """`k` bits."""
        return self._stream(f"{k} bits").getrandbits(k)

    def randbytes(self, n: int) -> bytes:
        """`n` bytes."""
        return self._stream(f"{n} bytes").randbytes(n)

    def _stream(self, kind: str) -> Random:
        stream = self._streams.get(kind)
        if stream is None:
            stream = self._streams[kind] = Random(f"{kind} of {self._seed}")
        return stream
