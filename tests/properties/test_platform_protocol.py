"""`PlatformProtocol` under any bytes: the second of two platforms gets them in small pieces and must do the very same.

A `ClientWire` reads what is written to a peer that has kept to HTTP and WebSocket: anything else would show.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from artcafe_proto import HttpRequest, HttpResponse, Instant, LocalProtocolError, PlatformHub, PlatformProtocol
from artcafe_proto.effects import Write
from artcafe_proto.wires.frames import FrameWriter
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.inputs import Failed, ResponseReceived
from support.drained import hub_of
from support.platform_rules import PICKS, Output, PlatformLife

T = TypeVar("T")

STEPS = st.sampled_from([1, 2, 7, 100_000])
"""Bytes of the pieces that the second platform gets."""
RESPONSES = st.builds(
    HttpResponse,
    status=st.sampled_from([200, 200, 204, 404, 100, 1000]),
    headers=st.sampled_from([(), (("x-a", "b"),), (("connection", "close"),), (("bad name", ""),), (("a", "b\r\n"),)]),
    body=st.sampled_from([b"", b"{}"]),
)
REQUESTS = [
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"HEAD /api/v1/auth/verify HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST /api/v1/auth/verify HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
]
DOUBTFUL = [
    b"GET / HTTP/1.1\r\nHo",
    b"GET / HTTP/1.1\n\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{}",
]


class PlatformProtocolLife(PlatformLife[PlatformProtocol]):
    """Connections of bytes."""

    def accept(self, hub: PlatformHub, conn: int, now: Instant) -> PlatformProtocol:
        if conn not in self.clients:
            self.clients[conn] = ClientWire(authority="h", rng=Random(conn), max_message_size=100_000)
        return PlatformProtocol(hub, conn=conn, now=now)

    def __init__(self) -> None:
        super().__init__()
        self.clients: dict[int, ClientWire] = {}
        """Of the peers that know what they were sent."""
        self.asked: dict[int, HttpRequest] = {}
        self.held: dict[int, bytes] = {}
        """The end of what was sent on a connection, which comes with what is sent next."""
        self.frames = FrameWriter(client=True, rng=Random(1))
        self.step = 1  # bytes of the pieces that the second platform gets

    def feed(self, conn: int, data: bytes, *, hold: int = 0) -> None:
        """Bytes for a platform, whole for one and in pieces for the other; the last `hold` of them come later."""
        data = self.held.pop(conn, b"") + data
        if hold:
            data, self.held[conn] = data[:-hold], data[-hold:]
        now, step = self.now, self.step

        def in_pieces(session: PlatformProtocol) -> None:
            for place in range(0, len(data), step):
                session.data_received(data[place : place + step], now)
            hub_of(session).handle_timer(now)  # which reads on: pipelined requests come one at a time (PLAT-8)

        def whole(session: PlatformProtocol) -> None:
            session.data_received(data, now)
            hub_of(session).handle_timer(now)

        if data:
            self.world(conn, whole, in_pieces)

    def request(self, conn: int, request: HttpRequest, *, upgrade: bool) -> None:
        """While the peer may ask."""
        if conn in self.clients:
            client = self.clients[conn]
            try:
                data = client.upgrade(request) if upgrade else client.request(request)
            except LocalProtocolError:
                return
            self.asked[conn] = request
            self.feed(conn, data)

    def text(self, conn: int, payload: bytes) -> None:
        self.frame(conn, self.frames.text(payload))

    def frame(self, conn: int, data: bytes, hold: int = 0) -> None:
        """On a link."""
        if conn in self.clients and self.clients[conn].websocket is not None:
            self.feed(conn, data, hold=hold)

    def hear(self, conn: int, output: Output) -> None:
        super().hear(conn, output)
        if isinstance(output, Write):
            assert output.conn == conn
            assert output.data
            for heard in self.clients[conn].receive(output.data) if conn in self.clients else ():
                assert not isinstance(heard, Failed), heard.error
                if isinstance(heard, ResponseReceived) and "/auth/" in self.asked[conn].target:
                    self.answered(self.asked[conn], heard.response)

    def own(self, conn: int, action: Callable[[PlatformProtocol], T]) -> T | None:
        """A call of the connection's owner: misuse raises LocalProtocolError (None here) and changes nothing."""
        one, other = (sessions[conn] for sessions in self.sessions)
        before = self.state()
        try:
            result = action(one)
        except LocalProtocolError:
            assert self.state() == before
            with pytest.raises(LocalProtocolError):
                action(other)
            return None
        assert action(other) == result
        self.drain()
        return result

    # --- the owner ----------------------------------------------------------------------------------------------------

    @rule(number=PICKS, response=RESPONSES, more=st.booleans())
    def respond(self, number: int, response: HttpResponse, more: bool) -> None:
        """To what arrived, or to anything; a second time it is too late."""
        (conn, exchange), now = self.pick(self.arrived, number) or (1, 1), self.now
        if self.own(conn, lambda session: session.respond(exchange, response, now, more=more)) is not None:
            assert self.own(conn, lambda session: session.respond(exchange, HttpResponse(status=200), now)) is False

    @rule(number=PICKS, response=RESPONSES, more=st.booleans())
    def serve(self, number: int, response: HttpResponse, more: bool) -> None:
        """A request that arrives, and its answer."""
        self.request(self.conn(number), HttpRequest(method="GET", target="/"), upgrade=False)
        self.respond(0, response, more)

    @rule(number=PICKS, data=st.sampled_from([b"", b"more"]), more=st.booleans())
    def send_body(self, number: int, data: bytes, more: bool) -> None:
        (conn, exchange), now = self.pick(self.arrived, number) or (1, 1), self.now
        self.own(conn, lambda session: session.send_body(exchange, data, now, more=more))

    @rule(number=PICKS, really=st.integers(0, 2))
    def drop(self, number: int, really: int) -> None:
        conn, now = self.conn(number), self.now
        if really == 0:
            self.own(conn, lambda session: session.drop("shutting down", now))
            assert self.sessions[0][conn].is_closed

    # --- peers and the network ----------------------------------------------------------------------------------------

    @rule(step=STEPS)
    def cut(self, step: int) -> None:
        self.step = step

    @rule(
        number=PICKS,
        parts=st.lists(st.sampled_from(REQUESTS) | st.sampled_from(DOUBTFUL) | st.binary(max_size=8), max_size=4),
    )
    def anything(self, number: int, parts: list[bytes]) -> None:
        """Requests without waiting for answers, and what is none; nobody reads what is answered."""
        conn = self.conn(number)
        self.clients.pop(conn, None)
        self.feed(conn, b"".join(parts))

    @rule(
        number=PICKS,
        payload=st.sampled_from([b"", b"1", b"2"]) | st.binary(max_size=125),
        is_pong=st.booleans(),
        hold=st.sampled_from([0, 0, 1]),
    )
    def ping_or_pong(self, number: int, payload: bytes, is_pong: bool, hold: int) -> None:
        self.frame(self.conn(number), (self.frames.pong if is_pong else self.frames.ping)(payload), hold)

    @rule(number=PICKS, code=st.sampled_from([1000, 1005, 1009, 4000]))
    def close(self, number: int, code: int) -> None:
        self.frame(self.conn(number), self.frames.close(code, "bye"))

    @rule(
        number=PICKS,
        data=st.sampled_from(
            [
                b"\x82\x80abcd",
                b"\x81\xfe\xff\xff",
                b"\x89\xfe",
                b"\x01\x81\0\0\0\0a",
                b"\x80\x80\0\0\0\0",
                b"\xc1\x80",
                b"\x81\x00",
                b"\x81\x81\0\0\0\0\xff",
            ]
        ),
    )
    def bad_frame(self, number: int, data: bytes) -> None:
        """A binary one, a huge one, a long ping, a fragment, its end or one without a beginning, bits, no mask …"""
        self.frame(self.conn(number), data)

    @rule(number=PICKS)
    def eof(self, number: int) -> None:
        now = self.now
        self.world(self.conn(number), lambda session: session.eof_received(now))

    @rule(number=PICKS)
    def disconnected(self, number: int) -> None:
        conn, now = self.conn(number), self.now
        self.world(conn, lambda session: session.disconnected("reset", now))
        self.gone.add(conn)


TestPlatformProtocol = PlatformProtocolLife.TestCase
