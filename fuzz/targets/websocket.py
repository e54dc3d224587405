"""Any frames, cut in any way and in both roles, give the same inputs and never raise; each is one that RFC 6455 allows.

The bytes: the role, how the stream is cut, the stream. What is read is written back, and the other role reads the same.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Final

from artcafe_proto.wires.inputs import CloseReceived, Failed, Input, PingReceived, PongReceived, TextReceived
from artcafe_proto.wires.websocket import WebSocketWire
from decoding import SIZES_BYTES, Reader
from mutants.planted import Mutant
from splicing import frame_ends, splice
from support.wire_readings import plain

PLANTED: Final = Mutant(
    "only the last fragment counts for the size of a message",
    "artcafe_proto/wires/websocket.py",
    "self._announced += length",
    "self._announced = length",
    "fuzz/targets/websocket.py::check",
)
_LIMIT: Final = 60
"""Bytes of a message: small, so that the fuzzer gets beyond it."""
_MASKED: Final = b"\x01\xfe\x80\x33"
DICTIONARY: Final = (
    b"\x81\x02{}",
    b"\x81\x82\0\0\0\0{}",
    b"\x01\x02\xe2\x82",
    b"\x80\x01\xac",
    b"\x01\x82\0\0\0\0\xe2\x82",
    b"\x80\x81\0\0\0\0\xac",
    b"\x01\x1f" + b"x" * 31,
    b"\x00\x1f" + b"x" * 31,
    b"\x80\x1f" + b"x" * 31,
    b"\x01\x9f" + _MASKED + b"x" * 31,
    b"\x80\x9f\0\0\0\0" + b"x" * 31,
    b"\x89\x01p",
    b"\x8a\x81\0\0\0\0p",
    b"\x88\x02\x03\xe8",
    b"\x88\x82\0\0\0\0\x0f\xa0",
    b"\x82\x00",
    b"\xc1\x00",
    b"\x81\x7e\x00\x7e",
    b"\x81\xff\0\0\0\0\0\1\0\0",
)


mutate: Final = partial(splice, words=DICTIONARY, head=1 + SIZES_BYTES, ends=frame_ends)


def check(data: bytes) -> None:
    """One end of a link."""
    reader = Reader(data)
    client = bool(reader.byte() & 1)
    stream, chunks = reader.stream()
    inputs = _read(client, [stream])
    assert plain(_read(client, chunks)) == plain(inputs)
    for place, each in enumerate(inputs):
        _check(each)
        assert not isinstance(each, Failed | CloseReceived) or place == len(inputs) - 1
    sent = [each for each in inputs if not isinstance(each, Failed)]
    assert _read(not client, [_written(client, each) for each in sent]) == sent


def _wire(client: bool) -> WebSocketWire:
    return WebSocketWire(client=client, rng=Random(1), max_message_size=_LIMIT)


def _read(client: bool, chunks: list[bytes]) -> list[Input]:
    wire = _wire(client)
    return [each for chunk in chunks for each in wire.receive(chunk)]


def _check(read: Input) -> None:
    match read:
        case TextReceived(payload):
            assert len(payload) <= _LIMIT, "MSG-6"
            payload.decode()
        case PingReceived(payload) | PongReceived(payload):
            assert len(payload) <= 125, "RFC 6455 section 5.5"
        case CloseReceived(code, reason):
            assert code in {*range(1000, 1016), *range(3000, 5000)} - {1004, 1006, 1015}, "RFC 6455 section 7.4"
            assert code != 1005 or not reason
        case Failed(error):
            assert error.code in {1002, 1003, 1007, 1009}
        case _:
            raise AssertionError(f"no WebSocket reads {read!r}")


def _written(client: bool, read: Input) -> bytes:
    """The same by this end."""
    writer = _wire(client).writer
    match read:
        case TextReceived(payload):
            return writer.text(payload)
        case PingReceived(payload):
            return writer.ping(payload)
        case PongReceived(payload):
            return writer.pong(payload)
        case CloseReceived(code, reason):
            return writer.close(code, reason)
        case _:
            raise AssertionError(f"nobody writes {read!r}")
