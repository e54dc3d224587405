"""A platform that marks how far each command has come, and kills itself at a place that it is told.

    killed_platform.py DIR --port PORT --marks FILE [--place MARK --times N] [--planted] [--name NAME]
        [--ping SECONDS] [--cert FILE]

It says `up NAME SECONDS` when it listens, after so many seconds of CPU, and ends when its standard input does. `--ping`
has it notice dead links sooner, and the file of `--cert` has a certificate and its key.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import anyio
import msgspec
from msgspec.structs import replace

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import artcafe_platform.owner
from artcafe_platform import Platform
from artcafe_platform.connection import AcceptedStream
from artcafe_platform.sockets import SocketConnection
from artcafe_platform.tls import make_server_context
from artcafe_proto import PlatformConfig
from artcafe_proto.platform.records import CommandRecord, Kind, OutcomeRecord
from artcafe_proto.records import Record, unpack
from support.kill_marks import PONG, TEXT, Marks, add_marks, frames, obey, put_in_place, say
from support.kill_phases import MARKS, TENANT, TOKEN

_ACCEPTED: Final = re.compile(rb'^HTTP/1\.1 202 .*"command_id":"([^"]+)"', re.DOTALL)


class PlatformMarks(Marks):
    """Of commands, of their outcomes and of pongs."""

    known = MARKS

    def __init__(self, path: str, place: str, times: int) -> None:
        super().__init__(path, place, times)
        self._commands: dict[int, Record] = {}

    def make_of(self, step: str, records: Iterable[Record]) -> None:
        """One for each command, and one for each outcome, of some records."""
        for record in records:
            if record.value is None:
                continue
            if record.kind == Kind.COMMAND:
                self._commands[record.n] = record
                self.make(step, unpack(record, CommandRecord).command_id)
            elif record.kind == Kind.OUTCOME:
                command = self._commands[unpack(record, OutcomeRecord).command]
                self.make(f"outcome-{step}", unpack(command, CommandRecord).command_id)

    def learn(self, records: Iterable[Record]) -> None:
        """Remember the commands, which outcomes name by their numbers."""
        self._commands |= {record.n: record for record in records if record.kind == Kind.COMMAND}


def mark_connections(marks: Marks) -> None:
    """Have the platform's connections make the marks."""

    class MarkedConnection(SocketConnection):
        """Marks what was written."""

        __slots__ = ()

        def write(self, data: bytes) -> None:
            super().write(data)
            mark_written(marks, str(self.protocol.agent_id), data)

    class MarkedStream(AcceptedStream):
        """The same under TLS."""

        def write(self, data: bytes) -> None:
            super().write(data)
            mark_written(marks, str(self.protocol.agent_id), data)

    artcafe_platform.owner.SocketConnection = MarkedConnection
    artcafe_platform.owner.AcceptedStream = MarkedStream


def mark_written(marks: Marks, agent_id: str, data: bytes) -> None:
    """One for each 202, each command and each pong that a connection has written."""
    if (accepted := _ACCEPTED.match(data)) is not None:
        marks.make("answered", accepted[1].decode())
    elif data[0] & 0x80:
        for opcode, payload in frames(data):
            if opcode == PONG:
                marks.make("pong", agent_id)
            elif opcode == TEXT and b'"type":"command"' in payload:
                marks.make("sent", msgspec.json.decode(payload)["id"])


async def main(directory: str, port: int, ping_s: float, cert_file: str, name: str, marks: Marks) -> None:
    """The platform, until the end of standard input."""
    config = PlatformConfig(auth_rate_by_agent=1000)
    if ping_s:
        config = replace(config, ping_interval=ping_s, ping_timeout=4 * ping_s)
    tls = make_server_context(cert_file) if cert_file else None
    async with Platform(tenants={TENANT: TOKEN}, data_dir=directory, port=port, config=config, ssl_context=tls):
        say("up", f"{name} {time.process_time():.3f}")
        await obey(marks)


def run(arguments: list[str]) -> None:
    """As these arguments ask for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory")
    parser.add_argument("--name", default="platform")
    parser.add_argument("--port", type=int)
    parser.add_argument("--ping", type=float, default=0.0)
    parser.add_argument("--cert", default="")
    add_marks(parser)
    asked = parser.parse_args(arguments)
    marks = PlatformMarks(asked.marks, asked.place, asked.times)
    put_in_place(marks, planted=asked.planted)
    mark_connections(marks)
    anyio.run(main, asked.directory, asked.port, asked.ping, asked.cert, asked.name, marks)


if __name__ == "__main__":
    run(sys.argv[1:])
