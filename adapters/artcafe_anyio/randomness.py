"""The system's randomness, fetched in larger pieces: an agent draws an id and a mask for every message it writes."""

from __future__ import annotations

import os
from random import SystemRandom
from typing import Final
from weakref import WeakSet

_POOL_BYTES: Final = 4096


class PooledRandom(SystemRandom):
    """SystemRandom with one system call for many draws. Bits are used once, also by both sides of a fork."""

    _pool = b""
    _place = 0

    def __init__(self) -> None:
        super().__init__()
        _all.add(self)

    def forget(self) -> None:
        """Use nothing more of what is in the pool."""
        self._pool = b""
        self._place = 0

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


def _forget_all() -> None:
    """In a forked child: what is in the pools is its parent's to use."""
    for each in _all:
        each.forget()


_all: Final[WeakSet[PooledRandom]] = WeakSet()
if hasattr(os, "register_at_fork"):  # where there is a fork
    os.register_at_fork(after_in_child=_forget_all)
