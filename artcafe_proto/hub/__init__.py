"""The platform's side: the hub and what its users see of it. Everything here is in `artcafe_proto` too."""

from artcafe_proto.hub.authenticator import Principal
from artcafe_proto.hub.delivery import Command
from artcafe_proto.hub.hub import PlatformHub
from artcafe_proto.hub.protocol import PlatformProtocol
from artcafe_proto.hub.registry import Agent, Key
from artcafe_proto.hub.session import PlatformSession

__all__ = ["PlatformHub", "PlatformProtocol", "PlatformSession", "Principal", "Command", "Agent", "Key"]
