"""MSG: the envelope and its codec."""

from __future__ import annotations

import json
import math
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from artcafe_proto import LocalProtocolError, RemoteProtocolError
from artcafe_proto.aliases import decode_heartbeat, decode_response
from artcafe_proto.damaged import read_answered_id, read_command_id
from artcafe_proto.instants import format_http_date, format_timestamp, parse_http_date, parse_timestamp
from artcafe_proto.messages import (
    HEARD_BY_AGENTS,
    HeartbeatData,
    MessageIds,
    ResponseData,
    decode_command,
    decode_envelope,
    decode_sound_heartbeat,
    encode,
    encode_json,
    is_too_deep,
)
from artcafe_proto.misuse import plain_number

WALL = 1_777_638_896.789  # 2026-05-01T12:34:56.789Z


def test_msg_1_a_written_message_is_one_json_object_of_four_fields() -> None:
    message = json.loads(encode("heartbeat", "hb-1", HeartbeatData("agent-1", "busy", 12.5, 256.25), WALL))
    assert message == {
        "type": "heartbeat",
        "id": "hb-1",
        "data": {"agent_id": "agent-1", "status": "busy", "cpu_usage": 12.5, "memory_usage": 256.25},
        "timestamp": "2026-05-01T12:34:56.789Z",
    }


@pytest.mark.parametrize(("wall", "text"), [(0.0, "1970-01-01T00:00:00.000Z"), (WALL, "2026-05-01T12:34:56.789Z")])
def test_msg_2_written_timestamps_are_utc_with_milliseconds(wall: float, text: str) -> None:
    assert format_timestamp(wall) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-01T12:34:56.789Z",
        "2026-05-01T12:34:56.789",
        "2026-05-01T14:34:56.789+02:00",
        "2026-05-01T12:34:56.789000",
    ],
)
def test_msg_2_timestamps_are_read_with_z_with_an_offset_and_naive(text: str) -> None:
    assert parse_timestamp(text) == pytest.approx(WALL)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "1e999", "\0"])
def test_msg_2_an_unreadable_timestamp_is_none(text: str) -> None:
    assert parse_timestamp(text) is None


def test_http_dates_are_read_as_they_are_written() -> None:
    assert format_http_date(784_111_777.0) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777.0
    assert [parse_http_date(text) for text in ("", "soon", "Sun, 99 Nov 1994 08:49:37 GMT")] == [None] * 3


@pytest.mark.parametrize("kind", ["heartbeat", "command", "status", "message", "response"])
def test_msg_3_written_ids_have_a_prefix_and_128_random_bits(kind: str) -> None:
    source = MessageIds(Random(1))
    ids = {source.new(kind) for _ in range(100)}
    assert len(ids) == 100
    prefix, _, digits = ids.pop().partition("-")
    assert kind.startswith(prefix[0])
    assert len(bytes.fromhex(digits)) == 16


def message(**fields: Any) -> bytes:
    return json.dumps(
        {"type": "message", "id": "m-1", "data": {}, "timestamp": "2026-05-01T12:34:56Z"} | fields
    ).encode()


@pytest.mark.parametrize("timestamp", ["2026-05-01T12:34:56", None, 5, {}, "nonsense"])
def test_msg_2_nothing_depends_on_the_peers_clock(timestamp: object) -> None:
    assert decode_envelope(message(timestamp=timestamp)).id == "m-1"


def test_msg_2_the_timestamp_may_be_missing() -> None:
    assert decode_envelope(b'{"type":"message","id":"m-1","data":{}}').id == "m-1"


def test_msg_4_unknown_fields_are_ignored() -> None:
    assert decode_envelope(message(trace={"a": [1]}, version=2)).type == "message"


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"ACK","message_id":"hb-1","timestamp":"2026-05-01T12:34:56Z"}',
        b'{"type":"ERROR","error":"who are you?","timestamp":5}',
        b'{"type":"response","data":{}}',
        b'{"type":""}',
        message(type="gossip", id=5),
        message(type="gossip", id=""),
        message(type="gossip", id="x" * 129),
        message(type="gossip", id=[], data=[1]),
    ],
)
def test_msg_4_a_type_that_is_not_understood_is_skipped_whatever_else_it_lacks(payload: bytes) -> None:
    skipped = decode_envelope(payload, HEARD_BY_AGENTS)
    assert (skipped.id, bytes(skipped.data)) == ("", b"{}")
    assert skipped.type == json.loads(payload)["type"]


