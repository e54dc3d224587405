"""What a virtual minute of one simulated agent costs, in a small world and in a large one.

    .venv/bin/python tests/benchmarks/simulation.py [--few 200] [--many 10000] [--minutes 2]

Both worlds are the same but for the number of agents: commands, messages, heartbeats and no faults. They run in turns,
as many agent-minutes each in a turn, so that a busy machine slows down both. CPU time; ends with status 1 if the large
world costs more than 1.3 times as much for each agent.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time

from artcafe_proto.testing import Simulation

MOST = 1.3
WARM_UP_S = 60.0
TURN_S = 5.0
"""Virtual seconds that the large world runs in one turn."""


def world(agents: int) -> Simulation:
    """A world in which every agent is online."""
    sim = Simulation(1, agents=agents, seconds=1e9, faults=[], command_gap_s=30.0, says_gap_s=60.0)
    sim.run_for(WARM_UP_S)
    return sim


def cost_s(sim: Simulation, virtual_s: float) -> float:
    """CPU seconds of a while."""
    began = time.process_time()
    sim.run_for(virtual_s)
    return time.process_time() - began


def main() -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--few", type=int, default=200)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=2.0, help="virtual minutes of the large world")
    asked = parser.parse_args()
    worlds = [(agents, world(agents)) for agents in (asked.few, asked.many)]
    gc.collect()
    gc.freeze()
    costs = dict.fromkeys((asked.few, asked.many), 0.0)
    for _ in range(max(1, round(asked.minutes * 60 / TURN_S))):
        for agents, sim in worlds:
            costs[agents] += cost_s(sim, TURN_S * asked.many / agents)
    each = {agents: cost / (asked.many * asked.minutes) * 1000 for agents, cost in costs.items()}
    for agents, cost in each.items():
        print(f"{agents:>8,} agents: {cost:6.3f} ms CPU for a virtual minute of one")
    ratio = each[asked.many] / each[asked.few]
    print(f"ratio {ratio:.2f} (at most {MOST})")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())
