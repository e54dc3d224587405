"""No bytes verify but the signatures that the key made, in their one spelling, and none raise (AUTH-3, AUTH-8).

The bytes: which key, whether SHA-1 is allowed, which of the key's signatures to begin with or none, and edits to it.
"""

from __future__ import annotations

import math
from functools import cache
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPrivateNumbers,
    RSAPublicNumbers,
    rsa_crt_dmp1,
    rsa_crt_dmq1,
    rsa_crt_iqmp,
)

from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.signatures import SignatureFormat
from decoding import Reader
from mutants.planted import Mutant

PLANTED: Final = Mutant(
    "something may follow the signature in its blob",
    "artcafe_proto/policies/signatures.py",
    "    signature, rest = take_string(rest)\n    if rest:\n",
    "    signature, rest = take_string(rest)\n    if False:\n",
    "fuzz/targets/signatures.py::check",
)
DICTIONARY: Final = (
    b"SSHSIG\0\0\0\1",
    b"-----BEGIN SSH SIGNATURE-----",
    b"-----END SSH SIGNATURE-----",
    b"\0\0\0\x0cartcafe-auth",
    b"\0\0\0\x06sha256",
    b"\0\0\0\x06sha512",
    b"\0\0\0\x07ssh-rsa",
    b"\0\0\0\x0crsa-sha2-256",
    b"\0\0\0\x0crsa-sha2-512",
    b"\0\0\0\x0bssh-ed25519",
    b"\0\0\0\x13ecdsa-sha2-nistp256",
    b"\x30\x06\x02\x01\x01\x02\x01\x01",
)
_MESSAGE: Final = b"ac1.a-challenge"
_FORMATS: Final[tuple[SignatureFormat | None, ...]] = ("ssh", "raw", "sshsig", None)
_CURVES: Final = (SECP256R1(), SECP384R1(), SECP521R1())
_MAX_EDITS: Final = 8
_E: Final = 65537


def check(data: bytes) -> None:
    """One signature."""
    reader = Reader(data)
    key = _key(reader.byte() % (2 + len(_CURVES)))
    allow_sha1 = bool(reader.byte() & 1)
    begun = reader.pick(_FORMATS)
    right = b"" if begun is None else key.sign(_MESSAGE, begun)
    signature = _edited(right, reader) if begun is not None else reader.take(reader.left)
    algorithm = key.public.verify(signature, _MESSAGE, allow_sha1=allow_sha1)
    if begun is not None and signature == right:
        assert algorithm is not None
    elif begun != "sshsig" or b"".join(signature.split()) != b"".join(
        right.split()
    ):  # the line ends of its armour are free
        assert algorithm is None
    assert key.public.verify(signature, _MESSAGE + b"x", allow_sha1=allow_sha1) is None


def _edited(signature: bytes, reader: Reader) -> bytes:
    """The signature with some bytes changed, put in or taken out, each place told in two bytes."""
    edited = bytearray(signature)
    for _ in range(_MAX_EDITS):
        if reader.left < 2:
            break
        place = int.from_bytes(reader.take(2)) % (len(edited) + 1)
        match reader.byte() % 4:
            case 0:
                edited[place:place] = reader.take(reader.byte() % 32)
            case 1:
                del edited[place : place + 1 + reader.byte() % 4]
            case 2:
                del edited[place:]
            case _:
                edited[place : place + 1] = reader.take(1)
    return bytes(edited)


@cache
def _key(number: int) -> SigningKey:
    """Ed25519, ECDSA on three curves, RSA; the same in every run."""
    if number == 0:
        return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    if number <= len(_CURVES):
        return SigningKey(derive_private_key(7, _CURVES[number - 1]))
    return SigningKey(_rsa_key(Random(7)))


def _rsa_key(rng: Random) -> RSAPrivateKey:
    p, q = _prime(rng), _prime(rng)
    d = pow(_E, -1, math.lcm(p - 1, q - 1))
    public = RSAPublicNumbers(_E, p * q)
    numbers = RSAPrivateNumbers(p, q, d, rsa_crt_dmp1(d, p), rsa_crt_dmq1(d, q), rsa_crt_iqmp(p, q), public)
    return numbers.private_key()


def _prime(rng: Random) -> int:
    """1024 bits, the upper two of them set, so that a product of two has 2048."""
    small = math.prod(number for number in range(3, 2000, 2))
    while True:
        number = rng.getrandbits(1024) | 3 << 1022 | 1
        if math.gcd(number, small) == 1 and pow(2, number - 1, number) == 1 and math.gcd(number - 1, _E) == 1:
            return number
