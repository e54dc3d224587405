"""The clocks."""

from __future__ import annotations

import time

from artcafe_anyio.clocks import read_clocks


def test_the_clocks_go_on() -> None:
    first, second = read_clocks(), read_clocks()
    assert second.mono >= first.mono
    assert abs(first.wall - time.time()) < 3600
