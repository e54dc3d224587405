"""Decoy keys, to try a signature against where there is no key of an agent's (AUTH-8).

Verifying takes most of the time of an answer: were it left out for agents that do not exist, the time would tell which
do. What a decoy says of a signature is never looked at; its private half is no secret.
"""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from artcafe_proto.errors import KeyRefusedError
from artcafe_proto.limits import MAX_RSA_BITS, MIN_RSA_BITS
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.signatures import embedded_key
from artcafe_proto.policies.ssh_wire import take_string


def decoy_for(signature: bytes) -> PublicKey:
    """A key that could have made `signature`, which has no armour, told by its shape; Ed25519 if none of ours could."""
    try:
        embedded = embedded_key(signature)
        if embedded is not None:  # only the key that it names is tried, so this one, which may well be an agent's
            algorithm = take_string(embedded)[0].decode("ascii")
            return PublicKey.parse(f"{algorithm} {b64encode(embedded).decode()}")
    except (ValueError, KeyRefusedError):
        return _ED25519
    candidates = (decoy for decoy in (_ED25519, *_ECDSA) if decoy.could_have_made(signature))
    return next(candidates, None) or _rsa_decoy_for(signature)


def _rsa_decoy_for(signature: bytes) -> PublicKey:
    size = len(signature)
    try:
        name, rest = take_string(signature)
        if name.startswith((b"rsa-", b"ssh-rsa")):
            size = len(take_string(rest)[0])
    except ValueError:  # then it is the signature proper
        pass
    return _rsa(size) if size in _RSA_BYTES else _ED25519


@lru_cache
def _rsa(size_bytes: int) -> PublicKey:
    return PublicKey(RSAPublicNumbers(65537, (1 << 8 * size_bytes) - 1).public_key())


_ED25519: Final = PublicKey(Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())
_CURVES: Final = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
_ECDSA: Final = tuple(PublicKey(ec.derive_private_key(1, curve).public_key()) for curve in _CURVES)
"""The smallest first: by shape alone a short signature in DER may be of a large curve, but hardly is."""
_RSA_BYTES: Final = range(MIN_RSA_BITS // 8, MAX_RSA_BITS // 8 + 1)
