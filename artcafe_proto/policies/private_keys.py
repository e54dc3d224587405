"""Private keys and the signatures they make, as pure functions of bytes (AUTH-3, AUTH-5).

The bytes of a key file are judged from the outside in, so that each step may trust the last one: size, PEM label,
encryption, algorithm, key size; only then does `cryptography` validate the key, which for RSA takes long.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode
from typing import TYPE_CHECKING, Final, Literal, NoReturn, assert_never

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_ssh_private_key

from artcafe_proto.errors import KeyRefusedError
from artcafe_proto.limits import MAX_PRIVATE_KEY_BYTES
from artcafe_proto.policies.public_keys import ACCEPTED_TYPES, CRYPTOGRAPHY_ERRORS, MAKE_A_KEY, PublicKey, type_refusal
from artcafe_proto.policies.ssh_wire import pack_string, take_string

if TYPE_CHECKING:
    from collections.abc import Callable

SignatureFormat = Literal["ssh", "raw"]
"""AUTH-3: the SSH signature blob, or the signature proper (PKCS#1 v1.5 with SHA-256, or the 64 bytes of Ed25519)."""


class SigningKey:
    """An agent's private key. Shows only its public half, and can be neither copied nor pickled."""

    __slots__ = ("_key", "public")

    def __init__(self, key: Ed25519PrivateKey | RSAPrivateKey) -> None:
        """Keep a key that `cryptography` has loaded and validated. Raises KeyRefusedError (AUTH-5)."""
        self._key: Final = key
        self.public: Final = PublicKey(key.public_key())
        """Its public half, to be registered with the platform."""

    @classmethod
    def load(cls, data: bytes) -> SigningKey:
        """Read a key file: OpenSSH, PKCS#1 or PKCS#8 PEM, not encrypted. Raises KeyRefusedError only (AUTH-5).

        An RSA key takes 40 to 300 ms, one of 8192 bits seconds: call it off the event loop.
        """
        if len(data) > MAX_PRIVATE_KEY_BYTES:
            raise KeyRefusedError(f"the key file is larger than {MAX_PRIVATE_KEY_BYTES} bytes: is it a key at all?")
        label, block = _pem_block(data)
        if label == b"OPENSSH PRIVATE KEY":
            return cls(_load_openssh(block))
        if label in (b"RSA PRIVATE KEY", b"PRIVATE KEY"):
            return cls(_load_der(_body(block)))
        raise KeyRefusedError(_label_refusal(label))

    def sign(self, message: bytes, signature_format: SignatureFormat) -> bytes:
        """The signature of `message` (AUTH-3); as `ssh`, an RSA key makes `rsa-sha2-512` (RFC 8332)."""
        if isinstance(self._key, Ed25519PrivateKey):
            algorithm, signature = "ssh-ed25519", self._key.sign(message)
        elif signature_format == "ssh":
            algorithm, signature = "rsa-sha2-512", self._key.sign(message, PKCS1v15(), SHA512())
        else:
            algorithm, signature = "rsa-sha2-256", self._key.sign(message, PKCS1v15(), SHA256())
        match signature_format:
            case "ssh":
                return pack_string(algorithm.encode()) + pack_string(signature)
            case "raw":
                return signature
            case _:
                assert_never(signature_format)

    def __repr__(self) -> str:
        return f"SigningKey({self.public.algorithm}, {self.public.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SigningKey is not for copying or pickling: load it where it is needed")


_LOAD_ERRORS = (*CRYPTOGRAPHY_ERRORS, TypeError, ArithmeticError)
"""What loading a hostile key raises: TypeError is documented too, and its numbers are computed with before a check."""

_DAMAGED = "the key file is damaged: restore it, or " + MAKE_A_KEY
_ENCRYPTED = "the key is encrypted with a passphrase: remove it with ssh-keygen -p -f KEY, and protect the file instead"
_MAX_LABEL_BYTES = 64
_PUBLIC = "expected a private key, found a public one: give the file without .pub"
_NOT_THIS_TYPE = "expected an Ed25519 or RSA key, found {}: " + MAKE_A_KEY


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
    lines = block.strip().split(b"\n")
    if any(line.startswith((b"Proc-Type:", b"DEK-Info:")) for line in lines):  # RFC 1421's, as PKCS#1 files have them
        raise KeyRefusedError(_ENCRYPTED)
    try:
        return binascii.a2b_base64(b"".join(b"".join(lines[1:-1]).split()), strict_mode=True)
    except ValueError:
        raise KeyRefusedError(_DAMAGED) from None


