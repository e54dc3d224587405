"""A platform's HTTP wire never raises, ends once, and reads pieces as the whole; requests have one framing and Host.

The first byte of an input is how the rest is cut: into pieces of one length, or not at all. Every request is answered.
"""

from __future__ import annotations

from random import Random
from unittest.mock import patch

from artcafe_proto import Response
from artcafe_proto.limits import MAX_HTTP_BODY_BYTES
from artcafe_proto.wires.http_server import Phase, ServerWire
from artcafe_proto.wires.inputs import Ended, Failed, Input, RequestReceived
from lane_oracle import shown


def check(data: bytes) -> None:
    """Read it whole and in pieces."""
    step, stream = data[0] if data else 0, data[1:]
    whole = received([stream])
    pieces = received([stream[place : place + (step or 1)] for place in range(0, len(stream), step or 1)])
    assert [*map(shown, pieces)] == [*map(shown, whole)]
    assert not any(isinstance(each, Failed | Ended) for each in whole[:-1])
    for each in whole:
        if isinstance(each, RequestReceived):
            request = each.request
            assert len(request.body) <= MAX_HTTP_BODY_BYTES
            assert request.target.isascii()
            assert request.target.isprintable()
            assert sum(name == "host" for name, _ in request.headers) <= 1
            assert not ({"content-length", "transfer-encoding"} <= {name for name, _ in request.headers})


def received(pieces: list[bytes]) -> list[Input]:
    """All inputs, each request answered, and those of the end behind them."""
    wire = ServerWire(rng=Random(1), max_message_size=600)
    inputs: list[Input] = []
    for piece in [*pieces, None]:
        came = wire.receive_eof() if piece is None else wire.receive(piece)
        while came:
            inputs += came
            if wire.phase is not Phase.ANSWERING:
                break
            wire.respond(Response(status=200, headers=(), body=b"{}"))
            came = wire.receive(b"")
    return inputs


def plant() -> None:
    """A bare line feed ends a line, if both of two come in one read."""
    receive = ServerWire.receive
    patch.object(ServerWire, "receive", lambda self, data: receive(self, data.replace(b"\n\n", b"\r\n\r\n"))).start()  # pyright: ignore
