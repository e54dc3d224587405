"""`PlatformHub` and its `PlatformSession`s under every input in any order, at any time, the senseless ones too."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from artcafe_proto import (
    HttpRequest,
    HttpResponse,
    Instant,
    LocalProtocolError,
    PlatformHub,
    PlatformSession,
    RemoteProtocolError,
)
from artcafe_proto.effects import AcceptUpgrade, SendBody, SendClose, SendPing, SendPong, SendResponse, SendText
from artcafe_proto.events import RequestArrived
from support.platform_rules import PICKS, Output, PlatformLife


class PlatformSessionLife(PlatformLife[PlatformSession]):
    """Connections of messages."""

    def accept(self, hub: PlatformHub, conn: int, now: Instant) -> PlatformSession:
        return PlatformSession(hub, conn)

    def __init__(self) -> None:
        super().__init__()
        self.exchanges = 0
        self.requests: dict[int, HttpRequest] = {}
        self.answered_exchanges: set[int] = set()
        self.answering: set[int] = set()
        """Connections on which a request is to be answered, or an answer goes on."""
        self.links: set[int] = set()
        self.closed: set[int] = set()

    def request(self, conn: int, request: HttpRequest, *, upgrade: bool) -> None:
        self.exchanges += 1
        exchange, now = self.exchanges, self.now
        self.requests[exchange] = request
        if conn in self.answering and not self.sessions[0][conn].is_closed:
            before = self.state()
            for sessions in self.sessions:
                with pytest.raises(LocalProtocolError, match="one request at a time"):
                    sessions[conn].request_received(exchange, request, now, upgrade=upgrade)
            assert self.state() == before
            return
        self.world(conn, lambda session: session.request_received(exchange, request, now, upgrade=upgrade))

    def text(self, conn: int, payload: bytes) -> None:
        now = self.now
        self.world(conn, lambda session: session.text_received(payload, now))

    def hear(self, conn: int, output: Output) -> None:
        super().hear(conn, output)
        if isinstance(output, SendResponse | SendBody):
            (self.answering.add if output.more else self.answering.discard)(conn)
        match output:
            case RequestArrived():
                self.answering.add(conn)
            case SendResponse() | AcceptUpgrade():
                assert output.exchange not in self.answered_exchanges, "a request is answered once"
                self.answered_exchanges.add(output.exchange)
                if isinstance(output, AcceptUpgrade):
                    self.links.add(conn)
                elif "/auth/" in self.requests[output.exchange].target:
                    self.answered(self.requests[output.exchange], output.response)
            case SendText() | SendPing() | SendPong() | SendClose():
                assert conn in self.links
                assert conn not in self.closed, "RFC 6455 section 5.5.1: nothing follows a close"
                if isinstance(output, SendClose):
                    self.closed.add(conn)
            case _:
                pass

    @rule(number=PICKS)
    def respond(self, number: int) -> None:
        """To what arrived, or to anything; a second time it is too late."""
        conn, exchange = self.pick(self.arrived, number) or (1, 1)
        now = self.now
        self.world(conn, lambda session: session.respond(exchange, HttpResponse(status=204), now))
        assert not self.sessions[0][conn].respond(exchange, HttpResponse(status=204), now)

    @rule(number=PICKS)
    def bytes_received(self, number: int) -> None:
        now = self.now
        self.world(self.conn(number), lambda session: session.bytes_received(now))

    @rule(number=PICKS, payload=st.binary(max_size=4) | st.sampled_from([b"1", b"2"]), is_pong=st.booleans())
    def ping_or_pong(self, number: int, payload: bytes, is_pong: bool) -> None:
        now = self.now
        if is_pong:
            self.world(self.conn(number), lambda session: session.pong_received(payload, now))
        else:
            self.world(self.conn(number), lambda session: session.ping_received(payload, now))

    @rule(number=PICKS, code=st.sampled_from([1000, 1005, 1009, 4000]))
    def close_received(self, number: int, code: int) -> None:
        now = self.now
        self.world(self.conn(number), lambda session: session.close_received(code, "bye", now))

    @rule(number=PICKS, code=st.sampled_from([1008, 4409]))
    def close(self, number: int, code: int) -> None:
        now = self.now
        self.world(self.conn(number), lambda session: session.close(code, "bye", now))

    @rule(number=PICKS, how=st.sampled_from(["lost", "ended", "failed", "dropped"]))
    def end(self, number: int, how: str) -> None:
        conn, now = self.conn(number), self.now
        error = RemoteProtocolError(1002, "a bad frame", "RFC 6455")
        match how:
            case "lost":
                self.world(conn, lambda session: session.disconnected("reset", now))
                self.gone.add(conn)
            case "ended":
                self.world(conn, lambda session: session.peer_ended(now))
            case "failed":
                self.world(conn, lambda session: session.peer_failed(error, now))
            case _:
                self.world(conn, lambda session: session.drop("shutting down", now))
        assert self.sessions[0][conn].is_closed


TestPlatformSession = PlatformSessionLife.TestCase
