"""Testing utilities, as a part of the product, and without I/O like everything here.

A seeded world in which both roles run on a virtual clock (`Simulation`), and for a driver's own tests a clock and a
peer that are moved by hand (`ManualClock`, `ScriptedPeer`).
"""

from artcafe_proto.testing.clocks import ManualClock
from artcafe_proto.testing.faults import Fault, FaultKind
from artcafe_proto.testing.invariants import INVARIANTS, InvariantError
from artcafe_proto.testing.peers import Answer, HangUp, Raw, Reply, ScriptedPeer, Silence
from artcafe_proto.testing.shrinking import shrink
from artcafe_proto.testing.simulation import Simulation

__all__ = [
    "INVARIANTS",
    "Answer",
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
    "shrink",
]
