"""Certificates of a platform on this computer: one that a driver must trust, and others that it must not."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

Flaw = Literal["", "of an unknown authority", "for another name", "that has expired"]
"""What is wrong with a certificate."""

HOST: Final = "localhost"
_DAY: Final = timedelta(days=1)


class Authority:
    """Issues certificates; `ca_file` is what trusts it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = generate_private_key(SECP256R1())
        self._name = _named("the authority of check_driver")
        self.ca_file: Final = folder / "ca.pem"
        self.ca_file.write_bytes(_issue(self._name, self._key, self._name, self._key, is_authority=True))

    def context(self, flaw: Flaw = "") -> ssl.SSLContext:
        """TLS of a server with such a certificate."""
        key, names, age_days = generate_private_key(SECP256R1()), (HOST, "127.0.0.1"), 1
        name, by_key = self._name, self._key
        if flaw == "of an unknown authority":
            by_key = generate_private_key(SECP256R1())
        elif flaw == "for another name":
            names = ("other.test",)
        elif flaw == "that has expired":
            age_days = 10
        pem = _issue(_named("a platform"), key, name, by_key, names=names, age_days=age_days)
        pem += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file = self._folder / "server.pem"
        file.touch(mode=0o600)
        file.write_bytes(pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        file.unlink()
        return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _issue(
    subject: x509.Name,
    key: EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: EllipticCurvePrivateKey,
    *,
    names: tuple[str, ...] = (),
    age_days: int = 1,
    is_authority: bool = False,
) -> bytes:
    """A certificate in PEM, which is valid for two days."""
    begins = datetime.now(UTC).replace(microsecond=0) - age_days * _DAY
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + 2 * _DAY)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(_may(sign=is_authority), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_alternative, names))), critical=False)
    return builder.sign(issuer_key, SHA256()).public_bytes(Encoding.PEM)


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _may(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=sign,
        encipher_only=False,
        decipher_only=False,
    )
