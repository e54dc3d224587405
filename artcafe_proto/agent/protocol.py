"""The agent's façade: bytes and time in, effects and events out. A driver calls this.

It has a machine and, of each connection, a wire: bytes become messages here, and back. What has nothing to do with
bytes it passes on.
"""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, assert_never

from artcafe_proto.agent.machine import AgentMachine
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
from artcafe_proto.misuse import check_number, check_read
from artcafe_proto.records import Keeps
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
    from collections.abc import Iterable
    from random import Random

    from artcafe_proto.agent.connector import ConnectFailure
    from artcafe_proto.agent.dialing import AgentTimer
    from artcafe_proto.agent.states import AgentState
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import AgentSend, Effect, PersistFailure
    from artcafe_proto.events import AgentEvent
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus, FinalCode
    from artcafe_proto.policies.status import DeclaredStatus
    from artcafe_proto.records import Record
    from artcafe_proto.wires.inputs import Input

__all__ = ["AgentProtocol"]


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


class AgentProtocol(Secretive):
    """One agent over byte streams.

    - Look: `config`, `state`, `deadline_reason`, `in_flight`, `queued`, `outbox_size`, `unstored`, `rtt_s`, `status`,
      `is_stopped`.
    - World → core: `connected`, `connect_failed`, `data_received`, `eof_received`, `disconnected`, `unsent`, `signed`,
      `sign_failed`, `persisted`, `persist_failed`, `handle_timer`. They never raise on anything that a peer, a network
      or a clock can cause; late and repeated calls are harmless.
    - Application → core: `start`, `stop`, `respond`, `fail`, `progress`, `set_status`, `set_metrics`, `send_message`,
      `get_details`, `put_status`, `cancel_call`. Misuse raises LocalProtocolError and changes nothing; races return
      False.
    - Core → world: `next_output`, to be called until None after every call of the two groups above, and `deadline`.

    That is all. A transport that frames messages by itself drives an `AgentMachine`, which has inputs for them.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        rng: Random,
        restored: Iterable[Record] = (),
        keeps: Keeps = Keeps.NOTHING,
        now: Instant | None = None,
    ) -> None:
        """`rng` is all the randomness there is: SystemRandom for real, `Random(seed)` to repeat a run exactly.

        With `keeps=Keeps.RECORDS` there is a journal (CMD-1): the driver carries out `Persist`. `restored` is what its
        store held, and `now` the moment of this start. Raises LocalProtocolError without that, and for what is not this
        agent's journal; DamagedRecordError for records that are not what was stored.
        """
        self._machine = AgentMachine(config, rng=rng, restored=restored, keeps=keeps, now=now)
        self._outputs = self._machine.outputs
        self._rng = rng
        self._channels: dict[int, _Channel] = {}
        self._unwritten: dict[int, _Channel] = {}

    # --- look ---------------------------------------------------------------------------------------------------------

    @property
    def config(self) -> AgentConfig:
        """What it was made with."""
        return self._machine.config

    @property
    def state(self) -> AgentState:
        """The states of both regions."""
        return self._machine.state

    @property
    def is_stopped(self) -> bool:
        """Whether this agent has ended for good."""
        return self._machine.is_stopped

    @property
    def status(self) -> AgentStatus:
        """What heartbeats say (STAT-1)."""
        return self._machine.status

    @property
    def deadline_reason(self) -> AgentTimer | None:
        """What `deadline` is for; where it is the heartbeat, call `set_metrics` before `handle_timer` (HB-2)."""
        return self._machine.deadline_reason

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Ids of the commands that run (CMD-5)."""
        return self._machine.in_flight

    @property
    def queued(self) -> tuple[str, ...]:
        """Ids of the commands that wait for a slot (CMD-5)."""
        return self._machine.queued

    @property
    def outbox_size(self) -> int:
        """Responses and messages that are not settled (CMD-3)."""
        return self._machine.outbox_size

    @property
    def unstored(self) -> int:
        """How many records are not stored (CMD-1): after `Stopped`, what its journal lacks."""
        return self._machine.unstored

    @property
    def rtt_s(self) -> float | None:
        """Round-trip time of the last answered ping of this link, in seconds (LINK-7)."""
        return self._machine.rtt_s

    # --- world → core: connections ------------------------------------------------------------------------------------

    def connected(self, conn: int, now: Instant, *, tls: bool) -> None:
        """Answer to `Connect`: the connection is open, `tls` if under TLS that is verified.

        Raises LocalProtocolError, and changes nothing, if that is not what `Connect.tls` asked for (TOK-4).
        """
        self._machine.connected(conn, now, tls=tls)

    def connect_failed(self, conn: int, cause: ConnectFailure, detail: str, now: Instant) -> None:
        """Answer to `Connect`: it could not be opened. `detail` is for people."""
        self._machine.connect_failed(conn, cause, detail, now)
        self._forget(conn)

    def data_received(self, conn: int, data: bytes, now: Instant) -> None:
        """Bytes came in on `conn`. Raises LocalProtocolError, and changes nothing, for anything but one byte or more: a
        read that brings none is the end of the stream, for `eof_received`.
        """
        if type(conn) is not int or type(data) is not bytes or not data:  # a check of each costs a call
            check_read(conn, data)
        channel = self._channels.get(conn)
        if channel is not None:
            machine = self._machine
            machine.bytes_received(conn, now)
            for received in channel.wire.receive(data):
                if type(received) is TextReceived:  # most are
                    machine.text_received(conn, received.payload, now)
                else:
                    self._take(conn, channel, received, now)

    def eof_received(self, conn: int, now: Instant) -> None:
        """The peer has ended its side of `conn`; nothing more will come in."""
        check_number(conn, "a connection")
        channel = self._channels.get(conn)
        if channel is not None:
            self._machine.begin_read(now)
            for received in channel.wire.receive_eof():
                self._take(conn, channel, received, now)

    def disconnected(self, conn: int, reason: str, now: Instant) -> None:
        """The connection has ended, by the peer or by the network. `reason` is for people."""
        self._machine.disconnected(conn, reason, now)
        self._forget(conn)

    def unsent(self, conn: int, nbytes: int, now: Instant) -> None:
        """So many bytes of what was written on `conn` have not left: a level, told as often as the driver likes.

        It is what the transport holds plus what the system has not had acknowledged (SIOCOUTQ on Linux; elsewhere a
        send buffer of at most 64 KiB keeps that small). Without a report everything counts as having left: so tell it
        after a large write, and while it is above 0 before each `handle_timer` and now and then. It decides how much is
        written ahead and when writing stalls (LINK-8), and whether a line is slow or dead (LINK-7, CMD-3). Raises
        LocalProtocolError unless `nbytes` is 0 or more.
        """
        check_number(conn, "a connection")
        channel = self._channels.get(conn)
        unwritten_bytes = 0 if channel is None else sum(map(len, channel.chunks))
        self._machine.unsent(conn, nbytes, now, unwritten_bytes=unwritten_bytes)

    def _take(self, conn: int, channel: _Channel, received: Input, now: Instant) -> None:
        """Hand an input that is no text to the machine, which drops it if `conn` is no longer its own (LINK-9)."""
        assert not isinstance(received, _HEARD_ELSEWHERE), "a client's wire receives no requests"
        machine = self._machine
        match received:
            case ResponseReceived():
                machine.response_received(conn, channel.exchange, received.response, now)
            case Upgraded():
                machine.upgraded(conn, channel.exchange, now)
            case PingReceived():
                machine.ping_received(conn, received.payload, now)
            case PongReceived():
                machine.pong_received(conn, received.payload, now)
            case CloseReceived():
                machine.close_received(conn, received.code, received.reason, now)
            case Failed():
                machine.peer_failed(conn, received.error, now)
            case Ended():
                machine.peer_ended(conn, now)
            case _:
                assert_never(received)

    # --- world → core: signatures, the journal and time ---------------------------------------------------------------

    def signed(self, request: int, signature: bytes, now: Instant) -> None:
        """Answer to `Sign`: the signature, in the configured format (AUTH-3). Without a signature, call `sign_failed`.

        Raises LocalProtocolError, and changes nothing, for anything but bytes, at most 16 KiB.
        """
        self._machine.signed(request, signature, now)

    def sign_failed(self, request: int, reason: str, now: Instant) -> None:
        """Answer to `Sign`: there is no signature. `reason` is for people; it must hold no secret."""
        self._machine.sign_failed(request, reason, now)

    def persisted(self, batch: int, now: Instant) -> None:
        """Answer to `Persist`: its records are stored. Late and repeated calls are harmless."""
        self._machine.persisted(batch, now)

    def persist_failed(self, batch: int, reason: PersistFailure, now: Instant) -> None:
        """Answer to `Persist`: they could not be, `full` or `unavailable`. The batch is handed out again after 1 s."""
        self._machine.persist_failed(batch, reason, now)

    def handle_timer(self, now: Instant) -> None:
        """Time has passed. Afterwards `deadline` is None or later than `now.mono`."""
        self._machine.handle_timer(now)

    # --- application → core -------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> None:
        """Go online, and come back whatever happens, until `stop`. Raises LocalProtocolError the second time."""
        self._machine.start(now)

    def stop(self, now: Instant, *, drain: bool = True) -> None:
        """End for good: after a drain (CMD-8), or at once and in any state (LINK-10). `Stopped` is the last event."""
        self._machine.stop(now, drain=drain)

    def respond(self, command_id: str, result: object, now: Instant) -> bool:
        """Answer a command with success. False if it was answered otherwise already, or is not running.

        Raises LocalProtocolError, and changes nothing, if `result` cannot be JSON.
        """
        return self._machine.respond(command_id, result, now)

    def fail(self, command_id: str, code: FinalCode, reason: str, now: Instant) -> bool:
        """Answer a command with an error (CMD-9). `reason` travels to the platform. False as for `respond`. Raises
        LocalProtocolError, and changes nothing, for a code that is not final and a reason that is no text.
        """
        return self._machine.fail(command_id, code, reason, now)

    def progress(self, command_id: str, percent: float, now: Instant) -> bool:
        """Report how far a running command is, 0 to 100 (STAT-4). False if it is not running or the link is down."""
        return self._machine.progress(command_id, percent, now)

    def set_status(self, status: DeclaredStatus, now: Instant) -> None:
        """Declare the agent's status (STAT-1); it is `busy` by itself while no more commands can start."""
        self._machine.set_status(status, now)

    def set_metrics(self, cpu_usage: float, memory_usage: float) -> None:
        """What the next heartbeats say: percent of all cores, and resident MiB (HB-2)."""
        self._machine.set_metrics(cpu_usage, memory_usage)

    def send_message(self, data: dict[str, object], now: Instant) -> str:
        """Queue an application message and return its id; `MessageSettled` tells when the platform has read it (CMD-3).

        Raises LocalProtocolError if `data` is no JSON object, too large, or the agent has stopped; OutboxFullError
        while too many are not settled.
        """
        return self._machine.send_message(data, now)

    def get_details(self, now: Instant) -> int:
        """Ask for the agent as the platform shows it (STAT-2); answered by `CallAnswered` or `CallFailed`.

        Returns the number of the call. Raises LocalProtocolError if the agent does not run, or too many calls wait.
        """
        return self._machine.get_details(now)

    def put_status(self, status: AgentStatus, now: Instant) -> int:
        """Set the agent's status by request instead of by message (STAT-2). Answered and raising as `get_details`."""
        return self._machine.put_status(status, now)

    def cancel_call(self, call: int, now: Instant) -> bool:
        """Nobody waits for a call any more: it ends with `CallFailed`. False if it has ended already."""
        return self._machine.cancel_call(call, now)

    # --- core → world -------------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When to call `handle_timer`, in monotonic seconds; None if nothing is waited for."""
        return self._machine.deadline()

    def next_output(self) -> Effect | AgentEvent | None:
        """The next effect or event: events, then what is asked, then one `Write` a connection, then disconnects."""
        if (event := self._machine.next_event()) is not None:
            return event
        outputs = self._outputs
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

    def _encode(self, sends: list[AgentSend]) -> None:
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

    def _encode_request(self, send: AgentSend, channel: _Channel) -> bytes:
        assert isinstance(send, _REQUESTS), "only requests go out before an upgrade"
        channel.exchange = send.exchange
        if isinstance(send, SendUpgrade):
            return channel.wire.upgrade(send.request)
        return channel.wire.request(send.request)

    def _forget(self, conn: int) -> None:
        self._channels.pop(conn, None)
        self._unwritten.pop(conn, None)
