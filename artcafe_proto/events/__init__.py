"""Events: what the core tells the application. Every one that reports a decision names its clause.

A time in an event is in monotonic seconds, on the clock of `Instant.mono`: `retry_at` is when the next attempt follows,
`renew_at` when the next token is fetched, `deadline` until when is waited.

No event holds a token, a key, a challenge or a signature (TOK-4).
"""

from __future__ import annotations

from artcafe_proto.events import agent, hub, shared
from artcafe_proto.events.agent import *
from artcafe_proto.events.hub import *
from artcafe_proto.events.shared import *

Event = AgentEvent | HubEvent | RequestArrived

__all__: list[str] = ["Event"]
__all__ += agent.__all__
__all__ += hub.__all__
__all__ += shared.__all__
