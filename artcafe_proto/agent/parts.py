"""The parts of an agent, what can be looked at, and the short questions and answers that rules and inputs are made of.

Getting a connection and an answer is `dialing.py`, getting a token `login.py`, getting the next one `renewal.py`, what
goes over a link that is up `link.py`, what happens to commands `commands.py`, requests beside all that `calls.py`.
"""

from __future__ import annotations

from enum import Enum
from itertools import count
from typing import TYPE_CHECKING

from artcafe_proto.agent.calls import Calls
from artcafe_proto.agent.commands import CommandDesk
from artcafe_proto.agent.dialing import LINK_DIAL, LINK_TIMERS, AgentTimer, Dialer
from artcafe_proto.agent.link import AgentLink
from artcafe_proto.agent.login import Keys, Login
from artcafe_proto.agent.renewal import Renewal
from artcafe_proto.agent.states import LINK, AgentState, AuthState, LinkInput, LinkState
from artcafe_proto.events import ClocksParted
from artcafe_proto.instants import sound_instant
from artcafe_proto.limits import CLOCK_DRIFT_S
from artcafe_proto.messages import MessageIds
from artcafe_proto.outputs import AgentOutputs, Outputs
from artcafe_proto.policies.backoff import Backoff, Failure, FailureKind
from artcafe_proto.policies.link_ages import LinkAges
from artcafe_proto.policies.status import DeclaredStatus, outranking
from artcafe_proto.regions import Region
from artcafe_proto.timers import Timers

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.agent.commands import Accepted
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus
    from artcafe_proto.policies.tokens import Token


