"""What each invariant of a platform's store forbids, shown to it: `STORED_LIES` by the name of the invariant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from artcafe_proto.effects import Persist
from artcafe_proto.events import CommandAccepted, CommandAnswered, CommandExpired
from artcafe_proto.messages import CommandData, ResponseData
from artcafe_proto.platform.records import AgentRecord, CommandRecord, Kind, OutcomeRecord, SchemaRecord
from artcafe_proto.platform.states import CommandState
from artcafe_proto.records import Record, pack
from artcafe_proto.testing import Simulation
from artcafe_proto.testing.invariants.calls import Call
from artcafe_proto.testing.invariants.stored import StoredInvariants

AGENT: Final = "agent-1"
SELDOM_S: Final = 1e9
CONN: Final = 7
_NOTHING: Final = msgspec.Raw(b"{}")
_AGENT: Final = AgentRecord("tenant-1", AGENT, "", msgspec.Raw(b'{"capabilities":[],"metadata":{}}'), 0.0)
_COMMAND: Final = CommandRecord("tenant-1", AGENT, "cmd-1", CommandData("work", _NOTHING, None), 0.0, 1.0)
BASE: Final = (pack(Kind.SCHEMA, 0, SchemaRecord(1)), pack(Kind.AGENT, 1, _AGENT))
COMMAND: Final = pack(Kind.COMMAND, 1, _COMMAND)


def world(*stored: Record) -> Simulation:
    """A world in which nothing has happened, but that a first batch was stored if it is given."""
    sim = Simulation(1, faults=[], store_fault_s=SELDOM_S, seconds=60.0, command_gap_s=SELDOM_S)
    if stored:
        sim.invariants.stored.is_stored(Persist(1, stored))
    return sim


def invariants(*stored: Record) -> StoredInvariants:
    """Those of such a world."""
    return world(*stored).invariants.stored


def call(target: str = "agents", asked_at: float = 0.0) -> Call:
    """A request that was answered 200."""
    return Call(method="GET", target=target, statuses=(200,), headers=[], asked_at=asked_at)


def two_batches_at_a_time() -> None:
    stored = invariants()
    for batch in (1, 2):
        stored.handed_out(Persist(batch, ()))


def a_batch_too_large() -> None:
    large = tuple(Record(Kind.COMMAND, n, bytes(300_000)) for n in (1, 2))
    invariants().handed_out(Persist(1, large))


def a_pong_too_early() -> None:
    sim = world()
    sim.run_for(5.0)
    command_id = sim.tenant.send(AGENT, expires_in_s=2.0)
    assert command_id is not None
    sim.run_for(1.0)
    assert sim.platform.disk is not None
    sim.platform.disk.is_gone_until = SELDOM_S
    sim.processes[0].die()
    sim.run_for(2.0)
    stored = sim.invariants.stored
    stored.came(AGENT, command_id)
    stored.pinged(CONN, AGENT, b"1")
    stored.ponged(CONN, AGENT, b"1")


def an_end_before_its_response() -> None:
    stored = invariants()
    stored.asked(CONN, call(), 10)
    stored.was_sent(CONN, 10)
    stored.ends(CONN, abort=False)


def two_final_responses() -> None:
    stored = invariants(*BASE, COMMAND)
    for batch, result in enumerate((b"1", b"2"), start=2):
        response = ResponseData("cmd-1", "success", result=msgspec.Raw(result))
        outcome = OutcomeRecord(1, CommandState.SUCCEEDED, 1, response, 1.0)
        stored.is_stored(Persist(batch, (pack(Kind.OUTCOME, 1, outcome),)))
        stored.said(CommandAnswered(AGENT, "cmd-1", response, late=False))


def a_response_that_waits() -> None:
    world().invariants.calls.answered(call(asked_at=-60.0), 200)


def a_promise_that_is_lost() -> None:
    stored = invariants(*BASE, COMMAND)
    stored.said(CommandAccepted(AGENT, "cmd-1"))
    stored.is_stored(Persist(2, (Record(Kind.COMMAND, 1, None),)))
    stored.crashes(None, BASE)


STORED_LIES: Final[dict[str, Callable[[], None]]] = {
    "one batch is under way, the next or again the same": two_batches_at_a_time,
    "batches and what is held keep to their limits": a_batch_too_large,
    "a promise leaves when it is stored": lambda: invariants().said(CommandAccepted(AGENT, "cmd-1")),
    "a command goes out once it is stored": lambda: invariants().sends(AGENT, "cmd-1"),
    "whoever is shown something, it is stored": lambda: invariants().said(CommandExpired(AGENT, "cmd-1")),
    "a pong says that responses are stored": a_pong_too_early,
    "a connection ends behind its response": an_end_before_its_response,
    "one final response is ever shown": two_final_responses,
    "nobody waits for a store for long": a_response_that_waits,
    "the twin of what is stored is the platform's own": lambda: invariants(*BASE).crashes(None, (*BASE, COMMAND)),
    "what was promised outlives the process": a_promise_that_is_lost,
}
