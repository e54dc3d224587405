"""Making key pairs: what `artcafe keygen` and the demo do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from artcafe_anyio.files import flags
from artcafe_proto import ConfigError, KeyRefusedError, PublicKey
from artcafe_proto.secrecy import forgetful

KeyType = Literal["ed25519", "rsa"]


@forgetful
def make_key_pair(path: Path, kind: KeyType, comment: str) -> PublicKey:
    """Write a private key to `path` (mode 0600) and its public key beside it (`.pub`), as ssh-keygen does.

    Raises ConfigError rather than overwrite a file; it leaves both or none.
    """
    if kind == "rsa":
        private = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    else:
        private = ed25519.Ed25519PrivateKey.generate()
    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    _write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
    try:
        _write_new(Path(f"{path}.pub"), f"{line} {comment}\n".encode(), mode=0o644)
    except BaseException:
        path.unlink()
        raise
    return PublicKey.parse(line)


@forgetful
def read_public_key_line(path: Path) -> str:
    """The line in a public key's file. Raises ConfigError for all else: a private key must not leave the computer."""
    try:
        line = path.read_text("utf-8").strip()
        PublicKey.parse(line)
    except FileNotFoundError:
        raise ConfigError(f"the public key {path} is missing: make both with artcafe keygen") from None
    except OSError as error:
        raise ConfigError(f"cannot read the public key {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a public key: expected a file of text, as keygen writes it") from None
    except KeyRefusedError as error:
        raise ConfigError(f"{path}: {error}") from None
    return line


def _write_new(path: Path, data: bytes, *, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags(), mode)
    except FileExistsError:
        raise ConfigError(f"{path} exists already: choose another path, or remove it yourself") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError as error:  # the disk is full
        path.unlink()
        raise ConfigError(f"cannot write {path}: {error.strerror}") from None
