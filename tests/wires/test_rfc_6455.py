"""RFC 6455 sections 5 to 8 put to the reader, in both roles: what it must fail and with which code, what it must take.

Every stream is fed whole and byte by byte, at a boundary of messages and within a fragmented message.
"""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from artcafe_proto.wires.frames import Opcode, mask
from artcafe_proto.wires.inputs import (
    BinaryReceived,
    CloseReceived,
    Failed,
    Input,
    PingReceived,
    PongReceived,
    TextReceived,
)
from artcafe_proto.wires.websocket import WebSocketWire

MAX_BYTES = 80_000
KEY = b"\x37\xfa\x21\x3d"
CONTROLS = (Opcode.CLOSE, Opcode.PING, Opcode.PONG)
DATA = (Opcode.TEXT, Opcode.BINARY)
ROLES = pytest.mark.parametrize("client", [True, False], ids=["agent", "platform"])


def frame(
    first: int, payload: bytes = b"", *, client: bool, form: int | None = None, masked: bool | None = None
) -> bytes:
    """A frame for the role `client`; `form` are the bytes of its length beyond the seven bits, or the fewest."""
    size = len(payload)
    if form is None:
        form = 0 if size < 126 else 2 if size < 1 << 16 else 8
    masked = not client if masked is None else masked
    head = bytes((first, {0: size, 2: 126, 8: 127}[form] | 0x80 * masked)) + (size.to_bytes(form) if form else b"")
    return head + (KEY + mask(payload, KEY) if masked else payload)


def read(data: bytes, *, client: bool) -> list[Input]:
    """What is read: the same whole and byte by byte."""
    whole, single = (
        WebSocketWire(client=client, rng=Random(1), max_message_size=MAX_BYTES, accept_binary=True) for _ in range(2)
    )
    inputs = whole.receive(data)
    assert [*map(shown, inputs)] == [shown(entry) for octet in data for entry in single.receive(bytes((octet,)))]
    return inputs


def shown(entry: Input) -> object:
    return (entry.error.code, entry.error.reason) if isinstance(entry, Failed) else entry


def code(data: bytes, *, client: bool) -> int:
    """The code of the failure that `data` is, at a boundary and within a message alike."""
    (failed,) = read(data, client=client)
    assert isinstance(failed, Failed)
    assert failed.error.reason
    if data[0] & 0x0F >= Opcode.CLOSE or data[0] & 0x0F == Opcode.CONTINUATION:
        (later,) = read(frame(Opcode.TEXT, b"begun", client=client) + data, client=client)
        assert isinstance(later, Failed)
        assert later.error.code == failed.error.code
    return failed.error.code


# --- section 5.2: the frame -------------------------------------------------------------------------------------------


@ROLES
def test_section_5_2_reserved_bits_fail_in_every_frame(client: bool) -> None:
    for opcode, rsv in product((*DATA, *CONTROLS), range(1, 8)):
        assert code(frame(0x80 | rsv << 4 | opcode, client=client), client=client) == 1002
    for rsv in range(1, 8):
        begun = frame(Opcode.TEXT, b"begun", client=client)
        (failed,) = read(begun + frame(0x80 | rsv << 4, client=client), client=client)
        assert isinstance(failed, Failed)
        assert failed.error.code == 1002


@ROLES
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_section_5_2_reserved_opcodes_fail(client: bool, opcode: int) -> None:
    for fin, payload in product((0x80, 0), (b"", b"x")):
        assert code(frame(fin | opcode, payload, client=client), client=client) == 1002


@ROLES
def test_section_5_1_a_frame_with_the_wrong_mask_bit_fails(client: bool) -> None:
    for opcode, payload in product((*DATA, *CONTROLS), (b"", b"\x03\xe8")):
        assert code(frame(0x80 | opcode, payload, client=client, masked=client), client=client) == 1002
    begun = frame(Opcode.TEXT, b"begun", client=client)
    (failed,) = read(begun + frame(0x80, b"x", client=client, masked=client), client=client)
    assert isinstance(failed, Failed)
    assert failed.error.code == 1002


@ROLES
@pytest.mark.parametrize(("size", "form"), [(0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65_535, 8)])
def test_section_5_2_a_length_in_more_bytes_than_it_needs_fails(client: bool, size: int, form: int) -> None:
    for opcode in DATA:
        assert code(frame(0x80 | opcode, b"x" * size, client=client, form=form)[:20], client=client) == 1002


