"""Responses and messages on their way to the platform (CMD-3, CMD-11).

The wire knows no acknowledgement, but an endpoint reads its messages in order: what was sent before a ping has been
read when the pong comes. So an item waits, is sent, and is settled by the next such pong; until then a lost link makes
it unsent again. One ping is under way at a time, and everything sent before it shares it.

An item may be what a link ends of, and nothing says so. When links in a row have ended right after items went out, the
next begins with one of them, and twice as many each time that all are settled: so a poisoned one comes to be the first
that is sent. If three links have ended with it, the next does without it. Should that live, it is tried once more.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

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

if TYPE_CHECKING:
    from artcafe_proto.policies.liveness import Liveness


class Item(msgspec.Struct, gc=False):
    """A message, and what it answers: `command_id` of a response, None for an application message."""

    message_id: str
    payload: bytes
    command_id: str | None = None
    sent_at: float = 0.0
    fruitless_links: int = 0
    """Links in a row that it was the first to be sent on, and that ended right after (CMD-11)."""


class Outbox:
    """Items in order: those that wait, behind those that were sent on the link of now."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._ping: int | None = None
        self._ping_sent_at = 0.0
        self._covered = 0
        self._group = 0  # how many go out at a time, the next when they are settled; 0: any number
        self._held: Item | None = None  # does not go out on this link
        self._tried: Item | None = None  # was held, and goes out as the link lives
        self.peer_pongs = True
        """Whether the peer is taken as one that answers pings."""
        self._responses = 0
        self._response_bytes = 0
        self.messages = 0
        """Application messages that are not settled."""
        self.message_bytes = 0

    # --- look ---------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent) + (self._held is not None)

    @property
    def waiting(self) -> int:
        """How many items wait to be sent."""
        return len(self._waiting) + (self._held is not None)

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
        return (*(() if self._held is None else (self._held,)), *self._sent, *self._waiting)

    @property
    def wants_ping(self) -> bool:
        """Whether a ping would settle something that no ping under way will."""
        return self.peer_pongs and self._ping is None and bool(self._sent)

    @property
    def has_news(self) -> bool:
        """Whether there is something to send: an item, or the ping that settles those before it."""
        return (bool(self._waiting) and not (self._group and self._sent)) or self.wants_ping

    def deadline(self, ping_timeout_s: float) -> float | None:
        """When to call `expire` next."""
        if self._ping is not None:
            return self._ping_sent_at + ping_timeout_s
        if not self.peer_pongs and self._sent:
            return self._sent[0].sent_at + SETTLE_WITHOUT_PONG_S
        return None

    # --- the way of an item -------------------------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Let an item wait behind the others."""
        self._waiting.append(item)
        if item.command_id is None:
            self.messages += 1
            self.message_bytes += len(item.payload)
        else:
            self._responses += 1
            self._response_bytes += len(item.payload)

    def send_all(self, mono: float) -> list[Item]:
        """Everything that waits and may go out, now taken as sent."""
        if self._group:
            count = 0 if self._sent else min(self._group, len(self._waiting))
            items = [self._waiting.popleft() for _ in range(count)]
        else:
            items = list(self._waiting)
            self._waiting.clear()
        for item in items:
            item.sent_at = mono
        self._sent.extend(items)
        return items

    def release(self, *, last: bool = False) -> None:
        """The link lives, so what was held goes out next and alone; with `last` it does behind all others."""
        held, self._held = self._held, None
        if held is None:
            return
        if last:
            self._waiting.append(held)
        else:
            self._waiting.appendleft(held)
            self._tried = held
            self._group = 1

    def pinged(self, number: int, mono: float) -> None:
        """The ping `number` went out behind everything sent so far."""
        self._ping = number
        self._ping_sent_at = mono
        self._covered = len(self._sent)

    def ponged(self, answered: int) -> list[Item]:
        """All pings up to `answered` are answered: what that settles."""
        if self._ping is None or answered < self._ping:
            return []
        self._ping = None
        return self._settle(self._covered)

    def expire(self, mono: float, ping_timeout_s: float, liveness: Liveness) -> list[Item]:
        """What settles without a pong: once a ping goes unanswered on a link that lives, 30 s after it was sent."""
        if self._ping is not None and mono >= self._ping_sent_at + ping_timeout_s:
            if liveness.heard_since(self._ping_sent_at):
                self._ping = None
                self.peer_pongs = False
                self._group = 0  # what is out has been out for long
            else:  # this process was held up: whether the link lives is still to be found out (LINK-7)
                self._ping_sent_at = mono
        if self.peer_pongs:
            return []
        return self._settle(sum(item.sent_at + SETTLE_WITHOUT_PONG_S <= mono for item in self._sent))

    def link_lost(self, mono: float, *, close_code: int = 0) -> Item | None:
        """What was sent waits again, in order. Returns the item that the link has ended of, and takes it out (CMD-11).

        `close_code`: of the platform's close frame. Of 1009 the largest item is the cause, of 1007 the first.
        """
        held, tried = self._held, self._tried
        self._held = self._tried = self._ping = None
        self.peer_pongs = True
        suspect = None
        if self._sent:
            suspect = max(self._sent, key=_size_of) if close_code == 1009 else self._sent[0]
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        if held is not None:  # without it the link did not live either
            held.fruitless_links = 0
            self._waiting.appendleft(held)
        if suspect is None:
            return None
        is_sudden = mono - suspect.sent_at <= SUDDEN_END_S
        if close_code in (1007, 1009) or (suspect is tried and is_sudden):
            self._waiting.remove(suspect)
            self._discount([suspect])
            return suspect
        suspect.fruitless_links = suspect.fruitless_links + 1 if is_sudden else 0
        self._group = int(is_sudden and (self._group > 0 or suspect.fruitless_links > 1))
        if suspect.fruitless_links == MAX_FRUITLESS_LINKS:
            self._waiting.remove(suspect)
            self._held = suspect
        return None

    def _settle(self, count: int) -> list[Item]:
        settled = [self._sent.popleft() for _ in range(count)]
        self._discount(settled)
        if self._group and not self._sent and self._tried in (None, *settled):
            self._tried = None
            self._group = 2 * self._group if self._group < MAX_CAUTIOUS_ITEMS and self.peer_pongs else 0
        return settled

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
