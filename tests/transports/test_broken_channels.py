"""`check_channel`: each of its rules has channels that break it, of bytes and of messages, and is named for them."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from artcafe_anyio.testing import VirtualTimeLoop
from artcafe_proto.testing import CHANNEL_RULES, BrokenRule, Channel, ChannelError, MessageChannel, check_channel
from support.channels import MemoryChannel
from support.message_channels import BrokerChannel, WebSocketEnd, WebSocketsChannel, websockets_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

pytestmark = pytest.mark.anyio

Kind = type[MemoryChannel] | type[BrokerChannel]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def opening(kind: Kind) -> Callable[[], AbstractAsyncContextManager[Channel | MessageChannel]]:
    @asynccontextmanager
    async def factory() -> AsyncGenerator[Channel | MessageChannel]:
        yield kind()

    return factory


async def broken_by(kind: Kind) -> dict[str, list[BrokenRule]]:
    """What a kind of channel breaks."""
    CLOCK.now = 0.0
    with pytest.raises(ChannelError) as error:
        await check_channel(opening(kind), clock=lambda: CLOCK.now)
    found: dict[str, list[BrokenRule]] = {}
    for each in error.value.broken:
        assert str(each) in str(error.value)
        found.setdefault(each.rule, []).append(each)
    return found


class Clock:
    now = 0.0


CLOCK = Clock()


# --- of bytes ---------------------------------------------------------------------------------------------------------


class Ending(MemoryChannel):
    async def settle(self) -> None:
        await super().settle()
        if not self.ends:
            self.disconnected("for no reason")


class Disorderly(MemoryChannel):
    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.far.unread) == 7:
            self.far.unread.rotate()


class Short(MemoryChannel):
    def data_received(self, data: bytes) -> None:
        super().data_received(data[:100])


class Forgetful(MemoryChannel):
    def disconnected(self, reason: str) -> None:
        """Says nothing."""


class Repeating(MemoryChannel):
    async def settle(self) -> None:
        await super().settle()
        self.ends = min(2, self.ends * 2)


class Hasty(MemoryChannel):
    def disconnected(self, reason: str) -> None:
        super().disconnected(reason)
        self.received.clear()


class EndingWithResets(MemoryChannel):
    """Tells of a reset, whatever it told before."""

    def far_close(self, *, abort: bool) -> None:
        self.ends += abort and self.ends > 0
        super().far_close(abort=abort)


class EndingWithCloses(MemoryChannel):
    """Tells of both halves of a connection."""

    def close(self, *, abort: bool) -> None:
        self.ends += not abort and self.ends == 1
        super().close(abort=abort)


class Resentful(MemoryChannel):
    def close(self, *, abort: bool) -> None:
        if self.near.far is None:
            self.ends += 1
        super().close(abort=abort)


class Refusing(MemoryChannel):
    def write(self, data: bytes) -> None:
        if self.near.far is None:
            raise OSError("not connected")
        super().write(data)


class Careless(MemoryChannel):
    def close(self, *, abort: bool) -> None:
        super().close(abort=True)


class Resetting(MemoryChannel):
    """As a socket that is closed with something to read."""

    def close(self, *, abort: bool) -> None:
        super().close(abort=abort or bool(self.near.unread))


class Careful(MemoryChannel):
    def close(self, *, abort: bool) -> None:
        super().close(abort=False)


class Talkative(MemoryChannel):
    def close(self, *, abort: bool) -> None:
        super().close(abort=abort)
        self.ends += self.far_told.ends == 0 and not self.ends


class TalkativeAfterAborts(MemoryChannel):
    def close(self, *, abort: bool) -> None:
        super().close(abort=abort)
        self.ends += abort


class Bottomless(MemoryChannel):
    def unsent(self, nbytes: int) -> None:
        """Says nothing."""


class Stuck(MemoryChannel):
    def unsent(self, nbytes: int) -> None:
        super().unsent(max(nbytes, self.unsent_bytes))


class Blocking(MemoryChannel):
    """Waits where the far end does not read."""

    def write(self, data: bytes) -> None:
        super().write(data)
        CLOCK.now += 0.0 if self.far.reads else 0.02


class Greedy(MemoryChannel):
    def pause_reading(self) -> None:
        """Reads on."""


class Pausing(MemoryChannel):
    """Its pauses are worth something to a subclass only."""

    is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class Hoarding(Pausing):
    """Reads on while paused, and keeps what it reads."""

    def __init__(self) -> None:
        super().__init__()
        self.hoard: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.hoard.append(data)
        self.hand_over()

    def hand_over(self) -> None:
        if not self.is_paused:
            for data in self.hoard:
                super().data_received(data)
            self.hoard.clear()

    def resume_reading(self) -> None:
        super().resume_reading()
        self.hand_over()


class Late(Pausing):
    """Pauses after a while."""

    moments = 0

    async def settle(self) -> None:
        self.moments = self.moments + 1 if self.is_paused else 0
        self.near.reads = self.moments < 30
        await super().settle()


class Leaking(MemoryChannel):
    """Tells one piece at a time while paused."""

    async def settle(self) -> None:
        await super().settle()
        if not self.near.reads and self.near.unread and self.near.unread[0]:
            self.data_received(self.near.unread.popleft())


class Restless(MemoryChannel):
    """What the far end holds changes all the time."""

    ticks = 0

    @property
    def far_unsent_bytes(self) -> int:
        self.ticks += 1
        return super().far_unsent_bytes + self.ticks % 2


class Once(MemoryChannel):
    """Pauses once in its life."""

    rounds = 0

    def pause_reading(self) -> None:
        self.rounds += 1
        if self.rounds == 1:
            super().pause_reading()


class Strict(MemoryChannel):
    def pause_reading(self) -> None:
        if not self.near.reads:
            raise RuntimeError("already paused")
        super().pause_reading()


class Nested(MemoryChannel):
    depth = 0

    def pause_reading(self) -> None:
        self.depth += 1
        self.near.reads = self.depth <= 0

    def resume_reading(self) -> None:
        self.depth -= 1
        self.near.reads = self.depth <= 0


class NestedBelowZero(Nested):
    def pause_reading(self) -> None:
        self.depth = min(self.depth, 0)
        super().pause_reading()


class Losing(MemoryChannel):
    def pause_reading(self) -> None:
        super().pause_reading()
        if self.near.unread and self.near.unread[0]:
            self.near.unread.popleft()


class Mute(MemoryChannel):
    """Does not write while reading is paused."""

    async def settle(self) -> None:
        self.far.reads = self.near.reads
        await super().settle()


class Impatient(MemoryChannel):
    """Tells an end while paused."""

    async def settle(self) -> None:
        await super().settle()
        if not self.near.reads and b"" in self.near.unread:
            self.near.unread.remove(b"")
            self.disconnected("closed")


OF_BYTES: list[tuple[Kind, str]] = [
    (Ending, "a channel opens and stays"),
    (Disorderly, "order is kept"),
    (Short, "order is kept"),
    (Forgetful, "a loss is told once"),
    (Repeating, "a loss is told once"),
    (Hasty, "an end is told once, after what came before it"),
    (EndingWithResets, "an end is told once, after what came before it"),
    (EndingWithCloses, "an end is told once, after what came before it"),
    (Resentful, "late effects do no harm"),
    (Refusing, "late effects do no harm"),
    (Careless, "what was written before a close arrives"),
    (Resetting, "what was written before a close arrives"),
    (Careful, "an abort waits for nothing"),
    (Talkative, "nothing is told after Disconnect"),
    (TalkativeAfterAborts, "nothing is told after Disconnect"),
    (Bottomless, "what has not left is told, and when it has"),
    (Stuck, "what has not left is told, and when it has"),
    (Blocking, "writing does not hold the event loop"),
    (Greedy, "paused reading holds the far end back"),
    (Hoarding, "paused reading holds the far end back"),
    (Late, "paused reading holds the far end back"),
    (Leaking, "paused reading holds the far end back"),
    (Restless, "paused reading holds the far end back"),
    (Once, "paused reading holds the far end back"),
    (Strict, "pausing twice is pausing once"),
    (Nested, "pausing twice is pausing once"),
    (NestedBelowZero, "pausing twice is pausing once"),
    (Losing, "nothing is lost at a pause"),
    (Mute, "nothing is lost at a pause"),
    (Impatient, "an end waits while reading is paused"),
]


# --- of messages ------------------------------------------------------------------------------------------------------


class Damaging(BrokerChannel):
    """What becomes of a message on its way in; a subclass says it."""

    def tell(self, happened: str, *arguments: Any) -> None:
        if happened == "text_received":
            for each in self.damaged(arguments[0]):
                super().tell(happened, each)
        else:
            super().tell(happened, *arguments)

    def damaged(self, text: bytes) -> list[bytes]:
        raise NotImplementedError


class Merging(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        if text == b"the same" and self.told[-2:-1] == [("text", text)]:
            del self.told[-2:]  # the message, and the sign of life after it
            return [text + text]
        return [text]


class Cutting(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return [text[at : at + 262_144] for at in range(0, len(text) or 1, 262_144)]


class Truncating(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return [text[:262_144]]


class Latin1(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return [text.decode("latin-1").encode()]


class EndingAtNul(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return [text.partition(b"\0")[0]]


class SkippingEmpty(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return [text] if text else []


class Ascii(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return [text.decode("ascii", "replace").encode()]


class ThreeBytes(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return [re.sub("[^\0-\uffff]", "?", text.decode()).encode()]


class Lines(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return text.splitlines() or [text]


class Distinct(Damaging):
    def damaged(self, text: bytes) -> list[bytes]:
        return [] if text == b"the same" and ("text", text) in self.told else [text]


class DamagingOut(BrokerChannel):
    def write(self, data: bytes) -> None:
        super().write(data.strip() or data)


class Lifeless(BrokerChannel):
    def tell(self, happened: str, *arguments: Any) -> None:
        if happened != "bytes_received":
            super().tell(happened, *arguments)


class LifeAfterwards(Lifeless):
    def tell(self, happened: str, *arguments: Any) -> None:
        super().tell(happened, *arguments)
        if happened not in ("bytes_received", "unsent"):
            self.told.append(("bytes", b""))


class LifeOfMessages(BrokerChannel):
    """Takes pings and pongs for no signs of life."""

    def tell(self, happened: str, *arguments: Any) -> None:
        if happened in ("ping_received", "pong_received"):
            self.told.pop()
        super().tell(happened, *arguments)


class KeepingPings(BrokerChannel):
    def tell(self, happened: str, *arguments: Any) -> None:
        if happened != "ping_received":
            super().tell(happened, *arguments)


class Overtaking(BrokerChannel):
    def ping(self, payload: bytes) -> None:
        self.near.unsent.appendleft(b"?" + payload)
        self.near.unsent_bytes += len(payload) + 1

    def write(self, data: bytes) -> None:
        self.near.unsent.append(b"=" + data)
        self.near.unsent_bytes += len(data) + 1


class Answering(BrokerChannel):
    def tell(self, happened: str, *arguments: Any) -> None:
        super().tell(happened, *arguments)
        if happened == "ping_received":
            self.near.send(b"!", arguments[0])


class AnsweringWhilePaused(BrokerChannel):
    """As a library does that reads on by itself, and answers what it reads."""

    async def settle(self) -> None:
        await super().settle()
        if not self.near.reads and self.near.unread and self.near.unread[-1][:1] == b"?":
            self.far_log.tell("pong_received", self.near.unread[-1][1:])


class NormalCloses(BrokerChannel):
    def close_with(self, code: int, reason: str) -> None:
        super().close_with(1000, reason)


class AbnormalCloses(BrokerChannel):
    def tell(self, happened: str, *arguments: Any) -> None:
        super().tell(happened, *((1006, "") if happened == "close_received" else arguments))


class CodedCloses(BrokerChannel):
    """A close without a code gets one."""

    def far_close_with(self, code: int) -> None:
        super().far_close_with(1000 if code == 1005 else code)


class EndsForCloses(BrokerChannel):
    def tell(self, happened: str, *arguments: Any) -> None:
        if happened == "close_received":
            super().tell("disconnected", 1, "closed")
        else:
            super().tell(happened, *arguments)


class ClosingTwice(BrokerChannel):
    """Tells of the connection's end, too."""

    def close(self, *, abort: bool) -> None:
        if self.told and self.told[-1][0] == "close":
            self.tell("disconnected", 1, "closed")
        super().close(abort=abort)


