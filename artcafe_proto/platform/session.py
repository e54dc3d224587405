"""One accepted connection of a platform: requests, then perhaps a link; messages and time, no bytes.

A session answers the opening handshake of a link, and has the hub answer the operations of `api`. Any other request
becomes the event `RequestArrived`, which the driver answers with `respond`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from artcafe_proto import misuse
from artcafe_proto.effects import AcceptUpgrade, Disconnect, PauseReading, ResumeReading, SendBody, SendResponse
from artcafe_proto.errors import ApiError, LocalProtocolError, RemoteProtocolError
from artcafe_proto.events import RequestArrived
from artcafe_proto.limits import CLOCK_DRIFT_S, LATE_TIMER_S, OFFLINE_AFTER_S, WRITE_AHEAD_BYTES
from artcafe_proto.links import LinkEnd
from artcafe_proto.messages import HEARD_BY_PLATFORMS, decode_envelope, decode_sound_heartbeat
from artcafe_proto.platform.answers import error_answer, extra_headers
from artcafe_proto.platform.api import handle, link_asked_for
from artcafe_proto.platform.connections import ConnectionTimer
from artcafe_proto.platform.states import ANSWER, SESSION, AnswerInput, AnswerState, SessionInput, SessionState
from artcafe_proto.policies.liveness import Verdict
from artcafe_proto.policies.outflow import GRANT_S, Outflow
from artcafe_proto.policies.rate_limits import network_of
from artcafe_proto.refusals import shown_address
from artcafe_proto.regions import Region
from artcafe_proto.secrecy import Secretive
from artcafe_proto.timers import Timers

if TYPE_CHECKING:
    from artcafe_proto.effects import PlatformSessionEffect
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.outputs import PlatformOutputs
    from artcafe_proto.platform.connections import Drained
    from artcafe_proto.platform.hub import PlatformHub
    from artcafe_proto.platform.links import LinkedAgent

__all__ = ["PlatformSession"]


class PlatformSession(Secretive):
    """One accepted connection; `conn` is the driver's number for it, unique on the platform. The hub drains it."""

    __slots__ = (
        "_answer_state", "_clock_offset_s", "_exchange", "_hub", "_link", "_live", "_outflow", "_region",
        "address", "conn", "has_peer_ended", "is_reading_paused", "linked", "origin", "outputs", "timers")  # fmt: skip

    def __init__(
        self, hub: PlatformHub, conn: int, *, address: str | None = None, facade: Drained | None = None
    ) -> None:
        """`conn`: 0 or more. `address`: the peer's IP address, by which attempts to sign in are limited (PLAT-8); None:
        they are not. `facade`: what has this session. Raises LocalProtocolError for the number of an open connection.
        """
        hub.check_accepted(conn, address)
        self.conn: int = conn
        self.address = None if address is None else network_of(address)
        """What counts as the peer's address; None too once there is a link."""
        self.origin: str = "" if not address else f" from {shown_address(address)}"
        """Where the link is opened from, for who loses its place to it (PLAT-6); not kept afterwards."""
        self._hub = hub
        self.outputs: PlatformOutputs = hub.outputs_of(conn)
        """For a façade: what is drained after the events, in an order of its own."""
        self._outflow = Outflow()
        self.timers: Timers[ConnectionTimer] = Timers()
        """For a façade, and for the hub: all that is waited for on the connection."""
        self._region = Region(SESSION)
        self._link: LinkEnd | None = None
        self._live: LinkEnd | None = None  # the same while it is up
        self._answer_state = ANSWER.initial
        self._exchange = 0  # the one that is to be answered, or whose answer is to be continued
        self.is_reading_paused: bool = False
        """Before a link: whether no further request is to be read while much of the answers has not left (PLAT-8)."""
        self._clock_offset_s = 0.0
        self.has_peer_ended: bool = False
        """Whether the peer has ended its side. It may still read the answers that are due, or be gone."""
        self.linked: LinkedAgent | None = None
        """Whose link this is, from its 101 on; the hub sets it."""
        hub.admit(conn, self if facade is None else facade)

    @property
    def state(self) -> SessionState:
        """Where the connection stands."""
        return self._region.state

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over, but for what is still to be drained."""
        return self.state is SessionState.CLOSED

    # --- requests -----------------------------------------------------------------------------------------------------

    def request_received(self, exchange: int, request: HttpRequest, now: Instant, *, upgrade: bool) -> None:
        """A request came; `upgrade` for a sound opening handshake. LocalProtocolError before the last is answered."""
        misuse.check_request(exchange, request, upgrade)
        if self.state is SessionState.HTTP and (self._answer_state is not AnswerState.NONE or self.outputs.is_holding):
            raise LocalProtocolError("expected one request at a time: the answer to the one before has not ended")
        now = self._hub.input_of(self.conn, now)
        if self.state is not SessionState.HTTP:
            return
        agent_id = None
        try:
            agent_id = link_asked_for(self._hub.config, request, upgrade=upgrade)
            if agent_id is not None:
                self._hub.link_requested(self, agent_id, request, now)
                self.outputs.send_after(AcceptUpgrade(self.conn, exchange), self._hub.batch_of(agent_id))
                self._begin_link(now)
            else:  # answered when the session is drained
                self._answer_state = ANSWER.after(self._answer_state, AnswerInput.REQUEST)
                self._exchange = exchange
                self.outputs.events.append(RequestArrived(self.conn, exchange, request))
        except ApiError as error:
            after = self._hub.batch_of(agent_id or "")
            self._answer(exchange, error_answer(error, extra_headers(error, "GET")), after=after)

    def respond(
        self, exchange: int, response: HttpResponse, now: Instant, *, more: bool = False, after: int = 0
    ) -> bool:
        """Answer a request, once, when batch `after` is stored; `send_body` goes on with `more`. False if it ended."""
        misuse.check_respond(exchange, response, more, after)
        self._hub.input_of(self.conn, now)
        if not self._is_at(AnswerState.AWAITED, exchange):
            return False
        self._answer_state = ANSWER.after(self._answer_state, AnswerInput.BEGIN if more else AnswerInput.END)
        self._answer(exchange, response, more=more, after=after)
        return True

    def send_body(self, exchange: int, data: bytes, now: Instant, *, more: bool = True, after: int = 0) -> bool:
        """Send a piece of a body that `respond` began; the last has no `more`. False if the answer has ended."""
        misuse.check_send_body(exchange, data, more, after)
        self._hub.input_of(self.conn, now)
        if not self._is_at(AnswerState.BEGUN, exchange):
            return False
        if not more:
            self._answer_state = ANSWER.after(self._answer_state, AnswerInput.END)
        self._outflow.written += len(data)
        self.outputs.send_after(SendBody(self.conn, exchange, data, more), after)
        return True

    @property
    def unread_bytes(self) -> int:
        """What was written and, as far as the driver has told, has not left."""
        return self._outflow.pending + self.outputs.held_bytes

    def _is_at(self, state: AnswerState, exchange: int) -> bool:
        return (self.state, self._answer_state, self._exchange) == (SessionState.HTTP, state, exchange)

    def _answer(self, exchange: int, response: HttpResponse, *, more: bool = False, after: int) -> None:
        self._outflow.written += len(response.body)
        self.outputs.send_after(SendResponse(self.conn, exchange, response, more), after)

    # --- the link -----------------------------------------------------------------------------------------------------

    def link_opened(self, agent_id: str, now: Instant) -> None:
        """An agent's link is open; the transport has authenticated it: no request, no token. Raises ApiError 404 for an
        agent that is not registered, and LocalProtocolError after a request.
        """
        misuse.check_text(agent_id, "an agent's id")
        if self.state is not SessionState.HTTP or self._exchange:
            raise LocalProtocolError("expected the link to be opened first and once, on a connection without requests")
        now = self._hub.input_of(self.conn, now)
        self._hub.link_opened(self, agent_id, now)
        self._begin_link(now)

    def _begin_link(self, now: Instant) -> None:
        self._region.fire(SessionInput.UPGRADED)
        self.address, self.origin = None, ""
        self._link = self._live = LinkEnd(self.conn, self._hub.config, self.outputs, now.mono, self._outflow)
        self._clock_offset_s = now.wall - now.mono
        self._read_again()  # a link is read while it cannot be written
        self._arm_timers(now)

    def text_received(self, payload: bytes, now: Instant) -> None:
        """One whole TEXT message; its bytes must have been checked to be UTF-8 (MSG-6)."""
        if type(payload) is not bytes:
            misuse.check_payload(self.conn, payload)
        now = self._hub.input_of(self.conn, now)
        link, linked = self._live, self.linked
        if link is None or linked is None:
            return
        try:
            heartbeat = decode_sound_heartbeat(payload)  # nearly every message of an idle agent is one
            if heartbeat is not None:
                self._hub.traffic.heartbeat_received(linked, heartbeat.data, now)
            else:
                self._hub.traffic.message_received(linked, decode_envelope(payload, HEARD_BY_PLATFORMS), now)
        except RemoteProtocolError as error:
            if not self._hub.traffic.violated(linked, error, payload, now):
                if too_many := link.bad_message(len(payload), now.mono):
                    self.close(1008, too_many, now)
                return
        link.bad_in_a_row = 0

    def bytes_received(self, now: Instant) -> None:
        """Anything at all came in: a sign of life (LINK-7). Call it before the input it was part of."""
        now = self._look_at_clocks(now)
        if self._live is not None and self.linked is not None:
            self._live.liveness.received(now.mono)
            self.linked.presence.last_seen = now.wall

    def ping_received(self, payload: bytes, now: Instant) -> None:
        """A ping."""
        misuse.check_payload(self.conn, payload)
        now = self._hub.input_of(self.conn, now)
        if (link := self._live) is not None:
            link.pong(payload)
            self._await_report(now)

    def pong_received(self, payload: bytes, now: Instant) -> None:
        """A pong."""
        misuse.check_payload(self.conn, payload)
        now = self._hub.input_of(self.conn, now)
        if self._live is not None:
            self._live.liveness.pong(payload, now.mono)

    def close_received(self, code: int, reason: str, now: Instant) -> None:
        """A close frame; `code` is 1005 where it named none."""
        misuse.check_close_received(self.conn, code, reason)
        self._hub.input_of(self.conn, now)
        if self._link is None or self.state is SessionState.CLOSED:
            return
        if self.state is SessionState.UP:
            self._link.close(code, "")
        self._cut(f"the agent closed the link with {code}")

    @property
    def has_room(self) -> bool:
        """Whether what can wait may go out over the live link (LINK-8)."""
        return self._live is not None and self._outflow.has_room

    def deliver(self, payload: bytes, now: Instant) -> None:
        """From the hub, while `has_room`: send a message over the live link."""
        assert self._live is not None, "the hub lets go of a session when its link ends"
        self._live.send(payload)
        self._await_report(now)
        self._hub.touch(self.conn)

    def close(self, code: int, reason: str, now: Instant) -> None:
        """Begin the closing handshake; from now on the agent is offline. Raises as `PlatformProtocol.close`."""
        misuse.check_close(code, reason)
        now = self._hub.input_of(self.conn, now)
        if (link := self._live) is not None:
            link.close(code, reason)
            self._region.fire(SessionInput.CLOSE)
            self._live = None
            self.timers.clear()
            self.timers.set(ConnectionTimer.CLOSE, now.mono + self._hub.config.close_timeout)
            self._hub.link_ended(self, f"closed with {code}: {reason}")

    # --- the connection -----------------------------------------------------------------------------------------------

    def disconnected(self, reason: str, now: Instant) -> None:
        """The connection has ended, by the peer or by the network. `reason` is for people."""
        misuse.check_reason(reason)
        self._hub.peer_is_gone(self.conn, now)
        if self.state is not SessionState.CLOSED:
            self._end(f"the connection ended: {reason}")

    def peer_ended(self, now: Instant) -> None:
        """The peer has ended its side: nothing more will come, so this side ends too, after what was written."""
        self.drop("the peer closed it", now)

    def peer_failed(self, error: RemoteProtocolError, now: Instant) -> None:
        """The peer broke the framing: nothing more can be read from it. HTTP errors are answered by the façade."""
        misuse.check_peer_failed(self.conn, error)
        self._hub.input_of(self.conn, now)
        self._drop(error.code, error.reason)

    def drop(self, reason: str, now: Instant) -> None:
        """End the connection from this side, after what was written: for a driver that is shutting down."""
        misuse.check_reason(reason)
        self._hub.watches.finish(self, self._hub.input_of(self.conn, now))
        self._drop(1001, reason)

    def _drop(self, code: int, reason: str) -> None:
        if self.state is not SessionState.CLOSED:
            if self._live is not None:
                self._live.close(code, reason)
            self._cut(reason)

    def unsent(self, nbytes: int, now: Instant, *, unwritten_bytes: int = 0) -> None:
        """So many bytes of what was written have not left (LINK-8). When to tell it, `PlatformProtocol.unsent` says.

        A transport that frames messages counts their payloads, or more. `unwritten_bytes` were drained here, and handed
        on to nobody yet: a façade's. Raises LocalProtocolError below 0.
        """
        misuse.check_unsent(nbytes, self.conn, unwritten_bytes)
        now = self._hub.input_of(self.conn, now)
        undrained_bytes = unwritten_bytes + self.outputs.undrained_bytes(self.conn)
        if self._live is not None:
            self._live.unsent(nbytes, now.mono, undrained_bytes)
            self._send_on(now)
        elif self.state is SessionState.HTTP:
            self._outflow.report(nbytes, now.mono, undrained_bytes)
            self._look_at_level()

    def _look_at_level(self) -> None:
        """Before a link, no further request is read while much of the answers has not left (PLAT-8)."""
        self.timers.arm(ConnectionTimer.STALL, self._outflow.stall_deadline(self._hub.config.write_stall_timeout))
        if self._outflow.unsent < WRITE_AHEAD_BYTES:
            self._read_again()
        elif not self.is_reading_paused:
            self.is_reading_paused = True
            self.outputs.asks.append(PauseReading(self.conn))

    def _read_again(self) -> None:
        if self.is_reading_paused:
            self.is_reading_paused = False
            self.outputs.asks.append(ResumeReading(self.conn))

    def _send_on(self, now: Instant) -> None:
        """There may be room on the link for what the hub holds back."""
        if self.has_room and self.linked is not None:
            self._hub.traffic.send_on(self.linked.record.agent_id, now)
        self._arm_timers(now)

    def _await_report(self, now: Instant) -> None:
        """Much was written at once: a driver that has something to report does so, or else it counts as having left."""
        if self._outflow.awaits_report and self.timers.get(ConnectionTimer.GRANT) is None:
            self.timers.set(ConnectionTimer.GRANT, now.mono + GRANT_S)

    # --- time and outputs ---------------------------------------------------------------------------------------------

    def timer_due(self, timer: ConnectionTimer, when: float, now: Instant) -> None:
        """From the hub: the time of one of `timers` has come; it is set no more."""
        self._look_at_clocks(now)
        match timer:
            case ConnectionTimer.PING:
                self._check_liveness(now, is_late=now.mono - when > LATE_TIMER_S)
            case ConnectionTimer.STALL:
                self._cut("writing stalled", abort=True)
            case ConnectionTimer.CLOSE:
                self._cut("the closing handshake was not answered", abort=True)
            case ConnectionTimer.WATCH:
                self._hub.watches.timer_due(self, now)
            case ConnectionTimer.GRANT | ConnectionTimer.COMING | ConnectionTimer.WAITING:  # the last two: of a façade
                assert self._live is not None, "only a live link waits for a report"
                self._live.grant(now.mono)
                self._send_on(now)
            case _:
                assert_never(timer)
        self._arm_timers(now)

    def _cut(self, reason: str, *, abort: bool = False) -> None:
        self.outputs.disconnects.append(Disconnect(self.conn, abort=abort))
        self._end(reason)

    def _check_liveness(self, now: Instant, *, is_late: bool) -> None:
        """Ping after silence; then, or after 90 s, the agent is gone. A late look proves nothing (LINK-7, HB-3)."""
        link = self._live
        assert link is not None, "only a live link is looked at"
        verdict = link.liveness.verdict(now.mono)
        offline_at = link.liveness.silent_for(OFFLINE_AFTER_S)
        is_silent = offline_at is not None and now.mono >= offline_at
        if verdict is Verdict.LOST or (is_silent and not is_late):
            self.close(4408, "nothing was received for too long", now)
        elif verdict is Verdict.PING or is_silent:
            link.ping(now.mono)

    def _look_at_clocks(self, now: Instant) -> Instant:
        """The moment it is. Ping at once when the clocks have parted: the computer slept, or one was set (LINK-7)."""
        now = self._hub.input_of(self.conn, now)
        offset_s = now.wall - now.mono
        if abs(offset_s - self._clock_offset_s) > CLOCK_DRIFT_S and self._live is not None:
            self._live.ping(now.mono)
        self._clock_offset_s = offset_s
        return now

    def take_output(self) -> PlatformSessionEffect | RequestArrived | None:
        """From the hub: the next output."""
        return self.next_event() or self.outputs.next()

    def next_event(self) -> RequestArrived | None:
        """For a façade: answer what the API knows, and return the next request that it does not know."""
        if self._answer_state is AnswerState.AWAITED and self._hub.watches.is_due(self.conn):
            self._hub.watches.timer_due(self, self._hub.now)
        while self.outputs.events:
            arrived = self.outputs.events.pop(0)
            if not handle(self._hub, self, arrived.exchange, arrived.request, self.address, self._hub.now):
                return arrived
        return None

    def _arm_timers(self, now: Instant) -> None:
        if (link := self._live) is None:
            return
        look_at, offline_at = link.liveness.deadline, link.liveness.silent_for(OFFLINE_AFTER_S)
        if look_at is not None and offline_at is not None and now.mono < offline_at:
            look_at = min(look_at, offline_at)
        if (self.timers.get(ConnectionTimer.PING) or float("inf")) > now.mono:  # a look that is due is not put off
            self.timers.arm(ConnectionTimer.PING, look_at)
        self.timers.arm(ConnectionTimer.STALL, link.stall_deadline)
        self._await_report(now)

    def _end(self, reason: str) -> None:
        self._region.fire(SessionInput.ENDED)
        self._live = None
        self.timers.clear()
        self._hub.watches.forget(self.conn)
        self.is_reading_paused = False
        self._hub.link_ended(self, reason)
