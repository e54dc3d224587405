"""What comes from outside is shown so that neither a terminal nor a reader is misled."""

from __future__ import annotations

import json
import logging

import pytest

from artcafe_proto import ArtCafeError, RemoteProtocolError
from artcafe_proto.readable import json_line, lines, one_line, readable_record, traceback_of
from artcafe_proto.secrecy import Secret
from artcafe_proto.testing.wiretap import Request
from hostile_text import HOSTILE, check_readable


def raised(error: BaseException) -> BaseException:
    """An error that has been raised, and has a cause with a text of its own."""
    try:
        try:
            raise KeyError(HOSTILE)
        except KeyError as cause:
            raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("text", ["", "plain", "Zoë 東京 😀", r"back\slash", "[markup]"])
def test_what_is_printable_stays_as_it_is(text: str) -> None:
    assert one_line(text) == json_line(text) == lines(text) == text


def test_what_is_not_printable_is_escaped() -> None:
    assert one_line("a\x1b[1m\r\n\x9b\u202e\ud800\U000e0041") == r"a\x1b[1m\r\n\x9b\u202e\ud800\U000e0041"
    check_readable(one_line(HOSTILE + "\ud800"))
    assert "\n" not in one_line(HOSTILE)


@pytest.mark.parametrize("unseen", "\u034f\u115f\u17b4\u180b\u2800\u3164\ufe0f\uffa0\U000e0100")
def test_two_texts_that_differ_in_what_nobody_sees_look_different(unseen: str) -> None:
    assert one_line(f"worker{unseen}") == "worker" + unseen.encode("unicode_escape").decode()
    assert json_line(f'"{unseen}"').isascii()
    assert json.loads(json_line(f'"{unseen}"')) == unseen


def test_json_stays_exact() -> None:
    text = json_line(json.dumps(HOSTILE, ensure_ascii=False))
    check_readable(text)
    assert json.loads(text) == HOSTILE
    assert json.loads(json_line('"\ud800"')) == "\ud800"


def test_of_several_lines_none_but_the_first_begins_at_the_left() -> None:
    assert lines("one\ntwo\r\x1b") == "one\n    two\\r\\x1b"
    check_readable(lines(HOSTILE))


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
    assert "test_readable.py" in text
    assert "\nThe above exception was the direct cause of the following exception:\n" in text


def test_an_error_of_ours_can_be_shown() -> None:
    error = ArtCafeError(HOSTILE)
    check_readable(str(error))
    check_readable(f"{error} {error!r}")
    assert RemoteProtocolError(400, HOSTILE, "MSG-5").reason == HOSTILE


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


def test_a_secret_among_other_things_is_not_shown() -> None:
    secret = Secret(["s3cret"])
    assert (repr(secret), secret.value) == ("Secret(…)", ["s3cret"])


def test_a_wiretap_says_what_it_heard_instead_of_a_request() -> None:
    with pytest.raises(AssertionError, match="expected a request, got 8 bytes of something else"):
        Request(b"nonsense")
