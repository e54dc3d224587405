"""An agent with a journal (CMD-1): what outlives its process, and what a file that cannot be used does to it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskStatus
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform, Link
from anyio_agent.watched import WatchedAgent
from artcafe_platform import Platform
from artcafe_proto import ConfigError, Instant, LocalProtocolError, OutboxFullError
from artcafe_proto.effects import Persist
from artcafe_proto.events import CommandInterrupted, CommandReceived, ResponsesSettled, StoreRecovered, StoreStalled
from artcafe_proto.records import Record
from artcafe_stores import (
    MemoryStore,
    SqliteStore,
    StoreDamaged,
    StoreFull,
    StoreLocked,
    StoreSchema,
    StoreUnavailable,
)
from support.faulty_stores import FaultyStore

pytestmark = pytest.mark.anyio
WALL = 1_796_033_700.0  # 2026-11-30 10:15:00 UTC


class Lives(WatchedAgent):
    """The lives of one agent with a journal, and what its handlers did."""

    def __init__(self, platform: FakePlatform, key_path: Path, path: Path) -> None:
        super().__init__(platform, key_path)
        self.path = path
        self.runs: list[str] = []
        self.go_on = anyio.Event()
        self.agent.command("slow")(self.slow)
        self.agent.command("again", idempotent=True)(self.slow)
        self.agent.command("quick", inline=True)(lambda: self.runs.append("quick"))
        self.make(journal_path=path, ping_interval=0.05)

    async def slow(self) -> str:
        self.runs.append("slow")
        await self.go_on.wait()
        return "done"

    @asynccontextmanager
    async def killed(self) -> AsyncGenerator[Link]:
        """One life, which ends without a word and stores nothing more; gives its link."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.agent.serve)
            yield await self.platform.link()
            tasks.cancel_scope.cancel()

    @asynccontextmanager
    async def drained(self) -> AsyncGenerator[Link]:
        """One that ends in order."""
        with anyio.fail_after(PATIENCE_S):
            async with self.agent:
                yield await self.platform.link()


async def command(link: Link, name: str, command_id: str) -> None:
    """Send a command, whose id is another than those of earlier links."""
    await link.send("command", command_id, {"command": name, "args": {}})


@pytest.fixture
async def lives(key: Ed25519PrivateKey, key_path: Path, tmp_path: Path) -> AsyncGenerator[Lives]:
    platform = FakePlatform(key.public_key())
    async with platform.listening():
        yield Lives(platform, key_path, tmp_path / "journals" / "journal.db")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FaultyStore:
    """Every journal is this store, in memory, and nobody waits for it longer than 0.3 s."""
    faulty = FaultyStore(MemoryStore())

    def store_at(path: str) -> FaultyStore:
        return faulty

    monkeypatch.setattr("artcafe_anyio.journals.SqliteStore", store_at)
    for module in ("policies.keeping", "driver"):
        monkeypatch.setattr(f"artcafe_proto.{module}.STORE_PATIENCE_S", 0.3)
    monkeypatch.setattr("artcafe_proto.policies.keeping.STORE_RETRY_S", 0.05)
    monkeypatch.setattr("artcafe_stores.committing.CLOSE_S", 1000.0)
    return faulty


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "artcafe.agent" and each.levelno == level]


# --- the next life ----------------------------------------------------------------------------------------------------


async def test_cmd_9_what_ran_when_the_process_ended_is_answered_interrupted_unasked(lives: Lives) -> None:
    async with lives.killed() as link:
        await command(link, "slow", "a")
        await lives.seen(CommandReceived)
    async with lives.drained() as link:
        answer = await link.wait_for("response", command_id="a")
        assert (answer["status"], answer["code"]) == ("error", "interrupted")
    assert lives.runs == ["slow"]
    async with lives.drained() as link:  # it is settled, and still known
        await command(link, "slow", "a")
        assert (await link.wait_for("response", command_id="a"))["code"] == "expired_result"
    assert lives.runs == ["slow"]


async def test_cmd_9_what_is_idempotent_runs_again_when_it_is_sent_again(lives: Lives) -> None:
    async with lives.killed() as link:
        await command(link, "again", "a")
        await lives.seen(CommandReceived)
    lives.go_on.set()
    async with lives.drained() as link:
        await lives.seen(CommandInterrupted)
        await command(link, "again", "a")
        assert (await link.wait_for("response", command_id="a"))["result"] == "done"
    assert lives.runs == ["slow", "slow"]


async def test_cmd_3_what_was_finished_is_answered_from_the_journal(lives: Lives) -> None:
    async with lives.killed() as link:
        link.pongs = False
        await command(link, "quick", "a")
        await link.wait_for("response", command_id="a")
    async with lives.drained() as link:
        assert (await link.wait_for("response", command_id="a"))["status"] == "success"
    assert lives.runs == ["quick"]
    async with lives.drained() as link:
        pass
    assert [each["type"] for each in link.received if each["type"] == "response"] == []


