"""A platform with a store, over real sockets: what it promised outlives it; a store that fails harms nobody else."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from artcafe_anyio import Agent
from artcafe_cli.key_files import make_key_pair
from artcafe_platform import Platform
from artcafe_proto import ApiError, LocalProtocolError
from artcafe_proto.events import AgentAuthenticated, AgentOnline, CommandAnswered, StoreRecovered, StoreStalled
from artcafe_stores import (
    MemoryStore,
    SqliteStore,
    StoreDamaged,
    StoreFull,
    StoreLocked,
    StoreSchema,
    StoreUnavailable,
)
from platform_server.harness import PATIENCE_S, Recorder, tenant_client
from support.faulty_stores import FaultyStore
from support.platform_api import TENANT, TENANTS, TOKEN

pytestmark = pytest.mark.anyio
AGENT = "agent-1"


async def enrol(platform: Platform, directory: Path, agent_id: str = AGENT) -> str:
    """Register an agent with a key, whose file is named after it; returns the key's id."""
    public = await to_thread.run_sync(make_key_pair, directory / agent_id, "ed25519", "")
    await platform.create_agent(TENANT, agent_id=agent_id)
    return (await platform.add_key(TENANT, agent_id, public.openssh)).key_id


def agent_of(url: str, directory: Path, agent_id: str = AGENT) -> Agent:
    """The agent of a key file."""
    agent = Agent(
        agent_id=agent_id,
        tenant_id=TENANT,
        private_key_path=directory / agent_id,
        api_endpoint=url,
        jitter=0,
    )

    @agent.command("work")
    async def work(x: int = 0) -> int:  # pyright: ignore[reportUnusedFunction]
        return x

    return agent


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@asynccontextmanager
async def stored(store: FaultyStore) -> AsyncGenerator[tuple[Platform, Recorder]]:
    """A platform that keeps its records in `store`."""
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS, store=store) as platform:
            yield platform, Recorder(platform)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a store longer than 0.2 s."""
    monkeypatch.setattr("artcafe_proto.policies.keeping.STORE_PATIENCE_S", 0.2)
    monkeypatch.setattr("artcafe_proto.policies.keeping.STORE_RETRY_S", 0.05)
    monkeypatch.setattr("artcafe_platform.keeper.PATIENCE_S", 0.2)
    monkeypatch.setattr("artcafe_stores.committing.CLOSE_S", 1000.0)


# --- the next life ----------------------------------------------------------------------------------------------------


async def test_agents_keys_and_commands_outlive_the_platform_and_agents_come_back(tmp_path: Path) -> None:
    port = free_port()
    data_dir = tmp_path / "data"
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS, port=port, data_dir=data_dir) as platform:
            await enrol(platform, tmp_path)
            revoked = await enrol(platform, tmp_path, "agent-2")
            await platform.revoke_key(TENANT, revoked)
            events = Recorder(platform)
            done = await platform.send_command(TENANT, AGENT, "work", {"x": 1})
            async with agent_of(platform.url, tmp_path):
                assert (await events.nth(CommandAnswered)).command_id == done
            waiting = await platform.send_command(TENANT, AGENT, "work", {"x": 2})
        async with Platform(tenants=TENANTS, port=port, data_dir=data_dir) as platform:
            events = Recorder(platform)
            assert platform.hub.command(TENANT, done).state == "succeeded"
            assert platform.hub.command(TENANT, waiting).state == "queued"
            assert platform.hub.registry.keys("agent-2") == ()
            async with agent_of(platform.url, tmp_path):
                assert (await events.nth(CommandAnswered)).command_id == waiting
                assert (await events.nth(AgentOnline)).epoch > 2**32, "epochs rise across lives"


async def test_an_agent_comes_back_to_the_next_life_with_the_token_that_it_holds(tmp_path: Path) -> None:
    port = free_port()
    data_dir = tmp_path / "data"
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            async with Platform(tenants=TENANTS, port=port, data_dir=data_dir) as platform:
                await enrol(platform, tmp_path)
                events = Recorder(platform)
                tasks.start_soon(agent_of(platform.url, tmp_path).serve)
                await events.nth(AgentOnline)
            async with Platform(tenants=TENANTS, port=port, data_dir=data_dir) as platform:
                events = Recorder(platform)
                await events.nth(AgentOnline)
                assert events.of(AgentAuthenticated) == []
                await platform.send_command(TENANT, AGENT, "work", {"x": 1})
                await events.nth(CommandAnswered)
                tasks.cancel_scope.cancel()


async def test_a_tenants_token_that_is_given_no_more_speaks_for_nobody(tmp_path: Path) -> None:
    async with Platform(tenants={TENANT: TOKEN}, data_dir=tmp_path) as platform:
        await platform.create_agent(TENANT, agent_id=AGENT)
    another = "another-token-0123456789"
    async with Platform(tenants={TENANT: another}, data_dir=tmp_path) as platform:
        async with tenant_client(platform) as client:
            assert (await client.get("/agents")).status_code == 401
        async with tenant_client(platform, another) as client:
            assert [each["agent_id"] for each in (await client.get("/agents")).json()["agents"]] == [AGENT]


# --- what cannot be opened --------------------------------------------------------------------------------------------


async def test_a_second_platform_on_one_directory_is_told_who_has_it(tmp_path: Path) -> None:
    async with Platform(data_dir=tmp_path) as platform:
        with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()} on .* since .* UTC"):
            await Platform(data_dir=tmp_path).__aenter__()
        await platform.create_agent("tenant-1")


async def test_a_platform_that_cannot_listen_gives_its_store_back(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await Platform(data_dir=tmp_path, port=taken.getsockname()[1]).__aenter__()
    async with Platform(data_dir=tmp_path):
        pass


@pytest.mark.parametrize("damage", ["a record", "the file"])
async def test_a_damaged_store_is_refused_with_its_name_and_the_way_out(tmp_path: Path, damage: str) -> None:
    async with Platform(data_dir=tmp_path) as platform:
        await platform.create_agent("tenant-1", agent_id=AGENT)
    path = tmp_path / "records.db"
    content = path.read_bytes()
    if damage == "a record":
        path.write_bytes(content.replace(b'"agent-1"', b'"agent-2"', 1))
    else:
        path.write_bytes(b"x" * 100 + content[100:])
    with pytest.raises(StoreDamaged, match=rf"{path} is damaged .*put a backup in its place"):
        await Platform(data_dir=tmp_path).__aenter__()
    path.write_bytes(content)
    async with Platform(data_dir=tmp_path) as platform:
        assert platform.hub.agent("tenant-1", AGENT).record.agent_id == AGENT


async def test_records_of_a_later_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        for module in ("hub", "state"):
            later.setattr(f"artcafe_proto.platform.{module}.SCHEMA_VERSION", 2)
        async with Platform(data_dir=tmp_path):
            pass
    with pytest.raises(StoreSchema, match=r"another version \(expected records of schema 1, not 2"):
        await Platform(data_dir=tmp_path).__aenter__()


# --- a store that is slow, full or gone -------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["slow", "full", "unavailable"])
async def test_a_store_that_fails_is_told_harms_no_idle_link_and_heals_without_a_restart(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = FaultyStore(MemoryStore())
    async with stored(store) as (platform, events), tenant_client(platform) as client:
        await enrol(platform, tmp_path)
        async with agent_of(platform.url, tmp_path):
            await events.nth(AgentOnline)
            if fault == "slow":
                store.hold()
            else:
                store.fail(StoreFull("no room") if fault == "full" else StoreUnavailable("the disk is gone"))
            doubted = await client.post(f"/agents/{AGENT}/commands", json={"command": "work", "command_id": "c1"})
            assert (doubted.status_code, doubted.json()["error"]["code"]) == (503, "may_be_accepted")
            assert (doubted.json()["command_id"], doubted.headers["retry-after"]) == ("c1", "5")
            refused = await client.post(f"/agents/{AGENT}/commands", json={"command": "work", "command_id": "c2"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
            assert (await client.get("/commands/c1")).status_code == 503
            with pytest.raises(ApiError) as error:
                await platform.send_command(TENANT, AGENT, "work")
            assert error.value.status == 503
            assert [each.cause for each in events.of(StoreStalled)] == [fault]
            assert platform.hub.agent(TENANT, AGENT).online, "an idle link is left alone"
            store.heal()
            store.release()
            await events.nth(StoreRecovered)
            answered = await events.nth(CommandAnswered)
            assert answered.command_id == "c1"
            assert (await client.get("/commands/c1")).json()["state"] == "succeeded"
            assert len(events.of(AgentOnline)) == 1
    lines = [each.getMessage() for each in caplog.records if each.name == "artcafe_platform"]
    assert f"the store is {fault}: new work is refused until it stores again [PLAT-5]" in lines
    assert sum(line.startswith("cannot store, trying again: ") for line in lines) == (fault != "slow")
    assert sum(line.startswith("the store works again, after ") for line in lines) == 1


@pytest.mark.usefixtures("impatient")
async def test_a_database_that_may_not_grow_is_full_until_it_may(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "records.db")
    async with Platform(tenants=TENANTS, store=store) as platform:
        events = Recorder(platform)
        await platform.create_agent(TENANT, agent_id=AGENT)
        database = store._database  # pyright: ignore[reportPrivateUsage]
        worker = store._worker  # pyright: ignore[reportPrivateUsage]

        async def limit(pages: int) -> None:
            assert worker is not None
            assert database is not None
            connection = database._connection  # pyright: ignore[reportPrivateUsage]
            assert connection is not None
            await worker.run(lambda: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())

        await limit(1)
        with pytest.raises(ApiError) as refused:
            await platform.send_command(TENANT, AGENT, "work", {"x": "x" * 100_000}, command_id="c1")
        assert (refused.value.status, refused.value.error) == (503, "may_be_accepted")
        assert [each.cause for each in events.of(StoreStalled)] == ["full"]
        await limit(1_000_000)
        await events.nth(StoreRecovered)
        await platform.send_command(TENANT, AGENT, "work", {"x": "x" * 100_000}, command_id="c1")


@pytest.mark.usefixtures("impatient")
async def test_on_a_full_disk_new_work_is_refused_until_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    async with Platform(tenants=TENANTS, data_dir=small_disk) as platform:
        events = Recorder(platform)
        await platform.create_agent(TENANT, agent_id=AGENT)
        room = os.statvfs(small_disk)
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize))
        with pytest.raises(ApiError) as refused:
            await platform.send_command(TENANT, AGENT, "work", {"x": "x" * 100_000}, command_id="c1")
        assert refused.value.status == 503
        assert [each.cause for each in events.of(StoreStalled)] == ["full"]
        ballast.unlink()
        await events.nth(StoreRecovered)
        assert await platform.send_command(TENANT, AGENT, "work", {"x": "x" * 100_000}, command_id="c1") == "c1"


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
async def test_a_platform_whose_store_hangs_ends_all_the_same_and_says_what_is_not_stored() -> None:
    store = FaultyStore(MemoryStore())

    async def serve() -> None:
        async with Platform(tenants=TENANTS, store=store) as platform, tenant_client(platform) as client:
            store.hold()
            async with client.stream("GET", "/events") as stream:
                assert stream.status_code == 200
                answer = await client.post("/agents", json={"agent_id": AGENT})
                assert (answer.status_code, answer.json()["agent_id"]) == (503, AGENT)

    with anyio.fail_after(PATIENCE_S):
        with pytest.raises(StoreUnavailable, match="ended without storing 1 of its records"):
            await serve()


async def test_a_store_that_breaks_its_contract_ends_the_platform(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryStore):
        async def commit(self, persist: object) -> None:
            if self.held:
                raise ZeroDivisionError
            await super().commit(persist)  # type: ignore[arg-type]

    async def serve() -> None:
        async with Platform(tenants=TENANTS, store=Broken()) as platform:
            await platform.create_agent(TENANT)

    with anyio.fail_after(PATIENCE_S):
        with pytest.raises(ZeroDivisionError):
            await serve()
    assert "the platform is ended by an internal error: ZeroDivisionError" in caplog.text


async def test_a_store_is_given_to_one_platform_at_a_time() -> None:
    store = MemoryStore()
    async with Platform(tenants=TENANTS, store=store):
        with pytest.raises(LocalProtocolError, match="open already"):
            await Platform(tenants=TENANTS, store=store).__aenter__()
