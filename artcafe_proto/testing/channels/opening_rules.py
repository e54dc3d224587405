"""What `check_channel` asks of a connection that is given up before it is open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.testing.channels.examining import A_FEW_MOMENTS, MOMENTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from artcafe_proto.testing.channels.channel import Opening

Broken = tuple[str, str]


async def opens(opening: Opening) -> AsyncIterator[Broken]:
    """It opens once the far end lets it, or else the other rule says nothing."""
    opening.far_lets_open()
    if not await _waits(opening, lambda: opening.opened > 0):
        yield "the connection to open once the far end lets it", "it did not"


async def given_up(opening: Opening, *, abort: bool) -> AsyncIterator[Broken]:
    """`Disconnect` ends the opening, though the far end would let it open."""
    opening.close(abort=abort)
    await _moments(opening)
    opening.far_lets_open()
    if not await _waits(opening, lambda: opening.far_has_ended):
        yield "a connection that was given up to end", "it stays"
    await _moments(opening)
    if opening.opened or opening.failures:
        yield "nothing to be told of a connection that was given up", "it was told to be open, or to have failed"


async def _moments(opening: Opening) -> None:
    for _ in range(A_FEW_MOMENTS):
        await opening.settle()


async def _waits(opening: Opening, holds: Callable[[], bool]) -> bool:
    for _ in range(MOMENTS):
        if holds():
            return True
        await opening.settle()
    return holds()
