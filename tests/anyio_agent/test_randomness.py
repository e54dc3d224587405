"""The pool gives out each bit of the system's randomness once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from artcafe_anyio.randomness import PooledRandom


def test_draws_are_the_systems_bytes_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    pools: list[bytes] = []

    def urandom(size: int) -> bytes:
        pools.append(bytes((len(pools) * 100 + place) % 251 for place in range(size)))
        return pools[-1]

    monkeypatch.setattr(os, "urandom", urandom)
    rng = PooledRandom()
    drawn = [rng.getrandbits(128).to_bytes(16) for _ in range(300)]
    assert b"".join(drawn) == b"".join(pools)[: 300 * 16]
    assert [len(pool) for pool in pools] == [4096, 4096]


def test_fewer_bits_than_bytes_hold_and_more_than_a_pool() -> None:
    rng = PooledRandom()
    assert all(rng.getrandbits(3) < 8 for _ in range(2000))
    assert len({rng.getrandbits(3) for _ in range(2000)}) == 8
    assert rng.getrandbits(100_000).bit_length() > 99_000
    assert rng.getrandbits(0) == 0
    with pytest.raises(ValueError, match="non-negative"):
        rng.getrandbits(-1)


def test_numbers_do_not_come_again() -> None:
    rng, other = PooledRandom(), PooledRandom()
    drawn = [source.getrandbits(128) for source in (rng, other) for _ in range(1000)]
    assert len(set(drawn)) == len(drawn)
    assert 0 <= rng.random() < 1


FORK = """
import os
from artcafe_anyio.randomness import PooledRandom

rng = PooledRandom()
rng.getrandbits(128)
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
print(rng.getrandbits(128), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_nor_in_a_forked_child() -> None:
    drawn = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True).stdout.split()
    assert len(set(drawn)) == 2
