"""Public keys and the signatures they verify, as pure functions of bytes (AUTH-3, AUTH-5, AUTH-8).

`cryptography` parses keys and does the arithmetic. What it does not do is here: which keys are refused and why, and
that no bytes from a stranger ever raise. The shapes that signatures come in are in `signatures`.
"""

from __future__ import annotations

import binascii
from base64 import b64encode
from hashlib import sha256
from typing import ClassVar, Final

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from artcafe_proto.errors import KeyRefusedError
from artcafe_proto.limits import MAX_PUBLIC_KEY_BYTES, MAX_RSA_BITS, MAX_RSA_EXPONENT_BITS, MIN_RSA_BITS
from artcafe_proto.policies.signatures import SignedBlob, open_signature
from artcafe_proto.policies.ssh_wire import take_string
from artcafe_proto.secrecy import forgetful

__all__ = ["PublicKey"]

MAKE_A_KEY: Final = "make a key with: ssh-keygen -t ed25519"
"""What to do about a key that cannot be repaired."""
ECDSA_HASHES: Final[dict[str, HashAlgorithm]] = {"secp256r1": SHA256(), "secp384r1": SHA384(), "secp521r1": SHA512()}
"""RFC 5656 section 6.2.1: the hash that goes with each curve of AUTH-5."""
ACCEPTED_TYPES: Final = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
)
"""SSH names of the key types of AUTH-5."""
CRYPTOGRAPHY_ERRORS: Final = (ValueError, UnsupportedAlgorithm, InternalError, NotImplementedError)
"""What `cryptography` raises for hostile bytes: the documented two, what it did not expect OpenSSL to refuse, and what
it says of compressed points."""


