"""The joint rules of an agent: what follows from its parts taken together, and how a failure ends an attempt.

`AgentMachine` tells the parts what came; `_apply_rules` draws the conclusions, again and again until none is left. The
parts are listed in `parts.py`; all of them are told what to do from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.agent.authentication import upgrade_request
from artcafe_proto.agent.dialing import AgentTimer, ExchangeKind, Loss, too_slow
from artcafe_proto.agent.parts import AgentParts, Life
from artcafe_proto.agent.states import LinkInput, LinkState
from artcafe_proto.damaged import read_command_id
from artcafe_proto.effects import Disconnect
from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.events import (
    AgentIdContested,
    LinkClosing,
    MessageReceived,
    Offline,
    PeerViolation,
    Stopped,
    TokenReceived,
    UnknownReceived,
)
from artcafe_proto.limits import REPLACED_RESET_S
from artcafe_proto.messages import HEARD_BY_AGENTS, decode_envelope
from artcafe_proto.policies.backoff import Failure, FailureKind, Reset, failure_kind
from artcafe_proto.policies.liveness import Verdict
from artcafe_proto.policies.outflow import GRANT_S
from artcafe_proto.refusals import explain

if TYPE_CHECKING:
    from artcafe_proto.agent.dialing import Dialer, Exchange
    from artcafe_proto.agent.link import AgentLink
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import Envelope


class AgentRules(AgentParts):
    """Rules of an agent; its inputs are `AgentMachine`'s."""

    # --- every input begins and ends here -----------------------------------------------------------------------------

    def _enter(self, now: Instant) -> Instant:
        """Time as this input sees it, and nothing left to do of those before."""
        if not self._is_reading:
            self._outputs.check_drained()
        self.conclude()
        return self._look_at_clocks(now)

    def conclude(self) -> None:
        """Find out now what follows from the inputs so far. For a façade: between two inputs of a read."""
        if self._rules_due_at is not None:
            self._apply_rules(self._rules_due_at)

    def _apply_rules(self, now: Instant) -> None:
        """Run the joint rules to their fixed point. What is waited for then is found out when somebody asks."""
        self._rules_due_at = None
        self._is_armed = False
        while self._step(now):
            pass
        if self.config.give_up_after is not None:
            self._watch_give_up(self.config.give_up_after, now)
        if self._link is not None and self._link_region.state is not LinkState.CLOSING:
            self._link.report(self.status, now)
            if self._link.outflow.awaits_report and self._timers.get(AgentTimer.GRANT) is None:
                self._timers.set(AgentTimer.GRANT, now.mono + GRANT_S)

    def _step(self, now: Instant) -> bool:
        """One joint rule, the first that applies; False if none does."""
        if self._life in (Life.NEW, Life.STOPPED):
            return False
        stopping = self._life is Life.STOPPING
        state, link, outbox = self._link_region.state, self._link, self._desk.outbox
        if link is None:
            if stopping and self._desk.is_settled:
                self._finish(now)
            elif state is LinkState.DOWN and self._login_is_at_rest and self._timers.get(AgentTimer.RETRY) is None:
                self._attempt(now)
            elif state is LinkState.OPENING and self._login.token is None and self._dialer.is_waiting:
                self._let_go()  # it would carry a token that was refused meanwhile (TOK-3)
            else:
                return self._calls.send(self._login.token, now.mono)
        elif state is LinkState.UP and stopping:
            self._link_region.fire(LinkInput.DRAIN)
            self._renewal.abandon()
            outbox.release(last=True)
        elif state is LinkState.UP and self._is_renewal_due(now):
            self._renewal.begin(self._login.token, now.mono)
        elif state is not LinkState.CLOSING and link.outflow.has_room and outbox.has_news:
            link.send_all([item.payload for item in outbox.send(link.outflow.room, now.mono)])
            if outbox.is_uncovered:
                outbox.cover(link, now.mono)
            return self._calls.send(self._login.token, now.mono)  # all that can follow: what was sent is not settled
        elif state is LinkState.DRAINING and self._desk.is_settled:
            self._sign_off(link, now)
        else:
            return self._calls.send(self._login.token, now.mono)
        return True

    # --- what a message says ------------------------------------------------------------------------------------------

    def _hear_other(self, link: AgentLink, payload: bytes, now: Instant) -> None:
        """Anything but a sound command."""
        try:
            envelope = decode_envelope(payload, HEARD_BY_AGENTS)
        except RemoteProtocolError as error:
            command_id = read_command_id(payload)
            if command_id is None:
                self._bad_message(link, error, len(payload), now)
                return
            link.bad_in_a_row = 0
            reply = self._desk.receive_damaged(command_id, error, now)
        else:
            link.bad_in_a_row = 0
            reply = self._take_in(envelope, len(payload), now)
        if reply is not None:
            link.reply(reply, now.mono)

    def _take_in(self, envelope: Envelope, size: int, now: Instant) -> bytes | None:
        """A message of `size` bytes whose envelope is sound; gives what is to be said to it at once."""
        if envelope.type == "command":
            return self._desk.receive_raw(envelope.id, envelope.data, size, now)
        if envelope.type == "message":
            self._outputs.events.append(MessageReceived(envelope.id, envelope.data.copy()))  # not all of the message
        else:
            self._outputs.events.append(UnknownReceived(envelope.type, envelope.id, envelope.data))
        return None

    def _bad_message(self, link: AgentLink, error: RemoteProtocolError, size: int, now: Instant) -> None:
        self._outputs.events.append(PeerViolation(error.reason, error.clause))
        if too_many := link.bad_message(size, now.mono):
            self._close_link(link, 1008, Failure(FailureKind.OTHER, too_many, "MSG-5"), now)

    # --- attempts and failures ----------------------------------------------------------------------------------------

    def _attempt(self, now: Instant) -> None:
        """Open a link with the token at hand, or get one first (TOK-3)."""
        token = self._login.token
        if token is None:
            self._login.begin(now.mono)
        elif token.usable(now.mono):
            token.used = True
            self._opened_with = token
            self._link_region.fire(LinkInput.OPEN)
            upgrade = upgrade_request(self.config, token)
            self._dialer.ask(ExchangeKind.UPGRADE, upgrade, self.config.ws.origin, now.mono)
        else:
            self._login.reject()

    def _fail(self, failure: Failure, now: Instant, *, at_once: bool = False) -> None:
        """The attempt or the link has ended: let go of everything it had, and say what follows (LINK-3)."""
        link = self._link
        up_for_s, hint = (0.0, "") if link is None else self._link_age(link, failure, now)
        explanation = failure.explanation + hint
        if failure.kind is not FailureKind.REPLACED and up_for_s >= REPLACED_RESET_S:
            self._backoff.reset(Reset.UNCONTESTED)
        self._last_failure = failure.reason
        self._let_go()
        poison = None if link is None else self._desk.outbox.link_lost(now.mono, close_code=failure.close_code)
        if poison is not None:
            self._desk.replace_poison(poison, now)
        unsettled = len(self._desk.outbox)
        if self._life is Life.STOPPING and self._desk.is_idle:
            self._outputs.events.append(Offline(explanation, failure.clause, None, unsettled))
            self._finish(now)
            return
        wait_s = 0.0 if at_once else self._backoff.wait_s(failure)
        if wait_s > 0:
            self._timers.set(AgentTimer.RETRY, now.mono + wait_s)
        self._outputs.events.append(Offline(explanation, failure.clause, now.mono + wait_s, unsettled))
        if failure.kind is FailureKind.REPLACED:
            self._outputs.events.append(AgentIdContested(self._backoff.times_replaced, "LINK-6", failure.reason))

    def _answered(self, asked: Exchange, response: HttpResponse, now: Instant) -> None:
        failure = None
        if asked.kind is ExchangeKind.CHALLENGE:
            failure = self._login.challenged(asked.request, response, now.mono)
        elif asked.kind is ExchangeKind.VERIFY:
            failure = self._login.verified(asked.request, response, now)
            if self._login.token is not None:
                token = self._login.token
                self._outputs.events.append(TokenReceived(token.life_s, token.renew_at))
        else:
            self._upgrade_refused(asked.request, response, now)
        if failure is not None:
            self._fail(failure, now)

    def _upgrade_refused(self, request: HttpRequest, response: HttpResponse, now: Instant) -> None:
        status = response.status
        reason = explain("upgrade", request, response)
        failure = Failure(failure_kind("upgrade", status), reason, "LINK-3", response.retry_after_s)
        token = self._login.token
        if status not in (401, 403) or token is None:
            self._fail(failure, now)
            return
        was_expired = token.expires_at is not None and token.expires_at <= now.mono
        at_once = was_expired and not self._retried_at_once
        self._retried_at_once |= at_once
        self._login.reject()
        self._fail(failure, now, at_once=at_once)

    def _connection_ended(self, conn: int, reason: str, now: Instant) -> None:
        dialer = self._dialer_of(conn)
        self._outputs.take_back_sends(conn)
        if dialer is not None and dialer.is_unanswered:
            reason = f"{reason} before it answered: if TLS is spoken there, the endpoint must begin with https://"
        failure = Failure(FailureKind.OTHER, f"the connection ended: {reason}", "LINK-3", close_code=1006)
        if self._link is not None and conn == self._link.conn:
            self._lose_link(failure, now)
        elif dialer is not None:
            loss = dialer.gone(now.mono)
            if loss is Loss.FAILURE:
                self._failed_on(dialer, failure, now)
            elif loss is Loss.START_OVER and dialer is self._dialer:
                self._login.abandon()  # the joint rules begin again, without a wait
            elif loss is Loss.START_OVER:
                self._renewal.start_over(now.mono)

    def _failed_on(self, dialer: Dialer, failure: Failure, now: Instant) -> None:
        """What a dialer was busy with has failed; only the first one's matters to the link."""
        if dialer is self._dialer:
            self._fail(failure, now)
        elif dialer is self._renewal.dialer:
            self._renewal.fail(failure, now)
        else:
            self._calls.fail(failure.reason, failure.clause)

    def _lose_link(self, failure: Failure, now: Instant) -> None:
        """The link's connection is gone. After our own close that is the end, not a failure (STAT-3)."""
        if self._link_region.state is LinkState.CLOSING:
            self._let_go()
            self._finish(now)
        else:
            self._fail(failure, now)

    def _close_link(self, link: AgentLink, code: int, failure: Failure, now: Instant) -> None:
        """Fail the link with a close frame (RFC 6455 section 7.1.7)."""
        if self._link_region.state is not LinkState.CLOSING:  # nothing follows a close frame
            link.close(code, failure.reason)
        self._outputs.disconnects.append(Disconnect(link.conn, abort=False))
        self._lose_link(failure, now)

    def _abort_link(self, link: AgentLink, failure: Failure, now: Instant) -> None:
        """Fail a link over which nothing more can be said."""
        self._outputs.disconnects.append(Disconnect(link.conn, abort=True))
        self._lose_link(failure, now)

    def _check_liveness(self, link: AgentLink, now: Instant) -> None:
        verdict = link.liveness.verdict(now.mono)
        if verdict is Verdict.PING:
            link.ping(now.mono)
        elif verdict is Verdict.LOST:
            self._abort_link(link, Failure(FailureKind.OTHER, link.liveness.explain(now.mono), "LINK-7"), now)

    def _timer_due(self, reason: AgentTimer, now: Instant) -> None:
        link = self._link
        match reason:
            case AgentTimer.HEARTBEAT if link is not None:
                self._beat(link, now)
            case AgentTimer.PING if link is not None:
                self._check_liveness(link, now)
            case AgentTimer.STALL | AgentTimer.CLOSE if link is not None:
                what = "writing stalled" if reason is AgentTimer.STALL else "the closing handshake was not answered"
                self._abort_link(link, Failure(FailureKind.OTHER, what, "LINK-8"), now)
            case AgentTimer.SETTLE if link is not None:
                self._desk.settle_without_pong(link, now.mono)
            case AgentTimer.GRANT if link is not None:
                link.grant(now.mono)
            case AgentTimer.COMMANDS:
                self._desk.expire(now)
            case AgentTimer.DRAIN:
                self._drain_timed_out(now)
            case AgentTimer.CONNECT | AgentTimer.EXCHANGE:
                self._fail(too_slow(reason), now)
            case AgentTimer.SIGN:
                self._fail(self._login.sign_timed_out(), now)
            case AgentTimer.RENEW_CONNECT | AgentTimer.RENEW_EXCHANGE:
                self._renewal.fail(too_slow(reason), now)
            case AgentTimer.RENEW_SIGN:
                self._renewal.sign_timed_out(now)
            case AgentTimer.CALL_CONNECT | AgentTimer.CALL_EXCHANGE:
                self._failed_on(self._calls.dialer, too_slow(reason), now)
            case AgentTimer.CALL:
                self._calls.expire(now.mono)
            case AgentTimer.GIVE_UP:
                self._give_up(now)
            case _:
                pass  # RETRY, RENEW, STATUS: the joint rules go on, now that nothing waits

    # --- the end ------------------------------------------------------------------------------------------------------

    def _sign_off(self, link: AgentLink, now: Instant) -> None:
        """Say goodbye; nothing follows a close frame (STAT-3, RFC 6455 section 5.5.1)."""
        self._link_region.fire(LinkInput.CLOSE)
        link.sign_off(now)
        self._cancel_link_timers()
        deadline = now.mono + self.config.close_timeout
        self._timers.set(AgentTimer.CLOSE, deadline)
        self._outputs.events.append(LinkClosing(1000, "the agent stops", "STAT-3", deadline))

    def _drain_timed_out(self, now: Instant) -> None:
        """First what runs is cancelled and that answer given; a little later the rest is left unsettled (CMD-8)."""
        link = self._link
        if self._desk.cancel_running("the agent stopped before the command was done", now) and link is not None:
            self._timers.set(AgentTimer.DRAIN, now.mono + self.config.close_timeout)
        elif self._link_region.state is LinkState.DRAINING and link is not None and link.outflow.has_room:
            self._sign_off(link, now)
        elif self._link_region.state is not LinkState.CLOSING:
            self._finish(now)

    def _give_up(self, now: Instant) -> None:
        reason = f"there was no link for {self.config.give_up_after:g} s, after which this agent is to give up"
        if self._last_failure:
            reason = f"{reason}; the last failure: {self._last_failure}"
        self._outputs.events.append(Offline(reason, "LINK-6", None))
        self._finish(now, gave_up=True)

    def _finish(self, now: Instant, *, gave_up: bool = False) -> None:
        """End for good, in any state (LINK-10)."""
        unsettled, messages = self._desk.unsettled, tuple(self._desk.outbox.unsettled_messages)
        self._desk.drain(now)
        self._desk.cancel_running("the agent stopped", now)
        if self._link is not None:
            self._outputs.disconnects.append(Disconnect(self._link.conn, abort=True))
        self._let_go()
        self._calls.fail_all("the agent stopped", "LINK-10")
        self._timers.clear()
        self._life = Life.STOPPED
        self._outputs.events.append(Stopped(unsettled, gave_up, messages))
