"""Events of an agent."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from artcafe_proto.events.shared import (
    AnyEvent,
    MessageReceived,
    PeerViolation,
    StoreRecovered,
    StoreStalled,
    UnknownReceived,
)
from artcafe_proto.messages import decode_object

__all__ = [
    "TokenReceived", "RenewalStarted", "TokenRenewed", "RenewalFailed", "KeyChanged", "CallAnswered", "CallFailed",
    "Online", "Offline", "ExchangeRepeated", "ClocksParted", "AgentIdContested", "CommandReceived",
    "CommandCancelled", "CommandRefused", "CommandInterrupted", "RepeatReceived", "ResponseReplaced",
    "ResponsesSettled", "MessageSettled", "Undeliverable", "Draining", "LinkClosing", "Stopped", "AgentEvent",
]  # fmt: skip


class TokenReceived(AnyEvent, frozen=True, gc=False):
    """Authentication succeeded; the token is usable for about `life_s` seconds, None if it does not say (TOK-1).

    From `renew_at` (monotonic seconds) on, while the link is up, the next one is fetched (TOK-2).
    """

    life_s: float | None
    renew_at: float | None


class RenewalStarted(AnyEvent, frozen=True, gc=False):
    """While the link is up the next token is being fetched: why, and by which clause."""

    reason: str
    clause: str


class TokenRenewed(AnyEvent, frozen=True, gc=False):
    """A new token took the place of the old one while the link is up; fields as of `TokenReceived`."""

    life_s: float | None
    renew_at: float | None
    clause: str


class RenewalFailed(AnyEvent, frozen=True, gc=False):
    """A renewal failed: why, by which clause, and when (monotonic seconds) the next one follows. The link stays up."""

    reason: str
    clause: str
    retry_at: float


class KeyChanged(AnyEvent, frozen=True, gc=False):
    """The platform refused the key that the agent signed with, and why: from now on it signs with its other one, 0 for
    the first and 1 for the second (AUTH-6). The next attempt waits as after any failure.
    """

    key: int
    key_id: str | None
    reason: str
    clause: str


class CallAnswered(AnyEvent, frozen=True, gc=False):
    """The call `call` succeeded: the agent as the platform shows it (STAT-2)."""

    call: int
    details: dict[str, Any]


class CallFailed(AnyEvent, frozen=True, gc=False):
    """The call `call` failed: why and by which clause; `status` is the platform's, None if there was no answer."""

    call: int
    reason: str
    clause: str
    status: int | None


class Online(AnyEvent, frozen=True, gc=False):
    """The link is up and its first heartbeat goes out (HB-1). `link` is its connection's number, `Connect.conn`."""

    link: int


class Offline(AnyEvent, frozen=True, gc=False):
    """An attempt or a link ended: why, by which clause, and when (monotonic seconds) the next attempt follows.

    `retry_at` is None when none follows because the agent is stopping. `unsettled` responses and messages wait for the
    next link, those that were sent included (CMD-3).
    """

    reason: str
    clause: str
    retry_at: float | None
    unsettled: int = 0


class ExchangeRepeated(AnyEvent, frozen=True, gc=False):
    """A connection that was used again had ended already: without a wait, `exchange` is made once more on a new one.

    A verify is not, its challenge may be used up: authentication starts over (LINK-2).
    """

    exchange: str
    clause: str


class ClocksParted(AnyEvent, frozen=True, gc=False):
    """The wall clock moved by `drift_s` against the monotonic one: this computer slept, or its clock was set (LINK-7).

    The peer is pinged at once, and the token's life is shortened.
    """

    drift_s: float
    clause: str


class AgentIdContested(AnyEvent, frozen=True, gc=False):
    """Another process uses this agent id: it replaced the link, for the `times`-th time in a row (LINK-6).

    `reason` holds what the platform said of it, which may be where the other one is.
    """

    times: int
    clause: str
    reason: str = ""


class CommandReceived(AnyEvent, frozen=True, gc=False):
    """Run this command and call `respond` or `fail` exactly once, also after a `CommandCancelled` (CMD-5)."""

    command_id: str
    command: str
    raw_args: msgspec.Raw
    """The arguments as raw JSON, for decoding into a type of your own."""
    deadline: float
    """Monotonic seconds (CMD-4)."""

    @property
    def args(self) -> dict[str, Any]:
        """The arguments as plain Python values. Never raises: a number that Python cannot read is infinite."""
        return decode_object(self.raw_args)


