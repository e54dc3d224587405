"""Testing utilities, as a part of the product: a seeded world in which both roles run on a virtual clock."""

from artcafe_proto.testing.faults import Fault, FaultKind
from artcafe_proto.testing.invariants import INVARIANTS, InvariantError
from artcafe_proto.testing.shrinking import shrink
from artcafe_proto.testing.simulation import Simulation

__all__ = ["INVARIANTS", "Fault", "FaultKind", "InvariantError", "Simulation", "shrink"]
