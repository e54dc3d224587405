"""What an agent writes on one connection, read again: requests, then WebSocket frames (RFC 6455 section 5.2)."""

from __future__ import annotations

import re
from typing import Final

_HEAD: Final = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
_TOKEN: Final = re.compile(rb"\r\nauthorization: Bearer ([^\r]+)", re.IGNORECASE)
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")

_RETRY_AFTER: Final = re.compile(rb"\r\nretry-after: (\d+)\r\n", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_HEAD_END: Final = b"\r\n\r\n"

TEXT: Final = 0x1
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA


_BLANK_PONG: Final = bytes([0x80 | PONG, 0])


class Frame:
    """One frame: its opcode and its payload, unmasked."""

    __slots__ = ("opcode", "payload")

    def __init__(self, opcode: int, payload: bytes) -> None:
        self.opcode: Final = opcode
        self.payload: Final = payload


class WrittenRequest:
    """One request: its method, its target, the bearer token it carries ("" for none) and its bytes."""

    __slots__ = ("data", "method", "target", "token")

    def __init__(self, data: bytes) -> None:
        head = _HEAD.match(data)
        if head is None:
            raise AssertionError(f"expected a request, got {len(data)} bytes of something else")
        self.data: bytes = data
        self.method: Final = head[1].decode()
        self.target: Final = head[2].decode()
        token = _TOKEN.search(data)
        self.token: str = "" if token is None else token[1].decode()

    @property
    def is_call(self) -> bool:
        """Whether it is about the agent itself (STAT-2)."""
        return self.target.startswith("/api/v1/agents/")

    @property
    def is_upgrade(self) -> bool:
        """Whether it is a WebSocket's opening handshake."""
        return "/ws/agent/" in self.target


class Wiretap:
    """Reads both sides of an agent's connection; our own façades write whole requests and whole frames."""

    def __init__(self) -> None:
        self.is_upgraded: bool = False
        self.last_request: WrittenRequest | None = None
        self.answer: bytearray = bytearray()
        """What has come of the answer to it."""
        self._unread = b""

    def read(self, data: bytes) -> list[WrittenRequest | Frame]:
        """What one write holds."""
        if not self.is_upgraded:
            self.last_request = WrittenRequest(data)
            self.answer.clear()
            return [self.last_request]
        return list(read_frames(data)[0])

    def hear(self, data: bytes) -> list[Frame]:
        """The frames that the peer's bytes complete; what is no link yet goes into `answer`."""
        if not self.is_upgraded:
            self.answer += data
            if self.answered_status() != 101:
                return []
            self.is_upgraded = True
            data = bytes(self.answer).partition(_HEAD_END)[2]
        frames, read = read_frames(self._unread + data if self._unread else data)
        self._unread = (self._unread + data)[read:]
        return frames

    def answered_status(self) -> int | None:
        """The status of the answer to the last request, once all of that is there."""
        status = _STATUS.match(self.answer)
        head, end, body = self.answer.partition(_HEAD_END)
        if status is None or not end:
            return None
        length = _LENGTH.search(head)
        return int(status[1]) if length is None or len(body) >= int(length[1]) else None

    @property
    def retry_after_s(self) -> float:
        """What the answer asks to wait, 0 if nothing."""
        asked = _RETRY_AFTER.search(self.answer)
        return 0.0 if asked is None else float(asked[1])


def read_frames(data: bytes) -> tuple[list[Frame], int]:
    """The whole frames that bytes begin with, and where these end."""
    frames: list[Frame] = []
    place = 0
    while (ends := _end_of_frame(data, place)) <= len(data):
        frames.append(_read_frame(data, place, ends))
        place = ends
    return frames, place


def read_pings(data: bytes) -> tuple[list[bytes], int]:
    """What the pings carry among the whole frames that bytes begin with, and where these end."""
    pings: list[bytes] = []
    place = 0
    while (ends := _end_of_frame(data, place)) <= len(data):
        if data[place] & 0x0F == PING:
            pings.append(_read_frame(data, place, ends).payload)
        place = ends
    return pings, place


def with_blank_pongs(data: bytes) -> bytes:
    """Whole frames of a server's, the pongs among them without what they answer: a sign of life, and no more."""
    written: list[bytes] = []
    place = 0
    while place < len(data):
        ends = _end_of_frame(data, place)
        written.append(_BLANK_PONG if data[place] & 0x0F == PONG else data[place:ends])
        place = ends
    return b"".join(written)


def _end_of_frame(data: bytes, place: int) -> int:
    """Where a frame ends; beyond the data if not even that is known."""
    if len(data) < place + 2:
        return len(data) + 1
    size, masked = data[place + 1] & 0x7F, data[place + 1] >> 7
    length = 0 if size < 126 else 2 if size == 126 else 8
    if length:
        if len(data) < place + 2 + length:
            return len(data) + 1
        size = int.from_bytes(data[place + 2 : place + 2 + length], "big")
    return place + 2 + length + 4 * masked + size


def _read_frame(data: bytes, place: int, ends: int) -> Frame:
    opcode, size, masked = data[place] & 0x0F, data[place + 1] & 0x7F, data[place + 1] >> 7
    place += 2 if size < 126 else 4 if size == 126 else 10
    if not masked:
        return Frame(opcode, data[place:ends])
    mask, place = data[place : place + 4], place + 4
    size = ends - place
    payload = int.from_bytes(data[place:ends], "big")
    pattern = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return Frame(opcode, (payload ^ pattern).to_bytes(size, "big"))
