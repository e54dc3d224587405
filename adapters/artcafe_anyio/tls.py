"""Whom an agent trusts to be the platform, and who it says it is: the context of its TLS connections."""

from __future__ import annotations

import os
import ssl
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from artcafe_anyio.keys import ask_passphrase, read_secret_file
from artcafe_anyio.tls_failures import UntrustedError
from artcafe_proto import ConfigError

if TYPE_CHECKING:
    from artcafe_anyio.keys import Passphrase


def make_ssl_context(
    ca_file: str | None = None,
    *,
    client_cert_file: str | None = None,
    client_key_file: str | None = None,
    passphrase: Passphrase | None = None,
) -> ssl.SSLContext:
    """A context that verifies the platform, by the authorities in `ca_file` or else by the system's.

    The system's are what OpenSSL finds, SSL_CERT_FILE and SSL_CERT_DIR observed. On macOS and Windows, where it does
    not find what the system trusts, `truststore` asks the system where that is installed and neither variable is set.

    The client certificate is for platforms that ask for one; without `client_key_file` its file holds the key too.
    `passphrase` is asked if the key is encrypted. Raises ConfigError. Blocks.
    """
    context = _trusting_system() if ca_file is None else _trusting(os.path.expanduser(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # whatever the configuration of OpenSSL says
    context.hostname_checks_common_name = False
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # else a cut-off response could pass for a whole one
    context.set_alpn_protocols(["http/1.1"])
    context.sslobject_class = _ChainKeeping  # of no effect where truststore explains by itself
    if client_cert_file is not None:
        _load_client_certificate(context, client_cert_file, client_key_file, passphrase)
    return context


def files_of_ssl_context(ca_file: str | None, *others: str | None) -> list[str]:
    """What `make_ssl_context` reads for this `ca_file` and, as `others`, a client certificate and its key."""
    system = ssl.get_default_verify_paths()
    authorities = [ca_file]
    if ca_file is None:
        directories = os.environ.get(system.openssl_capath_env) or system.openssl_capath
        authorities = [os.environ.get(system.openssl_cafile_env) or system.openssl_cafile]
        authorities += directories.split(os.pathsep)
    return [os.path.expanduser(path) for path in (*authorities, *others) if path]


class _ChainKeeping(ssl.SSLObject):
    """Keeps what the peer sent if it is refused, so that the refusal can be explained."""

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise UntrustedError(error.verify_code, error.verify_message, self._sent()) from None

    def _sent(self) -> list[bytes]:
        """The peer's certificates, DER. Public from Python 3.13 on; before, what is underneath has it."""
        public = getattr(self, "get_unverified_chain", None)
        if public is not None:
            return list(public())
        return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in self._sslobj.get_unverified_chain() or ()]

    _sslobj: Any
    """ssl.SSLObject's own."""


# --- authorities ------------------------------------------------------------------------------------------------------


def _trusting(ca_file: str) -> ssl.SSLContext:
    """By what is in this file alone."""
    try:
        _check_regular(ca_file)
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(_no_certificates(ca_file, error), setting="ca_file") from None


def _trusting_system() -> ssl.SSLContext:
    file, directories = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not directories and sys.platform in ("darwin", "win32"):
        with suppress(ImportError):
            import truststore

            return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # OpenSSL passes over what it cannot read, and then nobody is trusted.
    if directories and not any(map(os.path.isdir, directories.split(os.pathsep))):
        raise ConfigError(f"names no directory: {directories}", setting="SSL_CERT_DIR")
    if not file:
        return ssl.create_default_context()
    try:
        _check_regular(file)
        context = ssl.create_default_context()
        if not context.cert_store_stats()["x509"]:
            context.load_verify_locations(file)  # which says why
    except OSError as error:
        raise ConfigError(_no_certificates(file, error), setting="SSL_CERT_FILE") from None
    return context


def _check_regular(path: str) -> None:
    """Raise OSError for what is no file: OpenSSL would wait for a FIFO to be written."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")


def _no_certificates(path: str, error: OSError) -> str:
    if not isinstance(error, ssl.SSLError) and error.strerror:
        return f"{path} cannot be read: {error.strerror}"
    return f"{path} is no PEM file of certificates: {error.strerror or error}"


# --- the agent's own certificate --------------------------------------------------------------------------------------


_MAX_PASSPHRASE_BYTES: Final = 1024
"""`load_cert_chain` takes no longer one."""


class _LockedError(Exception):
    """The key is encrypted, and nothing says its passphrase."""


def _load_client_certificate(
    context: ssl.SSLContext, cert_file: str, key_file: str | None, passphrase: Passphrase | None
) -> None:
    """Have `context` show this certificate where it is asked for one. The key is kept as safe as the other (AUTH-5)."""
    cert_path = os.path.expanduser(cert_file)
    key_path = cert_path if key_file is None else os.path.expanduser(key_file)
    key_setting = "client_cert_file" if key_file is None else "client_key_file"

    def ask() -> bytes:  # without it OpenSSL would ask on the terminal by itself
        if passphrase is None:
            raise _LockedError
        secret = ask_passphrase(passphrase, key_path)
        return secret if len(secret) <= _MAX_PASSPHRASE_BYTES else b""  # which is as wrong

    read_secret_file(key_path, setting=key_setting)
    try:
        _check_regular(cert_path)
        ssl.create_default_context(cafile=cert_path)
    except OSError as error:
        raise ConfigError(_no_certificates(cert_path, error), setting="client_cert_file") from None
    try:
        context.load_cert_chain(cert_path, key_path, ask)
    except _LockedError:
        problem = f"{key_path} is encrypted: say its passphrase, by passphrase or key_passphrase_file"
        raise ConfigError(problem, setting=key_setting) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"{key_path} is not the key of the certificate {cert_path}"
        else:
            problem = f"{key_path} holds no PEM private key, or its passphrase is another: {error.reason or error}"
        raise ConfigError(problem, setting=key_setting) from None
