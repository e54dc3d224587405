"""A platform takes its own tokens alone; tokens and challenges raise RemoteProtocolError alone.

A challenge is signed or refused, and what is signed is no beginning of a JSON Web Token for any decoder.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from contextlib import suppress
from unittest.mock import patch

from artcafe_proto import Instant, RemoteProtocolError
from artcafe_proto.policies.challenges import ChallengeBook, check_challenge
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.policies.tokens import read_token

WALL = 1e9
SEED = bytes(range(32))


def issuer() -> TokenIssuer:
    """One that remembers nothing of the inputs before."""
    return TokenIssuer(SEED, issuer="fuzzed", life_s=900.0)


OURS = issuer().issue(agent_id="a", tenant_id="t", key_id="k", jti="j", wall=WALL)
BOOK = ChallengeBook(SEED)


def check(data: bytes) -> None:
    """Read it as each of them."""
    text = data.decode("utf-8", "surrogateescape")
    _check_token(text)
    with suppress(RemoteProtocolError):
        token = read_token(text, WALL, Instant(0.0, WALL))
        assert token.life_s is None or token.life_s >= 0
        assert text not in repr(token) or len(text) < 8
    assert not BOOK.consume(text, "a", "t", 0.0)
    try:
        check_challenge(text)
    except RemoteProtocolError:
        return
    head = text.partition(".")[0]
    with suppress(ValueError, RecursionError):
        assert not isinstance(json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4))), dict)


def _check_token(text: str) -> None:
    try:
        claims = issuer().check(text, WALL)
    except RemoteProtocolError:
        return
    assert text.split(".")[:2] == OURS.split(".")[:2], "only what was issued is taken"
    assert (claims.agent_id, claims.tenant_id, claims.key_id) == ("a", "t", "k")


def plant() -> None:
    """The signature of a token is not looked at."""
    import jwt

    decode = jwt.decode

    def lenient(token: str, *args: object, **options: object) -> object:
        return decode(token, options={"verify_signature": False})

    patch.object(jwt, "decode", lenient).start()
