"""What the protocol expects of every transport, as a check that any transport can be put to.

    await check_channel(factory)

`factory()` opens one connection over the transport and returns it as a `Channel`, in an `async with` block at whose end
it is taken down. Nothing here belongs to an event loop, so the check runs on any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from artcafe_proto.limits import WRITE_AHEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["Channel", "ChannelError", "check_channel"]


async def check_channel(factory: Callable[[], AbstractAsyncContextManager[Channel]]) -> None:
    """Put a transport to every rule, each on a channel of its own. Raises ChannelError for the first that is broken."""
    for rule in RULES:
        async with factory() as channel:
            await RULES[rule](_Examination(channel, rule))


class Channel(Protocol):
    """An open connection over a transport under test: the protocol's end, and the far end in the hands of the check.

    `data` is a piece of a byte stream, or one whole message where the transport frames messages by itself; it is ASCII.
    `received`, `ends` and `unsent_bytes` are what the transport told the protocol; the stand-in for that keeps them.
    """

    @property
    def received(self) -> list[bytes]:
        """What came in, in order (`data_received`, or `text_received`)."""
        ...

    @property
    def ends(self) -> int:
        """How often it was told that the connection is over (`eof_received`, `disconnected`, `close_received`)."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """What was told last of what has not left (`unsent`), 0 before anything was."""
        ...

    def write(self, data: bytes) -> None:
        """The protocol asks for `Write`, or `SendText`."""
        ...

    def close(self, *, abort: bool) -> None:
        """The protocol asks for `Disconnect`."""
        ...

    def pause_reading(self) -> None:
        """The protocol asks for `PauseReading`."""
        ...

    def resume_reading(self) -> None:
        """The protocol asks for `ResumeReading`."""
        ...

    @property
    def far_received(self) -> list[bytes]:
        """What the far end has read, in order."""
        ...

    @property
    def far_has_ended(self) -> bool:
        """Whether the far end has read the end of the connection, or was told of a reset."""
        ...

    def far_write(self, data: bytes) -> None:
        """The far end sends, as soon as it can."""
        ...

    def far_close(self, *, abort: bool) -> None:
        """The far end closes after what it sent, or resets the connection."""
        ...

    def far_pause_reading(self) -> None:
        """The far end reads no more."""
        ...

    def far_resume_reading(self) -> None:
        """The far end reads again."""
        ...

    async def settle(self) -> None:
        """Let everything that is under way go on for a moment."""
        ...


class ChannelError(AssertionError):
    """A transport has broken a rule. Says which, what was expected and what came."""

    def __init__(self, rule: str, expected: str, came: str) -> None:
        super().__init__(f"{rule}: expected {expected}, {came}")
        self.rule = rule
        """One of RULES."""


_MOMENTS: Final = 2000
"""How long something is waited for that must come …"""
_A_FEW_MOMENTS: Final = 20
"""… and something that must not."""
_PIECE: Final = b"0123456789abcdef" * 1024
_ENOUGH_PIECES: Final = 4096
"""64 MiB: more than any transport may take without a word."""
_FLOOD_PIECES: Final = 1024
_SLACK_BYTES: Final = 2 * 1024 * 1024
"""What may still come in after `PauseReading`: it was read already."""


class _Examination:
    """One rule, looked at on one channel."""

    def __init__(self, channel: Channel, rule: str) -> None:
        self.channel = channel
        self._rule = rule

    async def until(self, holds: Callable[[], bool], expected: str, came: Callable[[], str]) -> None:
        """Wait for what must come."""
        for _ in range(_MOMENTS):
            if holds():
                return
            await self.channel.settle()
        self.require(holds(), expected, came())

    def require(self, holds: bool, expected: str, came: str) -> None:
        """What must be so now."""
        if not holds:
            raise ChannelError(self._rule, expected, came)

    async def a_while(self) -> None:
        """Leave time for what must not come."""
        for _ in range(_A_FEW_MOMENTS):
            await self.channel.settle()

    async def arrives(self, sent: list[bytes], where: list[bytes], who: str) -> None:
        """What was sent must arrive, the same bytes in the same order."""
        whole = b"".join(sent)
        came = f"{who} has read others"
        await self.until(lambda: sum(map(len, where)) >= len(whole), f"{len(whole)} bytes", lambda: came)
        self.require(b"".join(where) == whole, f"the {len(whole)} bytes that were sent, in their order", came)

    async def is_told_once(self) -> None:
        """The protocol must be told of an end, and not again."""
        await self.until(lambda: self.channel.ends > 0, "the end to be told", lambda: "it was not")
        await self.a_while()
        self.require(self.channel.ends == 1, "the end to be told once", f"it was {self.channel.ends} times")


async def _order(check: _Examination) -> None:
    channel = check.channel
    pieces = [b"%d," % number * (1 + number % 50) for number in range(500)]
    for piece in pieces:
        channel.write(piece)
        channel.far_write(piece)
    await check.arrives(pieces, channel.far_received, "the far end")
    await check.arrives(pieces, channel.received, "the protocol")


async def _loss(check: _Examination) -> None:
    check.channel.far_close(abort=True)
    await check.is_told_once()


async def _end(check: _Examination) -> None:
    channel = check.channel
    channel.far_write(b"the last words")
    channel.far_close(abort=False)
    await check.is_told_once()
    await check.arrives([b"the last words"], channel.received, "the protocol")


async def _after_loss(check: _Examination) -> None:
    channel = check.channel
    channel.far_close(abort=True)
    await check.is_told_once()
    channel.write(b"late")
    channel.pause_reading()
    channel.resume_reading()
    channel.close(abort=False)
    channel.close(abort=True)
    await check.a_while()
    check.require(channel.ends == 1, "nothing more to be told of a connection that is over", "its end was told again")


async def _close(check: _Examination) -> None:
    channel = check.channel
    pieces = [_PIECE] * 20
    for piece in pieces:
        channel.write(piece)
    channel.close(abort=False)
    await check.until(lambda: channel.far_has_ended, "the far end to read the end", lambda: "it did not")
    await check.arrives(pieces, channel.far_received, "the far end")


async def _abort(check: _Examination) -> None:
    channel = check.channel
    channel.far_pause_reading()
    for _ in range(_FLOOD_PIECES):
        channel.write(_PIECE)
    await check.a_while()
    channel.close(abort=True)
    await check.a_while()
    channel.far_resume_reading()
    await check.until(lambda: channel.far_has_ended, "the far end to read the end", lambda: "it did not")
    came = sum(map(len, channel.far_received))
    check.require(came < _FLOOD_PIECES * len(_PIECE), "what was not sent yet to be dropped", "all of it came")


async def _after_close(check: _Examination) -> None:
    channel = check.channel
    channel.close(abort=False)
    channel.far_write(b"late")
    await check.a_while()
    channel.far_close(abort=False)
    await check.a_while()
    came = f"{len(channel.received)} pieces of data and {channel.ends} ends came"
    check.require(not channel.received and not channel.ends, "nothing to be told after `Disconnect`", came)


async def _writing(check: _Examination) -> None:
    channel = check.channel
    channel.far_pause_reading()
    sent: list[bytes] = []
    while channel.unsent_bytes < WRITE_AHEAD_BYTES and len(sent) < _ENOUGH_PIECES:
        channel.write(_PIECE)
        sent.append(_PIECE)
        if len(sent) % 16 == 0:
            await channel.settle()
    expected = f"`unsent` to tell of {WRITE_AHEAD_BYTES} bytes where the far end does not read"
    check.require(channel.unsent_bytes >= WRITE_AHEAD_BYTES, expected, f"it told of {channel.unsent_bytes}")
    channel.far_resume_reading()
    expected = "`unsent` to tell afterwards that all has left"
    await check.until(lambda: channel.unsent_bytes == 0, expected, lambda: f"it told of {channel.unsent_bytes}")
    await check.arrives(sent, channel.far_received, "the far end")


async def _reading(check: _Examination) -> None:
    channel = check.channel
    channel.pause_reading()
    sent = [_PIECE] * _FLOOD_PIECES
    for piece in sent:
        channel.far_write(piece)
    await check.a_while()
    came = sum(map(len, channel.received))
    check.require(came <= _SLACK_BYTES, "no more than was read already after `PauseReading`", f"{came} bytes came")
    channel.resume_reading()
    await check.arrives(sent, channel.received, "the protocol")


RULES: Final[dict[str, Callable[[_Examination], Awaitable[None]]]] = {
    "order is kept": _order,
    "a loss is told once": _loss,
    "an end is told once, after what came before it": _end,
    "late effects do no harm": _after_loss,
    "what was written before a close arrives": _close,
    "an abort waits for nothing": _abort,
    "nothing is told after Disconnect": _after_close,
    "what has not left is told, and when it has": _writing,
    "paused reading holds the far end back": _reading,
}
"""What `check_channel` looks at, by its name."""
