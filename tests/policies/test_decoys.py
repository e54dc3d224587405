"""AUTH-8: for a signature of any shape there is a decoy that takes as long to say no as a key would."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from artcafe_proto.policies.decoys import decoy_for
from artcafe_proto.policies.signatures import SignatureFormat, ecdsa_blob_signature, without_armour
from artcafe_proto.policies.ssh_wire import pack_string
from support.key_types import PUBLIC_TYPES, load

MESSAGE = b"ac1.a-challenge"


@pytest.mark.parametrize("signature_format", ["ssh", "raw"])
@pytest.mark.parametrize("name", PUBLIC_TYPES)
def test_auth_8_a_decoy_is_of_the_type_whose_signature_it_is_given(
    key_dir: Path, name: str, signature_format: SignatureFormat
) -> None:
    signature = load(key_dir, name).sign(MESSAGE, signature_format)
    decoy = decoy_for(signature)
    assert decoy.algorithm == PUBLIC_TYPES[name]
    assert decoy.could_have_made(signature), "only then is there arithmetic"
    assert decoy.verify(signature, MESSAGE) is None


@pytest.mark.parametrize("size", [256, 257, 384, 512, 1000, 1024])
def test_auth_8_rsa_keys_of_every_size_have_decoys(size: int) -> None:
    for signature in (bytes(size), pack_string(b"rsa-sha2-512") + pack_string(bytes(size))):
        assert decoy_for(signature).could_have_made(signature)
        assert decoy_for(signature).verify(signature, MESSAGE) is None
    old = pack_string(b"ssh-rsa") + pack_string(bytes(size))
    assert not decoy_for(old).could_have_made(old)
    assert decoy_for(old).could_have_made(old, allow_sha1=True)


@pytest.mark.parametrize("name", PUBLIC_TYPES)
def test_auth_8_an_sshsig_is_tried_against_the_key_that_it_names(key_dir: Path, name: str) -> None:
    key = load(key_dir, name)
    signature = without_armour(key.sign(MESSAGE, "sshsig"))
    assert decoy_for(signature).blob == key.public.blob
    assert decoy_for(signature).could_have_made(signature)


@pytest.mark.parametrize(
    ("curve", "size"), [("ecdsa-sha2-nistp256", 256), ("ecdsa-sha2-nistp384", 384), ("ecdsa-sha2-nistp521", 521)]
)
def test_auth_5_no_ecdsa_key_is_tried_for_numbers_that_are_larger_than_its_order(curve: str, size: int) -> None:
    fitting, larger = encode_dss_signature(1, 2**size - 1), encode_dss_signature(2**size, 1)
    decoy = decoy_for(fitting)
    assert decoy.algorithm == curve
    assert decoy.could_have_made(fitting)
    assert not decoy.could_have_made(larger)
    blob = pack_string(curve.encode()) + pack_string(ecdsa_blob_signature(larger))
    assert not decoy.could_have_made(blob)


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
        b"SSHSIG\0\0\0\1",
        b"SSHSIG\0\0\0\1" + pack_string(pack_string("ssh-\u00e9".encode())),
        b"SSHSIG\0\0\0\1" + pack_string(pack_string(b"ssh-rsa")),
    ],
)
def test_auth_8_what_is_no_signature_has_a_decoy_too(junk: bytes) -> None:
    assert decoy_for(junk).verify(junk, MESSAGE) is None
