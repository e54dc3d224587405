"""Who looks at a simulation: it is told of everything that happens, and asks each family of invariants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.agent.states import LinkState
from artcafe_proto.effects import Connect, Disconnect, PauseReading, Persist, ResumeReading, Sign, Write
from artcafe_proto.events import (
    CallAnswered,
    CallFailed,
    ClocksParted,
    CommandCancelled,
    CommandInterrupted,
    CommandReceived,
    CommandRefused,
    MessageSettled,
    Offline,
    Online,
    RenewalFailed,
    RenewalStarted,
    RepeatReceived,
    ResponseReplaced,
    ResponsesSettled,
    Stopped,
    StoreRecovered,
    StoreStalled,
    TokenReceived,
    TokenRenewed,
    Undeliverable,
)
from artcafe_proto.testing.invariants.calls import CallInvariants
from artcafe_proto.testing.invariants.journals import JournalInvariants
from artcafe_proto.testing.invariants.links import LinkInvariants
from artcafe_proto.testing.invariants.platforms import PlatformInvariants
from artcafe_proto.testing.invariants.stored import StoredInvariants
from artcafe_proto.testing.invariants.table import Checks
from artcafe_proto.testing.invariants.waits import WaitInvariants
from artcafe_proto.testing.invariants.work import WorkInvariants
from artcafe_proto.testing.rogues import ROGUE_CHALLENGE
from artcafe_proto.testing.wiretap import WrittenRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artcafe_proto.effects import Effect
    from artcafe_proto.events import AgentEvent, Event
    from artcafe_proto.instants import Instant
    from artcafe_proto.records import Record
    from artcafe_proto.testing.circuits import Circuit
    from artcafe_proto.testing.invariants.scenes import Platform, Scene
    from artcafe_proto.testing.invariants.watched import Process, Watched

__all__ = ["Invariants"]

_OUTBOX: tuple[str, ...] = ("response", "message")


class Invariants(Checks):
    """The observer of a simulation. `evaluations` counts how often each invariant was looked at."""

    def __init__(self, sim: Scene) -> None:
        super().__init__(sim)
        self._scene = sim
        self._links = LinkInvariants(self)
        self._waits = WaitInvariants(self)
        self._work = WorkInvariants(self)
        self.stored: StoredInvariants = StoredInvariants(self, sim)
        """Told by a platform with a store, and by callers."""
        self._platform = PlatformInvariants(self, sim, self.stored)
        self.calls: CallInvariants = CallInvariants(self, sim, self.stored)
        """Told by callers."""
        self.journals: JournalInvariants = JournalInvariants(self, sim)
        """Told by processes with a journal."""

    # --- what agents say ----------------------------------------------------------------------------------------------

    def agent_said(self, process: Process, output: Effect | AgentEvent) -> None:
        """An output was drained."""
        watched = process.watched
        if type(output) is Write:
            self._agent_writes(watched, output)
            return
        shown = repr(output)
        self._sim.told(process.agent_id, shown)
        self._look_for_secrets(watched, shown)
        about = (self._about_links, self._about_work, self._about_journals, self._about_waits)
        any(is_about(watched, output) for is_about in about)

    def _look_for_secrets(self, watched: Watched, text: str) -> None:
        shown = [secret for secret in watched.secrets if secret in text]
        self.check("no secret in any output", not shown, text)

    def _agent_writes(self, watched: Watched, write: Write) -> None:
        for message in self._links.writing(watched, write):
            if isinstance(message, WrittenRequest):
                if not message.is_call:
                    self._waits.attempting(watched)
            elif message.type in _OUTBOX:
                self.journals.sends(watched, message)
                self._work.sends(watched, watched.links[write.conn], message)

    def _about_links(self, watched: Watched, output: Effect | AgentEvent) -> bool:
        match output:
            case Connect():
                self._links.connecting(watched, output.conn)
                self._waits.connecting(watched)
            case Disconnect():
                self._links.gone(watched, output.conn)
            case PauseReading() | ResumeReading():
                self._links.asks_to_read(watched, output.conn, reads=isinstance(output, ResumeReading))
            case Sign():
                watched.secrets |= {output.challenge} - {ROGUE_CHALLENGE}
            case Online():
                self._work.link_begins(watched)
                self._links.online(watched, output.link)
            case Offline():
                self._waits.waiting(watched, output)
                self._links.offline(watched, output.clause)
            case _:
                return False
        return True

    def _about_work(self, watched: Watched, output: Effect | AgentEvent) -> bool:
        work = self._work
        match output:
            case CommandReceived():
                work.started(watched, output.command_id)
                self.journals.started(watched, output)
                self._platform.started(watched.process.agent_id, output.command_id)
            case CommandRefused():
                work.refused(watched, output)
                self.journals.refused(watched, output)
            case CommandCancelled(code="timeout"):
                work.timed_out(watched, output.command_id)
            case CommandCancelled():
                work.answered(watched, output.command_id)
            case RepeatReceived():
                if output.answer is not None:
                    work.repeats(watched, output.command_id)
            case ResponseReplaced():
                work.replaced(watched, output)
            case ResponsesSettled():
                work.settled(watched, output.command_ids, assumed=output.assumed)
                self.journals.settled(watched, output.command_ids)
            case MessageSettled():
                work.settled(watched, (output.message_id,), assumed=output.assumed)
                self.journals.settled(watched, (output.message_id,))
            case Undeliverable():
                work.undeliverable(watched, output.command_id or output.message_id)
                self.journals.settled(watched, (output.command_id or output.message_id,))
            case CallAnswered() | CallFailed():
                work.call_ended(watched, output.call)
            case _:
                return False
        return True

    def _about_journals(self, watched: Watched, output: Effect | AgentEvent) -> bool:
        match output:
            case Persist():
                self.journals.handed_out(watched, output)
            case CommandInterrupted():
                self.journals.interrupted(watched, output)
            case StoreStalled():
                self.journals.stalls(watched, output)
            case StoreRecovered():
                self.journals.recovers(watched)
            case _:
                return False
        return True

    def _about_waits(self, watched: Watched, output: Effect | AgentEvent) -> bool:
        match output:
            case TokenReceived() | TokenRenewed():
                self._waits.token(watched, output)
            case RenewalStarted():
                self._waits.renewing(watched)
            case RenewalFailed():
                self._waits.renewal_failed(watched, output)
            case ClocksParted():
                self._waits.aged(watched, output.drift_s)
            case Stopped():
                watched.retry_at = None
                if output.gave_up:
                    self._waits.gave_up(watched)
                self._work.stopped(watched, output)
                self.journals.stopped(watched, output)
            case _:
                return False
        return True

    # --- what happens to agents ---------------------------------------------------------------------------------------

    def agent_lost(self, process: Process, conn: int) -> None:
        """The network tells it that a connection is gone, or cannot be opened."""
        self._links.gone(process.watched, conn)

    def agent_was_sent(self, process: Process, conn: int, data: bytes) -> None:
        """Bytes are about to reach an agent."""
        watched = process.watched
        if conn in watched.taps:
            watched.reading = conn
            rejected = len(watched.rejected)
            messages = self._links.hearing(watched, conn, data)
            self.journals.came(watched, messages)
            self._work.came(watched, messages)
            watched.is_token_refused |= len(watched.rejected) > rejected
            if watched.link is not None and conn == watched.link.conn:
                self._waits.heard(watched)

    def agent_answers(self, process: Process, command_id: str) -> None:
        """A handler has ended."""
        self._work.answered(process.watched, command_id)

    def agent_sends(self, process: Process, message_id: str, size: int) -> None:
        """The application sends a message."""
        self._work.says(process.watched, message_id, size)
        self.journals.says(process.watched, message_id)

    def message_was_refused(self, process: Process) -> None:
        """There was no place for a message."""
        journal = process.watched.journal
        if journal is None or not journal.is_stalled:
            self._work.message_refused(process.watched)

    def agent_calls(self, process: Process, number: int) -> None:
        """The application makes a call."""
        self._work.calls(process.watched, number)

    def agent_stops(self, process: Process, *, drain: bool) -> None:
        """The application has stopped an agent."""
        self._waits.stopping(process.watched, drain=drain)

    def agent_at_rest(self, process: Process) -> None:
        """Something happened to an agent, and all that follows from it."""
        watched = process.watched
        watched.reading = None
        if not process.protocol.is_stopped:
            if watched.link is not None and not watched.link.is_closed:
                self._links.at_rest(watched, watched.link)
            self._waits.at_rest(watched)
        self._work.looked_at(watched)
        self.journals.at_rest(watched)

    def timer_handled(self, deadline: float | None, now: Instant) -> None:
        """`handle_timer` has returned."""
        holds = deadline is None or deadline > now.mono
        self.check("a handled timer is not due any more", holds, deadline, "at", now.mono)

    # --- what the platform does ---------------------------------------------------------------------------------------

    def platform_said(self, event: Event) -> None:
        """An event of the hub was drained."""
        self._sim.told("platform", event)
        self.stored.said(event)
        self._platform.said(event)
        self.calls.said(event)

    def platform_linked(self, circuit: Circuit, process: Process) -> None:
        """It has accepted the link of a process."""
        self._platform.linked(circuit, process.watched)

    def platform_wrote(self, circuit: Circuit, data: bytes) -> None:
        """It writes on a link."""
        self._platform.wrote(circuit.server_conn, data)

    def platform_was_sent(self, circuit: Circuit, data: bytes) -> None:
        """Bytes are about to reach it."""
        self._platform.was_sent(circuit.server_conn, data)
        self.stored.was_sent(circuit.server_conn, len(data))

    def platform_was_told_unsent(self, circuit: Circuit, nbytes: int) -> None:
        """It has been told how much has not left on a connection."""
        self._platform.was_told_unsent(circuit.server_conn, nbytes)

    def platform_hears(self, circuit: Circuit) -> None:
        """Something happens on one of its connections."""
        self._platform.hears(circuit.server_conn)

    def platform_left(self, circuit: Circuit) -> None:
        """One of its connections is over."""
        self._platform.left(circuit.server_conn)

    def platform_restarts(self, *, keeps_memory: bool) -> None:
        """All its connections are over."""
        self._platform.restarts(keeps_memory=keeps_memory)
        self.calls.restarts(keeps_memory=keeps_memory)

    def platform_crashes(self, kept: Persist | None, records: Iterable[Record]) -> None:
        """It has died, and is about to be restored from `records`. `kept`: a batch in them that it was not told of."""
        for process in self._scene.processes:
            process.watched.received.difference_update(self.stored.unstored(process.agent_id))
        self.stored.crashes(kept, records)
        self._platform.crashes()
        self.calls.restarts(keeps_memory=False)

    def platform_handled_timers(self, platform: Platform) -> None:
        """Whatever was due was handled."""
        self._platform.handled_timers(platform)

    # --- at the end ---------------------------------------------------------------------------------------------------

    def longest_way_back_s(self) -> float:
        """How long an agent may need to come back once nothing is wrong any more."""
        waits = [0.0]
        for process in self._scene.processes:
            watched = process.watched
            if watched.retry_at is not None and process.protocol.state.link is LinkState.DOWN:
                waits.append(watched.retry_at - process.mono)
        config = self._scene.agent_config(self._scene.agent_ids[0])
        deadlines_s = (
            config.connect_timeout + 2 * config.exchange_timeout + config.sign_timeout + config.upgrade_timeout
        )
        tries = 2 if config.next_key else 1  # the first key may be the wrong one
        return max(waits) + config.ping_interval + config.ping_timeout + tries * (deadlines_s + 144.0)

    def is_all_well(self) -> bool:
        """Whether every agent is online, in its own eyes and in the platform's."""
        return all(self._is_well(agent_id) for agent_id in self._scene.agent_ids)

    def _is_well(self, agent_id: str) -> bool:
        is_up = [each.protocol.state.link is LinkState.UP for each in self._scene.processes_of(agent_id)]
        return is_up == [True] and self._scene.platform.is_online(agent_id)

    def all_is_well_again(self) -> None:
        """Everybody had the time to come back."""
        for agent_id in self._scene.agent_ids:
            states = [process.protocol.state for process in self._scene.processes_of(agent_id)]
            self.check("online again when all is well", self._is_well(agent_id), agent_id, states)

    def every_command_was_answered_once(self) -> None:
        """Everything had the time to be done."""
        for command_id, account in self._scene.tenant.accounts.items():
            self.check("every command answered once", account.is_over, command_id, account)

    def all_have_stopped(self) -> None:
        """Every drain had its time."""
        for process in self._scene.processes:
            self.check("a drain ends in time", process.protocol.is_stopped, process.agent_id)