@pytest.mark.parametrize("payload", [b'{"type":5}', b'{"type":"ACK"', b'["ACK"]', b'{"id":"m","data":{}}'])
def test_msg_5_without_a_type_there_is_nothing_to_skip_by(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="expected"):
        decode_envelope(payload, HEARD_BY_AGENTS)


HEARTBEATS: list[tuple[dict[str, object], tuple[float, float]]] = [
    ({"cpu_usage": 5, "memory_usage": 60}, (5, 60)),
    ({"cpu_percent": 5, "memory_mb": 60}, (5, 60)),
    ({"cpu_usage": 1, "memory_mb": 60}, (1, 60)),
    ({"cpu_percent": 5, "memory_usage": 2}, (5, 2)),
    ({"cpu_usage": 1, "memory_usage": 2, "cpu_percent": "?", "memory_mb": None}, (1, 2)),
    ({"cpu_percent": None, "memory_mb": 60}, (0, 60)),
    ({"cpu_percent": 5, "memory_mb": None}, (5, 0)),
    ({"cpu_usage": None, "memory_usage": None, "status": None}, (0, 0)),
    ({"cpu_usage": None, "cpu_percent": 5, "memory_usage": 2}, (5, 2)),
    ({}, (0, 0)),
]


@pytest.mark.parametrize(("fields", "expected"), HEARTBEATS)
def test_heartbeats_of_existing_agents_name_their_figures_otherwise(
    fields: dict[str, object], expected: tuple[float, float]
) -> None:
    payload = message(type="heartbeat", data={"agent_id": "a", **fields})
    short, long = decode_sound_heartbeat(payload), decode_heartbeat(decode_envelope(payload).data)
    assert short is None or short.data == long
    assert (long.status, long.cpu_usage, long.memory_usage) == ("online", *expected)


def test_a_heartbeat_with_a_figure_that_is_no_number_is_bad() -> None:
    with pytest.raises(RemoteProtocolError, match="expected other data"):
        decode_heartbeat(Raw(b'{"agent_id":"a","cpu_percent":"5"}'))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"error": "no such file"}, "no such file"),
        ({"reason": "mine", "error": "other"}, "mine"),
        ({"reason": "", "error": "other"}, ""),
        ({"error": {"code": 7}}, '{"code": 7}'),
        ({"error": None}, ""),
        ({"reason": None, "code": None, "error": "no such file"}, "no such file"),
        ({"reason": None, "error": None}, ""),
        ({}, ""),
    ],
)
def test_a_failure_of_existing_agents_gives_its_text_as_error(fields: dict[str, object], reason: str) -> None:
    data = Raw(json.dumps({"command_id": "c", "status": "error", **fields}).encode())
    assert (decode_response(data).reason, decode_response(data).code) == (reason, "")


@pytest.mark.parametrize("error", [None, 5, "x"])
def test_a_success_may_have_an_error_beside_it(error: object) -> None:
    others = {"error": error, "reason": None, "code": None}
    data = Raw(json.dumps({"command_id": "c", "status": "success", "result": None, **others}).encode())
    assert decode_response(data) == ResponseData("c", "success", Raw(b"null"))


@pytest.mark.parametrize("length", [1, 128])
def test_msg_3_ids_of_1_to_128_characters_are_read(length: int) -> None:
    assert decode_envelope(message(id="é" * length)).id == "é" * length


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"nonsense",
        b"[]",
        b'"text"',
        b"1",
        b"null",
        b"{}",
        b'{"type":"message"}',
        message(id=""),
        message(id="x" * 129),
        message(id=5),
        message(type=None),
        message(type=5),
        message(data=[]),
        message(data=None),
        message(data="text"),
        message() + b"x",
        message()[:-1],
        b'{"type":"message","id":"m","data":{},}',
        b'{"type":"message","id":"\\ud800","data":{}}',
        b'{"type":"message","id":"m","data":{"a":NaN}}',
    ],
)
def test_msg_5_what_is_no_envelope_is_a_remote_error_with_a_reason(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="expected"):
        decode_envelope(payload)


