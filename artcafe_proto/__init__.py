"""The ArtCafe.ai Agent API as a pure sans-IO state machine, both roles.

`AgentProtocol` and `PlatformProtocol` turn bytes and time into effects and events; `AgentMachine` and `PlatformSession`
are the same without framing, for transports that frame messages by themselves. Nothing in this package does I/O, reads
a clock or draws randomness of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto import effects, errors, events
from artcafe_proto.agent.connector import ConnectFailure
from artcafe_proto.agent.dialing import AgentTimer
from artcafe_proto.agent.machine import AgentMachine
from artcafe_proto.agent.protocol import AgentProtocol
from artcafe_proto.agent.states import AgentState, AuthState, LinkState
from artcafe_proto.config import AgentConfig, PlatformConfig
from artcafe_proto.effects import *
from artcafe_proto.errors import *
from artcafe_proto.events import *
from artcafe_proto.exchanges import HttpRequest, HttpResponse
from artcafe_proto.instants import Instant
from artcafe_proto.messages import AgentStatus, FinalCode
from artcafe_proto.policies.private_keys import SigningKey
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.signatures import SignatureFormat
from artcafe_proto.policies.ssh_agent import SshAgentSigning

if TYPE_CHECKING:
    from artcafe_proto.platform.agents import Agent
    from artcafe_proto.platform.authenticator import Principal
    from artcafe_proto.platform.commands import Command
    from artcafe_proto.platform.hub import PlatformHub
    from artcafe_proto.platform.protocol import PlatformProtocol
    from artcafe_proto.platform.records import AgentRecord, Record
    from artcafe_proto.platform.session import PlatformSession
    from artcafe_proto.platform.state import Key

__all__: list[str] = [
    # façades, machines and what they are built of
    "AgentProtocol", "PlatformProtocol", "PlatformHub", "AgentMachine", "PlatformSession", "AgentConfig",
    "PlatformConfig", "Instant", "AgentState", "AuthState", "LinkState", "AgentTimer", "AgentStatus", "FinalCode",
    "ConnectFailure", "HttpRequest", "HttpResponse", "Principal", "Command", "Agent", "AgentRecord",
    "Key", "Record",
    # keys
    "SigningKey", "PublicKey", "SignatureFormat", "SshAgentSigning",
]  # fmt: skip
__all__ += effects.__all__
__all__ += events.__all__
__all__ += errors.__all__

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """The platform's side, imported when it is first asked for: an agent starts without it."""
        import artcafe_proto.platform as hub

        if name not in hub.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(hub, name)
