"""CMD-8: what SIGHUP does to `artcafe agent` and `artcafe platform`, with a terminal, without one, and under nohup; and
what a signal leaves of `artcafe demo`.
"""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from artcafe_cli.key_files import make_key_pair
from support.certificates import issue

PATIENCE_S = 60.0
AUTHORITY = issue(common_name="The Authority", is_authority=True)
AGENT = """
from artcafe_anyio import Agent
agent = Agent(agent_id="a", tenant_id="t", private_key_path="key", api_endpoint="http://127.0.0.1:1", jitter=0)
"""


class Running:
    """A command in a session of its own, and what it has said on standard error."""

    def __init__(self, folder: Path, command: list[str], prepare: Callable[[], None] | None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "artcafe_cli", *command],
            cwd=folder,
            env={name: value for name, value in os.environ.items() if not name.startswith("ARTCAFE_")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=prepare,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(stream,)) for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        with self._news:
            found = self._news.wait_for(lambda: sum(text in line for line in self.lines) >= times, PATIENCE_S)
        assert found, self.lines

    def end(self) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return status


@contextmanager
def running(folder: Path, kind: str, prepare: Callable[[], None] | None = None) -> Generator[Running]:
    """An agent or a platform that has begun to run, with files that it has read."""
    (folder / "my_agent.py").write_text(AGENT)
    if not (folder / "key").exists():
        make_key_pair(folder / "key", "ed25519", "")
        issue("localhost", by=AUTHORITY).write(folder, "server")
    command, ready = ["agent", "my_agent:agent"], "offline"
    if kind == "platform":
        command, ready = (
            ["platform", "--port", "0", "--cert-file", "server.pem", "--key-file", "server-key.pem"],
            "ready",
        )
    program = Running(folder, command, prepare)
    try:
        program.wait_for(ready)
        yield program
    finally:
        program.process.kill()
        program.end()


def change_files(folder: Path) -> None:
    (folder / "key").unlink()
    (folder / "key.pub").unlink()
    make_key_pair(folder / "key", "ed25519", "")
    issue("localhost", by=AUTHORITY).write(folder, "server")


@pytest.mark.parametrize("kind", ["agent", "platform"])
def test_without_a_terminal_files_are_read_again_and_it_goes_on(tmp_path: Path, kind: str) -> None:
    changed = "key changed and was read again: SHA256:" if kind == "agent" else ".pem changed and was read again"
    with running(tmp_path, kind) as program:
        program.process.send_signal(signal.SIGHUP)
        program.wait_for("SIGHUP: files that have changed are read again [CMD-8]")
        assert not any("changed and was" in line for line in program.lines)
        change_files(tmp_path)
        program.process.send_signal(signal.SIGHUP)
        program.wait_for(changed)
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0


@pytest.mark.parametrize("kind", ["agent", "platform"])
def test_under_nohup_it_stays_ignored(tmp_path: Path, kind: str) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with running(tmp_path, kind, ignore) as program:
        program.process.send_signal(signal.SIGHUP)
        program.process.send_signal(signal.SIGTERM)
        assert program.end() == 0
        assert not any("SIGHUP" in line for line in program.lines)


@pytest.mark.parametrize("kind", ["agent", "platform"])
@pytest.mark.parametrize("how", ["a signal", "the terminal's end"])
def test_with_a_terminal_it_drains(tmp_path: Path, kind: str, how: str) -> None:
    leader, follower = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(follower, termios.TIOCSCTTY, 0)

    with running(tmp_path, kind, take_terminal) as program:
        os.close(follower)
        if how == "a signal":
            program.process.send_signal(signal.SIGHUP)
        else:
            os.close(leader)  # the system sends the session's leader a SIGHUP
        assert program.end() == 0
    if kind == "agent":
        assert any("SIGHUP: draining" in line for line in program.lines)
    if how == "a signal":
        os.close(leader)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("moment", ["keys in", "sent"])
def test_a_signal_ends_a_demo_which_leaves_no_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, moment: str
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = Running(tmp_path, ["demo", "--agents", "3", "--seconds", "600"], None)
    try:
        program.wait_for(moment)
        assert [path.name.startswith("artcafe-demo-") for path in tmp_path.iterdir()] == [True]
        program.process.send_signal(number)
        assert program.end() == 128 + number
        assert list(tmp_path.iterdir()) == []
    finally:
        program.process.kill()
        program.end()
