"""What can go wrong in a simulation: the kinds, how they are drawn from a seed, and what each does."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from artcafe_proto.testing.circuits import Chunking
from artcafe_proto.testing.ensuring import ensure
from artcafe_proto.testing.rogues import ROGUES

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.testing.agents import AgentProcess
    from artcafe_proto.testing.whole import Whole

__all__ = ["Fault", "FaultKind"]


class FaultKind(Enum):
    """The kinds of faults. `Fault.amount` is what the text here says, seconds where it says nothing."""

    REFUSED = "connections are refused"
    BLACK_HOLE = "connections are not answered"
    RESET = "the agent's connections are reset"
    SILENT_UP = "nothing of what the agent sends arrives any more"
    SILENT_DOWN = "nothing of what is sent to the agent arrives any more"
    STALL = "the network carries nothing"
    HELD_UP = "nothing of what the agent sends arrives for a while"
    HELD_DOWN = "nothing of what is sent to the agent arrives for a while"
    SLOW_UP = "what the agent sends goes over a slow line"
    SLOW_DOWN = "what is sent to the agent comes over a slow line"
    BYTES = "the network carries single bytes"
    SPLIT = "the network cuts at random places"
    MERGED = "the network puts together"
    HALVED = "the network brings half of something, and the rest after a timer"
    CONGESTED = "a transport takes nothing"
    ROGUE = "something else answers instead of the platform"
    CLOSED = "the platform closes the link"
    PLATFORM_RESTART = "the platform is restarted"
    PLATFORM_AMNESIA = "the platform is restarted and has forgotten commands and tokens"
    AGENT_RESTART = "the agent's process dies and is started again"
    AGENT_DRAINS = "the agent is stopped, drains, and is started again"
    AGENT_STOPS = "the agent is stopped at once, and started again"
    SECOND_PROCESS = "a second process uses the agent's id"
    KEY_REVOKED = "the agent's key is revoked"
    KEY_ROTATED = "another key of the agent takes the place of the one it has"
    SIGNER_SLOW = "the signer takes its time"
    SIGNER_REFUSES = "the signer refuses"
    AGENT_WALL_JUMP = "the agent's wall clock is set"
    PLATFORM_WALL_JUMP = "the platform's wall clock is set"
    SUSPENDED = "the agent's computer sleeps"
    AGENT_LATE = "the agent's timers are late"
    PLATFORM_LATE = "the platform's timers are late"
    PLATFORM_CRASH = "the platform dies, and is started again from what is stored"
    DISK_SLOW = "the platform's disk is slow"
    DISK_FULL = "the platform's disk is full"
    DISK_GONE = "the platform's disk cannot be reached"
    AGENT_CRASH = "the agent's process dies, and is started again from what is stored"
    AGENT_DISK_SLOW = "the agent's disk is slow"
    AGENT_DISK_FULL = "the agent's disk is full"
    AGENT_DISK_GONE = "the agent's disk cannot be reached"


OF_STORES: Final = (FaultKind.PLATFORM_CRASH, FaultKind.DISK_SLOW, FaultKind.DISK_FULL, FaultKind.DISK_GONE)
"""They happen where a platform has a store, beside the others, which are drawn as if these were not there."""
OF_JOURNALS: Final = (
    FaultKind.AGENT_CRASH,
    FaultKind.AGENT_DISK_SLOW,
    FaultKind.AGENT_DISK_FULL,
    FaultKind.AGENT_DISK_GONE,
)
"""They happen in the same way where agents have journals."""
OF_EVERY_WORLD: Final = tuple(kind for kind in FaultKind if kind not in (*OF_STORES, *OF_JOURNALS))


class Fault(msgspec.Struct, frozen=True):
    """One fault: when (seconds from the start), which, on whose account, for how long, and its flavour."""

    at: float
    kind: FaultKind
    agent: int
    amount: float
    flavour: str = ""


_AMOUNTS_S: Final[dict[FaultKind, tuple[float, ...]]] = {
    FaultKind.RESET: (0.0,),
    FaultKind.CLOSED: (0.0,),
    FaultKind.SILENT_UP: (0.0,),
    FaultKind.SILENT_DOWN: (0.0,),
    FaultKind.BLACK_HOLE: (1.0, 12.0, 30.0),
    FaultKind.STALL: (0.5, 3.0, 25.0, 60.0),
    FaultKind.HELD_UP: (0.5, 3.0, 25.0, 45.0),
    FaultKind.HELD_DOWN: (0.5, 3.0, 25.0, 45.0),
    FaultKind.KEY_ROTATED: (0.0,),
    FaultKind.AGENT_WALL_JUMP: (-86_400.0, -3600.0, -31.0, 29.0, 45.0, 3600.0, 864_000.0),
    FaultKind.PLATFORM_WALL_JUMP: (-3600.0, -31.0, 45.0, 3600.0),
    FaultKind.SUSPENDED: (5.0, 60.0, 7200.0),
    FaultKind.AGENT_LATE: (0.5, 2.0, 45.0),
    FaultKind.PLATFORM_LATE: (0.5, 2.0, 45.0),
    FaultKind.SIGNER_SLOW: (1.0, 20.0, 70.0),
    FaultKind.DISK_SLOW: (5.0, 30.0, 90.0),
    FaultKind.AGENT_DISK_SLOW: (5.0, 30.0, 90.0),
}
_USUAL_AMOUNTS_S: Final = (0.5, 5.0, 30.0, 90.0)
_RATES: Final = ("500", "4000", "40000")
"""Of a slow line, in bytes a second."""
_ROGUES: Final = tuple(ROGUES)
_CODES: Final = ("1000", "1001", "1007", "1008", "1009", "1011", "1012", "1013", "4001", "4401", "4403", "4408", "4409")
_UNDER_WAY: Final = "with a batch under way"

CONCERN_ALL: Final = frozenset(
    {
        FaultKind.REFUSED,
        FaultKind.BLACK_HOLE,
        FaultKind.STALL,
        FaultKind.BYTES,
        FaultKind.SPLIT,
        FaultKind.MERGED,
        FaultKind.HALVED,
        FaultKind.ROGUE,
        FaultKind.PLATFORM_RESTART,
        FaultKind.PLATFORM_AMNESIA,
        FaultKind.PLATFORM_WALL_JUMP,
        FaultKind.PLATFORM_LATE,
        *OF_STORES,
    }
)
"""Kinds that concern every agent; the others one."""


def draw_fault(rng: Random, *, at: float, agent: int, kinds: tuple[FaultKind, ...] = OF_EVERY_WORLD) -> Fault:
    """A fault of any of `kinds`, for one moment and one agent."""
    kind = rng.choice(kinds)
    flavour = ""
    if kind is FaultKind.ROGUE:
        flavour = rng.choice(_ROGUES)
    elif kind is FaultKind.CLOSED:
        flavour = rng.choice(_CODES)
    elif kind is FaultKind.SUSPENDED:
        flavour = rng.choice(["counted", "not counted"])
    elif kind in (FaultKind.SLOW_UP, FaultKind.SLOW_DOWN):
        flavour = rng.choice(_RATES)
    elif kind is FaultKind.CONGESTED:
        flavour = rng.choice(["of the agent", "of the platform"])
    elif kind in (FaultKind.PLATFORM_CRASH, FaultKind.AGENT_CRASH):
        flavour = rng.choice(["", _UNDER_WAY, _UNDER_WAY])
    amount = rng.choice(_AMOUNTS_S.get(kind, _USUAL_AMOUNTS_S))
    return Fault(at, kind, agent, amount, flavour)


def draw_faults(
    rng: Random, *, seconds: float, mean_gap_s: float, agents: int, kinds: tuple[FaultKind, ...] = OF_EVERY_WORLD
) -> list[Fault]:
    """Faults of any of `kinds` that follow each other after `mean_gap_s` on average."""
    faults: list[Fault] = []
    at = 0.0
    while (at := at + rng.expovariate(1 / mean_gap_s)) < seconds:
        faults.append(draw_fault(rng, at=round(at, 3), agent=rng.randrange(agents), kinds=kinds))
    return faults


_CHUNKING: Final = {
    FaultKind.BYTES: Chunking.BYTES,
    FaultKind.SPLIT: Chunking.SPLIT,
    FaultKind.MERGED: Chunking.MERGED,
    FaultKind.HALVED: Chunking.HALVED,
}


_UP: Final = (FaultKind.SILENT_UP, FaultKind.HELD_UP, FaultKind.SLOW_UP)


def inject(sim: Whole, fault: Fault) -> None:
    """Make a fault happen now."""
    ways = (_is_of_network, _is_of_connections, _is_of_platform, _is_of_disk, _is_of_journal)
    if not any(is_done(sim, fault) for is_done in ways):
        _is_of_agent(sim, fault)


def _is_of_network(sim: Whole, fault: Fault) -> bool:
    network, until = sim.network, sim.time + fault.amount
    match fault.kind:
        case FaultKind.REFUSED:
            network.refuses_until = max(network.refuses_until, until)
        case FaultKind.BLACK_HOLE:
            network.swallows_until = max(network.swallows_until, until)
        case FaultKind.ROGUE:
            network.rogue, network.rogue_until = fault.flavour, until
        case FaultKind.BYTES | FaultKind.SPLIT | FaultKind.MERGED | FaultKind.HALVED:
            network.rechunk(_CHUNKING[fault.kind], until)
        case FaultKind.STALL:
            network.stall(until)
        case _:
            return False
    return True


def _is_of_connections(sim: Whole, fault: Fault) -> bool:
    processes = sim.processes_of(sim.agent_ids[fault.agent])
    circuits = [circuit for process in processes for circuit in process.circuits.values()]
    directions = [circuit.up if fault.kind in _UP else circuit.down for circuit in circuits]
    match fault.kind:
        case FaultKind.RESET:
            for circuit in circuits:
                circuit.cut("reset")
        case FaultKind.SILENT_UP | FaultKind.SILENT_DOWN:
            for direction in directions:
                direction.is_silent = True
        case FaultKind.HELD_UP | FaultKind.HELD_DOWN:
            for direction in directions:
                direction.held_until = sim.time + fault.amount
        case FaultKind.SLOW_UP | FaultKind.SLOW_DOWN:
            for direction in directions:
                direction.bytes_per_s = float(fault.flavour)
                sim.after(fault.amount, direction.be_fast)
        case FaultKind.CONGESTED if fault.flavour == "of the platform":
            sim.platform.congest(circuits, fault.amount)
        case _:
            return False
    return True


def _is_of_platform(sim: Whole, fault: Fault) -> bool:
    platform, agent_id, until = sim.platform, sim.agent_ids[fault.agent], sim.time + fault.amount
    match fault.kind:
        case FaultKind.CLOSED:
            platform.close_links(agent_id, int(fault.flavour))
        case FaultKind.PLATFORM_RESTART | FaultKind.PLATFORM_AMNESIA | FaultKind.PLATFORM_CRASH:
            _restart(sim, fault)
        case FaultKind.KEY_REVOKED:
            platform.revoke(agent_id)
            sim.after(fault.amount, lambda: platform.restore_key(agent_id))
        case FaultKind.KEY_ROTATED:
            platform.rotate_key(agent_id)
        case FaultKind.PLATFORM_WALL_JUMP:
            platform.wall_offset_s += fault.amount
        case FaultKind.PLATFORM_LATE:
            platform.be_late(until)
        case _:
            return False
    return True


def _restart(sim: Whole, fault: Fault) -> None:
    """Without a store a crash is amnesia. With one amnesia loses what no store has: the key that tokens are signed
    with.
    """
    platform, disk = sim.platform, sim.platform.disk
    if fault.kind is FaultKind.PLATFORM_RESTART:
        platform.restart(keeps_memory=True)
    elif disk is None:
        platform.restart(keeps_memory=False)
        sim.tenant.forgotten()
    elif fault.flavour == _UNDER_WAY:
        disk.meanwhile(lambda: _restart_unless_calm(sim, replace(fault, flavour="")))
        return
    else:
        platform.crash(keeps_tokens=fault.kind is FaultKind.PLATFORM_CRASH)
        sim.tenant.restored()
    sim.network.refuses_until = max(sim.network.refuses_until, sim.time + fault.amount)


def _restart_unless_calm(sim: Whole, fault: Fault) -> None:
    if not sim.is_calm:
        _restart(sim, fault)


def _is_of_disk(sim: Whole, fault: Fault) -> bool:
    """Whether a fault is a disk's; who has no disk has no such fault."""
    is_of_agent = fault.kind in OF_JOURNALS
    disk, until = sim.disk_of(sim.agent_ids[fault.agent]) if is_of_agent else sim.platform.disk, sim.time + fault.amount
    match fault.kind:
        case FaultKind.DISK_SLOW | FaultKind.AGENT_DISK_SLOW:
            name = "is_slow_until"
        case FaultKind.DISK_FULL | FaultKind.AGENT_DISK_FULL:
            name = "is_full_until"
        case FaultKind.DISK_GONE | FaultKind.AGENT_DISK_GONE:
            name = "is_gone_until"
        case _:
            return False
    if disk is not None:
        setattr(disk, name, until)
    return True


