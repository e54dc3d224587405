"""What the machines did once, against what they do now: `python tests/replay.py record FILE`, then `… compare FILE`.

`record` runs simulated worlds (`replays.worlds`: agents, a platform, faults of every kind, tenants over HTTP) and
stores, for each life of an agent and for each memory of a platform with its connections, how it was built, every call
from outside in order, what each returned or raised, all outputs, and the deadline after each drain. `compare` builds
the same machines of the present code, makes the same calls at the same places, and prints the first difference. It
exits with 1 if there is one, or if nothing was compared.

What is the same must be the same to the byte, but for this:

- Mask keys: the frames that an agent writes are compared unmasked. The inputs of a platform are masked as recorded.
- The order of draws: a machine draws each kind of random value from a stream of its own (`replays.draws`), so that only
  the order of its ids, of its waits, and so on, matters. Nothing is renamed.
- A platform's connection: writes between two inputs are compared as one. So are the hub's events as one sequence, and
  each connection's outputs as another; in which order these come among each other is not compared.
- Deadlines of connections are compared to the moment, though the hub lets many share one. A record of when each
  connection kept its own time is played so.
- `RequestArrived` and `respond` are neither recorded nor compared: what the core leaves to its owner is answered by
  `replays.present.answer`, and the bytes of the response are compared whoever makes them.

A record is plain data. `replays.present` alone knows the API of the core, and is to be changed with it. (To record
again, `replays.recording` and `replays.worlds` need the simulation, too.) Not recorded are long polls and event
streams, for which nobody asks in these worlds. No address fails so often that its attempts are limited (PLAT-8).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from artcafe_proto.testing.faults import OF_EVERY_WORLD
from campaign import collect_seldom
from replays.comparing import Difference, compare
from replays.recording import record
from replays.stored import Call, World, read, write


def main() -> int:
    """Change or compare. Returns the exit status."""
    parser = argparse.ArgumentParser(description="Change what the machines do, or compare it with a record.")
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--worlds", type=int, default=1000)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=400.0, help="how long faults happen in a world, virtual")
    parser.add_argument("--preset", type=int, default=1, help="of LZMA, from 0 (fast) to 9 (small)")
    asked = parser.parse_args()
    collect_seldom()
    began = time.monotonic()
    if asked.what == "record":
        seeds = range(asked.first_seed, asked.first_seed + asked.worlds)
        seen: Counter[str] = Counter()
        write(asked.file, _counted((record(seed, asked.seconds) for seed in seeds), seen), asked.preset)
        _show(seen)
        print(f"{asked.worlds} worlds, {asked.file.stat().st_size:,} bytes, {time.monotonic() - began:.0f} s")
        return 0
    try:
        counts = compare(read(asked.file))
    except Difference as difference:
        print(f"DIFFERENT: {difference}", file=sys.stderr)
        return 1
    print("the same: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
    print(f"{time.monotonic() - began:.0f} s")
    return 0


def _counted(worlds: Iterable[World], seen: Counter[str]) -> Iterator[World]:
    """Pass on worlds, and count the faults and calls in them."""
    for world in worlds:
        seen.update(f"fault {name}" for name in world.faults)
        seen.update(kinds_of_calls(world))
        yield world


def kinds_of_calls(world: World) -> Counter[str]:
    """How often each call was made, by kind of object."""
    return Counter(
        f"{'connection' if step.target else 'hub' if machine.role == 'platform' else 'agent'} {step.name}"
        for machine in world.machines
        for step in machine.steps
        if isinstance(step, Call)
    )


def _show(seen: Counter[str]) -> None:
    for name, count in sorted(seen.items()):
        print(f"{count:>12,}  {name}")
    missing = [kind.name for kind in OF_EVERY_WORLD if not seen[f"fault {kind.name}"]]
    print(f"faults that did not happen: {missing}")


if __name__ == "__main__":
    sys.exit(main())
