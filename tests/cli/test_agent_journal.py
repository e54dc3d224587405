"""`artcafe agent --journal` as its user meets it: killed, on a full disk, with a damaged file, and two at once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from artcafe_proto.agent.records import Kind
from cli.test_agent_command import agent_process
from cli.test_cli import TOKEN, run
from cli.test_restarted_platform import PATIENCE_S, program, serving, until
from support.foreign_ports import reserved_port

MY_AGENT = """
from pathlib import Path
from time import sleep
from artcafe_anyio import Agent

agent = Agent(jitter=0)

def work(n: int) -> int:
    with Path("runs").open("a") as runs:
        runs.write(f"{n}\\n")
    while not Path("go").exists():
        sleep(0.02)
    return n

agent.command("work")(work)
agent.command("read", idempotent=True)(work)
"""


class Scene:
    """A platform that stores, an agent that is registered with it, and a tenant who waits."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self.platform = serving(port, folder)

    def begin_again(self) -> None:
        """The platform comes back."""
        self.platform = serving(self._port, self.folder)

    def flags(self, journal: str = "journal.db") -> list[str]:
        """Those of an agent with a journal."""
        identity = ["--agent-id", "a", "--tenant-id", "tenant-1", "--private-key-path", "key"]
        return [*identity, "--api-endpoint", self.url, "--journal", journal]

    def agent(self, journal: str = "journal.db") -> AbstractContextManager[subprocess.Popen[str]]:
        """An agent with a journal."""
        return program("agent", "my_agent:agent", *self.flags(journal), cwd=self.folder)

    def send(self, command: str, args: str = '{"n": 1}') -> AbstractContextManager[subprocess.Popen[str]]:
        """Send a command, and wait for its response."""
        return program("send", "a", command, "--args", args, cwd=self.folder, ARTCAFE_PLATFORM=self.url)

    @property
    def runs(self) -> int:
        """How often a handler has run."""
        return (self.folder / "runs").read_text().count("\n")


@contextmanager
def staged(folder: Path) -> Generator[Scene]:
    (folder / "my_agent.py").write_text(MY_AGENT)
    assert run("keygen", "key", cwd=folder).returncode == 0
    with reserved_port() as port:
        scene = Scene(folder, port)
        try:
            tenant = {"ARTCAFE_PLATFORM": scene.url, "ARTCAFE_TENANT_TOKEN": TOKEN}
            registered = run("register", "--agent-id", "a", "--public-key", "key.pub", cwd=folder, **tenant)
            assert registered.returncode == 0
            yield scene
        finally:
            scene.platform.kill()
            scene.platform.communicate()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with staged(tmp_path) as scene:
        yield scene


def killed(process: subprocess.Popen[str]) -> str:
    """What it had said."""
    process.kill()
    return process.communicate(timeout=PATIENCE_S)[1]


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """Its status after SIGTERM, and the lines that it has said."""
    process.send_signal(signal.SIGTERM)
    err = process.communicate(timeout=PATIENCE_S)[1]
    return process.returncode, err.splitlines()


def wait_for_record(path: Path, kind: Kind) -> None:
    """Wait until a journal holds a record of that kind."""
    end = time.monotonic() + PATIENCE_S
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        while not journal.execute("SELECT 1 FROM records WHERE kind = ?", (kind,)).fetchall():
            assert time.monotonic() < end
            time.sleep(0.02)


def test_cmd_9_a_command_that_a_kill_interrupts_is_answered_interrupted(scene: Scene) -> None:
    with scene.send("work") as send:
        with scene.agent() as agent:
            until(scene.folder / "runs", 1)
            said = killed(agent)
        assert said.splitlines()[0].endswith(f"; the journal is {scene.folder}/journal.db")
        with scene.agent() as agent:
            out = send.communicate(timeout=PATIENCE_S)[0]
            status, lines = ended(agent)
    assert (send.returncode, status) == (1, 0)
    assert '"status":"error"' in out
    assert '"code":"interrupted"' in out
    assert scene.runs == 1
    what = "('work') was not finished when the last process ended: it may have run, and is answered"
    assert sum(what in line for line in lines) == 1