class HastyCloses(BrokerChannel):
    async def settle(self) -> None:
        await super().settle()
        if not self.near.reads and self.near.unread and self.near.unread[-1][:1] == b".":
            self.tell("close_received", int(self.near.unread.pop()[1:] or b"1005"))


class AsciiReasons(BrokerChannel):
    def close_with(self, code: int, reason: str) -> None:
        super().close_with(code, reason.encode("ascii").decode())


class EndingAfterCloses(BrokerChannel):
    """Tells of the connection's end, too."""

    def far_close(self, *, abort: bool) -> None:
        super().far_close(abort=abort)
        if self.told and self.told[-1][0] == "close":
            self.tell("disconnected", "closed")


class SendingAfterCloses(BrokerChannel):
    """Its far end reads all that is sent."""

    is_closing = False

    def close_with(self, code: int, reason: str) -> None:
        super().close_with(code, reason)
        self.is_closing = True

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.is_closing:
            self.far_log.tell("text_received", data)


class PingsAfterwards(BrokerChannel):
    """Tells of pings after `Disconnect`."""

    def far_ping(self, payload: bytes) -> None:
        super().far_ping(payload)
        if self.near.is_over:
            self.tell("ping_received", payload)


class LateRaise(BrokerChannel):
    def pong(self, payload: bytes) -> None:
        if self.near.is_over:
            raise OSError("closed")
        super().pong(payload)