def _is_of_journal(sim: Whole, fault: Fault) -> bool:
    """Whether an agent's process dies and goes on from its journal; without one it begins anew."""
    if fault.kind is not FaultKind.AGENT_CRASH:
        return False
    agent_id = sim.agent_ids[fault.agent]

    def crash() -> None:
        if not sim.is_calm:
            sim.restart_agent(agent_id, fault.amount)

    disk = sim.disk_of(agent_id)
    if disk is not None and fault.flavour == _UNDER_WAY:
        disk.meanwhile(crash)
    else:
        crash()
    return True


def _is_of_agent(sim: Whole, fault: Fault) -> None:
    agent_id = sim.agent_ids[fault.agent]
    signer = sim.signer_of(agent_id)
    match fault.kind:
        case FaultKind.AGENT_RESTART:
            sim.restart_agent(agent_id, fault.amount)
        case FaultKind.SECOND_PROCESS:
            sim.start_second_process(agent_id, fault.amount)
        case FaultKind.SIGNER_SLOW:
            signer.delay_s = fault.amount
            sim.after(90.0, signer.recover)
        case FaultKind.SIGNER_REFUSES:
            signer.refuses = True
            sim.after(fault.amount, signer.recover)
        case _:
            for process in sim.processes_of(agent_id):
                _of_process(process, fault)


def _of_process(process: AgentProcess, fault: Fault) -> None:
    match fault.kind:
        case FaultKind.CONGESTED:
            process.congest(fault.amount)
        case FaultKind.AGENT_DRAINS | FaultKind.AGENT_STOPS:
            process.stop(drain=fault.kind is FaultKind.AGENT_DRAINS)
        case FaultKind.AGENT_WALL_JUMP:
            process.wall_offset_s += fault.amount
        case FaultKind.SUSPENDED:
            process.sleep(fault.amount, mono_counts=fault.flavour == "counted")
        case _:
            ensure(fault.kind is FaultKind.AGENT_LATE, f"nobody knows how to make this happen: {fault.kind}")
            process.be_late(process.sim.time + fault.amount)
