"""Any requests, cut in any way, give the same inputs and answers and never raise; no doubtful framing is ever read.

The bytes: how the stream is cut, the stream. The owner answers everything at once and takes every upgrade.
"""

from __future__ import annotations

import re
from functools import partial
from random import Random
from typing import Final

import h11

from artcafe_proto.exchanges import HttpRequest
from artcafe_proto.limits import MAX_HTTP_BODY_BYTES
from artcafe_proto.wires.http_server import ServerWire
from artcafe_proto.wires.inputs import RequestReceived
from decoding import SIZES_BYTES, Reader
from mutants.planted import Mutant
from splicing import line_ends, splice
from support.wire_readings import serve

PLANTED: Final = Mutant(
    "a line may end with LF alone",
    "artcafe_proto/wires/http_connection.py",
    'if not buffer.endswith(b"\\r", 0, place):',
    "if False:",
    "fuzz/targets/http_server.py::check",
)
DICTIONARY: Final = (
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: h\r\n",
    b"HEAD / HTTP/1.0\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Connection: close\r\n",
    b"Connection: Upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"\r\n ",
    b"\n\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"http://h/",
    b"\x81\x82\0\0\0\0{}",
)


mutate: Final = partial(splice, words=DICTIONARY, head=SIZES_BYTES, ends=line_ends)


def check(data: bytes) -> None:
    """One connection."""
    stream, chunks = Reader(data).stream()
    seen, written = serve(_wire(), [stream])
    assert serve(_wire(), chunks) == (seen, written)
    assert all(not isinstance(entry, tuple) for entry in seen[:-1]), "nothing follows a failure"
    requests = [entry.request for entry in seen if isinstance(entry, RequestReceived)]
    for request in requests:
        _check_request(request)
    if requests:
        assert stream.startswith(requests[0].method.encode() + b" ")
        head, ended, _ = stream.partition(b"\r\n\r\n")
        assert ended
        assert b"\n" not in head.replace(b"\r\n", b""), "RFC 9112 section 2.2"
        assert (requests[0].method, requests[0].target, requests[0].body) == _as_h11_reads(stream)


def _wire() -> ServerWire:
    return ServerWire(rng=Random(1), max_message_size=200)


def _check_request(request: HttpRequest) -> None:
    """One framing, the origin-form, fields of one line (PLAT-8)."""
    lengths = [value for name, value in request.headers if name == "content-length"]
    is_chunked = any(name == "transfer-encoding" for name, _ in request.headers)
    assert len(lengths) + is_chunked <= 1, "RFC 9112 section 6.1"
    if not is_chunked:
        assert len(request.body) == int(lengths[0] if lengths else "0")
    assert len(request.body) <= MAX_HTTP_BODY_BYTES
    assert request.target.startswith("/")
    assert "#" not in request.target
    for name, value in request.headers:
        assert name == name.lower().strip()
        assert not set(value) & set("\r\n\0")


def _as_h11_reads(stream: bytes) -> tuple[str, str, bytes]:
    """Method, target and body of the first request."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(stream)
    head, body = connection.next_event(), b""
    assert isinstance(head, h11.Request)
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage), event
    path = re.sub("^https?://[^/?]*", "", head.target.decode(), flags=re.IGNORECASE)
    return head.method.decode(), path if path.startswith("/") else f"/{path}", body
