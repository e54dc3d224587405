"""The wires of both roles, used in any way and fed anything: the second of two gets the bytes in pieces and must do the
very same, whatever came before; and what is misuse changes nothing.

That any cutting of one stream reads the same is held beside each wire, in `tests/wires`; here reading and writing mix.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from artcafe_proto import HttpRequest, HttpResponse, LocalProtocolError, RemoteProtocolError
from artcafe_proto.exchanges import Headers
from artcafe_proto.wires.frames import FrameWriter
from artcafe_proto.wires.handshake import accept_headers
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.http_server import Phase, ServerWire
from artcafe_proto.wires.inputs import (
    CloseReceived,
    Ended,
    Failed,
    Input,
    RequestReceived,
    ResponseReceived,
    Upgraded,
)
from artcafe_proto.wires.websocket import WebSocketWire
from support.snapshots import snapshot
from support.wire_readings import plain

Wire = TypeVar("Wire", ClientWire, ServerWire, WebSocketWire)

STEPS = st.sampled_from([1, 2, 7, 50])
"""Bytes of the pieces that the second wire gets."""
GOOD_FIELDS: list[Headers] = [(), (("x-a", "b"),), (("connection", "close"),)]
FIELDS = st.sampled_from(
    [
        *GOOD_FIELDS,
        (("bad name", "b"),),
        (("x-a", "b\r\nc: d"),),
        (("x-a", "\u20ac"),),
        (("content-length", "2"),),
        (("content-length", "x"),),
        (("transfer-encoding", "chunked"),),
        (("transfer-encoding", "gzip"),),
    ]
)
BODIES = st.sampled_from([b"", b"{}", b"hello"])
REQUESTS = st.builds(
    HttpRequest,
    method=st.sampled_from(["GET", "POST", "HEAD", "BAD METHOD", "\u20ac"]),
    target=st.sampled_from(["/", "/a?b=c", "/a b", "/\u20ac", ""]),
    headers=FIELDS,
    body=BODIES,
)
GOOD_REQUESTS = st.builds(HttpRequest, method=st.sampled_from(["GET", "POST"]), target=st.just("/"), body=BODIES)
RESPONSES = st.builds(
    HttpResponse, status=st.sampled_from([200, 200, 204, 304, 404, 100, 99, 1000]), headers=FIELDS, body=BODIES
)
ERRORS = st.builds(
    RemoteProtocolError, st.sampled_from([400, 408, 413, 426, 499]), st.just("it was wrong"), st.just("RFC 9112")
)


def frames(*, client: bool) -> st.SearchStrategy[bytes]:
    """Frames of a peer of that role, and what is none."""
    writer = FrameWriter(client=client, rng=Random(5))
    good = [
        writer.text(b"{}"),
        writer.text("\u20ac".encode() * 40),
        writer.text(b"x" * 130),
        writer.ping(b"p"),
        writer.pong(b""),
    ]
    ending = [writer.close(1000, "bye"), writer.text(b"\xff"), writer.text(b"x" * 300)]
    mask, key = (0x80, b"\0\0\0\0") if client else (0, b"")
    parts = [
        bytes((0x01, mask | 2)) + key + b"\xe2\x82",
        bytes((0x80, mask | 1)) + key + b"\xac",
        bytes((0x00, mask)) + key,
    ]
    wrong = [bytes((0x82, mask)) + key, bytes((0x81, mask ^ 0x80)), bytes((0xC1, mask)), bytes((0x89, mask | 126))]
    return st.sampled_from(good + good + parts) | st.sampled_from(ending + wrong) | st.binary(max_size=4)


class WireLife(RuleBasedStateMachine, Generic[Wire]):
    """Two wires, one fed whole, the other in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.wires: tuple[Wire, Wire]
        self.over = False

    def feed(self, data: bytes, step: int) -> list[Input]:
        """Bytes of the peer's."""
        whole = self.wires[0].receive(data)
        pieces = [data[place : place + step] for place in range(0, len(data), step)]
        return self.read(whole, [each for piece in pieces for each in self.wires[1].receive(piece)])

    def eof(self) -> list[Input]:
        """The end of the peer's side."""
        return self.read(self.wires[0].receive_eof(), self.wires[1].receive_eof())

    def read(self, whole: list[Input], pieces: list[Input]) -> list[Input]:
        """What both have read is the same, and nothing if it was over."""
        assert plain(pieces) == plain(whole)
        assert not (self.over and whole)
        for each in whole:
            assert not self.over
            self.over = isinstance(each, Failed | Ended | CloseReceived)
        return whole

    def write(self, action: Callable[[Wire], bytes]) -> bytes | None:
        """A call of the owner's: misuse raises LocalProtocolError (None here) and changes nothing."""
        before = snapshot(self.wires[0])
        try:
            data = action(self.wires[0])
        except LocalProtocolError:
            assert snapshot(self.wires[0]) == before
            with pytest.raises(LocalProtocolError):
                action(self.wires[1])
            return None
        assert action(self.wires[1]) == data, "the same seed and inputs write the same bytes"
        return data


