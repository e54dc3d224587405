"""What must hold of the times of attempts, renewals and ends (LINK-3 to LINK-6, LINK-10, TOK-2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from artcafe_proto.agent.states import AuthState, LinkState
from artcafe_proto.testing.invariants.table import EPSILON_S

if TYPE_CHECKING:
    from artcafe_proto.events import Offline, RenewalFailed, TokenReceived, TokenRenewed
    from artcafe_proto.testing.invariants.table import Checks
    from artcafe_proto.testing.invariants.watched import Watched

_ROWS: Final[dict[str, tuple[float, float]]] = {
    "authentication": (5.0, 120.0),
    "server": (10.0, 120.0),
    "other": (1.0, 120.0),
    "replaced": (10.0, 3600.0),
}
"""LINK-3's table and LINK-6: the first wait and its cap, before jitter."""

_LONGEST_ASKED_S: Final = 60.0
"""More than any Retry-After of a simulation."""

_REPLACED_RESET_S: Final = 600.0
_RENEWAL_INTERVAL_S: Final = 10.0


class WaitInvariants:
    """When an agent tries, and when it stops trying."""

    def __init__(self, checks: Checks) -> None:
        self._check = checks.check

    def connecting(self, watched: Watched) -> None:
        """It asks for a connection: for an attempt, unless that may be for a call."""
        if not watched.calls:
            self.attempting(watched)

    def attempting(self, watched: Watched) -> None:
        """It tries to get a link."""
        process = watched.process
        if watched.link is not None or watched.retry_at is None:
            return
        early_s = watched.retry_at - process.mono
        holds = process.is_stopping or early_s <= EPSILON_S
        self._check("no attempt before its time", holds, early_s, "s too early")

    def heard(self, watched: Watched) -> None:
        """Something came on the link: if it is old enough, it proved stable (LINK-5)."""
        link = watched.link
        if link is not None and watched.delays_s:
            process = watched.process
            if process.mono - link.up_at >= process.protocol.config.stable_after:
                watched.delays_s = {row: s for row, s in watched.delays_s.items() if row == "replaced"}

    # --- failures -----------------------------------------------------------------------------------------------------

    def waiting(self, watched: Watched, offline: Offline) -> None:
        """An attempt or a link has failed."""
        process = watched.process
        link = watched.link
        watched.retry_at = offline.retry_at
        if link is not None:
            watched.without_link_since = process.mono
        watched.is_renewing = False
        if offline.retry_at is None:
            return
        row, asked_s = self._row_of(watched, offline)
        if row != "replaced" and link is not None and process.mono - link.up_at >= _REPLACED_RESET_S:
            watched.delays_s.pop("replaced", None)
        wait_s = offline.retry_at - process.mono
        at_once = wait_s <= EPSILON_S
        longest_s = 1.2 * _ROWS[row][1]
        bounded = (at_once and not watched.was_at_once) or 0.5 <= wait_s <= max(longest_s, _LONGEST_ASKED_S)
        self._check("waits are within their bounds", bounded, wait_s, "s after", offline.reason)
        watched.was_at_once = at_once
        if not at_once:
            self._look_at_row(watched, row, asked_s, wait_s)

    def _row_of(self, watched: Watched, offline: Offline) -> tuple[str, float]:
        """The row of LINK-3 that what was read and reported belongs to, and what the platform asked to wait."""
        tap = None if watched.reading is None else watched.taps.get(watched.reading)
        if offline.clause == "AUTH-6":
            return "authentication", 0.0
        is_garbled = offline.clause.startswith("RFC")
        if watched.reading is None or tap is None or tap.last_request is None or is_garbled:
            return "other", 0.0
        if tap.is_upgraded:
            link = watched.links.get(watched.reading)
            return _row_of_close(None if link is None else link.close_code), 0.0
        status = tap.answered_status() or 0
        is_refused = (401, 403) if tap.last_request.is_upgrade else (400, 401, 403, 404, 422)
        is_invalid = offline.clause == "AUTH-2" or (status == 200 and b'"valid": false' in tap.answer)
        if status in is_refused or (is_invalid and not tap.last_request.is_upgrade):
            return "authentication", tap.retry_after_s
        return ("server" if status >= 500 else "other"), tap.retry_after_s

    def _look_at_row(self, watched: Watched, row: str, asked_s: float, wait_s: float) -> None:
        config = watched.process.protocol.config
        first_s, cap_s = _ROWS[row]
        delay_s = watched.delays_s.get(row, first_s)
        growth = config.fixed_wait_growth if row in ("authentication", "server") else 2.0
        watched.delays_s[row] = min(delay_s * growth, cap_s)
        least_s = delay_s * (1.0 - config.jitter / 2) if row == "other" else delay_s
        most_s = delay_s if row == "other" else delay_s * (1.0 + config.jitter / 5)
        holds = max(least_s, asked_s) - EPSILON_S <= wait_s <= max(most_s, asked_s) + EPSILON_S
        self._check("each failure waits as its row says", holds, row, delay_s, "s, asked", asked_s, "s, not", wait_s)

    # --- the end ------------------------------------------------------------------------------------------------------

    def stopping(self, watched: Watched, *, drain: bool) -> None:
        """It was told to stop."""
        protocol = watched.process.protocol
        state = protocol.state
        is_idle = state.link is LinkState.DOWN and state.auth in (AuthState.NONE, AuthState.READY)
        holds = protocol.is_stopped or (drain and not is_idle)
        self._check("a stop cuts a wait short", holds, state.auth, state.link)
        allowed_s = protocol.config.drain_timeout + 2 * protocol.config.close_timeout
        watched.stops_by = min(watched.stops_by, watched.process.mono + allowed_s)

    def gave_up(self, watched: Watched) -> None:
        """It has stopped by itself."""
        allowed_s = watched.process.protocol.config.give_up_after or math.inf
        lonely_s = watched.process.mono - watched.without_link_since if watched.link is None else 0.0
        self._check("an agent gives up after so long without a link", lonely_s >= allowed_s - EPSILON_S, lonely_s, "s")

    # --- tokens -------------------------------------------------------------------------------------------------------

    def token(self, watched: Watched, event: TokenReceived | TokenRenewed) -> None:
        """A token came."""
        watched.renew_at = math.inf if event.renew_at is None else event.renew_at
        watched.is_token_refused = watched.is_renewing = False

    def aged(self, watched: Watched, drift_s: float) -> None:
        """The clocks parted, which brings the end of the token nearer; the renewal is due now at the earliest."""
        aged_at = watched.renew_at - max(drift_s, 0.0)
        watched.renew_at = min(watched.renew_at, max(aged_at, watched.process.mono))

    def renewing(self, watched: Watched) -> None:
        """A renewal begins."""
        mono = watched.process.mono
        is_apart = mono >= watched.no_renewal_before - EPSILON_S
        self._check("renewals keep their distance", is_apart, watched.no_renewal_before - mono, "s too early")
        is_due = watched.is_token_refused or mono >= watched.renew_at - EPSILON_S
        self._check("a token is renewed in its time", is_due, watched.renew_at - mono, "s too early")
        watched.is_renewing = True
        watched.no_renewal_before = mono + _RENEWAL_INTERVAL_S

    def renewal_failed(self, watched: Watched, event: RenewalFailed) -> None:
        """A renewal has failed."""
        wait_s = event.retry_at - watched.process.mono
        self._check("renewals keep their distance", wait_s >= _RENEWAL_INTERVAL_S - EPSILON_S, wait_s, "s")
        watched.no_renewal_before = event.retry_at
        watched.is_renewing = False

    # --- after everything ---------------------------------------------------------------------------------------------

    def at_rest(self, watched: Watched) -> None:
        """Something happened, and all that follows from it."""
        process, link = watched.process, watched.link
        give_up_after_s = process.protocol.config.give_up_after
        if link is None:
            if give_up_after_s is not None and not process.is_stopping:
                is_late = watched.is_due(watched.without_link_since + give_up_after_s)
                self._check("an agent gives up after so long without a link", not is_late, "it does not")
        elif not (watched.is_renewing or process.is_stopping):
            is_late = watched.is_due(max(watched.renew_at, watched.no_renewal_before))
            self._check("a token is renewed in its time", not is_late, "it is not")
        if process.is_stopping:
            self._check("a drain ends in time", not watched.is_due(watched.stops_by), process.agent_id)


def _row_of_close(code: int | None) -> str:
    """Close codes that have a row of their own; None: it ended otherwise."""
    if code in (1008, 4001, 4401, 4403):
        return "authentication"
    return "replaced" if code == 4409 else "other"