@ROLES
@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_section_5_2_a_length_in_the_fewest_bytes_is_taken(client: bool, size: int) -> None:
    data = b"".join(frame(0x80 | opcode, b"x" * size, client=client) for opcode in DATA)
    assert read(data, client=client) == [TextReceived(b"x" * size), BinaryReceived(b"x" * size)]


@ROLES
@pytest.mark.parametrize("length", [1 << 63, (1 << 63) + 5, (1 << 64) - 1])
def test_section_5_2_a_length_with_the_highest_bit_fails_at_the_header(client: bool, length: int) -> None:
    head = b"\x7f" if client else b"\xff"
    for opcode in DATA:
        data = bytes((0x80 | opcode,)) + head + length.to_bytes(8) + (b"" if client else KEY)
        assert code(data, client=client) == 1002


# --- section 5.4: fragments -------------------------------------------------------------------------------------------


@ROLES
@pytest.mark.parametrize("opcode", DATA)
def test_section_5_4_control_frames_between_fragments_are_taken_when_they_come(client: bool, opcode: Opcode) -> None:
    received = TextReceived if opcode is Opcode.TEXT else BinaryReceived
    ping, pong = (frame(0x80 | control, b"1" * 125, client=client) for control in (Opcode.PING, Opcode.PONG))
    pieces = [frame(opcode, b"a", client=client), frame(0, client=client), frame(0x80, b"b", client=client)]
    data = pieces[0] + ping + pong + pieces[1] + pong + pieces[2] + ping
    heard = [PingReceived(b"1" * 125), PongReceived(b"1" * 125)]
    assert read(data, client=client) == [*heard, heard[1], received(b"ab"), heard[0]]


@ROLES
def test_section_5_4_a_close_between_fragments_is_taken_and_ends_the_message(client: bool) -> None:
    data = frame(Opcode.TEXT, b"a", client=client) + frame(0x88, b"\x03\xe9", client=client)
    assert read(data + frame(0x80, b"b", client=client), client=client) == [CloseReceived(1001, "")]


@ROLES
@pytest.mark.parametrize("opcode", DATA)
def test_section_5_4_fragments_are_in_their_place_or_fail(client: bool, opcode: Opcode) -> None:
    begun = frame(opcode, b"a", client=client)
    for first in (0x00, 0x80):
        (failed,) = read(frame(first, b"x", client=client), client=client)
        assert isinstance(failed, Failed)
        assert failed.error.code == 1002
    for first in (*DATA, *(0x80 | each for each in DATA)):
        (failed,) = read(begun + frame(first, b"x", client=client), client=client)
        assert isinstance(failed, Failed)
        assert failed.error.code == 1002
    whole = begun + frame(0x80, b"b", client=client)
    *_, failed = read(whole + frame(0x80, b"x", client=client), client=client)
    assert isinstance(failed, Failed)
    assert failed.error.code == 1002


@ROLES
def test_section_5_4_what_continues_nothing_fails_at_its_header_whatever_its_size(client: bool) -> None:
    whole = frame(0x81, b"{}", client=client)
    large = frame(0x00, bytes(MAX_BYTES + 1), client=client)[:14]
    *_, failed = read(whole + large, client=client)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.clause) == (1002, "RFC 6455 section 5.4")


# --- section 5.5: control frames --------------------------------------------------------------------------------------


@ROLES
@pytest.mark.parametrize("opcode", CONTROLS)
def test_section_5_5_a_control_frame_is_whole_and_has_at_most_125_bytes(client: bool, opcode: Opcode) -> None:
    for payload in (b"", b"\x03\xe8"):
        assert code(frame(opcode, payload, client=client), client=client) == 1002
    for size, form in ((0, 2), (125, 2), (126, 2), (0, 8), (126, 8), (70_000, 8)):
        data = frame(0x80 | opcode, b"x" * size, client=client, form=form)
        assert code(data[: 2 + form + 4 * (not client)], client=client) == 1002
    longest = b"\x03\xe8" + b"x" * 123
    (taken,) = read(frame(0x80 | opcode, longest, client=client), client=client)
    assert not isinstance(taken, Failed)


@ROLES
def test_section_5_5_1_a_close_has_no_payload_or_a_code(client: bool) -> None:
    assert read(frame(0x88, client=client), client=client) == [CloseReceived(1005, "")]
    assert {code(frame(0x88, bytes((octet,)), client=client), client=client) for octet in range(256)} == {1002}
    assert read(frame(0x88, b"\x03\xe8", client=client), client=client) == [CloseReceived(1000, "")]


