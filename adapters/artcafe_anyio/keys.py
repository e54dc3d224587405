"""Files that hold secrets, looked at before they are read, on the descriptor that is then read (AUTH-5)."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable
from typing import Final

from artcafe_anyio.calling import discard
from artcafe_anyio.files import exposure, flags
from artcafe_proto import ConfigError, KeyRefusedError, PassphraseNeededError, PublicKey, SigningKey
from artcafe_proto.readable import text_of
from artcafe_proto.secrecy import forgetful

KEY_SETTING: Final = "private_key_path"

Passphrase = Callable[[str], str | bytes]
"""Called with the path of an encrypted key, in a thread, for what decrypts it."""


@forgetful
def load_key(path: str, passphrase: Passphrase | None = None, *, setting: str = KEY_SETTING) -> SigningKey:
    """The key in the file `path`, where `~` is the home directory; `passphrase` is asked if the key is encrypted.
    `setting` is the parameter that names the file, for errors.

    Raises ConfigError if it cannot be read, is not kept safe or holds no key to sign with. Blocks; an RSA key takes up
    to 300 ms, a passphrase seconds: call it off the event loop.
    """
    path = os.path.expanduser(path)
    data = read_secret_file(path, setting=setting)
    try:
        try:
            return SigningKey.load(data)
        except PassphraseNeededError:
            if passphrase is None:
                raise
            return SigningKey.load(data, ask_passphrase(passphrase, path))
    except KeyRefusedError as error:
        raise ConfigError(f"{path}: {text_of(error)}", setting=setting) from None


def ask_passphrase(passphrase: Callable[[str], object], path: str) -> bytes:
    """What `passphrase` says of the key `path`. Raises ConfigError for what is no passphrase, and what it raises."""
    secret = passphrase(path)
    if isinstance(secret, str):
        return secret.encode()
    if not isinstance(secret, bytes):
        discard(secret)
        raise ConfigError(f"must return str or bytes, and returned {type(secret).__name__}", setting="passphrase")
    return secret


def read_public_key(path: str, *, setting: str = KEY_SETTING) -> PublicKey:
    """The key in the `.pub` file `path`, which `setting` names. Raises ConfigError. Blocks."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return PublicKey.parse(file.read(PublicKey.MAX_BYTES + 1).decode("utf-8-sig").strip())
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", setting=setting) from None
    except (KeyRefusedError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, KeyRefusedError) else "it is no text"
        raise ConfigError(f"{path}: {why}", setting=setting) from None


def is_locked(path: str) -> bool:
    """Whether the key in the file `path` is encrypted. Blocks, and raises ConfigError as `load_key` does."""
    if path.endswith(".pub"):
        return False
    try:
        SigningKey.load(read_secret_file(os.path.expanduser(path), setting=KEY_SETTING))
    except PassphraseNeededError:
        return True
    except KeyRefusedError:
        return False  # which `load_key` explains
    return False


def passphrase_in(file: str) -> Passphrase:
    """The passphrase is the first line of `file`, which is kept as safe as a key. Raises ConfigError when called."""

    def read(_path: str) -> bytes:
        data = read_secret_file(os.path.expanduser(file), setting="key_passphrase_file")
        return data.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].removesuffix(b"\r")

    return read


def read_secret_file(path: str, *, setting: str) -> bytes:
    """The bytes of a file that is kept safe (`exposure`). Raises ConfigError for `setting`, and never waits for a FIFO
    or a device.
    """
    try:
        return _read(path)
    except _RefusedError as error:
        raise ConfigError(f"{path}{error}", setting=setting) from None
    except FileNotFoundError:
        todo = f": make it with artcafe keygen {shlex.quote(path)}" if setting == "private_key_path" else ""
        raise ConfigError(f"{path} is not there{todo}", setting=setting) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", setting=setting) from None


_READING: Final = os.O_RDONLY | flags("O_NONBLOCK", "O_NOCTTY")


def _read(path: str) -> bytes:
    descriptor = os.open(path, _READING)
    try:
        _check(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(SigningKey.MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > SigningKey.MAX_BYTES:
        raise _RefusedError(_TOO_LARGE)
    return data


class _RefusedError(Exception):
    """Why a file is not read; what follows its path."""


_TOO_LARGE = f" is larger than {SigningKey.MAX_BYTES} bytes: is it the right file?"


def _check(path: str, status: os.stat_result) -> None:
    """Raise _RefusedError for what is no regular file, is too large, or is open to others."""
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise _RefusedError(f" is {kind}: expected a regular file")
    if status.st_size > SigningKey.MAX_BYTES:
        raise _RefusedError(_TOO_LARGE)
    exposed = exposure(path, status)
    if exposed is not None:
        raise _RefusedError(f" {exposed}")
