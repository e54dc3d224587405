"""The platform's façade for one accepted connection: bytes and time in, effects out. A driver calls it.

It has a session and a wire: bytes become requests and messages here, and back. How long a request may take to come is
its affair too (PLAT-8); what has nothing to do with bytes it passes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from artcafe_proto.effects import (
    AcceptUpgrade,
    Disconnect,
    SendBody,
    SendClose,
    SendPing,
    SendPong,
    SendResponse,
    SendText,
    Write,
)
from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.exchanges import HttpResponse
from artcafe_proto.instants import format_http_date
from artcafe_proto.misuse import check_flag, check_number, check_read, check_send_body, check_unsent
from artcafe_proto.platform.connections import ConnectionTimer
from artcafe_proto.platform.session import PlatformSession
from artcafe_proto.platform.states import SessionState
from artcafe_proto.secrecy import Secretive
from artcafe_proto.wires.http_server import Phase, ServerWire, check_answer
from artcafe_proto.wires.inputs import (
    BinaryReceived,
    CloseReceived,
    Ended,
    Failed,
    PingReceived,
    PongReceived,
    RequestReceived,
    ResponseReceived,
    TextReceived,
    Upgraded,
)

if TYPE_CHECKING:
    from artcafe_proto.effects import PlatformEffect
    from artcafe_proto.events import RequestArrived
    from artcafe_proto.instants import Instant
    from artcafe_proto.platform.hub import PlatformHub
    from artcafe_proto.timers import Timers
    from artcafe_proto.wires.inputs import Input

__all__ = ["PlatformProtocol"]

_RUSHED: Final = frozenset({Phase.HEAD, Phase.BODY})
_WAITED_WITH: Final = frozenset({Phase.ANSWERING, Phase.WEBSOCKET})
_HEARD_ELSEWHERE: Final = (ResponseReceived, Upgraded, BinaryReceived)  # our wires refuse binary (MSG-7)


class PlatformProtocol(Secretive):
    """One accepted connection over a byte stream.

    - Look: `conn`, `address`, `state`, `is_closed`, `has_peer_ended`, `agent_id`, `held_bytes`.
    - World → core: `data_received`, `eof_received`, `disconnected`, `unsent`. They never raise on anything that a peer,
      a network or a clock can cause.
    - Driver → core: `respond` and `send_body`, for a `RequestArrived`; `turn_away`; `close`; `drop`.

    What comes of it are outputs of the hub, which the driver drains after every call of this object; the hub keeps the
    time, too. For the hub alone are `take_output`, `timer_due` and `timers`.

    That is all. A transport that frames messages by itself drives a `PlatformSession`, which has inputs for them.
    """

    __slots__ = ("_arrived", "_chunks", "_exchange", "_hub", "_phase", "_session", "_wire", "timers")

    def __init__(self, hub: PlatformHub, *, conn: int, now: Instant, address: str | None = None) -> None:
        """`conn` is the driver's number for the connection, 0 or more and unique on the platform. `address`: the peer's
        IP address, by which attempts to sign in are limited (PLAT-8); None: they are not. Raises LocalProtocolError for
        the number of an open connection, and for what is no number or no text: then the hub knows nothing of this one.
        """
        hub.check_accepted(conn, address)
        now = hub.look_at_clock(now)
        self._hub = hub
        self._session = PlatformSession(hub, conn, address=address, facade=self)
        self._wire = ServerWire(rng=hub.rng, max_message_size=hub.config.max_message_size)
        self._exchange = 0
        self._arrived = 0  # the exchange that is the driver's to answer
        self._chunks: list[bytes] = []  # what is still to be written; tokens are in there (TOK-4)
        self.timers: Timers[ConnectionTimer] = self._session.timers
        self._phase = Phase.IDLE
        self._watch_phase(now.mono)

    # --- look ---------------------------------------------------------------------------------------------------------

    @property
    def conn(self) -> int:
        """The driver's number for the connection."""
        return self._session.conn

    @property
    def address(self) -> str | None:
        """What counts as the peer's address, for `PlatformHub.principal`; None too once there is a link."""
        return self._session.address

    @property
    def state(self) -> SessionState:
        """Where the connection stands."""
        return self._session.state

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over, but for what is still to be drained."""
        return self._session.is_closed

    @property
    def has_peer_ended(self) -> bool:
        """Whether the peer has ended its side. It may still read the answers that are due, or be gone."""
        return self._session.has_peer_ended

    @property
    def agent_id(self) -> str | None:
        """Whose link it carries, or has carried; None if it is no link."""
        linked = self._session.linked
        return None if linked is None else linked.record.agent_id

    @property
    def held_bytes(self) -> int:
        """What has come of a request or message that is not whole or waits for its turn, and what waits for a store."""
        return self._wire.held_bytes + self._session.outputs.held_bytes

    # --- world → core -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes, now: Instant) -> None:
        """Bytes came in. Raises LocalProtocolError, and changes nothing, for anything but one byte or more: a read that
        brings none is the end of the stream, for `eof_received`.
        """
        if type(data) is not bytes or not data:
            check_read(self.conn, data)
        now = self._hub.look_at_clock(now)
        session, wire = self._session, self._wire
        session.bytes_received(now)
        if wire.websocket is None or wire.has_unread:
            self._read(wire.receive(data), now)
        else:  # nothing of HTTP is left to look after
            for received in wire.receive(data):
                if type(received) is TextReceived:  # most are
                    session.text_received(received.payload, now)
                else:
                    self._take(received, now)

    def eof_received(self, now: Instant) -> None:
        """The peer has ended its side; nothing more will come in."""
        now = self._hub.input_of(self.conn, now)
        self._session.has_peer_ended = True
        self._read(self._wire.receive_eof(), now)
        self._hub.watches.finish(self._session, now)  # whoever goes on waiting for an answer does not end its side
        self._go_on()

    def disconnected(self, reason: str, now: Instant) -> None:
        """The connection has ended, by the peer or by the network. `reason` is for people."""
        self._session.disconnected(reason, now)

    def unsent(self, nbytes: int, now: Instant) -> None:
        """So many bytes of what was written have not left: a level, told as often as the driver likes.

        It is what the transport holds plus what the system has not had acknowledged (SIOCOUTQ on Linux; elsewhere a
        send buffer of at most 64 KiB keeps that small). Without a report everything counts as having left: so tell it
        after a large write, and while it is above 0 before each `handle_timer` and now and then. What the hub has for
        the agent waits while too much has not left (LINK-8). Raises LocalProtocolError unless `nbytes` is 0 or more.
        """
        check_unsent(nbytes, self.conn)
        now = self._hub.look_at_clock(now)
        is_http = self._session.state is SessionState.HTTP
        if is_http:
            self._encode_sends()  # bodies are counted as they are written, in chunks
        self._session.unsent(nbytes, now, unwritten_bytes=sum(map(len, self._chunks)))
        if is_http:
            self._read_on(now)

    # --- driver → core ------------------------------------------------------------------------------------------------

    def respond(
        self, exchange: int, response: HttpResponse, now: Instant, *, more: bool = False, after: int = 0
    ) -> bool:
        """Answer a `RequestArrived`, once; with `more`, `send_body` goes on. False if the connection has ended, and for
        any other exchange: the core answers it. What shows the hub's state leaves `after` the batch `hub.barrier` is
        stored (PLAT-5); if that takes too long, it is answered 503 instead.

        A body in pieces goes out in chunks, or to HTTP/1.0 until the connection ends (RFC 9112 section 6.3). Raises
        LocalProtocolError for what HTTP cannot carry, and for a Content-Length or Transfer-Encoding: they are written
        for the body.
        """
        check_number(exchange, "an exchange")
        check_number(after, "a batch")
        check_flag(more, "more")
        check_answer(response)
        self._hub.look_at_clock(now)
        if exchange != self._arrived or not self._session.respond(exchange, response, now, more=more, after=after):
            return False
        self._go_on()
        return True

    def send_body(self, exchange: int, data: bytes, now: Instant, *, more: bool = True, after: int = 0) -> bool:
        """Send a piece of a body, the last one without `more`. A connection that ends earlier shows it as cut off.
        False as for `respond`.

        Raises LocalProtocolError, and changes nothing, for anything but bytes.
        """
        check_send_body(exchange, data, more, after)
        self._hub.look_at_clock(now)
        if exchange != self._arrived or not self._session.send_body(exchange, data, now, more=more, after=after):
            return False
        self._go_on()
        return True

    def turn_away(self, now: Instant) -> None:
        """Answer 503 whatever will be asked, and end the connection: for a driver that has as many as it may (PLAT-8).

        Whoever is told at once costs its place for no longer than a goodbye takes.
        """
        now = self._hub.look_at_clock(now)
        self._refuse(RemoteProtocolError(503, "as many connections as allowed are open: try again later", "PLAT-8"))
        self.drop("there are too many connections", now)

    def close(self, code: int, reason: str, now: Instant) -> None:
        """Begin the closing handshake of the link, whose agent is offline from now on. Nothing happens without a link.

        Raises LocalProtocolError, and changes nothing, for a code that may not be sent and for a reason of more than
        123 bytes (RFC 6455 sections 7.4 and 5.5.1).
        """
        self._session.close(code, reason, now)

    def drop(self, reason: str, now: Instant) -> None:
        """End the connection from this side, after what was written: for a driver that is shutting down."""
        self._session.drop(reason, now)
        self._go_on()

    # --- for the hub --------------------------------------------------------------------------------------------------

    def timer_due(self, timer: ConnectionTimer, when: float, now: Instant) -> None:
        """From the hub: the time of one of `timers` has come; it is set no more."""
        if timer is ConnectionTimer.WAITING:
            self._read(self._wire.receive(b""), now)
        elif timer is ConnectionTimer.COMING:
            self._request_timed_out(now)
        else:
            self._session.timer_due(timer, when, now)
            if self._wire.websocket is None:  # a link's frames are written when they are drained
                self._go_on()

    def take_output(self) -> PlatformEffect | RequestArrived | None:
        """From the hub: the next effect or event: events, then what is asked, then one `Write`, then a disconnect."""
        if self._wire.websocket is None and (event := self._session.next_event()) is not None:
            self._arrived = event.exchange
            return event
        outputs = self._session.outputs
        if outputs.sends:
            self._go_on()
        if outputs.asks:
            return outputs.asks.pop(0)
        if self._chunks:
            data, self._chunks = b"".join(self._chunks), []
            return Write(self.conn, data)
        return outputs.disconnects.pop(0) if outputs.disconnects else None

    # --- inside: what comes -------------------------------------------------------------------------------------------

    def _read(self, inputs: list[Input], now: Instant) -> None:
        if interim := self._wire.take_interim():
            self._chunks.append(interim)
        before = self._exchange
        for received in inputs:
            self._take(received, now)
        if self._exchange > before:
            self._read_on(now)
        self._watch_phase(now.mono)

    def _take(self, received: Input, now: Instant) -> None:
        assert not isinstance(received, _HEARD_ELSEWHERE), "a server's wire receives no responses"
        session = self._session
        match received:
            case TextReceived():
                session.text_received(received.payload, now)
            case RequestReceived():
                self._exchange += 1
                self.timers.cancel(ConnectionTimer.COMING)
                session.request_received(self._exchange, received.request, now, upgrade=received.upgrade)
                self._encode_sends()
            case PingReceived():
                session.ping_received(received.payload, now)
            case PongReceived():
                session.pong_received(received.payload, now)
            case CloseReceived():
                session.close_received(received.code, received.reason, now)
            case Failed():
                self._fail(received.error, now)
            case Ended():
                session.peer_ended(now)
            case _:
                assert_never(received)

    def _read_on(self, now: Instant) -> None:
        """A request that came behind another has its own turn, once the answer to that was written.

        Else one small read could make for any number of answers before the transport can say that it is full.
        """
        if self._wire.has_unread and self._wire.phase is not Phase.ANSWERING:
            self.timers.set(ConnectionTimer.WAITING, now.mono)
        self._watch_phase(now.mono)

    def _watch_phase(self, mono: float) -> None:
        """Requests have deadlines of their own: one for the whole of a head, one for a body, one between (PLAT-8)."""
        session, timers, phase = self._session, self.timers, self._wire.phase
        is_same, self._phase = phase is self._phase, phase
        is_http = session.state is SessionState.HTTP and not session.is_reading_paused
        if not is_http and not (session.state is SessionState.UP and self._wire.has_unread):
            timers.cancel(ConnectionTimer.COMING, ConnectionTimer.WAITING)
        elif phase in _WAITED_WITH:
            timers.cancel(ConnectionTimer.COMING)
        elif not is_same or timers.get(ConnectionTimer.COMING) is None:
            config = self._hub.config
            allowed_s = {Phase.HEAD: config.head_timeout, Phase.BODY: config.body_timeout}
            timers.set(ConnectionTimer.COMING, mono + allowed_s.get(phase, config.idle_timeout))

    def _fail(self, error: RemoteProtocolError, now: Instant) -> None:
        """The peer broke the framing, or sent too much ahead. Nothing can be said before an answer that waits for a
        store: then the connection is aborted, and that answer is not given.
        """
        if self._session.outputs.is_holding:
            self._session.outputs.disconnects.append(Disconnect(self.conn, abort=True))
            self._session.disconnected(error.reason, now)
        else:
            self._refuse(error)
            self._session.peer_failed(error, now)

    def _request_timed_out(self, now: Instant) -> None:
        if self._wire.phase in _RUSHED:
            self._refuse(RemoteProtocolError(408, "the request did not come in time", "PLAT-8"))
        self.drop("no request came in time", now)

    # --- inside: what goes out ----------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Write what the session has sent; there may be room for what came behind a request."""
        self._encode_sends()
        if self._session.state is not SessionState.UP or self._wire.has_unread:
            self._read_on(self._hub.now)

    def _encode_sends(self) -> None:
        sends = self._session.outputs.sends
        while sends:
            send = sends.pop(0)
            match send:
                case SendText() | SendPing() | SendPong() | SendClose():
                    assert self._wire.websocket is not None, "a link is up only after its upgrade"
                    self._chunks.append(self._wire.websocket.writer.write(send))
                case SendResponse():
                    self._encode_response(send.response, more=send.more)
                case SendBody():
                    if written := self._wire.send_body(send.data, more=send.more):  # of some pieces nothing is
                        self._chunks.append(written)
                    self._end_if_last()
                case AcceptUpgrade():
                    self._chunks.append(self._wire.accept_upgrade())
                case _:
                    assert_never(send)

    def _encode_response(self, response: HttpResponse, *, more: bool) -> None:
        if response.header("date") is None:
            headers = (*response.headers, ("date", format_http_date(self._hub.now.wall)))
            response = HttpResponse(status=response.status, headers=headers, body=response.body)
        self._chunks.append(self._wire.respond(response, more=more))
        self._end_if_last()

    def _end_if_last(self) -> None:
        if not self._wire.reusable:
            self._session.drop("the last answer was given", self._hub.now)

    def _refuse(self, error: RemoteProtocolError) -> None:
        session, wire = self._session, self._wire
        if session.state is SessionState.HTTP and not (wire.is_sending_body or session.outputs.is_holding):
            self._chunks.append(wire.refuse(error))
