"""Text from outside, made fit for a person to read: a terminal obeys it, a log is forged by it, as little as possible.

What is not printable, as Python understands the word, is shown as an escape: control characters, among them ESC, CR
and LF, the marks, overrides and isolates that turn the direction of text, characters of no width, and lone surrogates.
So is what Python takes as printable and nobody can see: two names are not to look the same for it.
"""

from __future__ import annotations

import re
from traceback import TracebackException
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from logging import LogRecord


def one_line(text: str) -> str:
    """`text` with escapes for what is not printable, line ends included."""
    return text if _is_visible(text) else "".join(map(_escaped, text))


def json_line(text: str) -> str:
    """JSON `text` with JSON's own escapes for what is not printable: it stands for the same value."""
    return text if _is_visible(text) else "".join(map(_json_escaped, text))


def lines(text: str) -> str:
    """`text` of several lines, in which none but the first begins at the left: it cannot pass for another record."""
    return "\n    ".join(map(one_line, text.split("\n")))


def traceback_of(error: BaseException) -> str:
    """The traceback of `error`, as Python prints it, but with the text of exceptions as `lines`."""
    chunks = (chunk.removesuffix("\n") for chunk in TracebackException.from_exception(error).format())
    return "\n".join(_as_it_is(chunk) if _OF_PYTHON.match(chunk) else lines(chunk) for chunk in chunks)


def readable_record(record: LogRecord) -> bool:
    """A filter for loggers: what a record was given is shown readably, whatever its handlers do with it."""
    if isinstance(record.args, tuple):
        record.args = tuple(each if isinstance(each, int | float) else one_line(str(each)) for each in record.args)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and not record.exc_text:
        record.exc_text = traceback_of(error)
    return True


def _as_it_is(chunk: str) -> str:
    return "\n".join(map(one_line, chunk.split("\n")))


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
_OF_PYTHON: Final = re.compile(r'\n|[ |+]*File "')
"""How a frame begins, with the source lines that follow it, and what stands between an exception and its cause."""
