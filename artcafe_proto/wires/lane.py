"""The fast lane: frames that need no judgement are read here, many in one go.

On a link nearly every frame is one whole TEXT message. Such a frame changes nothing about the frames around it, so it
can be read without them, if nothing about it is left to judge: FIN is set, no reserved bit is, no fragmented message is
in progress, the mask bit is the right one, the length has its shortest form and is within the limit, and the payload
has arrived whole and is UTF-8 (RFC 6455 sections 5.2, 5.6 and 8.1). Nor is there more to judge about a ping or a pong
between two messages, which every batch of responses brings (section 5.5). A frame that lacks any of this stays where it
is, with everything behind it, and `websocket.py` decides. That both together read any bytes as wsproto alone does is
held by a differential test.

It looks at each frame's header once per attempt, and at a payload once, when it is complete: linear in the bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_proto.wires.frames import mask
from artcafe_proto.wires.inputs import PingReceived, PongReceived, TextReceived

if TYPE_CHECKING:
    from artcafe_proto.wires.inputs import Input


def read_texts(buffer: bytes | bytearray, *, masked: bool, max_size: int, inputs: list[Input]) -> int:
    """Append to `inputs` the messages, pings and pongs at the beginning of `buffer` that need no judgement; returns
    where they end.
    """
    place, available = 0, len(buffer)
    while available - place >= _SHORTEST_HEADER_BYTES:
        first = buffer[place]
        if first != _WHOLE_TEXT and first != _PONG and first != _PING:
            break
        size = buffer[place + 1] - _MASK_BIT if masked else buffer[place + 1]
        start = place + _SHORTEST_HEADER_BYTES
        if size >= _EXTENDED:
            extended = _EXTENDED_BYTES.get(size)
            if extended is None or first != _WHOLE_TEXT or available - start < extended:
                break  # the wrong mask bit, too long for a control frame, or an incomplete header
            if extended == 2:
                size = buffer[start] << 8 | buffer[start + 1]
            else:
                size = int.from_bytes(buffer[start : start + extended])
            start += extended
            if size < _LEAST[extended] or size > max_size:
                break
        elif size < 0 or size > max_size:
            break
        if masked:
            start += _KEY_BYTES
        end = start + size
        if end > available:
            break
        if masked:
            payload = mask(buffer[start:end], buffer[start - _KEY_BYTES : start])
        else:
            payload = bytes(buffer[start:end])
        if first != _WHOLE_TEXT:
            inputs.append(PongReceived(payload) if first == _PONG else PingReceived(payload))
        elif payload.isascii() or _is_utf8(payload):
            inputs.append(TextReceived(payload))
        else:
            break
        place = end
    return place


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


_SHORTEST_HEADER_BYTES: Final = 2
_KEY_BYTES: Final = 4
_WHOLE_TEXT: Final = 0x81
"""FIN, no reserved bit, opcode TEXT."""
_PING: Final = 0x89
_PONG: Final = 0x8A
_MASK_BIT: Final = 0x80
_EXTENDED: Final = 126
"""From here on the seven bits say how many bytes the length has."""
_EXTENDED_BYTES: Final = {126: 2, 127: 8}
_LEAST: Final = {2: 126, 8: 1 << 16}
"""The least length that needs so many bytes."""
