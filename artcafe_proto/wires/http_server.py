"""The platform's end of one accepted TCP connection: HTTP exchanges, then perhaps a WebSocket.

Request smuggling needs two readers who see different requests in the same bytes. This one takes no doubtful byte: one
framing only, CRLF line ends only, no folded fields, the origin-form or what means the same, and nothing behind a
chunked body.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Final

import h11
import msgspec

from artcafe_proto import misuse
from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.exchanges import JSON_HEADERS, Headers, HttpRequest, HttpResponse, ascii_lower
from artcafe_proto.limits import MAX_HTTP_BODY_BYTES, MAX_HTTP_HEAD_BYTES, TURNED_AWAY_RETRY_AFTER_S
from artcafe_proto.wires.handshake import VERSION, accept_headers, check_request, wants_websocket
from artcafe_proto.wires.http_connection import BODYLESS_STATUSES, HttpConnection, byte_headers
from artcafe_proto.wires.inputs import Ended, Failed, Input, RequestReceived
from artcafe_proto.wires.websocket import WebSocketWire

if TYPE_CHECKING:
    from random import Random


class Phase(Enum):
    """Where a connection stands, for the driver's deadlines (PLAT-8)."""

    IDLE = "idle"
    """Nothing of a request has come."""
    HEAD = "head"
    BODY = "body"
    ANSWERING = "answering"
    """A whole request awaits `respond` or `accept_upgrade`, or the rest of its answer."""
    WEBSOCKET = "websocket"
    CLOSED = "closed"
    """Nothing more is read; what was written may still have to go out."""


