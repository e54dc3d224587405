"""What `check_channel` asks of a connection that is given up before it is open."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from artcafe_proto.testing.channels.examining import Examination


async def opens(check: Examination) -> None:
    """It opens once the far end lets it, or else the other looks say nothing."""
    opening = check.opening
    opening.far_lets_open()
    await check.until(
        lambda: opening.opened > 0, "the connection to open once the far end lets it", lambda: "it did not"
    )


async def _given_up(check: Examination, *, abort: bool) -> None:
    """`Disconnect` ends the opening, though the far end would let it open."""
    opening = check.opening
    opening.close(abort=abort)
    await check.a_while()
    opening.far_lets_open()
    ended = await check.waits(lambda: opening.far_has_ended)
    check.expect(ended, "a connection that was given up to end", "it stays")
    await check.a_while()
    is_quiet = not opening.opened and not opening.failures
    expected = "nothing to be told of a connection that was given up"
    check.expect(is_quiet, expected, "it was told to be open, or to have failed")


GIVEN_UP: Final[list[Callable[[Examination], Awaitable[None]]]] = [
    partial(_given_up, abort=True),
    partial(_given_up, abort=False),
]
