"""The command `fuzz/run`: fuzz a target for some time, or check it with a file; exit with 1 if something was found."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mutants.planted import Mutant

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent
CRASHES: Final = HERE / "crashes"
TARGETS: Final = tuple(sorted(path.stem for path in (HERE / "targets").glob("*.py")))
_FOUND: Final = 1
_BROKEN: Final = 2
_LARGEST_SEED: Final = 2**31


def main(arguments: list[str]) -> int:
    """The exit status: 0 nothing found, 1 something, 2 if the target could not be run."""
    parser = argparse.ArgumentParser(prog="fuzz/run", description=__doc__)
    parser.add_argument("target", choices=TARGETS, help="what to fuzz")
    parser.add_argument("file", nargs="?", type=Path, help="bytes to check it with, instead of fuzzing")
    parser.add_argument("--seconds", type=int, default=30, help="how long to fuzz (30)")
    parser.add_argument("--seed", type=int, help="of the fuzzer; drawn if not given")
    parser.add_argument("--planted", action="store_true", help="with the target's planted bug, which must be found")
    given = parser.parse_intermixed_args(arguments)  # the file may come last
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(HERE), str(ROOT / "tests")]
        if given.planted:
            sys.path[:0] = paths
            plant(import_module(f"targets.{given.target}").PLANTED, Path(folder))
            paths.insert(0, folder)
        if given.file is not None:
            return _FOUND if _engine(paths, [given.target, str(given.file)]) else 0
        seed = given.seed if given.seed is not None else random.SystemRandom().randrange(_LARGEST_SEED)
        return fuzz(given.target, given.seconds, seed, paths, planted=given.planted)


def plant(bug: Mutant, folder: Path) -> None:
    """Put a copy of the package with this bug into `folder`, to be found there before the real one."""
    shutil.copytree(ROOT / "artcafe_proto", folder / "artcafe_proto", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / bug.path
    path.write_text(path.read_text().replace(bug.old, bug.new))


def fuzz(target: str, seconds: int, seed: int, paths: Iterable[str], *, planted: bool) -> int:
    """Fuzz, and say how to repeat what was found."""
    CRASHES.mkdir(exist_ok=True)
    option = " --planted" if planted else ""
    print(f"fuzz/run {target}{option} --seconds {seconds} --seed {seed}", flush=True)
    prefix = f"{'planted-' if planted else ''}{target}-{seed}-"
    before = set(CRASHES.glob(f"{prefix}*"))
    status = _engine(paths, [target, str(seconds), str(seed), str(CRASHES / prefix)])
    found = sorted(set(CRASHES.glob(f"{prefix}*")) - before)
    for path in found:
        print(f"found: fuzz/run {target}{option} {path.relative_to(ROOT)}", flush=True)
    if found:
        return _FOUND
    return _BROKEN if status else 0


def _engine(paths: Iterable[str], arguments: list[str]) -> int:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(HERE / "engine.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
