"""Private keys and the signatures they make, as pure functions of bytes (AUTH-3, AUTH-5).

The bytes of a key file are judged from the outside in, so that each step may trust the last one: size, PEM label,
cost of its encryption, algorithm, key size; only then does `cryptography` validate the key, which for RSA takes long.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from typing import TYPE_CHECKING, ClassVar, Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
    load_ssh_private_key,
)

from artcafe_proto.errors import KeyRefusedError, PassphraseNeededError
from artcafe_proto.limits import MAX_PRIVATE_KEY_BYTES
from artcafe_proto.policies.key_derivation import check_openssh_cost, check_pkcs8_cost
from artcafe_proto.policies.public_keys import (
    ACCEPTED_TYPES,
    CRYPTOGRAPHY_ERRORS,
    ECDSA_HASHES,
    MAKE_A_KEY,
    PublicKey,
    type_refusal,
)
from artcafe_proto.policies.signatures import data_to_sign, ecdsa_blob_signature, shape
from artcafe_proto.policies.ssh_wire import pack_string, take_string
from artcafe_proto.secrecy import Secretive, forgetful

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.policies.signatures import SignatureFormat

__all__ = ["SigningKey"]

_AnyKey = Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey


class SigningKey(Secretive):
    """An agent's private key. Shows only its public half, and can be neither copied nor pickled."""

    __slots__ = ("_key", "public")

    MAX_BYTES: ClassVar[int] = MAX_PRIVATE_KEY_BYTES
    """Of a key file; a larger one need not be read whole."""

    @forgetful
    def __init__(self, key: _AnyKey) -> None:
        """Keep a key that `cryptography` has loaded and validated. Raises KeyRefusedError (AUTH-5)."""
        self._key: Final = key
        self.public: Final = PublicKey(key.public_key())
        """Its public half, to be registered with the platform."""

    @classmethod
    @forgetful
    def load(cls, data: bytes, passphrase: bytes | None = None) -> SigningKey:
        """Read a key file: OpenSSH, PKCS#1 (SEC 1 for ECDSA) or PKCS#8 PEM; `passphrase` is not looked at if the key is
        not encrypted. Raises PassphraseNeededError, and else KeyRefusedError only (AUTH-5).

        An RSA key takes 40 to 300 ms, one of 8192 bits seconds, and so may a passphrase: call it off the event loop.
        """
        if len(data) > MAX_PRIVATE_KEY_BYTES:
            raise KeyRefusedError(f"the key file is larger than {MAX_PRIVATE_KEY_BYTES} bytes: is it a key at all?")
        label, block = _pem_block(data)
        if label == b"OPENSSH PRIVATE KEY":
            return cls(_load_openssh(block, passphrase))
        if label == b"ENCRYPTED PRIVATE KEY":
            return cls(_load_pkcs8_encrypted(_body(block), passphrase))
        if label in (b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"PRIVATE KEY"):
            if b"\nProc-Type: 4,ENCRYPTED" in block:  # RFC 1421's, as OpenSSL wrote encrypted keys before PKCS#8
                return cls(
                    _decrypt(
                        lambda secret: load_pem_private_key(block, secret, unsafe_skip_rsa_key_validation=True),
                        passphrase,
                    )
                )
            return cls(_load_der(_body(block)))
        raise KeyRefusedError(_label_refusal(label))

    @forgetful
    def sign(self, message: bytes, signature_format: SignatureFormat) -> bytes:
        """The signature of `message` (AUTH-3), the same each time. An RSA key makes `rsa-sha2-512` (RFC 8332), as `raw`
        with SHA-256.
        """
        data, algorithm = data_to_sign(message, signature_format), self.public.algorithm
        match self._key:
            case Ed25519PrivateKey():
                signature = self._key.sign(data)
            case RSAPrivateKey() if signature_format == "raw":
                algorithm, signature = "rsa-sha2-256", self._key.sign(data, PKCS1v15(), SHA256())
            case RSAPrivateKey():
                algorithm, signature = "rsa-sha2-512", self._key.sign(data, PKCS1v15(), SHA512())
            case _:
                by = ECDSA(ECDSA_HASHES[self._key.curve.name], deterministic_signing=True)  # RFC 6979
                signature = ecdsa_blob_signature(self._key.sign(data, by))
        blob = pack_string(algorithm.encode()) + pack_string(signature)
        return shape(blob, self.public.blob, signature_format)

    def __repr__(self) -> str:
        return f"SigningKey({self.public.algorithm}, {self.public.fingerprint})"


