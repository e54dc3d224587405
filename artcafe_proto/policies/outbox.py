"""Responses and messages on their way to the platform (CMD-3, CMD-11).

The wire knows no acknowledgement, but an endpoint reads its messages in order: what was sent before a ping has been
read when the pong comes. So an item waits, is sent, and is settled by the next such pong; until then a lost link makes
it unsent again. One ping is under way at a time, and everything sent before it shares it.

An item may be what a link ends of, and nothing says so. When links in a row have ended right after items went out, or
one with 1007 after several, the next begins with one of them, and twice as many each time that all are settled: so a
poisoned one comes to be the first that is sent. If three links have ended with it, the next does without it. Should
that live, it is tried once more.

A peer that has never answered a ping cannot tell. What was sent to it settles some time after it has left, and that is
told as the assumption it is. Once a peer has answered a ping, nothing settles without.

A transport whose pongs say nothing about what was read may acknowledge each item instead, or leave it to time alone.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from artcafe_proto.errors import ConfigError
from artcafe_proto.limits import (
    MAX_CAUTIOUS_ITEMS,
    MAX_FRUITLESS_LINKS,
    MAX_UNSETTLED_MESSAGE_BYTES,
    MAX_UNSETTLED_MESSAGES,
    MAX_UNSETTLED_RESPONSE_BYTES,
    MAX_UNSETTLED_RESPONSES,
    SETTLE_WITHOUT_PONG_S,
    SUDDEN_END_S,
)
from artcafe_proto.messages import read_name

if TYPE_CHECKING:
    from artcafe_proto.links import LinkEnd

SettledBy = Literal["pong", "acknowledgement", "time"]
"""What tells that a message was read (CMD-3)."""


class Item(msgspec.Struct, gc=False):
    """A message, and what it answers: `command_id` of a response, None for an application message."""

    message_id: str
    payload: bytes
    command_id: str | None = None
    sent_at: float = 0.0
    fruitless_links: int = 0
    """Links in a row that it was the first to be sent on, and that ended right after (CMD-11)."""
    n: int = 0
    """The number of an application message's record in a journal; 0 without one."""


