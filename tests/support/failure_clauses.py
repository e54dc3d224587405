"""What the clauses say of every step of an agent's way, times everything that can go wrong there.

This is read from LINK-2 to LINK-8, AUTH-6, AUTH-7, TOK-2, TOK-3, CMD-8 and STAT-3, not from the code. A cell is a step
and a failure; either one rule speaks of it or one reason says why it cannot be.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final, Literal, NamedTuple

from support.strikes import (
    ACCEPTS,
    AUTH_STATUSES,
    BODIES,
    CLOSES,
    FAILURES,
    STATUSES,
    TOKENS,
    WRONG_101,
)

STEPS: Final = (
    "connect", "TLS", "challenge", "sign", "verify", "upgrade",  # an attempt
    "first frame", "steady",  # a link: just up, and up for `STEADY_S`
    "renewal connect", "renewal challenge", "renewal sign", "renewal verify",  # TOK-2, beside a steady link
    "drain", "drain try", "closing",  # over a link; without one (LINK-10's one immediate try); its closing handshake
)  # fmt: skip


class Row(NamedTuple):
    """A row of LINK-3's table, or LINK-6: the waits without jitter, and the bounds that LINK-4 gives the jitter."""

    first_s: float
    cap_s: float
    low: float
    high: float

    def bounds(self, times: int, jitter: float) -> tuple[float, float]:
        """Least and longest wait of the failure that follows `times` others of its row."""
        wait_s = min(self.first_s * 2**times, self.cap_s)
        return (wait_s * self.low, wait_s * self.high) if jitter else (wait_s, wait_s)


AUTH = Row(5.0, 120.0, 1.0, 1.2)
SERVER = Row(10.0, 120.0, 1.0, 1.2)
OTHER = Row(1.0, 120.0, 0.5, 1.0)
REPLACED = Row(10.0, 3600.0, 1.0, 1.2)


class Outcome(NamedTuple):
    """What a failure leads to. `row` is None where it costs nothing at all."""

    row: Row | None
    clause: str
    after_s: float = 0.0
    """Until the agent finds out, by a deadline of LINK-7, LINK-8 or AUTH-6."""
    first_at_once: Literal["no", "unreported", "reported"] = "no"
    """LINK-3's last row: at once, once in a row. A dead reused connection is no failure, so nothing is reported."""
    then: str = ""
    """The first request of the next attempt; "" is what the step says: see `expectation`."""
    goodbye: int | None = None
    """The code of the agent's close frame."""
    retry_after_s: float = 0.0


class Rule(NamedTuple):
    steps: Iterable[str]
    failures: Iterable[str]
    outcome: Outcome


EXCHANGES = ("challenge", "verify")
UPGRADES = ("upgrade", "drain try")
ANSWERED = (*EXCHANGES, *UPGRADES)
LINKS = ("first frame", "steady", "drain")
ENDS = ("timeout", "reset", "eof")
TWO = ("not JSON", "wrong types")

