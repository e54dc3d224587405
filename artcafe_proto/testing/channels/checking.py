"""`check_channel`, and its table of rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from artcafe_proto.testing.channels import message_rules, opening_rules, rules
from artcafe_proto.testing.channels.examining import BrokenRule, Examination, GaveUpError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from artcafe_proto.testing.channels.channel import Channel, MessageChannel, Opening

    Factory = Callable[[], AbstractAsyncContextManager[Channel | MessageChannel]]
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
_OPENING: Final = "an opening"
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
    "opening can be given up": _Rule("LINK-8", [opening_rules.opens, *opening_rules.GIVEN_UP], _OPENING),
}
CHANNEL_RULES: Final = tuple(_RULES)
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
    lacks = {what for what, given in ((_CLOCK, clock), (_OPENING, opening)) if given is None}
    for name, rule in _RULES.items():
        make = opening if opening is not None and rule.needs == _OPENING else factory
        for look in rule.looks if rule.needs not in lacks else ():
            examination = Examination(clock)
            await _examine(make, look, examination)
            found = [BrokenRule(name, expected, came, rule.clause) for expected, came in examination.broken]
            broken += [each for each in found if each not in broken]
            if name == _OPENS and broken:
                raise ChannelError(tuple(broken))
            if name == _OPENS and not examination.has_messages:
                lacks.add(_MESSAGES)
    if broken:
        raise ChannelError(tuple(broken))
    return tuple(name for name, rule in _RULES.items() if rule.needs in lacks)


async def _examine(factory: Factory | OpeningFactory, look: Look, examination: Examination) -> None:
    """Look at something on a channel of its own."""
    try:
        async with factory() as connection:
            examination.connection = connection
            try:
                await look(examination)
            except GaveUpError:
                pass
            except Exception as error:  # here: a factory may have a task group, which would wrap it
                examination.raised(error)
    except Exception as error:
        examination.raised(error)
