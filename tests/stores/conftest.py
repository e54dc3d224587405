"""Which stores the contract's tests are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.store_benches import MemoryBench, SqliteBench, StoreBench


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteBench:
    return SqliteBench(tmp_path / "store" / "records.db", monkeypatch)


@pytest.fixture(params=["memory", "sqlite"])
def bench(request: pytest.FixtureRequest) -> StoreBench:
    return MemoryBench() if request.param == "memory" else request.getfixturevalue("sqlite")
