"""TLS of a platform: the certificate that it shows, and its key."""

from __future__ import annotations

import os
import ssl
import stat
from typing import Any, Final

from artcafe_anyio.files import FromFiles, exposure
from artcafe_platform.logs import tell
from artcafe_proto import ConfigError

__all__ = ["make_server_context"]

OLD_VERSIONS: Final = ("SSLv3", "TLSv1", "TLSv1.1")
"""As `ssl.SSLObject.version` calls them; RFC 8996 has done with them."""


def make_server_context(cert_file: str, key_file: str | None = None) -> ServerContext:
    """A context that shows the certificate in `cert_file`, and those after it, which lead to its authority; TLS ≥ 1.2.

    Its key is there too, or in `key_file`; it is not encrypted, and kept as safe as an agent's (AUTH-5). When a file
    has changed both are read again, before the next handshake. Raises ConfigError. Blocks.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the configuration of OpenSSL says
    context.set_alpn_protocols(["http/1.1"])
    context.show(cert_file, key_file)
    return context


class ServerContext(ssl.SSLContext):
    """Shows what is in its files when a handshake begins. What cannot be used leaves the certificate as it was."""

    def show(self, cert_file: str, key_file: str | None) -> None:
        """Read the certificate and its key, now and whenever they have changed. Raises ConfigError."""
        paths = [cert_file] if key_file is None else [cert_file, key_file]

        def read() -> None:
            # What fails halfway would leave a certificate without its key: so it is tried elsewhere first.
            _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), cert_file, key_file)
            _load(self, cert_file, key_file)

        self._shown = FromFiles(read, lambda: paths, tell)

    def read_again(self) -> None:
        """Read the files again if they have changed, which takes milliseconds.

        Call it in the thread that serves: no other may use the context meanwhile.
        """
        self._shown.get()

    def wrap_bio(self, *args: Any, **more: Any) -> ssl.SSLObject:
        """As `ssl.SSLContext` does, with what is in the files."""
        self.read_again()
        return super().wrap_bio(*args, **more)

    def wrap_socket(self, *args: Any, **more: Any) -> ssl.SSLSocket:
        """As `ssl.SSLContext` does, with what is in the files."""
        self.read_again()
        return super().wrap_socket(*args, **more)


def _load(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    holder, setting = (cert_file, "cert_file") if key_file is None else (key_file, "key_file")

    def refuse_to_ask() -> bytes:  # without it OpenSSL would ask on the terminal by itself
        raise _refused(holder, "holds an encrypted key: give one that openssl pkey has decrypted", setting)

    _check(cert_file, "cert_file")
    exposed = exposure(holder, _check(holder, setting))
    if exposed is not None:
        raise _refused(holder, exposed, setting)
    try:
        context.load_cert_chain(cert_file, key_file, refuse_to_ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _refused(holder, f"is not the key of the certificate in {cert_file}", setting) from None
        problem = f"holds no certificate in PEM with its key in {'it' if key_file is None else key_file}"
        raise _refused(cert_file, problem, "cert_file") from None
    except OSError as error:
        raise _refused(holder, f"cannot be read: {error.strerror}", setting) from None


def _check(path: str, setting: str) -> os.stat_result:
    """The state of a file that OpenSSL may open; it would wait for a FIFO to be written."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}", setting) from None
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "is no regular file", setting)
    return status


def _refused(path: str, problem: str, setting: str) -> ConfigError:
    return ConfigError(f"{path} {problem}", setting=setting)
