"""Writing WebSocket frames (RFC 6455 section 5.2). Reading them is `websocket.WebSocketWire`."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Final, assert_never

from artcafe_proto.effects import SendClose, SendPing, SendPong, SendText
from artcafe_proto.errors import LocalProtocolError

if TYPE_CHECKING:
    from random import Random

    from artcafe_proto.effects import SendFrame

MAX_CONTROL_PAYLOAD_BYTES: Final = 125
"""RFC 6455 section 5.5."""
NO_STATUS: Final = 1005
"""A close without a code (RFC 6455 section 7.4.1)."""


class Opcode(IntEnum):
    """RFC 6455 section 11.8."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class FrameWriter:
    """Writes one end's frames; those of a client are masked with keys from `rng` (RFC 6455 section 5.3).

    Messages are never fragmented or compressed.
    """

    __slots__ = ("_client", "_keys", "_rng")

    def __init__(self, *, client: bool, rng: Random) -> None:
        self._client = client
        self._rng = rng
        self._keys: list[int] = []

    def write(self, send: SendFrame) -> bytes:
        """The frame that a machine asks for."""
        match send:
            case SendText():
                return self.text(send.payload)
            case SendPing():
                return self.ping(send.payload)
            case SendPong():
                return self.pong(send.payload)
            case SendClose():
                return self.close(send.code, send.reason)
            case _:
                assert_never(send)

    def text(self, payload: bytes) -> bytes:
        """One whole TEXT message, given as UTF-8."""
        return self._frame(_TEXT, payload)

    def ping(self, payload: bytes) -> bytes:
        """A ping. Raises LocalProtocolError for a payload over 125 bytes."""
        return self._control(Opcode.PING, payload)

    def pong(self, payload: bytes) -> bytes:
        """A pong. Raises LocalProtocolError for a payload over 125 bytes."""
        return self._control(Opcode.PONG, payload)

    def close(self, code: int, reason: str) -> bytes:
        """A close frame, its reason cut to 123 bytes of UTF-8 between two code points.

        1005 writes no code and no reason. 1006 and 1015, which exist to be reported and never to be sent
        (RFC 6455 section 7.4.1), are written as 1000.
        """
        if code == NO_STATUS:
            return self._control(Opcode.CLOSE, b"")
        if code in _REPORTED_ONLY:
            code = 1000
        text = reason.encode("utf-8", "replace")[: MAX_CONTROL_PAYLOAD_BYTES - 2].decode("utf-8", "ignore")
        return self._control(Opcode.CLOSE, code.to_bytes(2) + text.encode())

    def _control(self, opcode: Opcode, payload: bytes) -> bytes:
        if len(payload) > MAX_CONTROL_PAYLOAD_BYTES:
            raise LocalProtocolError(
                f"the payload of a {opcode.name} has at most {MAX_CONTROL_PAYLOAD_BYTES} bytes, not {len(payload)}"
            )
        return self._frame(opcode, payload)

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        size = len(payload)
        first, mask_bit = _FIN | opcode, 0x80 if self._client else 0
        if size <= 125:
            head = _SHORT_HEAD.pack(first, mask_bit | size)
        elif size < 1 << 16:
            head = _MEDIUM_HEAD.pack(first, mask_bit | 126, size)
        else:
            head = _LONG_HEAD.pack(first, mask_bit | 127, size)
        if not self._client:
            return head + payload
        if not self._keys:  # drawn for many frames at a time; none is used twice
            self._keys = list(_KEYS.unpack(self._rng.getrandbits(8 * _KEYS.size).to_bytes(_KEYS.size)))
        key = self._keys.pop()
        if size > _SMALL_BYTES:
            key_bytes = key.to_bytes(4, "little")
            return b"%b%b%b" % (head, key_bytes, mask(payload, key_bytes))
        # One XOR writes the key into its place and masks what follows it.
        frame = int.from_bytes(b"%b\0\0\0\0%b" % (head, payload), "little")
        words = size + 7 >> 2
        keys = key * _ONES[words] << 8 * len(head)
        return (frame ^ keys).to_bytes(len(head) + 4 * words, "little")[: len(head) + 4 + size]


def mask(payload: bytes | bytearray, key: bytes | bytearray) -> bytes:
    """`payload` masked, or unmasked, with the four bytes of `key` (RFC 6455 section 5.3)."""
    size = len(payload)
    if size <= _SMALL_BYTES:
        words = size + 3 >> 2
        keys = int.from_bytes(key, "little") * _ONES[words]
        return (int.from_bytes(payload, "little") ^ keys).to_bytes(4 * words, "little")[:size]
    octets = bytearray(payload)
    for place, octet in enumerate(key):
        octets[place::4] = octets[place::4].translate(_XOR_TABLES[octet])
    return bytes(octets)


_KEYS: Final = Struct("<64I")
_FIN: Final = 0x80
_TEXT: Final = int(Opcode.TEXT)
_SHORT_HEAD: Final = Struct("!BB")
_MEDIUM_HEAD: Final = Struct("!BBH")
_LONG_HEAD: Final = Struct("!BBQ")
_REPORTED_ONLY: Final = frozenset({1006, 1015})
_SMALL_BYTES: Final = 1024
"""Measured on CPython 3.11: one XOR of whole integers wins up to here, four table look-ups above."""
_ONES: Final = [int.from_bytes(b"\1\0\0\0" * words, "little") for words in range(_SMALL_BYTES // 4 + 2)]
"""A key times the n-th of these is that key n times over."""
_OCTETS: Final = int.from_bytes(range(256))
_XOR_TABLES: Final = tuple((_OCTETS ^ int.from_bytes(bytes((octet,)) * 256)).to_bytes(256) for octet in range(256))
