"""What the simulation finds by itself: `python tests/simulated_bugs.py [--sessions 3000] [--jobs 2] [NAME …]`.

Each bug of `mutants/simulated.py` is planted in a copy of the package, where a campaign of so many sessions has to meet
an invariant that does not hold, an error that no input may cause, or no end. No other test runs. Prints what found
each, after how many sessions, and exits with 1 if fewer than LEAST_FOUND are found. With `--alone` the bugs are those
that one invariant each has to find, and without it none: those that are not found so are printed, and the status is 1.
With `--stores` they are those of `mutants/stored.py`, with `--journals` those of `mutants/journaled.py`, each of which
has to be found.
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
from typing import Any, Final, NamedTuple

from artcafe_proto.testing import INVARIANTS, InvariantError, Simulation
from artcafe_proto.testing.invariants.table import Checks
from campaign import collect_seldom, settings, within_bounds
from mutants.journaled import JOURNALED
from mutants.simulated import ALONE, BUGS, OVER_HTTP, Bug
from mutants.stored import STORED

ROOT: Final = Path(__file__).parents[1]
LEAST_FOUND: Final = 20
SESSIONS: Final = 3000
FEW_SESSIONS: Final = 500
OTHER_SESSIONS: Final = {
    "no command waits while later ones are served": 1500,
    "renewals keep their distance": 1500,
    "what is settled was received": 300,
}
"""How many sessions an invariant has to find its bug in, and others not to, where that are not few."""
FIRST_WITH_CALLERS: Final = 108
"""The first seed of a campaign in whose world somebody uses the HTTP interface."""
FIRST_WITH_BUSY_CALLERS: Final = 216
"""And the first in whose world that happens every few seconds."""
FIRST_WITH_JOURNALS: Final = 2
"""And the first in whose world agents have journals."""
NO_DISKS: Final[dict[str, Any]] = {"store_fault_s": None, "journal_fault_s": None}
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
    for path, old, new in bug.changes:
        source = (folder / path).read_text()
        assert source.count(old) == 1, f"{bug.name}: expected {old!r} once in {path}"
        (folder / path).write_text(source.replace(old, new))


def look_for(
    bug: Bug, sessions: int, first_seed: int = 0, *, without: str = "", without_disks: bool = False
) -> Finding:
    """Run a campaign against the planted bug, perhaps `without` one invariant, or in worlds without disks."""
    with tempfile.TemporaryDirectory() as folder:
        plant(bug, Path(folder))
        paths = os.pathsep.join([folder, str(ROOT / "tests")])
        environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-P", __file__, "--search", "--sessions", str(sessions), "--without", without]
        command += ["--first-seed", str(first_seed), *(["--without-disks"] if without_disks else [])]
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    assert done.returncode in (0, _FOUND), done.stderr
    return Finding(bug, done.stdout.strip())


def find_stored(bug: Bug, sessions: int = SESSIONS) -> Finding:
    """Run a campaign against a bug of a store; callers could not but notice that commands are forgotten early."""
    return look_for(bug, sessions, 0 if bug.besides else FIRST_WITH_BUSY_CALLERS)


def find_journaled(bug: Bug, sessions: int = SESSIONS) -> Finding:
    """Run a campaign against a bug of a journal."""
    return look_for(bug, sessions, FIRST_WITH_JOURNALS)


def is_found_alone(invariant: str) -> str:
    """Whether its bug of ALONE is found by an invariant, and without that by nothing: "" if so, else what is met.

    Where it is not about disks there are none: the invariants of these notice other bugs, too.
    """
    no_disks = "PLAT-5" not in INVARIANTS[invariant]
    sessions = OTHER_SESSIONS.get(invariant, FEW_SESSIONS)
    bug = ALONE[invariant]
    first_seed = FIRST_WITH_CALLERS if bug.path in OVER_HTTP else 0
    by = look_for(bug, sessions, first_seed, without_disks=no_disks)
    without = look_for(bug, sessions, first_seed, without=invariant, without_disks=no_disks)
    return "" if by.what.startswith(invariant) and not without.what else f"{by.what!r}; without: {without.what!r}"


def overlook(invariant: str) -> None:
    """Have an invariant hold whatever happens."""
    check = Checks.check

    def checked(self: Checks, name: str, holds: bool, *detail: object) -> None:
        check(self, name, holds or name == invariant, *detail)

    Checks.check = checked


def search(sessions: int, first_seed: int, without: str, *, without_disks: bool) -> int:
    """World after world, until something is met. Returns the exit status."""
    disks = NO_DISKS if without_disks else {}
    collect_seldom()
    overlook(without)
    seen, seed = 0, first_seed
    while seen < sessions:
        sim = Simulation(seed, **(settings(seed) | disks))
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


def alone(invariants: list[str], jobs: int) -> int:
    """Print for each invariant whether it alone finds its bug. Returns the exit status."""
    status = 0
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(is_found_alone, invariants)
        for invariant, met in zip(invariants, found, strict=True):
            print(f"{invariant}: {met or 'finds it alone'}", flush=True)
            status |= bool(met)
    return status


def main() -> int:
    """All bugs, or those whose names are given. Returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--alone", action="store_true", help="the bugs that one invariant each has to find")
    parser.add_argument("--stores", action="store_true", help="the bugs of platforms with a store, all to be found")
    parser.add_argument("--journals", action="store_true", help="the bugs of agents with a journal, all to be found")
    parser.add_argument("--search", action="store_true", help="only search, in the package that is imported")
    parser.add_argument("--without", default="", help="overlook this invariant in a search")
    parser.add_argument("--without-disks", action="store_true", help="search where nothing is stored")
    asked = parser.parse_args()
    if asked.search:
        return search(asked.sessions, asked.first_seed, asked.without, without_disks=asked.without_disks)
    if asked.alone:
        return alone(asked.names or list(ALONE), asked.jobs)
    planted = STORED if asked.stores else JOURNALED if asked.journals else BUGS
    bugs = [bug for bug in planted if not asked.names or bug.name in asked.names]
    found, least = 0, LEAST_FOUND if planted is BUGS else len(bugs)
    with ThreadPoolExecutor(asked.jobs) as pool:
        find = partial(look_for, first_seed=asked.first_seed)
        if planted is not BUGS:
            find = find_stored if planted is STORED else find_journaled
        for bug, what in pool.map(partial(find, sessions=asked.sessions), bugs):
            found += bool(what)
            print(f"{bug.name}: {what or 'NOT FOUND'}", flush=True)
    print(f"\n{found} of {len(bugs)} found")
    return 0 if asked.names or found >= least else 1


if __name__ == "__main__":
    sys.exit(main())
