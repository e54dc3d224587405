"""A whole world on one virtual clock: agents, a platform, a network, and what goes wrong between them."""

from __future__ import annotations

import math
from collections import Counter, deque
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, count
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from artcafe_proto.config import AgentConfig, PlatformConfig
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.testing.agents import AgentProcess, Signer
from artcafe_proto.testing.callers import Caller
from artcafe_proto.testing.disks import Disk
from artcafe_proto.testing.faults import (
    CONCERN_ALL,
    OF_EVERY_WORLD,
    OF_JOURNALS,
    OF_STORES,
    Fault,
    FaultKind,
    draw_fault,
    draw_faults,
    inject,
)
from artcafe_proto.testing.invariants import Invariants
from artcafe_proto.testing.networks import Network
from artcafe_proto.testing.platforms import PlatformProcess
from artcafe_proto.testing.schedule import Alarms, Schedule
from artcafe_proto.testing.tenants import IDEMPOTENT, TENANT, Tenant
from artcafe_proto.testing.worlds import draw_world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artcafe_proto.testing.nodes import Node

__all__ = ["Simulation"]

_LAST_EVENTS: Final = 30
_LONGEST_COMMAND_S: Final = 400.0
_LONGEST_LINK_FAULT_S: Final = 60.0
_SKEWS_S: Final = (0.0, 0.0, -86_400.0, 5.0, 864_000.0)
"""How far an agent's wall clock is from the platform's."""
_ENDS: Final = (FaultKind.RESET, FaultKind.CLOSED)
_number_of = attrgetter("number")


