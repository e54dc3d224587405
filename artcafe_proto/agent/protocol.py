"""The agent's façade: bytes and time in, effects and events out. This is what an owner of sockets drives."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, assert_never

from artcafe_proto.agent.machine import AgentMachine, ConnectFailure
from artcafe_proto.config import Origin
from artcafe_proto.effects import (
    Connect,
    SendClose,
    SendPing,
    SendPong,
    SendRequest,
    SendText,
    SendUpgrade,
    Write,
)
from artcafe_proto.misuse import check_bytes
from artcafe_proto.secrecy import Secretive
from artcafe_proto.wires.http_client import ClientWire
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
    from random import Random

    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import MachineEffect, Send
    from artcafe_proto.events import Event
    from artcafe_proto.instants import Instant
    from artcafe_proto.wires.inputs import Input


_conn_of = attrgetter("conn")
_FRAMES: Final = (SendText, SendPing, SendPong, SendClose)  # a tuple is made once, a union each time
_REQUESTS: Final = (SendRequest, SendUpgrade)
_HEARD_ELSEWHERE: Final = (RequestReceived, TextReceived, BinaryReceived)  # our wires refuse binary (MSG-7)


class _Channel(Secretive):
    """A connection's wire, the exchange under way on it, and what is still to be written."""

    __slots__ = ("chunks", "exchange", "wire")

    def __init__(self, wire: ClientWire) -> None:
        self.wire = wire
        self.exchange = 0
        self.chunks: list[bytes] = []