class ServerWire:
    """One accepted connection: each `RequestReceived` is answered by `respond`, and by `send_body` if that has begun a
    body in pieces; or, an upgrade, by `accept_upgrade`.

    Requests come one at a time, and a `Failed` before any upgrade comes alone. What follows a request waits inside, at
    most as much as another one, and so does the end of the peer's side; after every answer that leaves the connection
    `reusable`, and after `accept_upgrade`, call `receive(b"")` to read on with it.
    """

    websocket: WebSocketWire | None = None
    phase: Phase = Phase.IDLE

    def __init__(self, *, rng: Random, max_message_size: int) -> None:
        self._rng = rng
        self._max_message_size = max_message_size
        self._http = HttpConnection(h11.SERVER)  # until the upgrade
        self._head: h11.Request | None = None  # while its body is read
        self._key: str | None = None  # of the opening handshake, if the request to answer is one
        self._last = False  # the connection ends with the answer due
        self._interim = b""
        self._behind = b""  # what came behind the opening handshake, until it is read
        self.has_peer_ended: bool = False  # behind what waits inside

    @property
    def reusable(self) -> bool:
        """Whether the connection goes on: False after its last answer, when it is to be disconnected."""
        return self.phase is not Phase.CLOSED

    @property
    def has_unread(self) -> bool:
        """Whether something came behind the last request that `receive(b"")` would read: of a link also the end."""
        return bool(self._http.buffer if self.websocket is None else self._behind or self.has_peer_ended)

    @property
    def held_bytes(self) -> int:
        """What has come and was not yet handed on whole."""
        return self._http.held_bytes if self.websocket is None else len(self._behind) + self.websocket.held_bytes

    def receive(self, data: bytes) -> list[Input]:
        """What `data`, behind what waits inside, completes. Never raises; after `Failed` all bytes are ignored."""
        if self.websocket is not None:
            if self._behind:
                data, self._behind = self._behind + data, b""
            inputs = self.websocket.receive(data)
            return inputs + self.websocket.receive_eof() if self.has_peer_ended else inputs
        if self.phase is Phase.CLOSED:
            return []
        waited = len(self._http.buffer)
        self._http.buffer += data
        try:
            if data and waited >= _MAX_WAITING_BYTES:
                raise RemoteProtocolError(413, "more than one request was sent ahead", "PLAT-8")
            request = self._read_request()
        except RemoteProtocolError as error:
            return [self._fail(error)]
        if request is not None:
            return [request]
        return self._end() if self.has_peer_ended and self.phase is not Phase.ANSWERING else []

    def receive_eof(self) -> list[Input]:
        """The peer's side ended: `Failed` within a request, else `Ended`, but both only behind what came before."""
        self.has_peer_ended = True
        return self.receive(b"")

    def take_interim(self) -> bytes:
        """What to write at once after `receive`: a 100, for whom a request waits with its body (RFC 9110 10.1.1)."""
        interim, self._interim = self._interim, b""
        return interim

    @property
    def is_sending_body(self) -> bool:
        """Whether `send_body` has to go on with an answer: until it is whole, no other can be written."""
        return self.websocket is None and self._http.is_sending_body

    def respond(self, response: HttpResponse, *, more: bool = False) -> bytes:
        """The bytes that answer the request, and say `Connection: close` if they are the last.

        A whole answer has Content-Length; one with `more` has a body in pieces, of which `response.body` is the first.
        Raises LocalProtocolError unless a request awaits an answer, and for what HTTP cannot carry.
        """
        if self.phase is not Phase.ANSWERING or self.is_sending_body:
            raise LocalProtocolError("no request awaits an answer on this connection")
        check_answer(response)
        last = self._last or (self.has_peer_ended and not self._http.buffer)
        data = self._write(response, (("connection", "close"),) if last else (), more=more)
        self._key = None
        if not more:
            self._finish()
        return data

    def send_body(self, data: bytes, *, more: bool) -> bytes:
        """The bytes of the next piece of an answer's body, the last one without `more`.

        Raises LocalProtocolError unless an answer with `more` was begun.
        """
        if not self.is_sending_body:
            raise LocalProtocolError("no answer is to be continued on this connection")
        written = self._http.send_body(data, more=more)
        if not more:
            self._finish()
        return written

    def accept_upgrade(self) -> bytes:
        """The 101 that answers the opening handshake; `websocket` exists from here on.

        Raises LocalProtocolError unless an opening handshake awaits an answer.
        """
        if self.phase is not Phase.ANSWERING or self._key is None:
            raise LocalProtocolError("no opening handshake awaits an answer on this connection")
        headers = byte_headers(accept_headers(self._key))
        data = self._http.send(h11.InformationalResponse(status_code=101, headers=headers), b"")
        self.websocket = WebSocketWire(client=False, rng=self._rng, max_message_size=self._max_message_size)
        self.phase = Phase.WEBSOCKET
        self._behind = self._http.take_rest()
        del self._http  # thousands of links are idle at a time: what only their handshakes needed is not kept
        self._key = None
        return data

    def refuse(self, error: RemoteProtocolError) -> bytes:
        """The bytes of a last answer (PLAT-7): to a `Failed` before any upgrade, to a deadline that passed (408), or to
        whoever is turned away (503).

        Raises LocalProtocolError where none can be written: after an upgrade, or after another last answer.
        """
        if self.websocket is not None or not self._http.can_answer:
            raise LocalProtocolError("no answer can be written on this connection")
        code = _ERROR_CODES.get(error.code, "bad_request")
        body = msgspec.json.encode({"error": {"code": code, "message": error.reason}})
        headers: Headers = (("connection", "close"),)
        if error.code == 426:  # RFC 9110 section 15.5.22, RFC 6455 section 4.4
            headers = (("connection", "close, upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", VERSION))
        elif error.code == 503:
            headers = (*headers, ("retry-after", f"{TURNED_AWAY_RETRY_AFTER_S}"))
        self.phase = Phase.CLOSED
        return self._write(HttpResponse(status=error.code, headers=JSON_HEADERS, body=body), headers)

    def _read_request(self) -> RequestReceived | None:
        """The next request, None while it is incomplete or another awaits its answer. Raises RemoteProtocolError."""
        if self.phase is Phase.ANSWERING:
            return None
        if self._head is None:
            head = self._http.read_head()
            if head is None:
                self.phase = Phase.HEAD if self._http.buffer else Phase.IDLE
                return None
            assert isinstance(head, h11.Request)
            _check_head(head, self._http.fields)
            self._head = head
            self.phase = Phase.BODY
        body = self._http.read_body()
        if body is None:
            if self._http.awaits_continue:
                self._interim = self._http.send(h11.InformationalResponse(status_code=100, headers=[]), b"")
            return None
        target, headers = _resource(self._head, self._http.fields)
        request = HttpRequest(method=self._head.method.decode(), target=target, headers=headers, body=body)
        if self._head.http_version != b"1.0" and wants_websocket(request.headers):  # RFC 9110 section 7.8
            self._key = check_request(request)
        # The bytes behind a chunked body begin where the last chunk is thought to end: none of them is read.
        self._last = request.header("transfer-encoding") is not None
        self._head = None
        self.phase = Phase.ANSWERING
        return RequestReceived(request, upgrade=self._key is not None)

    def _end(self) -> list[Input]:
        if self.phase is not Phase.IDLE:
            error = RemoteProtocolError(400, "the connection ended within a request", "RFC 9112 section 8")
            return [self._fail(error)]
        self.phase = Phase.CLOSED
        return [Ended()]

    def _finish(self) -> None:
        """The answer is whole. The peer's side may have ended during one in pieces, when its head was long written."""
        is_over = self.has_peer_ended and not self._http.buffer
        if not self._http.start_next_cycle() or is_over:
            self.phase = Phase.CLOSED
            self._http.buffer.clear()
        else:
            self.phase = Phase.HEAD if self._http.buffer else Phase.IDLE

    def _write(self, response: HttpResponse, extra: Headers, *, more: bool = False) -> bytes:
        has_length = not more and response.status not in BODYLESS_STATUSES
        fields = byte_headers((*response.headers, *extra), length=len(response.body) if has_length else None)
        return self._http.send(h11.Response(status_code=response.status, headers=fields), response.body, more=more)

    def _fail(self, error: RemoteProtocolError) -> Input:
        self.phase = Phase.CLOSED
        self._http.buffer.clear()
        return Failed(error)


