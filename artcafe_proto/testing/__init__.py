"""Testing utilities, as a part of the product, and without I/O like everything here.

A seeded world in which both roles run on a virtual clock (`Simulation`), for a driver's own tests a clock and a peer
that are moved by hand (`ManualClock`, `ScriptedPeer`), and for a transport's a check of what is expected of it
(`check_channel`).
"""

from artcafe_proto.testing import clocks, faults, peers, shrinking, simulation
from artcafe_proto.testing.channels import channel, checking, examining
from artcafe_proto.testing.channels.channel import *
from artcafe_proto.testing.channels.checking import *
from artcafe_proto.testing.channels.examining import *
from artcafe_proto.testing.clocks import *
from artcafe_proto.testing.faults import *
from artcafe_proto.testing.invariants import table
from artcafe_proto.testing.invariants.table import *
from artcafe_proto.testing.peers import *
from artcafe_proto.testing.shrinking import *
from artcafe_proto.testing.simulation import *

__all__: list[str] = []
__all__ += channel.__all__
__all__ += checking.__all__
__all__ += examining.__all__
__all__ += clocks.__all__
__all__ += faults.__all__
__all__ += table.__all__
__all__ += peers.__all__
__all__ += shrinking.__all__
__all__ += simulation.__all__
