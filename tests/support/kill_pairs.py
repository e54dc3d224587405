"""`kill -9` of agents with journals, of their platform, and of both, under load: `python tests/kills.py --kill both`.

In each round some of the processes are killed: at a random moment, or one by itself at a place that it was told, and
the others with it. Then the files of those that are dead are read, and must hold what was promised. Then they are
started again. How often a handler was called is counted in a file that belongs to none of them.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from typing import Final, Literal, NamedTuple

from artcafe_cli.key_files import make_key_pair, read_public_key_line
from artcafe_proto import AgentConfig
from artcafe_proto.agent.records import OpenedRecord, ResponseRecord, read_journal
from artcafe_proto.platform.records import read_change
from artcafe_proto.platform.state import PlatformState
from support.agent_phases import AGENT_MARKS, AGENT_MEANINGS, AgentLife, AgentPhase
from support.foreign_ports import reserved_port
from support.kill_load import LOST, Client, expect
from support.kill_phases import MARKS, MEANINGS, TENANT, LastLife, Phase, agent_of
from support.kill_processes import PATIENCE_S, Programs, stored, until
from support.link_faults import Certificate, LinkFaults
from support.pair_load import INTERRUPTED, PairLoad, Told

Kill = Literal["agent", "platform", "both"]
PLATFORM: Final = "platform"
PAIR_AGENTS: Final = 4
LOOKS: Final = 30
"""How many commands of its last life a platform is asked for when it is back."""
END_S: Final = 120.0
"""For all commands to be answered after the last restart."""
PING_S: Final = 1.0
"""How soon an agent asks whether its link lives; four times as long it waits for an answer, or for anything else."""


class PairReport(NamedTuple):
    """What came of all rounds."""

    rounds: int
    kills: Counter[str]
    """How often each process was killed."""
    stops: Counter[str]
    """How often one killed itself at each place."""
    phases: Counter[Phase]
    """In how many rounds a command was in each phase when the platform was killed."""
    agent_phases: Counter[AgentPhase]
    """In how many rounds a command was in each phase when its agent was killed."""
    faults: Counter[str]
    """What was done to links, by kind."""
    back_s: dict[str, list[float]]
    """From each start until an agent was online, or the platform listened, of those who came that far."""
    told: Told
    runs: Counter[str]
    """How often a handler was called for each command."""
    broken: list[str]

    def rare(self, least: int) -> list[str]:
        """The phases that fewer rounds have hit, of those who were killed."""
        agents, platform = sum(self.kills.values()) - self.kills[PLATFORM], self.kills[PLATFORM]
        rare = [text for phase, text in AGENT_MEANINGS.items() if agents and self.agent_phases[phase] < least]
        return rare + [text for phase, text in MEANINGS.items() if platform and self.phases[phase] < least]

    def __str__(self) -> str:
        """What to print."""
        told, answers = self.told, Counter(self.told.answers.values())
        platform = self.kills[PLATFORM]
        lines = [f"{'rounds':>8}  where a command was when its agent was killed"]
        lines += [f"{self.agent_phases[phase]:8,}  {text}" for phase, text in AGENT_MEANINGS.items()]
        if platform:
            lines += [f"{'rounds':>8}  where a command was when the platform was killed"]
            lines += [f"{self.phases[phase]:8,}  {text}" for phase, text in MEANINGS.items()]
        if self.faults:
            lines += ["faults of links: " + ", ".join(f"{each} {times:,}" for each, times in self.faults.items())]
        for who, back_s in self.back_s.items():
            if back_s:
                lines += [
                    f"from a start of {who} until it is up: median {median(back_s):.2f} s, worst {max(back_s):.2f} s"
                ]
        again = sum(times > 1 for times in self.runs.values())
        lines += [
            f"{self.rounds} rounds, {self.kills.total() - platform} times kill -9 of an agent and {platform} of the"
            f" platform, {self.stops.total()} of them at a place; {len(told.accepted):,} commands, {answers['done']:,}"
            f" done, {answers[INTERRUPTED]:,} interrupted, {again:,} that are idempotent run again,"
            f" {len(self.broken)} broken promises",
            *[f"BROKEN: {text}" for text in self.broken],
        ]
        return "\n".join(lines)


class PairRounds:
    """One platform and some agents, in processes that come and go."""

    def __init__(
        self,
        directory: Path,
        port: int,
        agents: int,
        seed: int,
        kill: Kill,
        *,
        faults: int = 0,
        certificate: Certificate | None = None,
        planted: bool = False,
    ) -> None:
        """`faults` are done to links while the rounds go on, which end with the last of them at the earliest."""
        self._directory = directory
        self._port = port
        self._kill = kill
        self._certificate = certificate
        self._planted = planted
        self._agents = [f"agent-{number}" for number in range(agents)]
        self._rng = Random(seed)
        self._told = Told()
        self._programs = Programs(self._heard)
        self._tenant = Client(port, certificate and certificate.context)
        self._load = PairLoad(self._agents, lambda: Client(port, certificate and certificate.context), seed, self._told)
        self._faults = LinkFaults(port, self._agents, faults, seed, self._is_online, under_tls=certificate is not None)
        self._lives: dict[str, int] = {}
        self._ended_ns = 0  # when processes were killed last, on the monotonic clock
        self._places = {PLATFORM: cycle(MARKS), "agent": cycle(AGENT_MARKS)}
        self._report = PairReport(
            rounds=0,
            kills=Counter(),
            stops=Counter(),
            phases=Counter(),
            agent_phases=Counter(),
            faults=self._faults.done,
            back_s={"an agent": [], "the platform": []},
            told=self._told,
            runs=Counter(),
            broken=[],
        )

    async def run(self, rounds: int) -> PairReport:
        """All rounds, and an orderly end."""
        done = 0
        await self._programs.open()
        try:
            await self._start(PLATFORM)
            await until(self._is_up(PLATFORM), PATIENCE_S)
            await self._register()
            self._load.is_up.set()
            async with self._faults.listening():
                victims: Collection[str] = self._agents
                self._load.start()
                while (done < rounds or self._faults.left) and not self._report.broken:
                    await self._restart(victims)
                    victims = await self._round()
                    self._judge(done, victims)
                    done += 1
                if not self._report.broken:
                    await self._restart(victims)
                    await self._finish()
        finally:
            self._load.cancel()
            self._tenant.close()
            await self._programs.aclose()
        return self._report._replace(rounds=done)

    # --- one round after the other ------------------------------------------------------------------------------------

    async def _restart(self, victims: Collection[str]) -> None:
        names = self._rng.sample(sorted(victims), len(victims))
        for name in names:
            await self._start(name)
        if PLATFORM in names:
            await until(self._is_up(PLATFORM), PATIENCE_S)
            self._load.is_up.set()
            await self._look()

    async def _round(self) -> Collection[str]:
        """Kill some. Returns who was killed."""
        victims = self._draw()
        placed = self._rng.choice(victims) if self._rng.random() < 0.6 else None
        if placed or self._rng.random() < 0.7:
            await self._until_up([placed] if placed else victims)
        if placed:
            await self._kill_at_a_place(placed)
        else:
            await asyncio.sleep(self._rng.uniform(0, 3.0 if self._faults.left else 0.5))
        self._ended_ns = time.monotonic_ns()
        for each in self._rng.sample(victims, len(victims)):
            self._programs[each].kill()
        for each in victims:
            await self._programs.ended(each)
        if PLATFORM in victims:
            self._load.is_up.clear()
            self._tenant.close()
        self._load.check()
        self._report.kills.update(victims)
        for each in victims:
            if (back_s := self._programs[each].back_s) is not None:
                self._report.back_s["the platform" if each == PLATFORM else "an agent"].append(back_s)
        return victims

    async def _until_up(self, names: Collection[str]) -> None:
        """All of them, at the same time. Through faults of links that may never be, and is not waited for long."""
        has_faults = self._faults.left > 0
        try:
            await until(lambda: all(self._programs[each].is_up for each in names), PATIENCE_S / (1 + 9 * has_faults))
        except TimeoutError:
            if not has_faults:
                raise

    def _draw(self) -> list[str]:
        several = self._rng.sample(self._agents, self._rng.choice((1, 1, 2, len(self._agents))))
        match self._rng.choice(("agent", "platform", "both")) if self._kill == "both" else self._kill:
            case "platform":
                return [PLATFORM]
            case "agent":
                return several
            case _:
                return [PLATFORM, *several]

    async def _kill_at_a_place(self, name: str) -> None:
        place = next(self._places[PLATFORM if name == PLATFORM else "agent"])
        self._programs.tell(name, f"{place} {self._rng.randint(1, 8)}")
        try:
            await self._programs.ended(name)
        except TimeoutError:
            return  # it is killed with the others
        self._report.stops[place] += 1

    # --- what must hold -----------------------------------------------------------------------------------------------

    def _judge(self, number: int, victims: Collection[str]) -> None:
        when = f"round {number}"
        for name in victims:
            if name != PLATFORM:
                self._judge_agent(when, name)
        if PLATFORM in victims:
            life = LastLife(self._marks(PLATFORM), self._ended_ns)
            self._report.phases.update(set(life.under_way.values()))
            self._told.recent = [each for each in life.phases if each in self._told.accepted][-LOOKS:]
            self._judge_platform(when, life)

    def _judge_agent(self, when: str, name: str) -> None:
        """The journal of an agent that is dead has what it was said to have."""
        life = AgentLife(self._marks(name))
        self._report.agent_phases.update(set(life.under_way.values()))
        told = self._told
        stored_before, told.stored[name] = told.stored.get(name, set()), life.responded
        told.settled |= life.settled
        for command_id, phase in life.phases.items():
            if phase < AgentPhase.STORED:
                told.interruptible.add(command_id)
        opened: set[str] = set()
        responded: set[str] = set()
        config = AgentConfig(agent_id=name, tenant_id=TENANT)
        for _, value in read_journal(stored(self._directory / f"{name}.db"), config):
            if isinstance(value, OpenedRecord):
                opened.add(value.command_id)
            elif isinstance(value, ResponseRecord):
                responded.add(value.command_id)
        ran = {each for each, phase in life.phases.items() if phase >= AgentPhase.RUNNING}
        lost = {
            "a command that was stored": life.opened - opened - responded,
            "a command that ran": ran - opened - responded,
            "a response that was stored": (life.responded | stored_before) - responded,
        }
        for what, which in lost.items():
            self._report.broken.extend(f"{when}: {what} is not in the journal: {each}" for each in sorted(which))

    def _judge_platform(self, when: str, life: LastLife) -> None:
        """The store of a platform that is dead has what was promised, by it and in its name."""
        state, told = self._state(), self._told
        for name in self._agents:  # those that live may have got a pong of it
            told.settled |= AgentLife(self._marks(name)).settled
        accepted = told.accepted | {each for each, phase in life.phases.items() if phase >= Phase.STORED}
        answered = told.settled | told.answers.keys()
        answered |= {each for each, phase in life.phases.items() if phase >= Phase.OUTCOME_STORED}
        for command_id in sorted(accepted):
            command = state.command(TENANT, command_id, agent_of(command_id))
            if command is None:
                self._report.broken.append(f"{when}: a command is lost: {command_id}")
            elif command_id in answered and command.outcome is None:
                self._report.broken.append(f"{when}: a response is lost: {command_id}")

    async def _look(self) -> None:
        """The restarted platform shows what was shown in its last life."""
        try:
            for command_id in self._told.recent:
                was_over = command_id in self._told.answers
                shown = expect(await self._tenant.ask("GET", f"/commands/{command_id}"), 200)
                self._told.shown(command_id, shown, was_over=was_over)
        except LOST:
            raise AssertionError("the platform ended, and nobody had told it to") from None

    async def _finish(self) -> None:
        """All is answered, and everybody ends in order."""
        await asyncio.wait_for(self._load.stop(), END_S)
        for name in (*self._agents, PLATFORM):
            if (status := await self._programs.end(name)) != 0:
                self._report.broken.append(f"{name} ended with status {status}")
            if name != PLATFORM:
                self._judge_agent("the end", name)
        self._judge_platform("the end", LastLife(self._marks(PLATFORM), time.monotonic_ns()))
        self._judge_runs()

    def _judge_runs(self) -> None:
        told, runs = self._told, self._report.runs
        runs.update((self._directory / "runs").read_text().split())
        self._report.broken.extend(told.broken)
        for command_id in sorted(told.accepted | runs.keys()):
            answer, times = told.answers.get(command_id), runs[command_id]
            if answer is None:
                self._report.broken.append(f"{command_id} was left unanswered")
            elif answer == INTERRUPTED and (command_id in told.idempotent or command_id not in told.interruptible):
                self._report.broken.append(f"{command_id} was answered interrupted, and nothing had interrupted it")
            elif times > 1 and command_id not in told.idempotent:
                self._report.broken.append(f"{command_id} was run {times} times")
            elif times == 0 and answer != INTERRUPTED:
                self._report.broken.append(f"{command_id} was answered, and never run")

    def _state(self) -> PlatformState:
        return PlatformState(read_change(record) for record in stored(self._directory / "records.db"))

    # --- processes ----------------------------------------------------------------------------------------------------

    def _heard(self, word: str, about: str) -> None:
        self._report.broken.append(f"{word} {about}")  # a response was replaced

    def _is_online(self, name: str) -> bool:
        return name in self._lives and self._programs[name].is_up

    def _is_up(self, name: str) -> Callable[[], bool]:
        return lambda: self._programs[name].is_up

    def _marks(self, name: str) -> Path:
        return self._directory / f"{name}-marks-{self._lives[name]}"

    async def _start(self, name: str) -> None:
        self._lives[name] = self._lives.get(name, 0) + 1
        arguments = [str(self._directory), "--marks", str(self._marks(name))]
        if self._planted:
            arguments += ["--planted"]
        if name == PLATFORM:
            arguments += ["--port", str(self._port)]
            if self._certificate is not None:
                arguments += ["--cert", str(self._certificate.path)]
            if self._faults.left:
                arguments += ["--ping", str(PING_S)]
            await self._programs.start(name, "platform", *arguments)
            return
        where = self._faults.ports.get(name, self._port)
        arguments += ["--runs", str(self._directory / "runs"), "--ping", str(PING_S)]
        if self._certificate is None:
            arguments += ["--url", f"http://127.0.0.1:{where}"]
        else:
            arguments += ["--url", f"https://localhost:{where}", "--ca", str(self._certificate.path)]
        await self._programs.start(name, "agent", name, *arguments)

    async def _register(self) -> None:
        for agent_id in self._agents:
            path = self._directory / agent_id
            make_key_pair(path, "ed25519", agent_id)
            line = read_public_key_line(path.with_suffix(".pub"))
            expect(await self._tenant.ask("POST", "/agents", {"agent_id": agent_id}), 201)
            expect(await self._tenant.ask("POST", "/ssh-keys", {"agent_id": agent_id, "public_key": line}), 201)


def run_pairs(
    rounds: int,
    agents: int = PAIR_AGENTS,
    seed: int = 1,
    kill: Kill = "both",
    *,
    faults: int = 0,
    tls: bool = False,
    planted: bool = False,
) -> PairReport:
    """All of it, in a directory of its own. `planted`: the stores say too early that a batch is stored."""
    with tempfile.TemporaryDirectory() as folder, reserved_port() as port:
        certificate = Certificate.made(Path(folder)) if tls else None
        it = PairRounds(Path(folder), port, agents, seed, kill, faults=faults, certificate=certificate, planted=planted)
        return asyncio.run(it.run(rounds))
