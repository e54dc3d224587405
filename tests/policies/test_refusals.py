"""AUTH-5, TOK-1, TOK-5: what a person reads when a key, a challenge or a token is refused, word by word."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_proto.errors import KeyRefusedError, LocalProtocolError, RemoteProtocolError
from artcafe_proto.instants import Instant
from artcafe_proto.policies.challenges import ChallengeBook, check_challenge
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.ssh_wire import take_string
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.policies.tokens import read_token

MAKE: Final = "make a key with: ssh-keygen -t ed25519"
NOW: Final = Instant(10.0, 1e9)
KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ISSUER: Final = TokenIssuer(bytes(32), issuer="us", life_s=900.0)


def issued(wall: float) -> str:
    """A token."""
    return ISSUER.issue(agent_id="a", tenant_id="t", key_id="k", jti="j", wall=wall)


def pem(label: str, body: str = "AAAA") -> bytes:
    """A file."""
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode()


PRIVATE: Final[list[tuple[bytes, str]]] = [
    (bytes(65537), "the key file is larger than 65536 bytes: is it a key at all?"),
    (b"hello", "expected a private key file, which begins with -----BEGIN, as ssh-keygen makes it"),
    (
        b"PuTTY-User-Key-File-3: ssh-ed25519",
        "that is a PuTTY key: convert it with puttygen KEY.ppk -O private-openssh -o KEY",
    ),
    (b"-----BEGIN PRIVATE KEY-----\nAA", f"the key file is damaged: restore it, or {MAKE}"),
    (pem("PRIVATE KEY", "?"), f"the key file is damaged: restore it, or {MAKE}"),
    (
        pem("ENCRYPTED PRIVATE KEY"),
        f"the key file is damaged: restore it, or {MAKE}",
    ),
    (pem("DSA PRIVATE KEY"), f"expected an Ed25519, ECDSA or RSA key, found a DSA key: {MAKE}"),
    (pem("EC PRIVATE KEY"), f"the key file is damaged: restore it, or {MAKE}"),
    (pem("EC PARAMETERS"), "a block EC PARAMETERS comes before the key: remove it from the file"),
    (pem("PGP MESSAGE"), f"expected an Ed25519, ECDSA or RSA key, found another kind of PEM file: {MAKE}"),
    *(
        (file, "expected a private key, found a public one: give the file without .pub")
        for file in (
            b"ssh-rsa AAAA",
            b"ecdsa-sha2-nistp256 AA",
            b"sk-ssh-ed25519",
            pem("PUBLIC KEY"),
            pem("CERTIFICATE"),
        )
    ),
]


@pytest.mark.parametrize(("data", "reason"), PRIVATE)
def test_auth_5_a_refused_private_key_says_what_it_is_and_what_to_do(data: bytes, reason: str) -> None:
    with pytest.raises(KeyRefusedError) as refused:
        SigningKey.load(data)
    assert str(refused.value) == reason


LINE: Final = "expected one line 'ssh-ed25519 AAAA… comment', as in a .pub file"
PUBLIC: Final[list[tuple[str, str]]] = [
    ("x" * 16385, "the public key line is longer than 16384 characters"),
    ("", LINE),
    ("ssh-ed25519", LINE),
    ("hello world", LINE),
    ("a\nssh-ed25519 AAAA", "options before the key type are not accepted: remove what precedes it"),
    ('from="x" ssh-rsa AAAA', "options before the key type are not accepted: remove what precedes it"),
    ("ssh-ed25519 ssh-rsa\n\nx", LINE),
    (
        "-----BEGIN PRIVATE KEY-----",
        "that is a private key: keep it where it is, and give the line of its .pub file (ssh-keygen -y -f KEY)",
    ),
    (
        "-----BEGIN PUBLIC KEY-----",
        "that is a PEM file: give the OpenSSH line instead (ssh-keygen -i -m PKCS8 -f FILE)",
    ),
    (
        "ssh-rsa-cert-v01@openssh.com AAAA",
        "certificates are not accepted: give the key they certify, the line of the .pub file",
    ),
    ("ssh-dss AAAA", f"DSA keys are too weak: {MAKE}"),
    ("ecdsa-sha2-nistp192 AAAA", f"the curve is not P-256, P-384 or P-521: {MAKE}"),
    ("ecdsa-sha2-nistp256 AAAA", "the ecdsa-sha2-nistp256 key is damaged: copy it again"),
    ("ssh-ed25519 AAAA", "the ssh-ed25519 key is damaged: copy it again"),
    ("ssh-rsa !", "the ssh-rsa key is damaged: copy it again"),
]


@pytest.mark.parametrize(("line", "reason"), PUBLIC)
def test_auth_5_a_refused_public_key_says_what_it_is_and_what_to_do(line: str, reason: str) -> None:
    with pytest.raises(KeyRefusedError) as refused:
        PublicKey.parse(line)
    assert str(refused.value) == reason


REMOTE: Final[list[tuple[Callable[[], object], int, str, str]]] = [
    (lambda: check_challenge("x" * 15), 400, "expected a challenge of 16 to 1024 characters, got 15", "AUTH-2"),
    (lambda: check_challenge("x" * 1025), 400, "expected a challenge of 16 to 1024 characters, got 1025", "AUTH-2"),
    (
        lambda: check_challenge("x" * 15 + " "),
        400,
        "expected a challenge of visible ASCII characters (0x21 to 0x7E), got others",
        "AUTH-2",
    ),
    (
        lambda: check_challenge("eyJhbGciOiJFZERTQSJ9"),
        400,
        "expected a random challenge, got what could be a JSON Web Token to be signed",
        "AUTH-2",
    ),
    (lambda: read_token("x" * 16385, None, NOW), 400, "expected a token of at most 16384 bytes, got more", "TOK-1"),
    (lambda: read_token("ä", None, NOW), 400, "expected a bearer token of RFC 6750's characters, got others", "TOK-1"),
    (lambda: ISSUER.check("x" * 16385, 0.0), 401, "expected a token of at most 16384 bytes, got more", "TOK-5"),
    (lambda: ISSUER.check("x", 0.0), 401, "expected a token of three base64url parts", "TOK-5"),
    (
        lambda: ISSUER.check("e30.e30.AA", 0.0),
        401,
        "the token was not made by this platform, or not for this use",
        "TOK-5",
    ),
    (lambda: ISSUER.check(issued(0.0), 900.0), 401, "the token has expired", "TOK-5"),
    (
        lambda: ISSUER.check(issued(1000.0), 969.9),
        401,
        "the token is from the future: the platform's clock was set back",
        "TOK-5",
    ),
]


@pytest.mark.parametrize(("call", "code", "reason", "clause"), REMOTE)
def test_what_a_peer_sends_is_refused_with_its_reason_and_clause(
    call: Callable[[], object], code: int, reason: str, clause: str
) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        call()
    assert (refused.value.code, refused.value.reason, refused.value.clause) == (code, reason, clause)


def test_the_limits_themselves_are_taken() -> None:
    for challenge in ("x" * 16, "x" * 1024, "!" * 8 + "~" * 8):
        check_challenge(challenge)
    assert read_token("x" * 16384, None, NOW).life_s is None
    assert ISSUER.check(issued(0.0), 899.9).expires_at == 900
    assert ISSUER.check(issued(1000.0), 970.0).issued_at == 1000


def test_secrets_of_another_size_are_misuse() -> None:
    for call, text in (
        (lambda: ChallengeBook(bytes(31)), "expected a secret of at least 32 bytes, got 31: draw them at random"),
        (
            lambda: ChallengeBook(bytes(32)).issue("a", "t", bytes(33), 0.0),
            "expected a nonce of 32 bytes, got 33: draw them at random",
        ),
        (
            lambda: TokenIssuer(bytes(33), issuer="", life_s=1.0),
            "expected a signing seed of 32 bytes, got 33: draw them at random",
        ),
    ):
        with pytest.raises(LocalProtocolError) as misuse:
            call()
        assert str(misuse.value) == text


def test_tok_4_secrets_show_nothing_of_themselves_and_say_so() -> None:
    token = read_token("opaque", None, NOW)
    for secret, text in (
        (KEY, "a SigningKey is not for copying or pickling: it holds what is secret (TOK-4)"),
        (token, "a Token is not for copying or pickling: it holds what is secret (TOK-4)"),
    ):
        with pytest.raises(TypeError) as refused:
            copy.copy(secret)
        assert str(refused.value) == text
    token.used = True
    assert repr(token) == "Token(of unknown life, used)"
    assert repr(KEY) == f"SigningKey(ssh-ed25519, {KEY.public.fingerprint})"
    with pytest.raises(ValueError, match=r"^an SSH string is cut short$"):
        take_string(b"\0\0\0\1")


def test_auth_8_a_challenge_lives_300_s_to_the_millisecond_and_two_are_never_alike() -> None:
    book = ChallengeBook(bytes(32))
    challenges = [book.issue("a", "t", bytes([number]) * 32, 10.0) for number in range(3)]
    assert all(one != other for one, other in pairwise(challenges))
    assert {challenge.split(".")[0] for challenge in challenges} == {"ac1"}
    assert {challenge.split(".")[2] for challenge in challenges} == {"310000"}
    assert book.consume(challenges[0], "a", "t", 309.999) is True
    assert book.consume(challenges[1], "a", "t", 310.0) is False
