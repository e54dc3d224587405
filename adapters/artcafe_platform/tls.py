"""TLS of a platform: the certificate that it shows, and its key."""

from __future__ import annotations

import os
import shlex
import ssl
import stat
from typing import Final

from artcafe_proto import ConfigError

OLD_VERSIONS: Final = ("SSLv3", "TLSv1", "TLSv1.1")
"""As `ssl.SSLObject.version` calls them; RFC 8996 has done with them."""


def make_server_context(cert_file: str, key_file: str | None = None) -> ssl.SSLContext:
    """A context that shows the certificate in `cert_file`, and those after it, which lead to its authority; TLS ≥ 1.2.

    Its key is there too, or in `key_file`; it is not encrypted, and not open to everybody. Raises ConfigError. Blocks.
    """
    holder, setting = (cert_file, "cert_file") if key_file is None else (key_file, "key_file")

    def refuse_to_ask() -> bytes:  # without it OpenSSL would ask on the terminal by itself
        raise _refused(holder, "holds an encrypted key: give one that openssl pkey has decrypted", setting)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the configuration of OpenSSL says
    context.set_alpn_protocols(["http/1.1"])
    _check(cert_file, "cert_file")
    if _check(holder, setting) & stat.S_IRWXO:
        raise _refused(holder, f"is open to everybody: chmod o= {shlex.quote(holder)}", setting)
    try:
        context.load_cert_chain(cert_file, key_file, refuse_to_ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _refused(holder, f"is not the key of the certificate in {cert_file}", setting) from None
        problem = f"holds no certificate in PEM with its key in {'it' if key_file is None else key_file}"
        raise _refused(cert_file, problem, "cert_file") from None
    except OSError as error:
        raise _refused(holder, f"cannot be read: {error.strerror}", setting) from None
    return context


def _check(path: str, setting: str) -> int:
    """The mode of a file that OpenSSL may open; it would wait for a FIFO to be written."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}", setting) from None
    if not stat.S_ISREG(mode):
        raise _refused(path, "is no regular file", setting)
    return mode


def _refused(path: str, problem: str, setting: str) -> ConfigError:
    return ConfigError(f"{path} {problem}", setting=setting)
