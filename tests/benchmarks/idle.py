"""What an idle agent costs the platform in memory, beside a server of `websockets`; and how many one process holds.

    .venv/bin/python tests/benchmarks/idle.py [--agents 10000] [--repeats 3] [--hold 18000] [--only WORD]

Every server is a process of its own, and so is its load (`fleet.py`), which logs in as agents do. Memory is resident:
what the process has more after all agents have come than after the first few, when everything is loaded; the platform's
includes what it keeps of a registered agent and its key, which the others have no counterpart of. The servers take
turns. With `--hold`, one platform then holds so many agents for 75 s at a heartbeat every 30 s: none may be lost.

Each process needs a file descriptor an agent; the soft limit is raised as far as it goes.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.servers import FLEETS, PLATFORM, WEBSOCKETS, WEBSOCKETS_PLAIN, Round, spread

FIRST = 200
HOLD_S = 75.0


def measure(name: str, agents: int) -> tuple[float, float]:
    """Bytes of a connected agent, and of a registered one."""
    with Round(name, agents) as round_:
        round_.do("connect", FIRST)
        before = round_.resident_bytes
        round_.do("connect", agents - FIRST)
        grown = round_.resident_bytes - before
        return grown / (agents - FIRST), round_.registered_bytes / agents


def hold(agents: int) -> None:
    """Hold so many at once, and say what it took."""
    with Round(PLATFORM, agents) as round_:
        took = round_.do("connect", agents)
        before = round_.cpu_s
        held = round_.do("hold", HOLD_S)
        cpu = (round_.cpu_s - before) / HOLD_S
        print(
            f"held {agents - held['lost']:,} of {agents:,} agents for {HOLD_S:.0f} s (goal 18,000, floor 10,000):"
            f" {held['beats']:,} heartbeats and {held['pings']:,} pings, CPU {cpu:.0%} of a core,"
            f" {round_.resident_bytes / 2**20:.0f} MiB, logged in within {took['seconds']:.0f} s"
        )


def report(rounds: dict[str, list[tuple[float, float]]]) -> None:
    """Print the table and the ratios."""
    totals = {name: [sum(each) for each in figures] for name, figures in rounds.items()}
    print(f"{'server':34} {'KiB an agent':>12} {'spread':>7} {'of it registered':>17}")
    for name, figures in rounds.items():
        registered = median(each[1] for each in figures) / 1024
        print(f"{name:34} {median(totals[name]) / 1024:12.2f} {spread(totals[name]):>7} {registered:17.2f}")
    for other, what in ((WEBSOCKETS, " (≤ 0.10, floor 0.25)"), (WEBSOCKETS_PLAIN, "")):
        if PLATFORM in totals and other in totals:
            ratios = [mine / theirs for mine, theirs in zip(totals[PLATFORM], totals[other], strict=True)]
            print(f"{PLATFORM + ' ÷ ' + other + what:70} {median(ratios):6.3f} {spread(ratios)}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--only", action="append", help="servers whose names hold this word; may be repeated")
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names = [name for name in FLEETS if not arguments.only or any(word in name for word in arguments.only)]
    rounds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(arguments.repeats):
        for name in names:
            rounds[name].append(measure(name, arguments.agents))
    if arguments.repeats:
        report(rounds)
    if arguments.hold:
        hold(arguments.hold)


if __name__ == "__main__":
    main()