class Life(Enum):
    """What the application wants of the agent."""

    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class AgentParts:
    """State of an agent. What follows from it is `AgentRules`'s, what comes in `AgentMachine`'s."""

    def __init__(self, config: AgentConfig, *, rng: Random) -> None:
        """`rng` is all the randomness there is: SystemRandom for real, `Random(seed)` to repeat a run exactly."""
        self.config = config
        self._rng = rng
        self._outputs: AgentOutputs = Outputs()
        self._timers: Timers[AgentTimer] = Timers()
        ids = count(1)
        self._dialer = Dialer(config, self._outputs, self._timers, ids, LINK_DIAL)
        keys = Keys(config, self._outputs)
        self._login = Login(config, self._outputs, self._timers, ids, self._dialer, AgentTimer.SIGN, keys)
        self._renewal = Renewal(config, self._outputs, self._timers, ids, rng, keys)
        self._calls = Calls(config, self._outputs, self._timers, ids)
        self._message_ids = MessageIds(rng)
        self._desk = CommandDesk(config, self._outputs, self._message_ids)
        self._backoff = Backoff(jitter=config.jitter, fixed_wait_growth=config.fixed_wait_growth, rng=rng)
        self._link_region = Region(LINK)
        self._link: AgentLink | None = None
        """There exactly while the link region is UP, DRAINING or CLOSING."""
        self._life = Life.NEW
        self._now: Instant | None = None
        self._rules_due_at: Instant | None = None
        """When the joint rules were left to the drain, once the events are out, or to the next input: what a batch of
        commands and the answers to them lead to is found out once.
        """
        self._is_armed = False
        """Whether the timers say what is waited for since the joint rules ran last."""
        self._is_reading = False
        """Whether this input is a part of what came in at once: a peer's inputs must not raise for their number."""
        self._declared: DeclaredStatus = "online"
        self._metrics = (0.0, 0.0)
        self._retried_at_once = False
        self._opened_with: Token | None = None
        """The token that the link was opened with, or is being opened."""
        self._link_ages = LinkAges()
        self._last_failure = ""
        """What the attempts and the link ended with last, for the event that says why this agent gives up."""

    # --- look ---------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> AgentState:
        """The states of both regions."""
        return AgentState(self._login.state, self._link_region.state)

    @property
    def is_stopped(self) -> bool:
        """Whether this agent has ended for good."""
        return self._life is Life.STOPPED

    @property
    def status(self) -> AgentStatus:
        """What heartbeats say (STAT-1)."""
        return outranking(self._declared, full=self._desk.is_full)

    @property
    def deadline_reason(self) -> AgentTimer | None:
        """What `deadline` is for; where it is the heartbeat, call `set_metrics` before `handle_timer` (HB-2)."""
        earliest = self._armed_timers().next()
        return None if earliest is None else earliest[1]

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Ids of the commands that run (CMD-5)."""
        return tuple(self._desk.running)

    @property
    def queued(self) -> tuple[str, ...]:
        """Ids of the commands that wait for a slot (CMD-5)."""
        return tuple(self._desk.queued)

    @property
    def outbox_size(self) -> int:
        """Responses and messages that are not settled (CMD-3)."""
        return len(self._desk.outbox)

    @property
    def rtt_s(self) -> float | None:
        """Round-trip time of the last answered ping of this link, in seconds (LINK-7)."""
        return None if self._link is None else self._link.liveness.rtt_s

    def deadline(self) -> float | None:
        """When to call `handle_timer`, in monotonic seconds; None if nothing is waited for."""
        return None if (earliest := self._armed_timers().next()) is None else earliest[0]

    # --- questions and answers ----------------------------------------------------------------------------------------

    @property
    def _login_is_at_rest(self) -> bool:
        return self._login.state in (AuthState.NONE, AuthState.READY)

    def _renewal_deadline(self, now: Instant) -> float | None:
        """A token is renewed while the link is up and may lead to another (TOK-2)."""
        if self._link_region.state is not LinkState.UP:
            return None
        return self._renewal.deadline(self._login.token, now.mono)

    def _is_renewal_due(self, now: Instant) -> bool:
        deadline = self._renewal.deadline(self._login.token, now.mono)
        return deadline is not None and deadline <= now.mono

    def _look_at_clocks(self, now: Instant) -> Instant:
        """Time as it is seen here: never earlier than before, and with a look at both clocks (LINK-7)."""
        last = self._now
        if now is last:
            return now
        now = sound_instant(now, last)
        if last is not None and now is not last:
            drift_s = (now.wall - now.mono) - (last.wall - last.mono)
            if abs(drift_s) > CLOCK_DRIFT_S and self._life is not Life.STOPPED:
                self._clocks_parted(drift_s, now)
        self._now = now
        return now

    def _clocks_parted(self, drift_s: float, now: Instant) -> None:
        """The computer slept, or a clock was set: the peer may be gone and the token old, so make sure at once."""
        self._outputs.events.append(ClocksParted(drift_s, "LINK-7"))
        if self._login.token is not None:
            self._login.token.age(max(drift_s, 0.0))
        if self._link is not None and self._link_region.state is not LinkState.CLOSING:
            self._link.ping(now.mono)
            self._timers.arm(AgentTimer.PING, self._link.liveness.deadline)
            self._timers.arm(AgentTimer.RENEW, self._renewal_deadline(now))

    def _armed_timers(self) -> Timers[AgentTimer]:
        """The timers, after what the last input has changed about what is waited for."""
        link, timers, now = self._link, self._timers, self._now
        if self._is_armed or self._life is Life.STOPPED or now is None:
            return timers
        self._is_armed = True
        if link is not None and self._link_region.state is not LinkState.CLOSING:
            if timers.get(AgentTimer.PING) is None:
                timers.arm(AgentTimer.PING, link.liveness.deadline)
            timers.arm(AgentTimer.STALL, link.stall_deadline)
            timers.arm(AgentTimer.STATUS, link.status_deadline)
            timers.arm(AgentTimer.SETTLE, self._desk.outbox.deadline(self.config.ping_timeout))
        timers.arm(AgentTimer.COMMANDS, self._desk.deadline)
        timers.arm(AgentTimer.RENEW, self._renewal_deadline(now))
        timers.arm(AgentTimer.CALL, self._calls.deadline)
        return timers

    def _dialer_of(self, conn: int) -> Dialer | None:
        dialers = (self._dialer, self._renewal.dialer, self._calls.dialer)
        return next((dialer for dialer in dialers if dialer.conn is not None and dialer.conn == conn), None)

    def _beat(self, link: AgentLink, now: Instant) -> None:
        link.beat(self.status, *self._metrics, now)
        self._timers.set(AgentTimer.HEARTBEAT, link.heartbeat_at)

    def _new_link(self, conn: int, now: Instant) -> AgentLink:
        has_ponged = self._desk.outbox.has_ponged
        return AgentLink(conn, self.config, self._outputs, self._message_ids, now.mono, answers_pings=has_ponged)

    def _live_link(self, conn: int) -> AgentLink | None:
        """The link on `conn`, while it takes messages."""
        if self._link is None or conn != self._link.conn or self._link_region.state is LinkState.CLOSING:
            return None
        return self._link

    def _link_age(self, link: AgentLink, failure: Failure, now: Instant) -> tuple[float, str]:
        """How long a link that ends now was up, in seconds, and what it may have ended of (LINK-3)."""
        up_for_s = now.mono - link.up_at
        silent_s = link.liveness.silence_s(now.mono) if failure.close_code == 1006 else None
        return up_for_s, self._link_ages.ended(up_for_s, silent_s)

    def _put_off_look(self) -> None:
        """What was received puts off the look at liveness, which else would take its turn before other timers."""
        if self._link is not None and self._timers.get(AgentTimer.PING) is not None:
            self._timers.arm(AgentTimer.PING, self._link.liveness.deadline)

    def _watch_give_up(self, give_up_after: float, now: Instant) -> None:
        if self._link is not None or self._life is not Life.RUNNING:
            self._timers.cancel(AgentTimer.GIVE_UP)
        elif self._timers.get(AgentTimer.GIVE_UP) is None:
            self._timers.set(AgentTimer.GIVE_UP, now.mono + give_up_after)

    def _reject_opener(self, failure: Failure) -> None:
        """A link that was closed for its token rejects that (TOK-3)."""
        if failure.kind is FailureKind.AUTHENTICATION and self._login.token is self._opened_with:
            self._login.reject()

    def _give_back(self, replies: list[bytes], now: Instant) -> None:
        """Tell the platform what was not started; without a link it finds out by itself on the next (CMD-9)."""
        if self._link is not None:
            for reply in replies:
                self._link.reply(reply, now.mono)

    def _release(self, running: Accepted, now: Instant) -> Instant:
        """A command is over, and so is free its slot."""
        if now is not self._now:
            now = self._look_at_clocks(now)
        self._rules_due_at = now
        del self._desk.running[running.command_id]
        if running.has_progress and self._link is not None:
            self._link.forget_progress(running.command_id)
        return now

    def _let_go(self) -> None:
        self._renewal.abandon()
        self._login.abandon()
        self._dialer.drop()
        if self._link_region.state is not LinkState.DOWN:
            self._link_region.fire(LinkInput.LOST)
        self._link = None
        self._cancel_link_timers()

    def _cancel_link_timers(self) -> None:
        self._timers.cancel(*LINK_TIMERS)
