"""AUTH-8: for a signature of any shape there is a decoy that takes as long to say no as a key would."""

from __future__ import annotations

from pathlib import Path

import pytest

from artcafe_proto.policies.decoys import decoy_for
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.signatures import SignatureFormat
from artcafe_proto.policies.ssh_wire import pack_string
from key_types import PUBLIC_TYPES

MESSAGE = b"ac1.a-challenge"


@pytest.mark.parametrize("signature_format", ["ssh", "raw"])
@pytest.mark.parametrize("name", PUBLIC_TYPES)
def test_auth_8_a_decoy_is_of_the_type_whose_signature_it_is_given(
    key_dir: Path, name: str, signature_format: SignatureFormat
) -> None:
    signature = SigningKey.load((key_dir / name).read_bytes()).sign(MESSAGE, signature_format)
    decoy = decoy_for(signature)
    assert decoy.algorithm == PUBLIC_TYPES[name]
    assert decoy.could_have_made(signature), "only then is there arithmetic"
    assert decoy.verify(signature, MESSAGE) is None


@pytest.mark.parametrize("size", [256, 384, 512])
def test_auth_8_rsa_keys_of_usual_sizes_have_decoys(size: int) -> None:
    for signature in (bytes(size), pack_string(b"rsa-sha2-512") + pack_string(bytes(size))):
        assert decoy_for(signature).could_have_made(signature)
        assert decoy_for(signature).verify(signature, MESSAGE) is None
    old = pack_string(b"ssh-rsa") + pack_string(bytes(size))
    assert not decoy_for(old).could_have_made(old)
    assert decoy_for(old).could_have_made(old, allow_sha1=True)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"x",
        bytes(64),
        b"0" * 5,
        b"0" * 5000,
        pack_string(b"rsa-sha2-512") + pack_string(b""),
        pack_string(b"x") * 2,
    ],
)
def test_auth_8_what_is_no_signature_has_a_decoy_too(junk: bytes) -> None:
    assert decoy_for(junk).verify(junk, MESSAGE) is None
