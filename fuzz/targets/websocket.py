"""A WebSocket wire never raises, gives UTF-8 within the limit only, ends once, and reads pieces as the whole.

The first byte of an input is the role and how the rest is cut: into pieces of one length, or not at all.
"""

from __future__ import annotations

from random import Random
from unittest.mock import patch

from artcafe_proto.wires.inputs import CloseReceived, Ended, Failed, Input, PingReceived, PongReceived, TextReceived
from artcafe_proto.wires.websocket import WebSocketWire
from lane_oracle import shown

LIMIT = 600


def check(data: bytes) -> None:
    """Read it whole and in pieces."""
    head, stream = data[0] if data else 0, data[1:]
    step = (head >> 1) or 1
    whole = received(bool(head & 1), [stream])
    pieces = received(bool(head & 1), [stream[place : place + step] for place in range(0, len(stream), step)])
    assert [*map(shown, pieces)] == [*map(shown, whole)]
    for each in whole[:-1]:
        assert not isinstance(each, Failed | Ended | CloseReceived)
        if isinstance(each, TextReceived):
            assert len(each.payload) <= LIMIT
            each.payload.decode()
        else:
            assert isinstance(each, PingReceived | PongReceived)
            assert len(each.payload) <= 125
    assert isinstance(whole[-1], Failed | Ended | CloseReceived)


def received(client: bool, pieces: list[bytes]) -> list[Input]:
    """All inputs, and those of the end behind them."""
    wire = WebSocketWire(client=client, rng=Random(1), max_message_size=LIMIT)
    return [each for piece in pieces for each in wire.receive(piece)] + wire.receive_eof()


def plant() -> None:
    """Text that is no UTF-8 passes the lane."""

    def always(payload: bytes) -> bool:
        return True

    patch("artcafe_proto.wires.lane._is_utf8", always).start()
