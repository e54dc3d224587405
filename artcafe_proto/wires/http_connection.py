"""h11 with the limits and the strictness that it lacks, for the wires of both roles.

h11 parses and keeps the state of the connection; this module decides which bytes it sees, and when:

- A head (start line and fields) is held back until it is complete, so that its limits hold and its lines can be checked
  however it was cut: h11 takes any head that is complete, whatever its size, bare LF line ends and control characters.
- Of a body it gets as many bytes as Content-Length says, so that what was pipelined behind stays here; of a chunked one
  a size line once the size is judged, then the chunk; else as many as a body within the limits can need.

Every breakage is a `RemoteProtocolError` whose code is the status to answer with. h11's own texts are cut at the first
colon: behind it they may quote the peer, and with it a token (TOK-4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import h11

from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.limits import (
    MAX_HTTP_BODY_BYTES,
    MAX_HTTP_FIELDS,
    MAX_HTTP_HEAD_BYTES,
    MAX_SMALL_PIECES,
    PIECE_BYTES,
)
from artcafe_proto.secrecy import Secretive

if TYPE_CHECKING:
    from artcafe_proto.exchanges import Headers

Head = h11.Request | h11.InformationalResponse | h11.Response


class HttpConnection(Secretive):
    """One end of an HTTP/1.1 connection: whole heads and whole bodies, in turn, then `start_next_cycle`.

    `buffer` holds received bytes in front of h11. `head` is the last head that h11 took in this cycle, also when the
    rules of this module then refused it, and `fields` are its fields.
    """

    __slots__ = (
        "_allowance",
        "_body",
        "_chunk_left",
        "_chunks",
        "_clause",
        "_h11",
        "_head_bytes",
        "_is_server",
        "_searched",
        "_sends_body",
        "buffer",
        "fields",
        "head",
    )

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER]) -> None:
        # Whatever h11 holds incomplete is part of a body, and bounded by what it is given of it.
        self._h11 = h11.Connection(role, max_incomplete_event_size=_MAX_FRAMED_BODY_BYTES)
        self._is_server = role is h11.SERVER
        self._clause = "PLAT-7" if self._is_server else "AUTH-7"  # of a body
        self._searched = 0
        self._body = bytearray()
        self._chunks = 0
        self._head_bytes = 0
        self._sends_body = True
        self._allowance = 0  # further bytes that h11 may be given of this body
        self._chunk_left: int | None = None  # of them up to the next size line; None where none is to come
        self.buffer: bytearray = bytearray()
        self.head: Head | None = None
        self.fields: Headers = ()

    @property
    def held_bytes(self) -> int:
        """What has come of a message that is not whole, and of what is behind it; and twice its head, as it is kept."""
        return len(self.buffer) + len(self._body) + self._head_bytes

    def read_head(self) -> Head | None:
        """The next head from `buffer`, None while it is incomplete. Raises RemoteProtocolError."""
        size = self._find_head_end()
        if size == 0:
            return None
        raw = self._take(size)
        self._check_lines(raw)
        self._h11.receive_data(raw)
        event = self._next_event()
        assert isinstance(event, Head)
        self.head = event
        self._head_bytes = 2 * size
        # Names in lower case, both as text, byte for character (RFC 9110 section 5.5).
        items = event.headers.raw_items()
        self.fields = tuple((name.decode().lower(), value.decode("latin-1")) for name, value in items)
        self._expect_body(event)
        return event

    def read_body(self) -> bytes | None:
        """The body after the head, None while it is incomplete. Raises RemoteProtocolError."""
        while True:
            match self._next_event():
                case h11.Data(data=data, chunk_end=ends_chunk):
                    self._body += data
                    self._chunks += ends_chunk
                    if len(self._body) > MAX_HTTP_BODY_BYTES:
                        raise self._too_large()
                    if self._chunks > MAX_SMALL_PIECES + len(self._body) // PIECE_BYTES:
                        raise RemoteProtocolError(413, "a body came in too many small chunks", self._clause)
                case h11.EndOfMessage():
                    body = bytes(self._body)
                    self._body.clear()
                    self._chunks = 0
                    return body
                case _:
                    piece = self._take(self._next_piece())
                    self._allowance -= len(piece)
                    if piece:
                        self._h11.receive_data(piece)
                    elif self._allowance > len(self.buffer):
                        return None
                    else:  # a chunked body, most of it chunk extensions or headers
                        raise self._too_large()

    def _next_piece(self) -> int:
        """How many bytes of `buffer` h11 may be given now. Raises RemoteProtocolError at a size that is too large."""
        if self._chunk_left is None:
            return self._allowance
        if self._chunk_left == 0:
            end = self.buffer.find(b"\r\n", max(self._searched - 1, 0), self._allowance)
            self._searched = 0 if end >= 0 else len(self.buffer)
            size = int((_CHUNK_SIZE.match(self.buffer) or [b"0"])[0], 16)  # what is no size, h11 refuses
            if end >= 0 and len(self._body) + size > MAX_HTTP_BODY_BYTES:
                raise self._too_large()
            self._chunk_left = 0 if end < 0 else (size + len(b"\r\n") if size else None)
            return end + len(b"\r\n") if end >= 0 else 0
        piece = min(self._chunk_left, self._allowance, len(self.buffer))
        self._chunk_left -= piece
        return piece

    def _too_large(self) -> RemoteProtocolError:
        return RemoteProtocolError(413, f"a body has at most {MAX_HTTP_BODY_BYTES} bytes", self._clause)

    def receive_eof(self) -> None:
        """The peer's side ended: a body that lasts until then is complete, any other reading fails."""
        self._h11.receive_data(b"")

    def send(self, head: Head, body: bytes, *, more: bool = False) -> bytes:
        """The bytes of a message: all of it, or with `more` its beginning, which `send_body` continues.

        A body whose size the head does not say is sent in chunks, or to HTTP/1.0 until the connection ends.
        """
        data = self._h11.send(head)
        if isinstance(head, h11.InformationalResponse):
            return data
        self._sends_body = not (isinstance(head, h11.Response) and self._answers_head(head))
        return data + self.send_body(body, more=more)

    def send_body(self, data: bytes, *, more: bool) -> bytes:
        """The bytes of a piece of the body, none where the message must have no body (RFC 9112 section 6.3)."""
        sent = self._h11.send(h11.Data(data=data)) if data and self._sends_body else b""
        return sent if more else sent + self._h11.send(h11.EndOfMessage())

    @property
    def can_answer(self) -> bool:
        """Whether the server may still begin a response, were it to say what was wrong with the request."""
        return self._h11.our_state in {h11.IDLE, h11.SEND_RESPONSE}

    @property
    def awaits_continue(self) -> bool:
        """Whether the client waits for a 100 before it sends the body (RFC 9110 section 10.1.1)."""
        return self._h11.they_are_waiting_for_100_continue

    @property
    def is_sending_body(self) -> bool:
        """Whether a message was begun and is to be continued."""
        return self._h11.our_state is h11.SEND_BODY

    def take_rest(self) -> bytes:
        """All of `buffer`, for the protocol that takes over."""
        return self._take(len(self.buffer))

    def start_next_cycle(self) -> bool:
        """Make ready for the next request and response; False if this connection cannot carry them.

        It cannot after `Connection: close` or HTTP/1.0, after the end of the peer's side, or if h11 was left with bytes
        behind a body whose end they made doubtful (RFC 9112 section 9.3).
        """
        done = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
        if self._h11.states != done or self._h11.trailing_data != (b"", False):
            return False
        self._h11.start_next_cycle()
        self.head = None
        self.fields = ()
        self._head_bytes = 0
        return True

    def _find_head_end(self) -> int:
        """The size of the head at the start of `buffer`, 0 while it is incomplete (RFC 9112 section 2.2)."""
        buffer = self.buffer
        if buffer and buffer[0] <= 0x20:  # TLS, for one, begins with 0x16: no need to wait for a line
            raise RemoteProtocolError(400, "a start line was expected", "RFC 9112 section 2.1")
        while (place := buffer.find(b"\n", self._searched, MAX_HTTP_HEAD_BYTES)) >= 0:
            self._searched = place + 1
            if not buffer.endswith(b"\r", 0, place):
                raise RemoteProtocolError(400, "a line ends with LF alone", "RFC 9112 section 2.2")
            if buffer.endswith(b"\r\n\r", 0, place):
                self._searched = 0
                return place + 1
        if len(buffer) >= MAX_HTTP_HEAD_BYTES:
            raise RemoteProtocolError(431, f"a head has at most {MAX_HTTP_HEAD_BYTES} bytes", "RFC 6585 section 5")
        self._searched = len(buffer)
        return 0

    def _check_lines(self, head: bytes) -> None:
        """Refuse in a whole head what h11 would take, or read as something else than others do."""
        if head.count(b"\r\n") - _LINES_AROUND_FIELDS > MAX_HTTP_FIELDS:
            raise RemoteProtocolError(431, f"a head has at most {MAX_HTTP_FIELDS} fields", "RFC 6585 section 5")
        if _CONTROL.search(head):
            raise RemoteProtocolError(400, "a control character is in the head", "RFC 9110 section 5.5")
        if self._is_server and (b"\r\n " in head or b"\r\n\t" in head):
            raise RemoteProtocolError(400, "a header field is folded over lines", "RFC 9112 section 5.2")
        self._check_codings(head)
        lengths = _LENGTHS.findall(head)
        if self._is_server and (len(lengths) > 1 or b"," in b"".join(lengths)):  # h11 makes one of several that agree
            raise RemoteProtocolError(400, "there are several Content-Lengths", "RFC 9112 section 6.3")

    def _check_codings(self, head: bytes) -> None:
        """Refuse what is no plain chunked body: where such a one ends is unknown (RFC 9112 section 6.3)."""
        codings = [each.strip(b" \t").lower() for each in b",".join(_CODINGS.findall(head)).split(b",")]
        if not self._is_server or _CODINGS.search(head) is None or codings == [b"chunked"]:
            return
        if codings[-1] == b"chunked" and b"" not in codings and codings.count(b"chunked") == 1:
            raise RemoteProtocolError(501, "no transfer coding but chunked is known", "RFC 9112 section 6.1")
        raise RemoteProtocolError(400, "chunked is not the last transfer coding", "RFC 9112 section 6.3")

    def _expect_body(self, head: Head) -> None:
        """Judge the framing of a head's message before any of its body is read (RFC 9112 section 6)."""
        if not head.http_version.startswith(b"1."):
            raise RemoteProtocolError(505, "the version is HTTP/1.1", "RFC 9110 section 15.6.6")
        fields = dict(self.fields)  # h11 leaves at most one of either framing field
        length = fields.get("content-length")
        if "transfer-encoding" in fields and (length is not None or head.http_version == b"1.0"):
            raise RemoteProtocolError(400, "the framing of the body is ambiguous", "RFC 9112 section 6.1")
        self._chunk_left = 0 if "transfer-encoding" in fields else None
        self._allowance = _MAX_FRAMED_BODY_BYTES if length is None else int(length)
        if length is not None and self._allowance > MAX_HTTP_BODY_BYTES:
            raise self._too_large()

    def _answers_head(self, head: h11.Response) -> bool:
        to_head = isinstance(self.head, h11.Request) and self.head.method == b"HEAD"
        return to_head or head.status_code in BODYLESS_STATUSES

    def _take(self, size: int) -> bytes:
        piece = bytes(self.buffer[:size])
        del self.buffer[:size]
        return piece

    def _next_event(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            reason = str(error).partition(":")[0]
            if "_SWITCH_" in reason:  # h11's texts name its internals
                reason = "expected a final response, got a 101 to a request that asked for no upgrade"
            elif reason.startswith("InformationalResponse"):
                reason = f"expected a status from 100 on, got {reason.rpartition(' ')[2]}"
            raise RemoteProtocolError(error.error_status_hint, reason, "RFC 9112") from None


def byte_headers(headers: Headers, *, length: int | None = None) -> list[tuple[bytes, bytes]]:
    """Our fields as h11's, and Content-Length if `length` is given.

    Raises LocalProtocolError, naming the field and not its value, if one cannot be written or is the wire's to write.
    """
    for name, value in headers:
        if not (_FIELD_NAME.fullmatch(name) and _FIELD_VALUE.fullmatch(value)):
            raise LocalProtocolError(f"the header {name!r} holds characters that HTTP cannot carry")
        if name.lower() in _FRAMING_FIELDS:
            raise LocalProtocolError(f"the header {name!r} is written for the body that is given: leave it out")
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return fields if length is None else [*fields, (b"content-length", b"%d" % length)]


BODYLESS_STATUSES: Final = frozenset({204, 304})
"""RFC 9112 section 6.3."""
_LINES_AROUND_FIELDS: Final = 2
"""The start line, and the empty line at the end."""
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""All but tab, CR and LF, of which there are rules of their own."""
_LENGTHS: Final = re.compile(rb"(?i:\r\ncontent-length:)([^\r]*)")
_CODINGS: Final = re.compile(rb"(?i:\r\ntransfer-encoding:)([^\r]*)")
_CHUNK_SIZE: Final = re.compile(rb"[0-9A-Fa-f]+")
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE: Final = re.compile(r"([!-~\x80-\xff]+([ \t]+[!-~\x80-\xff]+)*)?")
_FRAMING_FIELDS: Final = frozenset({"content-length", "transfer-encoding"})
_MAX_FRAMED_BODY_BYTES: Final = MAX_HTTP_BODY_BYTES + MAX_HTTP_HEAD_BYTES
"""A body with its chunk framing and trailer, which together may be as large as a head."""