@pytest.mark.parametrize(("depth", "fine"), [(63, True), (64, False), (10_000, False), (500_000, False)])
def test_msg_6_deeper_than_64_levels_is_a_decode_error(depth: int, fine: bool) -> None:
    payload = b'{"type":"message","id":"m","data":' + b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1) + b"}"
    if fine:
        decode_envelope(payload)
    else:
        with pytest.raises(RemoteProtocolError, match="64"):
            decode_envelope(payload)


def depth_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)  # type: ignore[reportUnknownArgumentType]
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)  # type: ignore[reportUnknownArgumentType]
    return 0


nested = st.recursive(
    st.text(alphabet='[]{}"\\a') | st.integers(),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(alphabet='[]{}"\\a'), inner, max_size=3),
    max_leaves=100,
)


@given(value=nested, wraps=st.integers(50, 70))
def test_msg_6_brackets_in_strings_do_not_count(value: Any, wraps: int) -> None:
    for _ in range(wraps):
        value = [value]
    assert is_too_deep(json.dumps(value).encode()) == (depth_of(value) > 64)


@given(st.binary(max_size=300))
def test_msg_5_any_bytes_are_an_envelope_or_a_remote_error(payload: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_envelope(payload)


@pytest.mark.parametrize("payload", [b'"' * 1_000_000, b'"\\' * 500_000, b"[]" * 500_000, b'"[\\"' * 250_000 + b"\\"])
def test_msg_6_the_depth_check_gets_through_a_megabyte_of_anything(payload: bytes) -> None:
    is_too_deep(b"[" * 60 + payload + b"{" * 10)


@pytest.mark.parametrize("timeout", [1, 0.001, 86_400, 86_400.0])
def test_cmd_4_timeouts_up_to_a_day_are_taken(timeout: float) -> None:
    assert decode_command(Raw(json.dumps({"command": "x", "timeout": timeout}).encode())).timeout == timeout


@pytest.mark.parametrize(
    "data",
    [
        {"command": "x", "timeout": 0},
        {"command": "x", "timeout": -1},
        {"command": "x", "timeout": 86_401},
        {"command": "x", "timeout": True},
        {"command": "x", "timeout": "5"},
        {"command": "x", "timeout": 10**400},
        {"command": 5},
        {},
        {"command": "x", "args": []},
        {"command": "x", "args": None},
        {"command": "x", "args": "text"},
    ],
)
def test_msg_5_a_command_that_cannot_be_run_is_a_remote_error(data: dict[str, object]) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_command(Raw(json.dumps(data).encode()))


class Endless:
    """Writes itself as itself."""

    def model_dump_json(self) -> object:
        return self


class Amount:
    """Fails in its own way, and is no number."""

    def __float__(self) -> float:
        raise ZeroDivisionError

    def __fspath__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "value", [{1, 2, object()}, object(), "\ud800", {"a": b"".join}, {(1, 2): 3}, Endless(), [Amount()], [10**5000]]
)
def test_what_cannot_be_json_is_refused_by_name(value: object) -> None:
    with pytest.raises(LocalProtocolError, match="result"):
        encode_json(value, "result")


@pytest.mark.parametrize("raw", [b"NaN", b"{", b"1 2", b'{"a":Infinity}', b'"\\ud800"', b'"\xff"'])
def test_cmd_7_raw_json_of_the_applications_is_looked_at(raw: bytes) -> None:
    for value in (msgspec.Raw(raw), {"a": [msgspec.Raw(raw)]}):
        with pytest.raises(LocalProtocolError, match="result cannot be written as JSON"):
            encode_json(value, "result")
    assert bytes(encode_json([msgspec.Raw(b'{"a": null}')], "result")) == b'[{"a": null}]'


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