class Outbox:
    """Items in order: those that wait, behind those that were sent on the current link."""

    def __init__(self, settled_by: SettledBy = "pong") -> None:
        """Raises ConfigError for another `settled_by` than these three."""
        if settled_by not in get_args(SettledBy):
            raise ConfigError(f"expected settled_by to be {', '.join(get_args(SettledBy))}, not {settled_by!r}")
        self.settled_by: Final[SettledBy] = settled_by
        self._goes_by_pongs = settled_by == "pong"
        self._goes_by_names = settled_by == "acknowledgement"
        self._unstored: deque[tuple[int, Item]] = deque()  # with the batches that they wait for
        self._waiting: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._named: dict[str, Item] = {}  # those that were sent, by the ids that an acknowledgement names
        self._ping: int | None = None
        self._place = 0  # on the connection, behind what is to be settled next and its ping
        self._left_at: float | None = None  # when that had left
        self._covered = 0
        self._group = 0  # how many go out at a time, the next when they are settled; 0: any number
        self._held: Item | None = None  # does not go out on this link
        self._tried: Item | None = None  # was held, and goes out as the link lives
        self.has_ponged: bool = False
        """Whether the peer has ever answered a ping."""
        self.is_assuming: bool = settled_by == "time"
        """Whether the peer is taken on this link as one that answers no pings."""
        self._responses = 0
        self._response_bytes = 0
        self.messages: int = 0
        """Application messages that are not settled."""
        self.message_bytes: int = 0

    # --- look ---------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._unstored) + len(self._waiting) + len(self._sent) + (self._held is not None)

    @property
    def waiting(self) -> int:
        """How many items wait to be sent."""
        return len(self._unstored) + len(self._waiting) + (self._held is not None)

    def has_place(self, reserved: int) -> bool:
        """Whether one more command may be accepted, and so answered, beside `reserved` that still are to be."""
        return (
            self._responses + reserved < MAX_UNSETTLED_RESPONSES and self._response_bytes < MAX_UNSETTLED_RESPONSE_BYTES
        )

    def takes_message(self, size_bytes: int) -> bool:
        """Whether one more application message of this size may be put; one alone may, however large."""
        fits = self.message_bytes + size_bytes <= MAX_UNSETTLED_MESSAGE_BYTES
        return not self.messages or (fits and self.messages < MAX_UNSETTLED_MESSAGES)

    @property
    def unsettled_commands(self) -> list[str]:
        """Ids of the commands whose responses are not settled."""
        return [item.command_id for item in self._items() if item.command_id]

    @property
    def unsettled_messages(self) -> list[str]:
        """Ids of the application messages that are not settled."""
        return [item.message_id for item in self._items() if not item.command_id]

    def _items(self) -> tuple[Item, ...]:
        unstored = [item for _, item in self._unstored]
        return (*(() if self._held is None else (self._held,)), *self._sent, *self._waiting, *unstored)

    @property
    def is_uncovered(self) -> bool:
        """Whether something was sent, and nothing is under way that settles it: time for a ping."""
        return self._ping is None and bool(self._sent) and not self._goes_by_names

    @property
    def has_news(self) -> bool:
        """Whether there is something to send: an item, or the ping that settles those before it."""
        return (bool(self._waiting) and not (self._group and self._sent)) or self.is_uncovered

    def deadline(self, ping_timeout_s: float) -> float | None:
        """When to call `assume` next; None if nothing can settle without a pong."""
        if self._ping is None or self._left_at is None or (self.has_ponged and self._goes_by_pongs):
            return None
        return self._left_at + max(SETTLE_WITHOUT_PONG_S, ping_timeout_s)

    # --- the way of an item -------------------------------------------------------------------------------------------

    def put(self, item: Item, batch: int | None = None) -> None:
        """Let an item wait behind the others, and first for a batch to be stored, if one is named."""
        if batch is None:
            self._waiting.append(item)
        else:
            self._unstored.append((batch, item))
        if item.command_id is None:
            self.messages += 1
            self.message_bytes += len(item.payload)
        else:
            self._responses += 1
            self._response_bytes += len(item.payload)

    def stored_up_to(self, batch: int) -> None:
        """All batches up to this one are stored."""
        while self._unstored and self._unstored[0][0] <= batch:
            self._waiting.append(self._unstored.popleft()[1])

    def send(self, room: int, mono: float) -> list[Item]:
        """What waits and may go out, now taken as sent: as many as `room` bytes begin to hold, the last one perhaps
        beyond them.
        """
        if not self._group and self._response_bytes + self.message_bytes < room:  # all fit: the usual case, made quick
            items = list(self._waiting)
            self._waiting.clear()
        else:
            items = self._take_some(room)
        for item in items:
            item.sent_at = mono
        self._sent.extend(items)
        if self._goes_by_names:
            self._named.update((read_name(item.payload).id, item) for item in items)
        return items

    def _take_some(self, room: int) -> list[Item]:
        items: list[Item] = []
        most = len(self._waiting)
        if self._group:
            most = 0 if self._sent else min(self._group, most)
        while room > 0 and len(items) < most:
            items.append(self._waiting.popleft())
            room -= len(items[-1].payload)
        return items

    def release(self, *, last: bool = False) -> bool:
        """The link lives, so what was held goes out next and alone; with `last` it does behind all others. Whether
        anything was held.
        """
        held, self._held = self._held, None
        if held is None:
            return False
        if last:
            self._waiting.append(held)
        else:
            self._waiting.appendleft(held)
            self._tried = held
            self._group = 1
        return True

    def cover(self, link: LinkEnd, mono: float) -> None:
        """Everything sent so far is to be settled by a ping, or by time if the peer answers none."""
        self._ping = 0 if self.is_assuming else link.ping(mono)
        self._place = link.outflow.written
        self._left_at = None
        self._covered = len(self._sent)
        self.watch(link, mono)

    def watch(self, link: LinkEnd, mono: float) -> None:
        """See whether the ping has left. Once it was only taken to have, a report may say that it has not."""
        if self._ping is None:
            return
        if not link.outflow.has_left(self._place):
            self._left_at = None
        elif self._left_at is None:
            self._left_at = mono

    def ponged(self, answered: int) -> list[Item]:
        """All pings up to `answered` are answered: what that settles."""
        if not answered:
            return []
        self.has_ponged = True
        if not self._goes_by_pongs:
            return []
        if self.is_assuming:  # what was sent since has no ping behind it, and gets one now
            self.is_assuming, self._ping = False, None
        if self._ping is None or answered < self._ping:
            return []
        return self._settle_covered()

    def acked(self, message_id: str) -> list[Item]:
        """The message of this id was acknowledged: what that settles."""
        item = self._named.pop(message_id, None)
        if item is None:
            return []
        self._sent.remove(item)
        self._discount([item])
        self._regroup([item])
        return [item]

    def assume(self, link: LinkEnd, mono: float, ping_timeout_s: float) -> list[Item]:
        """What settles without a pong: it has left long enough ago, and the peer still lives and has never answered."""
        due = self.deadline(ping_timeout_s)
        if due is None or mono < due:
            return []
        if self._left_at is None or not link.liveness.heard_since(self._left_at):
            self._left_at = mono  # whether the link lives is still to be found out (LINK-7)
            return []
        self.is_assuming = True
        self._group = 0  # what is out has been out for long
        return self._settle_covered()

    def link_lost(self, mono: float, *, close_code: int = 0) -> Item | None:
        """What was sent waits again, in order. Returns the item that the link has ended of, and takes it out (CMD-11).

        `close_code`: of the platform's close frame. Of 1009 the largest item is the cause, of 1007 one that was alone.
        """
        held, tried = self._held, self._tried
        self._held = self._tried = self._ping = None
        suspect, is_verdict = None, close_code == 1009 or (close_code == 1007 and len(self._sent) == 1)
        if self._sent:
            suspect = max(self._sent, key=_size_of) if close_code == 1009 else self._sent[0]
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        self._named.clear()
        self.is_assuming = self.settled_by == "time"
        if held is not None:  # without it the link did not live either
            held.fruitless_links = 0
            self._waiting.appendleft(held)
        if suspect is None:
            return None
        is_sudden = mono - suspect.sent_at <= SUDDEN_END_S
        if is_verdict or (suspect is tried and is_sudden):
            self._waiting.remove(suspect)
            self._discount([suspect])
            return suspect
        suspect.fruitless_links = suspect.fruitless_links + 1 if is_sudden else 0
        self._group = int(close_code == 1007 or (is_sudden and (self._group > 0 or suspect.fruitless_links > 1)))
        if suspect.fruitless_links == MAX_FRUITLESS_LINKS:
            self._waiting.remove(suspect)
            self._held = suspect
        return None

    def _settle_covered(self) -> list[Item]:
        self._ping = None
        settled = [self._sent.popleft() for _ in range(self._covered)]
        self._discount(settled)
        if self._group:
            self._regroup(settled)
        return settled

    def _regroup(self, settled: list[Item]) -> None:
        if self._group and not self._sent and self._tried in (None, *settled):
            self._tried = None
            self._group = 2 * self._group if self._group < MAX_CAUTIOUS_ITEMS and not self.is_assuming else 0

    def _discount(self, items: list[Item]) -> None:
        responses = response_bytes = 0
        for item in items:
            if item.command_id is None:
                self.messages -= 1
                self.message_bytes -= len(item.payload)
            else:
                responses += 1
                response_bytes += len(item.payload)
        self._responses -= responses
        self._response_bytes -= response_bytes


def _size_of(item: Item) -> int:
    return len(item.payload)
