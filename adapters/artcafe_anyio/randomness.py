"""The system's randomness, fetched in larger pieces: an agent draws an id and a mask for every message it writes."""

from __future__ import annotations

import os
from random import SystemRandom
from typing import Final

_POOL_BYTES: Final = 4096


class PooledRandom(SystemRandom):
    """SystemRandom with one system call for many draws. Bits are used once; not for use across a fork."""

    _pool = b""
    _place = 0

    def getrandbits(self, k: int) -> int:
        """`k` random bits. Raises ValueError for a negative number of them."""
        if k < 0:
            raise ValueError("number of bits must be non-negative")
        size = (k + 7) // 8
        start = self._place
        end = start + size
        if end > len(self._pool):
            self._pool = os.urandom(max(size, _POOL_BYTES))
            start, end = 0, size
        self._place = end
        return int.from_bytes(self._pool[start:end]) >> (size * 8 - k)