_LOAD_ERRORS = (*CRYPTOGRAPHY_ERRORS, InvalidTag, ArithmeticError)
"""What loading a hostile key raises: its numbers are computed with before a check."""

_DAMAGED = "the key file is damaged: restore it, or " + MAKE_A_KEY
_ENCRYPTED = "the key is encrypted: give its passphrase, or take it off with ssh-keygen -p -f KEY"
_NOT_DECRYPTED = "the passphrase is wrong, or the key file is damaged"
_NO_BCRYPT = (
    "decrypting OpenSSH's format needs bcrypt: pip install 'artcafe-proto[passphrase]', or ssh-keygen -p -m PKCS8"
)
_MAX_LABEL_BYTES = 64
_PUBLIC = "expected a private key, found a public one: give the file without .pub"
_NOT_THIS_TYPE = "expected an Ed25519, ECDSA or RSA key, found {}: " + MAKE_A_KEY


def _pem_block(data: bytes) -> tuple[bytes, bytes]:
    """Label and text of the first PEM block, begin and end lines included, with line ends as `cryptography` likes."""
    text = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    start = text.find(b"-----BEGIN ")
    label = text[start + 11 : start + 11 + _MAX_LABEL_BYTES].partition(b"-----")[0]
    end_line = b"-----END " + label + b"-----"
    end = text.find(end_line, start)
    if start < 0 or end < 0:
        raise KeyRefusedError(_not_pem_refusal(text))
    return label, text[start : end + len(end_line)] + b"\n"


def _body(block: bytes) -> bytes:
    """What the base64 between the lines of a PEM block stands for."""
    try:
        return binascii.a2b_base64(b"".join(b"".join(block.strip().split(b"\n")[1:-1]).split()), strict_mode=True)
    except ValueError:
        raise KeyRefusedError(_DAMAGED) from None


def _load_openssh(block: bytes, passphrase: bytes | None) -> _AnyKey:
    """OpenSSH's PROTOCOL.key. Its header, which is never encrypted, is judged before anything else runs."""
    body = _body(block)
    try:
        cipher, rest = take_string(body.removeprefix(b"openssh-key-v1\0"))
        kdf, rest = take_string(rest)
        options, rest = take_string(rest)
        blob = take_string(rest[4:])[0]
        algorithm = take_string(blob)[0].decode("ascii")
        is_encrypted = cipher != b"none" or kdf != b"none"
        if is_encrypted:
            check_openssh_cost(cipher, kdf, options)
    except ValueError:
        raise KeyRefusedError(_DAMAGED) from None
    if algorithm not in ACCEPTED_TYPES:
        raise KeyRefusedError(type_refusal(algorithm) or _NOT_THIS_TYPE.format("another type"))
    public = PublicKey.parse(f"{algorithm} {b64encode(blob).decode()}")
    if is_encrypted:
        key = _decrypt(
            lambda secret: load_ssh_private_key(block, secret, unsafe_skip_rsa_key_validation=True), passphrase
        )
    else:
        key = _load(lambda: load_ssh_private_key(block, None, unsafe_skip_rsa_key_validation=True))
    if PublicKey(key.public_key()).openssh != public.openssh:
        raise KeyRefusedError(_DAMAGED)
    return key


