"""Bugs to plant in the core that the simulation alone has to find: `tests/simulated_bugs.py` says how many it does.

They were chosen before anybody looked whether it finds them, and each breaks a clause where no reader of one file would
see it. `old` stands once in the file.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Bug(NamedTuple):
    """In `path`, from the root, `old` becomes `new`; so it does elsewhere for the bug to matter soon (`besides`)."""

    name: str
    path: str
    old: str
    new: str
    besides: tuple[tuple[str, str, str], ...] = ()

    @property
    def changes(self) -> tuple[tuple[str, str, str], ...]:
        """Every path, what it has there and what that becomes."""
        return ((self.path, self.old, self.new), *self.besides)


_OUTBOX: Final = "artcafe_proto/policies/outbox.py"
_COMMANDS: Final = "artcafe_proto/agent/commands.py"
_LIVENESS: Final = "artcafe_proto/policies/liveness.py"
_LINKS: Final = "artcafe_proto/links.py"
_DELIVERY: Final = "artcafe_proto/platform/delivery.py"
_API: Final = "artcafe_proto/platform/api.py"
_WATCHES: Final = "artcafe_proto/platform/watches.py"
_STREAMS: Final = "artcafe_proto/platform/streams.py"
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
        "self._held = self._tried = self._ping = None",
        "self._held = self._tried = None",
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
        "return [item.message_id for item in self._items() if not item.command_id]",
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
        "        if unanswered >= self._max_accepted:\n",
        "        if unanswered >= self._max_accepted:\n"
        "            self._ledger.open(command_id, fingerprint(command))\n",
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
        "entries = ((each.command.n, command_id)",
        "entries = ((-each.command.n, command_id)",
    ),
    Bug(
        "the end of a link leaves its window taken",
        _DELIVERY,
        "return Window(self._window, list(entries))",
        "taken = {command_id: None for command_id, each in line.pending.items() if each.attempts}\n"
        "        return Window(self._window, list(entries), taken)",
    ),
    Bug(
        "an overloaded command goes out again at once",
        _DELIVERY,
        "window.limit = min(len(window.unanswered), self._window - 1)",
        "window.limit = self._window",
    ),
    Bug(
        "what waited for a lost link goes out twice on the next",
        _DELIVERY,
        "return Window(self._window, list(entries))",
        "return Window(self._window, sorted(list(entries) * 2))",
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
        "FailureKind.AUTHENTICATION: Wait(5.0, MAX_BACKOFF_S, None, 5.0,",
        "FailureKind.AUTHENTICATION: Wait(5.0, MAX_BACKOFF_S, None, -5.0,",
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
        '    ("exchange", 401): FailureKind.AUTHENTICATION,\n    ("exchange", 403): FailureKind.AUTHENTICATION,\n',
        "",
    ),
    # --- renewals and keys ---
    Bug(
        "a renewed token is not used",
        "artcafe_proto/agent/connector.py",
        "self._login.renew(token)",
        "pass",
    ),
    Bug(
        "a renewal goes on when the link is lost",
        "artcafe_proto/agent/connector.py",
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
        "artcafe_proto/platform/hub.py",
        "if linked is not None and linked.presence.session is session:",
        "if linked is not None and linked.presence.session is not None:",
    ),
    Bug(
        "the platform does not ping after silence",
        "artcafe_proto/platform/session.py",
        "elif verdict is Verdict.PING or is_silent:",
        "elif is_silent:",
    ),
    # --- joint rules ---
    Bug(
        "an agent that drains sends no heartbeats",
        "artcafe_proto/agent/messaging.py",
        "            case AgentTimer.HEARTBEAT:\n",
        "            case AgentTimer.HEARTBEAT if self.region.state is LinkState.UP:\n",
    ),
    Bug(
        "a stop waits as long as any attempt",
        _RULES,
        "            self._timers.cancel(AgentTimer.RETRY)  # one immediate try\n",
        "",
    ),
    Bug(
        "an agent with a link gives up",
        _RULES,
        "if self._messaging.link is not None or self.life.state is not Life.RUNNING:",
        "if self.life.state is not Life.RUNNING:",
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

_LIMITS: Final = "artcafe_proto/limits.py"

ALONE: Final[dict[str, Bug]] = {
    "heartbeats are no further apart than their interval": Bug(
        "every other heartbeat is left out",
        "artcafe_proto/agent/link.py",
        "next_heartbeat(self.up_at, self._config.heartbeat_interval, now.mono)",
        "next_heartbeat(self.up_at, 2 * self._config.heartbeat_interval, now.mono)",
    ),
    "silence is answered with a ping": Bug(
        "silence is pinged late",
        _LIVENESS,
        "return self._received_at + self._interval_s",
        "return self._received_at + 1.2 * self._interval_s",
    ),
    "silence after a ping ends a link": Bug(
        "an unanswered ping costs the link late",
        _LIMITS,
        "UNANSWERED_PING_S: Final = 120.0",
        "UNANSWERED_PING_S: Final = 130.0",
    ),
    "only silence ends a link as silent": Bug(
        "silence after a ping costs the link early",
        _LIVENESS,
        "return min(moved_at + self._timeout_s, pinged_at",
        "return min(moved_at + 0.4 * self._timeout_s, pinged_at",
    ),
    "a ping is answered with one pong": Bug(
        "every ping is answered twice",
        _LINKS,
        "            sends.append(SendPong(self.conn, payload))\n",
        "            sends.extend([SendPong(self.conn, payload)] * 2)\n",
    ),
    "a status of its kind goes out once a second": Bug(
        "status messages are spaced too little",
        _LIMITS,
        "STATUS_INTERVAL_S: Final = 1.0",
        "STATUS_INTERVAL_S: Final = 0.5",
    ),
    "each failure waits as its row says": Bug(
        "fixed waits are shortened (alone)",
        _BACKOFF,
        "FailureKind.AUTHENTICATION: Wait(5.0, MAX_BACKOFF_S, None, 5.0,",
        "FailureKind.AUTHENTICATION: Wait(5.0, MAX_BACKOFF_S, None, -5.0,",
    ),
    "a stop cuts a wait short": Bug(
        "a stop waits as long as any attempt (alone)",
        _RULES,
        "            self._timers.cancel(AgentTimer.RETRY)  # one immediate try\n",
        "",
    ),
    "an agent gives up after so long without a link": Bug(
        "an agent gives up late",
        _RULES,
        "self._timers.set(AgentTimer.GIVE_UP, now.mono + give_up_after)",
        "self._timers.set(AgentTimer.GIVE_UP, now.mono + give_up_after + 1.0)",
    ),
    "renewals keep their distance": Bug(
        "renewals are spaced too little",
        _LIMITS,
        "RENEWAL_INTERVAL_S: Final = 10.0",
        "RENEWAL_INTERVAL_S: Final = 5.0",
    ),
    "a token is renewed in its time": Bug(
        "a renewed token is not used (alone)",
        "artcafe_proto/agent/connector.py",
        "self._login.renew(token)",
        "pass",
    ),
    "commands start in the order in which they came": Bug(
        "the youngest command starts first (alone)",
        _COMMANDS,
        "command_id, accepted = next(iter(self.queued.items()))",
        "command_id, accepted = next(reversed(self.queued.items()))",
    ),
    "a timeout is answered in its time": Bug(
        "a timeout makes those of queued commands forgotten (alone)",
        _COMMANDS,
        "        open_deadlines += [queued.deadline for queued in self.queued.values()]\n",
        "",
    ),
    "responses and messages go out in order": Bug(
        "what was sent on a lost link waits in reverse order (alone)",
        _OUTBOX,
        "self._waiting.extendleft(reversed(self._sent))",
        "self._waiting.extendleft(self._sent)",
    ),
    "what is settled was received": Bug(
        "a pong settles what was sent after its ping",
        _OUTBOX,
        "settled = [self._sent.popleft() for _ in range(self._covered)]",
        "settled = [self._sent.popleft() for _ in range(len(self._sent))]",
    ),
    "a message is refused only for want of a place": Bug(
        "there are few places for messages",
        _LIMITS,
        "MAX_UNSETTLED_MESSAGES: Final = 1024",
        "MAX_UNSETTLED_MESSAGES: Final = 4",
    ),
    "who stops tells what the platform lacks": Bug(
        "commands that run are not among the unsettled ones (alone)",
        _COMMANDS,
        "return (*self.outbox.unsettled_commands, *running, *self.queued)",
        "return (*self.outbox.unsettled_commands, *self.queued)",
    ),
    "a call ends once, and in its time": Bug(
        "a call may take twice its time",
        "artcafe_proto/agent/calls.py",
        "mono + self._config.call_timeout)",
        "mono + 2 * self._config.call_timeout)",
    ),
    "an answer after the expiry is late": Bug(
        "a late answer is not told as late",
        _DELIVERY,
        "is_late = earlier is not None",
        "is_late = False",
    ),
    "no more than the window is unanswered": Bug(
        "the window is one too large",
        "artcafe_proto/platform/hub.py",
        "window=config.window)",
        "window=config.window + 1)",
    ),
    "a command goes out once on a connection": Bug(
        "an overloaded line goes on at once",
        _LIMITS,
        "OVERLOADED_RETRY_S: Final = 1.0",
        "OVERLOADED_RETRY_S: Final = 0.5",
    ),
    "commands first go out in the order of acceptance": Bug(
        "a new link gets the newest commands first (alone)",
        _DELIVERY,
        "entries = ((each.command.n, command_id)",
        "entries = ((2**60 - each.command.n, command_id)",
    ),
    "no command waits while later ones are served": Bug(
        "an overloaded command goes behind all others",
        _DELIVERY,
        "_queue(line, window, pending.command)\n            self._emit(CommandDeferred",
        "heapq.heappush(window.to_send, (10**9 + pending.command.n, command_id))\n"
        "            self._emit(CommandDeferred",
    ),
    "AgentOnline and AgentOffline alternate, and epochs rise": Bug(
        "a replaced link goes offline with the epoch of the newer one",
        "artcafe_proto/platform/hub.py",
        "self._offline(older.linked, replaced)",
        "self._offline(session.linked, replaced)",
    ),
    "a response has a status of its operation": Bug(
        "what is for tenants is not there for agents",
        _API,
        'raise ApiError(403, "forbidden", "this is for tenants',
        'raise ApiError(404, "forbidden", "this is for tenants',
    ),
    "a command is known once it is accepted": Bug(
        "the id of an accepted command is told in capitals",
        _API,
        'json_answer(202, {"command_id": command.command_id})',
        'json_answer(202, {"command_id": command.command_id.upper()})',
    ),
    "a command is shown as it is": Bug(
        "every command is shown as one that has succeeded",
        _WATCHES,
        "return json_answer(200, command.public())",
        'return json_answer(200, {**command.public(), "state": "succeeded"})',
    ),
    "a key that was revoked over HTTP is gone": Bug(
        "a key is called revoked and is not",
        _API,
        "call.hub.revoke_key(call.tenant_id, call.ids[0], call.now)",
        "_ = call.tenant_id",
    ),
    "a poll ends with its command or its wait": Bug(
        "a poll is not woken by the end of its command",
        _WATCHES,
        "self._touch(poll.conn)  # which",
        "pass  # which",
    ),
    "an event stream begins with what was missed": Bug(
        "events that nobody hears are not counted",
        _STREAMS,
        "self._numbers[tenant_id] += 1",
        "self._numbers[tenant_id] += tenant_id in self._by_tenant",
    ),
    "the ids of an event stream rise one by one": Bug(
        "heartbeats are counted and not told",
        _STREAMS,
        "if described is None or not streams:",
        'if described is None or not streams or described[0] == "agent.heartbeat":',
    ),
    "silence on an event stream is broken": Bug(
        "a stream goes on without a comment after its first event",
        _WATCHES,
        "if data is KEEP_ALIVE or not session.outputs.is_holding:",
        "if not data:",
    ),
    "one batch is under way, the next or again the same": Bug(
        "a batch that could not be stored is handed out again too soon",
        _LIMITS,
        "STORE_RETRY_S: Final = 1.0",
        "STORE_RETRY_S: Final = 0.5",
    ),
    "a command goes out once it is stored": Bug(
        "a command goes out before it is stored (alone)",
        _DELIVERY,
        "if pending is not None and pending.batch > self._stored:",
        "if pending is not None and pending.batch < 0:",
    ),
    "a pong says that responses are stored": Bug(
        "a pong passes an outcome (alone)",
        "artcafe_proto/platform/held.py",
        "barrier = 0 if self.presence is None else self.presence.outcome_batch",
        "barrier = 0",
    ),
    "the twin of what is stored is the platform's own": Bug(
        "the end of a key is not stored",
        "artcafe_proto/platform/storing.py",
        "batch = self.keeping.put(pack(*change))\n        if agent_id",
        "batch = self.barrier() if change.value is None else self.keeping.put(pack(*change))\n        if agent_id",
    ),
}
"""For invariants of `artcafe_proto.testing`: a bug that no other finds in a short campaign."""
OVER_HTTP: Final = (_API, _WATCHES, _STREAMS)
"""Where only callers find anything."""
