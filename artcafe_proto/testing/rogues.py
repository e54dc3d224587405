"""Servers that are no ArtCafe platform, or a bad one: what stands in front of a platform on a bad day."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from artcafe_proto.testing.circuits import Circuit


def _answer(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


ROGUE_CHALLENGE: Final = "0123456789abcdef"
"""What a server that is no platform has signed. It says so to everybody: that is no secret."""

ROGUES: Final[dict[str, bytes]] = {
    "500": _answer(500),
    "503": _answer(503),
    "503 with Retry-After": _answer(503, b"{}", "Retry-After: 20"),
    "429": _answer(429),
    "429 with Retry-After": _answer(429, b"{}", "Retry-After: 45"),
    "401": _answer(401),
    "403": _answer(403),
    "404": _answer(404),
    "301": _answer(301, b"", "Location: http://elsewhere.example/"),
    "no JSON": _answer(200, b"<html>"),
    "wrong types": _answer(200, b'{"challenge": 5, "valid": "yes", "token": []}'),
    "invalid": _answer(200, b'{"challenge": "%s", "valid": false}' % ROGUE_CHALLENGE.encode()),
    "oracle": _answer(200, b'{"challenge": "eyJhbGciOiJFZERTQSJ9.e30"}'),
    "huge": _answer(200, b" " * 70_000),
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00",
    "bad 101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: wrong\r\n\r\n",
    "mute": b"",
    "hangs up": b"",
}
"""What each answers to any request."""


class Rogue:
    """The server's end of a circuit, played by one of `ROGUES`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def wakes_at(self) -> float:
        """It waits for nothing."""
        return math.inf

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        """Answer whatever was asked, once a whole head is there."""
        if self.name == "hangs up":
            circuit.leave(circuit.up, circuit.down, abort=False)
        elif self.name != "mute" and data.endswith((b"\r\n\r\n", b"}")):
            circuit.down.send(ROGUES[self.name])

    def eof_arrived(self, circuit: Circuit) -> None:
        """The agent is done with it."""
        circuit.leave(circuit.up, circuit.down, abort=False)

    def reset_arrived(self, circuit: Circuit, reason: str) -> None:
        """The agent is done with it."""