_DER_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..|\x83...)"
_DER_HEADER = re.compile(
    rb"\x30%b\x02\x01[\x00\x01](?:\x02|\x04|\x30%b\x06(?P<size>[\x01-\x7f]))" % (_DER_LENGTH, _DER_LENGTH), re.DOTALL
)
"""A version, then PKCS#1's modulus (RFC 8017 A.1.2), SEC 1's private key (RFC 5915), or PKCS#8's algorithm up to its
object identifier (RFC 5958).
"""
_PKCS8_ACCEPTED = (
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01",
    b"\x2b\x65\x70",
    b"\x2a\x86\x48\xce\x3d\x02\x01",
)
"""rsaEncryption (RFC 8017), id-Ed25519 (RFC 8410), id-ecPublicKey (RFC 5480)."""
_PKCS8_REFUSED = {
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a": "an RSA-PSS key",
    b"\x2a\x86\x48\xce\x38\x04\x01": "a DSA key",
    b"\x2b\x65\x71": "an Ed448 key",
    b"\x2b\x65\x6e": "an X25519 key, which cannot sign",
    b"\x2b\x65\x6f": "an X448 key, which cannot sign",
}


def _load_der(der: bytes) -> _AnyKey:
    """PKCS#8, PKCS#1 or SEC 1, told apart by what they hold. `cryptography` would take RSA-PSS for plain RSA."""
    header = _DER_HEADER.match(der)
    if header is None:
        raise KeyRefusedError(_DAMAGED)
    if header["size"]:
        algorithm = der[header.end() : header.end() + header["size"][0]]
        if algorithm not in _PKCS8_ACCEPTED:
            raise KeyRefusedError(_NOT_THIS_TYPE.format(_PKCS8_REFUSED.get(algorithm, "another type")))
    return _load(lambda: load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True))


def _load_pkcs8_encrypted(der: bytes, passphrase: bytes | None) -> _AnyKey:
    """PKCS#8's EncryptedPrivateKeyInfo."""
    try:
        check_pkcs8_cost(der)
    except (ValueError, IndexError):
        raise KeyRefusedError(_DAMAGED) from None
    return _decrypt(lambda secret: load_der_private_key(der, secret, unsafe_skip_rsa_key_validation=True), passphrase)


def _decrypt(load: Callable[[bytes], object], passphrase: bytes | None) -> _AnyKey:
    """A key that `load` decrypts with the passphrase, validated."""
    if passphrase is None:
        raise PassphraseNeededError(_ENCRYPTED)
    if not passphrase:  # `cryptography` raises TypeError, which is not caught: elsewhere it is a programming error
        raise KeyRefusedError(_NOT_DECRYPTED)
    return _load(lambda: load(passphrase), _NOT_DECRYPTED)


def _load(load: Callable[[], object], why_not: str = _DAMAGED) -> _AnyKey:
    """A key that `load` accepts; an RSA key is validated once its size was judged: with a huge one it takes minutes."""
    try:
        key = load()
        if isinstance(key, RSAPrivateKey):
            PublicKey(key.public_key())
            key = load_der_private_key(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), None)
    except UnsupportedAlgorithm as error:
        raise KeyRefusedError(_NO_BCRYPT if "bcrypt" in str(error) else why_not) from None
    except _LOAD_ERRORS:
        raise KeyRefusedError(why_not) from None
    if not isinstance(key, _AnyKey):
        raise KeyRefusedError(_NOT_THIS_TYPE.format("another type"))
    return key


def _label_refusal(label: bytes) -> str:
    """Why a PEM block with another label is refused."""
    if b"PUBLIC KEY" in label or b"CERTIFICATE" in label:
        return _PUBLIC
    if label == b"EC PARAMETERS":
        return "a block EC PARAMETERS comes before the key: remove it from the file"
    if label == b"DSA PRIVATE KEY":
        return _NOT_THIS_TYPE.format("a DSA key")
    return _NOT_THIS_TYPE.format("another kind of PEM file")


def _not_pem_refusal(text: bytes) -> str:
    """Why a file without a whole PEM block is refused."""
    if text.startswith(b"PuTTY-User-Key-File"):
        return "that is a PuTTY key: convert it with puttygen KEY.ppk -O private-openssh -o KEY"
    if text.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        return _PUBLIC
    if b"-----BEGIN " in text:
        return _DAMAGED
    return "expected a private key file, which begins with -----BEGIN, as ssh-keygen makes it"
