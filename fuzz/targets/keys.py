"""Any key file or public key line is a key that signs and verifies, or refused by KeyRefusedError, not quoting it.

The bytes: what they are, and that itself; the bodies of PEM blocks and of public keys without their base64, so that
mutation reaches what is in them. Costs of passphrases are capped low here: they would be all that is measured.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final
from unittest.mock import patch

from artcafe_proto.errors import KeyRefusedError, PassphraseNeededError
from artcafe_proto.policies import key_derivation
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.public_keys import ACCEPTED_TYPES, PublicKey
from decoding import Reader
from mutants.planted import Mutant

PLANTED: Final = Mutant(
    "an encrypted key that is cut short raises",
    "artcafe_proto/policies/private_keys.py",
    "except (ValueError, IndexError):",
    "except IndexError:",
    "fuzz/targets/keys.py::check",
)
DICTIONARY: Final = (
    b"openssh-key-v1\0",
    b"\0\0\0\x04none",
    b"\0\0\0\x06bcrypt",
    b"\0\0\0\x0aaes256-ctr",
    b"\0\0\0\x0bssh-ed25519\0\0\0\x20",
    b"\0\0\0\x07ssh-rsa",
    b"\0\0\0\x13ecdsa-sha2-nistp256\0\0\0\x08nistp256",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c",
    b"\x2b\x06\x01\x04\x01\xda\x47\x04\x0b",
    b"\x2a\x86\x48\xce\x3d\x02\x01",
    b"\x2b\x65\x70",
    b"\x30\x82",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----END PRIVATE KEY-----\n",
    b"Proc-Type: 4,ENCRYPTED\n",
)
_LABELS: Final = ("OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
_PASSPHRASE: Final = b"correct horse"
_QUOTE_CHARS: Final = 24
"""Of a key file in a refusal: no shorter run of characters is anything of a secret."""
_CHALLENGE: Final = b"ac1.a-challenge"


def check(data: bytes) -> None:
    """One file or line."""
    reader = Reader(data)
    kind = reader.byte() % (len(_LABELS) + 3)
    if kind == len(_LABELS):
        _check_line(reader.take(reader.left).decode("utf-8", "surrogateescape"))
    elif kind == len(_LABELS) + 1:
        algorithm = reader.pick(ACCEPTED_TYPES)
        _check_line(f"{algorithm} {b64encode(reader.take(reader.left)).decode()}")
    else:
        passphrase = reader.pick((None, _PASSPHRASE))
        rest = reader.take(reader.left)
        _check_file(_pem(_LABELS[kind], rest) if kind < len(_LABELS) else rest, passphrase)


def _pem(label: str, body: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{b64encode(body).decode()}\n-----END {label}-----\n".encode()


def _check_file(file: bytes, passphrase: bytes | None) -> None:
    """AUTH-5."""
    with (
        patch.object(key_derivation, "MAX_BCRYPT_ROUNDS", 1),
        patch.object(key_derivation, "MAX_PBKDF2_ITERATIONS", 2048),
        patch.object(key_derivation, "MAX_SCRYPT_MEMORY_BYTES", 1 << 20),
    ):
        try:
            key = SigningKey.load(file, passphrase)
        except PassphraseNeededError:
            assert passphrase is None
            return
        except KeyRefusedError as refusal:
            _check_refusal(str(refusal), file.decode("latin-1"))
            return
    assert key.public.algorithm in ACCEPTED_TYPES
    assert key.public.verify(key.sign(_CHALLENGE, "ssh"), _CHALLENGE) is not None
    assert repr(key) == f"SigningKey({key.public.algorithm}, {key.public.fingerprint})"


def _check_line(line: str) -> None:
    """One key has one spelling, whatever it came in."""
    try:
        key = PublicKey.parse(line)
    except KeyRefusedError as refusal:
        _check_refusal(str(refusal), line)
        return
    assert key.algorithm in ACCEPTED_TYPES
    assert (key.openssh, key.fingerprint) == (PublicKey.parse(key.openssh).openssh, key.fingerprint)
    assert key.verify(line.encode("utf-8", "surrogateescape"), _CHALLENGE) is None


def _check_refusal(said: str, given: str) -> None:
    assert said
    quotable = (given[place : place + _QUOTE_CHARS] for place in range(len(given) - _QUOTE_CHARS + 1))
    assert not any(quote in said for quote in quotable)
