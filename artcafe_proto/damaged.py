"""What can still be read of a message that is refused (MSG-5)."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Final

from artcafe_proto.limits import MAX_ID_CHARS

_JSON_SPACE: Final = re.compile(r"[ \t\n\r]*")
_DAMAGE: Final = (ValueError, TypeError, RecursionError)
"""A TypeError: a name is an object or an array."""


def read_command_id(payload: bytes) -> str | None:
    """The id of a `command` that `decode_envelope` refused, if that much of it can be read (MSG-5): what is around NaN,
    half a surrogate pair or deep nesting, and what precedes any other damage. None for everything else.
    """
    text = payload.decode("utf-8", "replace")
    members = _places(text, 0)
    return _id_at(text, members.get("id")) if _value_at(text, members.get("type")) == "command" else None


def read_answered_id(payload: bytes) -> str | None:
    """The `command_id` of a `response` that the platform refused, if it can be read likewise (MSG-5)."""
    text = payload.decode("utf-8", "replace")
    members = _places(text, 0)
    if _value_at(text, members.get("type")) != "response":
        return None
    return _id_at(text, _places(text, members.get("data")).get("command_id"))


def _places(text: str, place: int | None) -> dict[object, int]:
    """Where the values of an object's members begin, as far as the object can be read."""
    places: dict[object, int] = {}
    with suppress(*_DAMAGE):
        while place is not None and text.startswith("," if places else "{", place := _skip_space(text, place)):
            name, place = _tolerant_decoder.raw_decode(text, _skip_space(text, place + 1))
            place = _skip_space(text, place)
            if not text.startswith(":", place):
                break
            places[name] = place = _skip_space(text, place + 1)
            place = _tolerant_decoder.raw_decode(text, place)[1]
    return places


def _value_at(text: str, place: int | None) -> object:
    """The value that begins there, None if there is none that can be read."""
    with suppress(*_DAMAGE):
        return None if place is None else _tolerant_decoder.raw_decode(text, place)[0]
    return None


def _id_at(text: str, place: int | None) -> str | None:
    """Likewise, what may be an id (MSG-3)."""
    value = _value_at(text, place)
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_ID_CHARS:
        return None
    return value if value.encode("utf-8", "replace").decode() == value else None  # else no message could name it


def _no_number(digits: str) -> None:
    """Numbers are passed over: Python refuses to read one of many digits, or takes it long."""


def _skip_space(text: str, place: int) -> int:
    space = _JSON_SPACE.match(text, place)
    return place if space is None else space.end()


_tolerant_decoder = json.JSONDecoder(strict=False, parse_int=_no_number, parse_float=_no_number)
