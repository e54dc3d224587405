"""Known secrets, and a search for them in whatever a program shows of itself (TOK-4)."""

from __future__ import annotations

import gc
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from traceback import TracebackException
from types import FrameType, ModuleType
from typing import Any, Final
from urllib.parse import quote, quote_from_bytes

FRAGMENT_CHARS: Final = 16
"""So much of a text secret is found on its own: a repr that is cut off shows the beginning, and that is too much."""
_TESTS: Final = str(Path(__file__).parents[1])
_LINE_ENDS: Final = re.compile(r"\\r|\\n|\s")


class Canaries:
    """Secrets by name, and every way to write them that a leak has been known to take."""

    def __init__(self, secrets: Mapping[str, str | bytes]) -> None:
        """A secret given as text has no part that is not secret; one given as bytes is looked for as a whole."""
        self._spellings = {
            f"{name}, {way}": spelling
            for name, secret in secrets.items()
            for way, spelling in spellings(secret.encode() if isinstance(secret, str) else secret).items()
        }
        for name, secret in secrets.items():
            if isinstance(secret, str):
                for start in range(len(secret) - FRAGMENT_CHARS + 1):
                    self._spellings[f"{name}, from {start}"] = secret[start : start + FRAGMENT_CHARS]

    def found_in(self, shown: str | bytes) -> list[str]:
        """Which secrets `shown` holds, and how they are written there: a search of base64 goes over line ends."""
        text = shown.decode("latin-1") if isinstance(shown, bytes) else shown
        joined = _LINE_ENDS.sub("", text)
        return [way for way, spelling in self._spellings.items() if spelling in text or spelling in joined]


def spellings(secret: bytes) -> dict[str, str]:
    """A secret raw, as Python shows bytes, as a number, in hex, URL-encoded, and in base64 wherever it begins there."""
    quoted = quote_from_bytes(secret, safe="")
    found = {
        "raw": secret.decode("latin-1"),
        "repr": repr(secret)[2:-1],
        "number": str(int.from_bytes(secret, "big")),
        "number, little-endian": str(int.from_bytes(secret, "little")),
        "hex": secret.hex(),
        "HEX": secret.hex().upper(),
        "hex with colons": secret.hex(":"),
        "URL-encoded": quoted,
        "URL-encoded but for slashes": quote_from_bytes(secret),
        "url-encoded": _lower(quoted),
        "url-encoded but for slashes": _lower(quote_from_bytes(secret)),
        "URL-encoded as latin-1": quote(secret.decode("latin-1"), safe=""),
        "every byte URL-encoded": "".join(f"%{byte:02X}" for byte in secret),
    }
    for shift in range(3):
        # The characters that hold a secret's bits and nothing else, whatever stands before and behind it.
        first, last = -(-8 * shift // 6), 8 * (shift + len(secret)) // 6
        for way, encode in (("base64", b64encode), ("base64url", urlsafe_b64encode)):
            found[f"{way} at {shift}"] = encode(bytes(shift) + secret).decode()[first:last]
    return found


def _lower(quoted: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), quoted)


def traceback_text(error: BaseException, *, everything: bool = False) -> str:
    """What a tool shows that reports errors with the local variables of every frame, causes and contexts included.

    Frames of tests are left out, unless `everything` is wanted: what a caller holds is the caller's.
    """
    parts: list[str] = []
    captured: TracebackException | None = TracebackException.from_exception(error, capture_locals=True)
    queue = [captured]
    while queue:
        captured = queue.pop()
        if not everything:
            captured.stack[:] = [frame for frame in captured.stack if not frame.filename.startswith(_TESTS)]
        parts.append("".join(captured.format(chain=False)))
        queue += [each for each in (captured.__cause__, captured.__context__) if each is not None]
        queue += captured.exceptions or []
    return "\n".join(parts)


def own_objects(*roots: object) -> Iterator[Any]:
    """Every object of this project's classes that `roots` lead to, themselves included."""
    seen: set[int] = set()
    queue = list(roots)
    while queue:
        found = queue.pop()
        if id(found) in seen or isinstance(found, ModuleType | FrameType | type):
            continue
        seen.add(id(found))
        if type(found).__module__.partition(".")[0].startswith("artcafe"):
            yield found
        queue += _referents(found)


def _referents(found: object) -> list[object]:
    """What an object holds. Structs that the collector does not follow are asked for their fields."""
    fields = [getattr(found, name, None) for name in getattr(type(found), "__struct_fields__", ())]
    code = found.__globals__ if callable(found) and hasattr(found, "__globals__") else None
    return [each for each in (*gc.get_referents(found), *fields) if each is not code]
