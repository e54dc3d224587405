"""How many commands a second a platform takes and sees answered, with and without a store, and what the store costs.

    .venv/bin/python tests/benchmarks/store_throughput.py [--repeats 5] [--seconds 5] [--warm-up 110000] [--journal]

The platform and whoever calls its `send_command` are one process, the agent (one, with an inline handler and everything
on) is another; between them is loopback and a window of 64. A command counts when `CommandAnswered` is told: it was
accepted, sent and answered, and all of that is stored. So many are sent before the time is taken that each further one
also makes the platform forget one. With `--journal` there are two more rows, in which the agent has a journal: beside a
platform without a store, and beside one with it. They all take turns; the figures are medians over the rounds. Beside
them is how long this disk takes for 4 KiB and an fsync. They mean nothing while the machine has other work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from artcafe_anyio import Agent
from artcafe_platform import Platform
from artcafe_proto.events import AgentOnline, CommandAnswered, HubEvent, Offline
from benchmarks.fleet import private_key
from benchmarks.servers import spread

MEMORY, SQLITE = "memory", "SQLite"
JOURNAL, BOTH = "journal", "both"
TENANT, AGENT, TEXT = "tenant-1", "agent-1", "x" * 20
CALLERS = 256
MOST_UNANSWERED = 512
"""Accepted or about to be, and not answered: some of them wait for the disk, some for the agent."""
FSYNCS = 200
FLOOR_RATE, GOAL_RATE = 8_000, 15_000
MOST_ADDED_US, GOAL_ADDED_US = 40, 30


# --- the platform's process -------------------------------------------------------------------------------------------


class Load:
    """Calls `send_command` as fast as answers come."""

    def __init__(self, platform: Platform) -> None:
        self.answered = 0
        self.is_online = asyncio.Event()
        self._platform = platform
        self._sent = 0
        self._has_room = asyncio.Event()
        self._target = asyncio.Event()
        self._until = 0
        platform.on_event(self._hear)

    def _hear(self, event: HubEvent) -> None:
        match event:
            case CommandAnswered():
                assert event.response.status == "success", event
                self.answered += 1
                if self._sent - self.answered < MOST_UNANSWERED // 2:
                    self._has_room.set()
                if self.answered == self._until:
                    self._target.set()
            case AgentOnline():
                self.is_online.set()
            case _:
                pass

    async def call(self) -> None:
        """One of the callers, for ever."""
        while True:
            if self._sent - self.answered >= MOST_UNANSWERED:
                self._has_room.clear()
                await self._has_room.wait()
            else:
                self._sent += 1
                await self._platform.send_command(TENANT, AGENT, "echo", {"text": TEXT})

    async def until_answered(self, count: int) -> None:
        """Wait for so many more."""
        self._until = self.answered + count
        self._target.clear()
        await self._target.wait()


async def serve(directory: str | None, seconds: float, warm_up: int) -> None:
    """Say the port, wait for the agent, measure and say what it was."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    token = "tenant-token-0123456789"
    async with Platform(tenants={TENANT: token}, data_dir=directory) as platform:
        load = Load(platform)
        line = private_key(1).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        await platform.create_agent(TENANT, agent_id=AGENT)
        await platform.add_key(TENANT, AGENT, line)
        say({"port": int(platform.url.rpartition(":")[2])})
        await load.is_online.wait()
        callers = [asyncio.create_task(load.call()) for _ in range(CALLERS)]
        await load.until_answered(warm_up)
        began, cpu_before, before = time.perf_counter(), time.process_time(), load.answered
        await asyncio.sleep(seconds)
        count, wall_s = load.answered - before, time.perf_counter() - began
        cpu_us = 1e6 * (time.process_time() - cpu_before) / max(count, 1)
        say({"rate": count / wall_s, "cpu_us": cpu_us, "answered": load.answered})
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)


def say(what: dict[str, float]) -> None:
    """To the process that measures."""
    print(json.dumps(what), flush=True)


# --- the agent's process ----------------------------------------------------------------------------------------------


