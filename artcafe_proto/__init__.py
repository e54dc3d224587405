"""The ArtCafe.ai Agent API as a pure sans-IO state machine, both roles.

`AgentProtocol` and `PlatformProtocol` turn bytes and time into effects and events; `AgentMachine` and `PlatformSession`
are the same without framing, for transports that frame messages by themselves. Nothing in this package does I/O, reads
a clock or draws randomness of its own.

Here is what every program needs. Effects are in `artcafe_proto.effects`, events in `artcafe_proto.events`, what a hub
shows in `artcafe_proto.platform`, the names of an agent's states in `artcafe_proto.agent`, and what tests use in
`artcafe_proto.testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto import errors
from artcafe_proto.agent import *
from artcafe_proto.config import *
from artcafe_proto.connection import *
from artcafe_proto.driver import *
from artcafe_proto.errors import *
from artcafe_proto.exchanges import *
from artcafe_proto.instants import *
from artcafe_proto.policies.private_keys import *
from artcafe_proto.policies.public_keys import *
from artcafe_proto.policies.signatures import *
from artcafe_proto.policies.ssh_agent import *

if TYPE_CHECKING:
    from artcafe_proto.platform import *

__all__: list[str] = [
    # façades, machines and what they are built of
    "AgentProtocol", "AgentMachine", "AgentConfig", "AgentTimer", "Driver", "Connection",
    "PlatformProtocol", "PlatformHub", "PlatformSession", "PlatformConfig",
    "Instant", "HttpRequest", "HttpResponse",
    # keys
    "SigningKey", "PublicKey", "SignatureFormat", "SshAgentSigning",
]  # fmt: skip
__all__ += errors.__all__

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The platform's side, imported when it is first asked for: an agent starts without it."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from artcafe_proto import platform

        return getattr(platform, name)
