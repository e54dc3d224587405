"""AUTH-3, AUTH-8: every key type in every format, from and to other people's tools."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import paramiko
import pytest

from artcafe_proto.policies.signatures import SignatureFormat
from artcafe_proto.policies.ssh_wire import take_string
from support.key_types import PUBLIC_TYPES, costly, load

MESSAGE = b"ac1.a-challenge"
FORMATS: tuple[SignatureFormat, ...] = get_args(SignatureFormat)


@pytest.mark.parametrize("signature_format", FORMATS)
@pytest.mark.parametrize("name", costly(PUBLIC_TYPES, "ecdsa384", "ecdsa521"))
def test_auth_3_what_a_key_signs_is_right_the_same_each_time_and_nobody_elses(
    key_dir: Path, name: str, signature_format: SignatureFormat
) -> None:
    key = load(key_dir, name)
    signature = key.sign(MESSAGE, signature_format)
    assert signature == key.sign(MESSAGE, signature_format)
    expected = PUBLIC_TYPES[name]
    if name == "rsa":
        expected = "rsa-sha2-256" if signature_format == "raw" else "rsa-sha2-512"
    assert key.public.verify(signature, MESSAGE) == expected
    assert key.public.verify(signature, MESSAGE + b"x") is None
    for other in PUBLIC_TYPES:
        if other != name:
            assert load(key_dir, other).public.verify(signature, MESSAGE) is None


@pytest.mark.repeats
@pytest.mark.parametrize("name", PUBLIC_TYPES)
def test_auth_3_paramiko_takes_our_ssh_signatures_and_we_take_its(key_dir: Path, name: str) -> None:
    key = load(key_dir, name)
    theirs = paramiko.PKey.from_path(key_dir / name)
    public = paramiko.PKey.from_type_string(key.public.algorithm, key.public.blob)
    for message, is_right in ((MESSAGE, True), (MESSAGE + b"x", False)):
        assert public.verify_ssh_sig(message, paramiko.Message(key.sign(MESSAGE, "ssh"))) is is_right
    for algorithm in ("rsa-sha2-256", "rsa-sha2-512") if name == "rsa" else (PUBLIC_TYPES[name],):
        made = theirs.sign_ssh_data(MESSAGE, algorithm if name == "rsa" else None).asbytes()
        assert key.public.verify(made, MESSAGE) == algorithm
        assert key.public.verify(made, MESSAGE + b"x") is None


@pytest.mark.parametrize("name", ["ecdsa", "ecdsa384", "ecdsa521"])
def test_auth_3_ecdsa_has_der_as_raw_and_two_numbers_in_a_blob(key_dir: Path, name: str) -> None:
    key = load(key_dir, name)
    assert key.sign(MESSAGE, "raw")[:1] == b"\x30"
    algorithm, rest = take_string(key.sign(MESSAGE, "ssh"))
    numbers, rest = take_string(rest)
    assert (algorithm.decode(), rest) == (key.public.algorithm, b"")
    assert take_string(take_string(numbers)[1])[1] == b""


@pytest.mark.parametrize("place", [b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE"])
def test_auth_3_nothing_but_line_ends_is_free_in_an_armour(key_dir: Path, place: bytes) -> None:
    key = load(key_dir, "ed25519")
    armoured = key.sign(MESSAGE, "sshsig")
    assert key.public.verify(armoured.replace(b"\n", b"\r\n"), MESSAGE) == "ssh-ed25519"
    for junk in (b"\x01", b".", b"A"):
        assert key.public.verify(armoured.replace(place, place + junk), MESSAGE) is None


def test_auth_3_bits_that_base64_does_not_use_are_not_free_in_an_armour(key_dir: Path) -> None:
    key = load(key_dir, "ed25519")
    armoured = key.sign(MESSAGE, "sshsig")
    last = armoured.index(b"=") - 1
    spellings = [armoured[:last] + bytes([letter]) + armoured[last + 1 :] for letter in range(256)]
    assert [spelling for spelling in spellings if key.public.verify(spelling, MESSAGE)] == [armoured]
