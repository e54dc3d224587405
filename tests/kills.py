"""`kill -9` of a platform under load, again and again: `python tests/kills.py --rounds 200`.

The platform stores in a directory and listens on one port; real agents are in a process of their own, and a tenant
sends commands and registers agents from this one. In each round the platform is killed: at a random moment, or by
itself at a place that it was told (`support/killed_platform.py`), the places taking turns. Then its file is read: all
that was promised to whomever must be in it. Then it is started again, and shows it.

Prints how far commands had come when they were hit, by phase, and how long it took from each restart to the first
answer. Exits with 1 if anything was lost or changed, a handler was called twice, a phase was hit too seldom, no restart
answered within 2 s, or one took more than 2 s of CPU. With `--kill agent` and `--kill both` it is what
`support/kill_pairs.py` says.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections import Counter
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from typing import Final, NamedTuple

from artcafe_cli.key_files import make_key_pair, read_public_key_line
from artcafe_proto.platform.records import read_change
from artcafe_proto.platform.state import PlatformState, StoredCommand
from artcafe_proto.platform.states import CommandState
from support.foreign_ports import reserved_port
from support.kill_load import LOST, Client, Load, Promises, can_sign_in, check_response, expect
from support.kill_pairs import PAIR_AGENTS, run_pairs
from support.kill_phases import MARKS, MEANINGS, TENANT, LastLife, Phase, agent_of
from support.kill_processes import PATIENCE_S, start, stored, until

AGENTS: Final = 20
RESTART_S: Final = 2.0
"""At most: of CPU until a platform listens, and of time until it answers, if the machine has nothing else to do."""
END_S: Final = 120.0
"""For all commands to be answered after the last restart."""


class Report(NamedTuple):
    """What came of all rounds."""

    rounds: int
    phases: Counter[Phase]
    """In how many rounds a command was in each phase when the platform was killed."""
    commands: Counter[Phase]
    """How many commands were, in all rounds."""
    stops: Counter[str]
    """How often the platform killed itself at each place."""
    restarts_s: list[float]
    """From each start to the first answer."""
    starts_cpu_s: list[float]
    """What each platform had computed until it listened."""
    promises: Promises
    broken: list[str]


class Rounds:
    """One store, its platforms one after another, and the agents that outlive them."""

    def __init__(self, directory: Path, port: int, agents: int, seed: int, *, planted: bool) -> None:
        self._directory = directory
        self._port = port
        self._agents = agents
        self._seed = seed
        self._planted = planted
        self._rng = Random(seed)
        self._promises = Promises()
        self._tenant = Client(port)
        self._platform: Process | None = None
        self._phases: Counter[Phase] = Counter()
        self._commands: Counter[Phase] = Counter()
        self._stops: Counter[str] = Counter()
        self._restarts_s: list[float] = []
        self._starts_cpu_s: list[float] = []
        self._broken: list[str] = []
        self._recent: set[str] = set()  # commands to look at after the restart

    async def run(self, rounds: int) -> Report:
        """All rounds, and an orderly end."""
        fleet: Process | None = None
        try:
            await self._start()
            await self._register()
            fleet = await self._start_fleet()
            load = Load(self._port, self._agents, self._seed, self._promises)
            try:
                await self._kill(rounds, load)
                if not self._broken:
                    await self._finish(load, fleet)
            finally:
                load.cancel()
        finally:
            self._tenant.close()
            for process in (self._platform, fleet):
                if process is not None and process.returncode is None:
                    process.kill()
                    await process.wait()
        return Report(
            rounds=rounds,
            phases=self._phases,
            commands=self._commands,
            stops=self._stops,
            restarts_s=self._restarts_s,
            starts_cpu_s=self._starts_cpu_s,
            promises=self._promises,
            broken=self._broken,
        )

    # --- one round after the other ------------------------------------------------------------------------------------

    async def _kill(self, rounds: int, load: Load) -> None:
        """The first platform runs already. Three in five kill themselves. Ends early if a promise is broken."""
        places = cycle(MARKS)
        for number in range(rounds):
            place = next(places) if number % 5 > 1 else ""
            if number:
                await self._restart(self._marks(number), place)
            load.is_up.set()
            ended_ns = await self._wait_for_end(place)
            load.is_up.clear()
            self._tenant.close()
            await until(lambda: not self._promises.online, PATIENCE_S)
            load.check()
            self._judge(number, LastLife(self._marks(number), ended_ns))
            if self._broken:
                return
        await self._restart(self._marks(rounds), "")
        load.is_up.set()

    async def _finish(self, load: Load, fleet: Process) -> None:
        """All is answered, and everybody ends in order."""
        await asyncio.wait_for(load.stop(), END_S)
        await asyncio.wait_for(self._see_all(load), END_S)
        self._check_runs()
        await self._end(self._platform, "the platform")
        self._check_store("the end")
        await self._end(fleet, "the agents")

    def _marks(self, number: int) -> Path:
        return self._directory / f"marks-{number}"

    async def _restart(self, marks: Path, place: str) -> None:
        began = time.monotonic()
        await self._start(marks, place)
        try:
            expect(await self._tenant.ask("GET", "/agents?limit=1"), 200)
            self._restarts_s.append(time.monotonic() - began)
            await self._look()
        except LOST:
            assert place, "the platform ended, and nobody had told it to"

    async def _wait_for_end(self, place: str) -> int:
        """Kill the platform at some moment, or let it kill itself. Returns when it ended, in monotonic nanoseconds."""
        assert self._platform is not None
        if place:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._platform.wait(), PATIENCE_S)
                self._stops[place] += 1
                return time.monotonic_ns()
        elif self._rng.random() < 0.7:
            await until(lambda: len(self._promises.online) > self._agents // 2, PATIENCE_S)
        await asyncio.sleep(self._rng.uniform(0, 0.3))
        ended_ns = time.monotonic_ns()
        self._platform.kill()
        await self._platform.wait()
        return ended_ns

    def _judge(self, number: int, life: LastLife) -> None:
        self._commands.update(life.under_way.values())
        self._phases.update(set(life.under_way.values()))
        state = self._check_store(f"round {number}")
        for command_id, phase in life.phases.items():
            stored = state.command(TENANT, command_id, agent_of(command_id))
            if phase >= Phase.STORED and stored is None:
                self._broken.append(f"round {number}: {command_id} was stored, and is lost")
            if phase >= Phase.OUTCOME_STORED and (stored is None or stored.outcome is None):
                self._broken.append(f"round {number}: the outcome of {command_id} was stored, and is lost")
        self._recent = {each for each in life.phases if each in self._promises.accepted | self._promises.settled}

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _check_store(self, when: str) -> PlatformState:
        """All that was promised is in the file, while no platform runs."""
        state, said = state_of(self._directory), self._promises
        commands = {each: state.command(TENANT, each, agent_of(each)) for each in said.accepted}
        keys = {key_id for key_id in said.keys if state.key(key_id) is not None}
        lost = {
            "an accepted command": {each for each, command in commands.items() if command is None},
            "a settled response": {each for each in said.settled if not has_response(state, each)},
            "a response that was shown": {each for each in said.seen if not has_response(state, each)},
            "an agent": {each for each in said.agents if state.agent(each) is None},
            "a key": said.keys.keys() - keys - said.revoking,
            "the end of a key": keys & said.revoked,
        }
        for what, which in lost.items():
            self._broken += [f"{when}: {what} is lost: {each}" for each in sorted(which)]
        return state

    async def _look(self) -> None:
        """The restarted platform shows what was promised in the last life. Raises one of LOST."""
        said = self._promises
        for command_id in sorted(self._recent & said.accepted):
            shown = expect(await self._tenant.ask("GET", f"/commands/{command_id}"), 200)
            if command_id in said.settled | said.seen:
                check_response(command_id, shown)
        for agent_id in [f"spare-{number}" for number in list(said.keys.values())[-3:]]:
            expect(await self._tenant.ask("GET", f"/agents/{agent_id}"), 200)
        latest = [*list(said.keys)[-3:], *list(said.revoked)[-1:]]
        for key_id in latest:
            number = said.keys[key_id]
            can = await can_sign_in(self._tenant, f"spare-{number}", number)
            if can is not (key_id not in said.revoked) and key_id not in said.revoking - said.revoked:
                self._broken.append(f"key {key_id} can {'still' if can else 'no longer'} sign in")

    async def _see_all(self, load: Load) -> None:
        """Every command that was ever accepted is answered, as it should be."""
        for command_id in sorted(self._promises.accepted):
            await load.see(self._tenant, command_id)

    def _check_runs(self) -> None:
        said = self._promises
        wrong = {each: said.ran[each] for each in said.accepted | said.ran.keys() if said.ran[each] != 1}
        self._broken += [f"the handler of {each} was called {times} times" for each, times in wrong.items()]
        self._broken += [f"the response of {each} was replaced" for each in said.replaced]

    # --- processes ----------------------------------------------------------------------------------------------------

    async def _start(self, marks: Path | None = None, place: str = "") -> None:
        arguments = [str(self._directory), "--port", str(self._port), "--marks", str(marks or self._marks(0))]
        if place:
            arguments += ["--place", place, "--times", str(self._rng.randint(1, 40))]
        if self._planted:
            arguments += ["--planted"]
        self._platform = await start("killed_platform.py", *arguments)
        assert self._platform.stdout is not None
        line = await asyncio.wait_for(self._platform.stdout.readline(), PATIENCE_S)
        assert line.startswith(b"up platform "), "the platform does not start"
        self._starts_cpu_s.append(float(line.split()[2]))

    async def _register(self) -> None:
        for number in range(self._agents):
            agent_id = f"agent-{number}"
            path = self._directory / agent_id
            make_key_pair(path, "ed25519", agent_id)
            line = read_public_key_line(path.with_suffix(".pub"))
            expect(await self._tenant.ask("POST", "/agents", {"agent_id": agent_id}), 201)
            expect(await self._tenant.ask("POST", "/ssh-keys", {"agent_id": agent_id, "public_key": line}), 201)
            self._promises.agents.add(agent_id)

    async def _start_fleet(self) -> Process:
        fleet = await start("killed_agents.py", str(self._port), str(self._directory), str(self._agents))
        self._hearing = asyncio.create_task(self._hear(fleet))
        await until(lambda: len(self._promises.online) == self._agents, PATIENCE_S)
        return fleet

    async def _hear(self, fleet: Process) -> None:
        assert fleet.stdout is not None
        async for line in fleet.stdout:
            self._promises.heard(line.decode())

    async def _end(self, process: Process | None, who: str) -> None:
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        if await asyncio.wait_for(process.wait(), PATIENCE_S) != 0:
            self._broken.append(f"{who} ended with status {process.returncode}")


def state_of(directory: Path) -> PlatformState:
    """What the store of a platform that was killed holds."""
    return PlatformState(read_change(record) for record in stored(directory / "records.db"))


def has_response(state: PlatformState, command_id: str) -> bool:
    """Whether a command is over, with what its agent has answered."""
    command: StoredCommand | None = state.command(TENANT, command_id, agent_of(command_id))
    outcome = None if command is None else command.outcome
    return (
        outcome is not None
        and outcome.state is CommandState.SUCCEEDED
        and outcome.response is not None
        and bytes(outcome.response.result) == b'"done %s"' % command_id.encode()
    )


def run(rounds: int, agents: int = AGENTS, seed: int = 1, *, planted: bool = False) -> Report:
    """All of it, in a directory of its own. `planted`: the store says too early that a batch is stored."""
    with tempfile.TemporaryDirectory() as folder, reserved_port() as port:
        return asyncio.run(Rounds(Path(folder), port, agents, seed, planted=planted).run(rounds))


def main() -> int:
    """Run and print. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Kill a platform, its agents or both under load, again and again.")
    parser.add_argument("--kill", choices=("platform", "agent", "both"), default="platform")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--agents", type=int, help=f"{AGENTS}, or {PAIR_AGENTS} where these are killed, too")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--planted", action="store_true", help="with a bug in each store, which must be found")
    parser.add_argument("--faults", type=int, default=0, help="of links, while agents or both are killed")
    parser.add_argument("--tls", action="store_true", help="with links under TLS, whose faults flip bits as well")
    asked = parser.parse_args()
    if asked.kill != "platform":
        return kill_pairs(asked)
    return kill_platform(asked)


