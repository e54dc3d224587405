"""Decoding any payload gives a sound envelope or a RemoteProtocolError, and its short cuts judge as it does (MSG).

Independent of it, `json` says what an envelope holds and how deep it nests.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

import msgspec

import envelopes
from artcafe_proto.aliases import decode_heartbeat, decode_response
from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.limits import MAX_COMMAND_TIMEOUT_S, MAX_ID_CHARS, MAX_JSON_DEPTH
from artcafe_proto.messages import (
    MESSAGE_TYPES,
    Envelope,
    decode_command,
    decode_data,
    decode_envelope,
    decode_sound_command,
    decode_sound_heartbeat,
    encode,
    is_too_deep,
    status_decoder,
)
from mutants.planted import Mutant

PLANTED: Final = Mutant(
    "the short cut for commands takes any timeout",
    "artcafe_proto/messages.py",
    "return message if timeout is None or 0 < timeout <= MAX_COMMAND_TIMEOUT_S else None",
    "return message",
    "fuzz/targets/messages.py::check",
)
DICTIONARY: Final = envelopes.TOKENS
mutate = envelopes.mutate

_WALL: Final = 1_700_000_000.0
_LAWFUL_SURPRISES: Final = (UnicodeDecodeError, RecursionError)
"""Of `json`: it reads UTF-8 that msgspec skips, and gives up where it is too deep."""


def check(data: bytes) -> None:
    """A payload, as a TEXT message brings it."""
    _check_depth(data)
    try:
        envelope = decode_envelope(data)
    except RemoteProtocolError:
        assert decode_sound_command(data) is None
        assert decode_sound_heartbeat(data) is None
        return
    if envelope.type not in MESSAGE_TYPES:
        assert len(envelope.id) <= MAX_ID_CHARS, "MSG-4"
        return
    assert 1 <= len(envelope.id) <= MAX_ID_CHARS, "MSG-3"
    assert bytes(envelope.data).startswith(b"{"), "MSG-1"
    _check_command(data, envelope)
    _check_heartbeat(data, envelope)
    with suppress(RemoteProtocolError):
        decode_response(envelope.data)
    with suppress(RemoteProtocolError):
        decode_data(envelope.data, status_decoder)
    _check_contents(data, envelope)
    _check_round_trip(envelope)


def _check_command(data: bytes, envelope: Envelope) -> None:
    """The short cut takes what the long way takes, but may leave to that what names something twice."""
    short = decode_sound_command(data)
    try:
        command = decode_command(envelope.data)
    except RemoteProtocolError:
        assert short is None
        return
    assert command.timeout is None or 0 < command.timeout <= MAX_COMMAND_TIMEOUT_S, "CMD-4"
    if short is None:
        assert envelope.type != "command" or not _is_plain(data)
    else:
        assert envelope.type == "command"
        assert (short.id, short.data.command, short.data.timeout) == (envelope.id, command.command, command.timeout)
        assert bytes(short.data.args) == bytes(command.args)


def _check_heartbeat(data: bytes, envelope: Envelope) -> None:
    """The same for heartbeats; what is spelled with escapes, missing or null is for the long way too."""
    short = decode_sound_heartbeat(data)
    try:
        heartbeat = decode_heartbeat(envelope.data)
    except RemoteProtocolError:
        assert short is None
        return
    if short is not None:
        assert (envelope.type, short.id, short.data) == ("heartbeat", envelope.id, heartbeat)
    else:
        names = (b'"heartbeat"', b'"cpu_usage"', b'"memory_usage"')
        is_for_the_long_way = any(name not in data for name in names) or not _is_plain(data) or _has_null(envelope.data)
        assert envelope.type != "heartbeat" or is_for_the_long_way


def _has_null(data: msgspec.Raw) -> bool:
    fields: dict[str, object] = json.loads(bytes(data))
    return any(fields.get(name, "") is None for name in ("status", "cpu_usage", "memory_usage"))


def _is_plain(data: bytes) -> bool:
    """Whether `json` reads it, and every name stands once in its object."""
    repeats: list[str] = []

    def look(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        repeats.extend(name for name in names if names.count(name) > 1)
        return dict(pairs)

    try:
        json.loads(data, object_pairs_hook=look)
    except _LAWFUL_SURPRISES:
        return False
    return not repeats


def _check_contents(data: bytes, envelope: Envelope) -> None:
    """What `json` finds in the same bytes."""
    try:
        found: Any = json.loads(data)
        inner: Any = json.loads(bytes(envelope.data))
    except _LAWFUL_SURPRISES:
        return
    assert (found["type"], found["id"]) == (envelope.type, envelope.id)
    assert repr(found.get("data", {})) == repr(inner)


def _check_round_trip(envelope: Envelope) -> None:
    """What is written is read again."""
    again = decode_envelope(encode(envelope.type, envelope.id, envelope.data, _WALL))
    assert (again.type, again.id, bytes(again.data)) == (envelope.type, envelope.id, bytes(envelope.data))


def _check_depth(data: bytes) -> None:
    """MSG-6, for whatever `json` can read, or is too deep for it."""
    try:
        json.loads(data)
    except RecursionError:
        assert is_too_deep(data)
    except ValueError:
        return
    else:
        assert is_too_deep(data) == (_depth(data) > MAX_JSON_DEPTH)


def _depth(data: bytes) -> int:
    """How deep JSON nests, octet by octet."""
    level = deepest = 0
    is_string = is_escaped = False
    for octet in data:
        if is_string:
            is_string, is_escaped = is_escaped or octet != _QUOTE, not is_escaped and octet == _BACKSLASH
            continue
        is_string = octet == _QUOTE
        level += (octet in b"[{") - (octet in b"]}")
        deepest = max(deepest, level)
    return deepest


_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
