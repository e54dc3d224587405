"""Keys of nobody, to try a signature against where there is no key of an agent's (AUTH-8).

Verifying takes most of the time of an answer: were it left out for agents that do not exist, the time would tell which
do. What a decoy says of a signature is never looked at; its private half is no secret.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.ssh_wire import take_string


def decoy_for(signature: bytes) -> PublicKey:
    """A key of the type that made `signature`, told by its shape; Ed25519 if it has none of AUTH-3."""
    if len(signature) in _RSA_BYTES:
        return _decoy("ssh-rsa", len(signature))
    if signature.startswith(_DER_SEQUENCE):
        return _decoy(next(name for name, most in _DER_BYTES if len(signature) <= most))
    try:
        name, rest = take_string(signature)
        body, _ = take_string(rest)
    except ValueError:
        return _decoy("ssh-ed25519")
    algorithm = name.decode("latin-1")
    if algorithm in _CURVES:
        return _decoy(algorithm)
    is_rsa = algorithm.startswith(("rsa-", "ssh-rsa")) and len(body) in _RSA_BYTES
    return _decoy("ssh-rsa", len(body)) if is_rsa else _decoy("ssh-ed25519")


@lru_cache
def _decoy(algorithm: str, size_bytes: int = 0) -> PublicKey:
    if algorithm == "ssh-rsa":
        return PublicKey(RSAPublicNumbers(65537, (1 << 8 * size_bytes) - 1).public_key())
    if algorithm in _CURVES:
        return PublicKey(ec.derive_private_key(1, _CURVES[algorithm]).public_key())
    return PublicKey(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())


_DER_SEQUENCE: Final = b"\x30"
_CURVES: Final = {
    "ecdsa-sha2-nistp256": ec.SECP256R1(),
    "ecdsa-sha2-nistp384": ec.SECP384R1(),
    "ecdsa-sha2-nistp521": ec.SECP521R1(),
}
_DER_BYTES: Final = (
    ("ecdsa-sha2-nistp256", 72),
    ("ecdsa-sha2-nistp384", 104),
    ("ecdsa-sha2-nistp521", inf),
)
"""The most that a signature in DER has."""
_RSA_BYTES: Final = frozenset({256, 384, 512})
"""What people have: moduli of 2048, 3072 and 4096 bits."""
