"""What can still be read of a message that is no JSON (MSG-5)."""

from __future__ import annotations

import json
import re
from typing import Final

from artcafe_proto.limits import MAX_ID_CHARS

_tolerant_decoder = json.JSONDecoder(strict=False)
_JSON_SPACE: Final = re.compile(r"[ \t\n\r]*")


def read_command_id(payload: bytes) -> str | None:
    """The id of a `command` that `decode_envelope` refused, if that much of it can be read (MSG-5): what is around NaN,
    half a surrogate pair or deep nesting, and what precedes any other damage. None for everything else.
    """
    text = payload.decode("utf-8", "replace")
    members: dict[object, object] = {}
    place = 0
    try:
        while text.startswith("," if members else "{", place := _skip_space(text, place)):
            key, place = _tolerant_decoder.raw_decode(text, _skip_space(text, place + 1))
            place = _skip_space(text, place)
            if not text.startswith(":", place):
                break
            members[key], place = _tolerant_decoder.raw_decode(text, _skip_space(text, place + 1))
    except (ValueError, TypeError, RecursionError):
        pass  # a TypeError: the key is an object or an array
    command_id = members.get("id")
    if members.get("type") != "command" or not isinstance(command_id, str) or not 1 <= len(command_id) <= MAX_ID_CHARS:
        return None
    is_unicode = command_id.encode("utf-8", "replace").decode() == command_id  # else no response could name it
    return command_id if is_unicode else None


def _skip_space(text: str, place: int) -> int:
    space = _JSON_SPACE.match(text, place)
    return place if space is None else space.end()
