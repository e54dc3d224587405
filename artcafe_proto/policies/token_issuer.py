"""The platform's tokens: signed with one algorithm, checked against that one only (TOK-5)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.limits import CLOCK_DRIFT_S, MAX_REMEMBERED_TOKENS, MAX_TOKEN_BYTES
from artcafe_proto.secrecy import Secretive, forgetful


class Claims(msgspec.Struct, frozen=True, gc=False):
    """What a checked token says. Times in POSIX seconds."""

    agent_id: str = msgspec.field(name="sub")
    tenant_id: str
    key_id: str
    issued_at: int = msgspec.field(name="iat")
    expires_at: int = msgspec.field(name="exp")
    jti: str
    not_before: float = msgspec.field(name="nbf", default=float("-inf"))


def has_form_of_token(text: str) -> bool:
    """Whether `text` looks like an agent's token, of whichever platform: no tenant's credential may."""
    return text.startswith(_BEGINNING) and _COMPACT_JWS.fullmatch(text) is not None


class TokenIssuer(Secretive):
    """Makes agents' tokens, and tells its own from all others."""

    __slots__ = ("_issuer", "_life_s", "_private_key", "_public_key", "_signed_claims")

    @forgetful
    def __init__(self, seed: bytes, *, issuer: str, life_s: float) -> None:
        """`seed`: the 32 secret bytes of an Ed25519 key (RFC 8032 section 5.1.5), else LocalProtocolError."""
        if not isinstance(seed, bytes) or len(seed) != 32:  # pyright: ignore[reportUnnecessaryIsInstance]
            came = len(seed) if isinstance(seed, bytes) else type(seed).__name__  # pyright: ignore
            raise LocalProtocolError(f"expected a signing seed of 32 bytes, got {came}: draw them at random")
        self._private_key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public_key = self._private_key.public_key()
        self._issuer = issuer
        self._life_s = life_s
        self._signed_claims = lru_cache(MAX_REMEMBERED_TOKENS)(self._read_signed_claims)

    def issue(self, *, agent_id: str, tenant_id: str, key_id: str, jti: str, wall: float) -> str:
        """A token for an agent that proved to hold a key; `jti` is its own unique id."""
        import jwt  # here, not above: it brings ssl and urllib, which an agent never needs

        claims = {
            "sub": agent_id,
            "tenant_id": tenant_id,
            "key_id": key_id,
            "iat": int(wall),
            "exp": int(wall + self._life_s),
            "iss": self._issuer,
            "aud": _AUDIENCE,
            "jti": jti,
        }
        return jwt.encode(claims, self._private_key, algorithm=_ALGORITHM)

    @forgetful
    def check(self, token: str, wall: float) -> Claims:
        """The claims of a token that this issuer made and that has not expired.

        Raises RemoteProtocolError 401 for any other text. The signature of a token that comes again was verified.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise _refused(f"expected a token of at most {MAX_TOKEN_BYTES} bytes, got more")
        if not _COMPACT_JWS.fullmatch(token):
            raise _refused("expected a token of three base64url parts")
        claims = self._signed_claims(token)
        if claims.expires_at <= wall:
            raise _refused("the token has expired")
        if not claims.not_before <= wall:
            raise _refused("the token is not valid yet")
        if claims.issued_at > wall + CLOCK_DRIFT_S:  # else what a wrong clock made in the future would live until then
            raise _refused("the token is from the future: the platform's clock was set back")
        return claims

    def _read_signed_claims(self, token: str) -> Claims:
        """What this issuer has signed; raises for anything else.

        Nothing a header names is used but `alg`, which must be the one algorithm. PyJWT reads the clock for its time
        checks, so they are off.
        """
        import jwt

        try:
            payload = jwt.decode(
                token,
                self._public_key,
                algorithms=[_ALGORITHM],
                issuer=self._issuer,
                audience=_AUDIENCE,
                options={
                    "require": ["iss", "aud"],
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            return msgspec.convert(payload, Claims)
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, RecursionError):
            # The reason is PyJWT's to know: it may quote the token.
            raise _refused("the token was not made by this platform, or not for this use") from None


_ALGORITHM: Final = "EdDSA"
_AUDIENCE: Final = "artcafe-agent"
_COMPACT_JWS: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""RFC 7515 section 7.1."""
_BEGINNING: Final = "eyJ"
"""Of every token of ours: base64url of `{"`."""


def _refused(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(401, reason, "TOK-5")
