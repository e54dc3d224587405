"""Reading a WebSocket: the invariants are that no bytes raise, and that it does not matter how they were cut."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import CLIENT, SERVER, Connection
from wsproto.events import CloseConnection, Event, Ping, Pong, TextMessage

from artcafe_proto.wires.frames import FrameWriter, Opcode, mask
from artcafe_proto.wires.inputs import (
    CloseReceived,
    Ended,
    Failed,
    Input,
    PingReceived,
    PongReceived,
    TextReceived,
)
from artcafe_proto.wires.websocket import WebSocketWire
from support.wire_readings import pieces, plain

MIB = 1024 * 1024


def wire(*, client: bool = True, limit: int = MIB) -> WebSocketWire:
    return WebSocketWire(client=client, rng=Random(1), max_message_size=limit)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, key: bytes | None = None) -> bytes:
    """Any frame, sound or not, from a server, or from a client with `key`."""
    size = len(payload)
    bit = 0 if key is None else 0x80
    if size <= 125:
        length = bytes((bit | size,))
    elif size < 1 << 16:
        length = bytes((bit | 126,)) + size.to_bytes(2)
    else:
        length = bytes((bit | 127,)) + size.to_bytes(8)
    body = payload if key is None else key + mask(payload, key)
    return bytes((0x80 * fin | rsv << 4 | opcode,)) + length + body


def failure(inputs: list[Input]) -> tuple[int, str]:
    """Code and clause of the failure that is all that came."""
    assert len(inputs) == 1, inputs
    (failed,) = inputs
    assert isinstance(failed, Failed)
    return failed.error.code, failed.error.clause


# --- what is read -----------------------------------------------------------------------------------------------------


def test_messages_and_control_frames_come_in_order() -> None:
    data = frame(Opcode.TEXT, b"one") + frame(Opcode.PING, b"1") + frame(Opcode.PONG, b"2") + frame(Opcode.TEXT)
    assert wire().receive(data) == [
        TextReceived(b"one"),
        PingReceived(b"1"),
        PongReceived(b"2"),
        TextReceived(b""),
    ]


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),
        (b"\x03\xe8", 1000, ""),
        (b"\x03\xf5", 1013, ""),
        (b"\x11\x39replaced", 4409, "replaced"),
        (b"\x0b\xb8\xc3\xa9", 3000, "é"),
    ],
)
def test_a_close_frame_is_read_and_ends_reading(payload: bytes, code: int, reason: str) -> None:
    reader = wire()
    assert reader.receive(frame(Opcode.CLOSE, payload) + frame(Opcode.TEXT, b"late")) == [CloseReceived(code, reason)]
    assert reader.receive(frame(Opcode.TEXT, b"later")) == []
    assert reader.receive_eof() == []


def test_the_end_without_a_close_frame_is_an_end() -> None:
    reader = wire()
    assert reader.receive(frame(Opcode.TEXT, b"cut off")[:-1]) == []
    assert reader.receive_eof() == [Ended()]
    assert reader.receive_eof() == []
    assert reader.receive(b"f") == []


# --- what is refused --------------------------------------------------------------------------------------------------

HUGE = (1 << 62).to_bytes(8)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        pytest.param(b"\x81\x7f" + HUGE, 1009, id="2**62 bytes of text"),
        pytest.param(b"\x82\x7f" + HUGE, 1003, id="2**62 bytes of binary"),
        pytest.param(b"\x83\x7f" + HUGE, 1002, id="reserved opcode 3"),
        pytest.param(b"\x8b\x00", 1002, id="reserved opcode 11"),
        pytest.param(b"\xc1\x7f" + HUGE, 1002, id="RSV1"),
        pytest.param(b"\xa1\x7f" + HUGE, 1002, id="RSV2"),
        pytest.param(b"\x91\x7f" + HUGE, 1002, id="RSV3"),
        pytest.param(b"\x81\xff" + HUGE + b"mask", 1002, id="masked by a server"),
        pytest.param(b"\x09\x05", 1002, id="fragmented ping"),
        pytest.param(b"\x89\x7f" + HUGE, 1002, id="2**62 bytes of ping"),
        pytest.param(b"\x88\x7e\x00\x7e", 1002, id="126 bytes of close"),
        pytest.param(b"\x81\x7e\x00\x7d", 1002, id="two bytes of length for 125"),
        pytest.param(b"\x81\x7f" + (65_535).to_bytes(8), 1002, id="eight bytes of length for 65535"),
        pytest.param(b"\x81\x7f" + b"\xff" * 8, 1002, id="highest bit of the length"),
    ],
)
def test_a_bad_header_fails_before_any_payload(header: bytes, code: int) -> None:
    reader = wire()
    got, _ = failure(reader.receive(header))
    assert got == code
    assert reader.receive(b"payload") == []
    assert reader.receive_eof() == []


def test_a_server_refuses_an_unmasked_frame_at_its_header() -> None:
    assert failure(wire(client=False).receive(b"\x81\x7f" + HUGE)) == (1002, "RFC 6455 section 5")


def test_a_message_may_have_the_limit_and_not_one_byte_more() -> None:
    assert wire(limit=200).receive(frame(Opcode.TEXT, b"x" * 200)) == [TextReceived(b"x" * 200)]
    assert failure(wire(limit=200).receive(frame(Opcode.TEXT, b"x" * 201)[:4])) == (1009, "MSG-6")


def test_the_limit_counts_earlier_fragments_and_no_other_message() -> None:
    reader = wire(limit=200)
    whole = frame(Opcode.TEXT, b"x" * 200)
    first = frame(Opcode.TEXT, b"x" * 150, fin=False)
    assert reader.receive(whole + whole + first + frame(Opcode.PING, b"p" * 100)) == [
        TextReceived(b"x" * 200),
        TextReceived(b"x" * 200),
        PingReceived(b"p" * 100),
    ]
    assert failure(reader.receive(b"\x80\x33")) == (1009, "MSG-6")


@pytest.mark.parametrize("header", [b"\x02\x05", b"\x02\x00", b"\x82\x00"])
def test_a_binary_message_is_refused_at_its_first_header(header: bytes) -> None:
    assert failure(wire().receive(header)) == (1003, "MSG-7")


def test_a_fragment_out_of_place_fails_at_its_header_whatever_came_before() -> None:
    stray = frame(Opcode.CONTINUATION, b"y" * 60)[:2]
    assert failure(wire(limit=100).receive(stray)) == (1002, "RFC 6455 section 5.4")
    before = frame(Opcode.TEXT, b"x" * 50)
    reader = wire(limit=100)
    assert reader.receive(before[:1]) + reader.receive(before[1:]) == [TextReceived(b"x" * 50)]
    assert failure(reader.receive(stray)) == (1002, "RFC 6455 section 5.4"), "the message before it does not count"
    reader = wire(limit=100)
    fragments = frame(Opcode.TEXT, b"x", fin=False) + frame(Opcode.CONTINUATION, b"x" * 50)
    assert reader.receive(fragments) == [TextReceived(b"x" * 51)]
    assert failure(reader.receive(stray)) == (1002, "RFC 6455 section 5.4")
    reader = wire(limit=100)
    assert reader.receive(frame(Opcode.TEXT, b"x", fin=False)) == []
    assert failure(reader.receive(frame(Opcode.TEXT, b"y" * 60)[:2])) == (1002, "RFC 6455 section 5.4")


# --- however it comes -------------------------------------------------------------------------------------------------


def test_a_mebibyte_byte_by_byte_is_one_message() -> None:
    reader = wire(client=False)
    payload = b"x" * MIB
    data = FrameWriter(client=True, rng=Random(1)).text(payload)
    inputs = [entry for place in range(len(data)) for entry in reader.receive(data[place : place + 1])]
    assert inputs == [TextReceived(payload)]


@pytest.mark.parametrize("key", [None, b"\x37\xfa\x21\x3d"])
@pytest.mark.parametrize(("payload", "most"), [(b"", 1024), (b"x", 1092), ("é".encode(), 1170)])
def test_msg_6_a_message_has_1024_fragments_and_one_more_for_every_16_bytes(
    payload: bytes, most: int, key: bytes | None
) -> None:
    begun, more = (frame(opcode, payload, fin=False, key=key) for opcode in (Opcode.TEXT, Opcode.CONTINUATION))
    ping, last = frame(Opcode.PING, b"p", key=key), frame(Opcode.CONTINUATION, payload, key=key)
    whole = begun + (more + ping) * (most - 2) + last
    expected = [*[PingReceived(b"p")] * (most - 2), TextReceived(payload * most)]
    reader = wire(client=key is None)
    for _ in range(2):  # another message counts anew
        assert reader.receive(whole) == expected
    assert reader.receive(begun + more * (most - 1) + ping) == [PingReceived(b"p")]
    assert failure(reader.receive(more[: len(more) - len(payload)])) == (1008, "MSG-6"), "at its header"


def test_a_message_in_fragments_of_16_bytes_may_have_any_size() -> None:
    count = MIB // 16
    data = frame(Opcode.TEXT, b"x" * 16, fin=False) + frame(Opcode.CONTINUATION, b"x" * 16, fin=False) * (count - 1)
    assert wire().receive(data + frame(Opcode.CONTINUATION)) == [TextReceived(b"x" * MIB)]


keys = st.binary(min_size=4, max_size=4)
texts = st.text(max_size=200).map(str.encode)
some_frames = st.one_of(
    st.builds(frame, st.sampled_from([Opcode.TEXT, Opcode.CONTINUATION]), texts, fin=st.booleans(), key=keys),
    st.builds(frame, st.sampled_from([Opcode.PING, Opcode.PONG]), st.binary(max_size=20), key=keys),
    st.builds(frame, st.sampled_from([Opcode.CLOSE]), st.sampled_from([b"", b"\x03\xe8", b"\x03\xe9x"]), key=keys),
    st.builds(
        frame,
        st.integers(0, 15),
        st.binary(max_size=300),
        fin=st.booleans(),
        rsv=st.sampled_from([0, 0, 0, 1, 4]),
        key=st.none() | keys,
    ),
)
streams = st.lists(some_frames | st.binary(max_size=10), max_size=12).map(b"".join)


@given(streams, st.lists(st.integers(0, 5000), max_size=20))
def test_any_cutting_gives_the_same_inputs(data: bytes, cuts: list[int]) -> None:
    whole = plain(wire(client=False, limit=250).receive(data))
    reader = wire(client=False, limit=250)
    assert plain([entry for piece in pieces(data, cuts) for entry in reader.receive(piece)]) == whole
    reader = wire(client=False, limit=250)
    assert plain([entry for octet in data for entry in reader.receive(bytes((octet,)))]) == whole


@given(st.booleans(), st.lists(st.binary(max_size=100) | streams, max_size=5))
def test_no_bytes_raise_and_nothing_follows_the_end(client: bool, chunks: list[bytes]) -> None:
    reader = wire(client=client, limit=250)
    inputs = [entry for chunk in chunks for entry in reader.receive(chunk)] + reader.receive_eof()
    ends = [place for place, entry in enumerate(inputs) if isinstance(entry, Failed | CloseReceived | Ended)]
    assert ends == [len(inputs) - 1]


events = st.one_of(
    st.builds(TextMessage, data=st.text(max_size=100), message_finished=st.booleans()),
    st.builds(Ping, payload=st.binary(max_size=125)),
    st.builds(Pong, payload=st.binary(max_size=125)),
)


@given(st.booleans(), st.lists(events, max_size=20), st.lists(st.integers(0, 5000), max_size=20))
def test_what_wsproto_sends_is_read_as_sent(client: bool, sent: list[Event], cuts: list[int]) -> None:
    sender = Connection(SERVER if client else CLIENT)
    data = b""
    expected: list[Input] = []
    message = ""
    for event in [*sent, TextMessage(data="end"), CloseConnection(code=1001, reason="über")]:
        data += sender.send(event)
        match event:
            case TextMessage():
                message += event.data
                if event.message_finished:
                    expected.append(TextReceived(message.encode()))
                    message = ""
            case Ping():
                expected.append(PingReceived(bytes(event.payload)))
            case Pong():
                expected.append(PongReceived(bytes(event.payload)))
            case _:
                expected.append(CloseReceived(1001, "über"))
    reader = wire(client=client, limit=10_000)
    assert [entry for piece in pieces(data, cuts) for entry in reader.receive(piece)] == expected


@given(st.booleans(), st.lists(texts, max_size=8), st.integers(1, 2000))
def test_the_writer_and_the_reader_of_the_two_roles_fit(client: bool, messages: list[bytes], step: int) -> None:
    writer, reader = wire(client=not client).writer, wire(client=client)
    data = b"".join(writer.text(message) for message in messages) + writer.close(1005, "")
    inputs = [entry for place in range(0, len(data), step) for entry in reader.receive(data[place : place + step])]
    assert inputs == [*map(TextReceived, messages), CloseReceived(1005, "")]
