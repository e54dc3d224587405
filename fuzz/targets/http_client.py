"""Any answer, cut in any way, gives the same inputs and never raises; what is read is what h11 reads, a right 101 only.

The bytes: which request, whether the peer's side ends, how the answer is cut, the answer.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Final

import h11

from artcafe_proto.exchanges import HttpRequest, HttpResponse
from artcafe_proto.limits import MAX_HTTP_BODY_BYTES
from artcafe_proto.wires.handshake import accept_key, make_key
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.inputs import Failed, ResponseReceived, Upgraded
from decoding import SIZES_BYTES, Reader
from mutants.planted import Mutant
from splicing import line_ends, splice
from support.wire_readings import answered

PLANTED: Final = Mutant(
    "any Sec-WebSocket-Accept is right",
    "artcafe_proto/wires/handshake.py",
    'if _values(headers, "sec-websocket-accept") != [accept_key(key)]:',
    'if not _values(headers, "sec-websocket-accept"):',
    "fuzz/targets/http_client.py::check",
)
_ACCEPT: Final = accept_key(make_key(Random(1))).encode()
DICTIONARY: Final = (
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.0 ",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\n",
    b"HTTP/1.1 204 No Content\r\n",
    b"Content-Length: 2\r\n",
    b"Content-Length: 99999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Accept: " + _ACCEPT + b"\r\n",
    b"Sec-WebSocket-Protocol: x\r\n",
    b"2\r\n{}\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"\x81\x02{}",
)
_KINDS: Final = ("GET", "POST", "HEAD", "upgrade")


mutate: Final = partial(splice, words=DICTIONARY, head=2 + SIZES_BYTES, ends=line_ends)


def check(data: bytes) -> None:
    """One exchange."""
    reader = Reader(data)
    kind, ends = reader.pick(_KINDS), bool(reader.byte() & 1)
    stream, chunks = reader.stream()
    assert answered(_waiting(kind), chunks, ends=ends) == answered(_waiting(kind), [stream], ends=ends)
    client = _waiting(kind)
    inputs = client.receive(stream) + (client.receive_eof() if ends else [])
    assert not any(isinstance(each, Failed) for each in inputs[:-1])
    for each in inputs:
        match each:
            case ResponseReceived(response=response):
                assert len(response.body) <= MAX_HTTP_BODY_BYTES, "AUTH-7"
                assert (response.status, response.body) == _as_h11_reads(kind, stream, ends=ends)
                if not ends:
                    _check_what_follows(client, response)
            case Upgraded():
                assert kind == "upgrade"
                assert _ACCEPT in stream, "RFC 6455 section 4.1"
            case Failed(error):
                assert 400 <= error.code <= 599 or client.websocket is not None
            case _:
                pass


def _waiting(kind: str) -> ClientWire:
    """A wire whose request is under way."""
    client = ClientWire(authority="h", rng=Random(1), max_message_size=200)
    if kind == "upgrade":
        client.upgrade(HttpRequest(method="GET", target="/"))
    else:
        client.request(HttpRequest(method=kind, target="/"))
    return client


def _check_what_follows(client: ClientWire, response: HttpResponse) -> None:
    """A connection that is reusable takes the next request."""
    if response.reusable:
        assert client.request(HttpRequest(method="GET", target="/")).startswith(b"GET / HTTP/1.1\r\n")


def _as_h11_reads(kind: str, stream: bytes, *, ends: bool) -> tuple[int, bytes]:
    """Status and body of the first final response."""
    connection = h11.Connection(h11.CLIENT)
    method = "GET" if kind == "upgrade" else kind
    fields = [("Host", "h"), *([("Upgrade", "websocket")] if kind == "upgrade" else [])]
    connection.send(h11.Request(method=method, target="/", headers=fields))
    connection.send(h11.EndOfMessage())
    connection.receive_data(stream)
    if ends:
        connection.receive_data(b"")
    status, body = 0, b""
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        match event:
            case h11.Response():
                status = event.status_code
            case h11.Data():
                body += event.data
            case _:
                assert isinstance(event, h11.InformationalResponse), event
    return status, body
