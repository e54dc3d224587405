"""No text is a token but what was issued, none a challenge but what was, once; their life is what their claims say.

The bytes: which of the three, and edits to a right one or the claims of any (TOK-1, TOK-5, AUTH-2, AUTH-8).
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from typing import Any, Final, NoReturn

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.instants import Instant
from artcafe_proto.limits import MAX_CHALLENGE_CHARS, MAX_TOKEN_LIFE_S, MIN_CHALLENGE_CHARS
from artcafe_proto.policies.challenges import ChallengeBook, check_challenge
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.policies.tokens import read_token
from decoding import Reader
from mutants.planted import Mutant

PLANTED: Final = Mutant(
    "true is a time",
    "artcafe_proto/policies/tokens.py",
    "if isinstance(value, bool) or not isinstance(value, int | float):",
    "if not isinstance(value, int | float):",
    "fuzz/targets/tokens.py::check",
)
DICTIONARY: Final = (
    b'"exp":',
    b'"iat":',
    b'"exp":true',
    b'{"exp":1700000900,"iat":1700000000}',
    b'{"alg":"none"}',
    b'{"alg":"EdDSA","typ":"JWT"}',
    b"1e999",
    b"-0.0",
    b"99999999999999999999",
    b"null",
    b".",
    b"=",
    b"ac1.",
    b"eyJhbGciOiJub25lIn0",
)
_WALL: Final = 1_700_000_000.0
_NOW: Final = Instant(50.0, _WALL)
_ISSUER: Final = TokenIssuer(bytes(32), issuer="platform", life_s=900.0)
_TOKEN: Final = _ISSUER.issue(agent_id="a", tenant_id="t", key_id="k", jti="1", wall=_WALL)
_MAX_EDITS: Final = 6


def check(data: bytes) -> None:
    """One text."""
    reader = Reader(data)
    (_check_life, _check_issued, _check_forged, _check_challenge)[reader.byte() % 4](reader)


def _check_life(reader: Reader) -> None:
    """An agent believes a token's claims, if they are two numbers of a JSON object (TOK-1)."""
    date = reader.pick((None, _WALL - 100.0))
    claims = reader.take(reader.left)
    value = f"e30.{_base64url(claims)}.x"
    try:
        token = read_token(value, date, _NOW)
    except RemoteProtocolError as error:
        assert value not in str(error), "TOK-4"
        return
    assert value not in repr(token), "TOK-4"
    assert token.usable(0.0), "TOK-3"
    if token.life_s is not None:
        times: Any = json.loads(claims.decode("utf-8", "replace"), parse_constant=_refuse)
        since = date if date is not None else times["iat"] if _is_number(times.get("iat")) else _WALL
        assert _is_number(times["exp"])
        assert token.life_s == max(float(times["exp"]) - since, 0.0) <= MAX_TOKEN_LIFE_S


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def _check_issued(reader: Reader) -> None:
    """An issued token, changed."""
    text = _edited(_TOKEN, reader)
    with suppress(RemoteProtocolError):
        _ISSUER.check(text, _WALL)
        assert text[:-1] == _TOKEN[:-1], "its last character holds bits that nobody reads (RFC 4648 section 3.5)"
        assert urlsafe_b64decode(text.rpartition(".")[2] + "==") == urlsafe_b64decode(_TOKEN.rpartition(".")[2] + "==")


def _check_forged(reader: Reader) -> None:
    """A token of any header and claims, by somebody without the key."""
    header = reader.take(reader.byte() % 64)
    claims, signature = reader.take(reader.byte()), reader.take(reader.left)
    text = ".".join(map(_base64url, (header, claims, signature)))
    try:
        _ISSUER.check(text, _WALL)
    except RemoteProtocolError as error:
        assert error.code == 401
        assert not text or text not in str(error), "TOK-4"
    else:
        raise AssertionError("a forged token passes")


def _check_challenge(reader: Reader) -> None:
    """A challenge, changed: good once, and only as it was; what an agent signs is bounded (AUTH-2)."""
    book = ChallengeBook(bytes(32))
    challenge = book.issue("a", "t", bytes(32), 0.0)
    text = _edited(challenge, reader)
    with suppress(RemoteProtocolError):
        check_challenge(text)
        assert MIN_CHALLENGE_CHARS <= len(text) <= MAX_CHALLENGE_CHARS
        assert not set(text) - set(map(chr, range(0x21, 0x7F)))
    assert book.consume(text, "a", "t", 1.0) == (text == challenge)
    assert book.consume(challenge, "a", "t", 1.0) == (text != challenge)
    assert not book.consume(challenge, "a", "t", 1.0)


def _edited(text: str, reader: Reader) -> str:
    """The text with some characters changed, put in or taken out."""
    for _ in range(_MAX_EDITS):
        if not reader.left:
            break
        place = reader.byte() % (len(text) + 1)
        removed, added = reader.byte() % 4, reader.take(reader.byte() % 8).decode("utf-8", "surrogateescape")
        text = text[:place] + added + text[place + removed :]
    return text


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
