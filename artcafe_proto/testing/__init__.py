"""Testing utilities, as a part of the product, and without I/O like everything here.

A seeded world in which both roles run on a virtual clock (`Simulation`), for a driver's own tests a clock and a peer
that are moved by hand (`ManualClock`, `ScriptedPeer`), and for a transport's a check of what is expected of it
(`check_channel`).
"""

from artcafe_proto.testing.channels import Channel, ChannelError, check_channel
from artcafe_proto.testing.clocks import ManualClock
from artcafe_proto.testing.faults import Fault, FaultKind
from artcafe_proto.testing.invariants import INVARIANTS, InvariantError
from artcafe_proto.testing.peers import Answer, HangUp, Raw, Reply, ScriptedPeer, Silence
from artcafe_proto.testing.shrinking import shrink
from artcafe_proto.testing.simulation import Simulation

__all__ = [
    "INVARIANTS",
    "Answer",
    "Channel",
    "ChannelError",
    "Fault",
    "FaultKind",
    "HangUp",
    "InvariantError",
    "ManualClock",
    "Raw",
    "Reply",
    "ScriptedPeer",
    "Silence",
    "Simulation",
    "check_channel",
    "shrink",
]
