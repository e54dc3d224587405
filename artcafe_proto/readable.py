"""Text from outside, made fit for a person to read: a terminal obeys it, a log is forged by it, as little as possible.

What is not printable, as Python understands the word, is shown as an escape: control characters, among them ESC, CR
and LF, the marks, overrides and isolates that turn the direction of text, characters of no width, and lone surrogates.
What Python takes as printable and nobody can see is escaped too: two names must not look the same because of it.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["json_line", "lines", "one_line", "text_of"]


def one_line(text: str) -> str:
    """`text` with escapes for what is not printable, line ends included."""
    return text if _is_visible(text) else "".join(map(_escaped, text))


def json_line(text: str) -> str:
    """JSON `text` with JSON's own escapes for what is not printable: it stands for the same value."""
    return text if _is_visible(text) else "".join(map(_json_escaped, text))


def lines(text: str) -> str:
    """`text` of several lines, in which none but the first begins at the left: it cannot pass for another record."""
    return "\n    ".join(map(one_line, text.split("\n")))


def text_of(error: BaseException) -> str:
    """What `error` says, or the name of its class if it fails to say anything: it may be of anybody's making."""
    try:
        return str(error)
    except KeyboardInterrupt:  # a signal
        raise
    except BaseException:
        return type(error).__name__


def _is_visible(text: str) -> bool:
    return text.isprintable() and (text.isascii() or _UNSEEN.search(text) is None)


def _escaped(character: str) -> str:
    return character if _is_visible(character) else character.encode("unicode_escape").decode()


def _json_escaped(character: str) -> str:
    if _is_visible(character):
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Of Unicode's Default_Ignorable_Code_Point those that are letters and marks, and the Braille blank."""
