"""How `check_channel` looks at one channel: what it waits for, and how it says what came instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from artcafe_proto.testing.channels.channel import Channel, MessageChannel, Opening

    Log = Sequence[tuple[str, bytes | int]]

__all__ = ["BrokenRule"]

_MOMENTS: Final = 2000
"""How long something is waited for that must come …"""
_A_FEW_MOMENTS: Final = 20
"""… and something that must not."""
_SHOWN_BYTES: Final = 24


class BrokenRule(NamedTuple):
    """A rule that a transport has broken."""

    rule: str
    """One of CHANNEL_RULES."""
    expected: str
    came: str
    clause: str
    """Of the protocol: what relies on the rule."""

    def __str__(self) -> str:
        return f"{self.rule}: expected {self.expected}; {self.came} [{self.clause}]"


class GaveUpError(Exception):
    """What follows in a rule cannot be looked at; what is broken has been said."""


class Examination:
    """What is found out about one rule on one channel."""

    connection: Channel | MessageChannel | Opening

    def __init__(self, clock: Callable[[], float] | None) -> None:
        self.clock: Final = clock
        self.broken: list[tuple[str, str]] = []
        """What was expected, and what came."""

    @property
    def has_messages(self) -> bool:
        """Whether the transport frames messages by itself."""
        return hasattr(self.channel, "told")

    @property
    def channel(self) -> Channel | MessageChannel:
        """The connection, where the rule is of one that is open."""
        return cast("Channel | MessageChannel", self.connection)

    @property
    def opening(self) -> Opening:
        """The connection, where the rule is of one that is not open yet."""
        return cast("Opening", self.connection)

    @property
    def messages(self) -> MessageChannel:
        """The channel, if it does."""
        return cast("MessageChannel", self.channel)

    @property
    def told(self) -> Log:
        """What the protocol was told on a channel of messages, without signs of life."""
        return _inputs(self.messages.told)

    @property
    def far_told(self) -> Log:
        """What its far end was told, without these."""
        return _inputs(self.messages.far_told)

    @property
    def _stream(self) -> Channel:
        return cast("Channel", self.channel)

    @property
    def received(self) -> Sequence[bytes]:
        """The pieces, or the messages, that the protocol was told."""
        return _texts(self.messages.told) if self.has_messages else self._stream.received

    @property
    def received_bytes(self) -> int:
        """How much has come in."""
        return size_of(self.received)

    @property
    def ends(self) -> int:
        """How often the protocol was told that the connection is over."""
        return _ends(self.messages.told) if self.has_messages else self._stream.ends

    @property
    def far_received(self) -> Sequence[bytes]:
        """What the far end has read."""
        return _texts(self.messages.far_told) if self.has_messages else self._stream.far_received

    @property
    def far_has_ended(self) -> bool:
        """Whether the far end knows that the connection is over."""
        return _ends(self.messages.far_told) > 0 if self.has_messages else self._stream.far_has_ended

    def expect(self, holds: bool, expected: str, came: str) -> bool:
        """What must be so now; returns whether it is."""
        if not holds and (expected, came) not in self.broken:
            self.broken.append((expected, came))
        return holds

    def give_up(self, expected: str, came: str) -> NoReturn:
        """The rest of a rule makes no sense. Raises GaveUpError."""
        self.expect(False, expected, came)
        raise GaveUpError

    def raised(self, error: BaseException) -> None:
        """Something of the channel's raised an error."""
        while isinstance(error, BaseExceptionGroup):
            error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        self.expect(False, "no error", f"{error!r} was raised")

    async def until(self, holds: Callable[[], bool], expected: str, came: Callable[[], str]) -> None:
        """Wait for what must come. Raises GaveUpError."""
        if not await self.waits(holds):
            self.give_up(expected, came())

    async def waits(self, holds: Callable[[], bool]) -> bool:
        """Wait for something; returns whether it has come."""
        for _ in range(_MOMENTS):
            if holds():
                return True
            await self.connection.settle()
        return holds()

    async def a_while(self) -> None:
        """Leave time for what must not come."""
        for _ in range(_A_FEW_MOMENTS):
            await self.connection.settle()

    async def rests(self) -> None:
        """Wait until nothing moves: nothing comes in, and the far end can send no more. Raises GaveUpError."""
        last, quiet = (-1, -1), 0
        for _ in range(_MOMENTS):
            level = (self.received_bytes, self.channel.far_unsent_bytes)
            quiet = quiet + 1 if level == last else 0
            if quiet == _A_FEW_MOMENTS:
                return
            last = level
            await self.connection.settle()
        self.give_up("what comes in to stop", "more and more came")

    async def arrives(self, sent: Sequence[bytes], where: Callable[[], Sequence[bytes]], who: str) -> None:
        """What was sent must arrive: the same bytes in the same order, or the same messages, and nothing else."""
        length = len if self.has_messages else size_of
        unit = "messages" if self.has_messages else "bytes"
        expected = f"the {length(sent)} {unit} that were sent"
        await self.until(
            lambda: length(where()) >= length(sent), expected, lambda: f"{who} has {difference(sent, where(), unit)}"
        )
        await self.a_while()
        came = where()
        is_same = list(came) == list(sent) if self.has_messages else b"".join(came) == b"".join(sent)
        self.expect(is_same, expected, "" if is_same else f"{who} has {difference(sent, came, unit)}")

    async def is_told_once(self) -> None:
        """The protocol must be told of an end, and not again."""
        await self.until(lambda: self.ends > 0, "the end to be told", lambda: "it was not")
        await self.a_while()
        self.expect(self.ends == 1, "the end to be told once", f"it was {self.ends} times")

    async def is_told_no_more(self, after: str) -> None:
        """An end was told, and then this happened: the end must not be told again."""
        await self.a_while()
        self.expect(self.ends == 1, "the end to be told once", f"it was told again after {after}")

    async def far_ends(self) -> None:
        """The far end must read the end."""
        await self.until(lambda: self.far_has_ended, "the far end to read the end", lambda: "it did not")


def _inputs(told: Log) -> Log:
    return [entry for entry in told if entry[0] != "bytes"]


def _texts(told: Log) -> list[bytes]:
    return [payload for kind, payload in told if kind == "text" and isinstance(payload, bytes)]


def _ends(told: Log) -> int:
    return sum(kind in ("close", "lost") for kind, _ in told)


def size_of(pieces: Sequence[bytes]) -> int:
    """How many bytes they are together."""
    return sum(map(len, pieces))


def difference(sent: Sequence[bytes], came: Sequence[bytes], unit: str) -> str:
    """Where they differ first, or else how many came."""
    if unit == "bytes":
        sent, came = [b"".join(sent)], [b"".join(came)]
        if not sent[0].startswith(came[0]):
            return f"other bytes, {len(came[0])} in all"
        return f"{len(came[0])} bytes"
    for number, (expected, each) in enumerate(zip(sent, came, strict=False), 1):
        if expected != each:
            return f"{shown(each)} as message {number}, which was {shown(expected)}"
    return f"{len(came)} messages"


def shown(message: bytes) -> str:
    """A message, or how it begins."""
    more = "…" if len(message) > _SHOWN_BYTES else ""
    return f"{message[:_SHOWN_BYTES]!r}{more} ({len(message)} bytes)"
