"""An agent with a journal that marks how far each command has come, and kills itself at a place that it is told.

    killed_agent.py NAME DIR --url URL --runs FILE --marks FILE [--place MARK --times N] [--planted]
        [--ping SECONDS] [--ca FILE]

Its key is `DIR/NAME`, its journal `DIR/NAME.db`. Each call of a handler is a line of the file of `--runs`, which
outlives the process. It says `online NAME` and `offline NAME`, and ends, after a drain, when its standard input does.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

import artcafe_anyio.starting
from artcafe_anyio import Agent, CommandContext
from artcafe_anyio.transports import TransportConnection
from artcafe_proto.agent.records import Kind, OpenedRecord, ResponseRecord
from artcafe_proto.events import Offline, Online, ResponseReplaced, ResponsesSettled
from artcafe_proto.records import Record, unpack
from support.agent_phases import AGENT_MARKS
from support.kill_marks import TEXT, Marks, add_marks, frames, obey, put_in_place, say
from support.kill_phases import TENANT
from support.short_waits import shorten_waits

if TYPE_CHECKING:
    from artcafe_proto.events import AgentEvent


class AgentMarks(Marks):
    """Of commands that are opened, and of their responses."""

    known = AGENT_MARKS

    def make_of(self, step: str, records: Iterable[Record]) -> None:
        """One for each opened command and each response of some records; of those that are settled once stored."""
        for record in records:
            if record.value is None:
                continue
            if record.kind == Kind.OPENED:
                self.make(f"opened-{step}", unpack(record, OpenedRecord).command_id)
            elif record.kind == Kind.RESPONSE:
                response = unpack(record, ResponseRecord)
                if response.settled_at is None:
                    self.make(f"response-{step}", response.command_id)
                elif step == "stored":
                    self.make("noted", response.command_id)


def mark_connections(marks: Marks) -> None:
    """Have the agent's connections mark the responses that they have written."""

    class MarkedConnection(TransportConnection):
        """Marks what was written."""

        def write(self, data: bytes) -> None:
            super().write(data)
            for opcode, payload in frames(data) if data[0] & 0x80 else ():
                if opcode == TEXT and b'"type":"response"' in payload:
                    marks.make("sent", msgspec.json.decode(payload)["data"]["command_id"])

    artcafe_anyio.starting.TransportConnection = MarkedConnection


class Work:
    """The handlers. Each call is counted outside of the process before anything else is done."""

    def __init__(self, marks: Marks, runs: str) -> None:
        self._marks = marks
        self._runs = os.open(runs, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    async def work(self, seconds: float, ctx: CommandContext) -> str:
        """What all of them do."""
        os.write(self._runs, f"{ctx.command_id}\n".encode())
        self._marks.make("running", ctx.command_id)
        await anyio.sleep(seconds)
        return f"done {ctx.command_id}"


def tell(name: str, marks: Marks, event: AgentEvent) -> None:
    """What concerns whoever watches."""
    match event:
        case Online():
            say("online", name)
        case Offline():
            say("offline", name)
        case ResponsesSettled():
            for command_id in event.command_ids:
                marks.make("settled", command_id)
        case ResponseReplaced():
            say("gave-up", event.command_id)
        case _:
            pass


async def main(agent: Agent, marks: Marks) -> None:
    """The agent, until the end of standard input."""
    async with agent:
        await obey(marks)


def run(arguments: list[str]) -> None:
    """As these arguments ask for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--runs")
    parser.add_argument("--ping", type=float, default=1.0)
    parser.add_argument("--ca", default=None)
    add_marks(parser)
    asked = parser.parse_args(arguments)
    logging.disable()  # of links that are lost, and of the attempts after them
    marks = AgentMarks(asked.marks, asked.place, asked.times)
    put_in_place(marks, planted=asked.planted)
    mark_connections(marks)
    shorten_waits()
    agent = Agent(
        agent_id=asked.name,
        tenant_id=TENANT,
        private_key_path=asked.directory / asked.name,
        journal_path=asked.directory / f"{asked.name}.db",
        api_endpoint=asked.url,
        ca_file=asked.ca,
        stable_after=0.001,  # a link that has received something resets the waits: else they grow to two minutes
        ping_interval=asked.ping,
        ping_timeout=4 * asked.ping,
        connect_timeout=4 * asked.ping,
        exchange_timeout=4 * asked.ping,
        upgrade_timeout=4 * asked.ping,
    )
    work = Work(marks, asked.runs).work
    agent.command("once")(work)
    agent.command("again", idempotent=True)(work)
    agent.on_event(partial(tell, asked.name, marks))
    anyio.run(main, agent, marks)


if __name__ == "__main__":
    run(sys.argv[1:])
