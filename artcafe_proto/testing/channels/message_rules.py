"""The rules of `check_channel` for transports that frame messages: whole messages, pings and pongs, close codes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from artcafe_proto.config import LinkSettings
from artcafe_proto.testing.channels.examining import shown
from artcafe_proto.testing.channels.rules import FEW, end_waited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from artcafe_proto.testing.channels.examining import Examination

    Look = Callable[[Examination], Awaitable[None]]
    Log = Sequence[tuple[str, bytes | int]]

_TEXTS: Final = [
    text.encode()
    for text in (
        "plain",
        "",
        "\0",
        "before\0after\0",
        "naïve café",
        "水",
        "🜁🜂🜃🜄",
        "e\N{COMBINING ACUTE ACCENT}",
        "\N{ZERO WIDTH NO-BREAK SPACE}begins with a mark",
        "two\nlines\r\n",
        "\N{LINE SEPARATOR}\N{NEXT LINE}\x1c",
        " blanks around ",
        '{"a":"\\u00e9\\n"}',
        *["the same"] * 2,
        *[""] * 2,
        *("é" * 62 + "x" * more for more in (1, 2)),
        *("é" * 32_767 + "x" * more for more in (1, 2)),
    )
]
"""Each may be damaged in its own way; the last are where the length in a WebSocket's header takes more bytes."""
_LARGEST_BYTES: Final = LinkSettings().max_message_size
_LARGEST: Final = [
    "🜁".encode() * (_LARGEST_BYTES // 4),
    b"before",
    b"".join(b"%07x," % number for number in range(_LARGEST_BYTES // 8)),
    b"after",
]
_CODES: Final = (1000, 1001, 1005, 4401, 4409)
_REASON: Final = "é" * 61 + "x"
"""The longest that a WebSocket's close frame takes (RFC 6455 section 5.5)."""


async def whole_messages(check: Examination) -> None:
    """Texts of every kind, both ways."""
    await _go_both_ways(check, _TEXTS)


async def largest_messages(check: Examination) -> None:
    """The largest ones, both ways."""
    await _go_both_ways(check, _LARGEST)


async def _go_both_ways(check: Examination, texts: list[bytes]) -> None:
    channel = check.messages
    for text in texts:
        channel.write(text)
        channel.far_write(text)
    await check.arrives(texts, lambda: check.far_received, "the far end")
    await check.arrives(texts, lambda: check.received, "the protocol")


async def signs_of_life(check: Examination) -> None:
    """Each input by itself, a close last."""
    channel = check.messages
    await _comes_after_a_sign(check, "text", partial(channel.far_write, b"a message"))
    await _comes_after_a_sign(check, "ping", partial(channel.far_ping, b"a ping"))
    await _comes_after_a_sign(check, "pong", partial(channel.far_pong, b"a pong"))
    await _comes_after_a_sign(check, "close", partial(channel.far_close_with, 1000))


async def _comes_after_a_sign(check: Examination, kind: str, send: Callable[[], None]) -> None:
    await check.a_while()
    before, inputs = len(check.messages.told), len(check.told)
    send()
    await check.until(lambda: len(check.told) > inputs, f"a {kind} to be told", lambda: "it was not")
    first, _ = check.messages.told[before]
    check.expect(first == "bytes", f"`bytes_received` before a {kind} that comes by itself", "it was not told before")


# --- pings and pongs --------------------------------------------------------------------------------------------------


async def places_out(check: Examination) -> None:
    """What the protocol sends reaches the far end in its order."""
    channel = check.messages
    asked: dict[str, Callable[[bytes], None]] = {"text": channel.write, "ping": channel.ping, "pong": channel.pong}
    await _keeps_its_place(check, asked, lambda: check.far_told, "the far end")


async def places_in(check: Examination) -> None:
    """What the far end sends reaches the protocol in its order."""
    channel = check.messages
    asked = {"text": channel.far_write, "ping": channel.far_ping, "pong": channel.far_pong}
    await _keeps_its_place(check, asked, lambda: check.told, "the protocol")


async def _keeps_its_place(
    check: Examination, send: dict[str, Callable[[bytes], None]], told: Callable[[], Log], who: str
) -> None:
    sent: list[tuple[str, bytes | int]] = []
    for number in range(20):
        for kind, payload in (
            ("text", b"%d" % number * 5000),
            ("ping", b"%d" % number),
            ("text", b"then"),
            ("pong", b"\0" * number),
            ("ping", b"\xff" * (125 if number == 19 else number)),
        ):
            send[kind](payload)
            sent.append((kind, payload))
    await _is_told(check, sent, told, who)


async def no_pong_of_its_own(check: Examination) -> None:
    """A ping comes, and is left to the protocol."""
    channel = check.messages
    channel.far_write(b"before")
    channel.far_ping(b"a ping")
    await _answers(check, [("text", b"before"), ("ping", b"a ping")])


async def no_pong_while_paused(check: Examination) -> None:
    """A ping comes while reading is paused, behind messages that the protocol is still to be told of."""
    channel = check.messages
    channel.pause_reading()
    await check.a_while()
    for text in FEW:
        channel.far_write(text)
    channel.far_ping(b"a ping")
    await check.a_while()
    _expect_no_pong(check, "a message before its ping was still to be told")
    channel.resume_reading()
    await _answers(check, [*(("text", text) for text in FEW), ("ping", b"a ping")])


async def _answers(check: Examination, sent: Log) -> None:
    """The protocol is told of a ping, the last of `sent`, and answers it later."""
    channel = check.messages
    await _is_told(check, sent, lambda: check.told, "the protocol")
    _expect_no_pong(check, "the protocol had not asked for one")
    channel.pong(b"a ping")
    await _is_told(check, [("pong", b"a ping")], lambda: check.far_told, "the far end")


def _expect_no_pong(check: Examination, why: str) -> None:
    came = any(kind == "pong" for kind, _ in check.messages.far_told)
    check.expect(not came, "no pong but those that the protocol asks for", f"the far end has one, and {why}")


# --- closing ----------------------------------------------------------------------------------------------------------


async def _code_out(check: Examination, *, code: int) -> None:
    channel = check.messages
    channel.write(b"before")
    channel.close_with(code, "" if code == 1005 else _REASON)
    await check.far_ends()
    await check.a_while()
    _expect_close(check, check.far_told, code, "the far end")
    channel.far_close_with(code)  # unless it has answered by itself
    await check.is_told_once()
    channel.close(abort=False)


async def _code_in(check: Examination, *, code: int) -> None:
    channel = check.messages
    channel.far_write(b"before")
    channel.far_close_with(code)
    await check.is_told_once()
    _expect_close(check, check.told, code, "the protocol")


def _expect_close(check: Examination, told: Log, code: int, who: str) -> None:
    _expect_log(check, [("text", b"before"), ("close", code)], told[:2], who)  # a far connection's end may follow


async def answered_close(check: Examination) -> None:
    """The far end closes; the protocol answers with a close and disconnects, as both machines do."""
    channel = check.messages
    channel.far_close_with(4409)
    await check.is_told_once()
    channel.close_with(4409, "")
    channel.close(abort=False)
    await check.far_ends()
    await check.a_while()
    check.expect(check.ends == 1, "nothing to be told after `Disconnect`", "an end was told again")


async def close_then_end(check: Examination) -> None:
    """The far end closes and ends its connection, before the protocol has answered."""
    check.messages.far_close_with(4409)
    await check.is_told_once()
    await _far_connection_ends(check)


async def answer_then_end(check: Examination) -> None:
    """The same after the protocol has answered."""
    channel = check.messages
    channel.far_close_with(4409)
    await check.is_told_once()
    channel.close_with(4409, "")
    await _far_connection_ends(check)


async def answered_then_end(check: Examination) -> None:
    """The far end answers a close of the protocol, and ends its connection."""
    channel = check.messages
    channel.close_with(1000, "")
    await check.far_ends()
    channel.far_close_with(1000)  # unless it has answered by itself
    await check.is_told_once()
    await _far_connection_ends(check)


async def _far_connection_ends(check: Examination) -> None:
    check.channel.far_close(abort=False)
    await check.is_told_no_more("the end of the connection")
    check.channel.far_close(abort=True)
    await check.is_told_no_more("the end of the connection")


async def last_words(check: Examination) -> None:
    """Whatever the protocol may ask for after a close of its own."""
    channel = check.messages
    channel.close_with(1000, "")
    channel.write(b"late")
    channel.ping(b"late")
    channel.pong(b"late")
    channel.close_with(1001, "")
    await check.far_ends()
    await check.a_while()
    came = [entry for entry in check.far_told if entry[0] != "lost"]
    _expect_log(check, [("close", 1000)], came, "the far end")


async def crossing_closes(check: Examination) -> None:
    """Both ends close at once."""
    channel = check.messages
    channel.close_with(1000, "")
    channel.far_close_with(1001)
    await check.is_told_once()
    channel.close(abort=False)
    await check.far_ends()
    await check.a_while()
    check.expect(check.ends == 1, "nothing to be told after `Disconnect`", "an end was told again")


async def close_waits(check: Examination) -> None:
    """A close frame behind what reading is paused for."""
    channel = check.messages
    channel.pause_reading()
    await check.a_while()
    for text in FEW:
        channel.far_write(text)
    channel.far_close_with(4409)
    await end_waited(check)
    last = _entry(check.told, len(check.told) - 1)
    check.expect(last.startswith("close "), "the close to be told last", f"{last} was")


CODES_OUT: Final[list[Look]] = [partial(_code_out, code=code) for code in _CODES]
CODES_IN: Final[list[Look]] = [partial(_code_in, code=code) for code in _CODES]


# --- logs -------------------------------------------------------------------------------------------------------------


async def _is_told(check: Examination, sent: Log, told: Callable[[], Log], who: str) -> None:
    """An end must be told just this, in this order."""
    await check.waits(lambda: len(told()) >= len(sent))
    await check.a_while()
    _expect_log(check, sent, told(), who)


def _expect_log(check: Examination, sent: Log, came: Log, who: str) -> None:
    if list(came) != list(sent):
        place = next((place for place, (a, b) in enumerate(zip(sent, came, strict=False)) if a != b), None)
        place = min(len(sent), len(came)) if place is None else place
        expected = f"{_entry(sent, place)} in place {place + 1} of what is told"
        check.expect(False, expected, f"{who} was told {_entry(came, place)}")


def _entry(log: Log, place: int) -> str:
    if place >= len(log):
        return "nothing"
    kind, payload = log[place]
    return f"{kind} {shown(payload) if isinstance(payload, bytes) else payload}"
