"""The secrets of a platform that outlive it, in a directory of their own: who may call it, and what signs its tokens.

A secret is written whole and synced under a name of its own, and then given its place by a hard link. Unlike a rename a
link never replaces: of two processes that start at once one makes the secret and both have the same.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from artcafe_anyio.files import exposure, flags, open_directory
from artcafe_proto import ConfigError
from artcafe_proto.secrecy import Secretive, forgetful

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["load_or_create_secret"]

MAX_SECRET_BYTES = 4096
"""Nothing kept here comes near; a larger file is not ours."""
SECRETS = ("tenant-token", "signing-key")
"""The names of their files. Beside them is the store, `records.db`."""
SEED_BYTES = 32
"""An Ed25519 private key (TOK-5)."""


class Secrets(Secretive, msgspec.Struct, frozen=True):
    """Those that a data directory holds."""

    tenant_token: str
    signing_seed: bytes

    def __repr__(self) -> str:  # TOK-4
        return "Secrets(…)"


@forgetful
def load_secrets(directory: Path) -> Secrets:
    """The secrets in `directory`; what is missing is made, the directory itself included. Raises ConfigError."""
    open_directory(directory)
    token = load_or_create_secret(directory / SECRETS[0], lambda: secrets.token_urlsafe(32).encode())
    key = load_or_create_secret(directory / SECRETS[1], lambda: secrets.token_hex(SEED_BYTES).encode())
    try:
        seed = bytes.fromhex(key.decode())
        tenant_token = token.decode().strip()
    except ValueError:
        raise ConfigError(f"{directory} holds a damaged secret: restore it, or remove it for a new one") from None
    if len(seed) != SEED_BYTES:
        raise ConfigError(f"{directory / 'signing-key'} must hold {2 * SEED_BYTES} hexadecimal digits")
    return Secrets(tenant_token, seed)


@forgetful
def load_or_create_secret(path: Path, make: Callable[[], bytes]) -> bytes:
    """The secret in the file `path`, made by `make` and kept there (mode 0600) if it is missing.

    Raises ConfigError if the file is not kept safe (AUTH-5), or is no secret.
    """
    try:
        with suppress(FileNotFoundError):
            return _read(path)
        _create(path, make())
        return _read(path)  # perhaps what another process has just made
    except OSError as error:
        raise ConfigError(f"cannot use the secret {path}: {error.strerror}") from None


def _read(path: Path) -> bytes:
    try:
        # A FIFO in its place must not block, a link not lead elsewhere.
        descriptor = os.open(path, os.O_RDONLY | flags("O_NOFOLLOW", "O_NONBLOCK"))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ConfigError(f"{path} is a symbolic link: a secret must be a file of its own") from None
        raise
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_SECRET_BYTES:
            raise ConfigError(f"{path} must be a file of 1 to {MAX_SECRET_BYTES} bytes")
        exposed = exposure(str(path), status)
        if exposed is not None:
            raise ConfigError(f"{path} {exposed}")
        return file.read(MAX_SECRET_BYTES)


def _create(path: Path, secret: bytes) -> None:
    """Put a secret at `path`, unless something is there: also after a crash or a power cut all of it, or nothing."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags(), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # on Windows a directory is not opened
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
