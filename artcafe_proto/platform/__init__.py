"""The platform's role: the hub, the sessions and façades of its connections, and what its users see of them."""

from artcafe_proto.platform import (
    agents,
    api,
    authenticator,
    commands,
    connections,
    hub,
    protocol,
    records,
    session,
    state,
)
from artcafe_proto.platform.agents import *
from artcafe_proto.platform.api import *
from artcafe_proto.platform.authenticator import *
from artcafe_proto.platform.commands import *
from artcafe_proto.platform.connections import *
from artcafe_proto.platform.hub import *
from artcafe_proto.platform.protocol import *
from artcafe_proto.platform.records import *
from artcafe_proto.platform.session import *
from artcafe_proto.platform.state import *

__all__: list[str] = []
__all__ += agents.__all__
__all__ += api.__all__
__all__ += authenticator.__all__
__all__ += commands.__all__
__all__ += connections.__all__
__all__ += hub.__all__
__all__ += protocol.__all__
__all__ += records.__all__
__all__ += session.__all__
__all__ += state.__all__
