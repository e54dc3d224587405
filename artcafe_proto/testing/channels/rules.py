"""The rules of `check_channel` for every transport: order, ends, closing, and back-pressure both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.testing.channels.examining import size_of

if TYPE_CHECKING:
    from artcafe_proto.testing.channels.examining import Examination

_PIECE: Final = b"0123456789abcdef" * 1024
_ENOUGH_PIECES: Final = 4096
"""64 MiB: more than any transport may take without a word."""
_FLOOD: Final = [_PIECE] * 1024
_SOME: Final = [_PIECE] * 20
FEW: Final = [_PIECE] * 8
"""More than is read at once, and less than WRITE_AHEAD_BYTES."""
_SLACK_BYTES: Final = 2 * 1024 * 1024
"""What may still come in after `PauseReading`: it was read already."""
_HELD_BYTES: Final = 4 * 1024 * 1024
"""What the far end must hold of a flood while reading is paused. The rest of it may be in the system's buffers."""
_TIMED_WRITES: Final = 64
_HELD_S: Final = 0.5
"""What these may take, but for the longest: a process that is held up by others is so once."""


async def opens(check: Examination) -> None:
    """A channel is there, and goes without a word."""
    await check.a_while()
    check.expect(check.ends == 0, "a connection that stays open", "its end was told")


# --- order and ends ---------------------------------------------------------------------------------------------------


async def order(check: Examination) -> None:
    """Both ways at once."""
    channel = check.channel
    pieces = [b"%d," % number * (1 + number % 50) for number in range(500)]
    for piece in pieces:
        channel.write(piece)
        channel.far_write(piece)
    await check.arrives(pieces, lambda: check.far_received, "the far end")
    await check.arrives(pieces, lambda: check.received, "the protocol")


async def loss(check: Examination) -> None:
    """A reset."""
    check.channel.far_close(abort=True)
    await check.is_told_once()


async def end(check: Examination) -> None:
    """The far end closes after its last words."""
    channel = check.channel
    channel.far_write(b"the last words")
    channel.far_close(abort=False)
    await check.is_told_once()
    came = size_of(check.received)
    check.expect(came > 0, "what came before the end to be told before it", "it was not")
    await check.arrives([b"the last words"], lambda: check.received, "the protocol")


async def end_then_reset(check: Examination) -> None:
    """The far end closes, and then resets the connection."""
    channel = check.channel
    channel.far_close(abort=False)
    await check.is_told_once()
    channel.write(b"late")
    channel.far_close(abort=True)
    await check.is_told_no_more("a reset")


async def end_then_close(check: Examination) -> None:
    """The far end closes, and then the protocol does, with which the whole connection ends."""
    channel = check.channel
    channel.far_close(abort=False)
    await check.is_told_once()
    channel.close(abort=False)
    await check.is_told_no_more("`Disconnect`")


async def late_effects(check: Examination) -> None:
    """Whatever the protocol may ask for before it knows of a loss."""
    channel = check.channel
    channel.far_close(abort=True)
    await check.is_told_once()
    channel.write(b"late")
    if check.has_messages:
        check.messages.ping(b"late")
        check.messages.pong(b"late")
        check.messages.close_with(1000, "late")
    channel.pause_reading()
    channel.resume_reading()
    channel.close(abort=False)
    channel.close(abort=True)
    await check.a_while()
    check.expect(check.ends == 1, "nothing more to be told of a connection that is over", "its end was told again")


# --- closing ----------------------------------------------------------------------------------------------------------


async def close(check: Examination) -> None:
    """After what was written."""
    channel = check.channel
    for piece in _SOME:
        channel.write(piece)
    channel.close(abort=False)
    await check.far_ends()
    await check.arrives(_SOME, lambda: check.far_received, "the far end")


async def close_while_paused(check: Examination) -> None:
    """The same while reading is paused, and much is to be read."""
    channel = check.channel
    channel.pause_reading()
    for piece in _SOME:
        channel.far_write(piece)
    await check.a_while()
    await close(check)


async def abort(check: Examination) -> None:
    """What was written is not waited for."""
    channel = check.channel
    channel.far_pause_reading()
    for piece in _FLOOD:
        channel.write(piece)
    await check.a_while()
    channel.close(abort=True)
    await check.a_while()
    channel.far_resume_reading()
    await check.far_ends()
    came = size_of(check.far_received)
    check.expect(came < size_of(_FLOOD), "what was not sent yet to be dropped", "all of it came")


async def after_close(check: Examination) -> None:
    """An orderly end."""
    await _after_disconnect(check, aborted=False)


async def after_abort(check: Examination) -> None:
    """An abort."""
    await _after_disconnect(check, aborted=True)


async def _after_disconnect(check: Examination, *, aborted: bool) -> None:
    channel = check.channel
    channel.close(abort=aborted)
    channel.far_write(b"late")
    if check.has_messages:
        check.messages.far_ping(b"late")
    await check.a_while()
    channel.far_close(abort=False)
    await check.a_while()
    came = f"{len(check.received)} pieces of data and {check.ends} ends came"
    is_quiet = not check.received and not check.ends and not (check.has_messages and check.told)
    check.expect(is_quiet, "nothing to be told after `Disconnect`", came)


