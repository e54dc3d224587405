"""What all drivers of an `AgentProtocol` have in common, without I/O: an event loop supplies five methods.

Every call of a driver is a turn: it tells the protocol what happened, and at its end carries out all that follows. So
nothing waits for the next input, whether that call comes from the loop or from the application.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final

from artcafe_proto.agent.protocol import AgentProtocol
from artcafe_proto.causes import cause_of, told_by
from artcafe_proto.driver_turns import OwnTurn, Turn, Turns
from artcafe_proto.effects import CancelSign, Connect, Disconnect, PauseReading, Persist, ResumeReading, Sign, Write
from artcafe_proto.errors import ArtCafeError, LocalProtocolError, SigningRefusedError
from artcafe_proto.events import CommandReceived, ResponsesSettled
from artcafe_proto.instants import Instant
from artcafe_proto.limits import LONGEST_SLEEP_S, STORE_PATIENCE_S
from artcafe_proto.readable import text_of
from artcafe_proto.records import Keeps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from random import Random

    from artcafe_proto.config import AgentConfig
    from artcafe_proto.connection import Connection
    from artcafe_proto.effects import ConnectFailure, Effect, PersistFailure
    from artcafe_proto.events import AgentEvent
    from artcafe_proto.messages import FinalCode
    from artcafe_proto.records import Record

__all__ = ["Driver"]


class Driver(ABC):
    """Drives one agent. A subclass supplies `clock`, `call_at` and `open`, which makes a `Connection`.

    - The loop tells it: `start`, `connected` or `connect_failed`, `data_received`, `disconnected`, `timer_due`.
    - The application calls `respond`, `fail`, `progress` and `stop`, and all else of `protocol` within a `turn`.

    All calls come from the thread of the loop. They may come at any time, also from within the five methods and from
    `handle`. `sign`, `handle`, `stopped` and `internal_error` may be supplied as well.
    """

    connection_errors: ClassVar[tuple[type[Exception], ...]] = (Exception,)
    """What `open` and the methods of a connection raise of these is the end of that connection and no more. Others are
    errors in the driver, too (see `internal_error`), and so is every ArtCafeError."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        rng: Random,
        report: Callable[[BaseException], object],
        sign: Callable[[Sign], bytes] | None = None,
        handle: Callable[[Driver, AgentEvent], object] | None = None,
        restored: Iterable[Record] = (),
        keeps: Keeps = Keeps.NOTHING,
        now: Instant | None = None,
    ) -> None:
        """`sign` answers at once, and raises if there is no signature; for a slower one override the method.

        `handle` is called for every event with this driver. If it raises for a command, that is answered with
        `handler_error`. `report` is told what `sign` and `handle` raised: nobody else is. `restored`, `keeps` and `now`
        are of a journal, and raise as for `AgentProtocol`; with one, supply `persist`, too.
        """
        self.protocol: Final = AgentProtocol(config, rng=rng, restored=restored, keeps=keeps, now=now)
        self._sign = sign
        self._handle = handle
        self._report = report
        self._connections: dict[int, Connection] = {}
        self._closing: dict[int, tuple[float, Connection]] = {}  # each with the time when it is aborted
        self._opening: set[int] = set()  # until `open` returns, or tells how it has ended
        turns = Turns(self, self._carry_out_all)
        self._own_turn = OwnTurn(turns)
        self._turn = Turn(turns)
        self._note = turns.note
        self._is_over = False
        self._wakes_at = math.inf
        self._stores_until = math.inf

    # --- what a loop supplies -----------------------------------------------------------------------------------------

    @abstractmethod
    def clock(self) -> Instant:
        """The moment; its monotonic time is that of `call_at`."""

    @abstractmethod
    def call_at(self, mono: float) -> None:
        """Have `timer_due` called at that time in place of the one given before; monotonic seconds."""

    @abstractmethod
    def open(self, asked: Connect) -> Connection:
        """Begin to open a connection, and call `connected` or `connect_failed`. What this raises is such a failure."""

    def sign(self, asked: Sign) -> None:
        """Sign a challenge. One that signs in a thread overrides this, and later calls `signed` or `sign_failed`."""
        try:
            if self._sign is None:
                raise SigningRefusedError("the driver was given nothing that signs")
            signature = self._sign(asked)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.sign_failed(asked.request, error)
        else:
            self.signed(asked.request, signature)

    def cancel_sign(self, asked: CancelSign) -> None:  # noqa: B027 a late signature does no harm
        """Nobody waits for a signature any more."""

    def persist(self, asked: Persist) -> None:
        """Store records, and call `persisted` or `persist_failed`; for a driver with a journal (CMD-1)."""
        raise LocalProtocolError(f"{type(self).__name__} keeps records and has no `persist` that stores them")

    def handle(self, event: AgentEvent, now: Instant) -> None:
        """Tell the application; `now` is the moment of the turn. What this raises is an `internal_error`."""
        if self._handle is None:
            return
        try:
            self._handle(self, event)
        except KeyboardInterrupt:  # a signal of the terminal, and not the author's
            raise
        except BaseException as error:  # also what is meant to end a program or a task (CMD-7)
            if isinstance(event, CommandReceived):
                self.fail(event.command_id, "handler_error", type(error).__name__)
            self._report(error)

    def stopped(self) -> None:  # noqa: B027
        """The agent has stopped and its connections are closed: the loop may end."""

    def internal_error(self, error: Exception) -> None:
        """An error in the driver: no network and no application explain it. What this raises is raised when the turn
        ends. Where that is to a loop that goes on without a word, override this: tell somebody, and call `abandon`.
        """
        raise error

    # --- what the loop tells ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Go online, unless it was stopped before."""
        with self._own_turn as now:
            if not self.protocol.is_stopped:
                self.protocol.start(now)

    def connected(self, conn: int, *, tls: bool) -> None:
        """A connection is open, `tls` if under TLS that is verified. Raises LocalProtocolError for another than asked
        for. One that was given up meanwhile is aborted by whoever opened it: its `close` was called.
        """
        with self._own_turn as now:
            self.protocol.connected(conn, now, tls=tls)

    def connect_failed(self, conn: int, error: BaseException | str, cause: ConnectFailure | None = None) -> None:
        """A connection could not be opened; without a `cause` the kind of `error` says which it is."""
        with self._own_turn as now:
            self.protocol.connect_failed(conn, cause or cause_of(error), told_by(error), now)
            self._forget(conn)

    def data_received(self, conn: int, data: bytes) -> None:
        """Bytes came in; none means that the peer has ended its side."""
        with self._own_turn as now:
            if data == b"":
                self.protocol.eof_received(conn, now)
            else:
                self.protocol.data_received(conn, data, now)

    def disconnected(self, conn: int, error: BaseException | str | None = None) -> None:
        """A connection has ended: by an error, or without one because either side has closed it."""
        self._closing.pop(conn, None)
        self._forget(conn)
        with self._own_turn as now:
            if error is None:
                self.protocol.eof_received(conn, now)
            self.protocol.disconnected(conn, "the peer closed it" if error is None else told_by(error), now)

    def signed(self, request: int, signature: bytes) -> None:
        """A signature is there."""
        with self._own_turn as now:
            try:
                self.protocol.signed(request, signature, now)
            except LocalProtocolError as error:
                self.sign_failed(request, error)

    def sign_failed(self, request: int, error: BaseException) -> None:
        """There is no signature. What other errors than ours say may be secret, and goes to `report` alone."""
        reason = text_of(error) if isinstance(error, ArtCafeError) else type(error).__name__
        with self._own_turn as now:
            self.protocol.sign_failed(request, reason, now)
        self._report(error)

    def persisted(self, batch: int) -> None:
        """The records of a batch are stored."""
        with self._own_turn as now:
            self.protocol.persisted(batch, now)

    def persist_failed(self, batch: int, reason: PersistFailure) -> None:
        """They could not be stored, and will be asked for again."""
        with self._own_turn as now:
            self.protocol.persist_failed(batch, reason, now)

    def timer_due(self) -> None:
        """The time that `call_at` was given has come. Earlier is harmless, but timers that were replaced cost wakes."""
        self._wakes_at = math.inf
        with self._own_turn as now:
            for connection in list(self._connections.values()):
                if not connection.is_clear:
                    self._tell_level(connection, now)
            self.protocol.handle_timer(now)

    # --- what the application calls -----------------------------------------------------------------------------------

    def respond(self, command_id: str, result: object) -> bool:
        """Answer a command, as `AgentProtocol.respond`."""
        with self.turn() as now:
            return self.protocol.respond(command_id, result, now)

    def fail(self, command_id: str, code: FinalCode, reason: str) -> bool:
        """Answer a command with an error, as `AgentProtocol.fail`."""
        with self.turn() as now:
            return self.protocol.fail(command_id, code, reason, now)

    def progress(self, command_id: str, percent: float) -> bool:
        """Report how far a command is, as `AgentProtocol.progress`."""
        with self.turn() as now:
            return self.protocol.progress(command_id, percent, now)

    def stop(self, *, drain: bool = True) -> None:
        """End for good, as `AgentProtocol.stop`; `stopped` follows."""
        with self.turn() as now:
            self.protocol.stop(now, drain=drain)

    def turn(self) -> AbstractContextManager[Instant, None]:
        """Call `protocol` with the moment that this gives; at the end all that follows is carried out."""
        return self._turn

    def own_turn(self) -> AbstractContextManager[Instant, bool]:
        """The same for the driver's own parts: whatever is raised within is an `internal_error`."""
        return self._own_turn

    def abandon(self) -> None:
        """Carry out nothing more, and abort all connections: as the loop ends, or after an internal error."""
        self._is_over = True
        connections = [*self._connections.values(), *(connection for _, connection in self._closing.values())]
        self._connections.clear()
        self._closing.clear()
        for connection in connections:
            try:
                connection.close(abort=True)
            except Exception as error:
                with suppress(Exception):  # the others are closed all the same
                    self._report(error)

    # --- what follows -------------------------------------------------------------------------------------------------

    def _carry_out_all(self, now: Instant) -> None:
        for part in (self._carry_out_each, self._finish):
            try:
                if not self._is_over:
                    part(now)
            except Exception as error:
                self._note(error)

    def _carry_out_each(self, now: Instant) -> None:
        next_output, connections = self.protocol.next_output, self._connections
        while not self._is_over:
            while (output := next_output()) is not None:
                try:
                    if type(output) is CommandReceived:  # most are
                        self.handle(output, now)
                    else:
                        self._carry_out(output, now)
                except Exception as error:
                    self._note(error)
                if self._is_over:
                    return
            due = [each for each in connections.values() if each.look_at <= now.mono]
            if not due:
                return
            for connection in due:
                self._tell_level(connection, now)

    def _finish(self, now: Instant) -> None:
        """When all is carried out: abort what does not close, stop, and set the timer."""
        for abort_at, connection in list(self._closing.values()):
            if abort_at <= now.mono:
                self._close(connection, abort=True)
        if self.protocol.is_stopped and not self._closing and not self._stores(now):
            self._is_over = True
            self.stopped()
        else:
            self._set_timer(now.mono)

    def _stores(self, now: Instant) -> bool:
        """Whether the journal of an agent that has stopped is still waited for."""
        if not self.protocol.unstored:
            return False
        if self._stores_until == math.inf:
            self._stores_until = now.mono + STORE_PATIENCE_S
        return now.mono < self._stores_until

    def _set_timer(self, mono: float) -> None:
        deadline = self.protocol.deadline()
        times = [mono + LONGEST_SLEEP_S, self._stores_until, math.inf if deadline is None else deadline]
        times += [each.look_at for each in self._connections.values()]
        times += [abort_at for abort_at, _ in self._closing.values()]
        wakes_at = min(times)
        if wakes_at < self._wakes_at:  # one that is later than needed is set when it is due
            self.call_at(wakes_at)
            self._wakes_at = wakes_at

    def _carry_out(self, output: Effect | AgentEvent, now: Instant) -> None:
        match output:
            case ResponsesSettled():  # of the events the one that is not rare
                self.handle(output, now)
            case Write() | PauseReading() | ResumeReading():
                connection = self._connections.get(output.conn)
                if connection is not None:  # else it has ended while this was drained
                    self._pass_on(connection, output)
            case Connect():
                self._open(output)
            case Disconnect(conn=conn):
                connection = self._connections.pop(conn, None)
                if connection is not None:
                    self._closing[conn] = now.mono + self.protocol.config.close_timeout, connection
                    self._close(connection, abort=output.abort)
            case Sign():
                self.sign(output)
            case Persist():
                self.persist(output)
            case CancelSign():
                self.cancel_sign(output)
            case _:
                self.handle(output, now)

    def _open(self, asked: Connect) -> None:
        self._opening.add(asked.conn)
        try:
            connection = self.open(asked)
        except Exception as error:
            if asked.conn in self._opening:
                self.connect_failed(asked.conn, error)
            self._judge(error)
        else:
            if asked.conn in self._opening:
                self._connections[asked.conn] = connection
            if self._is_over:
                self.abandon()  # also what was opened meanwhile
        self._opening.discard(asked.conn)

    def _pass_on(self, connection: Connection, output: Write | PauseReading | ResumeReading) -> None:
        try:
            if isinstance(output, Write):
                connection.wrote(len(output.data))
                connection.write(output.data)
            elif isinstance(output, PauseReading):
                connection.pause_reading()
            else:
                connection.resume_reading()
        except Exception as error:
            self._lose(connection, error)

    def _tell_level(self, connection: Connection, now: Instant) -> None:
        try:
            level = connection.level(now.mono)
        except Exception as error:
            self._lose(connection, error)
        else:
            self.protocol.unsent(connection.conn, level, now)

    def _lose(self, connection: Connection, error: Exception) -> None:
        self.disconnected(connection.conn, error)
        self._close(connection, abort=True)
        self._judge(error)

    def _close(self, connection: Connection, *, abort: bool) -> None:
        if abort:
            self._closing.pop(connection.conn, None)
        try:
            connection.close(abort=abort)
        except Exception as error:
            if not abort:
                self._close(connection, abort=True)
            if self._judge(error):
                self._report(error)

    def _judge(self, error: Exception) -> bool:
        """Whether an error that a connection met is one of the network; otherwise it is noted."""
        is_of_network = isinstance(error, self.connection_errors) and not isinstance(error, ArtCafeError)
        if not is_of_network:
            self._note(error)
        return is_of_network

    def _forget(self, conn: int) -> None:
        self._connections.pop(conn, None)
        self._opening.discard(conn)
