"""What tests of the SQLite file share."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import anyio
import pytest

from artcafe_proto import ConfigError
from artcafe_stores import SqliteStore, StoreError
from support.store_benches import batch, held

PAGE = (Path(__file__).parents[2] / "docs" / "stores.md").read_text("utf-8")


def store_in(path: Path, *records: tuple[int, int, bytes | None]) -> list[tuple[int, int, bytes | None]]:
    """What the file at `path` held before these were stored in it."""
    store = SqliteStore(path)
    before = held(anyio.run(store.open))
    anyio.run(store.commit, batch(*records))
    anyio.run(store.aclose)
    return before


def refusal(path: Path) -> str:
    """Why the file does not open; after that, nobody has it."""
    with pytest.raises((ConfigError, StoreError)) as raised:
        anyio.run(SqliteStore(path).open)
    with pytest.raises(type(raised.value)):
        anyio.run(SqliteStore(path).open)
    return str(raised.value)


def look_for_sqlite3() -> None:
    if not shutil.which("sqlite3"):
        assert not os.environ.get("CI"), "apt-get install sqlite3"
        pytest.skip("apt-get install sqlite3")


def run_block(words: str, path: Path) -> None:
    """Run the commands of docs/stores.md that hold these words, beside the directory of the store."""
    (block,) = (block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if words in block)
    subprocess.run(["sh", "-ec", block], cwd=path.parents[1], check=True)