class Simulation:
    """A world in which everything happens as the seed says: the same seed is the same run, byte for byte.

    `run` lets faults happen for a while, then lets them stop, and then everything must be well: every agent with a
    valid key is online, every command that the platform has not forgotten is answered once. `Invariants` looks on all
    the time and raises `InvariantError`.
    """

    def __init__(
        self,
        seed: int,
        *,
        agents: int = 1,
        seconds: float = 600.0,
        mean_gap_s: float = 10.0,
        link_fault_s: float | None = None,
        command_gap_s: float = 5.0,
        says_gap_s: float | None = None,
        calls_gap_s: float | None = None,
        store_fault_s: float | None = None,
        journal_fault_s: float | None = None,
        faults: Sequence[Fault] | None = None,
        agent: dict[str, Any] | None = None,
        platform: dict[str, Any] | None = None,
    ) -> None:
        """`faults` happen at their times; None draws them from the seed, one in `mean_gap_s`, for `seconds`.

        With `link_fault_s`, each link besides has faults of its own, the first of any kind and this long after its
        first byte on average, then such as end it: most of the work is then in what is worth to be looked at.
        `command_gap_s` and `says_gap_s` are how often, on average, the tenant sends an agent a command, and an
        application does something beside its commands; None is drawn. With `calls_gap_s`, two callers ask for
        something over HTTP, each this often. With `store_fault_s`, the platform has a store, and its disk fails or it
        dies, one of them this often; with `journal_fault_s` so has and does each agent, with a journal. `agent` and
        `platform` are settings of `AgentConfig` and `PlatformConfig`; what is not given is drawn, too.
        """
        self.seed = seed
        self.rng: Random = Random(seed)  # noqa: S311 to be repeated
        self.wall_at_start: Final = 1_700_000_000.0
        self.seconds = seconds
        self.schedule: Final = Schedule()
        self.alarms: Final = Alarms()  # the timers of the platform and of the agents' processes
        self._nodes: dict[int, Node] = {}
        self._nodes_so_far = count()
        world = draw_world(self.rng)
        self.world: Final = world if says_gap_s is None else replace(world, says_gap_s=says_gap_s)
        self.invariants: Final = Invariants(self)
        self._agent_settings = self.world.agent | (agent or {})
        self.public_keys: Final = [_key(number).public.openssh for number in (0, 1)]
        agent_keys = self.public_keys[: 1 + self._agent_settings["next_key"]]
        config = PlatformConfig(**(self.world.platform | (platform or {})))
        self.platform: PlatformProcess = PlatformProcess(
            self, self.invariants, config, self._rng(), public_keys=agent_keys, disk=self._disk(store_fault_s)
        )
        self.tenant: Final = Tenant(self, self.platform, self._rng(), gap_s=command_gap_s)
        self.network: Final = Network(self, self.platform, lambda: self.processes, self.rng)
        self.agent_ids: Final = [f"agent-{number + 1}" for number in range(agents)]
        self._processes: dict[str, list[AgentProcess]] = {agent_id: [] for agent_id in self.agent_ids}
        self._disks: dict[str, Disk] = {} if journal_fault_s is None else self._disks_of_agents()
        self.happened: Counter[FaultKind] = Counter()
        self.sessions: int = 0
        """Links that began, with the first byte of an attempt, and ended, with at least one fault in their time."""
        self.injected: list[Fault] = []
        """The faults that happened: given as `faults` with the same seed, they repeat the run."""
        self._link_fault_s = link_fault_s if faults is None else None
        self._signers = {agent_id: Signer() for agent_id in self.agent_ids}
        self._fault_rng = Random(f"faults of {seed}")  # noqa: S311
        self._faults_for_all = 0
        self._faults_for_one: Counter[str] = Counter()
        self._links = 0
        self._began: dict[AgentProcess, tuple[int, int]] = {}
        self._digest = blake2b(digest_size=16)
        self._last: deque[tuple[float, str, object]] = deque(maxlen=_LAST_EVENTS)
        self.is_calm: bool = False
        """Whether nothing more goes wrong."""
        self._is_ending = False
        gaps_s = (mean_gap_s, store_fault_s, journal_fault_s)
        self.faults: list[Fault] = self._drawn(*gaps_s) if faults is None else list(faults)
        self._begin(calls_gap_s)

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run through the faults, the calm after them and the end. Raises InvariantError."""
        self.run_for(self.seconds)
        self.calm()
        self._run_until(self.invariants.is_all_well, within_s=self.invariants.longest_way_back_s())
        self.invariants.all_is_well_again()
        patience_s = (1 + self.tenant.unanswered) * _LONGEST_COMMAND_S
        self._run_until(lambda: not self.tenant.unanswered, within_s=patience_s)
        self.invariants.every_command_was_answered_once()
        waits_s = self.invariants.calls.longest_wait_s()
        self._run_until(lambda: not any(caller.is_waiting for caller in self.callers), within_s=waits_s)
        for caller in self.callers:
            self.invariants.calls.ended(caller.call, caller.listening)
        self._is_ending = True
        for process in self.processes:
            process.stop()
        self.run_for(60.0)
        self.invariants.all_have_stopped()
        if self.platform.disk is not None:
            self.invariants.stored.at_the_end(self.platform.hub, self.platform.disk.records.values())
        for agent_id, disk in self._disks.items():
            self.invariants.journals.at_the_end(agent_id, disk.records)

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        self._run_to(self.time + seconds)

    def _run_to(self, end: float) -> None:
        while True:
            wakes_at, number = self.alarms.next()
            schedule = self.schedule
            next_at = schedule.next_at
            due = wakes_at if wakes_at < next_at else next_at
            if due > end:
                schedule.time = end
                return
            if due > schedule.time:
                schedule.time = due
            if next_at <= due:
                schedule.pop()()
            else:
                self._nodes[number].handle_timer()

    def _run_until(self, holds: Callable[[], bool], *, within_s: float) -> None:
        end = self.time + within_s
        while self.time < end and not holds():
            self._run_to(min(self.time + 10.0, end))

    def calm(self) -> None:
        """No further faults, and those that last come to an end."""
        self.is_calm = True
        self.network.calm()
        for agent_id in self.agent_ids:
            self._signers[agent_id].recover()
            self.platform.restore_key(agent_id)
            for process in self.processes_of(agent_id)[1:]:
                self._kill(process)
            self._start_agent_unless_there(agent_id)
        for process in list(self.processes):
            process.wake()
            process.be_late(until=0.0)
        self.platform.be_late(until=0.0)
        for disk in (self.platform.disk, *self._disks.values()):
            if disk is not None:
                disk.calm()

    @property
    def commands(self) -> dict[str, int]:
        """Commands that the platform has accepted and not forgotten, and how often they were answered."""
        return {command_id: account.answers for command_id, account in self.tenant.accounts.items()}

    @property
    def digest(self) -> str:
        """A hash of every byte that was written so far, by whom and when."""
        return self._digest.hexdigest()

    @property
    def last_events(self) -> list[str]:
        """The last things that happened, for people."""
        return [f"{at:10.3f}  {who}  {what}" for at, who, what in self._last]

    @property
    def time(self) -> float:
        """Seconds since the beginning."""
        return self.schedule.time

    # --- for the parts ------------------------------------------------------------------------------------------------

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Plan an action."""
        self.schedule.at(self.time + seconds, action)

    def traced(self, who: str, data: bytes) -> None:
        """Somebody wrote bytes."""
        self._digest.update(b"%r %s %b" % (self.time, who.encode(), data))

    def told(self, who: str, what: object) -> None:
        """Something happened that a person may want to know of."""
        self._last.append((self.schedule.time, who, what))

    def sign(self, challenge: str, key: int) -> bytes:
        """The signature of a challenge, by the first or the second key."""
        return _key(key).sign(challenge.encode(), "ssh")

    def agent_config(self, agent_id: str) -> AgentConfig:
        """The settings of an agent."""
        settings: dict[str, Any] = {"agent_id": agent_id, "tenant_id": TENANT, "api_endpoint": "http://localhost"}
        if agent_id in self._disks:
            settings["idempotent"] = frozenset({IDEMPOTENT})
        return AgentConfig(**(settings | self._agent_settings))

    def disk_of(self, agent_id: str) -> Disk | None:
        """The disk of an agent, if it has a journal."""
        return self._disks.get(agent_id)

    def signer_of(self, agent_id: str) -> Signer:
        """An agent's signer."""
        return self._signers[agent_id]

    @property
    def processes(self) -> list[AgentProcess]:
        """The living processes, in the order in which they were started."""
        return sorted(chain(*self._processes.values()), key=_number_of)

    def processes_of(self, agent_id: str) -> list[AgentProcess]:
        """The living processes of an agent."""
        return list(self._processes[agent_id])

    def enter(self, node: Node) -> int:
        """Something new has a timer; returns its number."""
        number = next(self._nodes_so_far)
        self._nodes[number] = node
        return number

    def restart_agent(self, agent_id: str, after_s: float) -> None:
        """Kill an agent, and start it again later."""
        for process in self.processes_of(agent_id):
            self._kill(process)
        self.after(after_s, lambda: self._start_agent_unless_there(agent_id))

    def start_second_process(self, agent_id: str, seconds: float) -> None:
        """Have a second process with the same id, for a while. Where it has a journal that is locked."""
        if not self.is_calm and agent_id not in self._disks and len(self.processes_of(agent_id)) == 1:
            process = self._start_agent(agent_id)
            self.after(seconds, lambda: self._kill_if_second(process))

    def process_stopped(self, process: AgentProcess) -> None:
        """A process has ended in good order: unless all is at an end, somebody starts the agent again."""
        if not self._is_ending:
            self._remove(process)
            self.after(self.rng.uniform(0.5, 20.0), lambda: self._start_agent_unless_there(process.agent_id))

    def session_began(self, process: AgentProcess) -> None:
        """The first byte of an attempt was written."""
        self._links += 1
        self._began[process] = (self._links, self._faults_of(process))
        self._plan_fault(process, self._links, earlier=0)

    def session_ended(self, process: AgentProcess) -> None:
        """A link or an attempt is over."""
        _, faults = self._began.pop(process, (0, math.inf))
        self.sessions += self._faults_of(process) > faults

    # --- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, calls_gap_s: float | None) -> None:
        self.tenant.some_are_idempotent = bool(self._disks)
        for fault in self.faults:
            self.schedule.at(fault.at, lambda each=fault: self._inject(each))
        for agent_id in self.agent_ids:
            self.platform.register(agent_id)
            self._start_agent(agent_id)
            self.tenant.begin(agent_id)
        rng = Random(f"callers of {self.seed}")  # noqa: S311 another than the world's, which stays as it is
        self.callers: list[Caller] = []
        if calls_gap_s is not None:
            self.callers += [Caller(self, rng, gap_s=calls_gap_s) for _ in range(2)]

    def _drawn(self, mean_gap_s: float, store_fault_s: float | None, journal_fault_s: float | None) -> list[Fault]:
        count, seconds = len(self.agent_ids), self.seconds
        drawn = draw_faults(self._fault_rng, seconds=seconds, mean_gap_s=mean_gap_s, agents=count)
        if store_fault_s is not None:
            rng = Random(f"faults of the store of {self.seed}")  # noqa: S311 the draws of the others stay as they are
            drawn += draw_faults(rng, seconds=seconds, mean_gap_s=store_fault_s, agents=count, kinds=OF_STORES)
        if journal_fault_s is not None:
            for agent, agent_id in enumerate(self.agent_ids):
                rng = _other_rng("faults of the journal", agent_id, self.seed)
                of_one = draw_faults(rng, seconds=seconds, mean_gap_s=journal_fault_s, agents=1, kinds=OF_JOURNALS)
                drawn += [replace(fault, agent=agent) for fault in of_one]
        return drawn

    def _disk(self, store_fault_s: float | None) -> Disk | None:
        return None if store_fault_s is None else Disk(self, Random(f"disk of {self.seed}"))  # noqa: S311

    def _disks_of_agents(self) -> dict[str, Disk]:
        return {agent_id: Disk(self, _other_rng("disk", agent_id, self.seed)) for agent_id in self.agent_ids}

    def _rng(self) -> Random:
        return Random(self.rng.getrandbits(64))  # noqa: S311

    def _faults_of(self, process: AgentProcess) -> int:
        """How many faults concerned an agent so far."""
        return self._faults_for_all + self._faults_for_one[process.agent_id]

    def _plan_fault(self, process: AgentProcess, link: int, *, earlier: int) -> None:
        if self._link_fault_s is not None and not self.is_calm:
            mean_s = min(self._link_fault_s * 3**earlier, _LONGEST_LINK_FAULT_S)
            at = round(self.time + self._fault_rng.expovariate(1 / mean_s), 3)
            self.schedule.at(at, lambda: self._inject_in(process, link, earlier=earlier))

    def _inject_in(self, process: AgentProcess, link: int, *, earlier: int) -> None:
        if self._began.get(process, (0, 0))[0] == link and self.time < self.seconds:
            agent = self.agent_ids.index(process.agent_id)
            kinds = _ENDS if earlier else OF_EVERY_WORLD
            self._inject(draw_fault(self._fault_rng, at=self.time, agent=agent, kinds=kinds))
            self._plan_fault(process, link, earlier=earlier + 1)

    def _inject(self, fault: Fault) -> None:
        self.injected.append(fault)
        if fault.kind in CONCERN_ALL:
            self._faults_for_all += 1
        else:
            self._faults_for_one[self.agent_ids[fault.agent]] += 1
        self.happened[fault.kind] += 1
        self.told("fault", fault)
        inject(self, fault)

    def _start_agent(self, agent_id: str) -> AgentProcess:
        skew_s = self.rng.choice(_SKEWS_S)
        config, connect, disk = self.agent_config(agent_id), self.network.connect, self.disk_of(agent_id)
        if disk is not None:
            skew_s = _other_rng("clock", agent_id, self.seed).choice(_SKEWS_S)  # it is on the same computer
        process = AgentProcess(self, config, self._rng(), connect=connect, wall_skew_s=skew_s, disk=disk)
        self._processes[agent_id].append(process)
        process.start()
        return process

    def _remove(self, process: AgentProcess) -> None:
        self._processes[process.agent_id].remove(process)
        del self._nodes[process.number]

    def _start_agent_unless_there(self, agent_id: str) -> None:
        if not self.processes_of(agent_id):
            self._start_agent(agent_id)

    def _kill(self, process: AgentProcess) -> None:
        process.die()
        self._remove(process)
        self.session_ended(process)

    def _kill_if_second(self, process: AgentProcess) -> None:
        others = self._processes[process.agent_id]
        if process in others and len(others) > 1:
            self._kill(process)


def _other_rng(what: str, agent_id: str, seed: int) -> Random:
    """Another than the world's, whose draws stay as they are."""
    return Random(f"{what} of {agent_id} of {seed}")  # noqa: S311


@lru_cache(maxsize=2)
def _key(number: int) -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(number, 32 + number))))
