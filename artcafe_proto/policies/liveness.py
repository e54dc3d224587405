"""Is the peer still there? Pings after silence, and what silence after a ping means (LINK-7, HB-3)."""

from __future__ import annotations

from enum import Enum

from artcafe_proto.limits import LATE_TIMER_S, UNANSWERED_PING_S


class Verdict(Enum):
    """What a due timer means."""

    WAIT = "wait"
    PING = "ping"
    LOST = "lost"


class Liveness:
    """One link's silence, in monotonic seconds. Both roles use it.

    Receiving costs one assignment: the timer is not moved, it finds out when it fires that there is nothing to do yet.
    """

    __slots__ = (
        "_interval_s",
        "_last_ping_at",
        "_moved_at",
        "_paused_at",
        "_ping_sent_at",
        "_received_at",
        "_timeout_s",
        "answered",
        "answers_pings",
        "pings",
        "rtt_s",
    )

    def __init__(self, mono: float, *, interval_s: float, timeout_s: float, answers_pings: bool = False) -> None:
        """`answers_pings`: this peer has answered one before, on another link."""
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._received_at = mono
        self._moved_at = mono
        self._ping_sent_at: float | None = None
        self._last_ping_at = mono
        self._paused_at: float | None = None
        self.answers_pings: bool = answers_pings
        """Whether the peer has ever answered a ping. From one that has not, anything that comes is an answer."""
        self.pings: int = 0
        """Number of the last ping; numbers rise within a link."""
        self.answered: int = 0
        """Number of the last ping known to be answered."""
        self.rtt_s: float | None = None
        """Round-trip time of the last answered ping."""

    @property
    def deadline(self) -> float | None:
        """When to ask for a verdict next; None while reading is paused."""
        pinged_at = self._ping_sent_at
        if self._paused_at is not None:
            return None
        if pinged_at is None:
            return self._received_at + self._interval_s
        moved_at = max(self._received_at, self._moved_at, pinged_at)
        return min(moved_at + self._timeout_s, pinged_at + max(UNANSWERED_PING_S, self._timeout_s))

    def received(self, mono: float) -> None:
        """Anything at all came from the peer."""
        self._received_at = mono
        if not self.answers_pings:
            self._ping_sent_at = None

    def sent(self, mono: float) -> None:
        """Something of what was written has left: the peer's end takes it."""
        self._moved_at = mono

    def ping(self, mono: float) -> bytes:
        """The payload of a ping written now."""
        self.pings += 1
        self._ping_sent_at = mono
        self._last_ping_at = mono
        return b"%d" % self.pings

    def pong(self, payload: bytes, mono: float) -> bool:
        """A pong answers every ping up to its number; any other pong is a sign of life only. Whether it answers one."""
        if not (payload.isdigit() and len(payload) < 20):
            return False
        number = int(payload)
        if not self.answered < number <= self.pings:
            return False
        self.answered = number
        self.answers_pings = True
        if number == self.pings:
            self.rtt_s = mono - self._last_ping_at
            self._ping_sent_at = None
        return True

    def pause(self, mono: float) -> None:
        """Reading stops: silence does not count until `resume`."""
        if self._paused_at is None:
            self._paused_at = mono

    def resume(self, mono: float) -> None:
        """Reading goes on."""
        if self._paused_at is None:
            return
        paused_at, self._paused_at = self._paused_at, None
        # What was under way when reading stopped may have come since, and a ping gone out.
        self._received_at += mono - max(self._received_at, paused_at)
        if self._ping_sent_at is not None:
            self._ping_sent_at += mono - max(self._ping_sent_at, paused_at)

    def heard_since(self, mono: float) -> bool:
        """Whether anything came after `mono`."""
        return self._received_at > mono

    def silence_s(self, mono: float) -> float:
        """For how long nothing has come."""
        return mono - self._received_at

    def silent_for(self, seconds: float) -> float | None:
        """When silence will have lasted so long (HB-3); None while reading is paused."""
        return None if self._paused_at is not None else self._received_at + seconds

    def verdict(self, mono: float) -> Verdict:
        """What silence until `mono` means. A check that comes late proves nothing: ping and grant the full timeout."""
        due = self.deadline
        if due is None or mono < due:
            return Verdict.WAIT
        if self._ping_sent_at is None or mono - due > LATE_TIMER_S:
            return Verdict.PING
        return Verdict.LOST

    def explain(self, mono: float) -> str:
        """What made the verdict `LOST` at `mono`, for people."""
        pinged_at = self._ping_sent_at
        if pinged_at is not None and mono >= pinged_at + UNANSWERED_PING_S and self._timeout_s < UNANSWERED_PING_S:
            return f"no pong came for {UNANSWERED_PING_S:g} s after a ping"
        return f"nothing came for {self._timeout_s:g} s after a ping"
