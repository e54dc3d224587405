"""A platform that marks how far each command has come, and kills itself at a place that it is told.

    killed_platform.py DIR --port PORT --marks FILE [--place MARK --times N] [--planted]

It says `up` when it listens, and ends when its standard input does. Each mark is a line of FILE: the nanoseconds of the
monotonic clock, the mark and whom it concerns. What was written outlives the process. When it has made the mark of its
place so often, it sends itself SIGKILL. With `--planted` a batch is called stored while only the one before it is.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import anyio
import msgspec
from anyio import to_thread

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import artcafe_platform.owner
import artcafe_stores.sqlite
from artcafe_platform import Platform
from artcafe_platform.sockets import SocketConnection
from artcafe_proto.platform.records import CommandRecord, Kind, OutcomeRecord
from artcafe_proto.policies.keeping import Keeping
from artcafe_proto.records import Record, unpack
from artcafe_stores.database import Database
from support.kill_phases import MARKS, TENANT, TOKEN

_TEXT, _PONG = 0x1, 0xA
_ACCEPTED: Final = re.compile(rb'^HTTP/1\.1 202 .*"command_id":"([^"]+)"', re.DOTALL)


class Marks:
    """Where the marks go."""

    def __init__(self, path: str, place: str, times: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._place = place
        self._times = times
        self._commands: dict[int, Record] = {}

    def make(self, mark: str, whom: str) -> None:
        """Make one; end here if this is the place."""
        assert mark in MARKS, mark
        os.write(self._descriptor, b"%d %s %s\n" % (time.monotonic_ns(), mark.encode(), whom.encode()))
        if mark == self._place:
            self._times -= 1
            if self._times == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def make_of(self, mark: str, records: Iterable[Record]) -> None:
        """One for each command, and one for each outcome, of some records."""
        for record in records:
            if record.value is None:
                continue
            if record.kind == Kind.COMMAND:
                self._commands[record.n] = record
                self.make(mark, unpack(record, CommandRecord).command_id)
            elif record.kind == Kind.OUTCOME:
                command = self._commands[unpack(record, OutcomeRecord).command]
                self.make(f"outcome-{mark}", unpack(command, CommandRecord).command_id)

    def learn(self, records: Iterable[Record]) -> None:
        """Remember the commands, which outcomes name by their numbers."""
        self._commands |= {record.n: record for record in records if record.kind == Kind.COMMAND}


def put_in_place(marks: Marks, *, planted: bool) -> None:
    """Have the platform's parts make the marks."""
    put = Keeping.put

    def put_and_mark(self: Keeping, *records: Record) -> int:
        batch = put(self, *records)
        marks.make_of("put", records)
        return batch

    class MarkedDatabase(Database):
        """Marks its transactions."""

        _under_way: tuple[Record, ...] = ()
        _late: tuple[Record, ...] = ()

        def open(self) -> list[Record]:
            records = super().open()
            marks.learn(records)
            assert self._connection is not None
            self._connection.set_trace_callback(self._traced)
            return records

        def commit(self, records: Iterable[Record]) -> None:
            self._under_way = tuple(records)
            marks.make_of("begun", self._under_way)
            super().commit(self._late if planted else self._under_way)
            self._late = self._under_way
            marks.make_of("stored", self._under_way)

        def _traced(self, statement: str) -> None:
            if statement == "COMMIT":
                marks.make_of("committing", self._under_way)

    class MarkedConnection(SocketConnection):
        """Marks what was written."""

        __slots__ = ()

        def write(self, data: bytes) -> None:
            super().write(data)
            if (accepted := _ACCEPTED.match(data)) is not None:
                marks.make("answered", accepted[1].decode())
            elif data[0] & 0x80:
                for opcode, payload in frames(data):
                    if opcode == _PONG:
                        marks.make("pong", str(self.protocol.agent_id))
                    elif opcode == _TEXT and b'"type":"command"' in payload:
                        marks.make("sent", msgspec.json.decode(payload)["id"])

    Keeping.put = put_and_mark
    artcafe_stores.sqlite.Database = MarkedDatabase
    artcafe_platform.owner.SocketConnection = MarkedConnection


def frames(data: bytes) -> Iterable[tuple[int, bytes]]:
    """The frames of a server: opcode and payload. None here is larger than 64 KiB."""
    while data:
        start, size = 2, data[1]
        if size == 126:
            start, size = 4, int.from_bytes(data[2:4])
        yield data[0] & 0xF, data[start : start + size]
        data = data[start + size :]


async def main(directory: str, port: int) -> None:
    """The platform, until the end of standard input."""
    async with Platform(tenants={TENANT: TOKEN}, data_dir=directory, port=port):
        print("up", flush=True)
        await to_thread.run_sync(sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--port", type=int)
    parser.add_argument("--marks")
    parser.add_argument("--place", default="")
    parser.add_argument("--times", type=int, default=0)
    parser.add_argument("--planted", action="store_true")
    asked = parser.parse_args()
    put_in_place(Marks(asked.marks, asked.place, asked.times), planted=asked.planted)
    anyio.run(main, asked.directory, asked.port)
