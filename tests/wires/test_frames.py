"""Frames as written, judged by their bytes and by wsproto reading them."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import CLIENT, SERVER, Connection
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from artcafe_proto.effects import SendClose, SendPing, SendPong, SendText
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.wires.frames import FrameWriter, mask


def server() -> FrameWriter:
    return FrameWriter(client=False, rng=Random(1))


def client() -> FrameWriter:
    return FrameWriter(client=True, rng=Random(1))


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_server_frames_have_the_shortest_header_and_no_mask(size: int, header: str) -> None:
    assert server().text(b"x" * size) == bytes.fromhex(header) + b"x" * size


def test_the_example_of_the_rfc_is_written_with_its_mask() -> None:
    class Fixed(Random):
        def getrandbits(self, k: int, /) -> int:
            return int.from_bytes(bytes.fromhex("37fa213d") * (k // 32))

    frame = FrameWriter(client=True, rng=Fixed()).text(b"Hello")
    assert frame == bytes.fromhex("818537fa213d7f9f4d5158")  # RFC 6455 section 5.7


def test_every_client_frame_has_a_fresh_mask() -> None:
    writer = client()
    assert len({writer.ping(b"1")[2:6] for _ in range(100)}) == 100


def test_the_same_seed_writes_the_same_bytes() -> None:
    assert client().text(b"hello") == client().text(b"hello")


def test_a_close_cuts_its_reason_between_two_code_points() -> None:
    frame = server().close(1000, "ä" * 100)
    assert frame == bytes((0x88, 2 + 122)) + b"\x03\xe8" + "ä".encode() * 61


@pytest.mark.parametrize(("code", "payload"), [(1005, b""), (1006, b"\x03\xe8why"), (1015, b"\x03\xe8why")])
def test_codes_that_are_never_sent_are_replaced(code: int, payload: bytes) -> None:
    assert server().close(code, "why") == bytes((0x88, len(payload))) + payload


def test_a_reason_that_is_no_unicode_text_is_written_all_the_same() -> None:
    assert server().close(1000, "\ud800").endswith(b"?")


def test_a_control_frame_has_at_most_125_bytes() -> None:
    assert len(server().ping(b"x" * 125)) == 127
    with pytest.raises(LocalProtocolError, match="PING has at most 125 bytes, not 126"):
        server().ping(b"x" * 126)
    with pytest.raises(LocalProtocolError):
        server().pong(b"x" * 126)


def test_what_a_machine_asks_for_is_written() -> None:
    writer = server()
    assert writer.write(SendText(1, b"hi")) == writer.text(b"hi")
    assert writer.write(SendPing(1, b"1")) == writer.ping(b"1")
    assert writer.write(SendPong(1, b"1")) == writer.pong(b"1")
    assert writer.write(SendClose(1, 1001, "bye")) == writer.close(1001, "bye")


@given(st.binary(max_size=3000), st.binary(min_size=4, max_size=4))
def test_masks_round_trip_and_are_those_of_the_rfc(payload: bytes, key: bytes) -> None:
    masked = mask(payload, key)
    assert masked == bytes(octet ^ key[place % 4] for place, octet in enumerate(payload))
    assert mask(masked, key) == payload


@given(st.booleans(), st.lists(st.text(max_size=40) | st.sampled_from(["x" * 126, "ä" * 1024, "x" * 65_536])))
def test_wsproto_reads_what_is_written(from_client: bool, texts: list[str]) -> None:
    writer = FrameWriter(client=from_client, rng=Random(1))
    reader = Connection(SERVER if from_client else CLIENT)
    for text in texts:
        reader.receive_data(writer.text(text.encode()) + writer.ping(b"1") + writer.pong(b"2"))
        message, ping, pong = reader.events()
        assert message == TextMessage(data=text, frame_finished=True, message_finished=True)
        assert (ping, pong) == (Ping(payload=b"1"), Pong(payload=b"2"))
    reader.receive_data(writer.close(4408, "silent"))
    assert list(reader.events()) == [CloseConnection(code=4408, reason="silent")]
