"""The three shapes of a signature, as pure functions of bytes (AUTH-3): `ssh`, `raw` and `sshsig`.

All are made of the SSH signature blob (RFC 4253 section 6.6: `string algorithm, string signature`), which is what keys
and ssh-agents make, and all are taken apart to what `cryptography` verifies. Each signature has one spelling, but for
the line ends of its armour.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from hashlib import sha256, sha512
from typing import Final, Literal, NamedTuple, assert_never

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from artcafe_proto.policies.ssh_wire import pack_mpint, pack_string, take_mpint, take_string

__all__ = ["SignatureFormat"]

SignatureFormat = Literal["ssh", "raw", "sshsig"]
"""AUTH-3: the SSH signature blob; the signature proper (PKCS#1 v1.5 with SHA-256 for RSA, the 64 bytes of Ed25519, DER
for ECDSA); what `ssh-keygen -Y sign` writes, for the namespace `artcafe-auth`."""

SSHSIG_NAMESPACE: Final = b"artcafe-auth"
"""AUTH-3: a signature for files, Git commits or anything else is not valid for a challenge, nor the reverse."""


class SignedBlob(NamedTuple):
    """A signature taken apart: its algorithm's SSH name, itself as `cryptography` verifies it, and what it signs."""

    algorithm: str
    signature: bytes
    message: bytes


def data_to_sign(message: bytes, signature_format: SignatureFormat) -> bytes:
    """What a key signs for `message`: that itself, or what OpenSSH's PROTOCOL.sshsig makes of it."""
    return _sshsig_data(message, b"sha512") if signature_format == "sshsig" else message


def shape(blob: bytes, public_blob: bytes, signature_format: SignatureFormat) -> bytes:
    """The SSH signature `blob`, made by the key that is public as `public_blob`, in another format.

    Raises ValueError for what is no signature blob.
    """
    match signature_format:
        case "ssh":
            return blob
        case "raw":
            return _open_blob(blob).signature
        case "sshsig":
            fields = (public_blob, SSHSIG_NAMESPACE, b"", b"sha512", blob)
            sshsig = _MAGIC + _VERSION + b"".join(map(pack_string, fields))
            text = b64encode(sshsig)
            lines = (text[start : start + _LINE_BYTES] for start in range(0, len(text), _LINE_BYTES))
            return b"\n".join((_BEGIN, *lines, _END, b""))
        case _:
            assert_never(signature_format)


def without_armour(signature: bytes) -> bytes:
    """What is within the armour that `ssh-keygen -Y sign` writes, and what has none as it is.

    Raises ValueError for an armour that is damaged.
    """
    if not signature.startswith(_BEGIN):
        return signature
    lines = signature.split()
    if lines[:3] != _BEGIN.split() or lines[-3:] != _END.split():
        raise ValueError("the armour is not whole")
    text = b"".join(lines[3:-3])
    blob = binascii.a2b_base64(text)
    if binascii.b2a_base64(blob, newline=False) != text:
        raise ValueError("the armour has another spelling of its base64 (RFC 4648, section 3.5)")
    return blob


def embedded_key(signature: bytes) -> bytes | None:
    """The public key that an sshsig without armour names as its own, None in other shapes. Raises ValueError."""
    header = _MAGIC + _VERSION
    return take_string(signature.removeprefix(header))[0] if signature.startswith(header) else None


def open_signature(signature: bytes, message: bytes | None, public_blob: bytes, raw_bytes: int) -> SignedBlob:
    """A signature of `message` in any format, told apart by shape (AUTH-8).

    Without a `message` only the shape is looked at. `raw_bytes` is how long a raw signature of the key is, 0 for ECDSA,
    whose DER begins as no other shape does. Raises ValueError for what has none of the shapes, or is of another key,
    namespace, or spelling.
    """
    algorithm = take_string(public_blob)[0].decode("latin-1")
    if raw_bytes and len(signature) == raw_bytes:
        return SignedBlob("rsa-sha2-256" if algorithm == "ssh-rsa" else algorithm, signature, message or b"")
    if not raw_bytes and signature[:1] == _DER_SEQUENCE:
        return SignedBlob(algorithm, _checked_der(signature), message or b"")
    if signature.startswith((_BEGIN, _MAGIC)):
        return _open_sshsig(without_armour(signature), message, public_blob)
    opened = _open_blob(signature)
    return SignedBlob(opened.algorithm, opened.signature, message or b"")


_MAGIC = b"SSHSIG"
_VERSION = b"\x00\x00\x00\x01"
_BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_END = b"-----END SSH SIGNATURE-----"
_LINE_BYTES = 70
_HASHES = {b"sha256": sha256, b"sha512": sha512}
_DER_SEQUENCE = b"\x30"
_MAX_DER_BYTES = 256
"""An ECDSA signature over P-521, the largest, has at most 139."""


def _open_blob(blob: bytes) -> SignedBlob:
    name, rest = take_string(blob)
    signature, rest = take_string(rest)
    if rest:
        raise ValueError("something follows the signature")
    algorithm = name.decode("latin-1")
    if algorithm.startswith("ecdsa-"):
        r, rest = take_mpint(signature)  # RFC 5656 section 3.1.2
        s, rest = take_mpint(rest)
        if rest:
            raise ValueError("something follows the signature")
        signature = encode_dss_signature(r, s)
    return SignedBlob(algorithm, signature, b"")


def _checked_der(der: bytes) -> bytes:
    """`der` if it is how two positive integers are spelled (X.690 section 10)."""
    if len(der) > _MAX_DER_BYTES:
        raise ValueError("no ECDSA signature is this long")
    r, s = decode_dss_signature(der)
    if min(r, s) < 1 or encode_dss_signature(r, s) != der:
        raise ValueError("not DER")
    return der


def ecdsa_blob_signature(der: bytes) -> bytes:
    """The two numbers of a DER signature, as an SSH signature blob has them (RFC 5656 section 3.1.2)."""
    return b"".join(map(pack_mpint, decode_dss_signature(der)))


def _sshsig_data(message: bytes, hash_name: bytes) -> bytes:
    fields = (SSHSIG_NAMESPACE, b"", hash_name, _HASHES[hash_name](message).digest())
    return _MAGIC + b"".join(map(pack_string, fields))


def _open_sshsig(signature: bytes, message: bytes | None, public_blob: bytes) -> SignedBlob:
    header = _MAGIC + _VERSION + pack_string(public_blob) + pack_string(SSHSIG_NAMESPACE) + pack_string(b"")
    if not signature.startswith(header):
        raise ValueError("the signature is of another key, namespace or version")
    hash_name, rest = take_string(signature.removeprefix(header))
    blob, rest = take_string(rest)
    if rest or hash_name not in _HASHES:
        raise ValueError("the signature's hash is unknown, or something follows it")
    opened = _open_blob(blob)
    if opened.algorithm == "ssh-rsa":
        raise ValueError("an sshsig never has SHA-1")  # PROTOCOL.sshsig
    return SignedBlob(opened.algorithm, opened.signature, b"" if message is None else _sshsig_data(message, hash_name))
