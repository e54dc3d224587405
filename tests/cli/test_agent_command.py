"""`artcafe agent` as a process: its log, giving up, and two processes with one agent id (LINK-6)."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from anyio import from_thread

from artcafe_anyio.keys import load_key
from artcafe_cli.key_files import make_key_pair
from artcafe_cli.log_lines import LineFormatter, is_colourful
from artcafe_platform import Platform

ARTCAFE = str(Path(sys.executable).with_name("artcafe"))
PATIENCE_S = 60.0
SOURCE = """
from artcafe_anyio import Agent
agent = Agent(jitter=0, {settings})

@agent.command("pid")
async def pid() -> int:
    import os
    return os.getpid()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with an agent's program and its key."""
    (tmp_path / "my_agent.py").write_text(SOURCE.format(settings=""))
    make_key_pair(tmp_path / "key", "ed25519", "")
    return tmp_path


class AgentProcess:
    """`artcafe agent` with the lines that it has written so far."""

    def __init__(self, folder: Path, *flags: str) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ARTCAFE_")}
        self.process = subprocess.Popen(
            [ARTCAFE, "agent", "my_agent:agent", *flags],
            env=environ,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                with self._news:
                    self.lines.append(line.rstrip("\n"))
                    self._news.notify_all()

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until so many lines hold `text`."""
        with self._news:
            assert self._news.wait_for(lambda: sum(text in line for line in self.lines) >= times, PATIENCE_S), (
                self.lines
            )

    def wait(self) -> tuple[int, list[str]]:
        """Its exit status, and what it wrote, without the times."""
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status, [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+\d\d:\d\d ", "", line) for line in self.lines]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, list[str]]:
        """Send it a signal and wait for its end."""
        self.process.send_signal(number)
        return self.wait()


@contextmanager
def agent_process(folder: Path, *flags: str) -> Generator[AgentProcess]:
    """Run one, and make sure that nothing is left of it."""
    agent = AgentProcess(folder, *flags)
    try:
        yield agent
    finally:
        agent.process.kill()
        agent.wait()


# --- against a platform -----------------------------------------------------------------------------------------------


@pytest.fixture
def served(folder: Path) -> Iterator[list[str]]:
    """A platform in this process that knows the agent; gives the flags to reach it."""
    with from_thread.start_blocking_portal() as portal:
        platform = Platform()
        with portal.wrap_async_context_manager(platform):
            portal.call(register, platform, load_key(str(folder / "key")).public.openssh)
            ids = ["--agent-id", "agent-1", "--tenant-id", "tenant-1", "--private-key-path", "key"]
            yield [*ids, "--api-endpoint", platform.url]


async def register(platform: Platform, public_key: str) -> None:
    await platform.create_agent("tenant-1", agent_id="agent-1")
    await platform.add_key("tenant-1", "agent-1", public_key)


def test_it_tells_its_life_in_lines(folder: Path, served: list[str]) -> None:
    with agent_process(folder, *served, "--log-level", "debug") as agent:
        agent.wait_for("online")
        status, lines = agent.end(signal.SIGINT)
    fingerprint = load_key(str(folder / "key")).public.fingerprint
    assert status == 0
    assert lines[0].startswith(f"INFO    agent-1: starting: {served[-1]}, {fingerprint}; no journal: ")
    assert lines[1:] == [
        "INFO    agent-1: token received, usable for 900 s, the next one is fetched in 720 s",
        "INFO    agent-1: online",
        "INFO    agent-1: SIGINT: draining, a second signal stops at once [CMD-8]",
        "DEBUG   agent-1: closing the link with 1000, the agent stops; at most 5.0 s [STAT-3]",
        "INFO    agent-1: stopped",
    ]


REPLACED = "the platform closed the link with 4409: replaced by a newer connection from 127.0.0.1"
CONTESTED = f"ERROR   agent-1: another process uses this agent id: {REPLACED} [LINK-6]"


def test_link_6_of_two_processes_the_newer_one_has_the_link_and_the_older_waits(
    folder: Path, served: list[str]
) -> None:
    with agent_process(folder, *served) as older:
        older.wait_for("online")
        with agent_process(folder, *served) as newer:
            newer.wait_for("online")
            older.wait_for("offline")
            status, lines = older.end()  # it does not wait to its end
            assert status == 0
            assert lines[2:] == [
                "INFO    agent-1: online",
                f"WARNING agent-1: offline: {REPLACED} [LINK-6]; next attempt in 10.0 s",
                CONTESTED,
                "INFO    agent-1: SIGTERM: draining, a second signal stops at once [CMD-8]",
                "INFO    agent-1: stopped",
            ]
            status, lines = newer.end()
    assert status == 0
    assert lines[2:] == [
        "INFO    agent-1: online",
        "INFO    agent-1: SIGTERM: draining, a second signal stops at once [CMD-8]",
        "INFO    agent-1: stopped",
    ]


def test_link_6_a_process_that_is_replaced_may_give_up_with_status_1(folder: Path, served: list[str]) -> None:
    with agent_process(folder, *served, "--give-up-after", "0.5") as older:
        older.wait_for("online")
        with agent_process(folder, *served) as newer:
            status, lines = older.wait()
            assert newer.end()[0] == 0
    reason = f"there was no link for 0.5 s, after which this agent is to give up; the last failure: {REPLACED}"
    assert status == 1
    assert lines[3:] == [
        f"WARNING agent-1: offline: {REPLACED} [LINK-6]; next attempt in 10.0 s",
        CONTESTED,
        f"WARNING agent-1: offline: {reason} [LINK-6]; no further attempt",
        "ERROR   agent-1: stopped: gave up [LINK-6]",
        f"artcafe: {reason} [LINK-6]",
    ]


def test_link_6_nobody_there_and_told_to_give_up(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    flags = ["--agent-id", "a", "--tenant-id", "t", "--private-key-path", "key", "--give-up-after", "0.2"]
    with agent_process(folder, *flags, "--api-endpoint", f"http://127.0.0.1:{port}") as agent:
        status, lines = agent.wait()
    assert status == 1
    assert lines[1].endswith("[LINK-3]; next attempt in 1.0 s")
    assert lines[-1].startswith("artcafe: there was no link for 0.2 s, after which this agent is to give up; ")
    assert lines[-1].endswith(" [LINK-6]")
    assert "cannot connect (refused)" in lines[-1]


# --- lines ------------------------------------------------------------------------------------------------------------


def record(name: str, level: int) -> logging.LogRecord:
    made = logging.LogRecord(name, level, __file__, 1, "%s and %s", ("this", "that"), None)
    made.created = 1_777_638_896.789
    return made


def test_a_line_has_its_time_with_the_offset_its_level_and_the_name_of_foreign_loggers() -> None:
    plain = LineFormatter(in_colour=False)
    line = plain.format(record("artcafe.agent", logging.INFO))
    assert re.fullmatch(r"2026-05-0\d \d\d:\d\d:56\.789[+-]\d\d:\d\d INFO    this and that", line)
    assert plain.format(record("httpx", logging.ERROR)).endswith(" ERROR   httpx: this and that")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not is_colourful(StringIO())
    assert is_colourful(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_colourful(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not is_colourful(Terminal())
    line = LineFormatter(in_colour=True).format(record("artcafe.agent", logging.WARNING))
    assert "\x1b[33mWARNING\x1b[0m this and that" in line
