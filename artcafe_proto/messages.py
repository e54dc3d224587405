"""The messages of the WebSocket, and their codec (MSG).

One envelope, five types. Decoding is two steps: the envelope, with `data` left as raw JSON, and then the data of the
types a role understands. So unknown fields and types cost nothing, and a bad `data` still has an id to answer to.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast, get_args

import msgspec

from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.instants import format_timestamp
from artcafe_proto.limits import MAX_COMMAND_TIMEOUT_S, MAX_ID_CHARS, MAX_JSON_DEPTH
from artcafe_proto.readable import text_of

__all__ = ["AgentStatus", "FinalCode", "ResponseData"]

AgentStatus = Literal["online", "offline", "busy", "error"]
"""STAT-1."""
STATUSES: Final = get_args(AgentStatus)

FinalCode = Literal[
    "unknown_command",
    "invalid_arguments",
    "handler_error",
    "timeout",
    "cancelled",
    "interrupted",
    "result_too_large",
    "expired_result",
    "undeliverable",
]
"""CMD-9: codes of a final error response."""
FINAL_CODES: Final = frozenset(get_args(FinalCode))
HEARD_BY_AGENTS: Final = frozenset({"command", "message"})
HEARD_BY_PLATFORMS: Final = frozenset({"heartbeat", "response", "status", "message"})
"""MSG-1: the types that a role understands; it skips all others (MSG-4)."""
MESSAGE_TYPES: Final = HEARD_BY_AGENTS | HEARD_BY_PLATFORMS
NOT_STARTED_CODES: Final = frozenset({"overloaded", "draining"})
"""CMD-9: not final; the platform keeps the command."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One WebSocket message (MSG-1). `data` is the raw JSON of an object; `timestamp` is kept as it came (MSG-2)."""

    type: str
    id: str
    data: msgspec.Raw = msgspec.Raw(b"{}")
    timestamp: msgspec.Raw = msgspec.Raw(b"null")


class Name(msgspec.Struct, frozen=True, gc=False):
    """What a message is called: its type and its id (MSG-1)."""

    type: str
    id: str


read_name: Final = msgspec.json.Decoder(Name).decode
"""The name of a message that this program wrote."""


class _Message(msgspec.Struct, frozen=True, gc=False):
    """A message as it is written."""

    type: str
    id: str
    data: object
    timestamp: str


class HeartbeatData(msgspec.Struct, frozen=True, gc=False):
    """HB-2: percent of all cores, and resident MiB."""

    agent_id: str
    status: AgentStatus = "online"
    cpu_usage: float = 0.0
    memory_usage: float = 0.0


class HeartbeatMessage(msgspec.Struct, frozen=True, gc=False):
    """A whole `heartbeat`, as one decoding step reads it."""

    type: Literal["heartbeat"]
    id: str
    data: HeartbeatData


class CommandData(msgspec.Struct, frozen=True, gc=False):
    """`timeout` in seconds from receipt (CMD-4); `args` the raw JSON of an object."""

    command: str
    args: msgspec.Raw = msgspec.Raw(b"{}")
    timeout: float | None = None


class CommandMessage(msgspec.Struct, frozen=True, gc=False):
    """A whole `command`, as one decoding step reads it."""

    type: Literal["command"]
    id: str
    data: CommandData


