"""Reading a WebSocket (RFC 6455 sections 5 to 7): bytes in, messages and control frames out.

A header is judged as soon as it is complete, so that what is wrong with it, or with the size of its message, fails
before any payload is waited for. A sound one is recognised here, which costs little a frame. One that is not, and what
a close frame says, wsproto judges: given every frame, it takes twenty microseconds for the least fragment, and most
links never need it. A differential test holds that it reads any bytes in the same way.

A message in one frame takes the fast lane (`lane.read_texts`). Joining the fragments of another is linear in their
bytes, and of the fragments there may only be so many (MSG-6).
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import TYPE_CHECKING, Final

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.limits import MAX_SMALL_PIECES, PIECE_BYTES
from artcafe_proto.wires.frames import MAX_CONTROL_PAYLOAD_BYTES, FrameWriter, Opcode, mask
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
    from random import Random


class WebSocketWire:
    """One end of a WebSocket after its opening handshake.

    `writer` writes this end's frames. A message of more than `max_message_size` bytes, its earlier fragments counted,
    fails at the header that makes it so, as one of too many fragments does (MSG-6), a binary one at its first header
    (MSG-7). `accept_binary` is for those who speak another protocol over it: neither façade does.
    """

    __slots__ = (
        "_accept_binary",
        "_announced",
        "_buffer",
        "_fragments",
        "_is_judged",
        "_is_text",
        "_masked",
        "_max_message_size",
        "_message",
        "_needed",
        "_over",
        "_undecoded",
        "writer",
    )

    def __init__(self, *, client: bool, rng: Random, max_message_size: int, accept_binary: bool = False) -> None:
        self.writer: Final = FrameWriter(client=client, rng=rng)
        self._max_message_size = max_message_size
        self._accept_binary = accept_binary
        self._masked = not client  # what frames must be that come in
        self._buffer = bytearray()  # from the beginning of a frame on
        self._needed = _SHORTEST_HEADER_BYTES  # bytes of it without which nothing can be done
        self._is_judged = False  # the header in it
        self._message = bytearray()  # what has come of a message in fragments
        self._fragments = 0  # of it, by their headers; 0 between two messages
        self._announced = 0  # bytes of it, likewise
        self._is_text = True
        self._undecoded = b""  # its last bytes, if they end within a character
        self._over = False

    def receive(self, data: bytes) -> list[Input]:
        """What `data` completes. Never raises; after `CloseReceived` and `Failed` all bytes are ignored."""
        inputs: list[Input] = []
        if self._over:
            return inputs
        if not (self._buffer or self._fragments):
            place = read_texts(data, masked=self._masked, max_size=self._max_message_size, inputs=inputs)
            if place == len(data):
                return inputs
            data = data[place:]
        self._buffer += data
        try:
            while len(self._buffer) >= self._needed and not self._over:
                if not (self._fragments or self._is_judged) and (place := self._read_texts(inputs)):
                    self._drop(place)
                else:
                    self._read_frame(inputs)
        except RemoteProtocolError as error:
            inputs.append(Failed(error))
            self._finish()
        return inputs

    @property
    def held_bytes(self) -> int:
        """What has come of a message or frame that is not whole."""
        return len(self._buffer) + len(self._message)

    def receive_eof(self) -> list[Input]:
        """The peer's side of the connection ended: `Ended`, unless a close frame or a failure came before."""
        if self._over:
            return []
        self._finish()
        return [Ended()]

    def _read_texts(self, inputs: list[Input]) -> int:
        """Let the fast lane have what it takes between two messages; returns how many bytes that were."""
        return read_texts(self._buffer, masked=self._masked, max_size=self._max_message_size, inputs=inputs)

    def _read_frame(self, inputs: list[Input]) -> None:
        """Take the next frame, or find out how many bytes that needs. Raises RemoteProtocolError for a bad one."""
        buffer = self._buffer
        first, second = buffer[0], buffer[1]
        size = second & 0x7F
        extended = _EXTENDED_BYTES[size]
        start = _SHORTEST_HEADER_BYTES + extended + (_KEY_BYTES if second & _MASK_BIT else 0)
        if len(buffer) < start:
            self._needed = start
            return
        if extended:
            size = int.from_bytes(buffer[2 : 2 + extended])
        if not self._is_judged:
            if first not in _SOUND or second >> 7 != self._masked or not _LEAST[extended] <= size <= _MOST[first]:
                self._by_wsproto(bytes(buffer[:start]))
            if first & _CONTROL == 0:
                self._judge(first, size)
        end = start + size
        if len(buffer) < end:
            self._needed, self._is_judged = end, True
            return
        if first == _CLOSE:
            inputs.append(self._by_wsproto(bytes(buffer[:end])))
            self._finish()
            return
        payload = bytes(buffer[start:end])
        if self._masked:
            payload = mask(payload, buffer[start - _KEY_BYTES : start])
        self._drop(end)
        if first & _CONTROL:
            inputs.append(PingReceived(payload) if first == _PING else PongReceived(payload))
        else:
            self._join(payload, inputs, is_last=first >= _FIN)

    def _drop(self, size: int) -> None:
        """So many bytes of the buffer are done with; behind them a frame begins."""
        del self._buffer[:size]
        self._needed, self._is_judged = _SHORTEST_HEADER_BYTES, False

    def _judge(self, first: int, length: int) -> None:
        """Raise RemoteProtocolError if this sound header is out of place, or its message not acceptable."""
        if first & _OPCODE == _BINARY and not self._accept_binary:
            raise RemoteProtocolError(1003, "messages are TEXT, a binary one came", "MSG-7")
        if first & _OPCODE:
            if self._fragments:
                raise RemoteProtocolError(1002, "a message begins amid another one", "RFC 6455 section 5.4")
            self._is_text = first & _OPCODE != _BINARY
        elif not self._fragments:
            raise RemoteProtocolError(1002, "a frame goes on with a message that has not begun", "RFC 6455 section 5.4")
        self._fragments += 1
        self._announced += length
        if self._announced > self._max_message_size:
            raise RemoteProtocolError(
                1009, f"a message has at most {self._max_message_size} bytes, not {self._announced}", "MSG-6"
            )
        most = MAX_SMALL_PIECES + self._announced // PIECE_BYTES
        if self._fragments > most:
            raise RemoteProtocolError(
                1008, f"a message of {self._announced} bytes has at most {most} fragments so far", "MSG-6"
            )

    def _join(self, payload: bytes, inputs: list[Input], *, is_last: bool) -> None:
        """Add a fragment to its message. Raises RemoteProtocolError for text that is not UTF-8."""
        if self._is_text and (self._undecoded or not payload.isascii()):
            piece = self._undecoded + payload
            try:
                _, size = utf_8_decode(piece, "strict", is_last)
            except UnicodeDecodeError as error:
                raise RemoteProtocolError(1007, str(error), "MSG-6") from None
            self._undecoded = piece[size:]
        self._message += payload
        if is_last:
            message = bytes(self._message)
            self._message.clear()
            self._fragments = self._announced = 0
            inputs.append(TextReceived(message) if self._is_text else BinaryReceived(message))

    def _by_wsproto(self, frame: bytes) -> CloseReceived:
        """What a close frame says. Raises RemoteProtocolError for one that is bad, and for any bad header."""
        # Here, not above: most processes never need it, and it takes longer to import than all of this package.
        from wsproto.connection import CLIENT, SERVER, Connection, ConnectionState
        from wsproto.events import CloseConnection

        connection = Connection(SERVER if self._masked else CLIENT)
        connection.receive_data(frame)
        (event,) = connection.events()
        assert isinstance(event, CloseConnection), "wsproto makes nothing else of such frames"
        code, reason = int(event.code), event.reason or ""
        if connection.state is ConnectionState.REMOTE_CLOSING:
            return CloseReceived(code, reason)
        raise RemoteProtocolError(code, reason, "MSG-6" if code == 1007 else "RFC 6455 section 5")

    def _finish(self) -> None:
        self._over = True
        self._buffer.clear()
        self._message.clear()


_SHORTEST_HEADER_BYTES: Final = 2
_KEY_BYTES: Final = 4
_MASK_BIT: Final = 0x80
_FIN: Final = 0x80
_CONTROL: Final = 0x08
_OPCODE: Final = 0x0F
_BINARY: Final = int(Opcode.BINARY)
_CLOSE, _PING = _FIN | Opcode.CLOSE, _FIN | Opcode.PING
_SOUND: Final = frozenset({0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A})
"""First bytes without a reserved bit or opcode, and without a control frame in fragments (RFC 6455 section 5.2)."""
_EXTENDED_BYTES: Final = (*[0] * 126, 2, 8)
"""Further bytes of the length, by what the seven bits say."""
_LEAST: Final = {0: 0, 2: 126, 8: 1 << 16}
"""The least length that needs so many further bytes."""
_MOST: Final = {first: MAX_CONTROL_PAYLOAD_BYTES if first & _CONTROL else (1 << 63) - 1 for first in _SOUND}
