"""Events: what the core tells the application. Every one that reports a decision names its clause.

A time in an event is in monotonic seconds, on the clock of `Instant.mono`: `retry_at` is when the next attempt follows,
`renew_at` when the next token is fetched, `deadline` until when is waited.

No event holds a token, a key, a challenge or a signature (TOK-4).
"""

from __future__ import annotations

from artcafe_proto.events.agent import (
    AgentEvent,
    AgentIdContested,
    CallAnswered,
    CallFailed,
    ClocksParted,
    CommandCancelled,
    CommandReceived,
    CommandRefused,
    Draining,
    ExchangeRepeated,
    LinkClosing,
    MessageSettled,
    Offline,
    Online,
    RenewalFailed,
    RenewalStarted,
    RepeatReceived,
    ResponseReplaced,
    ResponsesSettled,
    Stopped,
    TokenReceived,
    TokenRenewed,
    Undeliverable,
)
from artcafe_proto.events.hub import (
    AgentAuthenticated,
    AgentOffline,
    AgentOnline,
    AuthenticationRefused,
    ChallengeIssued,
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    CommandSent,
    HeartbeatReceived,
    HubEvent,
    RequestArrived,
    StatusReceived,
)
from artcafe_proto.events.shared import MessageReceived, PeerViolation, UnknownReceived

Event = AgentEvent | HubEvent | RequestArrived

__all__ = [
    "Event",
    "TokenReceived",
    "RenewalStarted",
    "TokenRenewed",
    "RenewalFailed",
    "CallAnswered",
    "CallFailed",
    "Online",
    "Offline",
    "ExchangeRepeated",
    "ClocksParted",
    "AgentIdContested",
    "CommandReceived",
    "CommandCancelled",
    "CommandRefused",
    "RepeatReceived",
    "ResponseReplaced",
    "ResponsesSettled",
    "MessageReceived",
    "UnknownReceived",
    "PeerViolation",
    "MessageSettled",
    "Undeliverable",
    "Draining",
    "LinkClosing",
    "Stopped",
    "AgentEvent",
    "ChallengeIssued",
    "AgentAuthenticated",
    "AuthenticationRefused",
    "AgentOnline",
    "AgentOffline",
    "HeartbeatReceived",
    "StatusReceived",
    "CommandSent",
    "CommandDeferred",
    "CommandAnswered",
    "CommandRepeated",
    "CommandExpired",
    "RequestArrived",
    "HubEvent",
]
