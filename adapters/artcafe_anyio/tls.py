"""TLS of the agent: whom it trusts, how it shows itself, and what to do where that fails (TOK-4).

By default it trusts whom the system trusts: the files that SSL_CERT_FILE and SSL_CERT_DIR name, else the system's own
store by `truststore` where that is installed, else what OpenSSL was built with, which on most Linux is the same.
"""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING, Final

from artcafe_anyio.keys import read_secret_file
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
    """A context that verifies the platform, by the authorities in `ca_file` or the system's; TLS 1.2 or later.

    It shows the certificate in `client_cert_file`, if given, with the key there or in `client_key_file`; `passphrase`
    is asked if that is encrypted. Raises ConfigError. Blocks.
    """
    context = _system_context() if ca_file is None else _context(ca_file, setting="ca_file")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # else a cut-off response could pass for a whole one
    context.set_alpn_protocols(["http/1.1"])
    if client_cert_file is not None:
        _load_client_certificate(context, client_cert_file, client_key_file, passphrase)
    return context


def explain(error: ssl.SSLError, host: str) -> str:
    """What a failure of TLS with `host` means, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = _OF_CERTIFICATES.get(error.verify_code, error.verify_message.rstrip("."))
        return f"the platform's certificate is not accepted: {why.format(host=host)}"
    reason = error.reason or str(error)
    advice = next((text for words, text in _OF_HANDSHAKES.items() if any(word in reason for word in words)), "")
    return f"TLS failed: {reason}{advice}"


# --- whom it trusts ---------------------------------------------------------------------------------------------------


def _system_context() -> ssl.SSLContext:
    if ca_file := os.environ.get("SSL_CERT_FILE"):
        return _context(ca_file, setting="SSL_CERT_FILE")
    try:
        from truststore import SSLContext
    except ImportError:
        return ssl.create_default_context()
    if os.environ.get("SSL_CERT_DIR"):
        return ssl.create_default_context()
    return SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _context(ca_file: str, *, setting: str) -> ssl.SSLContext:
    try:
        _check_regular(ca_file)
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        problem = f"{ca_file} is no PEM file of certificates: {error.strerror or error}"
        raise ConfigError(problem, setting=setting) from None


def _check_regular(path: str) -> None:
    """Raise OSError for what is no file: OpenSSL would wait for a FIFO to be written."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")


# --- how it shows itself ----------------------------------------------------------------------------------------------


def _load_client_certificate(
    context: ssl.SSLContext, cert_file: str, key_file: str | None, passphrase: Passphrase | None
) -> None:
    holder, setting = (cert_file, "client_cert_file") if key_file is None else (key_file, "client_key_file")
    read_secret_file(holder, setting=setting)  # raises if others may read it

    def ask() -> str | bytes:
        if passphrase is None:
            needed = "is encrypted: give passphrase or key_passphrase_file, or decrypt it with openssl pkey"
            raise ConfigError(f"{holder} {needed}", setting=setting)
        return passphrase(holder)

    try:
        _check_regular(cert_file)
        context.load_cert_chain(cert_file, key_file, ask)
    except ssl.SSLError as error:
        problem = "holds no certificate with its key in PEM, or the passphrase is wrong"
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"is not the certificate of the key in {holder}"
        raise ConfigError(f"{cert_file} {problem}", setting="client_cert_file") from None
    except OSError as error:
        problem = f"{cert_file} cannot be read: {error.strerror or error}"
        raise ConfigError(problem, setting="client_cert_file") from None


# --- what fails -------------------------------------------------------------------------------------------------------

_UNKNOWN_ISSUER: Final = (
    "no certificate of its issuer is known here: ca_file or SSL_CERT_FILE can name the authority; if it is a public "
    "one, the platform leaves out an intermediate certificate, which its operator has to add"
)
_OF_CERTIFICATES: Final = {  # by OpenSSL's X509_V_ERR_* codes
    9: "it is not valid yet; is this machine's clock right?",
    10: "it has expired; its operator has to renew it, or this machine's clock is wrong",
    18: "it is self-signed, so nobody vouches for it; ca_file or SSL_CERT_FILE can name it as one to trust",
    19: "its authority is not trusted here; ca_file or SSL_CERT_FILE can name it as one to trust",
    20: _UNKNOWN_ISSUER,
    21: _UNKNOWN_ISSUER,
    62: "it is not for {host}; is the host of api_endpoint the one that its operator names?",
    64: "it is not for the address {host}; is there a host name in it to use in api_endpoint?",
}
_OF_HANDSHAKES: Final = {  # by OpenSSL's reasons; the first whose word is in one
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"): ": does that port speak TLS?",
    ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION"): ": the platform speaks no TLS of version 1.2 or later",
    ("CERTIFICATE_REQUIRED",): ": the platform asks for a certificate of this agent, client_cert_file names it",
    ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE", "ALERT_UNSUPPORTED_CERTIFICATE"): (
        ": the platform does not accept the certificate in client_cert_file"
    ),
    ("HANDSHAKE_FAILURE",): (
        ": both ends have no cipher in common, or the platform asks for a certificate, which client_cert_file names"
    ),
}