class LosingMessages(BrokerChannel):
    """Drops a message that came while paused."""

    def resume_reading(self) -> None:
        if self.near.unread and self.near.unread[0][:1] == b"=":
            self.near.publish(b"+%d" % len(self.near.unread.popleft()))
        super().resume_reading()


OF_MESSAGES: list[tuple[Kind, str]] = [
    (Merging, "messages arrive whole, as they were sent"),
    (Cutting, "the largest message arrives"),
    (Truncating, "the largest message arrives"),
    (Latin1, "messages arrive whole, as they were sent"),
    (EndingAtNul, "messages arrive whole, as they were sent"),
    (SkippingEmpty, "messages arrive whole, as they were sent"),
    (Ascii, "messages arrive whole, as they were sent"),
    (ThreeBytes, "messages arrive whole, as they were sent"),
    (Lines, "messages arrive whole, as they were sent"),
    (Distinct, "messages arrive whole, as they were sent"),
    (DamagingOut, "messages arrive whole, as they were sent"),
    (Lifeless, "a sign of life comes before what was read"),
    (LifeAfterwards, "a sign of life comes before what was read"),
    (LifeOfMessages, "a sign of life comes before what was read"),
    (KeepingPings, "pings and pongs keep their place among messages"),
    (Overtaking, "pings and pongs keep their place among messages"),
    (Answering, "a pong leaves only when the protocol asks for it"),
    (AnsweringWhilePaused, "a pong leaves only when the protocol asks for it"),
    (NormalCloses, "a close keeps its code"),
    (AbnormalCloses, "a close keeps its code"),
    (CodedCloses, "a close keeps its code"),
    (EndsForCloses, "a close keeps its code"),
    (AsciiReasons, "a close keeps its code"),
    (EndingAfterCloses, "nothing is told after a close"),
    (SendingAfterCloses, "nothing is sent after a close"),
    (PingsAfterwards, "nothing is told after Disconnect"),
    (ClosingTwice, "a close is answered once"),
    (HastyCloses, "a close waits while reading is paused"),
    (LateRaise, "late effects do no harm"),
    (LosingMessages, "nothing is lost at a pause"),
]


