"""An agent's HTTP wire never raises, ends once, and reads pieces as the whole, whatever answers its request.

The first byte of an input is what was asked and how the rest is cut: into pieces of one length, or not at all.
"""

from __future__ import annotations

from random import Random
from unittest.mock import patch

from artcafe_proto import Request
from artcafe_proto.limits import MAX_HTTP_BODY_BYTES
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.inputs import CloseReceived, Ended, Failed, Input, ResponseReceived
from lane_oracle import shown

LIMIT = 600


def check(data: bytes) -> None:
    """Read it whole and in pieces."""
    head, stream = data[0] if data else 0, data[1:]
    step = (head >> 2) or 1
    whole = received(head & 3, [stream])
    pieces = received(head & 3, [stream[place : place + step] for place in range(0, len(stream), step)])
    assert [*map(shown, until_over(pieces))] == [*map(shown, until_over(whole))]
    assert not any(isinstance(each, Failed | Ended | CloseReceived) for each in whole[:-1])
    for each in whole:
        if isinstance(each, ResponseReceived):
            assert 200 <= each.response.status < 1000
            assert len(each.response.body) <= MAX_HTTP_BODY_BYTES


def until_over(inputs: list[Input]) -> list[Input]:
    """Without what follows a response, if that is the last: what came with it is told by it, or by what follows."""
    is_over = len(inputs) > 1 and isinstance(inputs[-2], ResponseReceived) and isinstance(inputs[-1], Failed | Ended)
    return inputs[:-1] if is_over else inputs


def received(asked: int, pieces: list[bytes]) -> list[Input]:
    """All inputs, and those of the end behind them."""
    wire = ClientWire(authority="h", rng=Random(1), max_message_size=LIMIT)
    request = Request(method="HEAD" if asked == 2 else "POST", target="/", headers=(), body=b"")
    if asked == 1:
        wire.upgrade(Request(method="GET", target="/", headers=(), body=b""))
    elif asked:
        wire.request(request)
    return [each for piece in pieces for each in wire.receive(piece)] + wire.receive_eof()


def plant() -> None:
    """A bare line feed ends a line, if both of two come in one read."""
    receive = ClientWire.receive
    patch.object(ClientWire, "receive", lambda self, data: receive(self, data.replace(b"\n\n", b"\r\n\r\n"))).start()  # pyright: ignore
