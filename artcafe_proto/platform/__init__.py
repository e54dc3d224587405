"""The platform's side: the hub and what its users see of it. Everything here is in `artcafe_proto` too."""

from artcafe_proto.platform.authenticator import Principal
from artcafe_proto.platform.delivery import Command
from artcafe_proto.platform.hub import PlatformHub
from artcafe_proto.platform.protocol import PlatformProtocol
from artcafe_proto.platform.registry import Agent, Key
from artcafe_proto.platform.session import PlatformSession

__all__ = ["PlatformHub", "PlatformProtocol", "PlatformSession", "Principal", "Command", "Agent", "Key"]