class ClientWireLife(WireLife[ClientWire]):
    """HTTP exchanges, then perhaps a WebSocket, from the agent's end."""

    @initialize()
    def begin(self) -> None:
        one, other = (ClientWire(authority="h", rng=Random(1), max_message_size=200) for _ in range(2))
        self.wires = one, other
        self.key: str | None = None
        self.is_link = False

    def read(self, whole: list[Input], pieces: list[Input]) -> list[Input]:
        # Only a response tells how many of the bytes behind it had come with it: they make it the last or a failure.
        if whole and isinstance(whole[-1], ResponseReceived) and not whole[-1].response.reusable:
            last = pieces.pop()
            if isinstance(last, Failed):
                last = pieces.pop()
            assert isinstance(last, ResponseReceived)
            pieces.append(whole[-1])
            assert (last.response.status, last.response.body) == (whole[-1].response.status, whole[-1].response.body)
            super().read(whole, pieces)
            self.over = True
            return whole
        self.is_link |= Upgraded() in whole
        return super().read(whole, pieces)

    @rule(asked=REQUESTS | GOOD_REQUESTS, upgrade=st.booleans())
    def ask(self, asked: HttpRequest, upgrade: bool) -> None:
        data = self.write(lambda wire: wire.upgrade(asked) if upgrade else wire.request(asked))
        if data is not None:
            assert not self.over
            assert not self.is_link
            (heard,) = ServerWire(rng=Random(2), max_message_size=200).receive(data)
            if isinstance(heard, RequestReceived):
                assert (heard.request.method, heard.request.target) == (asked.method, asked.target)
                assert heard.request.body == asked.body
                self.key = heard.request.header("sec-websocket-key")
            else:  # an upgrade that has a body, or is no GET
                assert upgrade

    @rule(
        data=st.sampled_from(
            [
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                b"HTTP/1.1 103 Early Hints\r\n\r\n",
                b"HTTP/1.1 204 No Content\r\n\r\n",
                b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
                b"HTTP/1.1 200 OK\r\nContent-Le",
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                b"\x16\x03\x01",
            ]
        ),
        step=STEPS,
    )
    def answer(self, data: bytes, step: int) -> None:
        self.feed(data, step)

    @rule(step=STEPS, data=frames(client=False))
    def switch(self, step: int, data: bytes) -> None:
        """The right answer to an opening handshake; frames may be right behind it."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in accept_headers(self.key or "no key"))
        self.feed(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n".encode() + data, step)

    @rule(data=frames(client=False), step=STEPS)
    def say(self, data: bytes, step: int) -> None:
        if self.is_link:
            self.feed(data, step)

    @rule(really=st.integers(0, 4))
    def end(self, really: int) -> None:
        if really == 0:
            self.eof()


class ServerWireLife(WireLife[ServerWire]):
    """HTTP exchanges, then perhaps a WebSocket, from the platform's end."""

    @initialize()
    def begin(self) -> None:
        one, other = (ServerWire(rng=Random(1), max_message_size=200) for _ in range(2))
        self.wires = one, other

    def feed(self, data: bytes, step: int) -> list[Input]:
        heard = super().feed(data, step)
        assert self.wires[0].phase is self.wires[1].phase
        return heard

    @rule(
        data=st.sampled_from(
            [
                b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
                b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
                b"GET / HTTP/1.0\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
                b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                b"GET / HTTP/1.1\r\nHo",
                b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{}",
                b"\x16\x03\x01",
            ]
        ),
        step=STEPS,
    )
    def ask(self, data: bytes, step: int) -> None:
        if self.wires[0].websocket is None:
            self.feed(data, step)

    @rule(step=STEPS, response=RESPONSES, more=st.booleans())
    def serve(self, step: int, response: HttpResponse, more: bool) -> None:
        """A request, and its answer."""
        self.ask(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", step)
        self.respond(response, more)

    @rule(response=RESPONSES, more=st.booleans())
    def respond(self, response: HttpResponse, more: bool) -> None:
        is_due = self.wires[0].phase is Phase.ANSWERING and not self.wires[0].is_sending_body
        is_written = self.write(lambda wire: wire.respond(response, more=more)) is not None
        assert is_written == (is_due and 200 <= response.status <= 599 and response.headers in GOOD_FIELDS)

    @rule(more=st.booleans())
    def respond_well(self, more: bool) -> None:
        self.respond(HttpResponse(status=200, body=b"{}"), more)

    @rule(data=BODIES, more=st.booleans())
    def send_body(self, data: bytes, more: bool) -> None:
        self.write(lambda wire: wire.send_body(data, more=more))

    @rule()
    def accept_upgrade(self) -> None:
        self.write(ServerWire.accept_upgrade)

    @rule(error=ERRORS, really=st.integers(0, 2))
    def refuse(self, error: RemoteProtocolError, really: int) -> None:
        if really == 0 and self.write(lambda wire: wire.refuse(error)) is not None:
            self.over = True

    @rule()
    def read_on(self) -> None:
        """What came behind the last request, as an owner does after each answer."""
        self.read(self.wires[0].receive(b""), self.wires[1].receive(b""))

    @rule(data=frames(client=True), step=STEPS)
    def say(self, data: bytes, step: int) -> None:
        if self.wires[0].websocket is not None and not self.wires[0].has_peer_ended:
            self.feed(data, step)

    @rule(really=st.integers(0, 4))
    def end(self, really: int) -> None:
        if really == 0:
            self.eof()


class WebSocketLife(WireLife[WebSocketWire]):
    """Both roles of a WebSocket."""

    @initialize(client=st.booleans())
    def begin(self, client: bool) -> None:
        one, other = (WebSocketWire(client=client, rng=Random(1), max_message_size=200) for _ in range(2))
        self.wires = one, other
        self.frames = frames(client=not client)

    @rule(data=st.data(), step=STEPS)
    def say(self, data: st.DataObject, step: int) -> None:
        self.feed(data.draw(self.frames), step)

    @rule(really=st.integers(0, 4))
    def end(self, really: int) -> None:
        if really == 0:
            self.eof()

    @rule(kind=st.sampled_from(["text", "ping", "pong"]), size=st.sampled_from([0, 1, 125, 126, 70_000]))
    def send(self, kind: str, size: int) -> None:
        payload = b"x" * size
        match kind:
            case "text":
                data = self.write(lambda wire: wire.writer.text(payload))
            case "ping":
                data = self.write(lambda wire: wire.writer.ping(payload))
            case _:
                data = self.write(lambda wire: wire.writer.pong(payload))
        assert (data is None) == (size > 125 and kind != "text"), "RFC 6455 section 5.5"

    @rule(code=st.sampled_from([1000, 1005, 1006, 4409]), reason=st.sampled_from(["", "\ud800", "\u20ac" * 50]))
    def close(self, code: int, reason: str) -> None:
        """Any reason fits."""
        assert self.write(lambda wire: wire.writer.close(code, reason)) is not None


TestClientWire = ClientWireLife.TestCase
TestServerWire = ServerWireLife.TestCase
TestWebSocketWire = WebSocketLife.TestCase