class Raising:
    """Raises while it is written."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __fspath__(self) -> str:
        raise self.error


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, CancelledError, UnspeakableError])
def test_cmd_7_whatever_is_raised_while_a_result_is_written_refuses_it(error: type[BaseException]) -> None:
    with pytest.raises(LocalProtocolError, match="result cannot be written as JSON"):
        encode_json(Raising(error), "result")


def test_a_signal_while_a_result_is_written_is_no_matter_of_it() -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_json(Raising(KeyboardInterrupt), "result")


class Model:
    """Written as pydantic's models are."""

    model_config: ClassVar[dict[str, str]] = {}

    def __init__(self, value: object) -> None:
        self._value = value

    def model_dump(self) -> object:
        return {"value": self._value, "when": datetime(2026, 1, 1, tzinfo=UTC), (1, 2): 3}

    def model_dump_json(self) -> str:
        return json.dumps({"value": None if isinstance(self._value, float | set) else self._value})


class Literally(Model):
    """One that is told to write NaN as it is."""

    def model_dump_json(self) -> str:
        return '{"value":NaN}'


class Told(Model):
    """One that is told to write a text."""

    model_config: ClassVar[dict[str, str]] = {"ser_json_inf_nan": "strings"}

    def model_dump_json(self) -> str:
        return '{"value":"NaN","other":null}'


class Point(Struct):
    x: float | None


@dataclass
class Pair:
    first: object
    second: object = None


def bare(number: float) -> object:
    return number


def inside(number: float) -> object:
    return [None, {"a": (number,)}]


def in_a_set(number: float) -> object:
    return Model({number})


def far_inside(number: float) -> object:
    return [None, Pair([Point(number)])]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("around", [bare, inside, Point, Pair, Model, Literally, in_a_set, far_inside])
def test_cmd_7_a_number_that_json_does_not_have_is_refused_wherever_it_stands(
    number: float, around: Callable[[float], object]
) -> None:
    with pytest.raises(LocalProtocolError, match="result cannot be written as JSON"):
        encode_json(around(number), "result")


def test_what_has_a_json_of_its_own_is_written_so() -> None:
    value = [
        None,
        "NaN null",
        Model("x"),
        Told(float("nan")),
        {Path("a/b")},
        Raw(b'{"a":null}'),
        {1: 2**70},
        {UUID(int=1): {"x"}},
        Pair(b"x"),
    ]
    assert json.loads(bytes(encode_json(value, "result"))) == [
        None,
        "NaN null",
        {"value": "x"},
        {"value": "NaN", "other": None},
        ["a/b"],
        {"a": None},
        {"1": 2**70},
        {str(UUID(int=1)): ["x"]},
        {"first": "eA==", "second": None},
    ]


@pytest.mark.parametrize(("value", "number"), [(True, 1.0), (Decimal("0.5"), 0.5), (Fraction(1, 4), 0.25), (2, 2.0)])
def test_a_number_of_any_kind_is_finite(value: Any, number: float) -> None:
    assert plain_number(value) == number


@pytest.mark.parametrize("value", [None, "1", b"1", [], Amount(), 10**400, float("nan"), 1j])
def test_what_is_no_number_is_in_no_range(value: Any) -> None:
    assert math.isnan(plain_number(value))


_COMMAND = '{"type":"command","id":"cmd-1","data":{"command":"x","args":%s}}'
_DEEP = "[" * 500 + "]" * 500
_LONG = "[" + "9" * 20_000 + ",NaN]"


@pytest.mark.parametrize(
    "args",
    ["NaN", "-Infinity", '"\\ud800"', '["\\udc00\\ud800"]', _DEEP, "[" * 100_000, '{"a":1,}', '"\x01"', "\\", ""],
)
def test_msg_5_the_id_of_a_damaged_command_is_read(args: str) -> None:
    assert read_command_id((_COMMAND % args).encode()) == "cmd-1"


