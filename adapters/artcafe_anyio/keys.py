"""The private key file: looked at before it is read, on the descriptor that is then read (AUTH-5)."""

from __future__ import annotations

import os
import shlex
import stat

from artcafe_proto import ConfigError, KeyRefusedError, SigningKey
from artcafe_proto.limits import MAX_PRIVATE_KEY_BYTES


def load_key(path: str) -> SigningKey:
    """The key in the file `path`, where `~` is the home directory.

    Raises ConfigError if it cannot be read, is not kept safe or holds no key to sign with. Blocks; an RSA key takes up
    to 300 ms: call it off the event loop.
    """
    path = os.path.expanduser(path)
    data = read_key_file(path)
    try:
        return SigningKey.load(data)
    except KeyRefusedError as error:
        raise _refusal(path, f": {error}") from None


def read_key_file(path: str) -> bytes:
    """The bytes of a private key file. Raises as `load_key` does, and never waits for a FIFO or a device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise _refusal(path, f" is not there: make it with artcafe keygen {shlex.quote(path)}") from None
    except OSError as error:
        raise _refusal(path, f" cannot be read: {error.strerror}") from None
    try:
        _check(path, os.fstat(descriptor))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MAX_PRIVATE_KEY_BYTES + 1)
    except OSError as error:
        raise _refusal(path, f" cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > MAX_PRIVATE_KEY_BYTES:
        raise _refusal(path, _TOO_LARGE)
    return data


_TOO_LARGE = f" is larger than {MAX_PRIVATE_KEY_BYTES} bytes: is it a key at all?"


def _check(path: str, status: os.stat_result) -> None:
    """Raise ConfigError for what is no regular file, is too large, or is open to others."""
    if not stat.S_ISREG(status.st_mode):
        kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise _refusal(path, f" is {kind}: give the path of a private key, as artcafe keygen makes it")
    if status.st_size > MAX_PRIVATE_KEY_BYTES:
        raise _refusal(path, _TOO_LARGE)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise _refusal(path, f" is open to others (mode {mode:04o}): chmod 600 {shlex.quote(path)}")


def _refusal(path: str, why: str) -> ConfigError:
    return ConfigError(f"{path}{why}", setting="private_key_path")
