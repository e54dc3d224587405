"""Which failure waits how long (LINK-3, LINK-4, LINK-6)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from artcafe_proto.limits import MAX_BACKOFF_S, MAX_REPLACED_BACKOFF_S, REPLACED_BACKOFF_S

if TYPE_CHECKING:
    from random import Random


class FailureKind(Enum):
    """The rows of LINK-3's table, and the one of LINK-6. A value: first wait, cap (seconds), and whether it is fixed.

    The exponential row is jittered downwards, so that its cap holds; a fixed one is a promise of the guide and is
    only ever stretched (LINK-4).
    """

    AUTHENTICATION = (5.0, MAX_BACKOFF_S, "fixed 5")
    SERVER = (10.0, MAX_BACKOFF_S, "fixed 10")
    OTHER = (1.0, MAX_BACKOFF_S, "exponential")
    REPLACED = (REPLACED_BACKOFF_S, MAX_REPLACED_BACKOFF_S, "fixed, LINK-6")

    @property
    def first_s(self) -> float:
        """The first wait."""
        return self.value[0]

    @property
    def cap_s(self) -> float:
        """The longest wait before it is stretched."""
        return self.value[1]


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Why an attempt or a link ended, and what it costs."""

    kind: FailureKind
    reason: str
    clause: str
    retry_after_s: float = 0.0
    close_code: int = 0
    """Of the close frame that the platform began; 1006 if the link's connection ended without one, else 0."""

    @property
    def explanation(self) -> str:
        """The reason, and what the platform asked for."""
        asked = f"; it asks to wait {self.retry_after_s:g} s" if self.retry_after_s else ""
        return f"{self.reason}{asked}"


class Backoff:
    """The waits of one agent. Every row grows by itself and starts over only when a link proved stable (LINK-5)."""

    def __init__(self, *, jitter: float, fixed_wait_growth: float, rng: Random) -> None:
        self._jitter = jitter
        self._fixed_wait_growth = fixed_wait_growth
        self._rng = rng
        self._delays = {kind: kind.first_s for kind in FailureKind}
        self.times_replaced = 0
        """How often in a row, as far as `reset_replaced` does not part them."""

    def wait_s(self, failure: Failure) -> float:
        """Seconds to wait after `failure`; the next of its row in a row waits longer."""
        kind = failure.kind
        self.times_replaced += kind is FailureKind.REPLACED
        delay = self._delays[kind]
        growth = self._fixed_wait_growth if kind in (FailureKind.AUTHENTICATION, FailureKind.SERVER) else 2.0
        self._delays[kind] = min(delay * growth, kind.cap_s)
        draw = self._jitter * self._rng.random()
        delay *= 1.0 - draw / 2.0 if kind is FailureKind.OTHER else 1.0 + draw / 5.0
        return max(delay, failure.retry_after_s)

    def reset(self) -> None:
        """The link proved stable: LINK-3's delays start over (LINK-5)."""
        for kind in (FailureKind.AUTHENTICATION, FailureKind.SERVER, FailureKind.OTHER):
            self._delays[kind] = kind.first_s

    def reset_replaced(self) -> None:
        """Nobody replaced this agent for long enough: LINK-6's delays start over."""
        self._delays[FailureKind.REPLACED] = FailureKind.REPLACED.first_s
        self.times_replaced = 0


def exchange_failure_kind(status: int) -> FailureKind:
    """The row of an HTTP status that answers a challenge or a verify request (AUTH-7, LINK-3)."""
    if status in (400, 401, 403, 404, 422):
        return FailureKind.AUTHENTICATION
    return FailureKind.SERVER if status >= 500 else FailureKind.OTHER


def upgrade_failure_kind(status: int) -> FailureKind:
    """The row of an HTTP status that answers the opening handshake instead of 101 (LINK-3)."""
    if status in (401, 403):
        return FailureKind.AUTHENTICATION
    return FailureKind.SERVER if status >= 500 else FailureKind.OTHER


_MEANINGS: Final = {
    1005: "it gave no code",
    4001: "the token is not accepted",
    4401: "the token is not accepted",
    4403: "this agent may not connect, perhaps its key was revoked",
    4408: "it heard nothing for too long",
    4409: "a newer connection of this agent has replaced it",
}


def close_failure(code: int, reason: str) -> Failure:
    """What a close frame of the platform's means and costs (LINK-3, LINK-6); `reason` is what it says itself."""
    clause = "LINK-3"
    kind = FailureKind.OTHER
    if code in (1008, 4001, 4401, 4403):
        kind = FailureKind.AUTHENTICATION
    elif code == 4409:
        kind, clause = FailureKind.REPLACED, "LINK-6"
    said = "".join(character for character in reason if character.isprintable()) or _MEANINGS.get(code, "")
    text = f"the platform closed the link with {code}" if code != 1005 else "the platform closed the link"
    return Failure(kind, f"{text}: {said}" if said else text, clause, close_code=code)
