"""The platform's façade for one accepted connection: bytes and time in, effects out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from artcafe_proto.effects import (
    AcceptUpgrade,
    SendBody,
    SendClose,
    SendPing,
    SendPong,
    SendRequest,
    SendResponse,
    SendText,
    SendUpgrade,
    Write,
)
from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.exchanges import Response
from artcafe_proto.instants import format_http_date
from artcafe_proto.misuse import check_bytes
from artcafe_proto.platform.session import PlatformSession, SessionTimer
from artcafe_proto.platform.states import SessionState
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
    from artcafe_proto.effects import MachineEffect
    from artcafe_proto.events import Event
    from artcafe_proto.instants import Instant
    from artcafe_proto.platform.hub import PlatformHub
    from artcafe_proto.wires.inputs import Input

_RUSHED: Final = frozenset({Phase.HEAD, Phase.BODY})
_AN_AGENTS: Final = (SendRequest, SendUpgrade)  # a tuple is made once, a union each time
_HEARD_BY_AGENTS: Final = (ResponseReceived, Upgraded, BinaryReceived)  # our wires refuse binary (MSG-7)


class PlatformProtocol(PlatformSession):
    """One accepted connection over a byte stream.

    - World → core: `data_received`, `eof_received`, `disconnected`, `unsent`, `handle_timer`. They never raise on
      anything that a peer, a network or a clock can cause. (The other inputs of `PlatformSession` are for transports
      that frame messages by themselves.)
    - Owner → core: `respond` to a `RequestArrived`, and `send_body`; `turn_away`; `drop`.
    - Core → world: `next_output`, to be called until None after every call of this object, of its hub, and for every
      `Attend` of the hub; and `deadline`.
    """

    __slots__ = ("_chunks",)  # tokens wait in them: `vars` is not to show any (TOK-4)

    def __init__(self, hub: PlatformHub, *, conn: int, now: Instant, address: str | None = None) -> None:
        """`conn` is the owner's number for the connection, unique on the platform. `address`: the peer's IP address, by
        which attempts to sign in are limited (PLAT-8); None: they are not.
        """
        super().__init__(hub, conn, address=address)
        self._wire = ServerWire(rng=hub.rng, max_message_size=hub.config.max_message_size)
        self._exchange = 0
        self._now = now = hub.look_at_clock(now)
        self._phase = Phase.IDLE
        self._chunks: list[bytes] = []
        self._watch_phase(now.mono)

    # --- world → core -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes, now: Instant) -> None:
        """Bytes came in. Raises LocalProtocolError, and changes nothing, for anything but bytes."""
        check_bytes(data)
        self._now = now = self._hub.look_at_clock(now)
        self.bytes_received(now)
        inputs = self._wire.receive(data)
        if self._live is None:
            self._read(inputs, now)
        else:  # nothing of HTTP is left to look after
            for received in inputs:
                if type(received) is TextReceived:
                    self.text_received(received.payload, now)
                else:
                    self._take(received, now)

    def eof_received(self, now: Instant) -> None:
        """The peer has ended its side; nothing more will come in."""
        self._now = now = self._hub.look_at_clock(now)
        self.has_peer_ended = True
        self._read(self._wire.receive_eof(), now)
        self._hub.watches.finish(self, now)  # whoever goes on waiting for an answer does not end its side

    def respond(self, exchange: int, response: Response, now: Instant, *, more: bool = False) -> bool:
        """Answer a `RequestArrived`, once; with `more`, `send_body` goes on. False if the connection has ended.

        A body in pieces goes out in chunks, or to HTTP/1.0 until the connection ends (RFC 9112 section 6.3). Raises
        LocalProtocolError for what HTTP cannot carry, and for a Content-Length or Transfer-Encoding: they are written
        for the body.
        """
        check_answer(response)
        self._now = now = self._hub.look_at_clock(now)
        if not super().respond(exchange, response, now, more=more):
            return False
        self._encode_sends()
        self._read_on(now)
        return True

    def send_body(self, exchange: int, data: bytes, now: Instant, *, more: bool = True) -> bool:
        """Send a piece of a body, the last one without `more`. A connection that ends earlier shows it as cut off.

        Raises LocalProtocolError, and changes nothing, for anything but bytes.
        """
        check_bytes(data)
        self._now = now = self._hub.look_at_clock(now)
        if not super().send_body(exchange, data, now, more=more):
            return False
        self._encode_sends()
        self._read_on(now)
        return True

    def turn_away(self, now: Instant) -> None:
        """Answer 503 whatever will be asked, and end the connection: for an owner that has as many as it may (PLAT-8).

        Whoever is told at once costs its place for no longer than a goodbye takes.
        """
        self._refuse(RemoteProtocolError(503, "as many connections as allowed are open: try again later", "PLAT-8"))
        self.drop("there are too many connections", now)

    def unsent(self, nbytes: int, now: Instant) -> None:
        """So many bytes of what was written have not left: a level, told as often as the driver likes.

        It is what the transport holds plus what the system has not had acknowledged (SIOCOUTQ on Linux; elsewhere a
        send buffer of at most 64 KiB keeps that small). Without a report everything counts as having left: so tell it
        after a large write, and while it is above 0 before each `handle_timer` and now and then. What the hub has for
        the agent waits while too much has not left (LINK-8). Raises LocalProtocolError unless `nbytes` is 0 or more.
        """
        super().unsent(nbytes, now)
        if self.state is SessionState.HTTP:
            self._read_on(self._hub.look_at_clock(now))

    def _undrained_bytes(self) -> int:
        return super()._undrained_bytes() + sum(map(len, self._chunks))

    @property
    def held_bytes(self) -> int:
        """What has come of a request or message that is not whole, or waits for its turn."""
        return self._wire.held_bytes

    def _read(self, inputs: list[Input], now: Instant) -> None:
        if interim := self._wire.take_interim():
            self._chunks.append(interim)
        before = self._exchange
        for received in inputs:
            self._take(received, now)
        self._encode_sends()
        if self._exchange > before:
            self._read_on(now)
        self._watch_phase(now.mono)

    def _read_on(self, now: Instant) -> None:
        """A request that came behind another has its own turn, once the answer to that was written.

        Else one small read could make for any number of answers before the transport can say that it is full.
        """
        if self._wire.has_unread and not self._reading_paused and self._wire.phase is not Phase.ANSWERING:
            self._timers.set(SessionTimer.NEXT_REQUEST, now.mono)
        self._watch_phase(now.mono)

    def _read_next_request(self, now: Instant) -> None:
        self._now = now
        self._read(self._wire.receive(b""), now)

    def _take(self, received: Input, now: Instant) -> None:
        assert not isinstance(received, _HEARD_BY_AGENTS), "a server's wire receives no responses"
        match received:
            case TextReceived():
                self.text_received(received.payload, now)
            case RequestReceived():
                self._exchange += 1
                self._timers.cancel(SessionTimer.REQUEST)
                self.request_received(self._exchange, received.request, now, upgrade=received.upgrade)
            case PingReceived():
                self.ping_received(received.payload, now)
            case PongReceived():
                self.pong_received(received.payload, now)
            case CloseReceived():
                self.close_received(received.code, received.reason, now)
            case Failed():
                self._refuse(received.error)
                self.peer_failed(received.error, now)
            case Ended():
                self.peer_ended(now)
            case _:
                assert_never(received)

    def _refuse(self, error: RemoteProtocolError) -> None:
        if self.state is SessionState.HTTP and not self._wire.is_sending_body:
            self._chunks.append(self._wire.refuse(error))

    def _watch_phase(self, mono: float) -> None:
        """Requests have deadlines of their own: one for the whole of a head, one for a body, one between (PLAT-8)."""
        phase = self._wire.phase
        if phase is self._phase and self._timers.get(SessionTimer.REQUEST) is not None:
            return
        self._phase = phase
        if self.state is not SessionState.HTTP or phase is Phase.ANSWERING or self._reading_paused:
            self._timers.cancel(SessionTimer.REQUEST)
            return
        config = self._hub.config
        allowed_s = {Phase.HEAD: config.head_timeout, Phase.BODY: config.body_timeout}.get(phase, config.idle_timeout)
        self._timers.set(SessionTimer.REQUEST, mono + allowed_s)

    def _request_timed_out(self, now: Instant) -> None:
        if self._wire.phase in _RUSHED:
            self._refuse(RemoteProtocolError(408, "the request did not come in time", "PLAT-8"))
        super()._request_timed_out(now)

    # --- core → world -------------------------------------------------------------------------------------------------

    def next_output(self) -> MachineEffect | Event | None:
        """The next effect or event: events, then what is asked, then one `Write`, then a disconnect."""
        self._hub.watches.drained(self)
        outputs = self._outputs
        if outputs.sends:
            self._encode_sends()
        if outputs.events:
            return outputs.events.pop(0)
        if outputs.asks:
            return outputs.asks.pop(0)
        if self._chunks:
            data, self._chunks = b"".join(self._chunks), []
            return Write(self.conn, data)
        return outputs.disconnects.pop(0) if outputs.disconnects else None

    def _encode_sends(self) -> None:
        while self._outputs.sends:
            send = self._outputs.sends.pop(0)
            assert not isinstance(send, _AN_AGENTS), "a platform sends no requests"
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

    def _encode_response(self, response: Response, *, more: bool) -> None:
        headers = (*response.headers, ("date", format_http_date(self._now.wall)))
        dated = Response(status=response.status, headers=headers, body=response.body)
        self._chunks.append(self._wire.respond(dated, more=more))
        self._end_if_last()

    def _end_if_last(self) -> None:
        if not self._wire.reusable:
            self.drop("the last answer was given", self._now)
