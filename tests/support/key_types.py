"""What the keys of `key_dir` are."""

from __future__ import annotations

PASSPHRASE = "correct horse"
PUBLIC_TYPES = {
    "ed25519": "ssh-ed25519",
    "rsa": "ssh-rsa",
    "ecdsa": "ecdsa-sha2-nistp256",
    "ecdsa384": "ecdsa-sha2-nistp384",
    "ecdsa521": "ecdsa-sha2-nistp521",
}
"""Keys of `key_dir`, and their types."""
