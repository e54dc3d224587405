"""What comes from outside is shown so that neither a terminal nor a reader is misled."""

from __future__ import annotations

import json

import pytest

from artcafe_proto import ArtCafeError, RemoteProtocolError
from artcafe_proto.readable import json_line, lines, one_line, text_of
from artcafe_proto.secrecy import Secret
from artcafe_proto.testing.wiretap import WrittenRequest
from support.hostile_text import HOSTILE, check_readable


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


def test_an_error_of_ours_can_be_shown() -> None:
    error = ArtCafeError(HOSTILE)
    check_readable(str(error))
    check_readable(f"{error} {error!r}")
    assert RemoteProtocolError(400, HOSTILE, "MSG-5").reason == HOSTILE


def test_a_secret_among_other_things_is_not_shown() -> None:
    secret = Secret(["s3cret"])
    assert (repr(secret), secret.value) == ("Secret(…)", ["s3cret"])


def test_a_wiretap_says_what_it_heard_instead_of_a_request() -> None:
    with pytest.raises(AssertionError, match="expected a request, got 8 bytes of something else"):
        WrittenRequest(b"nonsense")


@pytest.mark.parametrize("error", [SystemExit, ValueError])
def test_what_fails_to_say_what_it_is_is_told_by_its_class(error: type[BaseException]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise error

    assert text_of(Mute()) == "Mute"
    assert text_of(ArtCafeError(Mute())) == "ArtCafeError"
    assert text_of(ArtCafeError("a text")) == "a text"


def test_an_interrupt_amid_a_text_is_a_signal() -> None:
    class Interrupted(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        text_of(Interrupted())
