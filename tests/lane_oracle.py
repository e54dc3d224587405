"""What a wire makes of a stream, cut in any way, with the fast lane and without: both have to read the same."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from random import Random
from unittest.mock import patch

from artcafe_proto.wires.inputs import Input, TextReceived
from artcafe_proto.wires.websocket import WebSocketWire

LIMIT = 70_000
LANE = "artcafe_proto.wires.websocket.read_texts"


def without_lane() -> AbstractContextManager[object]:
    """In it wsproto judges every frame."""

    def nothing(buffer: bytes, **_: object) -> int:
        return 0

    return patch(LANE, nothing)


def read(client: bool, data: bytes, cuts: Iterable[int]) -> list[str]:
    """All that comes of `data`, cut at these places, and of the end behind it."""
    wire = WebSocketWire(client=client, rng=Random(1), max_message_size=LIMIT)
    inputs: list[Input] = []
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        inputs += wire.receive(data[start:cut])
        start = cut
    return [*map(shown, inputs), *map(shown, wire.receive_eof())]


def shown(received: Input) -> str:
    """An input as text, its payload included: errors compare by identity."""
    return f"text {received.payload!r}" if isinstance(received, TextReceived) else repr(received)
