"""What the simulation finds by itself: `python tests/simulated_bugs.py [--sessions 3000] [--jobs 2] [NAME …]`.

Each bug of `mutants/simulated.py` is planted in a copy of the package, where a campaign of so many sessions has to meet
an invariant that does not hold, an error that no input may cause, or no end. No other test runs. Prints what found
each, after how many sessions, and exits with 1 if fewer than LEAST_FOUND are found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from artcafe_proto.testing import InvariantError, Simulation
from campaign import collect_seldom, settings, within_bounds
from mutants.simulated import BUGS, Bug

ROOT: Final = Path(__file__).parents[1]
LEAST_FOUND: Final = 15
SESSIONS: Final = 3000
_PATIENCE_S: Final = 900.0
_FOUND: Final = 3
"""The exit status of a search that met something."""


class Finding(NamedTuple):
    """What a campaign met, "" if it met nothing."""

    bug: Bug
    what: str


def plant(bug: Bug, folder: Path) -> None:
    """Copy the package into `folder`, with the bug in it."""
    package = Path(bug.path).parts[0]
    shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    target = folder / bug.path
    source = target.read_text()
    assert source.count(bug.old) == 1, f"{bug.name}: expected {bug.old!r} once in {bug.path}"
    target.write_text(source.replace(bug.old, bug.new))


def look_for(bug: Bug, sessions: int, first_seed: int = 0) -> Finding:
    """Run a campaign against the planted bug."""
    with tempfile.TemporaryDirectory() as folder:
        plant(bug, Path(folder))
        paths = os.pathsep.join([folder, str(ROOT / "tests")])
        environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", __file__, "--search", "--sessions", str(sessions), "--first-seed"]
        done = subprocess.run(
            [*command, str(first_seed)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    assert done.returncode in (0, _FOUND), done.stderr
    return Finding(bug, done.stdout.strip())


def search(sessions: int, first_seed: int) -> int:
    """World after world, until something is met. Returns the exit status."""
    collect_seldom()
    seen, seed = 0, first_seed
    while seen < sessions:
        sim = Simulation(seed, **settings(seed))
        try:
            with within_bounds():
                sim.run()
        except InvariantError as error:
            print(f"{error.name} (seed {seed}, after {seen + sim.sessions} sessions)")
            return _FOUND
        except Exception as error:
            print(f"{type(error).__name__}: {error} (seed {seed}, after {seen + sim.sessions} sessions)")
            return _FOUND
        seen += sim.sessions
        seed += 1
    return 0


def main() -> int:
    """All bugs, or those whose names are given. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--search", action="store_true", help="only search, in the package that is imported")
    asked = parser.parse_args()
    if asked.search:
        return search(asked.sessions, asked.first_seed)
    bugs = [bug for bug in BUGS if not asked.names or bug.name in asked.names]
    found = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        look = partial(look_for, sessions=asked.sessions, first_seed=asked.first_seed)
        for bug, what in pool.map(look, bugs):
            found += bool(what)
            print(f"{bug.name}: {what or 'NOT FOUND'}", flush=True)
    print(f"\n{found} of {len(bugs)} found")
    return 0 if asked.names or found >= LEAST_FOUND else 1


if __name__ == "__main__":
    sys.exit(main())
