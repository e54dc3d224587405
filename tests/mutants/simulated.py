"""Bugs to plant in the core that the simulation alone has to find: `tests/simulated_bugs.py` says how many it does.

They were chosen before anybody looked whether it finds them, and each breaks a clause where no reader of one file would
see it. `old` stands once in the file.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Bug(NamedTuple):
    """In `path`, from the root, `old` becomes `new`."""

    name: str
    path: str
    old: str
    new: str


_OUTBOX: Final = "artcafe_proto/policies/outbox.py"
_COMMANDS: Final = "artcafe_proto/agent/commands.py"
_LIVENESS: Final = "artcafe_proto/policies/liveness.py"
_LINKS: Final = "artcafe_proto/links.py"
_DELIVERY: Final = "artcafe_proto/hub/delivery.py"
_BACKOFF: Final = "artcafe_proto/policies/backoff.py"
_RULES: Final = "artcafe_proto/agent/rules.py"
_MACHINE: Final = "artcafe_proto/agent/machine.py"

BUGS: Final = (
    # --- the outbox ---
    Bug(
        "what was sent on a lost link waits in reverse order",
        _OUTBOX,
        "self._waiting.extendleft(reversed(self._sent))",
        "self._waiting.extendleft(self._sent)",
    ),
    Bug(
        "the ping of a lost link is still waited for",
        _OUTBOX,
        "        self._sent.clear()\n        self._ping = None\n",
        "        self._sent.clear()\n",
    ),
    Bug(
        "the pong to an earlier ping settles",
        _OUTBOX,
        "if self._ping is None or answered < self._ping:",
        "if self._ping is None or not answered:",
    ),
    Bug(
        "messages that wait are not among the unsettled ones",
        _OUTBOX,
        "return [item.message_id for items in (self._sent, self._waiting) for item in items if not item.command_id]",
        "return [item.message_id for item in self._sent if not item.command_id]",
    ),
    # --- commands of the agent and its ledger ---
    Bug(
        "commands that run are not among the unsettled ones",
        _COMMANDS,
        "return (*self.outbox.unsettled_commands, *running, *self.queued)",
        "return (*self.outbox.unsettled_commands, *self.queued)",
    ),
    Bug(
        "an overloaded command is remembered",
        _COMMANDS,
        "        if accepted >= self._max_accepted:\n",
        "        if accepted >= self._max_accepted:\n            self._ledger.open(command_id, fingerprint(command))\n",
    ),
    Bug(
        "settled commands are forgotten at once",
        "artcafe_proto/policies/ledger.py",
        "while len(self._settled) > MAX_SETTLED_COMMANDS:",
        "while len(self._settled) > 2:",
    ),
    Bug(
        "the youngest command starts first",
        _COMMANDS,
        "command_id, accepted = next(iter(self.queued.items()))",
        "command_id, accepted = next(reversed(self.queued.items()))",
    ),
    Bug(
        "timeouts wait for the last of them",
        _COMMANDS,
        "self._earliest = min(open_deadlines, default=math.inf)",
        "self._earliest = max(open_deadlines, default=math.inf)",
    ),
    Bug(
        "a timeout makes those of queued commands forgotten",
        _COMMANDS,
        "        open_deadlines += [queued.deadline for queued in self.queued.values()]\n",
        "",
    ),
    # --- life signs ---
    Bug(
        "a sign of life does not count after a ping",
        _LIVENESS,
        "moved_at = max(self._received_at, self._moved_at, pinged_at)",
        "moved_at = max(self._moved_at, pinged_at)",
    ),
    Bug(
        "a pong owed while writing was paused is forgotten",
        _LINKS,
        "            self.pong(self._owed_pong)\n",
        "",
    ),
    # --- delivery ---
    Bug(
        "a new link gets the newest commands first",
        _DELIVERY,
        "line.to_send.extend((command.number, command_id)",
        "line.to_send.extend((-command.number, command_id)",
    ),
    Bug(
        "the end of a link leaves its window taken",
        _DELIVERY,
        "            line.unanswered.clear()\n",
        "",
    ),
    Bug(
        "an overloaded command goes out again at once",
        _DELIVERY,
        "line.limit = min(len(line.unanswered), self._window - 1)",
        "line.limit = self._window",
    ),
    Bug(
        "what waited for a lost link goes out twice on the next",
        _DELIVERY,
        "            line.to_send.clear()\n",
        "",
    ),
    # --- waits ---
    Bug(
        "Retry-After is not heeded",
        _BACKOFF,
        "return max(delay, failure.retry_after_s)",
        "return delay",
    ),
    Bug(
        "fixed waits are shortened",
        _BACKOFF,
        "else 1.0 + draw / 5.0",
        "else 1.0 - draw / 5.0",
    ),
    Bug(
        "the waits after 4409 start over whatever ends a link",
        _RULES,
        "up_for_s >= REPLACED_RESET_S:",
        "up_for_s >= 0.0:",
    ),
    Bug(
        "a refused agent is any failure",
        _BACKOFF,
        "if status in (400, 401, 403, 404, 422):",
        "if status in (400, 404, 422):",
    ),
    # --- renewals and keys ---
    Bug(
        "a renewed token is not used",
        _MACHINE,
        "self._login.renew(token)",
        "pass",
    ),
    Bug(
        "a renewal goes on when the link is lost",
        "artcafe_proto/agent/parts.py",
        "        self._renewal.abandon()\n        self._login.abandon()\n",
        "        self._login.abandon()\n",
    ),
    Bug(
        "the first key is never tried again",
        "artcafe_proto/agent/login.py",
        "self.current = 1 - key",
        "self.current = 1",
    ),
    # --- the platform's links ---
    Bug(
        "the end of an older link takes the newer one offline",
        "artcafe_proto/hub/hub.py",
        "if agent.presence.epoch == epoch and agent.presence.session is not None:",
        "if agent.presence.session is not None:",
    ),
    Bug(
        "the platform does not ping after silence",
        "artcafe_proto/hub/session.py",
        "elif verdict is Verdict.PING or is_silent:",
        "elif is_silent:",
    ),
    # --- joint rules ---
    Bug(
        "an agent that drains sends no heartbeats",
        _RULES,
        "case AgentTimer.HEARTBEAT if link is not None:",
        "case AgentTimer.HEARTBEAT if link is not None and self._life is Life.RUNNING:",
    ),
    Bug(
        "a stop waits as long as any attempt",
        _MACHINE,
        "            self._timers.cancel(AgentTimer.RETRY)  # one immediate try\n",
        "",
    ),
    Bug(
        "an agent with a link gives up",
        _RULES,
        "if self._link is not None or self._life is not Life.RUNNING:",
        "if self._life is not Life.RUNNING:",
    ),
    Bug(
        "status messages are not spaced",
        "artcafe_proto/policies/status.py",
        'due = [key for key in self._pending if mono >= self._sent_at.get(key, float("-inf")) + STATUS_INTERVAL_S]',
        "due = list(self._pending)",
    ),
    Bug(
        "a call that is cancelled under way leaves its answer to the next",
        "artcafe_proto/agent/calls.py",
        "if position == 0 and self._carried is not None:",
        "if position is None:",
    ),
)
