"""What each invariant of an agent's journal forbids, shown to it: `JOURNAL_LIES` by the name of the invariant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from artcafe_proto.agent.records import JournalRecord, Kind, MessageRecord, OpenedRecord, ResponseRecord
from artcafe_proto.effects import Persist
from artcafe_proto.events import CommandReceived, CommandRefused, ResponsesSettled, StoreStalled
from artcafe_proto.records import Record, pack
from artcafe_proto.testing import Simulation
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.invariants.journals import JournalInvariants
from artcafe_proto.testing.invariants.links import Content, Message

AGENT: Final = "agent-1"
SELDOM_S: Final = 1e9
CMD: Final = "cmd-1"
BASE: Final = pack(Kind.JOURNAL, 0, JournalRecord(1, AGENT))
OPENED: Final = pack(Kind.OPENED, 1, OpenedRecord(CMD, "work", 0, False))
STARTED: Final = CommandReceived(CMD, "work", msgspec.Raw(b"{}"), 0.0)
_BODY: Final = msgspec.Raw(b'{"type":"response","id":"r-1","data":{"command_id":"cmd-1"}}')
RESPONSE: Final = pack(Kind.RESPONSE, 2, ResponseRecord(CMD, 0, _BODY))
MESSAGE: Final = pack(Kind.MESSAGE, 3, MessageRecord("m-1", msgspec.Raw(b"{}")))


class JournalShow:
    """An agent with a journal that has begun, and of which lies are told."""

    def __init__(self) -> None:
        self.sim = Simulation(
            1,
            faults=[],
            journal_fault_s=SELDOM_S,
            command_gap_s=SELDOM_S,
            says_gap_s=SELDOM_S,
            agent={"give_up_after": None},
        )
        self.sim.run_for(0.5)  # the first batch is stored
        self.agent: AgentProcess = self.sim.processes[0]
        self.journals: JournalInvariants = self.sim.invariants.journals
        self._batch = 1

    def says(self, *outputs: Any) -> None:
        """The agent says something, of which the invariants of work hear nothing."""
        watched = self.agent.watched
        for output in outputs:
            match output:
                case CommandReceived():
                    self.journals.started(watched, output)
                case CommandRefused():
                    self.journals.refused(watched, output)
                case ResponsesSettled():
                    self.journals.settled(watched, output.command_ids)
                case StoreStalled():
                    self.journals.stalls(watched, output)
                case _:
                    self.journals.sends(watched, output)

    def hands_out(self, *records: Record) -> Persist:
        """The agent asks for a batch to be stored."""
        self._batch += 1
        batch = Persist(self._batch, records)
        self.journals.handed_out(self.agent.watched, batch)
        return batch

    def stores(self, *records: Record) -> None:
        """And so it is."""
        self.journals.is_stored(self.agent, self.hands_out(*records))

    def goes_on(self, seconds: float) -> None:
        """Time passes, and the agent does nothing about it."""
        self.sim.schedule.time += seconds
        self.journals.at_rest(self.agent.watched)


def a_message(code: str = "", message_id: str = "r-1") -> Message:
    return Message("response", message_id, Content(command_id=CMD, code=code))


def deleted(record: Record) -> Record:
    return Record(record.kind, record.n, None)


def a_command_twice() -> None:
    show = JournalShow()
    show.stores(OPENED)
    show.says(STARTED, STARTED)


def a_command_whose_response_has_left() -> None:
    show = JournalShow()
    show.stores(OPENED)
    show.stores(RESPONSE)
    show.says(a_message(), STARTED)


def a_response_of_another_life() -> None:
    show = JournalShow()
    show.stores(RESPONSE)
    show.says(a_message(message_id="r-2"))


def a_command_given_back_too_early() -> None:
    show = JournalShow()
    show.hands_out(OPENED)
    show.says(a_message("draining"))


def what_is_settled_is_never_stored() -> None:
    show = JournalShow()
    show.says(ResponsesSettled((CMD,)))
    for _ in range(2):
        show.goes_on(31.0)


def a_deletion(*records: Record) -> Callable[[], None]:
    def show_it() -> None:
        show = JournalShow()
        show.stores(*records[:-1])
        show.stores(records[-1])

    return show_it


def a_command_is_forgotten_while_it_runs() -> None:
    show = JournalShow()
    show.stores(OPENED)
    show.says(STARTED)
    show.stores(deleted(OPENED))


def a_stall_too_early() -> None:
    JournalShow().says(StoreStalled("slow"))


def a_stall_too_late() -> None:
    show = JournalShow()
    show.hands_out(OPENED)
    show.goes_on(8.0)


def a_command_is_taken_while_it_stalls() -> None:
    show = JournalShow()
    show.agent.watched.journal.is_stalled = True  # type: ignore[union-attr]
    show.journals.came(show.agent.watched, [Message("command", CMD, Content())])
    show.journals.at_rest(show.agent.watched)


def a_message_is_taken_while_it_stalls() -> None:
    show = JournalShow()
    show.agent.watched.journal.is_stalled = True  # type: ignore[union-attr]
    show.journals.says(show.agent.watched, "m-1")


def another_disk() -> None:
    show = JournalShow()
    show.agent.die()
    show.journals.begins(show.agent, {(OPENED.kind, OPENED.n): OPENED})


def what_no_agent_has() -> None:
    show = JournalShow()
    show.stores(MESSAGE)
    show.journals.at_rest(show.agent.watched)


JOURNAL_LIES: Final[dict[str, tuple[Callable[[], None], ...]]] = {
    "no command is executed twice in the life of a journal": (a_command_twice, a_command_whose_response_has_left),
    "a command starts once it is stored": (lambda: JournalShow().says(STARTED),),
    "a response or message leaves once it is stored": (
        a_response_of_another_life,
        lambda: JournalShow().says(a_message()),
        lambda: JournalShow().says(Message("message", "m-1", Content())),
    ),
    "a command is given back once its record is deleted": (a_command_given_back_too_early,),
    "what is settled is stored within a minute": (what_is_settled_is_never_stored,),
    "a journal forgets nothing too early": (
        a_command_is_forgotten_while_it_runs,
        a_deletion(RESPONSE, deleted(RESPONSE)),
        a_deletion(MESSAGE, deleted(MESSAGE)),
        a_deletion(RESPONSE, pack(Kind.RESPONSE, 2, ResponseRecord(CMD, 0, _BODY, settled_at=1.0))),
    ),
    "a journal stalls in its time": (a_stall_too_early, a_stall_too_late),
    "a journal that stalls takes nothing new": (
        a_command_is_taken_while_it_stalls,
        a_message_is_taken_while_it_stalls,
    ),
    "the twin of a journal is the agent's own": (another_disk, what_no_agent_has),
}
