"""The log of a platform."""

from __future__ import annotations

import logging
from typing import Final

from artcafe_anyio.log_records import exc_info_of, readable_record

logger: Final = logging.getLogger("artcafe_platform")
logger.addFilter(readable_record)


def tell(level: int, text: str, error: BaseException | None = None) -> None:
    """Log one line, and the traceback of `error` if there is one."""
    logger.log(level, "%s", text, exc_info=exc_info_of(error))