@ROLES
@pytest.mark.parametrize(
    "reason", [b"\xff", b"\xc3", b"ok\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"x" * 121 + b"\xe2\x82"]
)
def test_section_5_5_1_a_close_reason_that_is_no_utf_8_fails(client: bool, reason: bytes) -> None:
    (failed,) = read(frame(0x88, b"\x03\xe8" + reason, client=client), client=client)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.clause) == (1007, "MSG-6")


@ROLES
def test_section_7_4_close_codes_that_may_be_on_the_wire_and_no_others_are_taken(client: bool) -> None:
    taken: set[int] = set()
    for number in (*range(5100), 0x7FFF, 0x8000, 0xFFFF):
        reader = WebSocketWire(client=client, rng=Random(1), max_message_size=100)
        (received,) = reader.receive(frame(0x88, number.to_bytes(2), client=client))
        if isinstance(received, CloseReceived):
            assert received.code == number
            taken.add(number)
        else:
            assert isinstance(received, Failed)
            assert received.error.code == 1002
    # From IANA's registry, which has grown since, 1012 and 1013; 1014, a gateway's, wsproto does not know yet.
    assert taken == {*range(1000, 1004), *range(1007, 1014), *range(3000, 5000)}


# --- sections 5.6 and 8.1: text is UTF-8, binary is anything ----------------------------------------------------------

EVERY_WIDTH = "aé€😀"


@ROLES
def test_section_8_1_characters_may_be_split_across_fragments_anywhere(client: bool) -> None:
    text = EVERY_WIDTH.encode()
    for cut in range(len(text) + 1):
        data = frame(Opcode.TEXT, text[:cut], client=client) + frame(0x89, client=client)
        assert read(data + frame(0x80, text[cut:], client=client), client=client) == [
            PingReceived(b""),
            TextReceived(text),
        ]
    pieces = b"".join(frame(0, bytes((octet,)), client=client) for octet in text)
    data = frame(Opcode.TEXT, client=client) + pieces + frame(0x80, client=client)
    assert read(data, client=client) == [TextReceived(text)]


@ROLES
@pytest.mark.parametrize("bad", [b"\xff", b"\xc0\xaf", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf4\x90"])
def test_section_8_1_what_is_no_utf_8_fails_with_the_fragment_that_shows_it(client: bool, bad: bytes) -> None:
    data = frame(Opcode.TEXT, EVERY_WIDTH.encode(), client=client)
    for octet in bad:
        data += frame(0, bytes((octet,)), client=client)
    (failed,) = read(data, client=client)
    assert isinstance(failed, Failed)
    assert (failed.error.code, failed.error.clause) == (1007, "MSG-6")
    assert code(frame(0x81, bad, client=client), client=client) == 1007


@ROLES
@pytest.mark.parametrize("cut_off", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"])
def test_section_8_1_a_character_cut_off_by_the_end_of_its_message_fails_there(client: bool, cut_off: bytes) -> None:
    assert code(frame(0x81, b"a" + cut_off, client=client), client=client) == 1007
    begun = frame(Opcode.TEXT, b"a" + cut_off, client=client)
    assert read(begun, client=client) == []
    for last in (b"", b"a"):
        (failed,) = read(begun + frame(0x80, last, client=client), client=client)
        assert isinstance(failed, Failed)
        assert failed.error.code == 1007


@ROLES
def test_section_5_6_a_binary_message_is_any_bytes_and_leaves_no_trace_in_the_next(client: bool) -> None:
    octets = bytes(range(256))
    data = frame(Opcode.BINARY, octets, client=client) + frame(0x80, b"\xff", client=client)
    data += frame(0x82, client=client) + frame(0x81, "é".encode(), client=client)
    *inputs, failed = read(data + frame(0x81, b"\xc3", client=client), client=client)
    assert inputs == [BinaryReceived(octets + b"\xff"), BinaryReceived(b""), TextReceived("é".encode())]
    assert isinstance(failed, Failed), "the next text is UTF-8 again"
    assert repr(inputs[0]) == "BinaryReceived(257 bytes)"
    assert octets.hex() not in repr(inputs)


@ROLES
def test_msg_6_the_limit_is_for_binary_messages_too(client: bool) -> None:
    half = frame(Opcode.BINARY, b"x" * (MAX_BYTES // 2), client=client)
    (taken,) = read(half + frame(0x80, b"x" * (MAX_BYTES // 2), client=client), client=client)
    assert taken == BinaryReceived(b"x" * MAX_BYTES)
    (failed,) = read(half + frame(0x80, b"x" * (MAX_BYTES // 2 + 1), client=client), client=client)
    assert isinstance(failed, Failed)
    assert failed.error.code == 1009
