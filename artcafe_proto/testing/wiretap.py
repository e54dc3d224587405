"""What an agent writes on one connection, read again: requests, then WebSocket frames (RFC 6455 section 5.2)."""

from __future__ import annotations

import re
from typing import Final

_HEAD: Final = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
_TOKEN: Final = re.compile(rb"\r\nauthorization: Bearer ([^\r]+)", re.IGNORECASE)
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")

TEXT: Final = 0x1
CLOSE: Final = 0x8


class Frame:
    """One frame: its opcode and its payload, unmasked."""

    __slots__ = ("opcode", "payload")

    def __init__(self, opcode: int, payload: bytes) -> None:
        self.opcode = opcode
        self.payload = payload


class Request:
    """One request: its method, its target, the bearer token it carries ("" for none) and its bytes."""

    __slots__ = ("data", "method", "target", "token")

    def __init__(self, data: bytes) -> None:
        head = _HEAD.match(data)
        if head is None:
            raise AssertionError(f"expected a request, got {len(data)} bytes of something else")
        self.data = data
        self.method = head[1].decode()
        self.target = head[2].decode()
        token = _TOKEN.search(data)
        self.token = "" if token is None else token[1].decode()

    @property
    def is_upgrade(self) -> bool:
        """Whether it is a WebSocket's opening handshake."""
        return "/ws/agent/" in self.target


class Wiretap:
    """Reads one side of a connection; our own façades write whole requests and whole frames."""

    def __init__(self) -> None:
        self.is_upgraded = False
        self.last_request: Request | None = None
        self.answer = bytearray()
        """What has come of the answer to it."""

    def read(self, data: bytes) -> list[Request | Frame]:
        """What one write holds."""
        if not self.is_upgraded:
            self.last_request = Request(data)
            self.answer.clear()
            return [self.last_request]
        frames: list[Request | Frame] = []
        place = 0
        while place < len(data):
            frame, place = _read_frame(data, place)
            frames.append(frame)
        return frames

    def answered_status(self) -> int | None:
        """The status of the answer to the last request, once its head is there."""
        head = _STATUS.match(self.answer)
        return None if head is None or b"\r\n\r\n" not in self.answer else int(head[1])


def _read_frame(data: bytes, place: int) -> tuple[Frame, int]:
    opcode, size = data[place] & 0x0F, data[place + 1] & 0x7F
    place += 2
    if size >= 126:
        length = 2 if size == 126 else 8
        size = int.from_bytes(data[place : place + length], "big")
        place += length
    mask, place = data[place : place + 4], place + 4
    masked = int.from_bytes(data[place : place + size], "big")
    pattern = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return Frame(opcode, (masked ^ pattern).to_bytes(size, "big")), place + size
