"""The joint rules of an agent: what follows from its two halves taken together.

A `Connector` gets a link: login, dialing, renewal. `Messaging` lives on one: heartbeats, commands, responses; it knows
no HTTP. Which of them goes on, and what is let go of when one has failed, is decided here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_proto.agent.dialing import LINK_TIMERS, AgentTimer
from artcafe_proto.agent.states import LIFE, Life, LifeInput, LinkInput, LinkState
from artcafe_proto.effects import Disconnect
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.events import AgentIdContested, ClocksParted, Draining, Offline, Online, Stopped
from artcafe_proto.limits import REPLACED_RESET_S
from artcafe_proto.policies.backoff import Backoff, FailureKind, Reset, close_failure, ended_by_itself
from artcafe_proto.regions import Region

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.agent.connector import Connector
    from artcafe_proto.agent.link import AgentLink
    from artcafe_proto.agent.messaging import Messaging
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import ConnectFailure
    from artcafe_proto.instants import Instant
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.backoff import Failure
    from artcafe_proto.timers import Timers

_CLOSING: Final = LinkState.CLOSING  # once: CPython 3.11 takes ten times as long for a member as for a name


class JointRules:
    """Moves the agent's life and its link by their tables, and tells both halves what to do."""

    __slots__ = (
        "_config",
        "_connector",
        "_last_failure",
        "_messaging",
        "_outputs",
        "_timers",
        "backoff",
        "life",
        "region",
    )

    def __init__(
        self,
        config: AgentConfig,
        outputs: AgentOutputs,
        timers: Timers[AgentTimer],
        rng: Random,
        connector: Connector,
        messaging: Messaging,
    ) -> None:
        self._config = config
        self._outputs = outputs
        self._timers = timers
        self._connector = connector
        self._messaging = messaging
        self.life: Final = Region(LIFE)
        self.region: Final = messaging.region
        self.backoff: Final = Backoff(jitter=config.jitter, fixed_wait_growth=config.fixed_wait_growth, rng=rng)
        self._last_failure = ""
        """What the attempts and the link ended with last, for the event that says why this agent gives up."""

    def apply(self, now: Instant) -> None:
        """Run the rules to their fixed point, and find out what is waited for then."""
        while self._step(now):
            pass
        if (journal := self._messaging.journal) is not None:
            journal.hand_out(now.mono)
            self._timers.arm(AgentTimer.STORE, journal.deadline)
        if self.life.state is Life.STOPPED:
            return
        if self._config.give_up_after is not None:
            self._watch_give_up(self._config.give_up_after, now)
        self._messaging.report(now)
        self._timers.arm(AgentTimer.RENEW, self._renewal_deadline(now.mono))
        self._timers.arm(AgentTimer.CALL, self._connector.call_deadline)

    def _step(self, now: Instant) -> bool:
        """One joint rule, the first that applies; False if none does."""
        life = self.life.state
        if life is Life.NEW or life is Life.STOPPED:
            return False
        stopping = life is Life.STOPPING
        if stopping and self._messaging.journal is not None:
            self._messaging.journal.flush()
        state, connector, desk = self.region.state, self._connector, self._messaging.desk
        link = self._messaging.link
        if link is None:
            if stopping and desk.is_settled:
                self.finish(now)
            elif state is LinkState.DOWN and connector.is_at_rest and self._timers.get(AgentTimer.RETRY) is None:
                if connector.attempt(now.mono):
                    self.region.fire(LinkInput.OPEN)
            elif state is LinkState.OPENING and connector.is_void:
                self._let_go()
            else:
                return connector.send_calls(now.mono)
        elif state is LinkState.UP and stopping:
            self.region.fire(LinkInput.DRAIN)
            connector.stop_renewing()
            desk.outbox.release(last=True)
        elif state is LinkState.UP and connector.renew(now.mono):
            pass  # it has begun
        elif state is not _CLOSING and self._messaging.send_news(link, now.mono):
            return connector.send_calls(now.mono)  # all that can follow: what was sent is not settled
        elif state is LinkState.DRAINING and desk.is_settled:
            self._sign_off(link, now)
        else:
            return connector.send_calls(now.mono)
        return True

    def _renewal_deadline(self, mono: float) -> float | None:
        """A token is renewed while the link is up and may lead to another (TOK-2)."""
        return self._connector.renewal_deadline(mono) if self.region.state is LinkState.UP else None

    def link_up(self, conn: int, now: Instant) -> None:
        """The connector has got a link: it is up on `conn`."""
        self.region.fire(LinkInput.UPGRADED)
        self._outputs.events.append(Online(conn))
        self._messaging.begin(conn, now)

    def clocks_parted(self, drift_s: float, now: Instant) -> None:
        """The computer slept, or a clock was set: the peer may be gone and the token old, so make sure at once."""
        if self.life.state is Life.STOPPED:
            return
        self._outputs.events.append(ClocksParted(drift_s, "LINK-7"))
        self._connector.slept(max(drift_s, 0.0))
        link = self._messaging.link
        if link is not None and self.region.state is not _CLOSING:
            link.ping(now.mono)
            self._timers.arm(AgentTimer.PING, link.liveness.deadline)
            self._timers.arm(AgentTimer.RENEW, self._renewal_deadline(now.mono))

    def timer_due(self, timer: AgentTimer, now: Instant) -> None:
        """A deadline has passed."""
        match timer:
            case AgentTimer.COMMANDS:
                self._messaging.desk.expire(now)
            case AgentTimer.STORE if (journal := self._messaging.journal) is not None:
                journal.look(now.mono)
            case AgentTimer.DRAIN:
                self._drain_timed_out(now)
            case AgentTimer.GIVE_UP:
                self._give_up(now)
            case AgentTimer.RETRY | AgentTimer.RENEW | AgentTimer.STATUS:
                pass  # the joint rules go on, now that nothing is waited for
            case _ if timer in LINK_TIMERS and (link := self._messaging.link) is not None:
                if (failure := self._messaging.timer_due(link, timer, now)) is not None:
                    self.lose_link(failure, now)
            case _:
                self.attempt_over(self._connector.timer_due(timer, now), now)

    def _watch_give_up(self, give_up_after: float, now: Instant) -> None:
        if self._messaging.link is not None or self.life.state is not Life.RUNNING:
            self._timers.cancel(AgentTimer.GIVE_UP)
        elif self._timers.get(AgentTimer.GIVE_UP) is None:
            self._timers.set(AgentTimer.GIVE_UP, now.mono + give_up_after)

    def heard(self, link: AgentLink, mono: float) -> bool:
        """Something came in on the link; whether what was held goes out, as the link is stable (LINK-5, CMD-11)."""
        link.liveness.received(mono)
        if mono - link.up_at < self._config.stable_after:
            return False
        self.backoff.reset(Reset.STABLE)
        return self._messaging.desk.outbox.release()

    # --- life ---------------------------------------------------------------------------------------------------------

    def check_new(self) -> None:
        """Raise LocalProtocolError unless it may start."""
        if self.life.state is not Life.NEW:
            raise LocalProtocolError(f"an agent starts once; this one is {self.life.state.value}: make a new one")

    def check_runs(self) -> None:
        """Raise LocalProtocolError unless it has been started, and goes on."""
        if self.life.state in (Life.NEW, Life.STOPPED):
            raise LocalProtocolError(f"a call needs an agent that runs; this one is {self.life.state.value}")

    # --- failures -----------------------------------------------------------------------------------------------------

    def connection_ended(self, conn: int, reason: str, now: Instant) -> None:
        """A connection has ended by itself."""
        self._outputs.take_back_sends(conn)
        if self._messaging.link_on(conn) is not None:
            self.lose_link(ended_by_itself(reason), now)
        else:
            self.attempt_over(self._connector.gone(conn, reason, now), now)

    def connect_failed(self, conn: int, cause: ConnectFailure, detail: str, now: Instant) -> None:
        """A connection could not be opened, or was said to be open before."""
        if self._messaging.link_on(conn) is None:
            self._outputs.take_back_sends(conn)
            self.attempt_over(self._connector.connect_failed(conn, cause, detail, now), now)
        else:
            self.connection_ended(conn, detail, now)

    def close_received(self, link: AgentLink, code: int, reason: str, now: Instant) -> None:
        """The platform has closed the link, or answers to its closing."""
        failure = close_failure(code, reason)
        self._connector.link_closed(failure)
        if self.region.state is not _CLOSING:
            link.close(code, "")
        self._outputs.disconnects.append(Disconnect(link.conn, abort=False))
        self.lose_link(failure, now)

    def lose_link(self, failure: Failure, now: Instant) -> None:
        """The link's connection is gone. After our own close that is the end, not a failure (STAT-3)."""
        if self.region.state is _CLOSING:
            self._let_go()
            self.finish(now)
        else:
            self._fail(failure, now)

    def attempt_over(self, failure: Failure | None, now: Instant) -> None:
        """The attempt under way has ended with `failure`; None: it goes on."""
        if failure is not None:
            self._fail(failure, now)

    def _fail(self, failure: Failure, now: Instant) -> None:
        """The attempt or the link has ended: let go of everything it had, and say what follows (LINK-3)."""
        link, hint = self._messaging.link, ""
        if link is not None:
            up_for_s, hint = self._messaging.age(link, failure, now)
            if failure.kind is not FailureKind.REPLACED and up_for_s >= REPLACED_RESET_S:
                self.backoff.reset(Reset.UNCONTESTED)
        explanation = failure.explanation + hint
        self._last_failure = failure.reason
        self._let_go()
        if link is not None:
            self._messaging.link_lost(failure, now)
        unsettled = len(self._messaging.desk.outbox)
        if self.life.state is Life.STOPPING and self._messaging.desk.is_idle:
            self._outputs.events.append(Offline(explanation, failure.clause, None, unsettled))
            self.finish(now)
            return
        wait_s = self.backoff.wait_s(failure)
        if wait_s > 0:
            self._timers.set(AgentTimer.RETRY, now.mono + wait_s)
        self._outputs.events.append(Offline(explanation, failure.clause, now.mono + wait_s, unsettled))
        if failure.kind is FailureKind.REPLACED:
            self._outputs.events.append(AgentIdContested(self.backoff.times_replaced, "LINK-6", failure.reason))

    def _let_go(self) -> None:
        self._connector.drop()
        self._messaging.drop()
        if self.region.state is not LinkState.DOWN:
            self.region.fire(LinkInput.LOST)

    # --- the end ------------------------------------------------------------------------------------------------------

    def stop(self, now: Instant, *, drain: bool) -> None:
        """The application wants an end: after a drain (CMD-8), or at once (LINK-10)."""
        if self.life.state is Life.STOPPED:
            return
        if not drain or self.life.state is Life.NEW:
            self.finish(now)
        elif self.life.state is Life.RUNNING:
            self.life.fire(LifeInput.DRAIN)
            desk = self._messaging.desk
            deadline = now.mono + self._config.drain_timeout
            self._timers.set(AgentTimer.DRAIN, deadline)
            self._timers.cancel(AgentTimer.RETRY)  # one immediate try
            self._messaging.give_back(desk.drain(now), now)
            if not desk.is_settled:
                self._outputs.events.append(Draining(desk.unanswered, len(desk.outbox), deadline, "CMD-8"))

    def _sign_off(self, link: AgentLink, now: Instant) -> None:
        self.region.fire(LinkInput.CLOSE)
        self._messaging.sign_off(link, now)

    def _drain_timed_out(self, now: Instant) -> None:
        """First what runs is cancelled and that answer given; a little later the rest is left unsettled (CMD-8)."""
        link = self._messaging.link
        if (
            self._messaging.desk.cancel_running("the agent stopped before the command was done", now)
            and link is not None
        ):
            self._timers.set(AgentTimer.DRAIN, now.mono + self._config.close_timeout)
        elif self.region.state is LinkState.DRAINING and link is not None and link.outflow.has_room:
            self._sign_off(link, now)
        elif self.region.state is not _CLOSING:
            self.finish(now)

    def _give_up(self, now: Instant) -> None:
        reason = f"there was no link for {self._config.give_up_after:g} s, after which this agent is to give up"
        if self._last_failure:
            reason = f"{reason}; the last failure: {self._last_failure}"
        self._outputs.events.append(Offline(reason, "LINK-6", None))
        self.finish(now, gave_up=True)

    def finish(self, now: Instant, *, gave_up: bool = False) -> None:
        """End for good, in any state (LINK-10)."""
        desk = self._messaging.desk
        unsettled, messages = self._messaging.unsettled, tuple(desk.outbox.unsettled_messages)
        desk.drain(now)
        desk.cancel_running("the agent stopped", now)
        if (link := self._messaging.link) is not None:
            self._outputs.disconnects.append(Disconnect(link.conn, abort=True))
        self._let_go()
        self._connector.end("the agent stopped", "LINK-10")
        self._timers.clear()
        if self._messaging.journal is not None:
            self._messaging.journal.end()
        self.life.fire(LifeInput.END)
        self._outputs.events.append(Stopped(unsettled, gave_up, messages))
