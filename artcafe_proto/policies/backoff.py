"""Which failure waits how long (LINK-3, LINK-4, LINK-6)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from artcafe_proto.limits import MAX_BACKOFF_S, MAX_REPLACED_BACKOFF_S, REPLACED_BACKOFF_S

if TYPE_CHECKING:
    from random import Random


class FailureKind(Enum):
    """The rows of LINK-3's table, and the one of LINK-6."""

    AUTHENTICATION = "authentication"
    SERVER = "server"
    OTHER = "other"
    REPLACED = "replaced"


class Reset(Enum):
    """What has the waits of a row start over."""

    STABLE = "the link was up for `stable_after`"
    UNCONTESTED = "the link was up for long, and nobody replaced this agent"


class Wait(NamedTuple):
    """How long a failure waits, and the next ones of its row in a row. Times are seconds."""

    first_s: float
    cap_s: float
    growth: float | None
    """Each wait is the one before times this. None: `fixed_wait_growth`, where the guide has a fixed wait (LINK-4)."""
    spread: float
    """A wait is longer by up to jitter ÷ `spread` of itself; where that is negative, shorter, so that the cap holds."""
    reset: Reset


WAITS: Final = {
    FailureKind.AUTHENTICATION: Wait(5.0, MAX_BACKOFF_S, None, 5.0, Reset.STABLE),
    FailureKind.SERVER: Wait(10.0, MAX_BACKOFF_S, None, 5.0, Reset.STABLE),
    FailureKind.OTHER: Wait(1.0, MAX_BACKOFF_S, 2.0, -2.0, Reset.STABLE),
    FailureKind.REPLACED: Wait(REPLACED_BACKOFF_S, MAX_REPLACED_BACKOFF_S, 2.0, 5.0, Reset.UNCONTESTED),
}

Refusal = Literal["exchange", "upgrade", "close"]
"""What says no: the response to a challenge or a verify request, the one to an opening handshake, or a close frame."""

KINDS: Final[dict[tuple[Refusal, int], FailureKind]] = {
    ("exchange", 400): FailureKind.AUTHENTICATION,
    ("exchange", 401): FailureKind.AUTHENTICATION,
    ("exchange", 403): FailureKind.AUTHENTICATION,
    ("exchange", 404): FailureKind.AUTHENTICATION,
    ("exchange", 422): FailureKind.AUTHENTICATION,
    ("upgrade", 401): FailureKind.AUTHENTICATION,
    ("upgrade", 403): FailureKind.AUTHENTICATION,
    ("close", 1008): FailureKind.AUTHENTICATION,
    ("close", 4001): FailureKind.AUTHENTICATION,
    ("close", 4401): FailureKind.AUTHENTICATION,
    ("close", 4403): FailureKind.AUTHENTICATION,
    ("close", 4409): FailureKind.REPLACED,
}
"""The rows of statuses and close codes (AUTH-7, LINK-3, LINK-6). Of others, statuses from 500 on are SERVER."""


def failure_kind(refusal: Refusal, code: int) -> FailureKind:
    """The row of an HTTP status or a close code."""
    is_server_error = refusal != "close" and code >= 500
    return KINDS.get((refusal, code), FailureKind.SERVER if is_server_error else FailureKind.OTHER)


class Failure(msgspec.Struct, frozen=True, gc=False):
    """Why an attempt or a link ended, and what it costs."""

    kind: FailureKind
    reason: str
    clause: str
    retry_after_s: float = 0.0
    close_code: int = 0
    """Of the close frame that the platform began; 1006 if the link's connection ended without one, else 0."""
    at_once: bool = False
    """The next attempt needs no wait, and the waits do not grow: only the token had become old (TOK-3)."""

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
        self._delays = {kind: wait.first_s for kind, wait in WAITS.items()}
        self.times_replaced: int = 0
        """How often in a row, as far as a reset does not part them."""

    def wait_s(self, failure: Failure) -> float:
        """Seconds to wait after `failure`; the next of its row in a row waits longer."""
        if failure.at_once:
            return 0.0
        kind, wait = failure.kind, WAITS[failure.kind]
        self.times_replaced += kind is FailureKind.REPLACED
        delay = self._delays[kind]
        growth = self._fixed_wait_growth if wait.growth is None else wait.growth
        self._delays[kind] = min(delay * growth, wait.cap_s)
        delay *= 1.0 + self._jitter * self._rng.random() / wait.spread
        return max(delay, failure.retry_after_s)

    def reset(self, reset: Reset) -> None:
        """Start over the waits whose `Wait.reset` is `reset` (LINK-5, LINK-6)."""
        for kind, wait in WAITS.items():
            if wait.reset is reset:
                self._delays[kind] = wait.first_s
        if reset is Reset.UNCONTESTED:
            self.times_replaced = 0


_MEANINGS: Final = {
    1005: "it gave no code",
    4001: "the token is not accepted",
    4401: "the token is not accepted",
    4403: "this agent may not connect, perhaps its key was revoked",
    4408: "it heard nothing for too long",
    4409: "a newer connection of this agent has replaced it",
}


def ended_by_itself(reason: str) -> Failure:
    """What it costs that a connection has ended without a close frame (RFC 6455 section 7.1.5)."""
    return Failure(FailureKind.OTHER, f"the connection ended: {reason}", "LINK-3", close_code=1006)


def close_failure(code: int, reason: str) -> Failure:
    """What a close frame of the platform's means and costs (LINK-3, LINK-6); `reason` is what it says itself."""
    kind = failure_kind("close", code)
    clause = "LINK-6" if kind is FailureKind.REPLACED else "LINK-3"
    said = "".join(character for character in reason if character.isprintable()) or _MEANINGS.get(code, "")
    text = f"the platform closed the link with {code}" if code != 1005 else "the platform closed the link"
    return Failure(kind, f"{text}: {said}" if said else text, clause, close_code=code)
