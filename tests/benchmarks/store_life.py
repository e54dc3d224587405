"""How a store ages: many millions of commands through one file, with a restart after each million.

    .venv/bin/python tests/benchmarks/store_life.py [--commands 10000000] [--every 1000000]

A hub accepts commands, an agent that is played by hand answers them, and a driver without sockets stores what the hub
says, synced to disk. Printed after every so many commands are the size of the file with its log, how many records are
in it, and how long the next life of the platform takes to begin. Exits with 1 unless both stay as they are once the
platform forgets a command for each that ends: after the first 100,000.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from artcafe_anyio.clocks import read_clocks
from artcafe_proto import PlatformConfig, PlatformHub, PlatformSession
from artcafe_proto.effects import Persist, SendText
from artcafe_proto.limits import MAX_FINISHED_COMMANDS
from artcafe_proto.records import Keeps
from artcafe_stores.database import Database
from support.platform_stage import AGENT, TENANT

WAVE = 500
"""Commands that are accepted together."""
GROWTH = 1.1
"""What of both may differ between later lives."""
SLOWNESS = 2.0


class Age(NamedTuple):
    """A store after so many commands."""

    commands: int
    file_bytes: int
    records: int
    lives: int
    """Of the records those of a life each."""
    restart_s: float
    seconds: float


class Life:
    """One life of a platform, over the file `path`."""

    def __init__(self, path: Path) -> None:
        began = time.perf_counter()
        self._database = Database(str(path))
        records = self._database.open()
        self.hub = PlatformHub(
            PlatformConfig(window=WAVE),
            rng=Random(1 + len(records)),
            signing_seed=bytes(32),
            restored=records,
            keeps=Keeps.RECORDS,
            now=read_clocks(),
        )
        self.restart_s = time.perf_counter() - began
        self.records = len(records)
        self._told = 0
        if self.hub.registry.find(AGENT) is None:
            self.hub.registry.create_agent(
                TENANT, agent_id=AGENT, name="", capabilities=(), metadata={}, wall=read_clocks().wall
            )
        self.carry_out()
        self._session = PlatformSession(self.hub, 1)
        self._session.link_opened(AGENT, read_clocks())
        self._hear(b'{"type":"heartbeat","id":"h","data":{"agent_id":"%s","status":"online"}}' % AGENT.encode())

    def wave(self) -> None:
        """Some commands, from their acceptance to their answers."""
        for _ in range(WAVE):
            self.hub.send_command(TENANT, AGENT, "resize", {"path": "images/1.png", "width": 640}, now=read_clocks())
        self.carry_out()

    def carry_out(self) -> None:
        """Do what the hub says, until it says no more."""
        while self._drain():
            self._session.unsent(0, read_clocks())

    def _drain(self) -> bool:
        """Returns whether commands went out, and so something that can have left."""
        sent = False
        while (output := self.hub.next_output()) is not None:
            match output:
                case Persist():
                    self._database.commit(output.records)
                    self.hub.persisted(output.batch, read_clocks())
                case SendText() if output.message_type == "command":
                    sent = True
                    data = b'{"command_id":"%s","status":"success","result":640}' % output.message_id.encode()
                    self._hear(b'{"type":"response","id":"r","data":%s}' % data)
                case _:
                    pass
        return sent

    def end(self) -> None:
        """Close the file."""
        self._database.close()

    def _hear(self, text: bytes) -> None:
        self._session.bytes_received(read_clocks())
        self._session.text_received(text, read_clocks())


def ages(path: Path, commands: int, every: int) -> list[Age]:
    """Live on and on; what there is after each restart."""
    found: list[Age] = []
    life, began = Life(path), time.perf_counter()
    for done in range(WAVE, commands + 1, WAVE):
        life.wave()
        if done % every == 0:
            size = sum(each.stat().st_size for each in path.parent.glob("records.db*"))
            life.end()
            life = Life(path)
            found.append(Age(done, size, life.records, len(found) + 1, life.restart_s, time.perf_counter() - began))
            show(found[-1])
    life.end()
    return found


def show(age: Age) -> None:
    """One line."""
    print(
        f"{age.commands:12,} commands: {age.file_bytes / 2**20:7.1f} MiB, {age.records:9,} records,"
        f" restart {age.restart_s:6.2f} s; {age.commands / age.seconds:7,.0f} commands/s so far",
        flush=True,
    )


def is_steady(found: list[Age]) -> bool:
    """Whether the file has kept its size, and restarts take as long as before, since the platform has been full."""
    full = [age for age in found if age.commands > MAX_FINISHED_COMMANDS]
    first = full[0]
    return all(
        age.file_bytes <= GROWTH * first.file_bytes
        and age.records <= GROWTH * first.records
        and age.restart_s <= SLOWNESS * first.restart_s
        for age in full
    )


def main() -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", type=int, default=10_000_000)
    parser.add_argument("--every", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steady = is_steady(ages(Path(folder, "records.db"), asked.commands, asked.every))
    print(f"steady: {steady}")
    return 0 if steady else 1


if __name__ == "__main__":
    sys.exit(main())
