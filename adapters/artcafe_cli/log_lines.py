"""How `artcafe agent` writes its log: one readable line a record on standard error, in colour on a terminal."""

from __future__ import annotations

import logging
import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Final

from artcafe_anyio.log_records import traceback_of
from artcafe_proto.readable import lines

if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

_COLOURS: Final = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[32m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[1;31m",
    logging.CRITICAL: "\x1b[1;31m",
}
_PLAIN: Final = "\x1b[0m"


def set_up_logging(stream: TextIO = sys.stderr) -> None:
    """Write log records to `stream`, unless the agent's program has set up logging by itself."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(LineFormatter(in_colour=is_colourful(stream)))
        root.addHandler(handler)


def is_colourful(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that shows colours, and nobody has said that they are not wanted."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class LineFormatter(logging.Formatter):
    """Local time with its offset from UTC, the level and the text; an agent's own lines need no logger's name."""

    def __init__(self, *, in_colour: bool) -> None:
        super().__init__()
        self._in_colour = in_colour

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 logging's name
        """The text; a traceback follows it. What other libraries log may come from anybody as well."""
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(" ", "milliseconds")
        level = f"{record.levelname:<7}"
        if self._in_colour:
            level = f"{_COLOURS.get(record.levelno, '')}{level}{_PLAIN}"
        name = "" if record.name.startswith("artcafe.") else f"{record.name}: "
        return f"{when} {level} {name}{lines(record.message)}"

    def formatException(  # noqa: N802 logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """A traceback in which no exception's text can pass for a line of the log."""
        return "" if ei[1] is None else traceback_of(ei[1])