@pytest.mark.parametrize(("kind", "rule"), [*OF_BYTES, *OF_MESSAGES])
async def test_a_channel_that_breaks_a_rule_is_found_out_by_its_name(kind: Kind, rule: str) -> None:
    assert rule in await broken_by(kind)


def test_every_rule_has_a_channel_that_breaks_it() -> None:
    of_openings = {"opening can be given up"}  # they are in test_channels.py
    assert {rule for _, rule in [*OF_BYTES, *OF_MESSAGES]} | of_openings == set(CHANNEL_RULES)


# --- over sockets, in either role -------------------------------------------------------------------------------------


class HoardingLibrary(WebSocketsChannel):
    """Reads on while paused, and keeps what it reads in a queue."""

    def __init__(self, near: WebSocketEnd, far: WebSocketEnd) -> None:
        super().__init__(near, far)
        self.is_paused = False
        self.heard: list[tuple[str, bytes | int]] = []

    @property
    def told(self) -> list[tuple[str, bytes | int]]:
        if not self.is_paused:
            self.heard += self.near.told[len(self.heard) :]
        return self.heard

    def pause_reading(self) -> None:
        self.heard = list(self.told)
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class LatePauses(WebSocketsChannel):
    """Has another task pause, which comes to it later."""

    pauses_in: int | None = None

    def pause_reading(self) -> None:
        self.pauses_in = 30

    def resume_reading(self) -> None:
        self.pauses_in = None
        super().resume_reading()

    async def settle(self) -> None:
        await super().settle()
        if self.pauses_in is not None:
            self.pauses_in -= 1
            if not self.pauses_in:
                super().pause_reading()


class ClosingWithoutReading(WebSocketsChannel):
    """Closes its socket while something is to be read: what was written is lost by the reset."""

    def close(self, *, abort: bool) -> None:
        self.near.is_over = True
        self.near.transport.close()