def kill_pairs(asked: argparse.Namespace) -> int:
    """Agents, or both."""
    began, agents = time.monotonic(), asked.agents or PAIR_AGENTS
    report = run_pairs(
        asked.rounds, agents, asked.seed, asked.kill, faults=asked.faults, tls=asked.tls, planted=asked.planted
    )
    print(report)
    print(f"seed {asked.seed}, {time.monotonic() - began:.0f} s in all")
    rare = report.rare(asked.rounds // 30)
    if rare:
        print(f"EXPECTED: at least {asked.rounds // 30} rounds for {rare}", file=sys.stderr)
    return 1 if report.broken or rare else 0


def kill_platform(asked: argparse.Namespace) -> int:
    """The platform alone."""
    began, agents = time.monotonic(), asked.agents or AGENTS
    report = run(asked.rounds, agents, asked.seed, planted=asked.planted)
    least = asked.rounds // 20
    print(f"{'rounds':>8} {'commands':>9}  where a command was when the platform was killed")
    for phase in Phase:
        print(f"{report.phases[phase]:8,} {report.commands[phase]:9,}  {MEANINGS[phase]}")
    rare = [MEANINGS[phase] for phase in Phase if report.phases[phase] < least]
    said, slow = report.promises, sorted(report.restarts_s)
    print(
        f"{report.rounds} times kill -9 (seed {asked.seed}), {report.stops.total()} of them at a place;"
        f" {agents} agents, {len(said.accepted):,} commands, {len(said.settled):,} settled,"
        f" {said.repeats:,} repeats answered, {len(said.agents)} agents registered, {len(said.keys)} keys added,"
        f" {len(said.revoked)} revoked"
    )
    print(
        f"from a restart to the first answer: median {median(slow):.2f} s, p99 {slow[int(0.99 * len(slow))]:.2f} s,"
        f" worst {slow[-1]:.2f} s; CPU until it listened: worst {max(report.starts_cpu_s):.2f} s;"
        f" {time.monotonic() - began:.0f} s in all; {len(report.broken)} broken promises"
    )
    for text in report.broken:
        print(f"BROKEN: {text}", file=sys.stderr)
    is_slow = slow[0] > RESTART_S or max(report.starts_cpu_s) > RESTART_S
    if rare or is_slow:
        print(f"EXPECTED: at least {least} rounds for {rare}, restarts within {RESTART_S:.0f} s", file=sys.stderr)
    return 1 if report.broken or rare or is_slow else 0


if __name__ == "__main__":
    sys.exit(main())
