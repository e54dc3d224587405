"""Mutation testing of policies and machines: which changes of the code does no test of the core selection see?

    .venv/bin/python tests/mutation.py              every mutant; takes about half an hour on two cores
    .venv/bin/python tests/mutation.py --survivors  after new code and tests: what is new, and what survived last time

mutmut makes the mutants and runs the tests; `[tool.mutmut]` of pyproject.toml names the files that it changes and the
core selection of tests. It changes the bodies of functions, but not of properties nor anything outside of functions:
the tables of transitions have tests of their own.

    score = killed ÷ (all - equivalents)

Whatever is not killed has survived: timeouts, crashes of the run, and functions that no test calls too. Equivalents
are listed one by one in `tests/mutants/equivalent.py`. Ends with status 1 if the score is below 90 %, if more than 5 %
are called equivalent, if the list names a mutant that does not exist or that was killed, or if there were fewer mutants
than there should be: of all, or of one of the patterns that name the files.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from os import chdir
from pathlib import Path
from time import monotonic
from typing import Final, NamedTuple

from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

from mutants.equivalent import EQUIVALENTS, Equivalent

ROOT: Final = Path(__file__).parents[1]
LEAST_SCORE: Final = 0.9
MOST_EQUIVALENT: Final = 0.05
LEAST_MUTANTS: Final = 8500
"""A pattern that matches no file, or part of them, scores as well as the code that it no longer finds."""


class Mutant(NamedTuple):
    """One change, as an `Equivalent` names it, and what became of it."""

    name: str
    status: str
    function: str
    old: str
    new: str


def main(arguments: list[str]) -> int:
    """Make and run the mutants, print the survivors and the score; returns the status to exit with."""
    chdir(ROOT)
    if arguments not in ([], ["--survivors"]):
        sys.exit(__doc__)
    commands = Path(sys.executable).parent
    settings = config()
    selection = [*settings.pytest_add_cli_args, *settings.pytest_add_cli_args_test_selection]
    subprocess.run([commands / "pytest", *selection], check=True)  # its last line says how long they take
    if not arguments:
        shutil.rmtree("mutants", ignore_errors=True)
    begun = monotonic()
    subprocess.run([commands / "mutmut", "run"], check=True)
    survivors = [name for _, name, status in results() if status != "killed"]
    if arguments and survivors:
        subprocess.run([commands / "mutmut", "run", *survivors], check=True)
    print(f"\nThe mutants took {monotonic() - begun:.0f} s.")
    return report()


def results() -> Iterator[tuple[Path, str, str]]:
    """File, name and status of every mutant."""
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        for name, exit_code in data.exit_code_by_key.items():
            yield path, name, status_by_exit_code[exit_code]


def report() -> int:
    """Print survivors and score; returns 1 if one of the demands of this module is not met."""
    everything = list(results())
    counts = Counter(status for _, _, status in everything)
    survivors = [describe(*each) for each in everything if each[2] != "killed"]
    equivalent = [mutant for mutant in survivors if find(mutant) is not None]
    for mutant in survivors:
        if find(mutant) is None:
            print(f"\n{mutant.status}: {mutant.name}\n{mutant.function}\n- {mutant.old}\n+ {mutant.new}")
    stale = [each for each in EQUIVALENTS if each not in {find(mutant) for mutant in equivalent}]
    for each in stale:
        print(f"\nlisted as equivalent, but killed or no mutant: {each.function}\n- {each.old}\n+ {each.new}")
    missing = unmatched(config().only_mutate, [path for path, _, _ in everything])
    for pattern in missing:
        print(f"\nno mutant of any file that this names: {pattern}")
    if len(everything) < LEAST_MUTANTS:
        print(f"\nexpected at least {LEAST_MUTANTS} mutants, got {len(everything)}")
    judged = len(everything) - len(equivalent)
    score = counts["killed"] / max(judged, 1)
    print(f"\n{len(everything)} mutants: {dict(counts)}; {len(equivalent)} of them equivalent")
    print(f"score: {counts['killed']} / {judged} = {score:.2%}")
    are_few = len(everything) < LEAST_MUTANTS or bool(missing)
    return int(are_few or score < LEAST_SCORE or len(equivalent) > MOST_EQUIVALENT * len(everything) or bool(stale))


def unmatched(patterns: Iterable[str], paths: Iterable[Path]) -> list[str]:
    """The patterns that name none of these files."""
    names = {path.as_posix() for path in paths}
    return [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in names)]


def describe(path: Path, name: str, status: str) -> Mutant:
    """A mutant with its change."""
    lines = get_diff_for_mutant(name, path=path).splitlines()[2:]  # without the names of the files
    old, new = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    function, class_name = orig_function_and_class_names_from_key(name)
    where = [*path.with_suffix("").parts, *([class_name] if class_name else []), function]
    return Mutant(name, status, ".".join(where), old, new)


def find(mutant: Mutant) -> Equivalent | None:
    """The entry of the list that names a mutant."""
    named = (mutant.function, mutant.old, mutant.new)
    return next((each for each in EQUIVALENTS if each[:3] == named), None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
