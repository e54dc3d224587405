"""Log records and tracebacks that a person can read, whatever text came from outside."""

from __future__ import annotations

import re
from traceback import TracebackException
from typing import TYPE_CHECKING, Final

from artcafe_proto.readable import lines, one_line

if TYPE_CHECKING:
    from logging import LogRecord
    from types import TracebackType


def readable_record(record: LogRecord) -> bool:
    """A filter for loggers: what a record was given is shown readably, whatever its handlers do with it."""
    if isinstance(record.args, tuple):
        record.args = tuple(each if isinstance(each, int | float) else one_line(str(each)) for each in record.args)
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and not record.exc_text:
        record.exc_text = traceback_of(error)
    return True


def traceback_of(error: BaseException) -> str:
    """The traceback of `error`, as Python prints it, but with the text of exceptions as `lines`."""
    chunks = (chunk.removesuffix("\n") for chunk in TracebackException.from_exception(error).format())
    return "\n".join(_as_it_is(chunk) if _OF_PYTHON.match(chunk) else lines(chunk) for chunk in chunks)


def exc_info_of(error: BaseException | None) -> tuple[type[BaseException], BaseException, TracebackType | None] | None:
    """`error` for a logger, which shows nothing of an exception that is false, as one without items may be."""
    return None if error is None else (type(error), error, error.__traceback__)


def _as_it_is(chunk: str) -> str:
    return "\n".join(map(one_line, chunk.split("\n")))


_OF_PYTHON: Final = re.compile(r'\n|[ |+]*File "')
"""How a frame begins, with the source lines that follow it, and what stands between an exception and its cause."""
