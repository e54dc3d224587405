"""Waiting until a batch is stored: thousands wait for one, by one timer."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from artcafe_anyio.testing import VirtualTimeLoop
from artcafe_platform.keeper import Keeper
from artcafe_proto import ApiError
from artcafe_proto.limits import STORE_PATIENCE_S

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": VirtualTimeLoop}
    return "trio", {"clock": MockClock(autojump_threshold=0)}


class Bench:
    """A keeper whose hub is played by hand, and what has become of those who wait."""

    def __init__(self) -> None:
        self.hub = SimpleNamespace(stored=0)
        owner: Any = SimpleNamespace(hub=self.hub)
        self.keeper = Keeper(owner, owner)
        self.ended: dict[str, str] = {}
        self.scopes: dict[str, anyio.CancelScope] = {}

    async def wait(self, name: str, barrier: int) -> None:
        self.ended[name] = "cancelled"
        with anyio.CancelScope() as self.scopes[name]:
            try:
                await self.keeper.stored(barrier, "it")
                self.ended[name] = f"stored after {anyio.current_time() - self.began:.0f} s"
            except ApiError as error:
                self.ended[name] = f"refused with {error.status} after {anyio.current_time() - self.began:.0f} s"

    async def store(self, batch: int) -> None:
        """As the keeper does after a commit."""
        self.hub.persisted = lambda batch, _: setattr(self.hub, "stored", batch)  # pyright: ignore
        self.keeper._owner.own_turn = nullcontext  # type: ignore[assignment] # pyright: ignore
        self.keeper._stored(batch)  # pyright: ignore

    async def play(self, waits: dict[str, int], *, stored: tuple[float, int] = (99.0, 9), leader: str = "") -> None:
        """Let them wait, a second apart; a leader is cancelled after 3 s, and a batch stored at a time."""
        self.began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for seconds, (name, barrier) in enumerate(waits.items()):
                await anyio.sleep_until(self.began + seconds)
                tasks.start_soon(self.wait, name, barrier)
            if leader:
                await anyio.sleep_until(self.began + 3)
                self.scopes[leader].cancel()
            await anyio.sleep_until(self.began + stored[0])
            await self.store(stored[1])


async def test_all_who_wait_for_a_batch_go_on_when_it_is_stored() -> None:
    bench = Bench()
    await bench.play({"a": 1, "b": 1, "c": 2}, stored=(4.0, 2))
    assert bench.ended == dict.fromkeys("abc", "stored after 4 s")
    await bench.keeper.stored(2, "it")  # at once


async def test_who_waits_for_a_later_batch_waits_on() -> None:
    bench = Bench()
    await bench.play({"a": 1, "b": 2}, stored=(4.0, 1))
    assert bench.ended == {"a": "stored after 4 s", "b": f"refused with 503 after {1 + STORE_PATIENCE_S:.0f} s"}


async def test_after_five_seconds_of_the_first_nobody_waits_for_a_batch() -> None:
    bench = Bench()
    await bench.play({"a": 1, "b": 1})
    assert bench.ended == dict.fromkeys("ab", f"refused with 503 after {STORE_PATIENCE_S:.0f} s")


async def test_when_the_first_is_cancelled_another_one_looks_at_the_clock() -> None:
    bench = Bench()
    await bench.play({"a": 1, "b": 1, "c": 1}, leader="a")
    late = {f"refused with 503 after {1 + place + STORE_PATIENCE_S:.0f} s" for place in range(2)}
    assert bench.ended.pop("a") == "cancelled"
    assert set(bench.ended.values()) < late, "by the time of whoever leads"