class CommandCancelled(AnyEvent, frozen=True, gc=False):
    """Stop running this command: its answer is already given. Its slot is free once you call `respond` or `fail`."""

    command_id: str
    code: Literal["timeout", "cancelled"]
    clause: str
    command: str = ""


class CommandRefused(AnyEvent, frozen=True, gc=False):
    """A command was answered without being started: why, and by which clause.

    After `overloaded` and `draining` the platform keeps it (CMD-9); such answers are the `times`-th since a command
    found a free slot. `timeout` is final: its time was over before it came to its turn (CMD-4).
    """

    command_id: str
    code: Literal["overloaded", "draining", "timeout"]
    reason: str
    clause: str
    command: str = ""
    times: int = 1


class CommandInterrupted(AnyEvent, frozen=True, gc=False):
    """The agent's last process ended between accepting this command and its final response (CMD-9).

    It may have started. It is answered `interrupted`, unless it `may_run_again`: then the platform sends it again.
    """

    command_id: str
    command: str
    may_run_again: bool
    clause: str


class RepeatReceived(AnyEvent, frozen=True, gc=False):
    """A command came again, and is not executed again (CMD-2).

    `answer` is None if its response is still to come, or this read has asked for it before; else the stored one was
    sent again, or that it is gone.
    """

    command_id: str
    answer: Literal["stored", "expired_result"] | None
    clause: str


class ResponseReplaced(AnyEvent, frozen=True, gc=False):
    """Another response took the place of a handler's: it was too large (CMD-7), or cost every link (CMD-11)."""

    command_id: str
    code: Literal["result_too_large", "undeliverable"]
    reason: str
    clause: str


class ResponsesSettled(AnyEvent, frozen=True, gc=False):
    """The platform has read the final responses to these commands (CMD-3).

    `assumed`: it has never answered a ping, so it cannot tell; they left long enough ago for the link to have ended.
    """

    command_ids: tuple[str, ...]
    assumed: bool = False


class Draining(AnyEvent, frozen=True, gc=False):
    """The agent stops once `running` commands are done and `unsettled` responses and messages settled (CMD-8).

    It waits for the commands until `deadline`, monotonic seconds.
    """

    running: int
    unsettled: int
    deadline: float
    clause: str


class LinkClosing(AnyEvent, frozen=True, gc=False):
    """The agent has said goodbye: why, and until when (monotonic seconds) it waits for the platform's answer."""

    code: int
    reason: str
    clause: str
    deadline: float


class Stopped(AnyEvent, frozen=True, gc=False):
    """The agent has ended for good. `unsettled` lists commands whose responses the platform may not have (CMD-8), and
    `messages` the application messages it may not have.

    `gave_up` says that nobody stopped it, but `give_up_after` did (LINK-6).
    """

    unsettled: tuple[str, ...]
    gave_up: bool = False
    messages: tuple[str, ...] = ()


class MessageSettled(AnyEvent, frozen=True, gc=False):
    """The platform has read an application message (CMD-3); `assumed` as of `ResponsesSettled`."""

    message_id: str
    assumed: bool = False


class Undeliverable(AnyEvent, frozen=True, gc=False):
    """A message was dropped because it cost every link it was sent on; a response is replaced once first (CMD-11)."""

    message_id: str
    command_id: str | None
    clause: str


AgentEvent = (
    TokenReceived
    | RenewalStarted
    | TokenRenewed
    | RenewalFailed
    | KeyChanged
    | CallAnswered
    | CallFailed
    | Online
    | Offline
    | ExchangeRepeated
    | ClocksParted
    | AgentIdContested
    | CommandReceived
    | CommandCancelled
    | CommandRefused
    | CommandInterrupted
    | RepeatReceived
    | ResponseReplaced
    | ResponsesSettled
    | MessageReceived
    | UnknownReceived
    | PeerViolation
    | StoreStalled
    | StoreRecovered
    | MessageSettled
    | Undeliverable
    | Draining
    | LinkClosing
    | Stopped
)
