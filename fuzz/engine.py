"""One run of a target, in a process of its own: by atheris, or with the bytes of a file.

The package is imported here and not before, so that atheris can count its branches, and so that a planted bug can come
before the real package on the path.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import redirect_stderr
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, Final

_CORPUS: Final = Path(__file__).parent / "corpus"
_MAX_SIZE_BYTES: Final = 4096
_HANG_S: Final = 60
"""An input that takes this long, however slow the machine, is a find."""


def main(arguments: list[str]) -> None:
    """`TARGET FILE`, or `TARGET SECONDS SEED ARTIFACTS`, where finds are saved under names that begin with the last."""
    name, *rest = arguments
    if len(rest) == 1:
        import_module(f"targets.{name}").check(Path(rest[0]).read_bytes())
    else:
        _fuzz(name, *rest)


def _fuzz(name: str, seconds: str, seed: str, artifacts: str) -> None:
    atheris: Any = import_module("atheris")  # it has no types
    with redirect_stderr(StringIO()), atheris.instrument_imports(include=["artcafe_proto"]):  # it names every module
        target = import_module(f"targets.{name}")
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder, "corpus")  # what reaches something new; the corpus itself is not written to
        found.mkdir()
        options = [
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-artifact_prefix={artifacts}",
            f"-max_len={_MAX_SIZE_BYTES}",
            f"-timeout={_HANG_S}",
            "-print_final_stats=1",
            "-verbosity=0",
        ]
        mutators: dict[str, Any] = {}
        if hasattr(target, "DICTIONARY"):
            words = Path(folder, "dictionary")
            words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.DICTIONARY))
            options.append(f"-dict={words}")
        if hasattr(target, "mutate"):

            def mutate(data: bytes, max_size: int, draw: int) -> bytes:
                return target.mutate(data, max_size, draw, atheris.Mutate)  # which is another one once it fuzzes

            mutators["custom_mutator"] = mutate
        atheris.Setup([sys.argv[0], *options, str(found), str(_CORPUS / name)], target.check, **mutators)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    """A word of a dictionary, as libFuzzer reads it."""
    return "".join(f"\\x{octet:02x}" for octet in word)


if __name__ == "__main__":
    main(sys.argv[1:])