def check_answer(response: HttpResponse) -> None:
    """Raise LocalProtocolError for a response that `ServerWire.respond` cannot write, whatever it answers."""
    misuse.check_answer(response)
    byte_headers(response.headers)


_MAX_WAITING_BYTES: Final = MAX_HTTP_HEAD_BYTES + MAX_HTTP_BODY_BYTES
"""Bytes sent ahead of an answer: one whole request, more than any client of this API sends."""
_ORIGIN_FORM: Final = re.compile(rb"/[!\"$-~]*")
"""RFC 9112 section 3.2.1, a little wider within what h11 takes, but without a fragment."""
_ABSOLUTE_FORM: Final = re.compile(rb"(?i:https?)://([0-9A-Za-z._~!$&'()*+,;=:%\[\]-]+)(/[!\"$-~]*|\?[!\"$-~]*|)")
"""RFC 9112 section 3.2.2, which a proxy may send: an authority without a user, and the rest as above."""
_HOST: Final = re.compile(r"[0-9A-Za-z._~!$&'()*+,;=:%\[\]-]*")
"""The characters of RFC 9110 section 7.2: neither a user nor a path."""
_ONCE: Final = ("authorization", "content-type", "expect", "last-event-id")
"""Fields of which two would be taken for one or the other: h11 sees to Host, `HttpConnection` to Content-Length."""
_CONTINUE: Final = "100-continue"
_ERROR_CODES: Final = {
    400: "bad_request",
    408: "request_timeout",
    413: "content_too_large",
    417: "expectation_failed",
    426: "upgrade_required",
    431: "headers_too_large",
    501: "not_implemented",
    503: "too_many_connections",
    505: "version_not_supported",
}


def _check_head(head: h11.Request, headers: Headers) -> None:
    """Refuse what h11 and `HttpConnection` take and this server does not. Raises RemoteProtocolError."""
    fields = dict(headers)
    if not (_ORIGIN_FORM.fullmatch(head.target) or _ABSOLUTE_FORM.fullmatch(head.target)):
        raise RemoteProtocolError(
            400, "the target must be a path or a URL of http or https, without a fragment", "RFC 9112 section 3.2"
        )
    if not _HOST.fullmatch(fields.get("host", "")):
        raise RemoteProtocolError(400, "the Host field is not a host and a port", "RFC 9112 section 3.2")
    if head.method == b"CONNECT":
        raise RemoteProtocolError(501, "this server is no proxy", "RFC 9110 section 9.3.6")
    names = [name for name, _ in headers]
    twice = next((name for name in _ONCE if names.count(name) > 1), None)
    if twice is not None:
        raise RemoteProtocolError(400, f"there are several fields {twice}", "RFC 9110 section 5.3")
    expectation = ascii_lower(fields.get("expect", _CONTINUE))
    if expectation != _CONTINUE and head.http_version != b"1.0":
        raise RemoteProtocolError(417, f"no expectation is met but {_CONTINUE}", "RFC 9110 section 10.1.1")


def _resource(head: h11.Request, headers: Headers) -> tuple[str, Headers]:
    """The target of a checked head in the origin-form, and its fields: an absolute-form names the host in the place of
    the Host field (RFC 9112 section 3.2.2).
    """
    absolute = _ABSOLUTE_FORM.fullmatch(head.target)
    if absolute is None:
        return head.target.decode(), headers
    host, path = absolute[1].decode(), absolute[2].decode()
    fields = tuple((name, host if name == "host" else value) for name, value in headers)
    return path if path.startswith("/") else f"/{path}", fields
