"""An agent's token and its life (TOK-1, TOK-2, TOK-3, TOK-4)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import msgspec

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.limits import MAX_TOKEN_BYTES, MAX_TOKEN_LIFE_S, RENEW_LEAD_FRACTION, RENEW_LEAD_S
from artcafe_proto.secrecy import Secretive, forgetful

if TYPE_CHECKING:
    from artcafe_proto.instants import Instant


class Token(Secretive):
    """A bearer token, placed on the monotonic clock. Never shows its value, and can be neither copied nor pickled."""

    __slots__ = ("expires_at", "life_s", "renew_at", "used", "value")

    def __init__(self, value: str, *, life_s: float | None, mono: float) -> None:
        """`life_s`: seconds it is good for from `mono`, its receipt; None if it does not say."""
        self.value: Final = value
        self.life_s: Final = life_s
        self.expires_at: float | None = None if life_s is None else mono + life_s
        """Monotonic; None means usable until a 401 (TOK-1)."""
        self.renew_at: float | None = None
        """Monotonic: when to fetch the next one (TOK-2)."""
        if self.expires_at is not None and life_s is not None:
            self.renew_at = self.expires_at - min(RENEW_LEAD_S, RENEW_LEAD_FRACTION * life_s)
        self.used: bool = False
        """Whether a request has carried it."""

    def usable(self, mono: float) -> bool:
        """Whether a request may carry it. The first may, whatever it says of its expiry (TOK-3)."""
        return not self.used or self.expires_at is None or mono < self.expires_at

    def age(self, seconds: float) -> None:
        """Bring its end nearer: the monotonic clock stood still for that long (LINK-7)."""
        if self.expires_at is not None and self.renew_at is not None:
            self.expires_at -= seconds
            self.renew_at -= seconds

    def __repr__(self) -> str:
        life = "of unknown life" if self.life_s is None else f"for {self.life_s:g} s"
        return f"Token({life}, {'used' if self.used else 'unused'})"


@forgetful
def read_token(value: str, date: float | None, now: Instant) -> Token:
    """The token in a response whose Date was `date`, POSIX seconds (TOK-1).

    Raises RemoteProtocolError if it is too large, or is nothing that an Authorization header can carry.
    """
    if len(value) > MAX_TOKEN_BYTES:
        raise RemoteProtocolError(400, f"expected a token of at most {MAX_TOKEN_BYTES} bytes, got more", "TOK-1")
    if not _B64TOKEN.fullmatch(value):
        raise RemoteProtocolError(400, "expected a bearer token of RFC 6750's characters, got others", "TOK-1")
    return Token(value, life_s=_life_s(value, date, now.wall), mono=now.mono)


_B64TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""RFC 6750 section 2.1."""


class _Times(msgspec.Struct, frozen=True, gc=False):
    exp: Any = None
    iat: Any = None


_times_decoder: Final = msgspec.json.Decoder(_Times)


def _life_s(value: str, date: float | None, wall: float) -> float | None:
    """Seconds from receipt to `exp`, at least 0; None if unreadable, absent or absurd (TOK-1)."""
    parts = value.split(".")
    if len(parts) != 3:  # a JWS has three (RFC 7515 section 3.1); the payload of anything else is not ours to read
        return None
    try:
        times = _times_decoder.decode(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    expires, issued = _seconds(times.exp), _seconds(times.iat)
    if expires is None:
        return None
    # The platform's own clock where it is known, so that a wrong clock here does not matter.
    received = next(moment for moment in (date, issued, wall) if moment is not None)
    life_s = max(expires - received, 0.0)
    return life_s if life_s <= MAX_TOKEN_LIFE_S else None


def _seconds(value: object) -> float | None:
    """A JSON number that is a time; RFC 7519's NumericDate."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if isfinite(seconds) else None
