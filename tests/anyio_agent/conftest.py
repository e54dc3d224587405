"""Every asynchronous test runs on asyncio and uvloop, on asyncio also by anyio's streams, and on trio."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@pytest.fixture(params=["asyncio", "uvloop", "asyncio streams", "trio"])
def anyio_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | tuple[str, dict[str, bool]]:
    if request.param == "uvloop":
        return "asyncio", {"use_uvloop": True}
    backend, _, streams = request.param.partition(" ")
    if streams:
        monkeypatch.setattr("artcafe_anyio.agent.runs_on_asyncio", lambda: False)
    return backend


@pytest.fixture
def key() -> Ed25519PrivateKey:
    """The agent's key."""
    return Ed25519PrivateKey.generate()


@pytest.fixture
def key_path(tmp_path: Path, key: Ed25519PrivateKey) -> Path:
    """The file that holds it."""
    path = tmp_path / "agent_key"
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return path
