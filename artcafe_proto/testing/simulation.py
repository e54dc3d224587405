"""A whole world on one virtual clock: agents, a platform, a network, and what goes wrong between them."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_proto.config import AgentConfig, PlatformConfig
from artcafe_proto.errors import ApiError
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.faults import Fault, FaultKind, draw_faults, inject
from artcafe_proto.testing.invariants import Invariants
from artcafe_proto.testing.networks import Network
from artcafe_proto.testing.platforms import TENANT, PlatformProcess
from artcafe_proto.testing.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artcafe_proto.instants import Instant

_AGENT: Final[dict[str, Any]] = {"max_concurrent": 2, "max_queued": 3, "drain_timeout": 20.0}
_PLATFORM: Final[dict[str, Any]] = {"window": 4, "token_life": 120.0}
_LAST_EVENTS: Final = 30


class Signer:
    """What an agent's key does when it is asked."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.refuses = False

    def mend(self) -> None:
        """Sign at once."""
        self.delay_s, self.refuses = 0.0, False


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
        faults: Sequence[Fault] | None = None,
        agent: dict[str, Any] | None = None,
        platform: dict[str, Any] | None = None,
    ) -> None:
        """`faults` happen at their times; None draws them from the seed, one in `mean_gap_s`, for `seconds`.

        `agent` and `platform` are settings of `AgentConfig` and `PlatformConfig`.
        """
        self.seed = seed
        self.rng = Random(seed)  # noqa: S311 to be repeated
        self.wall_at_start = 1_700_000_000.0
        self.seconds = seconds
        self.schedule = Schedule()
        self.invariants = Invariants(self)
        self.network = Network(self, latency_s=self.rng.choice([0.0, 0.01, 0.2]))
        self.public_key = _key().public.openssh
        settings: dict[str, Any] = {"token_life": self.rng.choice([40.0, 120.0, 900.0])}
        self.platform = PlatformProcess(self, PlatformConfig(**(_PLATFORM | settings | (platform or {}))), self._rng())
        self.agent_ids = [f"agent-{number + 1}" for number in range(agents)]
        self.processes: list[AgentProcess] = []
        self.happened: Counter[FaultKind] = Counter()
        self.sessions = 0
        """Links that came up and ended, with at least one fault in their time."""
        self.commands: dict[str, int] = {}
        """Commands that the platform has accepted and not forgotten, and how often they were answered."""
        self._signers = {agent_id: Signer() for agent_id in self.agent_ids}
        self._agent_settings = agent or {}
        self._began: dict[int, int] = {}
        self._digest = blake2b(digest_size=16)
        self._last: deque[str] = deque(maxlen=_LAST_EVENTS)
        self._is_calm = False
        self.faults = (
            draw_faults(self.rng, seconds=seconds, mean_gap_s=mean_gap_s, agents=agents)
            if faults is None
            else list(faults)
        )
        for fault in self.faults:
            self.schedule.at(fault.at, lambda each=fault: self._inject(each))
        for agent_id in self.agent_ids:
            self.platform.register(agent_id, self.public_key)
            self._start_agent(agent_id)
            self.after(self.rng.uniform(0.0, 5.0), lambda agent_id=agent_id: self._send_command(agent_id))

    # --- running ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run through the faults, the calm after them and the end. Raises InvariantError."""
        self.run_for(self.seconds)
        self.calm()
        self.run_for(self.invariants.longest_way_back_s())
        self.invariants.all_is_well_again()
        self.run_for(_longest_command_s())
        self.invariants.every_command_was_answered_once()
        for process in self.processes:
            process.stop()
        self.run_for(60.0)
        self.invariants.all_have_stopped()

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        end = self.time + seconds
        while True:
            nodes = (self.platform, *self.processes)
            node = min(nodes, key=lambda each: each.wakes_at())
            due = min(node.wakes_at(), self.schedule.next_at)
            if due > end:
                self.schedule.time = end
                return
            self.schedule.time = max(self.time, due)
            if self.schedule.next_at <= due:
                self.schedule.pop()()
            else:
                node.handle_timer()
            self.invariants.after_step()

    def calm(self) -> None:
        """No further faults, and those that last come to an end."""
        self._is_calm = True
        self.network.calm()
        for agent_id in self.agent_ids:
            self._signers[agent_id].mend()
            self.platform.restore_key(agent_id, self.public_key)
            for process in self.processes_of(agent_id)[1:]:
                self._kill(process)
            self._start_agent_unless_there(agent_id)

    @property
    def digest(self) -> str:
        """A hash of every byte that was written so far, by whom and when."""
        return self._digest.hexdigest()

    @property
    def last_events(self) -> list[str]:
        """The last things that happened, for people."""
        return list(self._last)

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

    def told(self, who: str, what: str) -> None:
        """Something happened that a person may want to know of."""
        self._last.append(f"{self.time:10.3f}  {who}  {what}")

    def sign(self, challenge: str) -> bytes:
        """The signature of a challenge."""
        return _key().sign(challenge.encode(), "ssh")

    def signer_of(self, agent_id: str) -> Signer:
        """An agent's signer."""
        return self._signers[agent_id]

    def processes_of(self, agent_id: str) -> list[AgentProcess]:
        """The living processes of an agent."""
        return [process for process in self.processes if process.agent_id == agent_id]

    def restart_agent(self, agent_id: str, after_s: float) -> None:
        """Kill an agent, and start it again later."""
        for process in self.processes_of(agent_id):
            self._kill(process)
        self.after(after_s, lambda: self._start_agent_unless_there(agent_id))

    def start_second_process(self, agent_id: str, seconds: float) -> None:
        """Have a second process with the same id, for a while."""
        if not self._is_calm and len(self.processes_of(agent_id)) == 1:
            process = self._start_agent(agent_id)
            self.after(seconds, lambda: self._kill_if_second(process))

    def commands_forgotten(self) -> None:
        """The platform lost its memory."""
        self.commands.clear()

    def session_began(self, process: AgentProcess) -> None:
        """A link is up."""
        self._began[id(process)] = self.happened.total()

    def session_ended(self, process: AgentProcess) -> None:
        """A link is over, or an attempt."""
        began = self._began.pop(id(process), None)
        self.sessions += began is not None and self.happened.total() > began

    # --- inside -------------------------------------------------------------------------------------------------------

    def _rng(self) -> Random:
        return Random(self.rng.getrandbits(64))  # noqa: S311

    def _inject(self, fault: Fault) -> None:
        self.happened[fault.kind] += 1
        self.told("fault", f"{fault.kind.value} ({fault.flavour}, {fault.amount:g} s)")
        inject(self, fault)

    def _start_agent(self, agent_id: str) -> AgentProcess:
        settings: dict[str, Any] = {"agent_id": agent_id, "tenant_id": TENANT, "api_endpoint": "http://localhost"}
        config = AgentConfig(**(_AGENT | settings | self._agent_settings))
        skew_s = self.rng.choice([0.0, 0.0, -86_400.0, 5.0, 864_000.0])
        process = AgentProcess(self, config, self._rng(), wall_skew_s=skew_s)
        self.processes.append(process)
        process.start()
        return process

    def _start_agent_unless_there(self, agent_id: str) -> None:
        if not self.processes_of(agent_id):
            self._start_agent(agent_id)

    def _kill(self, process: AgentProcess) -> None:
        process.die()
        self.processes.remove(process)
        self.session_ended(process)

    def _kill_if_second(self, process: AgentProcess) -> None:
        if process in self.processes and len(self.processes_of(process.agent_id)) > 1:
            self._kill(process)

    def _send_command(self, agent_id: str) -> None:
        if self._is_calm:
            return
        timeout_s = self.rng.choice([2.0, 10.0, 30.0, None])

        def send(now: Instant) -> None:
            command = self.platform.hub.send_command(
                TENANT, agent_id, "work", {"n": len(self.commands)}, timeout_s=timeout_s, now=now
            )
            self.commands[command.command_id] = 0

        with suppress(ApiError):  # it holds as many as it may
            self.platform.turn(send)
        self.after(self.rng.expovariate(1 / 5.0), lambda: self._send_command(agent_id))


def _longest_command_s() -> float:
    return 30.0 + 300.0 + 60.0


@lru_cache(maxsize=1)
def _key() -> SigningKey:
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