@pytest.mark.parametrize("args", ["NaN", '"\\ud800"', _DEEP, _LONG, '"\x01"'])
def test_msg_5_the_id_may_follow_what_is_only_damaged_within(args: str) -> None:
    assert read_command_id(f' {{ "data" : {{"args":{args}}} ,\n"type":"command", "id" :"é"}}'.encode()) == "é"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nonsense",
        '{"type":"message","id":"cmd-1","data":NaN}',
        '{"type":"command","data":{"args":}, "id":"cmd-1"}',
        '{"type":"command" "id":"cmd-1"}',
        '{"type":"command",{}:1,"id":"cmd-1"}',
        '{"type":"command";"id":"cmd-1"}',
        '{"type"',
        '{"type":"command","id":"","data":NaN}',
        '{"type":"command","id":"%s","data":NaN}' % ("x" * 129),
        '{"type":"command","id":1,"data":NaN}',
        '{"type":"command","id":"\\ud800","data":NaN}',
        '{"type":["command"],"id":"cmd-1","data":NaN}',
    ],
)
def test_msg_5_a_damaged_message_without_an_id_that_can_be_read_has_none(text: str) -> None:
    assert read_command_id(text.encode()) is None


_RESPONSE = '{"type":"response","id":"resp-1","data":{"command_id":"cmd-1","status":"success","result":%s}}'


@pytest.mark.parametrize("result", ["NaN", '"\\ud800"', _DEEP, "[" * 100_000, '{"a":1,}', '"\x01"', "1.", ""])
def test_msg_5_what_a_damaged_response_answers_is_read(result: str) -> None:
    assert read_answered_id((_RESPONSE % result).encode()) == "cmd-1"


@pytest.mark.parametrize("result", ["NaN", '"\\ud800"', _DEEP, _LONG, '"\x01"'])
def test_msg_5_what_is_answered_may_follow_what_is_only_damaged_within(result: str) -> None:
    text = f' {{ "data" : {{"result":{result} , "command_id" :"é"}} ,\n"id":"","type":"response"}}'
    assert read_answered_id(text.encode()) == "é"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        _RESPONSE.replace("response", "status") % "NaN",
        _RESPONSE.replace('"cmd-1"', '""') % "NaN",
        _RESPONSE.replace("cmd-1", "x" * 129) % "NaN",
        _RESPONSE.replace("cmd-1", "\\ud800") % "NaN",
        _RESPONSE.replace('"cmd-1"', "1") % "NaN",
        '{"type":"response","id":"resp-1","command_id":"cmd-1","data":NaN}',
        '{"type":"response","id":"resp-1","data":["command_id"]}',
        '{"type":"response","id":"resp-1","data":{"result":,"command_id":"cmd-1"}}',
        '{"data":{"command_id":"cmd-1","result":},"type":"response","id":"resp-1"}',
        '{"type":"response","data":',
        '{"type":',
    ],
)
def test_msg_5_a_damaged_response_without_a_command_id_that_can_be_read_answers_nothing(text: str) -> None:
    assert read_answered_id(text.encode()) is None


@given(st.binary() | st.text().map(str.encode))
def test_msg_5_looking_for_an_id_never_raises(payload: bytes) -> None:
    assert read_command_id(payload) is None
    assert read_command_id(b'{"type":"command","id":"a","data":' + payload) in ("a", None)
    assert read_answered_id(b'{"type":"response","data":' + payload) is None
    assert read_answered_id(b'{"type":"response","data":{"command_id":"a","result":' + payload) in ("a", None)


def test_results_nested_too_deeply_are_refused() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(LocalProtocolError, match="result"):
        encode_json(value, "result")
    while isinstance(value, list):  # taken apart by hand: letting go of it at once would recurse
        value = value.pop()  # type: ignore[reportUnknownMemberType]


def test_msg_6_what_is_written_has_62_levels_within_its_message() -> None:
    value: object = None
    for _ in range(62):
        value = [value]
    encode_json(value, "result")
    with pytest.raises(LocalProtocolError, match=r"^result nests deeper than 62 levels \(MSG-6\)$"):
        encode_json([value], "result")
