"""A `Platform` is called in the event loop that runs it, and while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import pytest
from anyio import to_thread

from artcafe_platform import Platform
from artcafe_proto import LocalProtocolError
from platform_server.harness import TENANT, TENANTS

pytestmark = pytest.mark.anyio


def take_a_turn(platform: Platform) -> None:
    with platform.turn() as now:
        platform.hub.registry.create_agent(
            TENANT, agent_id="late", name="", capabilities=(), metadata={}, wall=now.wall
        )


CALLS: dict[str, Callable[[Platform], object]] = {
    "turn": take_a_turn,
    "send_command": lambda platform: platform.send_command(TENANT, "agent-1", "work"),
    "abort_agent": lambda platform: platform.abort_agent("agent-1"),
}
everything = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@everything
async def test_a_platform_is_called_while_its_block_runs(call: Callable[[Platform], object]) -> None:
    platform = Platform(tenants=TENANTS)
    with pytest.raises(LocalProtocolError, match="does not run yet"):
        call(platform)
    async with platform:
        pass
    with pytest.raises(LocalProtocolError, match="has ended"):
        call(platform)
    assert not platform.hub.registry.agents(TENANT)


@everything
async def test_a_platform_is_called_in_its_event_loop_and_in_no_thread(call: Callable[[Platform], object]) -> None:
    async with Platform(tenants=TENANTS) as platform:

        async def in_another_loop() -> None:
            call(platform)

        for elsewhere in (lambda: call(platform), lambda: asyncio.run(in_another_loop()), in_trio(in_another_loop)):
            with pytest.raises(LocalProtocolError, match=r"in the event loop that .* entered in"):
                await to_thread.run_sync(elsewhere)
        assert not platform.hub.registry.agents(TENANT)


def in_trio(function: Callable[..., object]) -> Callable[[], object]:
    return lambda: anyio.run(function, backend="trio")  # type: ignore[arg-type]
