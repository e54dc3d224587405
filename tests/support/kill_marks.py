"""The marks that a program makes before it is killed: how far each command has come, and the place to end at.

Each mark is a line of a file: the nanoseconds of the monotonic clock, the mark and whom it concerns. What was written
outlives the process.
"""

from __future__ import annotations

import os
import signal
import time
from argparse import ArgumentParser
from collections.abc import Collection, Iterable
from typing import Final

import anyio

import artcafe_stores.sqlite
from artcafe_proto.policies.keeping import Keeping
from artcafe_proto.records import Record
from artcafe_stores.database import Database

TEXT: Final = 0x1
PONG: Final = 0xA


class Marks:
    """Where the marks go. Each role says which marks a record means."""

    known: Collection[str] = ()

    def __init__(self, path: str, place: str, times: int) -> None:
        """When it has made the mark `place` so many times, the process sends itself SIGKILL."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._place = place
        self._times = times

    def aim(self, place: str, times: int) -> None:
        """The same from now on."""
        self._place = place
        self._times = times

    def make(self, mark: str, whom: str) -> None:
        """Make one; end here if this is the place."""
        assert mark in self.known, mark
        os.write(self._descriptor, b"%d %s %s\n" % (time.monotonic_ns(), mark.encode(), whom.encode()))
        if mark == self._place:
            self._times -= 1
            if self._times == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def make_of(self, step: str, records: Iterable[Record]) -> None:
        """Those of some records that have come to `step`: `put`, `begun`, `committing` or `stored`."""
        raise NotImplementedError

    def learn(self, records: Iterable[Record]) -> None:
        """What the life before has stored."""


def put_in_place(marks: Marks, *, planted: bool) -> None:
    """Have what is kept and stored make the marks. With `planted` a batch is called stored while only the one before it
    is.
    """
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

    Keeping.put = put_and_mark
    artcafe_stores.sqlite.Database = MarkedDatabase


def add_marks(parser: ArgumentParser) -> None:
    """The arguments that say where the marks go."""
    parser.add_argument("--marks")
    parser.add_argument("--place", default="")
    parser.add_argument("--times", type=int, default=0)
    parser.add_argument("--planted", action="store_true")


async def obey(marks: Marks) -> None:
    """Until the end of standard input; a line of it is a place and a number to aim at."""
    while True:
        await anyio.wait_readable(0)
        line = os.read(0, 100)
        if not line:
            return
        place, times = line.decode().split()
        marks.aim(place, int(times))


def say(word: str, about: str) -> None:
    """A line of standard output, in one piece, at once."""
    os.write(1, f"{word} {about}\n".encode())


def frames(data: bytes) -> Iterable[tuple[int, bytes]]:
    """The frames of either side: opcode and payload, without its mask. None here is larger than 64 KiB."""
    while data:
        start, size = 2, data[1] & 0x7F
        if size == 126:
            start, size = 4, int.from_bytes(data[2:4])
        mask = b""
        if data[1] & 0x80:
            start, mask = start + 4, data[start : start + 4]
        payload = data[start : start + size]
        if mask:
            payload = bytes(byte ^ mask[index & 3] for index, byte in enumerate(payload))
        yield data[0] & 0xF, payload
        data = data[start + size :]
