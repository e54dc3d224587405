"""What a wire makes of one stream of bytes, however it is cut: what property tests and fuzzing compare."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from random import Random
from typing import Final
from unittest.mock import patch

from artcafe_proto.exchanges import JSON_HEADERS, HttpResponse
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.http_server import ServerWire
from artcafe_proto.wires.inputs import Failed, Input, RequestReceived, ResponseReceived, TextReceived
from artcafe_proto.wires.websocket import WebSocketWire
from support.by_wsproto import WsprotoReader

OK: Final = HttpResponse(status=200, headers=JSON_HEADERS, body=b"{}")
LANE: Final = "artcafe_proto.wires.websocket.read_texts"
"""What to patch to change the fast lane."""
LANE_LIMIT: Final = 70_000
"""Bytes of a message where the fast lane is compared with wsproto: all three forms of a length are within it."""


def plain(inputs: list[Input]) -> list[object]:
    """Inputs as values that can be compared: exceptions compare by identity."""
    return [
        (entry.error.code, entry.error.reason, entry.error.clause) if isinstance(entry, Failed) else entry
        for entry in inputs
    ]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at these places, each taken modulo its length."""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def answered(client: ClientWire, chunks: Iterable[bytes], *, ends: bool) -> list[object]:
    """What a client reads, whose request is under way."""
    inputs = [entry for chunk in chunks for entry in client.receive(chunk)]
    inputs += client.receive_eof() if ends else []
    # Only a response tells how many of the bytes behind it had come with it: they make it the last or a failure.
    if inputs and isinstance(inputs[0], ResponseReceived):
        return [inputs[0].response.status, inputs[0].response.body]
    return plain(inputs)


def serve(server: ServerWire, chunks: Iterable[bytes]) -> tuple[list[object], bytes]:
    """All inputs, and all bytes written by an owner that answers everything at once and takes every upgrade."""
    seen: list[object] = []
    written = b""
    for chunk in chunks:
        inputs = server.receive(chunk)
        while inputs:
            seen += plain(inputs)
            match inputs[-1]:
                case RequestReceived(upgrade=True):
                    written += server.accept_upgrade()
                case RequestReceived():
                    written += server.respond(OK)
                case Failed(error) if server.websocket is None:
                    written += server.refuse(error)
                case _:
                    break
            inputs = server.receive(b"")
    seen += plain(server.receive_eof())
    return seen, written


def read_frames(client: bool, chunks: Iterable[bytes]) -> list[str]:
    """What a WebSocket reads until the end."""
    wire = WebSocketWire(client=client, rng=Random(1), max_message_size=LANE_LIMIT)
    inputs = [entry for chunk in chunks for entry in wire.receive(chunk)]
    return [shown(each) for each in (*inputs, *wire.receive_eof())]


def read_frames_without_lane(client: bool, chunks: Iterable[bytes]) -> list[str]:
    """The same without the fast lane."""
    with patch(LANE, _no_lane):
        return read_frames(client, chunks)


def read_frames_by_wsproto(client: bool, data: bytes) -> list[str]:
    """The same by wsproto alone."""
    return [shown(each) for each in WsprotoReader(client=client, limit=LANE_LIMIT).read(data)]


def _no_lane(buffer: bytes, **_: object) -> int:
    return 0


def shown(received: Input) -> str:
    """An input as text that tells all of it."""
    return f"text {received.payload!r}" if isinstance(received, TextReceived) else repr(received)
