"""Responses and messages on their way to the platform (CMD-3, CMD-11).

The wire knows no acknowledgement, but an endpoint reads its messages in order: what was sent before a ping has been
read when the pong comes. So an item waits, is sent, and is settled by the next such pong; until then a lost link makes
it unsent again. One ping is under way at a time, and everything sent before it shares it.

A peer that has never answered a ping cannot tell. What was sent to it settles some time after it has left, and that is
told as the assumption it is. Once a peer has answered a ping, nothing settles without.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec

from artcafe_proto.limits import (
    MAX_FRUITLESS_LINKS,
    MAX_UNSETTLED_MESSAGE_BYTES,
    MAX_UNSETTLED_MESSAGES,
    MAX_UNSETTLED_RESPONSE_BYTES,
    MAX_UNSETTLED_RESPONSES,
    SETTLE_WITHOUT_PONG_S,
)

if TYPE_CHECKING:
    from artcafe_proto.links import LinkEnd


class Item(msgspec.Struct, gc=False):
    """A message, and what it answers: `command_id` of a response, None for an application message."""

    message_id: str
    payload: bytes
    command_id: str | None = None
    fruitless_links: int = 0
    """Links in a row that it was the first to be sent on, and that ended before it settled (CMD-11)."""


class Outbox:
    """Items in order: those that wait, behind those that were sent on the current link."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._ping: int | None = None
        self._place = 0  # on the connection, behind what is to be settled next and its ping
        self._left_at: float | None = None  # when that had left
        self._covered = 0
        self.has_ponged = False
        """Whether the peer has ever answered a ping."""
        self.is_assuming = False
        """Whether the peer is taken on this link as one that answers no pings."""
        self._responses = 0
        self._response_bytes = 0
        self.messages = 0
        """Application messages that are not settled."""
        self.message_bytes = 0

    # --- look ---------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    @property
    def waiting(self) -> int:
        """How many items wait to be sent."""
        return len(self._waiting)

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
        return [item.command_id for items in (self._sent, self._waiting) for item in items if item.command_id]

    @property
    def unsettled_messages(self) -> list[str]:
        """Ids of the application messages that are not settled."""
        return [item.message_id for items in (self._sent, self._waiting) for item in items if not item.command_id]

    @property
    def is_uncovered(self) -> bool:
        """Whether something was sent, and nothing is under way that settles it: time for a ping."""
        return self._ping is None and bool(self._sent)

    @property
    def has_news(self) -> bool:
        """Whether there is something to send: an item, or the ping that settles those before it."""
        return bool(self._waiting) or self.is_uncovered

    def deadline(self, ping_timeout_s: float) -> float | None:
        """When to call `assume` next; None if nothing can settle without a pong."""
        if self._ping is None or self._left_at is None or self.has_ponged:
            return None
        return self._left_at + max(SETTLE_WITHOUT_PONG_S, ping_timeout_s)

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

    def send(self, room: int) -> list[Item]:
        """What waits, now taken as sent: as many as `room` bytes begin to hold, the last one perhaps beyond them."""
        count = 0
        for item in self._waiting:
            count += 1
            room -= len(item.payload)
            if room <= 0:
                break
        items = [self._waiting.popleft() for _ in range(count)]
        self._sent.extend(items)
        return items

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
        if self.is_assuming:  # what was sent since has no ping behind it, and gets one now
            self.is_assuming, self._ping = False, None
        if self._ping is None or answered < self._ping:
            return []
        return self._settle_covered()

    def assume(self, link: LinkEnd, mono: float, ping_timeout_s: float) -> list[Item]:
        """What settles without a pong: it has left long enough ago, and the peer still lives and has never answered."""
        due = self.deadline(ping_timeout_s)
        if due is None or mono < due:
            return []
        if self._left_at is None or not link.liveness.heard_since(self._left_at):
            self._left_at = mono  # whether the link lives is still to be found out (LINK-7)
            return []
        self.is_assuming = True
        return self._settle_covered()

    def link_lost(self, *, blames_message: bool) -> Item | None:
        """What was sent waits again, in order. Returns the item that seems to cost every link, and takes it out.

        `blames_message`: the platform's end closed with 1007 or 1009, which names the message it read last (CMD-11).
        """
        suspect = self._sent[0] if self._sent else None
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        self._ping = None
        self.is_assuming = False
        if suspect is None:
            return None
        suspect.fruitless_links += 1
        if not blames_message and suspect.fruitless_links < MAX_FRUITLESS_LINKS:
            return None
        self._waiting.remove(suspect)
        self._discount([suspect])
        return suspect

    def _settle_covered(self) -> list[Item]:
        self._ping = None
        settled = [self._sent.popleft() for _ in range(self._covered)]
        self._discount(settled)
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