@pytest.mark.parametrize("role", ["agent", "platform"])
@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        (HoardingLibrary, "paused reading holds the far end back"),
        (LatePauses, "paused reading holds the far end back"),
        (ClosingWithoutReading, "what was written before a close arrives"),
    ],
)
async def test_mistakes_over_sockets_are_found_in_either_role(
    role: str, kind: type[WebSocketsChannel], rule: str
) -> None:
    with pytest.raises(ChannelError) as error:
        await check_channel(lambda: websockets_channel(role, kind))
    assert rule in {each.rule for each in error.value.broken}


# --- what is said -----------------------------------------------------------------------------------------------------


class SeveralMistakes(EndingAtNul):
    def pong(self, payload: bytes) -> None:
        super().pong(payload + b"!")

    def close(self, *, abort: bool) -> None:
        super().close(abort=False)


async def test_all_broken_rules_are_told_at_once_with_what_came() -> None:
    found = await broken_by(SeveralMistakes)
    assert list(found) == [
        "an abort waits for nothing",
        "messages arrive whole, as they were sent",
        "pings and pongs keep their place among messages",
        "a pong leaves only when the protocol asks for it",
    ]
    (damaged,) = found["messages arrive whole, as they were sent"]
    assert str(damaged) == (
        "messages arrive whole, as they were sent: expected the 21 messages that were sent; "
        r"the protocol has b'' (0 bytes) as message 3, which was b'\x00' (1 bytes) [MSG-6]"
    )


async def test_a_wrong_close_code_breaks_one_rule() -> None:
    assert set(await broken_by(AbnormalCloses)) == {"a close keeps its code"}


async def test_it_says_what_came_in_place_of_what() -> None:
    (skipped,) = (await broken_by(SkippingEmpty))["messages arrive whole, as they were sent"]
    assert skipped.came == r"the protocol has b'\x00' (1 bytes) as message 2, which was b'' (0 bytes)"
    (cut,) = (await broken_by(Truncating))["the largest message arrives"]
    assert "… (262144 bytes) as message 1, which was " in cut.came
    closes = (await broken_by(NormalCloses))["a close keeps its code"]
    assert [(each.expected, each.came) for each in closes] == [
        (f"close {code} in place 2 of what is told", "the far end was told close 1000")
        for code in (1001, 1005, 4401, 4409)
    ]
    (short,) = (await broken_by(Short))["order is kept"]
    assert (short.expected, short.came) == (
        "the 48395 bytes that were sent",
        "the protocol has other bytes, 37111 in all",
    )


async def test_what_a_channel_raises_breaks_the_rule_that_was_looked_at() -> None:
    found = await broken_by(Refusing)
    assert [each.came for each in found["late effects do no harm"]] == ["OSError('not connected') was raised"]


async def test_a_channel_that_cannot_be_opened_is_told_once() -> None:
    @asynccontextmanager
    async def factory() -> AsyncGenerator[Channel]:
        raise OSError("no route")
        yield MemoryChannel()

    with pytest.raises(ChannelError) as error:
        await check_channel(factory)
    assert [(each.rule, each.came) for each in error.value.broken] == [
        ("a channel opens and stays", "OSError('no route') was raised")
    ]


async def test_what_fails_behind_a_channel_is_told_without_its_group() -> None:
    async def fail() -> None:
        raise OSError("the reader died")

    @asynccontextmanager
    async def factory() -> AsyncGenerator[Channel]:
        async with anyio.create_task_group() as tasks:
            yield MemoryChannel()
            tasks.start_soon(fail)

    with pytest.raises(ChannelError, match=r"OSError\('the reader died'\) was raised"):
        await check_channel(factory)


class Hanging(MemoryChannel):
    """Hangs once it is paused."""

    async def settle(self) -> None:
        await super().settle()
        if not self.near.reads:
            await anyio.sleep_forever()


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"loop_factory": VirtualTimeLoop})])
async def test_a_channel_that_hangs_breaks_the_rule_if_the_factory_has_a_time_out() -> None:
    @asynccontextmanager
    async def factory() -> AsyncGenerator[Channel]:
        with anyio.fail_after(60):
            yield Hanging()

    with pytest.raises(ChannelError) as error:
        await check_channel(factory)
    assert {each.rule for each in error.value.broken} == {
        "what was written before a close arrives",
        "paused reading holds the far end back",
        "pausing twice is pausing once",
        "nothing is lost at a pause",
        "an end waits while reading is paused",
    }
    assert {each.came for each in error.value.broken} == {"TimeoutError() was raised"}
