"""What the keys of `key_dir` are."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

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
