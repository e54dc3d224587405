"""What the keys of `key_dir` are, and how files and signatures are written by hand."""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Iterable
from pathlib import Path

import pytest

from artcafe_proto import SigningKey
from artcafe_proto.policies.ssh_wire import pack_string

PASSPHRASE = "correct horse"
PUBLIC_TYPES = {
    "ed25519": "ssh-ed25519",
    "rsa": "ssh-rsa",
    "ecdsa": "ecdsa-sha2-nistp256",
    "ecdsa384": "ecdsa-sha2-nistp384",
    "ecdsa521": "ecdsa-sha2-nistp521",
}
"""Keys of `key_dir`, and their types."""


def costly(names: Iterable[str], *prefixes: str) -> list[object]:
    """The same `names`, of which those with a prefix are not tried for a mutant."""
    return [pytest.param(name, marks=pytest.mark.repeats) if name.startswith(prefixes) else name for name in names]


def load(key_dir: Path, name: str) -> SigningKey:
    """A key of `key_dir` that has no passphrase."""
    return SigningKey.load((key_dir / name).read_bytes())


def pem(label: str, body: bytes) -> bytes:
    """A file with one block (RFC 7468)."""
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), encodebytes(body), label.encode())


def blob(algorithm: str, signature: bytes) -> bytes:
    """A signature as SSH writes it (RFC 4253 section 6.6)."""
    return pack_string(algorithm.encode()) + pack_string(signature)
