"""The agent's machine: messages and time in, messages and events out; not a byte of framing.

Read `states.py` first, then `parts.py` and `rules.py`: every input here tells a part what came and ends in
`_apply_rules`, which draws the conclusions.

A transport that frames messages itself (in memory, over another WebSocket library) drives this class; everyone else
drives `AgentProtocol`, which has a machine and puts bytes in the place of requests and messages.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from artcafe_proto.agent.authentication import details_request, status_request
from artcafe_proto.agent.dialing import AgentTimer, ExchangeKind
from artcafe_proto.agent.parts import Life
from artcafe_proto.agent.rules import AgentRules
from artcafe_proto.agent.states import LinkInput, LinkState
from artcafe_proto.effects import Disconnect
from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.events import Draining, Online
from artcafe_proto.messages import STATUSES, decode_sound_command, encode_json
from artcafe_proto.misuse import (
    check_failure,
    check_signature,
    check_unsent,
    checked_metrics,
    checked_percentage,
    plain_text,
)
from artcafe_proto.policies.backoff import Failure, FailureKind, Reset, close_failure
from artcafe_proto.secrecy import Secretive

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.effects import AgentMachineEffect
    from artcafe_proto.events import AgentEvent
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus, FinalCode
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.status import DeclaredStatus
    from artcafe_proto.policies.tokens import Token

_CLOSING: Final = LinkState.CLOSING  # once: CPython 3.11 takes ten times as long for a member as for a name

ConnectFailure = Literal["dns", "refused", "timeout", "tls", "proxy", "other"]
"""Causes of `connect_failed`."""


class AgentMachine(Secretive, AgentRules):
    """One agent, for one life from `start` to `Stopped`. Not thread-safe; not for use across a fork."""

    # --- B: world → core: connections ---------------------------------------------------------------------------------

    def connected(self, conn: int, now: Instant) -> None:
        """Answer to `Connect`: the connection is open, TLS verified."""
        now = self._enter(now)
        dialer = self._dialer_of(conn)
        if dialer is not None:
            dialer.connected(now.mono)
        self._apply_rules(now)

    def connect_failed(self, conn: int, cause: ConnectFailure, detail: str, now: Instant) -> None:
        """Answer to `Connect`: it could not be opened. `detail` is for people."""
        now = self._enter(now)
        if (dialer := self._dialer_of(conn)) is None:
            self._connection_ended(conn, detail, now)  # it was open, or is over
        else:
            dialer.gone(now.mono)
            self._failed_on(dialer, Failure(FailureKind.OTHER, f"cannot connect ({cause}): {detail}", "LINK-3"), now)
        self._apply_rules(now)

    def disconnected(self, conn: int, reason: str, now: Instant) -> None:
        """The connection has ended, by the peer or by the network. `reason` is for people."""
        now = self._enter(now)
        self._connection_ended(conn, reason, now)
        self._apply_rules(now)

    def peer_ended(self, conn: int, now: Instant) -> None:
        """The peer has ended its side of `conn`: nothing more will come, so this side ends too."""
        now = self._enter(now)
        if self._dialer_of(conn) is not None or (self._link is not None and conn == self._link.conn):
            self._outputs.disconnects.append(Disconnect(conn, abort=True))
            self._connection_ended(conn, "the peer closed it", now)
        self._apply_rules(now)

    def peer_failed(self, conn: int, error: RemoteProtocolError, now: Instant) -> None:
        """The peer broke HTTP or WebSocket framing on `conn`: nothing more can be read from it."""
        now = self._enter(now)
        failure = Failure(FailureKind.OTHER, error.reason, error.clause)
        if self._link is not None and conn == self._link.conn:
            self._close_link(self._link, error.code, failure, now)
        elif (dialer := self._dialer_of(conn)) is not None:
            self._failed_on(dialer, failure, now)
        self._apply_rules(now)

    def bytes_received(self, conn: int, now: Instant) -> None:
        """Anything at all came in on `conn`: a sign of life (LINK-7). Call it before the input it was part of."""
        now = self._look_at_clocks(now)
        link = self._link
        if link is not None and conn == link.conn:
            link.liveness.received(now.mono)
            if now.mono - link.up_at >= self.config.stable_after:
                self._backoff.reset(Reset.STABLE)
                if self._desk.outbox.release():
                    self._rules_due_at = now
        elif (dialer := self._dialer_of(conn)) is not None:
            dialer.heard()

    def unsent(self, conn: int, nbytes: int, now: Instant, *, unwritten_bytes: int = 0) -> None:
        """So many bytes of what was written on `conn` have not left. When to tell it, `AgentProtocol.unsent` says.

        A transport that frames messages counts their payloads, or more. `unwritten_bytes`: of what was drained, and
        not written yet, so that `nbytes` cannot count it. Raises LocalProtocolError below 0.
        """
        check_unsent(nbytes)
        now = self._enter(now)
        link = self._link
        if link is not None and conn == link.conn:
            link.unsent(nbytes, now.mono, self._outputs.undrained_bytes(conn) + unwritten_bytes)
            self._desk.outbox.watch(link, now.mono)
        self._apply_rules(now)

    # --- B: world → core: exchanges and signatures --------------------------------------------------------------------

    def response_received(self, conn: int, exchange: int, response: HttpResponse, now: Instant) -> None:
        """Answer to `SendRequest`, or to `SendUpgrade` where it was refused."""
        now = self._enter(now)
        dialer = self._dialer_of(conn)
        asked = None if dialer is None else dialer.answered(exchange, reusable=response.reusable)
        if asked is not None and asked.kind is ExchangeKind.CALL:
            refused = self._calls.answered(asked.request, response)
            if refused is not None and refused is self._login.token:
                self._login.reject()
        elif asked is not None and dialer is self._renewal.dialer:
            token = self._renewal.answered(asked, response, now)
            if token is not None:
                self._login.renew(token)
        elif asked is not None:
            self._answered(asked, response, now)
        self._apply_rules(now)

    def upgraded(self, conn: int, exchange: int, now: Instant) -> None:
        """Answer to `SendUpgrade`: the link is up, and its first heartbeat goes out (HB-1)."""
        now = self._enter(now)
        if conn == self._dialer.conn and self._dialer.upgraded(exchange):
            self._link_region.fire(LinkInput.UPGRADED)
            self._link = self._new_link(self._dialer.release(), now)
            self._retried_at_once = False
            self._outputs.events.append(Online(conn))
            self._beat(self._link, now)
        self._apply_rules(now)

    def signed(self, request: int, signature: bytes, now: Instant) -> None:
        """Answer to `Sign`: the signature, in the configured format (AUTH-3). Without a signature, call `sign_failed`.

        Raises LocalProtocolError, and changes nothing, for anything but bytes, at most 16 KiB.
        """
        check_signature(signature)
        now = self._enter(now)
        self._login.signed(request, signature, now.mono)
        self._renewal.signed(request, signature, now.mono)
        self._apply_rules(now)

    def sign_failed(self, request: int, reason: str, now: Instant) -> None:
        """Answer to `Sign`: there is no signature. `reason` is for people; it must hold no secret."""
        now = self._enter(now)
        failure = self._login.sign_failed(request, reason)
        if failure is not None:
            self._fail(failure, now)
        self._renewal.sign_failed(request, reason, now)
        self._apply_rules(now)

    # --- B: world → core: the link ------------------------------------------------------------------------------------

    def text_received(self, conn: int, payload: bytes, now: Instant) -> None:
        """One whole TEXT message; its bytes must have been checked to be UTF-8 (MSG-6)."""
        now = self._enter(now)
        self.hear(conn, payload, now)
        self._apply_rules(now)

    def ping_received(self, conn: int, payload: bytes, now: Instant) -> None:
        """A ping."""
        now = self._look_at_clocks(now)
        link = self._live_link(conn)
        if link is not None:
            link.pong(payload)
            if not link.outflow.has_room:
                self._rules_due_at = now  # a report is waited for, if only for a moment

    def pong_received(self, conn: int, payload: bytes, now: Instant) -> None:
        """A pong."""
        now = self._look_at_clocks(now)
        link = self._live_link(conn)
        if link is not None and link.liveness.pong(payload, now.mono):
            self._desk.settle(self._desk.outbox.ponged(link.liveness.answered), now.mono)
            self._rules_due_at = now

    def close_received(self, conn: int, code: int, reason: str, now: Instant) -> None:
        """A close frame; `code` is 1005 where it named none."""
        now = self._enter(now)
        link = self._link
        if link is not None and conn == link.conn:
            failure = close_failure(code, reason)
            self._reject_opener(failure)
            if self._link_region.state is not LinkState.CLOSING:
                link.close(code, "")
            self._outputs.disconnects.append(Disconnect(conn, abort=False))
            self._lose_link(failure, now)
        self._apply_rules(now)

    # --- B: world → core: what came in one read, for a façade that frames it ------------------------------------------

    def read_began(self, now: Instant) -> Instant:
        """Several inputs may follow that came in at once, until `read_ended`: they are no misuse for their number.

        Returns the moment that all of them are to be told.
        """
        now = self._enter(now)
        self._is_reading = True
        return now

    def hear(self, conn: int, payload: bytes, now: Instant) -> None:
        """A TEXT message of a read, as for `text_received`. What follows from it is found out with the others."""
        self._rules_due_at = now
        link = self._link
        if link is None or conn != link.conn or self._link_region.state is _CLOSING:
            return
        message = decode_sound_command(payload)
        if message is None:
            self._hear_other(link, payload, now)
        else:  # most are
            link.bad_in_a_row = 0
            reply = self._desk.receive(message.id, message.data, len(payload), now)
            if reply is not None:
                link.reply(reply, now.mono)

    def read_ended(self) -> None:
        """That was all that came in the read."""
        self._is_reading = False

    # --- B: world → core: time ----------------------------------------------------------------------------------------

    def handle_timer(self, now: Instant) -> None:
        """Time has passed. Afterwards `deadline` is None or later than `now.mono`."""
        now = self._enter(now)
        self._put_off_look()
        while (due := self._armed_timers().pop_due(now.mono)) is not None:
            self._timer_due(due[0], now)
            self._apply_rules(now)

    # --- C: application → core ----------------------------------------------------------------------------------------

    def start(self, now: Instant) -> None:
        """Go online, and come back whatever happens, until `stop`."""
        if self._life is not Life.NEW:
            raise LocalProtocolError(f"an agent starts once; this one is {self._life.value}: make a new one")
        now = self._enter(now)
        self._life = Life.RUNNING
        self._apply_rules(now)

    def stop(self, now: Instant, *, drain: bool = True) -> None:
        """End for good: after a drain (CMD-8), or at once and in any state (LINK-10). `Stopped` is the last event."""
        now = self._enter(now)
        if self._life is Life.STOPPED:
            return
        if not drain or self._life is Life.NEW:
            self._finish(now)
        elif self._life is Life.RUNNING:
            self._life = Life.STOPPING
            deadline = now.mono + self.config.drain_timeout
            self._timers.set(AgentTimer.DRAIN, deadline)
            self._timers.cancel(AgentTimer.RETRY)  # one immediate try
            self._give_back(self._desk.drain(now), now)
            if not self._desk.is_settled:
                self._outputs.events.append(Draining(self._desk.unanswered, self.outbox_size, deadline, "CMD-8"))
        self._apply_rules(now)

    def respond(self, command_id: str, result: object, now: Instant) -> bool:
        """Answer a command with success. False if it was answered otherwise already, or is not running.

        Raises LocalProtocolError, and changes nothing, if `result` cannot be JSON.
        """
        running = self._desk.find(command_id)
        if running is None:
            self._look_at_clocks(now)
            return False
        raw = None if running.answered else encode_json(result, "result")
        now = self._release(running, now)
        if raw is not None:
            self._desk.respond(running, raw, now)
        return raw is not None

    def fail(self, command_id: str, code: FinalCode, reason: str, now: Instant) -> bool:
        """Answer a command with an error (CMD-9). `reason` travels to the platform. False as for `respond`. Raises
        LocalProtocolError, and changes nothing, for a code that is not final and a reason that is no text.
        """
        check_failure(code, reason)
        running = self._desk.find(command_id)
        if running is None:
            self._look_at_clocks(now)
            return False
        now = self._release(running, now)
        if not running.answered:
            self._desk.fail(running, plain_text(code), reason, now)
        return not running.answered

    def progress(self, command_id: str, percent: float, now: Instant) -> bool:
        """Report how far a running command is, 0 to 100 (STAT-4). False if it is not running or the link is down."""
        number, running = checked_percentage(percent), self._desk.find(command_id)
        now = self._enter(now)
        if self._link is None or running is None:
            return False
        running.has_progress = True
        self._link.offer_progress(command_id, number, self.status)
        self._apply_rules(now)
        return True

    def set_status(self, status: DeclaredStatus, now: Instant) -> None:
        """Declare the agent's status (STAT-1); it is `busy` by itself while no more commands can start."""
        if status not in ("online", "busy", "error"):
            raise LocalProtocolError(f"expected the status online, busy or error, not {status!r}; offline is a drain's")
        now = self._enter(now)
        self._declared = plain_text(status)
        self._apply_rules(now)

    def set_metrics(self, cpu_usage: float, memory_usage: float) -> None:
        """What the next heartbeats say: percent of all cores, and resident MiB (HB-2)."""
        self._metrics = checked_metrics(cpu_usage, memory_usage)

    def send_message(self, data: dict[str, object], now: Instant) -> str:
        """Queue an application message and return its id; `MessageSettled` tells when the platform has read it (CMD-3).

        Raises LocalProtocolError if `data` is no JSON object, too large, or the agent has stopped; OutboxFullError
        while too many are not settled.
        """
        if self._life is Life.STOPPED:
            raise LocalProtocolError("the agent has stopped, and sends no more messages")
        raw = self._desk.encode_message(data)
        now = self._enter(now)
        message_id = self._desk.message(raw, now)
        self._apply_rules(now)
        return message_id

    def get_details(self, now: Instant) -> int:
        """Ask for the agent as the platform shows it (STAT-2); answered by `CallAnswered` or `CallFailed`.

        Returns the number of the call. Raises LocalProtocolError if the agent does not run, or too many calls wait.
        """
        return self._call(partial(details_request, self.config), now)

    def put_status(self, status: AgentStatus, now: Instant) -> int:
        """Set the agent's status by request instead of by message (STAT-2). Answered and raising as `get_details`."""
        if status not in STATUSES:
            raise LocalProtocolError(f"expected one of the statuses {', '.join(STATUSES)}, not {status!r}")
        return self._call(partial(status_request, self.config, status=plain_text(status)), now)

    def cancel_call(self, call: int, now: Instant) -> bool:
        """Nobody waits for a call any more: it ends with `CallFailed`. False if it has ended already."""
        now = self._enter(now)
        cancelled = self._calls.cancel(call)
        self._apply_rules(now)
        return cancelled

    def _call(self, request: Callable[[Token], HttpRequest], now: Instant) -> int:
        if self._life in (Life.NEW, Life.STOPPED):
            raise LocalProtocolError(f"a call needs an agent that runs; this one is {self._life.value}")
        self._calls.check_room()
        now = self._enter(now)
        number = self._calls.add(request, now.mono)
        self._apply_rules(now)
        return number

    # --- D: core → world ----------------------------------------------------------------------------------------------

    def next_output(self) -> AgentMachineEffect | AgentEvent | None:
        """The next output; call until None after every input."""
        event = self.next_event()
        return self._outputs.next() if event is None else event

    def next_event(self) -> AgentEvent | None:
        """For a façade, the next event of a drain: those there are, then a command that starts, then what follows."""
        events = self._outputs.events
        if not events and self._desk.queued and self._now is not None:
            self._desk.start_next(self._now)
            if events:
                self._rules_due_at = self._now  # what starts may take the last slot, which is told (STAT-2)
        if not events and self._rules_due_at is not None:
            self._apply_rules(self._rules_due_at)
        return events.pop(0) if events else None

    @property
    def outputs(self) -> AgentOutputs:
        """For a façade: what is drained after the events, in an order of its own."""
        return self._outputs
