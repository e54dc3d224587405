"""Events: what the core tells the application. Every one that reports a decision names its clause.

No event holds a token, a key, a challenge or a signature (TOK-4).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from artcafe_proto.exchanges import Request
from artcafe_proto.messages import AgentStatus, HeartbeatData, ResponseData


class _Event(msgspec.Struct, frozen=True, gc=False):
    pass


# --- of an agent ------------------------------------------------------------------------------------------------------


class TokenReceived(_Event, frozen=True, gc=False):
    """Authentication succeeded; the token is usable for about `life_s` seconds, None if it does not say (TOK-1)."""

    life_s: float | None


class TokenRenewed(_Event, frozen=True, gc=False):
    """A new token took the place of the old one while the link is up; `life_s` as above (TOK-2)."""

    life_s: float | None


class RenewalFailed(_Event, frozen=True, gc=False):
    """A renewal failed: why, by which clause, and when (monotonic seconds) the next one follows. The link stays up."""

    reason: str
    clause: str
    retry_at: float


class CallAnswered(_Event, frozen=True, gc=False):
    """The call `call` succeeded: the agent as the platform shows it (STAT-2)."""

    call: int
    details: dict[str, Any]


class CallFailed(_Event, frozen=True, gc=False):
    """The call `call` failed: why and by which clause; `status` is the platform's, None if there was no answer."""

    call: int
    reason: str
    clause: str
    status: int | None


class Online(_Event, frozen=True, gc=False):
    """The link `conn` is up and its first heartbeat goes out (HB-1)."""

    conn: int


class Offline(_Event, frozen=True, gc=False):
    """An attempt or a link ended: why, by which clause, and when (monotonic seconds) the next attempt follows.

    `retry_at` is None when none follows because the agent is stopping. `unsettled` responses and messages wait for the
    next link, those that were sent included (CMD-3).
    """

    reason: str
    clause: str
    retry_at: float | None
    unsettled: int = 0


class ExchangeRepeated(_Event, frozen=True, gc=False):
    """A connection that was used again had ended already: without a wait, `exchange` is made once more on a new one.

    A verify is not, its challenge may be used up: authentication starts over (LINK-2).
    """

    exchange: str
    clause: str


class ClocksParted(_Event, frozen=True, gc=False):
    """The wall clock moved by `drift_s` against the monotonic one: this machine slept, or its clock was set (LINK-7).

    The peer is pinged at once, and the token's life is shortened.
    """

    drift_s: float
    clause: str


class AgentIdContested(_Event, frozen=True, gc=False):
    """The link was replaced `times` times in a row: another process seems to use this agent id (LINK-6)."""

    times: int
    clause: str


class CommandReceived(_Event, frozen=True, gc=False):
    """Run this command and call `respond` or `fail` exactly once, also after a `CommandCancelled` (CMD-5)."""

    command_id: str
    command: str
    raw_args: msgspec.Raw
    """The arguments as raw JSON, for decoding into a type of your own."""
    deadline: float
    """Monotonic seconds (CMD-4)."""

    @property
    def args(self) -> dict[str, Any]:
        """The arguments as plain Python values."""
        return msgspec.json.decode(self.raw_args, type=dict[str, Any])


class CommandCancelled(_Event, frozen=True, gc=False):
    """Stop running this command: its answer is already given. Its slot is free once you call `respond` or `fail`."""

    command_id: str
    code: Literal["timeout", "cancelled"]
    clause: str
    command: str = ""


class CommandRefused(_Event, frozen=True, gc=False):
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


class RepeatReceived(_Event, frozen=True, gc=False):
    """A command came again, and is not executed again (CMD-2).

    `answer` is None if its response is still to come; else the stored one was sent again, or that it is gone.
    """

    command_id: str
    answer: Literal["stored", "expired_result"] | None
    clause: str


class ResponseReplaced(_Event, frozen=True, gc=False):
    """Another response took the place of a handler's: it was too large (CMD-7), or cost every link (CMD-11)."""

    command_id: str
    code: Literal["result_too_large", "undeliverable"]
    reason: str
    clause: str


class ResponseSettled(_Event, frozen=True, gc=False):
    """The platform has read the final response to a command (CMD-3)."""

    command_id: str


class MessageReceived(_Event, frozen=True, gc=False):
    """An application message. On a platform `agent_id` says whose."""

    message_id: str
    raw_data: msgspec.Raw
    agent_id: str = ""

    @property
    def data(self) -> dict[str, Any]:
        """The data as plain Python values."""
        return msgspec.json.decode(self.raw_data, type=dict[str, Any])


