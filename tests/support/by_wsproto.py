"""A WebSocket as wsproto reads it, given every frame: what our own wire is compared with.

wsproto has no limits, and makes an event of every chunk that it is fed. So it is fed a header, then the limits are
applied, then it is fed the payload.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from wsproto.connection import CLIENT, SERVER, Connection, ConnectionState
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage

from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.limits import MAX_SMALL_PIECES, PIECE_BYTES
from artcafe_proto.wires.inputs import CloseReceived, Ended, Failed, Input, PingReceived, PongReceived, TextReceived

_EXTENDED_BYTES: Final = {126: 2, 127: 8}
_BINARY: Final = (1003, "messages are TEXT, a binary one came", "MSG-7")
_BEGINS_AMID: Final = (1002, "a message begins amid another one", "RFC 6455 section 5.4")
_NOT_BEGUN: Final = (1002, "a frame goes on with a message that has not begun", "RFC 6455 section 5.4")
_OUT_OF_PLACE: Final = {
    "unexpected CONTINUATION": _NOT_BEGUN,
    "expected CONTINUATION, got <Opcode.TEXT: 1>": _BEGINS_AMID,
    "expected CONTINUATION, got <Opcode.BINARY: 2>": _BINARY,
}
"""What wsproto says of an empty frame only, as it is done with that at its header."""


class WsprotoReader:
    """One end of a WebSocket, for one stream of bytes up to its end."""

    def __init__(self, *, client: bool, limit: int) -> None:
        self._connection = Connection(CLIENT if client else SERVER)
        self._limit = limit
        self._fragments = 0
        self._announced = 0
        self._message = bytearray()

    def read(self, data: bytes) -> list[Input]:
        """All of a stream."""
        inputs: list[Input] = []
        place = 0
        try:
            while len(data) - place >= 2:
                extended = _EXTENDED_BYTES.get(data[place + 1] & 0x7F, 0)
                start = place + 2 + extended + (data[place + 1] >> 7) * 4
                if start > len(data):
                    break
                heard = list(self._hear(data[place:start]))  # something if the frame has no payload
                length = int.from_bytes(data[place + 2 : place + 2 + extended]) if extended else data[place + 1] & 0x7F
                self._judge(data[place], length)
                inputs += heard
                place = start + length
                if place > len(data):
                    break
                inputs += self._hear(data[start:place]) if length else ()
                if inputs and isinstance(inputs[-1], CloseReceived):
                    return inputs
        except RemoteProtocolError as error:
            return [*inputs, Failed(error)]
        return [*inputs, Ended()]

    def _hear(self, piece: bytes) -> Iterator[Input]:
        self._connection.receive_data(piece)
        for event in self._connection.events():
            match event:
                case TextMessage():
                    self._message += event.data.encode()
                    if event.message_finished:
                        yield TextReceived(bytes(self._message))
                        self._message.clear()
                case Ping():
                    yield PingReceived(bytes(event.payload))
                case Pong():
                    yield PongReceived(bytes(event.payload))
                case CloseConnection() if self._connection.state is ConnectionState.REMOTE_CLOSING:
                    yield CloseReceived(int(event.code), event.reason or "")
                case CloseConnection() if event.reason in _OUT_OF_PLACE:
                    raise RemoteProtocolError(*_OUT_OF_PLACE[event.reason])
                case CloseConnection():
                    clause = "MSG-6" if event.code == 1007 else "RFC 6455 section 5"
                    raise RemoteProtocolError(int(event.code), event.reason or "", clause)
                case _:
                    assert isinstance(event, BytesMessage), "wsproto makes nothing else of frames"

    def _judge(self, first: int, length: int) -> None:
        """What wsproto does not look at, or not yet."""
        opcode, is_amid = first & 0x0F, self._fragments > 0
        if opcode >= 8:
            return
        if opcode == 2:
            raise RemoteProtocolError(*_BINARY)
        if is_amid is not (opcode == 0):
            raise RemoteProtocolError(*(_BEGINS_AMID if opcode else _NOT_BEGUN))
        self._fragments += 1
        self._announced += length
        if self._announced > self._limit:
            reason = f"a message has at most {self._limit} bytes, not {self._announced}"
            raise RemoteProtocolError(1009, reason, "MSG-6")
        most = MAX_SMALL_PIECES + self._announced // PIECE_BYTES
        if self._fragments > most:
            reason = f"a message of {self._announced} bytes has at most {most} fragments so far"
            raise RemoteProtocolError(1008, reason, "MSG-6")
        if first & 0x80:
            self._fragments = self._announced = 0
