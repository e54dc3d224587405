"""The agent's machine: messages and time in, messages and events out; not a byte of framing.

It has two halves, a `Connector` that gets a link and `Messaging` that lives on one, and the `JointRules` of both;
`Turns` says when those run. A transport that frames messages itself (in memory, over another WebSocket library, over a
message broker) drives this class; everyone else drives `AgentProtocol`, which has a machine and puts bytes in the place
of requests and messages.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from artcafe_proto import misuse
from artcafe_proto.agent.authentication import details_request, status_request
from artcafe_proto.agent.connector import ConnectFailure, Connector
from artcafe_proto.agent.dialing import AgentTimer
from artcafe_proto.agent.journal import begin_journal
from artcafe_proto.agent.messaging import Messaging
from artcafe_proto.agent.rules import JointRules
from artcafe_proto.agent.states import AgentState, Life, LifeInput, LinkState
from artcafe_proto.agent.turns import Turns
from artcafe_proto.effects import Disconnect
from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.messages import encode_json
from artcafe_proto.outputs import AgentOutputs, Outputs
from artcafe_proto.policies.backoff import Failure, FailureKind
from artcafe_proto.records import Keeps
from artcafe_proto.secrecy import Secretive
from artcafe_proto.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from artcafe_proto.agent.commands import Accepted
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import AgentMachineEffect, PersistFailure
    from artcafe_proto.events import AgentEvent
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus, FinalCode
    from artcafe_proto.policies.outbox import SettledBy
    from artcafe_proto.policies.status import DeclaredStatus
    from artcafe_proto.policies.tokens import Token
    from artcafe_proto.records import Record

__all__ = ["AgentMachine"]

_CLOSING: Final = LinkState.CLOSING  # once: CPython 3.11 takes ten times as long for a member as for a name


class AgentMachine(Secretive):
    """One agent, for one life from `start` to `Stopped`. Not thread-safe; not for use across a fork."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        rng: Random,
        authenticates: bool = True,
        settled_by: SettledBy = "pong",
        restored: Iterable[Record] = (),
        keeps: Keeps = Keeps.NOTHING,
        now: Instant | None = None,
    ) -> None:
        """`rng` is all the randomness there is: SystemRandom for real, `Random(seed)` to repeat a run exactly.

        `authenticates=False` is for a transport that sees to that by itself: what `Connect` asks for is a link as soon
        as it is `connected`, without a challenge, a token or an opening handshake, and there are no calls. `settled_by`
        says what tells that a message was read: a `pong`, an `acknowledgement` (call `acked`), or `time` (CMD-3).
        The other three are of a journal (CMD-1), and raise, as for `AgentProtocol`.
        """
        self.config = config
        self.outputs: AgentOutputs = Outputs()
        """For a façade: what is drained after the events, in an order of its own."""
        self._timers: Timers[AgentTimer] = Timers()
        self._connector = Connector(config, self.outputs, self._timers, rng, authenticates=authenticates)
        self._journal = begin_journal(config, self.outputs, restored, keeps, now)
        self._messaging = Messaging(config, self.outputs, self._timers, rng, settled_by, self._journal)
        self._desk = self._messaging.desk
        self._rules = JointRules(config, self.outputs, self._timers, rng, self._connector, self._messaging)
        self._turns = Turns(self.outputs, self._rules)
        if self._journal is not None and now is not None:
            self._desk.restore(self._journal, self._turns.look_at_clocks(now))

    # --- A: look ------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> AgentState:
        """The states of authentication and of the link."""
        self._turns.conclude()
        return AgentState(self._connector.state, self._rules.region.state)

    @property
    def is_stopped(self) -> bool:
        """Whether this agent has ended for good."""
        self._turns.conclude()
        return self._rules.life.state is Life.STOPPED

    @property
    def status(self) -> AgentStatus:
        """What heartbeats say (STAT-1)."""
        return self._messaging.status

    @property
    def deadline_reason(self) -> AgentTimer | None:
        """What `deadline` is for; where it is the heartbeat, call `set_metrics` before `handle_timer` (HB-2)."""
        self._turns.conclude()
        return None if (earliest := self._timers.next()) is None else earliest[1]

    @property
    def in_flight(self) -> tuple[str, ...]:
        """Ids of the commands that run (CMD-5)."""
        return tuple(self._desk.running)

    @property
    def queued(self) -> tuple[str, ...]:
        """Ids of the commands that wait for a slot (CMD-5)."""
        return tuple(self._desk.queued)

    @property
    def outbox_size(self) -> int:
        """Responses and messages that are not settled (CMD-3)."""
        return len(self._desk.outbox)

    @property
    def unstored(self) -> int:
        """How many records are not stored (CMD-1): after `Stopped`, what its journal lacks."""
        return 0 if self._journal is None else self._journal.unstored

    @property
    def rtt_s(self) -> float | None:
        """Round-trip time of the last answered ping of this link, in seconds (LINK-7)."""
        link = self._messaging.link
        return None if link is None else link.liveness.rtt_s

    # --- B: world → core ----------------------------------------------------------------------------------------------

    def connected(self, conn: int, now: Instant, *, tls: bool) -> None:
        """Answer to `Connect`: the connection is open. Raises as `AgentProtocol.connected`."""
        self._connector.check_connected(conn, tls=tls)
        now = self._turns.begin(now)
        if self._connector.connected(conn, now.mono):
            self._rules.link_up(conn, now)

    def connect_failed(self, conn: int, cause: ConnectFailure, detail: str, now: Instant) -> None:
        """Answer to `Connect`: it could not be opened. `detail` is for people."""
        misuse.check_connect_failed(conn, cause, detail)
        now = self._turns.begin(now)
        self._rules.connect_failed(conn, cause, detail, now)

    def disconnected(self, conn: int, reason: str, now: Instant) -> None:
        """The connection has ended, by the peer or by the network. `reason` is for people."""
        misuse.check_disconnected(conn, reason)
        self._rules.connection_ended(conn, reason, self._turns.begin(now))

    def peer_ended(self, conn: int, now: Instant) -> None:
        """The peer has ended its side of `conn`: nothing more will come, so this side ends too."""
        misuse.check_number(conn, "a connection")
        now = self._turns.begin(now)
        if self._connector.owns(conn) or self._messaging.link_on(conn) is not None:
            self.outputs.disconnects.append(Disconnect(conn, abort=True))
            self._rules.connection_ended(conn, "the peer closed it", now)

    def peer_failed(self, conn: int, error: RemoteProtocolError, now: Instant) -> None:
        """The peer broke HTTP or WebSocket framing on `conn`: nothing more can be read from it."""
        misuse.check_peer_failed(conn, error)
        now = self._turns.begin(now)
        failure = Failure(FailureKind.OTHER, error.reason, error.clause)
        if (link := self._messaging.link_on(conn)) is not None:
            self._rules.lose_link(self._messaging.close(link, error.code, failure), now)
        else:
            self._rules.attempt_over(self._connector.peer_failed(conn, failure, now), now)

    def bytes_received(self, conn: int, now: Instant) -> None:
        """Anything at all came in on `conn`: a sign of life (LINK-7). Call it before the input it was part of."""
        if type(conn) is not int:  # a check costs a call
            misuse.check_number(conn, "a connection")
        now = self._turns.look(now)
        if (link := self._messaging.link_on(conn)) is None:
            self._connector.heard(conn)
        elif self._rules.heard(link, now.mono):
            self._turns.due_at = now

    def unsent(self, conn: int, nbytes: int, now: Instant, *, unwritten_bytes: int = 0) -> None:
        """So many bytes of what was written on `conn` have not left, as `AgentProtocol.unsent` says. A transport that
        frames messages counts their payloads, or more. `unwritten_bytes`: of what was drained and not written yet.
        """
        misuse.check_unsent(nbytes, conn, unwritten_bytes)
        now = self._turns.begin(now)
        if (link := self._messaging.link_on(conn)) is not None:
            link.unsent(nbytes, now.mono, self.outputs.undrained_bytes(conn) + unwritten_bytes)
            self._desk.outbox.watch(link, now.mono)

    def begin_read(self, now: Instant) -> None:
        """For a façade: inputs with the same `now` follow, of one read. Raises what the first of them would raise."""
        self._turns.look(now)

    def response_received(self, conn: int, exchange: int, response: HttpResponse, now: Instant) -> None:
        """Answer to `SendRequest`, or to `SendUpgrade` where it was refused."""
        misuse.check_response(conn, exchange, response)
        now = self._turns.begin(now)
        self._rules.attempt_over(self._connector.response_received(conn, exchange, response, now), now)

    def upgraded(self, conn: int, exchange: int, now: Instant) -> None:
        """Answer to `SendUpgrade`: the link is up, and its first heartbeat goes out (HB-1)."""
        misuse.check_exchange(conn, exchange)
        now = self._turns.begin(now)
        if self._connector.upgraded(conn, exchange):
            self._rules.link_up(conn, now)

    def signed(self, request: int, signature: bytes, now: Instant) -> None:
        """Answer to `Sign`: the signature. Raises as `AgentProtocol.signed`."""
        misuse.check_signed(request, signature)
        self._connector.signed(request, signature, self._turns.begin(now).mono)

    def sign_failed(self, request: int, reason: str, now: Instant) -> None:
        """Answer to `Sign`: there is no signature. `reason` is for people; it must hold no secret."""
        misuse.check_sign_failed(request, reason)
        now = self._turns.begin(now)
        self._rules.attempt_over(self._connector.sign_failed(request, reason, now), now)

    def text_received(self, conn: int, payload: bytes, now: Instant) -> None:
        """One whole TEXT message; its bytes must have been checked to be UTF-8 (MSG-6)."""
        turns, messaging = self._turns, self._messaging
        if type(payload) is not bytes:
            misuse.check_payload(conn, payload)
        if now is not turns.now:
            now = turns.look(now)
        turns.due_at = now
        link = messaging.link
        if link is not None and conn == link.conn and messaging.region.state is not _CLOSING:
            failure = messaging.text_received(link, payload, now)
            if failure is not None:
                self._rules.lose_link(failure, now)

    def ping_received(self, conn: int, payload: bytes, now: Instant) -> None:
        """A ping."""
        misuse.check_payload(conn, payload)
        now = self._turns.look(now)
        if (link := self._messaging.open_link(conn)) is not None:
            link.pong(payload)
            if not link.outflow.has_room:
                self._turns.due_at = now  # a report is waited for, if only for a moment

    def pong_received(self, conn: int, payload: bytes, now: Instant) -> None:
        """A pong."""
        misuse.check_payload(conn, payload)
        now = self._turns.look(now)
        link = self._messaging.open_link(conn)
        if link is not None and self._messaging.pong_received(link, payload, now):
            self._turns.due_at = now

    def acked(self, conn: int, message_id: str, now: Instant) -> None:
        """The message of this id was read, so it is settled; for a machine `settled_by="acknowledgement"` (CMD-3)."""
        misuse.check_acked(conn, message_id, self._desk.outbox.settled_by)
        self._messaging.acked(conn, message_id, self._turns.begin(now))

    def close_received(self, conn: int, code: int, reason: str, now: Instant) -> None:
        """A close frame; `code` is 1005 where it named none."""
        misuse.check_close_received(conn, code, reason)
        now = self._turns.begin(now)
        if (link := self._messaging.link_on(conn)) is not None:
            self._rules.close_received(link, code, reason, now)

    def persisted(self, batch: int, now: Instant) -> None:
        """Answer to `Persist`: its records are stored. Late and repeated calls are harmless."""
        misuse.check_number(batch, "a batch")
        self._messaging.persisted(batch, self._turns.begin(now))

    def persist_failed(self, batch: int, reason: PersistFailure, now: Instant) -> None:
        """Answer to `Persist`: they could not be, `full` or `unavailable`. The batch is handed out again after 1 s."""
        misuse.check_number(batch, "a batch")
        misuse.check_persist_failure(reason)
        self._messaging.persist_failed(batch, reason, self._turns.begin(now))

    def handle_timer(self, now: Instant) -> None:
        """Time has passed. Afterwards `deadline` is None or later than `now.mono`."""
        now = self._turns.look(now)
        self._messaging.put_off_look()
        while (due := self._timers.pop_due(now.mono)) is not None:
            self._rules.timer_due(due[0], now)
            self._turns.due_at = now
            self._turns.conclude()

    # --- C: application → core ----------------------------------------------------------------------------------------

    def start(self, now: Instant) -> None:
        """Go online, and come back whatever happens, until `stop`."""
        self._rules.check_new()
        self._turns.begin(now)
        self._rules.life.fire(LifeInput.START)

    def stop(self, now: Instant, *, drain: bool = True) -> None:
        """End for good: after a drain (CMD-8), or at once and in any state (LINK-10). `Stopped` is the last event."""
        misuse.check_flag(drain, "drain")
        self._rules.stop(self._turns.begin(now), drain=drain)

    def respond(self, command_id: str, result: object, now: Instant) -> bool:
        """Answer a command with success. Returns and raises as `AgentProtocol.respond`."""
        desk = self._desk  # most ids are texts: a call less for each command
        running = desk.running.get(command_id) if type(command_id) is str else desk.find(command_id)
        if running is None:
            self._turns.look_at_clocks(now)
            return False
        raw = None if running.answered else encode_json(result, "result")
        now = self._release(running, now)
        if raw is not None:
            self._desk.respond(running, raw, now)
        return raw is not None

    def fail(self, command_id: str, code: FinalCode, reason: str, now: Instant) -> bool:
        """Answer a command with an error (CMD-9). Returns and raises as `AgentProtocol.fail`."""
        misuse.check_failure(code, reason)
        running = self._desk.find(command_id)
        if running is None:
            self._turns.look_at_clocks(now)
            return False
        now = self._release(running, now)
        if not running.answered:
            self._desk.fail(running, misuse.plain_text(code), reason, now)
        return not running.answered

    def progress(self, command_id: str, percent: float, now: Instant) -> bool:
        """Report how far a running command is, 0 to 100 (STAT-4). False if it is not running or the link is down."""
        number, running = misuse.checked_percentage(percent), self._desk.find(command_id)
        self._turns.begin(now)
        return running is not None and self._messaging.offer_progress(running, number)

    def set_status(self, status: DeclaredStatus, now: Instant) -> None:
        """Declare the agent's status (STAT-1); it is `busy` by itself while no more commands can start."""
        status = misuse.checked_declared(status)
        self._turns.begin(now)
        self._messaging.declared = status

    def set_metrics(self, cpu_usage: float, memory_usage: float) -> None:
        """What the next heartbeats say: percent of all cores, and resident MiB (HB-2)."""
        self._messaging.metrics = misuse.checked_metrics(cpu_usage, memory_usage)

    def send_message(self, data: dict[str, object], now: Instant) -> str:
        """Queue an application message and return its id (CMD-3). Raises as `AgentProtocol.send_message`."""
        if self.is_stopped:
            raise LocalProtocolError("the agent has stopped, and sends no more messages")
        raw = self._messaging.encode_message(data)
        return self._messaging.message(raw, self._turns.begin(now))

    def get_details(self, now: Instant) -> int:
        """Ask for the agent as the platform shows it (STAT-2). Returns and raises as `AgentProtocol.get_details`."""
        return self._call(partial(details_request, self.config), now)

    def put_status(self, status: AgentStatus, now: Instant) -> int:
        """Set the agent's status by request instead of by message (STAT-2). Answered and raising as `get_details`."""
        return self._call(partial(status_request, self.config, status=misuse.checked_status(status)), now)

    def cancel_call(self, call: int, now: Instant) -> bool:
        """Nobody waits for a call any more: it ends with `CallFailed`. False if it has ended already."""
        misuse.check_number(call, "a call")
        self._turns.begin(now)
        return self._connector.cancel_call(call)

    def _call(self, request: Callable[[Token], HttpRequest], now: Instant) -> int:
        self._turns.conclude()
        self._rules.check_runs()
        self._connector.check_room()
        return self._connector.call(request, self._turns.begin(now).mono)

    # --- D: core → world ----------------------------------------------------------------------------------------------

    def deadline(self) -> float | None:
        """When to call `handle_timer`, in monotonic seconds; None if nothing is waited for."""
        self._turns.conclude()
        return None if (earliest := self._timers.next()) is None else earliest[0]

    def next_output(self) -> AgentMachineEffect | AgentEvent | None:
        """The next output; call until None after every input."""
        return self.outputs.next() if (event := self.next_event()) is None else event

    def next_event(self) -> AgentEvent | None:
        """For a façade, the next event of a drain: those there are, then a command that starts, then what follows."""
        events, turns = self.outputs.events, self._turns
        if not events and self._desk.queued:
            self._desk.start_next(turns.now)
            if events:
                turns.due_at = turns.now  # what starts may take the last slot, which is told (STAT-2)
        if not events:
            turns.conclude()
        return events.pop(0) if events else None

    def _release(self, running: Accepted, now: Instant) -> Instant:
        """A command is over, and so is free its slot."""
        turns = self._turns
        if now is not turns.now:
            now = turns.look_at_clocks(now)
        turns.due_at = now
        del self._desk.running[running.command_id]
        if running.has_progress:
            self._messaging.forget_progress(running.command_id)
        return now