class UnknownReceived(_Event, frozen=True, gc=False):
    """A message of an unknown type, or of a known one in the wrong direction; nothing else happens (MSG-4).

    On a platform `agent_id` says whose.
    """

    type: str
    message_id: str
    raw_data: msgspec.Raw
    agent_id: str = ""


class PeerViolation(_Event, frozen=True, gc=False):
    """The peer broke a clause, in a way that does not cost the connection by itself (MSG-5)."""

    reason: str
    clause: str
    agent_id: str = ""


class Draining(_Event, frozen=True, gc=False):
    """The agent stops once `running` commands are done and `unsettled` responses and messages settled (CMD-8).

    It waits for the commands until `deadline`, monotonic seconds.
    """

    running: int
    unsettled: int
    deadline: float
    clause: str


class Stopped(_Event, frozen=True, gc=False):
    """The agent has ended for good. `unsettled` lists commands whose responses the platform may not have (CMD-8), and
    `messages` the application messages it may not have.

    `gave_up` says that nobody stopped it, but `give_up_after` did (LINK-6).
    """

    unsettled: tuple[str, ...]
    gave_up: bool = False
    messages: tuple[str, ...] = ()


class MessageSettled(_Event, frozen=True, gc=False):
    """The platform has read an application message (CMD-3)."""

    message_id: str


class Undeliverable(_Event, frozen=True, gc=False):
    """A message was dropped because it cost every link it was sent on; a response is replaced once first (CMD-11)."""

    message_id: str
    command_id: str | None
    clause: str


AgentEvent = (
    TokenReceived
    | TokenRenewed
    | RenewalFailed
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
    | RepeatReceived
    | ResponseReplaced
    | ResponseSettled
    | MessageReceived
    | UnknownReceived
    | PeerViolation
    | MessageSettled
    | Undeliverable
    | Draining
    | Stopped
)

# --- of a platform ----------------------------------------------------------------------------------------------------


class ChallengeIssued(_Event, frozen=True, gc=False):
    """Somebody asked for a challenge in the name of `agent_id` (AUTH-8)."""

    agent_id: str


class AgentAuthenticated(_Event, frozen=True, gc=False):
    """A signature was right and a token was issued (AUTH-7)."""

    agent_id: str
    key_id: str
    algorithm: str


class AuthenticationRefused(_Event, frozen=True, gc=False):
    """A verify or an upgrade was refused; `reason` is for the operator, the peer learns none (AUTH-8)."""

    agent_id: str
    reason: str
    clause: str


class AgentOnline(_Event, frozen=True, gc=False):
    """First heartbeat on a new link, the `epoch`-th of this agent (HB-3, PLAT-6)."""

    agent_id: str
    epoch: int


class AgentOffline(_Event, frozen=True, gc=False):
    """The agent's link ended (HB-3)."""

    agent_id: str
    epoch: int
    reason: str


class HeartbeatReceived(_Event, frozen=True, gc=False):
    """A heartbeat (HB-2)."""

    agent_id: str
    data: HeartbeatData


class StatusReceived(_Event, frozen=True, gc=False):
    """A status message (STAT-2, STAT-4)."""

    agent_id: str
    status: AgentStatus
    current_task: str | None
    progress: float | None


class CommandSent(_Event, frozen=True, gc=False):
    """A command went out; `attempt` counts from 1 (CMD-10)."""

    agent_id: str
    command_id: str
    command: str
    attempt: int


class CommandDeferred(_Event, frozen=True, gc=False):
    """The agent did not start the command; it is kept (CMD-9: `overloaded` or `draining`)."""

    agent_id: str
    command_id: str
    code: str


class CommandAnswered(_Event, frozen=True, gc=False):
    """A final response came. `late`: after the command had expired (CMD-10)."""

    agent_id: str
    command_id: str
    response: ResponseData
    late: bool


class CommandRepeated(_Event, frozen=True, gc=False):
    """A response to a command that was already answered, or is not known; dropped (CMD-3)."""

    agent_id: str
    command_id: str


class CommandExpired(_Event, frozen=True, gc=False):
    """No final response came within `expires_in` (CMD-10)."""

    agent_id: str
    command_id: str


class RequestArrived(_Event, frozen=True, gc=False):
    """An HTTP request that a platform's owner answers with `respond(exchange, …)`."""

    exchange: int
    request: Request


HubEvent = (
    ChallengeIssued
    | AgentAuthenticated
    | AuthenticationRefused
    | AgentOnline
    | AgentOffline
    | HeartbeatReceived
    | StatusReceived
    | CommandSent
    | CommandDeferred
    | CommandAnswered
    | CommandRepeated
    | CommandExpired
    | MessageReceived
    | UnknownReceived
    | PeerViolation
)

Event = AgentEvent | HubEvent | RequestArrived
