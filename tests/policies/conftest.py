"""Real keys, made once: by ssh-keygen, in every container it writes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def _ssh_keygen(*arguments: str) -> str:
    return subprocess.run(["ssh-keygen", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def key_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Ed25519 and one RSA key: `ed25519`, `rsa`, `rsa.pem` (PKCS#1), `rsa.pk8` (PKCS#8), encrypted: `*.enc`."""
    folder = tmp_path_factory.mktemp("keys")
    _ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", "jürgen@host one two", "-f", str(folder / "ed25519"))
    _ssh_keygen("-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(folder / "rsa"))
    _ssh_keygen("-q", "-t", "ecdsa", "-N", "", "-f", str(folder / "ecdsa"))
    for source, name, *options in (
        ("rsa", "rsa.pem", "-m", "PEM", "-N", ""),
        ("rsa", "rsa.pk8", "-m", "PKCS8", "-N", ""),
        ("rsa", "rsa.pem.enc", "-m", "PEM", "-N", "secret"),
        ("rsa", "rsa.pk8.enc", "-m", "PKCS8", "-N", "secret"),
        ("ed25519", "ed25519.enc", "-a", "1", "-N", "secret"),
    ):
        shutil.copy(folder / source, folder / name)
        _ssh_keygen("-q", "-p", "-P", "", "-f", str(folder / name), *options)
    for name in ("ed25519", "rsa"):
        (folder / f"{name}.fingerprint").write_text(_ssh_keygen("-l", "-f", str(folder / f"{name}.pub")))
    return folder
