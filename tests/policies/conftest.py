"""Real keys, made once: by ssh-keygen, in every container it writes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support.key_types import PASSPHRASE, PUBLIC_TYPES
from support.openssh import need


def _ssh_keygen(*arguments: str) -> str:
    return subprocess.run(["ssh-keygen", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def key_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys `ed25519`, `rsa`, `ecdsa`, `ecdsa384`, `ecdsa521`; `*.pem` are PKCS#1 or SEC 1, `*.pk8` PKCS#8; `*.enc` are
    encrypted with PASSPHRASE.
    """
    need("ssh-keygen")
    folder = tmp_path_factory.mktemp("keys")
    _ssh_keygen("-q", "-t", "ed25519", "-N", "", "-C", "jürgen@host one two", "-f", str(folder / "ed25519"))
    _ssh_keygen("-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(folder / "rsa"))
    for bits, name in (("256", "ecdsa"), ("384", "ecdsa384"), ("521", "ecdsa521")):
        _ssh_keygen("-q", "-t", "ecdsa", "-b", bits, "-N", "", "-f", str(folder / name))
    copies = [
        ("ed25519", "ed25519.enc", "-a", "1", "-N", PASSPHRASE),
        ("ed25519", "ed25519.gcm.enc", "-a", "1", "-Z", "aes256-gcm@openssh.com", "-N", PASSPHRASE),
    ]
    for source in ("rsa", "ecdsa", "ecdsa384", "ecdsa521"):
        copies += [
            (source, f"{source}.enc", "-a", "1", "-N", PASSPHRASE),
            (source, f"{source}.pem", "-m", "PEM", "-N", ""),
            (source, f"{source}.pk8", "-m", "PKCS8", "-N", ""),
            (source, f"{source}.pem.enc", "-m", "PEM", "-N", PASSPHRASE),
            (source, f"{source}.pk8.enc", "-m", "PKCS8", "-N", PASSPHRASE),
        ]
    for source, name, *options in copies:
        shutil.copy(folder / source, folder / name)
        _ssh_keygen("-q", "-p", "-P", "", "-f", str(folder / name), *options)
    for name in PUBLIC_TYPES:
        (folder / f"{name}.fingerprint").write_text(_ssh_keygen("-l", "-f", str(folder / f"{name}.pub")))
    return folder
