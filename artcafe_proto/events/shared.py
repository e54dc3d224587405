"""Events of both roles."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from artcafe_proto.messages import decode_object

__all__ = ["AnyEvent", "MessageReceived", "UnknownReceived", "PeerViolation", "StoreStalled", "StoreRecovered"]


class AnyEvent(msgspec.Struct, frozen=True, gc=False):
    """Base of every event."""


class MessageReceived(AnyEvent, frozen=True, gc=False):
    """An application message. On a platform `agent_id` says whose."""

    message_id: str
    raw_data: msgspec.Raw
    agent_id: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """The data as plain Python values. Never raises: a number that Python cannot read is infinite."""
        return decode_object(self.raw_data)


class UnknownReceived(AnyEvent, frozen=True, gc=False):
    """A message of an unknown type, or of a known one in the wrong direction; nothing else happens (MSG-4).

    `message_id` is "" and the data an empty object if the message has no usable ones. On a platform `agent_id` says
    whose.
    """

    type: str
    message_id: str
    raw_data: msgspec.Raw
    agent_id: str = ""


class PeerViolation(AnyEvent, frozen=True, gc=False):
    """The peer broke a clause, in a way that does not cost the connection by itself (MSG-5)."""

    reason: str
    clause: str
    agent_id: str = ""


class StoreStalled(AnyEvent, frozen=True, gc=False):
    """The store takes nothing, or too long (PLAT-5, CMD-1): new work is refused until `StoreRecovered`.

    It is for the operator. `cause` is what the driver reported, or `slow` if it has reported nothing for 5 s.
    """

    cause: Literal["full", "unavailable", "slow"]
    agent_id: str = ""
    """Empty: it concerns no agent of a platform."""


class StoreRecovered(AnyEvent, frozen=True, gc=False):
    """The store takes records again, after so many seconds, and new work is taken again."""

    after_s: float
    agent_id: str = ""
    """Empty, as for `StoreStalled`."""
