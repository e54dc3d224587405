"""The programs that are killed: how they are started, what they say, and what they leave."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from artcafe_proto.records import Record

SUPPORT: Final = Path(__file__).parent
PATIENCE_S: Final = 20.0
"""For a process to start or end, and for a place to be reached."""


async def start(file: str, *arguments: str) -> Process:
    """A program of `support`, which ends at the end of its standard input."""
    return await asyncio.create_subprocess_exec(sys.executable, SUPPORT / file, *arguments, stdin=PIPE, stdout=PIPE)


async def until(done: Callable[[], bool], seconds: float) -> None:
    """Wait for what other tasks bring about. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not done():  # noqa: ASYNC110 what comes, comes from other processes
            await asyncio.sleep(0.005)


def stored(path: Path) -> list[Record]:
    """What a file holds whose process was killed, read from a copy: the next one is to find it as it was left."""
    with tempfile.TemporaryDirectory() as folder:
        for each in path.parent.glob(f"{path.name}*"):
            shutil.copy(each, folder)
        with closing(sqlite3.connect(Path(folder, path.name))) as database:
            rows = database.execute("SELECT kind, n, value FROM records ORDER BY kind, n").fetchall()
    return [Record(*row) for row in rows]


class Program:
    """One process, from its fork to its end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid: int | None = None
        self.status: int | None = None
        """How it ended; a signal counts as a negative status."""
        self.is_up = False
        """Whether it listens, or is online."""
        self.asked_at = time.monotonic()
        self.back_s: float | None = None
        """How long after its fork was asked for it was up first."""

    def came_up(self) -> None:
        """It has said so."""
        self.is_up = True
        if self.back_s is None:
            self.back_s = time.monotonic() - self.asked_at

    def kill(self) -> None:
        """By SIGKILL, unless it has ended."""
        if self.pid is not None and self.status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Programs:
    """Started by a nursery (`nursery.py`). There is one program of a name at a time."""

    def __init__(self, heard: Callable[[str, str], None]) -> None:
        """`heard` is called with what the programs say that no other program must know."""
        self._heard = heard
        self._programs: dict[str, Program] = {}
        self._nursery: Process | None = None

    async def open(self) -> None:
        """Have everything imported."""
        self._nursery = await start("nursery.py")
        self._hearing = asyncio.create_task(self._hear(self._nursery))

    async def aclose(self) -> None:
        """End what still lives."""
        if self._nursery is None:
            return
        for program in self._programs.values():
            program.kill()
        assert self._nursery.stdin is not None
        self._nursery.stdin.close()
        await self._nursery.wait()
        await self._hearing

    def __getitem__(self, name: str) -> Program:
        return self._programs[name]

    async def start(self, name: str, program_name: str, *arguments: str) -> Program:
        """Start it, and wait until there is a process."""
        program = self._programs[name] = Program(name)
        self._ask("start", name, program_name, arguments)
        await until(lambda: program.pid is not None, PATIENCE_S)
        return program

    def tell(self, name: str, line: str) -> None:
        """Give it a line to read."""
        self._ask("tell", name, f"{line}\n")

    async def end(self, name: str) -> int:
        """Let it end in order. Returns its status."""
        self._ask("end", name)
        return await self.ended(name)

    async def ended(self, name: str) -> int:
        """Wait for its end. Returns its status."""
        program = self._programs[name]
        await until(lambda: program.status is not None, PATIENCE_S)
        assert program.status is not None
        return program.status

    def _ask(self, *request: Any) -> None:
        assert self._nursery is not None
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(msgspec.json.encode(request) + b"\n")

    async def _hear(self, nursery: Process) -> None:
        assert nursery.stdout is not None
        async for line in nursery.stdout:
            word, name, *more = line.decode().split()
            match word:
                case "began":
                    self._programs[name].pid = int(more[0])
                case "ended":
                    self._programs[name].status = int(more[0])
                case "up" | "online":
                    self._programs[name].came_up()
                case "offline":
                    self._programs[name].is_up = False
                case _:
                    self._heard(word, name)