class AgentProtocol(AgentMachine):
    """One agent over byte streams.

    - Look: `state`, `deadline_reason`, `in_flight`, `queued`, `outbox_size`, `rtt_s`, `status`, `is_stopped`.
    - World → core: `connected`, `connect_failed`, `data_received`, `eof_received`, `disconnected`, `unsent`, `signed`,
      `sign_failed`, `handle_timer`. They never raise on anything that a peer, a network or a clock can cause; late and
      repeated calls are harmless. (The other inputs of `AgentMachine` are for transports that frame messages by
      themselves.)
    - Application → core: `start`, `stop`, `respond`, `fail`, `progress`, `set_status`, `set_metrics`, `send_message`,
      `get_details`, `put_status`, `cancel_call`. Misuse raises LocalProtocolError and changes nothing; races return
      False.
    - Core → world: `next_output`, to be called until None after every call of the two groups above, and `deadline`.
    """

    def __init__(self, config: AgentConfig, *, rng: Random) -> None:
        """`rng` is all the randomness there is: SystemRandom for real, `Random(seed)` to repeat a run exactly."""
        super().__init__(config, rng=rng)
        self._channels: dict[int, _Channel] = {}
        self._unwritten: dict[int, _Channel] = {}

    # --- world → core -------------------------------------------------------------------------------------------------

    def data_received(self, conn: int, data: bytes, now: Instant) -> None:
        """Bytes came in on `conn`. Raises LocalProtocolError, and changes nothing, for anything but bytes."""
        check_bytes(data)
        channel = self._channels.get(conn)
        if channel is not None and data:
            now = self._enter(now)
            self.bytes_received(conn, now)
            self._is_reading = True
            for received in channel.wire.receive(data):
                if type(received) is TextReceived:  # most are
                    self._hear(conn, received.payload, now)
                    self._settle_at = now  # others may follow
                else:
                    if self._settle_at is not None:  # what was heard before is answered before, however it was cut
                        self._settle(self._settle_at)
                    self._take(conn, channel, received, now)
            self._is_reading = False

    def eof_received(self, conn: int, now: Instant) -> None:
        """The peer has ended its side of `conn`; nothing more will come in."""
        channel = self._channels.get(conn)
        if channel is not None:
            now = self._enter(now)
            for received in channel.wire.receive_eof():
                self._take(conn, channel, received, now)

    def unsent(self, conn: int, nbytes: int, now: Instant) -> None:
        """So many bytes of what was written on `conn` have not left: a level, told as often as the driver likes.

        It is what the transport holds plus what the system has not had acknowledged (SIOCOUTQ on Linux; elsewhere a
        send buffer of at most 64 KiB keeps that small). Without a report everything counts as having left: so tell it
        after a large write, and while it is above 0 before each `handle_timer` and now and then. It decides how much is
        written ahead and when writing stalls (LINK-8), and whether a line is slow or dead (LINK-7, CMD-3). Raises
        LocalProtocolError unless `nbytes` is 0 or more.
        """
        super().unsent(conn, nbytes, now)

    def _undrained_bytes(self, conn: int) -> int:
        channel = self._channels.get(conn)
        return super()._undrained_bytes(conn) + (0 if channel is None else sum(map(len, channel.chunks)))

    def connect_failed(self, conn: int, cause: ConnectFailure, detail: str, now: Instant) -> None:
        """Answer to `Connect`: it could not be opened. `detail` is for people."""
        super().connect_failed(conn, cause, detail, now)
        self._forget(conn)

    def disconnected(self, conn: int, reason: str, now: Instant) -> None:
        """The connection has ended, by the peer or by the network. `reason` is for people."""
        super().disconnected(conn, reason, now)
        self._forget(conn)

    def _take(self, conn: int, channel: _Channel, received: Input, now: Instant) -> None:
        """Hand an input that is no text to the machine, which drops it if `conn` is no longer its own (LINK-9)."""
        assert not isinstance(received, _HEARD_ELSEWHERE), "a client's wire receives no requests"
        match received:
            case ResponseReceived():
                self.response_received(conn, channel.exchange, received.response, now)
            case Upgraded():
                self.upgraded(conn, channel.exchange, now)
            case PingReceived():
                self.ping_received(conn, received.payload, now)
            case PongReceived():
                self.pong_received(conn, received.payload, now)
            case CloseReceived():
                self.close_received(conn, received.code, received.reason, now)
            case Failed():
                self.peer_failed(conn, received.error, now)
            case Ended():
                self.peer_ended(conn, now)
            case _:
                assert_never(received)

    # --- core → world -------------------------------------------------------------------------------------------------

    def next_output(self) -> MachineEffect | Event | None:
        """The next effect or event: events, then what is asked, then one `Write` a connection, then disconnects."""
        outputs = self._outputs
        if (event := self._next_event()) is not None:
            return event
        if outputs.asks:
            ask = outputs.asks.pop(0)
            if isinstance(ask, Connect):
                self._channels[ask.conn] = _Channel(self._new_wire(ask))
            return ask
        if outputs.sends:
            sends, outputs.sends = outputs.sends, []
            self._encode(sends)
        for conn, channel in self._unwritten.items():
            del self._unwritten[conn]
            data, channel.chunks = b"".join(channel.chunks), []
            return Write(conn, data)
        if outputs.disconnects:
            disconnect = outputs.disconnects.pop(0)
            self._forget(disconnect.conn)
            return disconnect
        return None

    def _new_wire(self, connect: Connect) -> ClientWire:
        authority = Origin(connect.tls, connect.host, connect.port).authority
        return ClientWire(authority=authority, rng=self._rng, max_message_size=self.config.max_message_size)

    def _encode(self, sends: list[Send]) -> None:
        for conn, group in groupby(sends, _conn_of):
            channel = self._channels[conn]
            self._unwritten[conn] = channel
            websocket = channel.wire.websocket
            if websocket is None:
                channel.chunks.extend([self._encode_request(send, channel) for send in group])
                continue
            write, write_text = websocket.writer.write, websocket.writer.text
            for send in group:
                if type(send) is SendText:  # most are
                    channel.chunks.append(write_text(send.payload))
                else:
                    assert isinstance(send, _FRAMES), "a link carries frames"
                    channel.chunks.append(write(send))

    def _encode_request(self, send: Send, channel: _Channel) -> bytes:
        assert isinstance(send, _REQUESTS), "only requests go out before an upgrade"
        channel.exchange = send.exchange
        if isinstance(send, SendUpgrade):
            return channel.wire.upgrade(send.request)
        return channel.wire.request(send.request)

    def _forget(self, conn: int) -> None:
        self._channels.pop(conn, None)
        self._unwritten.pop(conn, None)
