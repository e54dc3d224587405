"""The agent's end of one TCP connection: HTTP exchanges, then perhaps a WebSocket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11

from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.exchanges import Headers, HttpRequest, HttpResponse
from artcafe_proto.limits import MAX_INFORMATIONAL_RESPONSES
from artcafe_proto.wires.handshake import check_response, make_key, upgrade_headers
from artcafe_proto.wires.http_connection import HttpConnection, byte_headers
from artcafe_proto.wires.inputs import Ended, Failed, Input, ResponseReceived, Upgraded
from artcafe_proto.wires.websocket import WebSocketWire

if TYPE_CHECKING:
    from random import Random


class ClientWire:
    """One connection to `authority` (the Host field): one request at a time, each answered by one response.

    A `HttpResponse` that is not `reusable` and a `Failed` are the last that comes of a connection. Once an upgrade
    succeeded, `websocket` writes its frames and `receive` yields its inputs.
    """

    websocket: WebSocketWire | None = None

    def __init__(self, *, authority: str, rng: Random, max_message_size: int) -> None:
        self._authority = authority
        self._rng = rng
        self._max_message_size = max_message_size
        self._http = HttpConnection(h11.CLIENT)
        self._waiting = False  # a request is under way
        self._answering = False  # and something of its answer has come
        self._key: str | None = None  # of the opening handshake, if the request is one
        self._informational = 0
        self._response: h11.Response | None = None  # the head, while its body is read
        self._over = False

    def request(self, request: HttpRequest) -> bytes:
        """The bytes of `request`, with Host, and Content-Length where it has a body.

        Raises LocalProtocolError while another one is under way, on a connection that is over or upgraded, and for what
        HTTP cannot carry.
        """
        return self._send(request, ())

    def upgrade(self, request: HttpRequest) -> bytes:
        """The bytes of `request` made an opening handshake (RFC 6455 section 4.1). Raises as `request` does."""
        self._head(request, ())  # what is refused draws no key
        key = make_key(self._rng)
        data = self._send(request, upgrade_headers(key))
        self._key = key
        return data

    def receive(self, data: bytes) -> list[Input]:
        """What `data` completes. Never raises; once the connection is over all bytes are ignored."""
        if self.websocket is not None:
            return self.websocket.receive(data)
        if self._over or not data:
            return []
        if not self._waiting:
            return self._fail(RemoteProtocolError(400, "bytes came that answer no request", "RFC 9112 section 9.2"))
        self._answering = True
        self._http.buffer += data
        return self._read()

    def receive_eof(self) -> list[Input]:
        """The peer's side ended: the end of a response without a length, `Failed` amid another, else `Ended`."""
        if self.websocket is not None:
            return self.websocket.receive_eof()
        if self._over:
            return []
        if not self._answering:
            self._over = True
            return [Ended()]
        if self._response is None:
            return self._fail(RemoteProtocolError(400, "the connection ended within a response", "RFC 9112 section 8"))
        self._http.receive_eof()
        return self._read()

    def _send(self, request: HttpRequest, more: Headers) -> bytes:
        data = self._http.send(self._head(request, more), request.body)
        self._waiting = True
        return data

    def _head(self, request: HttpRequest, more: Headers) -> h11.Request:
        """The head that begins `request`. Raises LocalProtocolError where `request` and `upgrade` do."""
        if self._waiting or self._over or self.websocket is not None:
            raise LocalProtocolError("this connection can carry no request now: another is under way, or it is over")
        fields = (("host", self._authority), *request.headers, *more)
        headers = byte_headers(fields, length=len(request.body) or None)
        try:
            return h11.Request(method=request.method, target=request.target, headers=headers)
        except (h11.LocalProtocolError, UnicodeEncodeError):
            raise LocalProtocolError("HTTP cannot carry this method or this target, or not a second Host") from None

    def _read(self) -> list[Input]:
        try:
            return self._read_response()
        except RemoteProtocolError as error:
            return self._fail(error)

    def _read_response(self) -> list[Input]:
        while self._response is None:
            match self._http.read_head():
                case None:
                    return []
                case h11.Response() as head:
                    self._response = head
                case h11.InformationalResponse(status_code=101) as head if self._key is not None:
                    if head.http_version == b"1.0":
                        raise RemoteProtocolError(400, "HTTP/1.0 has no 101", "RFC 9110 section 7.8")
                    return self._switch(self._http.fields, self._key)
                case _:  # a 101 that was not asked for has been refused by h11
                    self._skip_informational()
        body = self._http.read_body()
        if body is None:
            return []
        return [self._finish(self._response, body)]

    def _switch(self, headers: Headers, key: str) -> list[Input]:
        check_response(headers, key)
        self.websocket = WebSocketWire(client=True, rng=self._rng, max_message_size=self._max_message_size)
        return [Upgraded(), *self.websocket.receive(self._http.take_rest())]

    def _skip_informational(self) -> None:
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL_RESPONSES:
            raise RemoteProtocolError(
                400, f"more than {MAX_INFORMATIONAL_RESPONSES} informational responses came", "RFC 9110 section 15.2"
            )

    def _finish(self, head: h11.Response, body: bytes) -> Input:
        # Bytes behind the response answer nothing that was asked; they must not become the next answer.
        fields = self._http.fields
        reusable = not self._http.buffer and self._http.start_next_cycle()
        self._over = not reusable
        self._waiting = self._answering = False
        self._key, self._informational, self._response = None, 0, None
        return ResponseReceived(HttpResponse(status=head.status_code, headers=fields, body=body, reusable=reusable))

    def _fail(self, error: RemoteProtocolError) -> list[Input]:
        self._over = True
        self._http.buffer.clear()
        return [Failed(error)]