class PublicKey:
    """An agent's public key, parsed once: Ed25519, RSA of 2048 to 8192 bits, or ECDSA over P-256, P-384 or P-521."""

    __slots__ = ("_key", "_raw_bytes", "algorithm", "blob")

    MAX_BYTES: ClassVar[int] = MAX_PUBLIC_KEY_BYTES
    """Of a key's line; a longer one need not be read whole."""
    _key: Ed25519PublicKey | RSAPublicKey | EllipticCurvePublicKey
    _raw_bytes: int

    algorithm: str
    blob: bytes
    """The line as bytes (RFC 4253 section 6.6)."""

    @forgetful
    def __init__(self, key: Ed25519PublicKey | RSAPublicKey | EllipticCurvePublicKey) -> None:
        """Keep a key that `cryptography` has parsed. Raises KeyRefusedError (AUTH-5)."""
        match key:
            case Ed25519PublicKey():
                raw = key.public_bytes_raw()
                _check_ed25519(raw)
                blob, raw_bytes = _ED25519_HEAD + raw, 64
            case RSAPublicKey():
                _check_rsa(key)
                blob, raw_bytes = _blob_of(key), (key.key_size + 7) // 8
            case _:
                _check_ecdsa(key)
                blob, raw_bytes = _blob_of(key), 0
        keep = super().__setattr__
        keep("_key", key)
        keep("_raw_bytes", raw_bytes)
        keep("algorithm", take_string(blob)[0].decode())
        keep("blob", blob)

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it."""
        return f"SHA256:{b64encode(sha256(self.blob).digest()).decode().rstrip('=')}"

    @property
    def openssh(self) -> str:
        """The canonical line, without a comment: the same for every spelling of this key."""
        return f"{self.algorithm} {b64encode(self.blob).decode()}"

    def __setattr__(self, name: str, value: object) -> None:
        """A platform's keys are shown to whoever looks at them."""
        raise AttributeError("a public key does not change: parse another one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a public key does not change: parse another one")

    @classmethod
    def parse(cls, line: str) -> PublicKey:
        """Read the line of a `.pub` file: `ssh-ed25519 AAAA… comment`. Raises KeyRefusedError (AUTH-5)."""
        if not isinstance(line, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise KeyRefusedError(f"expected the line of a .pub file as text, not {type(line).__name__}")
        if len(line) > MAX_PUBLIC_KEY_BYTES:
            raise KeyRefusedError(f"the public key line is longer than {MAX_PUBLIC_KEY_BYTES} characters")
        fields = line.split(maxsplit=2)
        if len(fields) < 2 or len(line.strip().splitlines()) != 1 or fields[0] not in ACCEPTED_TYPES:
            raise KeyRefusedError(_line_refusal(line))
        algorithm, encoded = fields[:2]
        try:
            blob = binascii.a2b_base64(encoded, strict_mode=True)  # `cryptography` skips what is not base64
            if blob.startswith(_ED25519_HEAD) and algorithm == "ssh-ed25519":  # five times as fast: there are many
                return cls(Ed25519PublicKey.from_public_bytes(blob[len(_ED25519_HEAD) :]))
            key = load_ssh_public_key(f"{algorithm} {encoded}".encode())
        except CRYPTOGRAPHY_ERRORS:
            raise KeyRefusedError(f"the {algorithm} key is damaged: copy it again") from None
        assert isinstance(key, Ed25519PublicKey | RSAPublicKey | EllipticCurvePublicKey)
        return cls(key)

    def verify(self, signature: bytes, message: bytes, *, allow_sha1: bool = False) -> str | None:
        """The SSH name of the algorithm that `signature` was rightly made with, or None. Never raises.

        `ssh`, `raw` and `sshsig` responses are told apart by shape (AUTH-8). `allow_sha1` lets SHA-1's `ssh-rsa` pass.
        """
        opened = self._open(signature, message, allow_sha1=allow_sha1)
        if opened is None:
            return None
        algorithm, body, signed = opened
        try:
            match self._key:
                case RSAPublicKey():
                    self._key.verify(body, signed, PKCS1v15(), _RSA_HASHES[algorithm])
                case Ed25519PublicKey():
                    self._key.verify(body, signed)
                case _:
                    self._key.verify(body, signed, ECDSA(ECDSA_HASHES[self._key.curve.name]))
        except (InvalidSignature, *CRYPTOGRAPHY_ERRORS):
            return None
        return algorithm

    def could_have_made(self, signature: bytes, *, allow_sha1: bool = False) -> bool:
        """Whether `signature` has the shape of this key's: only then does verifying it take any time. Never raises."""
        return self._open(signature, None, allow_sha1=allow_sha1) is not None

    def _open(self, signature: bytes, message: bytes | None, *, allow_sha1: bool) -> SignedBlob | None:
        try:
            opened = open_signature(signature, message, self.blob, self._raw_bytes)
        except CRYPTOGRAPHY_ERRORS:
            return None
        if self.algorithm != "ssh-rsa":
            return opened if opened.algorithm == self.algorithm and self._has_room_for(opened.signature) else None
        if opened.algorithm == "ssh-rsa" and not allow_sha1:
            return None
        fits = opened.algorithm in _RSA_HASHES and len(opened.signature) == self._raw_bytes
        return opened if fits else None

    def _has_room_for(self, signature: bytes) -> bool:
        """Whether both numbers of an ECDSA signature may lie below the order of the curve."""
        if not isinstance(self._key, EllipticCurvePublicKey):
            return len(signature) == self._raw_bytes
        return max(decode_dss_signature(signature)).bit_length() <= self._key.key_size

    def __repr__(self) -> str:
        return f"PublicKey({self.algorithm}, {self.fingerprint})"


_RSA_HASHES = {"rsa-sha2-512": SHA512(), "rsa-sha2-256": SHA256(), "ssh-rsa": SHA1()}  # noqa: S303  (allow_sha1)
"""RFC 8332, RFC 4253 section 6.6: what the name in an RSA signature blob stands for."""

_ED25519_HEAD: Final = b"\0\0\0\x0bssh-ed25519\0\0\0\x20"
"""RFC 8709 section 4: what precedes the 32 bytes of a key."""
_FIELD_PRIME = 2**255 - 19
_ORDER_8_Y = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER_Y = (0, 1, _FIELD_PRIME - 1, _ORDER_8_Y, _FIELD_PRIME - _ORDER_8_Y)
"""The y coordinates of Ed25519's eight points of small order (RFC 8032 section 5.1)."""


def type_refusal(name: str) -> str | None:
    """Why keys of the SSH type `name` are refused, and what to do; None if there is no such type (AUTH-5)."""
    if name.endswith("-cert-v01@openssh.com"):
        return "certificates are not accepted: give the key they certify, the line of the .pub file"
    for beginning, reason in _REFUSED_TYPES.items():
        if name.startswith(beginning):
            return f"{reason}: {MAKE_A_KEY}"
    return None


_REFUSED_TYPES = {
    "ssh-dss": "DSA keys are too weak",
    "ecdsa-": "the curve is not P-256, P-384 or P-521",
    "sk-": "keys on a security token (sk-…) make signatures of another kind",
}


def _line_refusal(line: str) -> str:
    """Why a line that does not begin with an accepted type is refused. Quotes nothing of it."""
    if "PRIVATE KEY" in line:
        return "that is a private key: keep it where it is, and give the line of its .pub file (ssh-keygen -y -f KEY)"
    if "-----BEGIN" in line:
        return "that is a PEM file: give the OpenSSH line instead (ssh-keygen -i -m PKCS8 -f FILE)"
    first, *others = line.split() or [""]
    reason = type_refusal(first)
    if reason is not None:
        return reason
    if first not in ACCEPTED_TYPES and any(field in ACCEPTED_TYPES for field in others):
        return "options before the key type are not accepted: remove what precedes it"
    return "expected one line 'ssh-ed25519 AAAA… comment', as in a .pub file"


def _blob_of(key: RSAPublicKey | EllipticCurvePublicKey) -> bytes:
    return binascii.a2b_base64(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])


def _check_rsa(key: RSAPublicKey) -> None:
    if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise KeyRefusedError(
            f"the RSA key has {key.key_size} bits; expected {MIN_RSA_BITS} to {MAX_RSA_BITS}: {MAKE_A_KEY}"
        )
    numbers = key.public_numbers()
    exponent_fits = numbers.e >= 3 and numbers.e % 2 == 1 and numbers.e.bit_length() <= MAX_RSA_EXPONENT_BITS
    if not exponent_fits or numbers.n % 2 == 0:
        raise KeyRefusedError(
            "the RSA key has an exponent or a modulus that no sound key has: expected both odd, and the exponent from "
            f"3 to {MAX_RSA_EXPONENT_BITS} bits: {MAKE_A_KEY}"
        )


def _check_ed25519(raw: bytes) -> None:
    y = int.from_bytes(raw, "little") % 2**255  # the top bit is the sign of x
    if y % _FIELD_PRIME in _SMALL_ORDER_Y:  # everyone can sign for such a key
        raise KeyRefusedError(f"the Ed25519 key is a point of small order, which protects nothing: {MAKE_A_KEY}")


def _check_ecdsa(key: EllipticCurvePublicKey) -> None:
    if key.curve.name not in ECDSA_HASHES:
        raise KeyRefusedError(f"expected the curve P-256, P-384 or P-521, found {key.curve.name}: {MAKE_A_KEY}")
