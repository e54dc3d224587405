"""The wire reads any bytes, with the fast lane and without it, as wsproto does that is given every frame."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from artcafe_proto.wires.frames import mask
from artcafe_proto.wires.inputs import Input, PingReceived, PongReceived, TextReceived
from artcafe_proto.wires.lane import read_texts
from artcafe_proto.wires.websocket import WebSocketWire
from support.wire_readings import (
    LANE,
    LANE_LIMIT,
    pieces,
    read_frames,
    read_frames_by_wsproto,
    read_frames_without_lane,
    shown,
)


def frame(
    payload: bytes, *, first: int = 0x81, masked: bool, form: int | None = None, key: bytes = b"\x01\xfe\x80\x33"
) -> bytes:
    """A frame, right or wrong: `form` is the length form, 0, 2 or 8 further bytes; None for the shortest."""
    size = len(payload)
    if form is None:
        form = 0 if size < 126 else 2 if size < 1 << 16 else 8
    short = {0: min(size, 125), 2: 126, 8: 127}[form]
    head = bytes((first, short | 0x80 * masked)) + (size.to_bytes(form) if form else b"")
    return head + key + mask(payload, key) if masked else head + payload


TEXTS = st.one_of(
    st.binary(max_size=12),
    st.text(max_size=8).map(str.encode),
    st.sampled_from([b"", b"{}", b"x" * 125, b"x" * 126, b"\xc3\xa9" * 70, b"\xed\xa0\x80", b"\xc3", b"x" * 65_536]),
    st.sampled_from([b"x" * 65_535, b"x" * LANE_LIMIT, b"x" * (LANE_LIMIT + 1), b"\x03\xe8bye", b"\x03\xe8", b"\xff"]),
)
FIRSTS = st.sampled_from([0x81, 0x81, 0x81, 0x81, 0x01, 0x80, 0x00, 0x82, 0x88, 0x89, 0x8A, 0xC1, 0x91, 0x83])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bool, bytes]:
    """A role, and what may come in for it: mostly sound frames, some wrong ones, some noise."""
    client = draw(st.booleans())
    pieces: list[bytes] = []
    for _ in range(draw(st.integers(1, 5))):
        first, payload = draw(FIRSTS), draw(TEXTS)
        masked = (not client) ^ draw(st.integers(0, 19).map(lambda number: number == 0))
        form = draw(st.sampled_from([None, None, None, None, 0, 2, 8])) if len(payload) < 126 else None
        pieces.append(
            frame(payload, first=first, masked=masked, form=form, key=draw(st.binary(min_size=4, max_size=4)))
        )
    pieces.append(draw(st.binary(max_size=4)))
    return client, b"".join(pieces)


@given(stream=streams(), data=st.data())
def test_the_lane_changes_nothing(stream: tuple[bool, bytes], data: st.DataObject) -> None:
    client, written = stream
    cuts = data.draw(st.lists(st.integers(0, len(written)), max_size=6))
    expected = read_frames_by_wsproto(client, written)
    assert read_frames_without_lane(client, pieces(written, cuts)) == expected
    assert read_frames(client, pieces(written, cuts)) == expected


@given(client=st.booleans(), data=st.binary(max_size=40), cuts=st.lists(st.integers(0, 40), max_size=4))
@example(client=True, data=b"\x81\x7e\x00\x7d" + b"x" * 30, cuts=[3])
def test_the_lane_changes_nothing_for_any_bytes(client: bool, data: bytes, cuts: list[int]) -> None:
    expected = read_frames_by_wsproto(client, data)
    assert read_frames_without_lane(client, pieces(data, cuts)) == expected
    assert read_frames(client, pieces(data, cuts)) == expected


@pytest.mark.parametrize("client", [True, False])
def test_what_waits_for_a_longer_header_does_not_hold_up_a_shorter_one(client: bool) -> None:
    masked = not client
    written = frame(b"x" * 200, masked=masked)
    wire = WebSocketWire(client=client, rng=Random(1), max_message_size=LANE_LIMIT)
    assert wire.receive(written[:2]) == []
    (text, ping) = wire.receive(written[2:] + frame(b"", first=0x89, masked=masked))
    assert isinstance(text, TextReceived)
    assert type(ping).__name__ == "PingReceived"


@pytest.mark.parametrize("client", [True, False])
def test_the_lane_takes_whole_texts_and_pings_in_single_bytes_as_well_as_at_once(client: bool) -> None:
    written = b"".join(frame(payload, masked=not client) for payload in (b"{}", "é".encode() * 100, b"x" * 66_000))
    written += b"".join(frame(b"1", first=first, masked=not client) for first in (0x89, 0x8A))
    inputs: list[Input] = []
    assert read_texts(written, masked=not client, max_size=LANE_LIMIT, inputs=inputs) == len(written)
    assert inputs[3:] == [PingReceived(b"1"), PongReceived(b"1")]
    assert read_frames(client, pieces(written, list(range(400)))) == [*map(shown, inputs), "Ended()"]


def planted(bug: Callable[[bytes], bytes]) -> Callable[..., int]:
    """The lane with a bug: it sees other bytes than came."""

    def lane(buffer: bytes, *, masked: bool, max_size: int, inputs: list[Input]) -> int:
        seen = bug(bytes(buffer)) if len(buffer) > 2 else buffer
        return read_texts(seen, masked=masked, max_size=max_size, inputs=inputs)

    return lane


def no_flags(data: bytes) -> bytes:
    """Reserved bits pass, and fragments pass as messages."""
    return b"\x81" + data[1:]


def no_mask_bit(data: bytes) -> bytes:
    """Frames that are not masked pass."""
    return data[:1] + bytes((data[1] | 0x80,)) + data[2:]


def no_utf_8(data: bytes) -> bytes:
    """What is no UTF-8 passes."""
    return data.replace(b"\xff", b"x")


@pytest.mark.parametrize(
    ("bug", "stream"),
    [
        (no_flags, frame(b"{}", first=0xC1, masked=True)),
        (no_flags, frame(b"{}", first=0x01, masked=True)),
        (no_mask_bit, frame(b"{}", masked=False) + b"xxxx"),
        (no_utf_8, frame(b"\xff", masked=True, key=bytes(4))),
    ],
    ids=["RSV", "FIN", "mask bit", "UTF-8"],
)
def test_a_bug_in_the_lane_is_seen(bug: Callable[[bytes], bytes], stream: bytes) -> None:
    expected = read_frames(False, [stream])
    with patch(LANE, planted(bug)):
        assert read_frames(False, [stream]) != expected
