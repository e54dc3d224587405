"""What a platform on Node needs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foreign_node import install_ws


@pytest.fixture(scope="session")
def node_modules(pytestconfig: pytest.Config) -> Path:
    """The folder with the npm package ws, kept in pytest's cache. Without npm's registry these tests are skipped,
    but where the environment says `CI=true` they fail.
    """
    assert pytestconfig.cache is not None
    try:
        return install_ws(pytestconfig.cache.mkdir("ws"))
    except RuntimeError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
