"""The agent's role: its machine, the façade of bytes and time around it, and the names of their states."""

from artcafe_proto.agent import connector, dialing, machine, protocol, states
from artcafe_proto.agent.connector import *
from artcafe_proto.agent.dialing import *
from artcafe_proto.agent.machine import *
from artcafe_proto.agent.protocol import *
from artcafe_proto.agent.states import *

__all__: list[str] = []
__all__ += connector.__all__
__all__ += dialing.__all__
__all__ += machine.__all__
__all__ += protocol.__all__
__all__ += states.__all__
