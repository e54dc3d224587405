"""AUTH-5, TOK-1, TOK-5: what a person reads when a key, a challenge or a token is refused, word by word."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.instants import Instant
from artcafe_proto.policies.challenges import ChallengeBook, check_challenge
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.ssh_wire import take_string
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.policies.tokens import Token, read_token

NOW: Final = Instant(10.0, 1e9)
KEY: Final = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
ISSUER: Final = TokenIssuer(bytes(32), issuer="us", life_s=900.0)


def issued(wall: float) -> str:
    """A token."""
    return ISSUER.issue(agent_id="a", tenant_id="t", key_id="k", jti="j", wall=wall)


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
            lambda: ChallengeBook(bytes(32)).issue("a", "t", bytes(16), 0.0),
            "expected a nonce of 32 bytes, got 16: draw them at random",
        ),
        (
            lambda: ChallengeBook(bytes(32)).issue("a", "t", bytes(33), 0.0),
            "expected a nonce of 32 bytes, got 33: draw them at random",
        ),
        (
            lambda: TokenIssuer(bytes(31), issuer="", life_s=1.0),
            "expected a signing seed of 32 bytes, got 31: draw them at random",
        ),
        (
            lambda: TokenIssuer(bytes(33), issuer="", life_s=1.0),
            "expected a signing seed of 32 bytes, got 33: draw them at random",
        ),
    ):
        with pytest.raises(LocalProtocolError) as misuse:
            call()
        assert str(misuse.value) == text


def test_tok_4_secrets_show_nothing_of_themselves_and_stay_in_their_process() -> None:
    token, used, timed = (
        read_token("opaque", None, NOW),
        read_token("opaque", None, NOW),
        Token("t", life_s=900.0, mono=10.0),
    )
    used.used = True
    shown: dict[object, str] = {
        KEY: f"SigningKey(ssh-ed25519, {KEY.public.fingerprint})",
        token: "Token(of unknown life, unused)",
        used: "Token(of unknown life, used)",
        timed: "Token(for 900 s, unused)",
    }
    for secret, text in shown.items():
        assert repr(secret) == str(secret) == f"{secret}" == text
        for spread in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError) as refused:
                spread(secret)
            name = type(secret).__name__
            assert str(refused.value) == f"a {name} is not for copying or pickling: it holds what is secret (TOK-4)"


def test_an_ssh_string_that_is_cut_short_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^an SSH string is cut short$"):
        take_string(b"\0\0\0\1")
