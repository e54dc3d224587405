"""Reading a WebSocket (RFC 6455 sections 5 to 7): bytes in, messages and control frames out.

wsproto's frame layer assembles messages, unmasks, checks UTF-8 and close codes. It has no size limit, makes an event of
every chunk it is fed, and tells a broken frame and a received close apart only by its state. So it never sees raw
chunks here. It gets each header by itself, as soon as that is complete, and so refuses what is wrong with it before
any payload is waited for; then the limits are applied; and only then, when the payload has arrived whole, the payload.
What needs no judgement it never sees: that goes through the fast lane (`lane.read_texts`). It exists only from a frame
that does until the end of that frame, or of the message that it is part of: most links never have one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.wires.frames import FrameWriter, Opcode
from artcafe_proto.wires.inputs import (
    BinaryReceived,
    CloseReceived,
    Ended,
    Failed,
    Input,
    PingReceived,
    PongReceived,
    TextReceived,
)
from artcafe_proto.wires.lane import read_texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from wsproto.connection import Connection


class WebSocketWire:
    """One end of a WebSocket after its opening handshake.

    `writer` writes this end's frames. A message of more than `max_message_size` bytes, its earlier fragments counted,
    fails at the header that makes it so (MSG-6), a binary one at its first header (MSG-7). `accept_binary` is for those
    who speak another protocol over it: neither façade does.
    """

    __slots__ = (
        "_accept_binary",
        "_announced",
        "_buffer",
        "_connection",
        "_in_message",
        "_in_payload",
        "_masked",
        "_max_message_size",
        "_message",
        "_needed",
        "_over",
        "writer",
    )

    def __init__(self, *, client: bool, rng: Random, max_message_size: int, accept_binary: bool = False) -> None:
        self.writer = FrameWriter(client=client, rng=rng)
        self._max_message_size = max_message_size
        self._accept_binary = accept_binary
        self._connection: Connection | None = None  # wsproto's, while something is its to judge
        self._buffer = bytearray()
        self._needed = _SHORTEST_HEADER_BYTES  # bytes until the buffer holds the next piece: a header or a payload
        self._in_payload = False
        self._announced = 0  # bytes of the current message by its headers so far
        self._in_message = False  # between the first and the last fragment of one
        self._masked = not client  # what frames must be that come in
        self._message = bytearray()
        self._over = False

    def receive(self, data: bytes) -> list[Input]:
        """What `data` completes. Never raises; after `CloseReceived` and `Failed` all bytes are ignored."""
        inputs: list[Input] = []
        if self._over:
            return inputs
        if not (self._buffer or self._in_payload or self._in_message):
            place = read_texts(data, masked=self._masked, max_size=self._max_message_size, inputs=inputs)
            if place == len(data):
                return inputs
            data = data[place:]
        self._buffer += data
        try:
            while len(self._buffer) >= self._needed and not self._over:
                if place := self._read_texts(self._buffer, inputs):
                    del self._buffer[:place]
                    self._expect_header()
                else:
                    inputs.extend(self._read())
        except RemoteProtocolError as error:
            inputs.append(Failed(error))
            self._finish()
        if not (self._in_payload or self._in_message):
            self._connection = None
        return inputs

    def receive_eof(self) -> list[Input]:
        """The peer's side of the connection ended: `Ended`, unless a close frame or a failure came before."""
        if self._over:
            return []
        self._finish()
        return [Ended()]

    def _read_texts(self, buffer: bytes | bytearray, inputs: list[Input]) -> int:
        """Let the fast lane have what it takes at a boundary of messages; returns how many bytes that were."""
        if self._in_payload or self._in_message:
            return 0
        return read_texts(buffer, masked=self._masked, max_size=self._max_message_size, inputs=inputs)

    def _read(self) -> Iterator[Input]:
        """Take the next piece, which is complete but for a header whose full size was unknown until now."""
        if self._in_payload:
            payload = self._take(self._needed)
            self._expect_header()
            yield from self._hear(payload)
            return
        size = _header_size(self._buffer)
        if size > len(self._buffer):
            self._needed = size
            return
        if size + (length := self._buffer[1] & 0x7F) <= len(self._buffer) and _is_control(self._buffer):
            frame = self._take(size + length)  # nothing about it is judged here: wsproto may have all of it at once
            self._expect_header()
            yield from self._hear(frame)
            return
        header = self._take(size)
        self._expect_header()
        heard = list(self._hear(header))  # something if the frame has no payload: the header is all of it
        if (length := self._judge(header)) > 0:
            self._needed, self._in_payload = length, True
        yield from heard

    def _expect_header(self) -> None:
        self._needed, self._in_payload = _SHORTEST_HEADER_BYTES, False

    def _take(self, size: int) -> bytes:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece

    def _hear(self, piece: bytes) -> Iterator[Input]:
        """Let wsproto have a whole header or payload. Raises RemoteProtocolError for what it refuses."""
        # Here, not above: most processes never need it, and it takes longer to import than all of this package.
        from wsproto.connection import CLIENT, SERVER, Connection, ConnectionState
        from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

        if self._connection is None:
            self._connection = Connection(SERVER if self._masked else CLIENT)
        self._connection.receive_data(piece)
        for event in self._connection.events():
            match event:
                case TextMessage():
                    self._message += event.data.encode()
                    if event.message_finished:
                        yield TextReceived(self._take_message())
                case Ping():
                    yield PingReceived(bytes(event.payload))
                case Pong():
                    yield PongReceived(bytes(event.payload))
                case CloseConnection() if self._connection.state is ConnectionState.REMOTE_CLOSING:
                    self._finish()
                    yield CloseReceived(int(event.code), event.reason or "")
                case CloseConnection():
                    clause = "MSG-6" if event.code == 1007 else "RFC 6455 section 5"
                    raise RemoteProtocolError(int(event.code), event.reason or "", clause)
                case _:  # one without payload comes here before `_judge` has refused its header
                    assert isinstance(event, BytesMessage), "wsproto makes nothing else of frames"
                    self._message += event.data
                    if event.message_finished:
                        yield BinaryReceived(self._take_message())

    def _take_message(self) -> bytes:
        message = bytes(self._message)
        self._message.clear()
        return message

    def _judge(self, header: bytes) -> int:
        """The payload length of a sound header. Raises RemoteProtocolError if its message is not acceptable."""
        opcode = header[0] & 0x0F
        length = _payload_length(header)
        match opcode:
            case Opcode.BINARY if not self._accept_binary:
                raise RemoteProtocolError(1003, "messages are TEXT, a binary one came", "MSG-7")
            case Opcode.TEXT | Opcode.BINARY if self._in_message:
                raise RemoteProtocolError(1002, "a message began within another", "RFC 6455 section 5")
            case Opcode.CONTINUATION if not self._in_message:
                raise RemoteProtocolError(1002, "a fragment came that continues no message", "RFC 6455 section 5")
            case Opcode.TEXT | Opcode.BINARY:
                self._announced = length
                self._in_message = header[0] < _FIN
            case Opcode.CONTINUATION:
                self._announced += length
                self._in_message = header[0] < _FIN
            case _:  # a control frame: wsproto has held it to 125 bytes, and it may come amid a message
                return length
        if self._announced > self._max_message_size:
            raise RemoteProtocolError(
                1009, f"a message has at most {self._max_message_size} bytes, not {self._announced}", "MSG-6"
            )
        return length

    def _finish(self) -> None:
        self._over = True
        self._buffer.clear()
        self._message.clear()


_SHORTEST_HEADER_BYTES: Final = 2
_LONGEST_CONTROL_BYTES: Final = 125
_FIN: Final = 0x80


def _header_size(buffer: bytearray) -> int:
    """Bytes of the frame header that begins with the first two of `buffer` (RFC 6455 section 5.2)."""
    masked, short_length = buffer[1] >> 7, buffer[1] & 0x7F
    return _SHORTEST_HEADER_BYTES + {126: 2, 127: 8}.get(short_length, 0) + 4 * masked


def _is_control(buffer: bytearray) -> bool:
    """Whether a control frame begins here, of at most the 125 bytes that it may have (RFC 6455 section 5.5)."""
    return buffer[0] & 0x0F >= Opcode.CLOSE and buffer[1] & 0x7F <= _LONGEST_CONTROL_BYTES


def _payload_length(header: bytes) -> int:
    short_length = header[1] & 0x7F
    match short_length:
        case 126:
            return int.from_bytes(header[2:4])
        case 127:
            return int.from_bytes(header[2:10])
        case _:
            return short_length