RULES: Final = (
    # LINK-3: cannot connect, TLS, a lost connection; LINK-8: the deadlines
    Rule(("connect", "TLS", "drain try"), ["refused"], Outcome(OTHER, "LINK-3")),
    Rule(("connect", "TLS"), ["timeout", "accept-and-close"], Outcome(OTHER, "LINK-3")),
    Rule(["TLS"], ["reset", "eof"], Outcome(OTHER, "LINK-3")),
    Rule(("connect", "TLS"), ["half-open"], Outcome(OTHER, "LINK-8", after_s=10.0)),
    Rule(("connect", "TLS"), ["accept-and-mute"], Outcome(OTHER, "LINK-8", after_s=15.0)),
    Rule(("challenge", "drain try"), ENDS, Outcome(OTHER, "LINK-3")),
    Rule(ANSWERED, ["cut short", "unasked bytes"], Outcome(OTHER, "RFC 9112")),
    Rule(ANSWERED, ["half-open", "dripping body"], Outcome(OTHER, "LINK-8", after_s=15.0)),
    # LINK-2: a reused connection that was dead; a verify is not repeated
    Rule(["verify"], ENDS, Outcome(OTHER, "LINK-3", first_at_once="unreported", then="challenge")),
    Rule(["upgrade"], ENDS, Outcome(OTHER, "LINK-3", first_at_once="unreported", then="upgrade")),
    Rule(["sign"], ["reset", "eof"], Outcome(None, "LINK-2", then="verify")),
    # AUTH-6: the signer; LINK-3: bytes that answer nothing
    Rule(["sign"], ["refused", "timeout"], Outcome(AUTH, "AUTH-6")),
    Rule(["sign"], ["half-open"], Outcome(AUTH, "AUTH-6", after_s=60.0)),
    Rule(["sign"], ["unasked bytes"], Outcome(OTHER, "RFC 9112")),
    # AUTH-7 and LINK-3: what a status means
    Rule(EXCHANGES, AUTH_STATUSES, Outcome(AUTH, "AUTH-7")),
    Rule(EXCHANGES, ["301"], Outcome(OTHER, "AUTH-7")),
    Rule(EXCHANGES, ["429"], Outcome(OTHER, "AUTH-7")),
    Rule(EXCHANGES, ["500", "503"], Outcome(SERVER, "AUTH-7")),
    Rule(UPGRADES, ["401", "403"], Outcome(AUTH, "LINK-3", then="challenge")),  # TOK-3: it rejects the token
    Rule(UPGRADES, ["301", "400", "404", "422", "429"], Outcome(OTHER, "LINK-3")),
    Rule(UPGRADES, ["500", "503"], Outcome(SERVER, "LINK-3")),
    *(
        Rule(steps, [failure], Outcome(row, clause, retry_after_s=retry_after_s, then=then))
        for steps, clause in ((EXCHANGES, "AUTH-7"), (UPGRADES, "LINK-3"))
        for failure, row, retry_after_s, then in (
            ("429, Retry-After", OTHER, 77.0, ""),
            ("503, Retry-After", SERVER, 77.0, ""),
            ("503, Retry-After a date", SERVER, 88.0, ""),
            ("503, Retry-After 2 h", SERVER, 3600.0, "challenge"),  # the token does not last as long
        )
    ),
    # AUTH-7: what a body means; a bad 101 (RFC 6455 section 4.1)
    Rule(EXCHANGES, TWO, Outcome(OTHER, "AUTH-7")),
    Rule(UPGRADES, TWO, Outcome(OTHER, "LINK-3")),
    Rule(ANSWERED, ["huge body", "endless body"], Outcome(OTHER, "AUTH-7")),
    Rule(["verify"], ["valid:false"], Outcome(AUTH, "AUTH-7")),
    Rule(UPGRADES, WRONG_101, Outcome(OTHER, "RFC 6455")),
    Rule(EXCHANGES, ["unasked 101"], Outcome(OTHER, "RFC 9112")),
    # TOK-3: one use whatever `exp` says, checked from then on; LINK-3: the refusal of an expired one
    Rule(["verify"], ["token expired on receipt"], Outcome(None, "TOK-3", then="upgrade")),
    Rule(
        ["upgrade"],
        ["token expired on receipt"],
        Outcome(AUTH, "LINK-3", first_at_once="reported", then="challenge"),
    ),
    Rule(
        ["upgrade"],
        ["token expires between"],
        Outcome(AUTH, "LINK-3", after_s=10.0, first_at_once="reported", then="challenge"),
    ),
    Rule(["first frame"], ["token expired on receipt"], Outcome(OTHER, "LINK-3", then="challenge")),
    Rule(LINKS, ["token expires between"], Outcome(OTHER, "LINK-3", after_s=11.0, then="challenge")),
    # LINK-5: whoever accepts and hangs up, or falls silent, has proved nothing
    Rule(UPGRADES, ["accept-and-close"], Outcome(OTHER, "LINK-3")),
    Rule(UPGRADES, ["accept-and-mute"], Outcome(OTHER, "LINK-7", after_s=40.0)),
    # a link: lost (LINK-3), silent (LINK-7), closed (LINK-3, LINK-6)
    Rule(LINKS, [*ENDS, "cut short"], Outcome(OTHER, "LINK-3")),
    Rule(("first frame", "steady"), ["half-open"], Outcome(OTHER, "LINK-7", after_s=40.0)),
    *(
        Rule(LINKS, [name], Outcome(OTHER, "LINK-3", goodbye=CLOSES[name]))
        for name in CLOSES
        if CLOSES[name] not in (1008, 4001, 4401, 4403, 4409)
    ),
    *(
        Rule(LINKS, [f"close {code}"], Outcome(AUTH, "LINK-3", goodbye=code, then="challenge"))  # TOK-3
        for code in (1008, 4001, 4401, 4403)
    ),
    Rule(LINKS, ["close 4409"], Outcome(REPLACED, "LINK-6", goodbye=4409)),
    # what is said on a link: no message (MSG-1), too much (MSG-6), not in frames (RFC 6455); some is life (LINK-7)
    Rule(LINKS, TWO, Outcome(None, "MSG-1")),
    Rule(LINKS, ["dripping body"], Outcome(None, "LINK-7")),
    Rule(LINKS, ["huge body", "endless body"], Outcome(OTHER, "MSG-6", goodbye=1009)),
    Rule(LINKS, ["unasked bytes"], Outcome(OTHER, "RFC 6455", goodbye=1002)),
    # CMD-8, LINK-8: a drain over a link that fell silent, and a closing handshake that is not answered, or otherwise
    Rule(["drain"], ["half-open"], Outcome(None, "CMD-8")),
    Rule(["closing"], [*ENDS, "cut short", "unasked bytes", *CLOSES], Outcome(None, "STAT-3")),
    Rule(["closing"], ["huge body", "endless body"], Outcome(None, "STAT-3")),
    Rule(["closing"], ["half-open", *TWO, "dripping body"], Outcome(None, "LINK-8", after_s=5.0)),
)  # fmt: skip

