"""Walks through every state of agent and platform: `.venv/bin/python tests/exhaustive.py [--thorough]`.

Prints the states and edges of every scenario, how often each row of the transition tables was taken, and in how many
states something was so that matters (a fruitless link, a declared status …). Exits with 1 if an invariant does not hold
somewhere, with the way there, if a row was never taken, or if one of those was never so.
"""

from __future__ import annotations

import argparse
import sys

from walk.scenarios import QUICK, THOROUGH
from walk.search import Report, WalkError, walk


def main() -> int:
    """Walk, and say what was seen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--thorough", action="store_true", help="more of everything: some minutes instead of seconds")
    total = Report()
    for scenario in THOROUGH if parser.parse_args().thorough else QUICK:
        try:
            report = walk(scenario)
        except WalkError as error:
            print(error)
            return 1
        print(f"{scenario.name}: {report.states:,} states, {report.edges:,} edges, {report.seconds:.1f} s", flush=True)
        total.add(report)
    print(total)
    return 1 if total.unvisited() or total.unmet() else 0


if __name__ == "__main__":
    sys.exit(main())
