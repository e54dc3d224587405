"""What all drivers of an `AgentProtocol` have in common, without I/O: an event loop supplies five methods.

Every call of a driver is a turn: it tells the protocol what happened, and at its end carries out all that follows. So
nothing waits for the next input, whether that call comes from the loop or from the application.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

from artcafe_proto.agent.protocol import AgentProtocol
from artcafe_proto.causes import cause_of, told_by
from artcafe_proto.driver_turns import OwnTurn, Turn
from artcafe_proto.effects import CancelSign, Connect, Disconnect, PauseReading, ResumeReading, Sign, Write
from artcafe_proto.errors import ArtCafeError, LocalProtocolError, SigningRefusedError
from artcafe_proto.events import CommandReceived, ResponsesSettled
from artcafe_proto.levels import Level
from artcafe_proto.limits import LONGEST_SLEEP_S
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from random import Random

    from artcafe_proto.config import AgentConfig
    from artcafe_proto.effects import ConnectFailure, Effect
    from artcafe_proto.events import AgentEvent
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import FinalCode

__all__ = ["Connection", "Driver"]


class Driver(ABC):
    """Drives one agent. A subclass supplies `clock`, `call_at` and `open`, which makes a `Connection`.

    - The loop tells it: `start`, `connected` or `connect_failed`, `data_received`, `disconnected`, `timer_due`.
    - The application calls `respond`, `fail`, `progress` and `stop`, and all else of `protocol` within a `turn`.

    All calls come from the thread of the loop. They may come at any time, also from within the five methods and from
    `handle`. `sign`, `handle`, `stopped` and `internal_error` may be supplied as well.
    """

    connection_errors: ClassVar[tuple[type[Exception], ...]] = (Exception,)
    """What `open` and the methods of a connection raise of these is the end of that connection; others are errors in
    the driver: see `internal_error`."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        rng: Random,
        report: Callable[[BaseException], object],
        sign: Callable[[Sign], bytes] | None = None,
        handle: Callable[[Driver, AgentEvent], object] | None = None,
    ) -> None:
        """`sign` answers at once, and raises if there is no signature; for a slower one override the method.

        `handle` is called for every event with this driver. If it raises for a command, that is answered with
        `handler_error`. `report` is told what `sign` and `handle` raised: nobody else is.
        """
        self.protocol: Final = AgentProtocol(config, rng=rng)
        self._sign = sign
        self._handle = handle
        self._report = report
        self._connections: dict[int, Connection] = {}
        self._closing: dict[int, Connection] = {}
        self._own_turn = OwnTurn(self._begin, self._end)
        self._turn = Turn(self._begin, self._end)
        self._depth = 0
        self._is_over = False
        self._wakes_at = math.inf

    # --- what a loop supplies -----------------------------------------------------------------------------------------

    @abstractmethod
    def clock(self) -> Instant:
        """The moment; its monotonic time is that of `call_at`."""

    @abstractmethod
    def call_at(self, mono: float) -> None:
        """Have `timer_due` called at that time, and no longer at the time before; monotonic seconds."""

    @abstractmethod
    def open(self, asked: Connect) -> Connection:
        """Begin to open a connection, and call `connected` or `connect_failed`. What this raises is such a failure."""

    def sign(self, asked: Sign) -> None:
        """Sign a challenge. One that signs in a thread overrides this, and later calls `signed` or `sign_failed`."""
        try:
            if self._sign is None:
                raise SigningRefusedError("the driver was given nothing that signs")
            signature = self._sign(asked)
        except Exception as error:
            self.sign_failed(asked.request, error)
        else:
            self.signed(asked.request, signature)

    def cancel_sign(self, asked: CancelSign) -> None:  # noqa: B027 a late signature does no harm
        """Nobody waits for a signature any more."""

    def handle(self, event: AgentEvent, now: Instant) -> None:
        """Tell the application; `now` is the moment of the turn. What this raises is an `internal_error`."""
        if self._handle is None:
            return
        try:
            self._handle(self, event)
        except (Exception, SystemExit) as error:  # other ends and cancellations come from outside (CMD-7)
            if isinstance(event, CommandReceived):
                self.fail(event.command_id, "handler_error", type(error).__name__)
            self._report(error)

    def stopped(self) -> None:  # noqa: B027
        """The agent has stopped and its connections are closed: the loop may end."""

    def internal_error(self, error: Exception) -> None:
        """An error in the driver or in what it is made of: nobody's network and no application explain it. It is raised
        to whoever called; where that is a loop that goes on without a word, override this, and call `abandon`.
        """
        raise error

    # --- what the loop tells ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Go online."""
        with self._own_turn as now:
            self.protocol.start(now)

    def connected(self, conn: int, *, tls: bool) -> None:
        """A connection is open, `tls` if under TLS that is verified. Raises LocalProtocolError for another than asked
        for. One that was given up meanwhile is aborted by whoever opened it: its `close` was called.
        """
        with self._own_turn as now:
            self.protocol.connected(conn, now, tls=tls)

    def connect_failed(self, conn: int, error: BaseException | str, cause: ConnectFailure | None = None) -> None:
        """A connection could not be opened; without a `cause` the kind of `error` says which it is."""
        self._connections.pop(conn, None)
        with self._own_turn as now:
            self.protocol.connect_failed(conn, cause or cause_of(error), told_by(error), now)

    def data_received(self, conn: int, data: bytes) -> None:
        """Bytes came in; none means that the peer has ended its side."""
        with self._own_turn as now:
            if data:
                self.protocol.data_received(conn, data, now)
            else:
                self.protocol.eof_received(conn, now)

    def disconnected(self, conn: int, error: BaseException | str | None = None) -> None:
        """A connection has ended: by an error, or without one because either side has closed it."""
        self._closing.pop(conn, None)
        with self._own_turn as now:
            if error is None:
                self.protocol.eof_received(conn, now)
            self.protocol.disconnected(conn, "the peer closed it" if error is None else told_by(error), now)
            self._connections.pop(conn, None)

    def signed(self, request: int, signature: bytes) -> None:
        """A signature is there."""
        with self._own_turn as now:
            try:
                self.protocol.signed(request, signature, now)
            except LocalProtocolError as error:
                self.sign_failed(request, error)

    def sign_failed(self, request: int, error: Exception) -> None:
        """There is no signature. What other errors than ours say may be secret, and goes to `report` alone."""
        reason = text_of(error) if isinstance(error, ArtCafeError) else type(error).__name__
        with self._own_turn as now:
            self.protocol.sign_failed(request, reason, now)
        self._report(error)

    def timer_due(self) -> None:
        """The time that `call_at` was given has come. Earlier is harmless."""
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
        """Carry out nothing more, as the loop ends or after an internal error: connections are closed by the loop."""
        self._is_over = True

    # --- turns --------------------------------------------------------------------------------------------------------

    def _begin(self) -> Instant:
        self._now = self.clock()
        self._depth += 1
        return self._now

    def _end(self, error: Exception | None) -> None:
        """`error`: what was raised within, if it is ours."""
        try:
            if error is not None:
                self.internal_error(error)
        finally:
            try:
                if self._depth == 1 and not self._is_over:  # the outermost turn carries out what follows
                    self._carry_out_all(self._now)
            except Exception as failure:
                self.internal_error(failure)
            finally:
                self._depth -= 1

    def _carry_out_all(self, now: Instant) -> None:
        next_output, connections = self.protocol.next_output, self._connections
        try:
            while True:
                while (output := next_output()) is not None:
                    if type(output) is CommandReceived:  # most are
                        self.handle(output, now)
                    else:
                        self._carry_out(output, now)
                due = [each for each in connections.values() if each.look_at <= now.mono]
                if not due:
                    break
                for connection in due:
                    self._tell_level(connection, now)
            if self._closing:
                for connection in [each for each in self._closing.values() if each.look_at <= now.mono]:
                    self._abort(connection)
            if self.protocol.is_stopped and not self._closing:
                self._is_over = True
                self.stopped()
        finally:
            if not self._is_over:
                self._set_timer(now.mono)

    def _set_timer(self, mono: float) -> None:
        wakes_at = mono + LONGEST_SLEEP_S
        deadline = self.protocol.deadline()
        if deadline is not None and deadline < wakes_at:
            wakes_at = deadline
        for connections in (self._connections, self._closing):
            for each in connections.values():
                wakes_at = min(wakes_at, each.look_at)
        if wakes_at < self._wakes_at:  # one that is later than needed is set when it is due
            self._wakes_at = wakes_at
            self.call_at(wakes_at)

    # --- what follows -------------------------------------------------------------------------------------------------

    def _carry_out(self, output: Effect | AgentEvent, now: Instant) -> None:
        connections = self._connections
        match output:
            case ResponsesSettled():  # of the events the one that is not rare
                self.handle(output, now)
            case Write(conn=conn) | PauseReading(conn=conn) | ResumeReading(conn=conn) if conn not in connections:
                pass  # it has ended while this was drained
            case Write(conn=conn):
                self._write(connections[conn], output.data)
            case Connect():
                try:
                    connections[output.conn] = self.open(output)
                except self.connection_errors as error:
                    self.connect_failed(output.conn, error)
            case Disconnect(conn=conn):
                if conn in connections:
                    self._disconnect(connections.pop(conn), now, abort=output.abort)
            case PauseReading(conn=conn):
                connections[conn].pause_reading()
            case ResumeReading(conn=conn):
                connections[conn].resume_reading()
            case Sign():
                self.sign(output)
            case CancelSign():
                self.cancel_sign(output)
            case _:
                self.handle(output, now)

    def _write(self, connection: Connection, data: bytes) -> None:
        connection.wrote(len(data))
        try:
            connection.write(data)
        except self.connection_errors as error:
            self._lose(connection, error)

    def _tell_level(self, connection: Connection, now: Instant) -> None:
        try:
            level = connection.level(now.mono)
        except self.connection_errors as error:
            self._lose(connection, error)
        else:
            self.protocol.unsent(connection.conn, level, now)

    def _lose(self, connection: Connection, error: Exception) -> None:
        self.disconnected(connection.conn, error)
        self._close(connection, abort=True)

    def _disconnect(self, connection: Connection, now: Instant, *, abort: bool) -> None:
        self._closing[connection.conn] = connection
        connection.look_at = now.mono + self.protocol.config.close_timeout
        if abort:
            self._abort(connection)
        else:
            self._close(connection, abort=False)

    def _abort(self, connection: Connection) -> None:
        del self._closing[connection.conn]
        self._close(connection, abort=True)

    def _close(self, connection: Connection, *, abort: bool) -> None:
        try:
            connection.close(abort=abort)
        except self.connection_errors as error:
            self._closing.pop(connection.conn, None)
            self._report(error)


class Connection(Level):
    """A connection that an event loop opens, and what has not left of it. A subclass supplies `write` and `close`.

    It tells its driver what happens, with its number `conn`.
    """

    def __init__(self, driver: Driver, asked: Connect) -> None:
        super().__init__()
        self.driver: Final = driver
        self.asked: Final = asked
        self.conn: Final = asked.conn

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send `data` after all before it, without waiting for the peer. What this raises ends the connection."""

    @abstractmethod
    def close(self, *, abort: bool) -> None:
        """Close it, or give up opening it: at once if `abort`; else after what was written, and then tell the driver
        `disconnected`. If that takes too long, it is aborted (LINK-8).
        """

    def pause_reading(self) -> None:
        """Read nothing until `resume_reading`."""

    def resume_reading(self) -> None:
        """Read again."""

    def unsent_bytes(self) -> int:
        """How much of what was written has not left (LINK-8), as `AgentProtocol.unsent` explains."""
        return 0
