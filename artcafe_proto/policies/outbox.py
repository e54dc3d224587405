"""Responses and messages on their way to the platform (CMD-3, CMD-11).

The wire knows no acknowledgement, but an endpoint reads its messages in order: what was sent before a ping has been
read when the pong comes. So an item waits, is sent, and is settled by the next such pong; until then a lost link makes
it unsent again. One ping is under way at a time, and everything sent before it shares it.
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
    from artcafe_proto.policies.liveness import Liveness


class Item(msgspec.Struct, gc=False):
    """A message, and what it answers: `command_id` of a response, None for an application message."""

    message_id: str
    payload: bytes
    command_id: str | None = None
    sent_at: float = 0.0
    fruitless_links: int = 0
    """Links in a row that it was the first to be sent on, and that ended before it settled (CMD-11)."""


class Outbox:
    """Items in order: those that wait, behind those that were sent on the link of now."""

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._sent: deque[Item] = deque()
        self._ping: int | None = None
        self._ping_sent_at = 0.0
        self._covered = 0
        self.peer_pongs = True
        """Whether the peer is taken as one that answers pings."""
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
    def wants_ping(self) -> bool:
        """Whether a ping would settle something that no ping under way will."""
        return self.peer_pongs and self._ping is None and bool(self._sent)

    @property
    def has_news(self) -> bool:
        """Whether there is something to send: an item, or the ping that settles those before it."""
        return bool(self._waiting) or self.wants_ping

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
        """Everything that waits, now taken as sent."""
        items = list(self._waiting)
        for item in items:
            item.sent_at = mono
        self._sent.extend(items)
        self._waiting.clear()
        return items

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
            else:  # this process was held up: whether the link lives is still to be found out (LINK-7)
                self._ping_sent_at = mono
        if self.peer_pongs:
            return []
        return self._settle(sum(item.sent_at + SETTLE_WITHOUT_PONG_S <= mono for item in self._sent))

    def link_lost(self, *, blames_message: bool) -> Item | None:
        """What was sent waits again, in order. Returns the item that seems to cost every link, and takes it out.

        `blames_message`: the platform's end closed with 1007 or 1009, which names the message it read last (CMD-11).
        """
        suspect = self._sent[0] if self._sent else None
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        self._ping = None
        self.peer_pongs = True
        if suspect is None:
            return None
        suspect.fruitless_links += 1
        if not blames_message and suspect.fruitless_links < MAX_FRUITLESS_LINKS:
            return None
        self._waiting.remove(suspect)
        self._discount([suspect])
        return suspect

    def _settle(self, count: int) -> list[Item]:
        settled = [self._sent.popleft() for _ in range(count)]
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
