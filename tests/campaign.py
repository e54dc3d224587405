"""Very many simulated sessions, on every core: `python tests/campaign.py --sessions 50000`.

A session is one link from its first byte to its loss, with at least one fault that concerned it. Prints how often
each fault came, each invariant was looked at, and what became of batches on the disks of platforms and of agents. Exits
with 1 if an invariant broke, if a fault came fewer than 100 times or a batch met a fate fewer than 20 times, or if an
invariant was never looked at. What broke is shrunk and printed as a test can repeat it.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import Pool
from typing import Any, Final, NamedTuple

from artcafe_proto.testing import INVARIANTS, FaultKind, InvariantError, Simulation, shrink
from artcafe_proto.testing.disks import BatchFate

LEAST_FAULTS: Final = 100
LEAST_FATES: Final = 20
_ENDLESS_S: Final = 120
"""A world that takes this long is in a loop without an end."""


def settings(seed: int) -> dict[str, Any]:
    """What the world of a seed is like; they are not all alike."""
    return {
        "agents": 1 + seed % 3,
        "seconds": 1800.0,
        "mean_gap_s": (30.0, 300.0, 1000.0)[seed // 3 % 3],
        "link_fault_s": (0.05, 0.5, 3.0)[seed // 9 % 3],
        "command_gap_s": (2.0, 10.0, 30.0, 30.0)[seed // 27 % 4],
        "calls_gap_s": (None, 30.0, 5.0)[seed // 108 % 3],
        "store_fault_s": (None, 60.0)[seed % 2],
        "journal_fault_s": (None, 60.0)[seed // 2 % 2],
    }


def collect_seldom() -> None:
    """Have garbage in cycles, of which worlds leave little, looked for less often: that took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(100_000)


class Outcome(NamedTuple):
    """What one world was."""

    seed: int
    sessions: int
    happened: Counter[FaultKind]
    fates: Counter[BatchFate] | None
    """What became of the platform's batches; None without a store."""
    journal_fates: Counter[BatchFate] | None
    """And of the agents'; None without journals."""
    evaluations: Counter[str]
    broken: str


def run(seed: int) -> Outcome:
    """One world."""
    sim = Simulation(seed, **settings(seed))
    broken = ""
    try:
        with within_bounds():
            sim.run()
    except InvariantError as error:
        kept = shrink(lambda faults: Simulation(seed, **settings(seed), faults=faults).run(), sim.injected)
        broken = f"{error}\nrepeat it with Simulation({seed}, **{settings(seed)}, faults={kept})"
    except Exception as error:
        error.add_note(f"in Simulation({seed}, **{settings(seed)})")
        raise
    fates = None if sim.platform.disk is None else sim.platform.disk.fates
    of_agents = [disk.fates for agent_id in sim.agent_ids if (disk := sim.disk_of(agent_id)) is not None]
    journal_fates = sum(of_agents, Counter[BatchFate]()) if of_agents else None
    return Outcome(seed, sim.sessions, sim.happened, fates, journal_fates, sim.invariants.evaluations, broken)


@contextmanager
def within_bounds() -> Generator[None]:
    """Raise TimeoutError if what is inside does not end."""
    signal.signal(signal.SIGALRM, _endless)
    signal.alarm(_ENDLESS_S)
    try:
        yield
    finally:
        signal.alarm(0)


def _endless(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"expected the world to end within {_ENDLESS_S} s")


def main() -> int:
    """The campaign. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Run many simulated sessions with faults.")
    parser.add_argument("--sessions", type=int, default=50_000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    began, sessions, worlds, stores, journals = time.monotonic(), 0, 0, 0, 0
    happened: Counter[FaultKind] = Counter()
    fates: Counter[BatchFate] = Counter()
    journal_fates: Counter[BatchFate] = Counter()
    evaluations: Counter[str] = Counter()
    broken: list[str] = []
    with Pool(asked.jobs, collect_seldom) as pool:
        for outcome in pool.imap(run, range(asked.first_seed, asked.first_seed + asked.sessions)):
            worlds += 1
            sessions += outcome.sessions
            happened.update(outcome.happened)
            stores += outcome.fates is not None
            fates.update(outcome.fates or {})
            journals += outcome.journal_fates is not None
            journal_fates.update(outcome.journal_fates or {})
            evaluations.update(outcome.evaluations)
            broken += [outcome.broken] * bool(outcome.broken)
            if sessions >= asked.sessions:
                break
        pool.terminate()
    seconds = time.monotonic() - began
    _show("faults", {kind.value: happened[kind] for kind in FaultKind})
    _show("batches of platforms", {fate.value: fates[fate] for fate in BatchFate})
    _show("batches of agents", {fate.value: journal_fates[fate] for fate in BatchFate})
    _show("looks at invariants", {name: evaluations[name] for name in INVARIANTS})
    print(f"\n{sessions} sessions in {worlds} worlds (seeds from {asked.first_seed}),", end=" ")
    print(f"{stores} of them with a store, {journals} with journals,")
    print(f"{sum(happened.values())} faults,", end=" ")
    print(f"{sum(evaluations.values())} looks at invariants, {len(broken)} broken; signatures are real")
    print(f"{seconds:.0f} s with {asked.jobs} jobs: {sessions / seconds / asked.jobs:.0f} sessions per second and job")
    rare = [kind.value for kind in FaultKind if happened[kind] < LEAST_FAULTS]
    rare += [f"{fate.value} (platforms)" for fate in BatchFate if fates[fate] < LEAST_FATES]
    rare += [f"{fate.value} (agents)" for fate in BatchFate if journal_fates[fate] < LEAST_FATES]
    unseen = [name for name in INVARIANTS if not evaluations[name]]
    for text in broken:
        print(f"\nBROKEN: {text}", file=sys.stderr)
    if rare or unseen:
        print(f"\nEXPECTED MORE: came too seldom: {rare}; never looked at: {unseen}")
    return 1 if broken or rare or unseen else 0


def _show(title: str, counts: dict[str, int]) -> None:
    print(f"\n{title}")
    for name, count in counts.items():
        print(f"{count:>12,}  {name}")


if __name__ == "__main__":
    sys.exit(main())