def test_cmd_9_an_idempotent_command_that_a_kill_interrupts_runs_again(scene: Scene) -> None:
    with scene.send("read") as send:
        with scene.agent() as agent:
            until(scene.folder / "runs", 1)
            killed(agent)
        (scene.folder / "go").touch()
        with scene.agent():
            out = send.communicate(timeout=PATIENCE_S)[0]
    assert (send.returncode, out) == (0, '{"status":"success","result":1}\n')
    assert scene.runs == 2


def test_cmd_1_a_command_that_was_finished_before_a_kill_is_answered_from_the_journal(scene: Scene) -> None:
    with scene.send("work") as send:
        with scene.agent() as agent:
            until(scene.folder / "runs", 1)
            killed(scene.platform)
            (scene.folder / "go").touch()
            wait_for_record(scene.folder / "journal.db", Kind.RESPONSE)
            killed(agent)
        scene.begin_again()
        with scene.agent():
            out = send.communicate(timeout=PATIENCE_S)[0]
    assert (send.returncode, out) == (0, '{"status":"success","result":1}\n')
    assert scene.runs == 1


def test_a_second_agent_on_one_journal_is_told_who_has_it(scene: Scene) -> None:
    (scene.folder / "go").touch()
    with scene.agent() as first:
        with scene.send("work") as send:  # then it has the journal
            assert send.wait(PATIENCE_S) == 0
        with scene.agent() as second:
            err = second.communicate(timeout=PATIENCE_S)[1]
        assert second.returncode == 1
        assert err.startswith(f"artcafe: {scene.folder}/journal.db is in use by process {first.pid} on ")
        assert err.endswith(": stop that first, or use another path\n")
        assert err.count("\n") == 1


def test_a_damaged_journal_is_renamed_in_one_line_and_the_agent_goes_on(scene: Scene) -> None:
    (scene.folder / "go").touch()
    path = scene.folder / "journal.db"
    path.touch(0o600)
    path.write_text("This is no journal.\n" * 300)
    with scene.agent() as agent:
        with scene.send("work") as send:
            assert send.wait(PATIENCE_S) == 0
        status, lines = ended(agent)
    assert status == 0
    (aside,) = scene.folder.glob("journal.db.damaged-*")
    assert f"the journal is damaged (file is not a database), is now {aside}, and a new one begins: " in lines[0]
    assert "starting: " in lines[1]
    with scene.agent() as agent, scene.send("work") as send:
        assert send.wait(PATIENCE_S) == 0
        assert "is damaged" not in "".join(ended(agent)[1])


def test_on_a_full_disk_commands_wait_at_the_platform_until_there_is_room(scene: Scene, small_disk: Path) -> None:
    (scene.folder / "go").touch()
    ballast = small_disk / "ballast"
    with agent_process(scene.folder, *scene.flags(str(small_disk / "journal.db"))) as agent:
        with scene.send("work") as send:
            assert send.wait(PATIENCE_S) == 0
        room = os.statvfs(small_disk)
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize))
        with scene.send("work") as send:
            agent.wait_for("the journal takes nothing, it is full: ")
            assert send.poll() is None
            ballast.unlink()
            agent.wait_for("the journal takes everything again, after ")
            assert send.wait(PATIENCE_S) == 0
        status, lines = agent.end()
    assert status == 0
    assert sum("cannot store, trying again: there is no room for " in line for line in lines) == 1
    assert scene.runs == 2


def test_an_agent_that_ends_while_its_disk_is_full_says_what_is_not_stored(scene: Scene, small_disk: Path) -> None:
    path = small_disk / "journal.db"
    with agent_process(scene.folder, *scene.flags(str(path))) as agent, scene.send("work"):
        until(scene.folder / "runs", 1)
        room = os.statvfs(small_disk)
        (small_disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize))
        (scene.folder / "go").touch()
        agent.wait_for("cannot store, trying again: ")
        agent.process.send_signal(signal.SIGTERM)
        agent.wait_for("draining, a second signal")
        status, lines = agent.end()
    assert status == 1
    assert lines[-1].startswith(f"artcafe: the journal {path} did not take everything in 5 s, and the agent ended")
