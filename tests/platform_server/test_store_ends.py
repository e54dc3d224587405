"""Whose store it is, which errors of a store end a platform, and what is said of what is not stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import anyio
import pytest
from trio.testing import MockClock

from artcafe_anyio.testing import VirtualTimeLoop
from artcafe_platform import Platform
from artcafe_proto import ApiError, LocalProtocolError
from artcafe_proto.effects import Persist
from artcafe_proto.records import Record
from artcafe_stores import MemoryStore, SqliteStore, Store, StoreDamaged, StoreError, StoreLocked, StoreSchema
from platform_server.harness import PATIENCE_S
from support.faulty_stores import FaultyStore
from support.platform_api import TENANT, TENANTS
from support.virtual import signing_key

pytestmark = pytest.mark.anyio
AGENT = "agent-1"
VIRTUAL_TIME = pytest.mark.parametrize(
    "anyio_backend",
    [("asyncio", {"loop_factory": VirtualTimeLoop}), ("trio", {"clock": MockClock(autojump_threshold=0)})],
    ids=["asyncio", "trio"],
)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a store longer than 0.2 s."""
    monkeypatch.setattr("artcafe_platform.keeper.PATIENCE_S", 0.2)


# --- whose store it is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_second_platform_does_not_close_the_store_of_the_first(tmp_path: Path, kind: str) -> None:
    store: Store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "records.db")
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS, store=store) as first:
            with pytest.raises(LocalProtocolError, match="open already"):
                await Platform(tenants=TENANTS, store=store).__aenter__()
            await first.create_agent(TENANT, agent_id=AGENT)
        async with Platform(tenants=TENANTS, store=store) as later:
            assert later.hub.agent(TENANT, AGENT).record.agent_id == AGENT


class Hanging(MemoryStore):
    """A store that never returns from `hangs_in`, nor from `aclose` once it has been opened."""

    def __init__(self, hangs_in: str) -> None:
        super().__init__()
        self.hangs_in = hangs_in
        self.closes = 0

    async def open(self) -> Iterable[Record]:
        if self.hangs_in == "open":
            await anyio.sleep_forever()
        return await super().open()

    async def commit(self, persist: Persist) -> None:
        await anyio.sleep_forever()

    async def aclose(self) -> None:
        self.closes += 1
        await anyio.sleep_forever()


@VIRTUAL_TIME
@pytest.mark.parametrize(("hangs_in", "ended_after_s", "closes"), [("open", 1.0, 0), ("commit", 6.0, 1)])
async def test_entering_that_is_cancelled_ends_whatever_its_store_does(
    hangs_in: str, ended_after_s: float, closes: int
) -> None:
    store = Hanging(hangs_in)
    began = anyio.current_time()
    with anyio.move_on_after(1.0) as scope:
        await Platform(tenants=TENANTS, store=store).__aenter__()
    assert scope.cancelled_caught
    assert anyio.current_time() - began == pytest.approx(ended_after_s)
    assert store.closes == closes, "what was not opened is not closed"


# --- what ends a platform ---------------------------------------------------------------------------------------------

FINAL = [
    StoreDamaged("the file is damaged"),
    StoreLocked("another has it", pid=1, host="here", since=0.0),
    StoreSchema("it is of a newer version"),
]
ALL_FINAL = pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)


@ALL_FINAL
async def test_a_store_that_is_damaged_or_anothers_ends_the_platform_and_is_not_asked_again(
    error: StoreError, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaultyStore(MemoryStore())

    async def serve() -> None:
        async with Platform(tenants=TENANTS, store=store) as platform:
            store.persists.clear()
            store.fail(error)
            await platform.create_agent(TENANT, agent_id=AGENT)
            await anyio.sleep_forever()

    with anyio.fail_after(PATIENCE_S):
        with pytest.raises(type(error)) as raised:
            await serve()
    assert raised.value is error
    assert len(store.persists) == 1
    assert f"the platform is ended by an internal error: {type(error).__name__}" in caplog.text
    assert "trying again" not in caplog.text


@ALL_FINAL
async def test_a_store_that_fails_so_at_once_is_not_entered_and_is_closed(error: StoreError) -> None:
    memory = MemoryStore()
    store = FaultyStore(memory)
    store.fail(error)
    with pytest.raises(type(error)):
        await Platform(tenants=TENANTS, store=store).__aenter__()
    await memory.open()


# --- what is not stored -----------------------------------------------------------------------------------------------

PUBLIC = signing_key().public.openssh
DOUBTED: dict[str, Callable[[Platform, str], Awaitable[Any]]] = {
    "the agent agent-2": lambda platform, _: platform.create_agent(TENANT, agent_id="agent-2"),
    "the command c1": lambda platform, _: platform.send_command(TENANT, AGENT, "work", command_id="c1"),
    "the key key-": lambda platform, _: platform.add_key(TENANT, AGENT, PUBLIC),
    "the end of the key KEY": lambda platform, key_id: platform.revoke_key(TENANT, key_id),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("named", DOUBTED)
async def test_what_may_be_accepted_is_named(named: str) -> None:
    store = FaultyStore(MemoryStore())
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS, store=store) as platform:
            await platform.create_agent(TENANT, agent_id=AGENT)
            key = await platform.add_key(TENANT, AGENT, signing_key(9).public.openssh)
            store.hold()
            with pytest.raises(ApiError) as doubted:
                await DOUBTED[named](platform, key.key_id)
            store.release()
    assert (doubted.value.status, doubted.value.error) == (503, "may_be_accepted")
    assert f"ask later whether {named.replace('KEY', key.key_id)}" in doubted.value.message


@pytest.mark.usefixtures("impatient")
async def test_an_id_that_the_platform_gave_is_named_too() -> None:
    store = FaultyStore(MemoryStore())
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS, store=store) as platform:
            store.hold()
            with pytest.raises(ApiError) as doubted:
                await platform.create_agent(TENANT)
            (agent,) = platform.hub.registry.agents(TENANT)
            store.release()
    assert f"the agent {agent.agent_id} was accepted" in doubted.value.message


@pytest.mark.usefixtures("impatient")
async def test_what_is_not_stored_is_logged_if_the_block_has_raised(caplog: pytest.LogCaptureFixture) -> None:
    store = FaultyStore(MemoryStore())

    async def serve() -> None:
        async with Platform(tenants=TENANTS, store=store) as platform:
            store.hold()
            with platform.turn() as now:
                for agent_id in ("agent-1", "agent-2"):
                    platform.hub.registry.create_agent(
                        TENANT, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=now.wall
                    )
            raise ZeroDivisionError

    with anyio.fail_after(PATIENCE_S):
        with pytest.raises(ZeroDivisionError):
            await serve()
    assert sum("ended without storing 2 of its records" in each.getMessage() for each in caplog.records) == 1
