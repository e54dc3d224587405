"""docs/nats.md: one end of its link by itself, without a server: what it makes of what it is sent, and of silence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from artcafe_proto.effects import Disconnect, SendText
from support.nats_server import printed, programs


class LoneEnd:
    """An end of the page, what it has told, and what it has published."""

    def __init__(self, *, is_paused: bool = False) -> None:
        self.link, _, _ = programs()
        self.said: list[bytes] = []
        self.told: list[tuple[Any, ...]] = []
        self.end = self.link.LinkEnd(self.said.append)
        self.end.reads = not is_paused
        self.end.begin(self.tell)

    def tell(self, *told: Any) -> None:
        self.told.append(told)

    async def hear(self, *frames: tuple[bytes, bytes], first: int = 0) -> list[tuple[Any, ...]]:
        """What it tells of these frames, but for signs of life."""
        for number, (kind, payload) in enumerate(frames, first):
            self.end.arrived(kind + number.to_bytes(8, "big") + payload)
        await asyncio.sleep(0)
        return [told for told in self.told if told[0] not in ("bytes_received", "unsent")]

    @property
    def kinds(self) -> bytes:
        """Of the frames it has published."""
        return b"".join(frame[:1] for frame in self.said)


LARGE = b"x" * 65_536


@pytest.mark.parametrize(
    ("frames", "first", "expected"),
    [
        ([(b"T", b"the second")], 1, ("disconnected", "a frame was lost")),
        ([(b"", b"")], 0, ("disconnected", "a frame was lost")),
        ([(b"?", b"")], 0, ("disconnected", "the other end sent what is no frame")),
        ([(b"R", b"\xff" * 4)], 0, ("disconnected", "the other end has read more than there was")),
        ([(b"T", LARGE)] * 6, 0, ("disconnected", "the other end sends more than may be unread")),
        ([(b"X", b"")], 0, ("disconnected", "the other end has ended it")),
        ([(b"C", b"\x03\xe8bye")], 0, ("close_received", 1000, "bye")),
        ([(b"C", b"")], 0, ("close_received", 1005, "")),
    ],
)
def test_what_an_end_is_sent_that_ends_it_is_told_once(
    frames: list[tuple[bytes, bytes]], first: int, expected: tuple[Any, ...]
) -> None:
    async def main() -> None:
        lone = LoneEnd()
        assert await lone.hear(*frames, first=first) == [expected]
        assert await lone.hear((b"T", b"late"), first=first + len(frames)) == [expected]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("frames", "code"),
    [([(b"t", b"\xe9"), (b"T", b"t\xe9")], 1007), ([(b"t", LARGE)] * 4, 0), ([(b"t", LARGE)] * 16, 1009)],
)
def test_msg_6_what_is_no_message_is_told(frames: list[tuple[bytes, bytes]], code: int) -> None:
    async def main() -> None:
        lone = LoneEnd()
        told = []
        for number, frame in enumerate([*frames, (b"t", b"x")]):
            told = await lone.hear(frame, first=number)
        assert [each[1].code for each in told] == ([code] if code else [])

    asyncio.run(main())


def test_link_7_an_end_that_hears_nothing_takes_the_other_one_for_gone() -> None:
    async def main() -> None:
        lone = LoneEnd()
        for _ in range(lone.link.LOOKS):
            lone.end.look()
        assert await lone.hear((b"A", b"")) == []
        for _ in range(lone.link.LOOKS):
            lone.end.look()
        assert await lone.hear() == []
        lone.end.look()
        assert await lone.hear() == [("disconnected", "nothing was heard of the other end")]
        assert lone.kinds == b"A" * 2 * lone.link.LOOKS + b"X"
        assert lone.end.over.is_set()

    asyncio.run(main())


def test_link_10_an_end_that_is_closed_does_not_wait_for_one_that_never_reads() -> None:
    async def main() -> None:
        lone = LoneEnd()
        for _ in range(6):
            lone.end.carry_out(SendText(1, LARGE))
        lone.end.carry_out(Disconnect(1, abort=False))
        for number in range(lone.link.LOOKS):
            assert await lone.hear((b"A", b""), first=number) == []
            lone.end.look()
        assert not lone.end.over.is_set()
        lone.end.look()
        assert lone.end.over.is_set()
        assert lone.kinds == b"TTTT" + b"A" * lone.link.LOOKS + b"X"

    asyncio.run(main())


def test_what_is_printed_is_readable() -> None:
    for name in ("link", "agent", "platform"):
        lines = printed(name).splitlines()
        assert max(map(len, lines)) <= 120
        assert not [line for line in lines if ";" in line]
