"""Runs a target of `targets/`: on what atheris makes up for some seconds, or on one file.

A target is a module with `check(data)`, which raises whatever must not happen; `plant()`, which puts a bug into the
code, for `check` to find; and perhaps `mutate(data, max_size, seed)`. The first line of its docstring is what it holds.
Words to make inputs of are in `dictionaries/`, inputs to begin with in `corpora/`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

HERE: Final = Path(__file__).parent
TARGETS: Final = tuple(sorted(path.stem for path in (HERE / "targets").glob("[a-z]*.py")))
LONGEST_INPUT_BYTES: Final = 4096
LONGEST_CHECK_S: Final = 20
"""An input that takes longer is a find, too."""
GRACE_S: Final = 120
"""For a start on a busy machine."""


def corpus(target: str) -> list[Path]:
    """The inputs that a target begins with."""
    return sorted((HERE / "corpora" / target).glob("*"))


def load(target: str, *, planted: bool = False) -> Any:
    """The module of a target, its bug put in if `planted`."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]
    module: Any = import_module(f"targets.{target}")
    if planted:
        module.plant()
    return module


def replay(target: str, file: Path, *, planted: bool) -> None:
    """Check one input; raises what it finds."""
    load(target, planted=planted).check(file.read_bytes())
    print(f"{target}: nothing wrong with {file}")


def fuzz(target: str, *, seconds: int, seed: int, planted: bool, finds: Path) -> bool:
    """Fuzz in a process of its own, which ends with a find or in time. Returns whether it found something."""
    finds.mkdir(parents=True, exist_ok=True)
    before = set(finds.iterdir())
    with tempfile.TemporaryDirectory() as grown:
        words = HERE / "dictionaries" / f"{target}.dict"
        options = [
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-artifact_prefix={finds}/",
            f"-timeout={LONGEST_CHECK_S}",
            f"-max_len={LONGEST_INPUT_BYTES}",
            "-print_final_stats=1",
            *([f"-dict={words}"] if words.exists() else []),
        ]
        flags = ["--child", *(["--planted"] if planted else [])]
        child = [sys.executable, __file__, target, *flags, "--", *options, grown, str(HERE / "corpora" / target)]
        status = subprocess.run(child, timeout=seconds + GRACE_S, check=False).returncode
    found = sorted(set(finds.iterdir()) - before)
    for file in found:
        print(f"{target}: FOUND {file}; repeat it with: fuzz/run {target} {file}{' --planted' if planted else ''}")
    if status != 0 and not found:
        raise SystemExit(f"{target}: the fuzzer ended with status {status}")
    return bool(found)


def run_child(target: str, options: list[str], *, planted: bool) -> None:
    """The process that fuzzes. libFuzzer ends it."""
    atheris: Any = import_module("atheris")
    with atheris.instrument_imports(include=["artcafe_proto"]):
        module = load(target, planted=planted)
    mutate = getattr(module, "mutate", None)
    atheris.Setup([sys.argv[0], *options], module.check, **({} if mutate is None else {"custom_mutator": mutate}))
    atheris.Fuzz()


def main() -> int:
    """Returns the exit status: 1 for a find, or where `--planted` for none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("file", type=Path, nargs="?", help="check this input alone")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, help="drawn and printed if not given")
    parser.add_argument("--planted", action="store_true", help="with the target's own bug, which has to be found")
    parser.add_argument("--finds", type=Path, default=HERE / "finds", help="where finds are written")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    if "--child" in sys.argv:
        place = sys.argv.index("--")
        arguments = parser.parse_args(sys.argv[1:place])
        run_child(arguments.target, sys.argv[place + 1 :], planted=arguments.planted)
        return 0
    arguments = parser.parse_args()
    target: str = arguments.target
    if arguments.file is not None:
        replay(target, arguments.file, planted=arguments.planted)
        return 0
    seed = SystemRandom().randrange(1, 1 << 31) if arguments.seed is None else arguments.seed
    print(f"{target}: {arguments.seconds} s with --seed {seed}", flush=True)
    found = fuzz(target, seconds=arguments.seconds, seed=seed, planted=arguments.planted, finds=arguments.finds)
    if arguments.planted:
        print(f"{target}: the planted bug was {'found' if found else 'NOT found'}")
    return int(found != arguments.planted)


if __name__ == "__main__":
    sys.exit(main())
