"""Challenges: what an agent is willing to sign, and how a platform makes and consumes them (AUTH-2, AUTH-8)."""

from __future__ import annotations

import binascii
import hmac
import json
import re
from base64 import urlsafe_b64encode
from heapq import heappop, heappush
from typing import Final

from artcafe_proto.errors import ApiError, LocalProtocolError, RemoteProtocolError
from artcafe_proto.limits import (
    BUSY_RETRY_AFTER_S,
    CHALLENGE_LIFE_S,
    MAX_CHALLENGE_CHARS,
    MAX_CONSUMED_CHALLENGES,
    MIN_CHALLENGE_CHARS,
)
from artcafe_proto.policies.ssh_wire import pack_string
from artcafe_proto.secrecy import Secretive, forgetful

# --- the agent's side -------------------------------------------------------------------------------------------------


def check_challenge(challenge: str) -> None:
    """Refuse to be a signing oracle (AUTH-2). Raises RemoteProtocolError, which does not quote the challenge.

    A lying platform may want a signature that means something elsewhere. Visible ASCII alone excludes SSH's binary
    structures; a JWT is all visible ASCII, so what could be one's header is refused however it is spelled.
    """
    if not MIN_CHALLENGE_CHARS <= len(challenge) <= MAX_CHALLENGE_CHARS:
        expected = f"{MIN_CHALLENGE_CHARS} to {MAX_CHALLENGE_CHARS}"
        raise _refused(f"expected a challenge of {expected} characters, got {len(challenge)}")
    if not _VISIBLE_ASCII.fullmatch(challenge):
        raise _refused("expected a challenge of visible ASCII characters (0x21 to 0x7E), got others")
    if _could_be_jws_header(challenge.partition(".")[0]):
        raise _refused("expected a random challenge, got what could be a JSON Web Token to be signed")


_VISIBLE_ASCII: Final = re.compile(r"[\x21-\x7e]*")
_NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/]")
_JSON_ENCODINGS: Final = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
_json: Final = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)  # numbers as text: none is too long


def _refused(reason: str) -> RemoteProtocolError:
    return RemoteProtocolError(400, reason, "AUTH-2")


def _could_be_jws_header(text: str) -> bool:
    """Whether some decoder, however lenient, finds a JSON object in `text` as RFC 7515's base64url.

    Decoders in use take either alphabet, skip characters of neither, need no padding, take it anywhere, and drop a
    last character that is too few; all that decode a prefix of our bytes or all of them. So the JSON may be followed
    by anything here; an empty object only by nothing, since a random challenge begins with `{}` once in 65,536.
    """
    symbols = _NOT_BASE64.sub("", text.replace("-", "+").replace("_", "/"))
    symbols = symbols[: len(symbols) - (len(symbols) % 4 == 1)]
    data = binascii.a2b_base64(symbols + "=" * (-len(symbols) % 4))
    return any(_begins_with_object(data.decode(encoding, "replace")) for encoding in _JSON_ENCODINGS)


def _begins_with_object(text: str) -> bool:
    text = text.lstrip().removeprefix("\ufeff").strip()
    if not text.startswith("{"):
        return False
    try:
        found, end = _json.raw_decode(text)
    except RecursionError:
        return True  # nothing random nests this deep
    except ValueError:
        return False
    return bool(found) or end == len(text)


# --- the platform's side ----------------------------------------------------------------------------------------------


class ChallengeBook(Secretive):
    """Challenges that need no memory until they are used (AUTH-8).

    A challenge reads `ac1.NONCE.EXPIRY.MAC`. The MAC binds nonce, expiry, agent and tenant; the latter two do not show,
    so that a challenge for an agent that does not exist looks like any other. The expiry is in milliseconds of the
    monotonic clock: a book, and the secret it is given, live no longer than their process.
    """

    __slots__ = ("_consumed", "_expiries", "_secret", "_used_by")

    @forgetful
    def __init__(self, secret: bytes) -> None:
        """`secret`: at least 32 random bytes, else LocalProtocolError."""
        if len(secret) < 32:
            raise LocalProtocolError(f"expected a secret of at least 32 bytes, got {len(secret)}: draw them at random")
        self._secret = secret
        self._consumed: set[str] = set()
        self._expiries: list[tuple[int, str, str | None]] = []
        """A heap of the consumed with their addresses: what expires next comes first."""
        self._used_by: dict[str | None, int] = {}
        """How many of the consumed came from each address."""

    def issue(self, agent_id: str, tenant_id: str, nonce: bytes, mono: float) -> str:
        """A new challenge around `nonce`: 32 random bytes, else LocalProtocolError."""
        if len(nonce) != 32:
            raise LocalProtocolError(f"expected a nonce of 32 bytes, got {len(nonce)}: draw them at random")
        expiry_ms = int((mono + CHALLENGE_LIFE_S) * 1000)
        head = f"ac1.{_base64url(nonce)}.{expiry_ms}"
        return f"{head}.{self._mac(head, agent_id, tenant_id)}"

    def consume(self, challenge: str, agent_id: str, tenant_id: str, mono: float, address: str | None = None) -> bool:
        """True exactly once for a challenge of this book, for this agent and tenant, that has not expired.

        Whoever gets True has used the challenge up, whatever the signature turns out to be. Raises as `check_room`.
        """
        if len(challenge) > MAX_CHALLENGE_CHARS:
            return False
        # The MAC covers the text itself and is compared as text: a challenge has one spelling, and what passes is ours.
        head, _, mac = challenge.rpartition(".")
        expected = self._mac(head, agent_id, tenant_id)
        if not hmac.compare_digest(expected.encode(), mac.encode("utf-8", "surrogatepass")):
            return False
        expiry_ms, now_ms = int(head.rpartition(".")[2]), mono * 1000
        if expiry_ms <= now_ms or head in self._consumed:
            return False
        self.check_room(mono, address)
        self._consumed.add(head)
        heappush(self._expiries, (expiry_ms, head, address))
        self._used_by[address] = self._used_by.get(address, 0) + 1
        return True

    def check_room(self, mono: float, address: str | None = None) -> None:
        """Raise ApiError where no more can be remembered: to forget one would let it be used twice.

        With 503 if that holds for everybody; with 429 for an address that has used as many as are still free. So of `n`
        addresses that take all they can each gets one part in `n` + 1, and the last part is left to all others (dynamic
        thresholds, by which switches share their memory among ports).
        """
        while self._expiries and self._expiries[0][0] <= mono * 1000:
            _, expired, by = heappop(self._expiries)
            self._consumed.discard(expired)
            self._used_by[by] -= 1
            if not self._used_by[by]:
                del self._used_by[by]
        free = MAX_CONSUMED_CHALLENGES - len(self._consumed)
        if free <= 0:
            message = "too many agents are signing in at this moment: try again in a few minutes"
            raise ApiError(503, "busy", message, retry_after_s=BUSY_RETRY_AFTER_S)
        if address is not None and self._used_by.get(address, 0) >= free:
            message = "too many sign in from this address: try again in a few minutes"
            raise ApiError(429, "too_many_attempts", message, retry_after_s=BUSY_RETRY_AFTER_S)

    def _mac(self, *parts: str) -> str:
        """Each part behind its length, so that no two lists of parts are one text."""
        message = b"".join(pack_string(part.encode("utf-8", "surrogatepass")) for part in parts)
        return _base64url(hmac.digest(self._secret, message, "sha256"))


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