NO_CONNECTION = "there is no connection yet"
NO_REQUEST = "nothing was asked that this would answer"
UPGRADED = "after the 101 there is no HTTP: whatever is sent there is `unasked bytes`"
NO_TOKEN = "there is no token yet, or it is not what fails here"
NOT_ACCEPTING = "nothing is accepted here: see `connect` and `upgrade`"
NO_LINK = "there is no WebSocket that could be closed"
HTTP: Final = (*STATUSES, *BODIES)
HANDSHAKES: Final = (*WRONG_101, "unasked 101")

IMPOSSIBLE: Final[tuple[tuple[Iterable[str], Iterable[str], str], ...]] = (
    (("connect", "TLS"), (*HTTP, *HANDSHAKES, "cut short", "unasked bytes"), NO_CONNECTION),
    (["connect"], ("reset", "eof"), "an attempt to connect that is reset is `refused`"),
    (("challenge", "verify", "upgrade"), ["refused"], "the connection was made: see `connect`"),
    (LINKS, ["refused"], "the connection was made: see `connect` and `drain try`"),
    (["sign"], (*HTTP, *HANDSHAKES, "cut short"), NO_REQUEST + ": see `unasked bytes`"),
    (("connect", "TLS", "challenge", "sign", "verify", *UPGRADES), CLOSES, NO_LINK),
    (("connect", "TLS", "challenge", "sign"), TOKENS, NO_TOKEN),
    (["verify"], ["token expires between"], NO_TOKEN),
    (UPGRADES, ["valid:false"], "an opening handshake has no verdict in a body"),
    (["drain try"], TOKENS[1:], "a drain's try uses the token by the same rule: see `drain` and `upgrade`"),
    (EXCHANGES, WRONG_101, "no handshake was offered: see `unasked 101`"),
    (UPGRADES, ["unasked 101"], "it was asked for"),
    (("challenge", "sign", "verify"), ACCEPTS, NOT_ACCEPTING),
    (LINKS, (*STATUSES, *HANDSHAKES), UPGRADED),
    (LINKS, ("valid:false", *ACCEPTS), UPGRADED),
    (("steady", "drain"), ["token expired on receipt"], "it was renewed at once: see `renewal verify`"),
    (["closing"], ("refused", *STATUSES, *HANDSHAKES, *TOKENS, *ACCEPTS), UPGRADED),
)

RENEWAL_OF: Final = {f"renewal {step}": step for step in ("connect", "challenge", "sign", "verify")}


def rules(step: str, failure: str) -> list[Outcome]:
    """The outcomes of all rules that speak of a cell."""
    return [rule.outcome for rule in RULES if step in rule.steps and failure in rule.failures]


def reasons(step: str, failure: str) -> list[str]:
    """Why a cell cannot be."""
    return [reason for steps, failures, reason in IMPOSSIBLE if step in steps and failure in failures]


def of_link(step: str, failure: str) -> bool:
    """Whether a failure beside a renewal is the link's own, which is then as `steady` (TOK-2)."""
    return step in RENEWAL_OF and failure in CLOSES


def row_and_column(step: str, failure: str) -> tuple[str, str]:
    """Where in the tables a cell stands: a renewal fails as an attempt does, and its link as any."""
    return ("steady" if of_link(step, failure) else RENEWAL_OF.get(step, step)), failure


def expectation(step: str, failure: str) -> Outcome:
    """What the clauses say of a cell."""
    (outcome,) = rules(*row_and_column(step, failure))
    base = RENEWAL_OF.get(step, step)
    if outcome.row is None:
        beside_link = step in RENEWAL_OF and outcome.then == "upgrade"  # which a renewal never asks for (TOK-2)
        return outcome._replace(then="") if beside_link else outcome
    first = "upgrade" if base in (*UPGRADES, *LINKS) or of_link(step, failure) else "challenge"
    return outcome._replace(then=outcome.then or first)


CELLS: Final = tuple(product(STEPS, FAILURES))
POSSIBLE: Final = [cell for cell in CELLS if not reasons(*row_and_column(*cell))]
