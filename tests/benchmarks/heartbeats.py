"""What a heartbeat costs the platform in CPU, beside `websockets` and `json`.

    .venv/bin/python tests/benchmarks/heartbeats.py [--agents 200] [--rate 500] [--seconds 4] [--repeats 5]

Heartbeats come one at a time, evenly spaced, so that each costs what it costs on a quiet platform: waking up, reading,
and all that follows. Every server is a process of its own, and so is its load. CPU is the server's, kernel included.
The servers take turns.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.servers import FLEETS, PLATFORM, WEBSOCKETS_PLAIN, Round, spread

SETTLE_S = 0.5


def measure(name: str, agents: int, rate: float, seconds: float) -> float:
    """Microseconds a heartbeat."""
    with Round(name, agents) as round_:
        round_.do("connect", agents)
        round_.do("beat", rate, SETTLE_S)
        before = round_.cpu_s
        sent = round_.do("beat", rate, seconds)
        assert sent["lost"] == 0
        return 1e6 * (round_.cpu_s - before) / sent["beats"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    names = [name for name in FLEETS if name in (PLATFORM, WEBSOCKETS_PLAIN)]
    costs: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(arguments.repeats):
        for name in names:
            costs[name].append(measure(name, arguments.agents, arguments.rate, arguments.seconds))
    print(f"{'server':34} {'CPU µs a heartbeat':>18} {'spread':>7}")
    for name, figures in costs.items():
        print(f"{name:34} {median(figures):18.1f} {spread(figures):>7}")
    ratios = [mine / theirs for mine, theirs in zip(costs[PLATFORM], costs[WEBSOCKETS_PLAIN], strict=True)]
    print(f"{'platform ÷ websockets and json (≤ 0.20, floor 0.35)':53} {median(ratios):5.2f} {spread(ratios)}")


if __name__ == "__main__":
    main()
