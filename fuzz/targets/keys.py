"""Keys, signatures and ssh-agents' answers raise documented errors alone; only its key's signature verifies.

The first byte of an input is what the rest is read as. A key that is taken signs what its public half verifies.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from artcafe_proto import (
    KeyRefusedError,
    PublicKey,
    RemoteProtocolError,
    SignatureFormat,
    SigningKey,
    SigningRefusedError,
)
from artcafe_proto.policies.ssh_agent import SshAgentSigning

FORMATS: tuple[SignatureFormat, ...] = ("ssh", "raw", "sshsig")
MESSAGE = b"ac1.challenge"
ED25519 = SigningKey(ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32))
ECDSA = SigningKey(ec.derive_private_key(7, ec.SECP256R1()))
RSA = PublicKey(rsa.RSAPublicNumbers(65537, 2**2047 + 2**1000 + 9).public_key())
RIGHT = {ED25519.sign(MESSAGE, form) for form in FORMATS}


def check(data: bytes) -> None:
    """Read it as one of these."""
    kind, body = (data[0] % 5 if data else 0), data[1:]
    match kind:
        case 0:
            _load(body, None)
        case 1:
            _load(body, b"secret")
        case 2:
            _parse(body.decode("utf-8", "surrogateescape"))
        case 3:
            _answer(body)
        case _:
            for public in (ED25519.public, ECDSA.public, RSA):
                found = public.verify(body, MESSAGE)
                assert found is None or body in RIGHT, "nobody has signed that"
                assert public.verify(body, b"another message") is None


def _load(data: bytes, passphrase: bytes | None) -> None:
    try:
        key = SigningKey.load(data, passphrase)
    except KeyRefusedError:
        return
    for form in FORMATS:
        assert key.public.verify(key.sign(MESSAGE, form), MESSAGE) is not None


def _parse(line: str) -> None:
    try:
        key = PublicKey.parse(line)
    except KeyRefusedError:
        return
    assert PublicKey.parse(key.openssh).fingerprint == key.fingerprint


def _answer(data: bytes) -> None:
    client = SshAgentSigning(ED25519.public, MESSAGE, "ssh")
    with suppress(RemoteProtocolError, SigningRefusedError):
        for place in range(0, len(data), 7):
            client.receive_data(data[place : place + 7])


def plant() -> None:
    """A signature in the right frame is taken without a look at it."""
    verify = PublicKey.verify

    def lenient(public: PublicKey, signature: bytes, message: bytes, **options: Any) -> str | None:
        if signature[4:15] == public.blob[4:15] == b"ssh-ed25519" and len(signature) == 83:
            return "ssh-ed25519"
        return verify(public, signature, message, **options)

    patch.object(PublicKey, "verify", lenient).start()