# --- writing ----------------------------------------------------------------------------------------------------------


async def unsent(check: Examination) -> None:
    """The level, while the far end does not read and when it has."""
    channel = check.channel
    sent = await _write_ahead(check)
    expected = f"`unsent` to tell of {WRITE_AHEAD_BYTES} bytes where the far end does not read"
    check.expect(channel.unsent_bytes >= WRITE_AHEAD_BYTES, expected, f"it told of {channel.unsent_bytes}")
    channel.far_resume_reading()
    expected = "`unsent` to tell afterwards that all has left"
    await check.until(lambda: channel.unsent_bytes == 0, expected, lambda: f"it told of {channel.unsent_bytes}")
    await check.arrives(sent, lambda: check.far_received, "the far end")


async def writes_at_once(check: Examination) -> None:
    """How long writes take while the far end does not read, and much has not left."""
    channel, clock = check.channel, check.clock
    assert clock is not None, "without a clock this is not looked at"
    await _write_ahead(check)
    took: list[float] = []
    for _ in range(_TIMED_WRITES):
        began = clock()
        channel.write(_PIECE)
        took.append(clock() - began)
        await channel.settle()
    longest, whole = max(took), sum(took)
    expected = f"{_TIMED_WRITES} writes to hold the event loop for {_HELD_S:g} s at most"
    check.expect(whole - longest <= _HELD_S, expected, f"they held it for {whole:.3g} s, one for {longest:.3g} s")


async def _write_ahead(check: Examination) -> list[bytes]:
    """Write to a far end that does not read, until that is told, or is more than can be. Returns what was written."""
    channel = check.channel
    channel.far_pause_reading()
    sent: list[bytes] = []
    while channel.unsent_bytes < WRITE_AHEAD_BYTES and len(sent) < _ENOUGH_PIECES:
        channel.write(_PIECE)
        sent.append(_PIECE)
        if len(sent) % 16 == 0:
            await channel.settle()
    return sent


# --- pausing ----------------------------------------------------------------------------------------------------------


async def holds_back(check: Examination) -> None:
    """A flood that comes while reading is paused, in two rounds."""
    for _ in range(2):
        check.channel.pause_reading()
        await _flood_is_held_back(check)


async def pauses_once(check: Examination) -> None:
    """Pausing twice is pausing once, and so is resuming."""
    channel = check.channel
    channel.pause_reading()
    channel.pause_reading()
    await check.a_while()
    channel.resume_reading()
    channel.far_write(b"after two pauses")
    await check.arrives([b"after two pauses"], lambda: check.received, "the protocol")


async def resumes_once(check: Examination) -> None:
    """Resuming what is not paused does not take a pause away."""
    channel = check.channel
    channel.resume_reading()
    channel.resume_reading()
    channel.pause_reading()
    await _flood_is_held_back(check)


async def _flood_is_held_back(check: Examination) -> None:
    """Reading is paused: a flood comes, of which little may be told before reading is resumed."""
    channel = check.channel
    before, before_bytes = len(check.received), check.received_bytes
    for piece in _FLOOD:
        channel.far_write(piece)
    await check.rests()
    came = check.received_bytes - before_bytes
    check.expect(came <= _SLACK_BYTES, "no more than was read already after `PauseReading`", f"{came} bytes came")
    held, whole = channel.far_unsent_bytes, size_of(_FLOOD)
    expected = f"the far end to hold {_HELD_BYTES} of {whole} bytes while reading is paused"
    check.expect(held >= _HELD_BYTES, expected, f"it holds {held}: they were read")
    channel.resume_reading()
    await check.arrives(_FLOOD, lambda: check.received[before:], "the protocol")


async def loses_nothing(check: Examination) -> None:
    """Reading is paused again and again while much is under way both ways."""
    channel = check.channel
    sent: list[bytes] = []
    for number in range(100):
        pieces = [b"%d:%d," % (number, each) * 200 for each in range(5)]
        for piece in pieces:
            channel.far_write(piece)
            channel.write(piece)
        sent += pieces
        if number % 2:
            await channel.settle()
        channel.pause_reading()
        if number % 3:
            await channel.settle()
        channel.resume_reading()
    channel.pause_reading()
    await check.a_while()
    channel.write(_PIECE)
    await check.arrives([*sent, _PIECE], lambda: check.far_received, "while reading is paused, the far end")
    channel.resume_reading()
    await check.arrives(sent, lambda: check.received, "the protocol")


async def end_waits(check: Examination) -> None:
    """The far end closes after what reading is paused for."""
    channel = check.channel
    channel.pause_reading()
    await check.a_while()
    for piece in FEW:
        channel.far_write(piece)
    channel.far_close(abort=False)
    await end_waited(check)


async def end_waited(check: Examination) -> None:
    """Reading is paused, and the far end has sent some pieces and closed."""
    channel = check.channel
    await check.a_while()
    is_early = check.ends > 0 and check.received_bytes < size_of(FEW)
    check.expect(not is_early, "the end to be told after what came before it", "it was told while that was paused")
    channel.resume_reading()
    await check.is_told_once()
    await check.arrives(FEW, lambda: check.received, "the protocol")
