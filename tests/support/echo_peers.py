"""Echo peers in both roles: `WebSocketWire` on a socket, and as little around it as there can be.

They take what an agent and a platform refuse, binary messages and large ones, so that a conformance suite for any
WebSocket can look at all that the wire does.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

from artcafe_proto.exchanges import HttpRequest
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.http_server import ServerWire
from artcafe_proto.wires.inputs import (
    BinaryReceived,
    CloseReceived,
    Failed,
    Input,
    PingReceived,
    RequestReceived,
    TextReceived,
    Upgraded,
)
from artcafe_proto.wires.websocket import WebSocketWire

MAX_MESSAGE_BYTES: Final = 32 * 1024 * 1024


class EchoServer(asyncio.Protocol):
    """The platform's role on an accepted connection."""

    def __init__(self) -> None:
        self._http = ServerWire(rng=Random(1), max_message_size=MAX_MESSAGE_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        inputs = self._http.receive(data)
        match inputs:
            case [RequestReceived(upgrade=True)]:
                self._transport.write(self._http.accept_upgrade())
                self._http.websocket = _new_wire(client=False)
                inputs = self._http.receive(b"")
            case _:
                assert self._http.websocket is not None, "nothing but an opening handshake comes first"
        _answer(self._http.websocket, inputs, self._transport)


class EchoClient(asyncio.Protocol):
    """The agent's role, for one connection; `messages` are those that came."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._http = ClientWire(authority="127.0.0.1", rng=Random(1), max_message_size=MAX_MESSAGE_BYTES)
        self._head = b""
        self.messages: list[bytes] = []
        self.over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._http.upgrade(HttpRequest(method="GET", target=self._target, headers=())))

    def data_received(self, data: bytes) -> None:
        if self._http.websocket is None:  # until here: what follows the head must find the wire that takes it all
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            if not end:
                self._head = head
                return
            assert self._http.receive(head + end) == [Upgraded()]
            self._http.websocket = _new_wire(client=True)
        inputs = self._http.receive(data)
        self.messages += [entry.payload for entry in inputs if isinstance(entry, TextReceived)]
        _answer(self._http.websocket, inputs, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()


def _new_wire(*, client: bool) -> WebSocketWire:
    return WebSocketWire(client=client, rng=Random(1), max_message_size=MAX_MESSAGE_BYTES, accept_binary=True)


def _answer(wire: WebSocketWire, inputs: list[Input], transport: asyncio.Transport) -> None:
    for received in inputs:
        match received:
            case TextReceived():
                transport.write(wire.writer.text(received.payload))
            case BinaryReceived():
                frame = wire.writer.text(received.payload)  # nothing else about it is another for TEXT
                transport.write(b"\x82" + frame[1:])
            case PingReceived():
                transport.write(wire.writer.pong(received.payload))
            case CloseReceived():
                transport.write(wire.writer.close(received.code, ""))
                transport.write_eof()
            case Failed():  # what still comes is read, lest a reset takes the close frame from the peer
                transport.write(wire.writer.close(received.error.code, received.error.reason))
                transport.write_eof()
            case _:
                pass
