"""Made once: the keys of the agents, and what a platform on Node needs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.foreign_node import install_ws
from support.openssh import need


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `ed25519` and `rsa`, and their public keys beside them."""
    need("ssh-keygen")
    folder = tmp_path_factory.mktemp("keys")
    for kind, *size in (("ed25519",), ("rsa", "-b", "2048")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-f", str(folder / kind)], check=True)
    return folder


@pytest.fixture(scope="session")
def node_modules(pytestconfig: pytest.Config) -> Path:
    """The folder with the npm package ws, kept in pytest's cache. Without npm's registry these tests are skipped,
    but where the environment says `CI=true` they fail.
    """
    assert pytestconfig.cache is not None
    try:
        return install_ws(pytestconfig.cache.mkdir("ws"))
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