class StatusData(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """STAT-2, STAT-4."""

    status: AgentStatus
    current_task: str | None = None
    progress: float | None = None
    message: str | None = None


class SuccessData(msgspec.Struct, frozen=True, gc=False):
    """A command's result, as raw JSON."""

    command_id: str
    result: msgspec.Raw
    status: Literal["success"] = "success"


class ErrorData(msgspec.Struct, frozen=True, gc=False):
    """A command's failure: `code` is a `FinalCode`, `overloaded` or `draining` (CMD-9)."""

    command_id: str
    reason: str
    code: str
    status: Literal["error"] = "error"


class ResponseData(msgspec.Struct, frozen=True, gc=False):
    """Either answer to a command, as the platform reads it. `result` is raw JSON: `msgspec.json.decode` reads it."""

    command_id: str
    status: Literal["success", "error"]
    result: msgspec.Raw = msgspec.Raw(b"null")
    reason: str = ""
    code: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the command is over; otherwise it was not started and is to be kept (CMD-9)."""
        return self.status == "success" or self.code not in NOT_STARTED_CODES


_ABSENT: Final = msgspec.Raw(b"")


class _Bare(msgspec.Struct, frozen=True, gc=False):
    """What every message has, and what is reported of one that is skipped (MSG-4)."""

    type: str
    id: msgspec.Raw = _ABSENT
    data: msgspec.Raw = msgspec.Raw(b"{}")


if TYPE_CHECKING:
    from random import Random

    Data = HeartbeatData | CommandData | StatusData | SuccessData | ErrorData | msgspec.Raw

T = TypeVar("T")

_DRAWN_BYTES: Final = 32 * 16
_PREFIXES: Final = {"heartbeat": "hb", "command": "cmd", "status": "status", "message": "msg", "response": "resp"}
_encoder = msgspec.json.Encoder()
_bare_decoder = msgspec.json.Decoder(_Bare)
_envelope_decoder = msgspec.json.Decoder(Envelope)
_text_decoder = msgspec.json.Decoder(str)
_heartbeat_message_decoder = msgspec.json.Decoder(HeartbeatMessage)
_command_message_decoder = msgspec.json.Decoder(CommandMessage)

_VALUE_LEVELS: Final = MAX_JSON_DEPTH - 2  # an envelope and its data are around every result and all arguments
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
"""A bracket as a signed byte: one level more, or one less."""


class MessageIds:
    """Fresh message ids: a prefix for the type and 128 random bits (MSG-3), drawn for many ids at a time."""

    __slots__ = ("_digits", "_place", "_rng")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._digits = ""
        self._place = 0

    def new(self, message_type: str) -> str:
        """An id for a message of this type."""
        place = self._place
        if place == len(self._digits):
            self._digits, place = self._rng.getrandbits(8 * _DRAWN_BYTES).to_bytes(_DRAWN_BYTES).hex(), 0
        self._place = place + 32
        return f"{_PREFIXES[message_type]}-{self._digits[place : place + 32]}"


def encode(message_type: str, message_id: str, data: Data, wall: float) -> bytes:
    """The UTF-8 JSON of one message, stamped with `wall` (MSG-1, MSG-2)."""
    return _encoder.encode(_Message(message_type, message_id, data, format_timestamp(wall)))


def encode_json(value: object, what: str) -> msgspec.Raw:
    """`value` as raw JSON. Raises LocalProtocolError naming `what` if it cannot be JSON or nests too deeply (MSG-6).

    It may hold models of pydantic's and paths beside what msgspec knows. JSON has no NaN and no infinity (CMD-7).
    """
    try:
        raw = _value_encoder.encode(value)
        _check_syntax(raw)  # a msgspec.Raw of the application's is written as it is
        if not raw.isascii():
            raw.decode()
        if value is not None and b"null" in raw:  # so msgspec writes them
            json.dumps(msgspec.to_builtins(value, str_keys=True, enc_hook=_finite), allow_nan=False)
    except KeyboardInterrupt:  # a signal
        raise
    except BaseException as error:  # types of the application's raise what they like
        raise LocalProtocolError(f"{what} cannot be written as JSON: {text_of(error)}") from None
    if len(raw) > 2 * _VALUE_LEVELS and is_too_deep(raw, _VALUE_LEVELS):  # most are too short to be
        raise LocalProtocolError(f"{what} nests deeper than {_VALUE_LEVELS} levels (MSG-6)")
    return msgspec.Raw(raw)


def _plain(value: Any) -> object:
    """What to write of a value that msgspec does not know; none of these types needs an import for it."""
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    if hasattr(value, "model_dump_json"):
        return msgspec.json.decode(value.model_dump_json())
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    raise TypeError(f"no JSON is known for {type(value).__name__}")


def _finite(value: Any) -> object:
    """The same, for a look at the numbers: pydantic writes NaN as null, too, unless it is told to write a text."""
    if hasattr(value, "model_dump_json") and value.model_config.get("ser_json_inf_nan") != "strings":
        json.dumps(value.model_dump(), allow_nan=False, skipkeys=True, default=_items)
    return _plain(value)


def _items(value: object) -> object:
    return [*cast("set[object]", value)] if isinstance(value, set | frozenset) else None


def encode_object(value: object, what: str) -> msgspec.Raw:
    """Like `encode_json`, for what must be a JSON object (MSG-1)."""
    raw = encode_json(value, what)
    if bytes(raw)[:1] != b"{":
        raise LocalProtocolError(f"{what} must be a JSON object, not {type(value).__name__}")
    return raw


def decode_envelope(payload: bytes, understood: frozenset[str] = MESSAGE_TYPES) -> Envelope:
    """The envelope of one TEXT message's UTF-8 bytes. Raises RemoteProtocolError with the reason (MSG-5).

    A message of a type that is not `understood` is skipped whatever else it lacks (MSG-4): its id is "" then, and its
    data an empty object.
    """
    if is_too_deep(payload):
        raise RemoteProtocolError(1008, f"expected JSON of at most {MAX_JSON_DEPTH} levels, got more", "MSG-6")
    try:
        envelope = _envelope_decoder.decode(payload)
        if envelope.type not in understood:
            return _skipped(payload)
    except (msgspec.MsgspecError, ValueError) as error:
        with suppress(msgspec.MsgspecError, ValueError):
            if (skipped := _skipped(payload)).type not in understood:
                return skipped
        raise RemoteProtocolError(1008, f"expected a message envelope: {error}", "MSG-1") from None
    if not 1 <= len(envelope.id) <= MAX_ID_CHARS:
        got = f"got {len(envelope.id)}"
        raise RemoteProtocolError(1008, f"expected an id of 1 to {MAX_ID_CHARS} characters, {got}", "MSG-3")
    if not is_object(envelope.data):
        raise RemoteProtocolError(1008, "expected data to be a JSON object", "MSG-1")
    return envelope


def _skipped(payload: bytes) -> Envelope:
    """What is reported of a message that is skipped, with its id if it has one. Raises MsgspecError or ValueError."""
    bare = _bare_decoder.decode(payload)
    try:
        message_id = _text_decoder.decode(bare.id)
    except (msgspec.MsgspecError, ValueError):
        message_id = ""
    data = bare.data if is_object(bare.data) else msgspec.Raw(b"{}")
    return Envelope(bare.type, message_id if len(message_id) <= MAX_ID_CHARS else "", data)


def decode_sound_command(payload: bytes) -> CommandMessage | None:
    """A `command` with nothing to object to, in one step; None for anything else, which `decode_envelope` judges."""
    if is_too_deep(payload):
        return None
    try:
        message = _command_message_decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError):
        return None
    timeout = message.data.timeout
    if not 1 <= len(message.id) <= MAX_ID_CHARS or bytes(message.data.args)[:1] != b"{":
        return None
    return message if timeout is None or 0 < timeout <= MAX_COMMAND_TIMEOUT_S else None


def decode_sound_heartbeat(payload: bytes) -> HeartbeatMessage | None:
    """A `heartbeat` with nothing to object to, in one step; None for anything else, which `decode_envelope` judges.

    What lacks one of the guide's fields may have another in its place, for which `decode_heartbeat` looks.
    """
    if b'"heartbeat"' not in payload or b'"cpu_usage"' not in payload or b'"memory_usage"' not in payload:
        return None
    if is_too_deep(payload):
        return None
    try:
        message = _heartbeat_message_decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError):
        return None
    return message if 1 <= len(message.id) <= MAX_ID_CHARS else None


def decode_data(data: msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The typed data of an envelope. Raises RemoteProtocolError with the reason (MSG-5)."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RemoteProtocolError(1008, f"expected other data: {error}", "MSG-5") from None


def decode_object(raw: msgspec.Raw) -> dict[str, Any]:
    """A well-formed raw object as plain Python values. Never raises: a number beyond all that Python reads is infinite,
    as it is in JavaScript.
    """
    try:
        return _object_decoder.decode(raw)
    except msgspec.ValidationError:
        return json.loads(bytes(raw), parse_int=_whole)


def _whole(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:  # more digits than Python turns into an int, which would take it long
        return float(digits)


def decode_command(data: msgspec.Raw) -> CommandData:
    """The data of a `command`. Raises RemoteProtocolError if it cannot be run (CMD-4, MSG-5)."""
    return check_command(decode_data(data, _command_decoder))


def check_command(command: CommandData) -> CommandData:
    """The same command. Raises RemoteProtocolError for what its types do not rule out (CMD-4, MSG-1)."""
    if command.timeout is not None and not 0 < command.timeout <= MAX_COMMAND_TIMEOUT_S:
        expected = f"expected a timeout above 0 and at most {MAX_COMMAND_TIMEOUT_S:.0f} s"
        raise RemoteProtocolError(1008, f"{expected}, got {command.timeout}", "CMD-4")
    if not is_object(command.args):
        raise RemoteProtocolError(1008, "expected args to be a JSON object", "MSG-1")
    return command


def text_bytes(text: str) -> int:
    """At most so many bytes a text takes in memory: one character that is not ASCII may make four of each."""
    return len(text) if text.isascii() else 4 * len(text)


def is_object(raw: msgspec.Raw) -> bool:
    """Whether well-formed raw JSON is an object."""
    return bytes(raw)[:1] == b"{"


def is_too_deep(payload: bytes, levels: int = MAX_JSON_DEPTH) -> bool:
    """Whether JSON nests deeper than `levels` (MSG-6); linear in its size, and two byte counts where there are few."""
    if len(payload) <= 2 * levels or payload.count(b"[") + payload.count(b"{") <= levels:
        return False
    outside = payload.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]  # every other piece is a string
    depth = 0
    for step in memoryview(b"".join(outside).translate(_STEPS, _NOT_BRACKETS)).cast("b"):
        depth += step
        if depth > levels:
            return True
    return False


_value_encoder = msgspec.json.Encoder(enc_hook=_plain)
_check_syntax = msgspec.json.Decoder(msgspec.Raw).decode
_command_decoder = msgspec.json.Decoder(CommandData)
_object_decoder = msgspec.json.Decoder(dict[str, Any])
status_decoder: Final = msgspec.json.Decoder(StatusData)
