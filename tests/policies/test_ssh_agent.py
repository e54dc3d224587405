"""AUTH-6: one signature by an ssh-agent, from well-behaved agents and from liars."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto import (
    PublicKey,
    RemoteProtocolError,
    SignatureFormat,
    SigningKey,
    SigningRefusedError,
    SshAgentSigning,
)
from artcafe_proto.policies.ssh_wire import pack_string

MESSAGE = b"ac1.a-challenge"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = SigningKey(derive_private_key(7, SECP256R1()))
FAILURE = pack_string(b"\5")


def signing(signature_format: SignatureFormat = "ssh", public: PublicKey = KEY.public) -> SshAgentSigning:
    return SshAgentSigning(public, MESSAGE, signature_format)


def signed(blob: bytes) -> bytes:
    return pack_string(b"\x0e" + pack_string(blob))


def holding(*keys: SigningKey) -> bytes:
    listed = b"".join(pack_string(key.public.blob) + pack_string(b"comment") for key in keys)
    return pack_string(b"\x0c" + len(keys).to_bytes(4, "big") + listed)


@pytest.mark.parametrize("key", [KEY, OTHER])
def test_auth_6_a_signature_comes_in_the_format_asked_for_in_whatever_pieces(key: SigningKey) -> None:
    for signature_format in ("ssh", "raw"):
        one = signing(signature_format, key.public)
        answer = signed(key.sign(MESSAGE, "ssh"))
        for at in range(len(answer)):
            assert one.signature is None
            assert one.receive_data(answer[at : at + 1]) == b""
        assert one.signature == key.sign(MESSAGE, signature_format)
        with pytest.raises(RemoteProtocolError):
            one.receive_data(b"x")
    assert signing("raw").request != signing("ssh").request, "RSA's hash is asked for"


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ((FAILURE, holding()), "holds no key, or is locked: ssh-add KEY, or ssh-add -X"),
        ((FAILURE, holding(OTHER)), f"does not hold the key {KEY.public.fingerprint}: ssh-add KEY"),
        ((FAILURE, holding(OTHER, KEY)), "but refuses to sign: was it not confirmed"),
        ((FAILURE, FAILURE), "neither signs nor says which keys it holds"),
        ((pack_string(b"\x66"), holding()), "holds no key"),
    ],
)
def test_auth_6_a_refusal_says_what_to_do(answers: tuple[bytes, bytes], says: str) -> None:
    one = signing()
    assert one.receive_data(answers[0]) == pack_string(b"\x0b")
    with pytest.raises(SigningRefusedError, match=re.escape(says)):
        one.receive_data(answers[1])


RIGHT = KEY.sign(MESSAGE, "ssh")
LIES = {
    "another's signature": signed(OTHER.sign(MESSAGE, "ssh")),
    "another message's": signed(KEY.sign(b"x", "ssh")),
    "no signature": signed(b""),
    "a byte more": pack_string(b"\x0e" + pack_string(RIGHT) + b"\0"),
    "success": pack_string(b"\6"),
    "keys that nobody asked for": holding(KEY),
    "two answers": FAILURE + FAILURE,
    "nothing": pack_string(b""),
    "too much": (256 * 1024 + 1).to_bytes(4, "big"),
}


@pytest.mark.parametrize("name", LIES)
def test_auth_6_what_is_no_right_answer_is_a_remote_error(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="from the ssh-agent, got something else"):
        signing("raw").receive_data(LIES[name])


def test_auth_6_a_list_of_keys_that_is_cut_short_is_a_remote_error() -> None:
    one = signing()
    one.receive_data(FAILURE)
    with pytest.raises(RemoteProtocolError, match="expected a list of its keys"):
        one.receive_data(pack_string(b"\x0c" + b"\xff" * 8))


@given(st.lists(st.binary(max_size=30) | st.binary(max_size=30).map(pack_string) | st.just(FAILURE), max_size=4))
def test_auth_6_no_bytes_raise_anything_else(pieces: list[bytes]) -> None:
    one = signing()
    with suppress(RemoteProtocolError, SigningRefusedError):
        for piece in pieces:
            one.receive_data(piece)
    assert one.signature is None