def run_agent(port: int, journal: str | None) -> None:
    """Until the platform is gone."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder, "key")
        key.touch(mode=0o600)
        key.write_bytes(private_key(1).private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        agent = Agent(
            agent_id=AGENT,
            tenant_id=TENANT,
            private_key_path=key,
            api_endpoint=f"http://127.0.0.1:{port}",
            log_level="ERROR",
            journal_path=journal,
        )

        @agent.command("echo", inline=True)
        def echo(text: str) -> str:  # pyright: ignore[reportUnusedFunction]
            return text

        @agent.on_event
        def end(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
            if isinstance(event, Offline):
                agent.stop(drain=False)

        agent.run()


# --- figures ----------------------------------------------------------------------------------------------------------


def measure(mode: str, place: Path, seconds: float, warm_up: int) -> dict[str, float]:
    """One round."""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        directory = ["--data", f"{folder}/data"] if mode in (SQLITE, BOTH) else []
        journal = ["--journal-path", f"{folder}/journal.db"] if mode in (JOURNAL, BOTH) else []
        command = [sys.executable, __file__, "--serve", "--seconds", str(seconds), "--warm-up", str(warm_up)]
        platform = subprocess.Popen([*command, *directory], stdout=subprocess.PIPE, text=True)
        agent: subprocess.Popen[bytes] | None = None
        try:
            agent = subprocess.Popen([sys.executable, __file__, "--agent", str(hear(platform)["port"]), *journal])
            found = hear(platform)
            if platform.wait(30) or agent.wait(30):
                raise SystemExit(f"{mode}: a process failed")
        finally:
            for process in (platform, agent):
                if process is not None:
                    process.kill()
                    process.communicate()
    return found


def hear(platform: subprocess.Popen[str]) -> dict[str, Any]:
    """What the platform's process says next."""
    assert platform.stdout is not None
    line = platform.stdout.readline()
    if not line:
        raise SystemExit("the platform ended early")
    return json.loads(line)


def fsync_us(place: Path) -> float:
    """The median of writing 4 KiB and syncing them."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=place) as file:
        for _ in range(FSYNCS):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return 1e6 * median(times)


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm-up", type=int, default=110_000)
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    parser.add_argument("--journal", action="store_true", help="with rows for an agent with a journal")
    parser.add_argument("--journal-path", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--agent", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        asyncio.run(serve(asked.data, asked.seconds, asked.warm_up))
        return 0
    if asked.agent is not None:
        run_agent(asked.agent, asked.journal_path)
        return 0
    modes = (MEMORY, SQLITE, JOURNAL, BOTH) if asked.journal else (MEMORY, SQLITE)
    rounds: dict[str, list[dict[str, float]]] = {mode: [] for mode in modes}
    synced: list[float] = []
    for _ in range(asked.repeats):
        for mode in rounds:
            rounds[mode].append(measure(mode, asked.directory, asked.seconds, asked.warm_up))
            synced.append(fsync_us(asked.directory))
    print(f"{'platform':10} {'commands/s':>11} {'spread':>7} {'CPU µs each':>12}")
    for mode, found in rounds.items():
        rates, costs = [each["rate"] for each in found], [each["cpu_us"] for each in found]
        print(f"{mode:10} {median(rates):11,.0f} {spread(rates):>7} {median(costs):12.1f}")
    rate = median([each["rate"] for each in rounds[SQLITE]])
    pairs = zip(rounds[SQLITE], rounds[MEMORY], strict=True)
    added = median([one["cpu_us"] - other["cpu_us"] for one, other in pairs])
    print(f"the store adds {added:.1f} µs of CPU a command; 4 KiB and an fsync take {median(synced):,.0f} µs here")
    print(f"at least {FLOOR_RATE:,}/s and at most {MOST_ADDED_US} µs: {rate >= FLOOR_RATE and added <= MOST_ADDED_US};")
    print(f"goal of {GOAL_RATE:,}/s and {GOAL_ADDED_US} µs: {rate >= GOAL_RATE and added <= GOAL_ADDED_US}")
    return 0 if rate >= FLOOR_RATE and added <= MOST_ADDED_US else 1


if __name__ == "__main__":
    sys.exit(main())
