"""When the joint rules run.

An input looks at the clocks, tells a half of the agent what came, and leaves the rules due. They run when a drain has
come to the end of the events, when `state`, `is_stopped` or a deadline is looked at, and before the next input, unless
that is a message of the same read or the answer to a command: what many of those lead to is found out once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.instants import BEFORE_ALL, sound_instant
from artcafe_proto.limits import CLOCK_DRIFT_S

if TYPE_CHECKING:
    from artcafe_proto.agent.rules import JointRules
    from artcafe_proto.instants import Instant
    from artcafe_proto.outputs import AgentOutputs


class Turns:
    """The moment of the last input, and whether the joint rules are due."""

    __slots__ = ("_outputs", "_rules", "_told", "due_at", "now")

    def __init__(self, outputs: AgentOutputs, rules: JointRules) -> None:
        self._outputs = outputs
        self._rules = rules
        self._told: Instant = BEFORE_ALL  # of the last input, as it was told
        self.now: Instant = BEFORE_ALL
        """The same as it counts."""
        self.due_at: Instant | None = None
        """For which moment the rules are due, if they are."""

    def begin(self, now: Instant) -> Instant:
        """An input begins that may lead to something. Returns the moment that it counts for."""
        now = self.look(now)
        self.due_at = now
        return now

    def look(self, now: Instant) -> Instant:
        """Find out what earlier inputs led to, and look at the clocks. The same object again is the same read.

        Raises LocalProtocolError for what is no `Instant`, and while too many outputs are undrained.
        """
        if now is not self._told:
            self._outputs.check_drained()
        self.conclude()
        return self.look_at_clocks(now)

    def look_at_clocks(self, now: Instant) -> Instant:
        """The moment as it counts: never earlier than the last; and whether both clocks went on alike (LINK-7)."""
        last = self.now
        if now is self._told:
            return last
        told, now = now, sound_instant(now, last)
        if now is not last and last is not BEFORE_ALL:
            drift_s = (now.wall - now.mono) - (last.wall - last.mono)
            if abs(drift_s) > CLOCK_DRIFT_S:
                self._rules.clocks_parted(drift_s, now)
        self._told, self.now = told, now
        return now

    def conclude(self) -> None:
        """Run the joint rules, if they are due."""
        now = self.due_at
        if now is not None:
            self.due_at = None
            self._rules.apply(now)
