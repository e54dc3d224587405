"""Decoding raises RemoteProtocolError alone, takes nothing that nests too deeply, and one step reads as two do.

Inputs are mutated as JSON: a value changes its type or its size, is repeated, wrapped, or exchanged with another.
"""

from __future__ import annotations

import json
from importlib import import_module
from random import Random
from typing import Any, cast
from unittest.mock import patch

from artcafe_proto import RemoteProtocolError
from artcafe_proto.limits import MAX_ID_CHARS, MAX_JSON_DEPTH
from artcafe_proto.messages import (
    decode_command,
    decode_data,
    decode_envelope,
    decode_sound_command,
    decode_sound_heartbeat,
    heartbeat_decoder,
)


def check(data: bytes) -> None:
    """Decode it in every way."""
    one_step = decode_sound_command(data), decode_sound_heartbeat(data)
    try:
        envelope = decode_envelope(data)
        assert 1 <= len(envelope.id) <= MAX_ID_CHARS
        assert depth(data) <= MAX_JSON_DEPTH
        two_steps = {
            "command": lambda: (decode_command(envelope.data), None),
            "heartbeat": lambda: (None, decode_data(envelope.data, heartbeat_decoder)),
        }.get(envelope.type, lambda: (None, None))()
    except RemoteProtocolError:
        assert one_step == (None, None)
        return
    assert tuple(None if each is None else each.data for each in one_step) == two_steps
    assert all(each is None or each.id == envelope.id for each in one_step)


def depth(data: bytes) -> int:
    """How deep well-formed JSON nests."""
    deepest = level = 0
    in_string = escaped = False
    for octet in data:
        if in_string:
            in_string = escaped or octet != 0x22
            escaped = not escaped and octet == 0x5C
        elif octet in b"[{":
            level += 1
            deepest = max(deepest, level)
        elif octet in b"]}":
            level -= 1
        else:
            in_string = octet == 0x22
    return deepest


def plant() -> None:
    """No depth is too much."""

    def never(payload: bytes, levels: int = 0) -> bool:
        return False

    patch("artcafe_proto.messages.is_too_deep", never).start()


# --- mutation ---------------------------------------------------------------------------------------------------------

SEEDS: list[Any] = [
    {"type": "command", "id": "cmd-1", "data": {"command": "work", "args": {}, "timeout": 5}, "timestamp": "now"},
    {"type": "heartbeat", "id": "hb-1", "data": {"agent_id": "a", "status": "online", "cpu_usage": 0.5}},
    {"type": "response", "id": "r", "data": {"command_id": "c", "status": "error", "reason": "x", "code": "timeout"}},
    {"type": "message", "id": "m", "data": {"a": [1, 2, {"b": None}]}},
]
LEAVES: list[Any] = [None, True, 0, -1, 1e308, 5e-324, 10**400, "", "x" * 129, "\ud800", "\u0000", [], {}]
NAMES = ("type", "id", "data", "args", "timeout", "x")


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Another message: by the grammar mostly, else by single bytes."""
    random = Random(seed)
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = random.choice(SEEDS)
    if random.random() < 0.2:
        atheris: Any = import_module("atheris")
        return atheris.Mutate(data, max_size)
    try:
        for _ in range(random.randint(1, 4)):
            value = changed(value, random)
        return json.dumps(value).encode()[:max_size]
    except RecursionError:
        return b"[" * (max_size // 2)


def changed(value: Any, random: Random) -> Any:
    """`value` with something in it another."""
    roll = random.random()
    if roll < 0.15:
        return random.choice(LEAVES)
    if roll < 0.3:
        for _ in range(random.choice([1, 2, 60, 61, 62, 63, 64])):
            value = [value] if random.random() < 0.5 else {"data": value}
        return value
    if isinstance(value, dict) and value:
        fields: dict[str, Any] = dict(cast("dict[str, Any]", value))
        key = random.choice(list(fields))
        if roll < 0.4:
            del fields[key]
        elif roll < 0.5:
            fields[random.choice(NAMES)] = random.choice(LEAVES)
        else:
            fields[key] = changed(fields[key], random)
        return fields
    if isinstance(value, list) and value:
        items = list(cast("list[Any]", value))
        place = random.randrange(len(items))
        return [*items[:place], changed(items[place], random), *items[place:]]
    return random.choice([*LEAVES, *SEEDS])
