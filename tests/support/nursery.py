"""Starts programs that are imported already, in a few milliseconds each: it forks itself.

Standard input has a line of JSON for each request: `["start", NAME, PROGRAM, ARGUMENTS]` has one of PROGRAMS run in a
process of its own, `["tell", NAME, LINE]` gives that process a line to read, and `["end", NAME]` ends its standard
input. Standard output has the lines `began NAME PID` and `ended NAME STATUS`, where a signal counts as a negative
status, and what the programs write. At the end of its standard input that of every process ends. It needs Linux, whose
pidfds say when a process has ended.
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import Final

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from support import killed_agent, killed_platform
from support.kill_marks import say

PROGRAMS: Final = {"agent": killed_agent.run, "platform": killed_platform.run}


class Nursery:
    """Who lives, and by which pipe each of them ends."""

    def __init__(self) -> None:
        self._pipes: dict[str, int] = {}
        self._selector = DefaultSelector()
        self._selector.register(0, EVENT_READ, None)

    def run(self) -> None:
        """Until the end of standard input."""
        requests = b""
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._bury(key.fd, *key.data)
                    continue
                data = os.read(0, 65536)
                if not data:
                    return
                *lines, requests = (requests + data).split(b"\n")
                for line in lines:
                    self._obey(*msgspec.json.decode(line))

    def _obey(self, word: str, name: str, about: str = "", arguments: tuple[str, ...] = ()) -> None:
        match word:
            case "start":
                self._start(name, about, arguments)
            case "tell":
                with suppress(KeyError, BrokenPipeError):
                    os.write(self._pipes[name], about.encode())
            case _:
                with suppress(KeyError):
                    os.close(self._pipes.pop(name))

    def _start(self, name: str, program: str, arguments: tuple[str, ...]) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._live(program, list(arguments), reading, writing)
        os.close(reading)
        self._pipes[name] = writing
        self._selector.register(os.pidfd_open(pid), EVENT_READ, (pid, name))
        say("began", f"{name} {pid}")

    def _live(self, program: str, arguments: list[str], reading: int, writing: int) -> None:
        os.dup2(reading, 0)
        for each in (reading, writing, *self._pipes.values()):
            os.close(each)
        self._selector.close()
        status = 1
        try:
            PROGRAMS[program](arguments)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def _bury(self, descriptor: int, pid: int, name: str) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with suppress(KeyError):
            os.close(self._pipes.pop(name))
        say("ended", f"{name} {status}")


if __name__ == "__main__":
    Nursery().run()
