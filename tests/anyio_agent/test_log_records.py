"""What is logged misleads neither a terminal nor a reader, whatever text came from outside."""

from __future__ import annotations

import logging

import pytest

from artcafe_anyio.log_records import exc_info_of, readable_record, traceback_of
from artcafe_proto import RemoteProtocolError
from support.hostile_text import HOSTILE, check_readable


def raised(error: BaseException) -> BaseException:
    """An error that has been raised, and has a cause with a text of its own."""
    try:
        try:
            raise KeyError(HOSTILE)
        except KeyError as cause:
            raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError(HOSTILE),
        ExceptionGroup(HOSTILE, [ValueError(HOSTILE), KeyError(HOSTILE)]),
        RemoteProtocolError(400, HOSTILE, "MSG-5"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_traceback_shows_where_and_nothing_that_misleads(error: Exception) -> None:
    text = traceback_of(raised(error))
    check_readable(text)
    assert "test_log_records.py" in text
    assert "\nThe above exception was the direct cause of the following exception:\n" in text


def test_records_are_readable_whatever_a_handler_does_with_them(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("tests.readable")
    logger.addFilter(readable_record)
    logger.warning("%s in %d of %s", HOSTILE, 3, ValueError(HOSTILE))
    logger.warning("plain")
    logger.error("failed", exc_info=raised(ValueError(HOSTILE)))
    logger.error("named %(name)s", {"name": "a"})  # a mapping is nobody's way here, and stays
    logger.removeFilter(readable_record)
    for line in caplog.handler.format(caplog.records[0]), caplog.handler.format(caplog.records[2]):
        check_readable(line)
    assert [record.getMessage() for record in caplog.records[1:]] == ["plain", "failed", "named a"]
    assert caplog.records[0].msg == "%s in %d of %s"


class FalseError(Exception):
    """As one without items may be."""

    def __len__(self) -> int:
        return 0


def test_an_exception_that_is_false_is_logged_like_any_other() -> None:
    error = FalseError()
    assert exc_info_of(error) == (FalseError, error, None)
    assert exc_info_of(None) is None