def _load_openssh(block: bytes) -> Ed25519PrivateKey | RSAPrivateKey:
    """OpenSSH's PROTOCOL.key. Its header, which is never encrypted, is judged before anything else runs."""
    body = _body(block)
    try:
        cipher, rest = take_string(body.removeprefix(b"openssh-key-v1\0"))
        kdf, rest = take_string(rest)
        _, rest = take_string(rest)
        blob = take_string(rest[4:])[0]
        algorithm = take_string(blob)[0].decode("ascii")
    except ValueError:
        raise KeyRefusedError(_DAMAGED) from None
    if cipher != b"none" or kdf != b"none":
        raise KeyRefusedError(_ENCRYPTED)
    if algorithm not in ACCEPTED_TYPES:
        raise KeyRefusedError(type_refusal(algorithm) or _NOT_THIS_TYPE.format("another type"))
    public = PublicKey.parse(f"{algorithm} {b64encode(blob).decode()}")
    key = _load(lambda fast: load_ssh_private_key(block, None, unsafe_skip_rsa_key_validation=fast))
    if PublicKey(key.public_key()).openssh != public.openssh:
        raise KeyRefusedError(_DAMAGED)
    return key


_DER_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..|\x83...)"
_DER_HEADER = re.compile(
    rb"\x30%b\x02\x01[\x00\x01](?:\x02|\x30%b\x06(?P<size>[\x01-\x7f]))" % (_DER_LENGTH, _DER_LENGTH), re.DOTALL
)
"""A version, then PKCS#1's modulus, or PKCS#8's algorithm up to its object identifier (RFC 8017 A.1.2, RFC 5958)."""
_PKCS8_ACCEPTED = (b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", b"\x2b\x65\x70")
"""rsaEncryption (RFC 8017), id-Ed25519 (RFC 8410)."""
_PKCS8_REFUSED = {
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a": "an RSA-PSS key",
    b"\x2a\x86\x48\xce\x38\x04\x01": "a DSA key",
    b"\x2a\x86\x48\xce\x3d\x02\x01": "an elliptic curve key",
    b"\x2b\x65\x71": "an Ed448 key",
    b"\x2b\x65\x6e": "an X25519 key, which cannot sign",
    b"\x2b\x65\x6f": "an X448 key, which cannot sign",
}


def _load_der(der: bytes) -> Ed25519PrivateKey | RSAPrivateKey:
    """PKCS#8 or PKCS#1, told apart by what they hold. `cryptography` would take an RSA-PSS key for a plain one."""
    header = _DER_HEADER.match(der)
    if header is None:
        raise KeyRefusedError(_DAMAGED)
    if header["size"]:
        algorithm = der[header.end() : header.end() + header["size"][0]]
        if algorithm not in _PKCS8_ACCEPTED:
            raise KeyRefusedError(_NOT_THIS_TYPE.format(_PKCS8_REFUSED.get(algorithm, "another type")))
    return _load(lambda fast: load_der_private_key(der, None, unsafe_skip_rsa_key_validation=fast))


def _load(load: Callable[[bool], object]) -> Ed25519PrivateKey | RSAPrivateKey:
    """A key that `load` accepts, validated; an RSA key only after its size was judged: a huge one takes minutes."""
    try:
        key = load(True)
        if isinstance(key, RSAPrivateKey):
            PublicKey(key.public_key())
            key = load(False)
    except _LOAD_ERRORS:
        raise KeyRefusedError(_DAMAGED) from None
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        raise KeyRefusedError(_NOT_THIS_TYPE.format("another type"))
    return key


def _label_refusal(label: bytes) -> str:
    """Why a PEM block with another label is refused."""
    if label == b"ENCRYPTED PRIVATE KEY":
        return _ENCRYPTED
    if b"PUBLIC KEY" in label or b"CERTIFICATE" in label:
        return _PUBLIC
    if label in (b"EC PRIVATE KEY", b"EC PARAMETERS"):
        return _NOT_THIS_TYPE.format("an elliptic curve key")
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
