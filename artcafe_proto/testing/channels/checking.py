"""`check_channel`, and its table of rules."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from artcafe_proto.testing.channels import message_rules, opening_rules, rules
from artcafe_proto.testing.channels.examining import BrokenRule, Examination, GaveUpError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from artcafe_proto.testing.channels.channel import Channel, MessageChannel, Opening

    Factory = Callable[[], AbstractAsyncContextManager[Channel | MessageChannel]]
    OpeningLook = Callable[[Opening], AsyncIterator[tuple[str, str]]]
    OpeningFactory = Callable[[], AbstractAsyncContextManager[Opening]]
    Look = Callable[[Examination], Awaitable[None]]

__all__ = ["CHANNEL_RULES", "ChannelError", "check_channel"]


class ChannelError(AssertionError):
    """A transport has broken rules."""

    def __init__(self, broken: tuple[BrokenRule, ...]) -> None:
        super().__init__("\n".join(["the transport breaks these rules:", *map(str, broken)]))
        self.broken: Final = broken
        """All of them; a rule may be there several times, with other expectations."""


class _Rule(NamedTuple):
    clause: str
    looks: Sequence[Look]
    """Each on a channel of its own."""
    needs: str = ""


_MESSAGES: Final = "messages"
_CLOCK: Final = "a clock"
_OPENS: Final = "a channel opens and stays"
_RULES: Final[dict[str, _Rule]] = {
    _OPENS: _Rule("LINK-1", [rules.opens]),
    "order is kept": _Rule("CMD-3", [rules.order]),
    "a loss is told once": _Rule("LINK-3", [rules.loss]),
    "an end is told once, after what came before it": _Rule(
        "LINK-3", [rules.end, rules.end_then_reset, rules.end_then_close]
    ),
    "late effects do no harm": _Rule("LINK-9", [rules.late_effects]),
    "what was written before a close arrives": _Rule("STAT-3", [rules.close, rules.close_while_paused]),
    "an abort waits for nothing": _Rule("LINK-10", [rules.abort]),
    "nothing is told after Disconnect": _Rule("LINK-9", [rules.after_close, rules.after_abort]),
    "what has not left is told, and when it has": _Rule("LINK-8", [rules.unsent]),
    "writing does not hold the event loop": _Rule("LINK-8", [rules.writes_at_once], _CLOCK),
    "paused reading holds the far end back": _Rule("LINK-8", [rules.holds_back]),
    "pausing twice is pausing once": _Rule("LINK-8", [rules.pauses_once, rules.resumes_once]),
    "nothing is lost at a pause": _Rule("CMD-3", [rules.loses_nothing]),
    "an end waits while reading is paused": _Rule("LINK-3", [rules.end_waits]),
    "messages arrive whole, as they were sent": _Rule("MSG-6", [message_rules.whole_messages], _MESSAGES),
    "the largest message arrives": _Rule("MSG-6", [message_rules.largest_messages], _MESSAGES),
    "a sign of life comes before what was read": _Rule("LINK-7", [message_rules.signs_of_life], _MESSAGES),
    "pings and pongs keep their place among messages": _Rule(
        "CMD-3", [message_rules.places_out, message_rules.places_in], _MESSAGES
    ),
    "a pong leaves only when the protocol asks for it": _Rule(
        "CMD-3", [message_rules.no_pong_of_its_own, message_rules.no_pong_while_paused], _MESSAGES
    ),
    "a close keeps its code": _Rule("LINK-6", [*message_rules.CODES_OUT, *message_rules.CODES_IN], _MESSAGES),
    "a close is answered once": _Rule(
        "LINK-9", [message_rules.answered_close, message_rules.crossing_closes], _MESSAGES
    ),
    "nothing is told after a close": _Rule(
        "LINK-9",
        [message_rules.close_then_end, message_rules.answer_then_end, message_rules.answered_then_end],
        _MESSAGES,
    ),
    "nothing is sent after a close": _Rule("STAT-3", [message_rules.last_words], _MESSAGES),
    "a close waits while reading is paused": _Rule("LINK-3", [message_rules.close_waits], _MESSAGES),
}
_GIVES_UP: Final = "opening can be given up"
_OPENINGS: Final = (
    opening_rules.opens,
    partial(opening_rules.given_up, abort=True),
    partial(opening_rules.given_up, abort=False),
)
CHANNEL_RULES: Final = (*_RULES, _GIVES_UP)
"""What `check_channel` looks at, by its name."""


async def check_channel(
    factory: Factory, *, clock: Callable[[], float] | None = None, opening: OpeningFactory | None = None
) -> tuple[str, ...]:
    """Put a transport to every rule that fits it, and return the names of those that were not looked at.

    `factory()` opens one connection over the transport and returns it as a `Channel`, or a `MessageChannel` where the
    transport frames messages by itself, in an `async with` block at whose end it is taken down. Each rule is looked at
    on channels of its own. Nothing here belongs to an event loop, so the check runs on any.

    Raises ChannelError that lists all that is broken: the rule, what was expected, what came, and the clause. What a
    channel raises breaks the rule that was looked at. The check waits for nothing but `settle`, so often at most; for
    one that may hang, put the event loop's own time-out around the channel in `factory`. If a channel cannot even be
    opened, nothing else is looked at.

    `opening()` is the same for a connection that is not open yet, an `Opening`.

    Not looked at are the rules of messages for a transport of bytes; without a `clock` (`time.perf_counter`, in
    seconds) how long writing holds the event loop; and without `opening` whether it can be given up.
    """
    broken: list[BrokenRule] = []
    lacks: set[str] = set() if clock is not None else {_CLOCK}
    for name, rule in _RULES.items():
        for look in rule.looks if rule.needs not in lacks else ():
            examination = Examination(clock)
            await _examine(factory, look, examination)
            found = [BrokenRule(name, expected, came, rule.clause) for expected, came in examination.broken]
            broken += [each for each in found if each not in broken]
            if name == _OPENS and broken:
                raise ChannelError(tuple(broken))
            if not examination.has_messages:
                lacks.add(_MESSAGES)
    if opening is not None:
        for look in _OPENINGS:
            broken += [BrokenRule(_GIVES_UP, *found, "LINK-8") for found in await _examine_opening(opening, look)]
    if broken:
        raise ChannelError(tuple(broken))
    not_looked_at = [name for name, rule in _RULES.items() if rule.needs in lacks]
    return (*not_looked_at, *([_GIVES_UP] if opening is None else []))


async def _examine_opening(factory: OpeningFactory, look: OpeningLook) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    try:
        async with factory() as opening:
            found += [each async for each in look(opening)]
    except Exception as error:
        found.append(("no error", f"{error!r} was raised"))
    return found


async def _examine(factory: Factory, look: Look, examination: Examination) -> None:
    """Look at something on a channel of its own."""
    try:
        async with factory() as channel:
            examination.channel = channel
            try:
                await look(examination)
            except GaveUpError:
                pass
            except Exception as error:  # here: a factory may have a task group, which would wrap it
                examination.raised(error)
    except Exception as error:
        examination.raised(error)
