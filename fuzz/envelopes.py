"""A grammar of envelopes (MSG), and a mutator by it: what it makes is JSON more often than not, and nearly right.

It works on text, not on trees, so that it can also write what no tree holds: a key twice, an unfinished string.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Final

GRAMMAR: Final[dict[str, tuple[str, ...]]] = {
    "envelope": (
        '{"type":<type>,"id":<id>,"data":<data>}',
        '{"type":<type>,"id":<id>,"data":<data>,"timestamp":<value>}',
        '{"type":"command","id":<id>,"data":<command>}',
        '{"type":"heartbeat","id":<id>,"data":<heartbeat>}',
        '{"data":<data>,<member>,"id":<id>,"type":<type>,"type":<type>}',
        '{"type":<type>,"id":<id>}',
        '{"type":<type>,"data":<data>}',
        " <envelope>\n",
        "[<envelope>]",
    ),
    "type": ('"heartbeat"', '"command"', '"response"', '"status"', '"message"', '"heartbe\\u0061t"', '"x"', "<value>"),
    "id": ('"cmd-1"', '"a"', '""', f'"{"i" * 128}"', f'"{"i" * 129}"', f'"{"é" * 128}"', "<value>"),
    "data": ("<heartbeat>", "<command>", "<response>", "<status>", "<object>", "<value>"),
    "heartbeat": (
        '{"agent_id":<string>,"status":<status-name>,"cpu_usage":<number>,"memory_usage":<number>}',
        '{"agent_id":<string>}',
        "{<member>}",
    ),
    "command": (
        '{"command":<string>,"args":<object>,"timeout":<number>}',
        '{"command":<string>,"args":<value>}',
        '{"command":<string>,"timeout":<value>}',
        '{"command":<value>}',
        '{"args":{}}',
    ),
    "response": (
        '{"command_id":<string>,"status":"success","result":<value>}',
        '{"command_id":<string>,"status":"error","reason":<string>,"code":<string>}',
        '{"command_id":<value>,"status":<string>}',
    ),
    "status": ('{"status":<status-name>,"current_task":<string>,"progress":<number>}', '{"status":<status-name>}'),
    "status-name": ('"online"', '"offline"', '"busy"', '"error"', '"mad"', "<value>"),
    "object": ("{}", "{<member>}", "{<member>,<member>}", ' {"a":<object>}'),
    "member": ('"a":<value>', '"type":<type>', '"id":<id>', '"data":<data>', '"\\u0069d":<id>', '"timeout":<number>'),
    "value": ("null", "true", "<number>", "<string>", "<object>", "[]", "[<value>]", "[<value>,<value>]", "<nest>"),
    "number": ("0", "-1", "1", "0.5", "300", "86400", "86400.001", "1e999", "-0", "1e-400", "18446744073709551616"),
    "string": ('""', '"work"', '"é"', '"\\ud800"', '"\\u0000"', '"\\""', '"[{"', '"\\\\"', '"]"'),
    "nest": (*("[" * depth + "]" * depth for depth in (61, 62, 63, 64, 65)), '[{"a":' * 31 + "0" + "}]" * 31),
}
"""Each alternative is text with the names of others in angle brackets."""
TOKENS: Final = tuple(
    alternative.encode()
    for name in ("type", "status-name", "number", "string")
    for alternative in GRAMMAR[name]
    if "<" not in alternative
)
_NAME: Final = re.compile(r"<([a-z-]+)>")
_VALUE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[-+.\w]+|\[\]|\{\}|\{[^{}]*\}')
_MAX_EXPANSIONS: Final = 60
_RAW: Final = (b"\xff", b"\xef\xbb\xbf", b"\0", b"/**/", b"NaN", b",", b'"', b"{", b"}", b"\\u", b"\xed\xa0\x80")


def mutate(data: bytes, max_size: int, seed: int, mutate_bytes: Callable[[bytes, int], bytes]) -> bytes:
    """A payload made from another: a new one, one with a value replaced, repeated or taken out, or with other bytes."""
    rng = Random(seed)
    values = list(_VALUE.finditer(data))
    kind = rng.randrange(10)
    if kind == 0 or not values:
        made = generate("envelope", rng)
    elif kind <= 6:
        chosen = rng.choice(values)
        name = rng.choice(("type", "id", "data", "command", "heartbeat", "value", "number", "string", "nest"))
        made = data[: chosen.start()] + generate(name, rng) + data[chosen.end() :]
    elif kind == 7:
        place = rng.randrange(len(data) + 1)
        made = data[:place] + rng.choice(_RAW) + data[place:]
    elif kind == 8:
        made = data.replace(b"}", b"," + generate("member", rng) + b"}", 1)
    else:
        made = mutate_bytes(data, max_size)
    return made[:max_size]


def generate(name: str, rng: Random) -> bytes:
    """Text of that name."""
    text, expansions = f"<{name}>", 0
    while (found := _NAME.search(text)) is not None:
        expansions += 1
        alternatives = GRAMMAR[found[1]]
        chosen = rng.choice(alternatives) if expansions <= _MAX_EXPANSIONS else alternatives[0]
        text = text[: found.start()] + chosen + text[found.end() :]
    return text.encode()
