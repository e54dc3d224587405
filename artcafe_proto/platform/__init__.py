"""The platform's side: the hub and what its users see of it. Everything here is in `artcafe_proto` too."""

from artcafe_proto.platform.agents import Agent
from artcafe_proto.platform.authenticator import Principal
from artcafe_proto.platform.commands import Command
from artcafe_proto.platform.hub import PlatformHub
from artcafe_proto.platform.protocol import PlatformProtocol
from artcafe_proto.platform.records import AgentRecord, Record
from artcafe_proto.platform.session import PlatformSession
from artcafe_proto.platform.state import Key

__all__ = [
    "PlatformHub",
    "PlatformProtocol",
    "PlatformSession",
    "Principal",
    "Command",
    "Agent",
    "AgentRecord",
    "Key",
    "Record",
]
