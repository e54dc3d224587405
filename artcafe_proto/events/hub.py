"""Events of a platform."""

from __future__ import annotations

from artcafe_proto.events.shared import (
    AnyEvent,
    MessageReceived,
    PeerViolation,
    StoreRecovered,
    StoreStalled,
    UnknownReceived,
)
from artcafe_proto.exchanges import HttpRequest
from artcafe_proto.messages import AgentStatus, HeartbeatData, ResponseData

__all__ = [
    "ChallengeIssued", "AgentAuthenticated", "AuthenticationRefused", "AgentOnline", "AgentOffline",
    "HeartbeatReceived", "StatusReceived", "CommandAccepted", "CommandSent", "CommandDeferred", "CommandAnswered",
    "CommandRepeated", "CommandExpired", "RequestFailed", "RequestArrived",
    "HubEvent",
]  # fmt: skip


class ChallengeIssued(AnyEvent, frozen=True, gc=False):
    """Somebody asked for a challenge in the name of `agent_id` (AUTH-8)."""

    agent_id: str


class AgentAuthenticated(AnyEvent, frozen=True, gc=False):
    """A signature was right and a token was issued (AUTH-7)."""

    agent_id: str
    key_id: str
    algorithm: str


class AuthenticationRefused(AnyEvent, frozen=True, gc=False):
    """A verify or an upgrade was refused; `reason` is for the operator, the peer learns none (AUTH-8)."""

    agent_id: str
    reason: str
    clause: str


class AgentOnline(AnyEvent, frozen=True, gc=False):
    """First heartbeat on a new link, the `epoch`-th of this agent (HB-3, PLAT-6)."""

    agent_id: str
    epoch: int


class AgentOffline(AnyEvent, frozen=True, gc=False):
    """The agent's link ended (HB-3)."""

    agent_id: str
    epoch: int
    reason: str


class HeartbeatReceived(AnyEvent, frozen=True, gc=False):
    """A heartbeat (HB-2), its values within their ranges."""

    agent_id: str
    data: HeartbeatData


class StatusReceived(AnyEvent, frozen=True, gc=False):
    """A status message (STAT-2, STAT-4)."""

    agent_id: str
    status: AgentStatus
    current_task: str | None
    progress: float | None
    message: str | None = None


class CommandAccepted(AnyEvent, frozen=True, gc=False):
    """A command is stored: that it was accepted is a promise now (PLAT-5).

    Only of a hub that keeps records; without a store the return of `send_command` says it.
    """

    agent_id: str
    command_id: str


class CommandSent(AnyEvent, frozen=True, gc=False):
    """A command went out; `attempt` counts from 1 (CMD-10)."""

    agent_id: str
    command_id: str
    command: str
    attempt: int


class CommandDeferred(AnyEvent, frozen=True, gc=False):
    """The agent did not start the command; it is kept (CMD-9: `overloaded` or `draining`)."""

    agent_id: str
    command_id: str
    code: str


class CommandAnswered(AnyEvent, frozen=True, gc=False):
    """A final response came. `late`: after the command had expired (CMD-10)."""

    agent_id: str
    command_id: str
    response: ResponseData
    late: bool


class CommandRepeated(AnyEvent, frozen=True, gc=False):
    """A response to a command that was already answered, or is not known; dropped (CMD-3)."""

    agent_id: str
    command_id: str


class CommandExpired(AnyEvent, frozen=True, gc=False):
    """No final response came within `expires_in` (CMD-10)."""

    agent_id: str
    command_id: str


class RequestFailed(AnyEvent, frozen=True, gc=False):
    """An operation of the HTTP interface raised what it should not have, and was answered 500 (PLAT-7). For the log."""

    method: str
    error: Exception
    agent_id: str = ""
    """Empty: it concerns no agent."""


class RequestArrived(AnyEvent, frozen=True, gc=False):
    """An HTTP request at whose path no operation is: the platform's driver answers it with `respond(exchange, …)`."""

    conn: int
    exchange: int
    request: HttpRequest


HubEvent = (
    ChallengeIssued
    | AgentAuthenticated
    | AuthenticationRefused
    | AgentOnline
    | AgentOffline
    | HeartbeatReceived
    | StatusReceived
    | CommandAccepted
    | CommandSent
    | CommandDeferred
    | CommandAnswered
    | CommandRepeated
    | CommandExpired
    | StoreStalled
    | StoreRecovered
    | MessageReceived
    | UnknownReceived
    | PeerViolation
    | RequestFailed
)