async def test_cmd_3_a_message_that_is_not_settled_goes_out_in_the_next_life(lives: Lives) -> None:
    async with lives.killed() as link:
        link.pongs = False
        lives.agent.send_message({"n": 1})
        await link.wait_for("message", n=1)
    async with lives.drained() as link:
        await link.wait_for("message", n=1)


async def test_an_orderly_end_leaves_one_file_that_another_life_may_have(lives: Lives) -> None:
    async with lives.drained() as link:
        await command(link, "quick", "a")
        await link.wait_for("response", command_id="a")
        assert lives.path.with_name("journal.db-wal").exists()
    assert sorted(each.name for each in lives.path.parent.iterdir()) == ["journal.db", "journal.db.lock"]
    assert lives.path.stat().st_mode & 0o777 == 0o600


async def test_the_first_line_says_what_a_crash_means(lives: Lives, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "artcafe.agent")
    async with lives.drained():
        pass
    assert lines(caplog, logging.INFO)[0].endswith(f"; the journal is {lives.path}")
    caplog.clear()
    lives.make(journal_path=None)
    async with lives.drained():
        pass
    (first, *_) = lines(caplog, logging.INFO)
    assert "; no journal: commands that run when the process is killed may run again, " in first


async def test_a_stop_while_the_journal_opens_is_not_forgotten(
    lives: Lives, store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    opened = store.open

    async def open_late() -> Iterable[Record]:
        lives.agent.stop()
        with pytest.raises(LocalProtocolError, match="runs already"):
            await lives.agent.serve()
        return await opened()

    store.open = open_late
    with anyio.fail_after(PATIENCE_S):
        await lives.agent.serve()
    assert lives.platform.requests == []
    first, last = lines(caplog, logging.INFO)
    assert first.startswith("agent-1: starting: ")
    assert last == "agent-1: stopped"


def test_an_agent_without_a_journal_does_without_sqlite() -> None:
    program = "import sys, artcafe_anyio; print({'sqlite3', 'artcafe_stores'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# --- a file that cannot be used ---------------------------------------------------------------------------------------


async def test_a_second_agent_on_one_journal_is_told_who_has_it(lives: Lives) -> None:
    async with lives.drained():
        other = lives.agent.configured()
        with pytest.raises(StoreLocked, match=f"{lives.path} is in use by process {os.getpid()} on .* since .* UTC"):
            await other.serve()
    async with lives.drained():
        pass


def a_record(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b'"cmd-in-the-file"') == 1
    path.write_bytes(content.replace(b'"cmd-in-the-file"', b'"cmd-of-the-file"'))


def a_page(path: Path) -> None:
    path.write_bytes(b"x" * 100 + path.read_bytes()[100:])


@pytest.mark.parametrize("damage", [a_record, a_page])
async def test_a_damaged_journal_is_renamed_and_a_new_one_begins(
    lives: Lives, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with lives.drained() as link:
        await command(link, "quick", "cmd-in-the-file")
        await link.wait_for("response", command_id="cmd-in-the-file")
    damage(lives.path)
    damaged = lives.path.read_bytes()
    taken = lives.path.with_name("journal.db.damaged-20261130T101500Z-wal")
    taken.write_text("of another day")
    clock = lives.agent.clock
    began = clock()

    def read() -> Instant:
        now = clock()
        return Instant(now.mono, WALL + now.mono - began.mono)

    async def serve(*, task_status: TaskStatus[None]) -> None:
        await lives.agent.serve(clock=read, task_status=task_status)

    async with anyio.create_task_group() as tasks:
        await tasks.start(serve)
        link = await lives.platform.link()
        await command(link, "quick", "cmd-in-the-file")
        assert (await link.wait_for("response", command_id="cmd-in-the-file"))["status"] == "success"
        lives.agent.stop()
    assert lives.runs == ["quick", "quick"]
    aside = lives.path.with_name("journal.db.damaged-20261130T101500Z.2")
    assert aside.read_bytes() == damaged
    assert taken.read_text() == "of another day"
    (line,) = lines(caplog, logging.ERROR)
    assert line.startswith("agent-1: the journal is damaged (")
    assert f"is now {aside}, and a new one begins: commands that were accepted may run again" in line


async def test_another_agents_journal_is_refused_and_left_as_it_is(lives: Lives) -> None:
    async with lives.drained():
        pass
    before = lives.path.read_bytes()
    with pytest.raises(StoreSchema, match=r"cannot be the journal.*this one is agent-1's of tenant-1: give"):
        await lives.agent.configured(agent_id="agent-2").serve()
    assert lives.path.read_bytes() == before
    assert not list(lives.path.parent.glob("*damaged*"))


async def test_the_store_of_a_platform_is_refused(lives: Lives, tmp_path: Path) -> None:
    async with Platform(data_dir=tmp_path / "data"):
        pass
    with pytest.raises(StoreSchema, match="this one is no agent's: give each agent its own"):
        await lives.agent.configured(journal_path=tmp_path / "data" / "records.db").serve()


async def test_records_of_a_later_version_are_refused(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as later:
        for module in ("records", "journal"):
            later.setattr(f"artcafe_proto.agent.{module}.JOURNAL_VERSION", 2)
        async with lives.drained():
            pass
    with pytest.raises(StoreSchema, match="a journal of version 1, not 2: use the version that wrote it"):
        await lives.agent.serve()


async def test_a_journal_that_is_not_kept_safe_is_a_config_error(lives: Lives, tmp_path: Path) -> None:
    exposed = tmp_path / "exposed.db"
    exposed.touch(0o644)
    with pytest.raises(ConfigError, match=r"^journal_path .*exposed\.db is open to others \(mode 0644\)"):
        await lives.agent.configured(journal_path=exposed).serve()
    with pytest.raises(ConfigError, match=r"^journal_path .*exposed\.db cannot be used as a directory: it is a file"):
        await lives.agent.configured(journal_path=exposed / "journal.db").serve()


# --- a store that is slow, full or gone -------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["slow", "full", "unavailable"])
async def test_a_journal_that_fails_has_new_work_refused_and_heals_without_a_restart(
    lives: Lives, store: FaultyStore, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with lives.drained() as link:
        await command(link, "quick", "a")
        await link.wait_for("response", command_id="a")
        if fault == "slow":
            store.hold()
        else:
            store.fail(StoreFull("no room") if fault == "full" else StoreUnavailable("the disk is gone"))
        await command(link, "quick", "b")
        await lives.seen(StoreStalled)
        await command(link, "quick", "c")
        assert (await link.wait_for("response", command_id="c"))["code"] == "overloaded"
        await link.wait_for("status", status="busy")
        with pytest.raises(OutboxFullError):
            lives.agent.send_message({})
        assert lives.runs == ["quick"]
        store.heal()
        store.release()
        await lives.seen(StoreRecovered)
        assert (await link.wait_for("response", command_id="b"))["status"] == "success"
        lives.agent.send_message({})
    errors = lines(caplog, logging.ERROR)
    assert sum("cannot store, trying again: " in line for line in errors) == (fault != "slow")
    assert sum("the journal takes nothing" in line for line in errors) == 1


async def test_a_database_that_may_not_grow_is_full_until_it_may(lives: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    stores: list[SqliteStore] = []

    class Kept(SqliteStore):
        def __init__(self, path: str) -> None:
            super().__init__(path)
            stores.append(self)

    async def limit(pages: int) -> None:
        database, worker = stores[0]._database, stores[0]._worker  # pyright: ignore[reportPrivateUsage]
        assert database is not None
        assert worker is not None
        connection = database._connection  # pyright: ignore[reportPrivateUsage]
        assert connection is not None
        await worker.run(lambda: connection.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    monkeypatch.setattr("artcafe_anyio.journals.SqliteStore", Kept)
    async with lives.drained() as link:
        await command(link, "quick", "a")
        await link.wait_for("response", command_id="a")
        await limit(1)
        lives.agent.send_message({"text": "x" * 100_000})
        await lives.seen(StoreStalled)
        with pytest.raises(OutboxFullError):
            lives.agent.send_message({})
        await limit(1_000_000)
        await lives.seen(StoreRecovered)
        await link.wait_for("message")


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_link_10_an_agent_whose_journal_hangs_ends_all_the_same_and_says_what_is_not_stored(
    lives: Lives, store: FaultyStore
) -> None:
    lives.make(drain_timeout=0.1)

    async def live() -> None:
        async with lives.drained() as link:
            store.hold()
            await command(link, "quick", "a")
            await lives.seen(StoreStalled)

    with pytest.raises(StoreUnavailable, match=r"did not take everything in 5 s, and the agent ended without storing"):
        await live()
    assert lives.runs == []


async def test_link_10_a_stop_at_once_stores_what_was_put_off(lives: Lives) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            await tasks.start(lives.agent.serve)
            link = await lives.platform.link()
            await command(link, "quick", "a")
            await lives.seen(ResponsesSettled)
            lives.agent.stop(drain=False)
    async with lives.drained() as link:
        await command(link, "quick", "a")
        assert (await link.wait_for("response", command_id="a"))["code"] == "expired_result"


async def test_what_cannot_be_tried_again_ends_the_agent(
    lives: Lives, store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    async def live() -> None:
        async with lives.drained() as link:
            store.fail(StoreDamaged("a page is damaged"))
            await command(link, "quick", "a")
            await anyio.sleep_forever()

    with pytest.raises(StoreDamaged, match="a page is damaged"):
        await live()
    assert lines(caplog, logging.ERROR) == ["agent-1: ended by its journal: a page is damaged [CMD-1]"]


async def test_a_store_that_breaks_its_contract_is_an_internal_error(
    lives: Lives, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def break_down(persist: Persist) -> None:
        raise ZeroDivisionError

    async def live() -> None:
        async with lives.drained() as link:
            monkeypatch.setattr(store, "commit", break_down)
            await command(link, "quick", "a")
            await anyio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        await live()
