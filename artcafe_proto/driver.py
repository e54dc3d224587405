"""What all drivers of an `AgentProtocol` have in common, without I/O: an event loop supplies five methods.

Every call of a driver is a turn: it tells the protocol what happened, and at its end carries out all that follows. So
nothing waits for the next input, whether that call comes from the loop or from the application.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, cast

from artcafe_proto.agent.protocol import AgentProtocol
from artcafe_proto.effects import CancelSign, Connect, Disconnect, PauseReading, ResumeReading, Sign, Write
from artcafe_proto.errors import ArtCafeError, LocalProtocolError
from artcafe_proto.events import CommandReceived
from artcafe_proto.limits import LEVEL_BYTES, LEVEL_FIRST_LOOK_S, LEVEL_LAST_LOOK_S, LONGEST_SLEEP_S
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
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
    `handle`. `sign` and `stopped` may be supplied as well.
    """

    def __init__(
        self,
        config: AgentConfig,
        *,
        rng: Random,
        sign: Callable[[Sign], bytes],
        handle: Callable[[Driver, AgentEvent], object],
        report: Callable[[Exception], object],
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
        self._is_in_turn = False
        self._wakes_at: float | None = None
        self._has_stopped = False

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
            signature = self._sign(asked)
        except Exception as error:
            self.sign_failed(asked.request, error)
        else:
            self.signed(asked.request, signature)

    def stopped(self) -> None:  # noqa: B027
        """The agent has stopped and its connections are closed: the loop may end."""

    # --- what the loop tells ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Go online."""
        with self.turn() as now:
            self.protocol.start(now)

    def connected(self, conn: int, *, tls: bool) -> None:
        """A connection is open, `tls` if under TLS that is verified. Raises LocalProtocolError for another than asked
        for. One that was given up meanwhile is aborted by whoever opened it: its `close` was called.
        """
        with self.turn() as now:
            self.protocol.connected(conn, now, tls=tls)

    def connect_failed(self, conn: int, error: BaseException | str, cause: ConnectFailure | None = None) -> None:
        """A connection could not be opened; without a `cause` the kind of `error` says which it is."""
        self._connections.pop(conn, None)
        with self.turn() as now:
            self.protocol.connect_failed(conn, cause or cause_of(error), _text_of(error), now)

    def data_received(self, conn: int, data: bytes) -> None:
        """Bytes came in; none means that the peer has ended its side."""
        with self.turn() as now:
            if data:
                self.protocol.data_received(conn, data, now)
            else:
                self.protocol.eof_received(conn, now)

    def disconnected(self, conn: int, error: BaseException | str | None = None) -> None:
        """A connection has ended: by an error, or without one because either side has closed it."""
        self._closing.pop(conn, None)
        with self.turn() as now:
            if error is None:
                self.protocol.eof_received(conn, now)
            self.protocol.disconnected(conn, "the peer closed it" if error is None else _text_of(error), now)
            self._connections.pop(conn, None)

    def signed(self, request: int, signature: bytes) -> None:
        """A signature is there."""
        with self.turn() as now:
            try:
                self.protocol.signed(request, signature, now)
            except LocalProtocolError as error:
                self.sign_failed(request, error)

    def sign_failed(self, request: int, error: Exception) -> None:
        """There is no signature. What other errors than ours say may be secret, and goes to `report` alone."""
        reason = text_of(error) if isinstance(error, ArtCafeError) else type(error).__name__
        with self.turn() as now:
            self.protocol.sign_failed(request, reason, now)
        self._report(error)

    def timer_due(self) -> None:
        """The time that `call_at` was given has come. Earlier is harmless."""
        self._wakes_at = None
        with self.turn() as now:
            for connection in list(self._connections.values()):
                if connection.level:
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

    @contextmanager
    def turn(self) -> Generator[Instant]:
        """Call `protocol` with the moment that this gives; at the end all that follows is carried out."""
        now = self.clock()
        if self._is_in_turn:  # the outermost turn carries out what follows
            yield now
            return
        self._is_in_turn = True
        try:
            yield now
        finally:
            try:
                self._carry_out_all(now)
            finally:
                self._is_in_turn = False

    # --- inside -------------------------------------------------------------------------------------------------------

    def _carry_out_all(self, now: Instant) -> None:
        is_drained = False
        while not is_drained:
            for output in iter(self.protocol.next_output, None):
                self._carry_out(output, now)
            is_drained = True
            for connection in list(self._connections.values()):
                if connection.look_at <= now.mono:
                    self._tell_level(connection, now)
                    is_drained = False
            for connection in list(self._closing.values()):
                if connection.look_at <= now.mono:
                    self._abort(connection)
        if self.protocol.is_stopped and not self._closing and not self._has_stopped:
            self._has_stopped = True
            self.stopped()
        if not self._has_stopped:
            self._set_timer(now.mono)

    def _set_timer(self, mono: float) -> None:
        looks = [each.look_at for each in (*self._connections.values(), *self._closing.values())]
        wakes_at = min([mono + LONGEST_SLEEP_S, *looks])
        deadline = self.protocol.deadline()
        if deadline is not None:
            wakes_at = min(wakes_at, deadline)
        if self._wakes_at is None or wakes_at < self._wakes_at:  # one that is later than needed is set when it is due
            self._wakes_at = wakes_at
            self.call_at(wakes_at)

    def _carry_out(self, output: Effect | AgentEvent, now: Instant) -> None:
        match output:
            case Write(conn=conn) | PauseReading(conn=conn) | ResumeReading(conn=conn) if conn not in self._connections:
                pass  # it has ended while this was drained
            case Write(conn=conn):
                self._write(self._connections[conn], output.data)
            case Connect():
                try:
                    self._connections[output.conn] = self.open(output)
                except Exception as error:
                    self.connect_failed(output.conn, error)
            case Disconnect(conn=conn):
                if conn in self._connections:
                    self._disconnect(self._connections.pop(conn), now, abort=output.abort)
            case PauseReading(conn=conn):
                self._connections[conn].pause_reading()
            case ResumeReading(conn=conn):
                self._connections[conn].resume_reading()
            case Sign():
                self.sign(output)
            case CancelSign():
                pass  # a late signature does no harm
            case _:
                self._tell(output)

    def _write(self, connection: Connection, data: bytes) -> None:
        connection.wrote(len(data))
        try:
            connection.write(data)
        except Exception as error:
            self._lose(connection, error)

    def _tell_level(self, connection: Connection, now: Instant) -> None:
        try:
            connection.look(now.mono)
        except Exception as error:
            self._lose(connection, error)
        else:
            self.protocol.unsent(connection.conn, connection.level, now)

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
        except Exception as error:
            self._closing.pop(connection.conn, None)
            self._report(error)

    def _tell(self, event: AgentEvent) -> None:
        try:
            self._handle(self, event)
        except Exception as error:
            if isinstance(event, CommandReceived):
                self.fail(event.command_id, "handler_error", type(error).__name__)
            self._report(error)


class Connection(ABC):
    """A connection that an event loop opens, and what has not left of it. A subclass supplies `write` and `close`.

    It tells its driver what happens, with its number `conn`.
    """

    def __init__(self, driver: Driver, asked: Connect) -> None:
        self.driver: Final = driver
        self.asked: Final = asked
        self.conn: Final = asked.conn
        self.level: int = 0
        """How much had not left at the last look, in bytes."""
        self.look_at: float = math.inf
        """When to look again, monotonic seconds: after much was written, and while something has not left."""
        self._unseen_bytes = 0
        self._wait_s = LEVEL_FIRST_LOOK_S

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send `data` after all before it, without waiting for the peer. What this raises ends the connection."""

    @abstractmethod
    def close(self, *, abort: bool) -> None:
        """Close it, or give up opening it: at once if `abort`; else after what was written, and then tell the driver
        `disconnected`. If that takes too long, it is aborted (LINK-8).
        """

    def pause_reading(self) -> None:  # noqa: B027 a loop that cannot need not
        """Read nothing until `resume_reading`."""

    def resume_reading(self) -> None:  # noqa: B027
        """Read again."""

    def unsent_bytes(self) -> int:
        """How much of what was written has not left (LINK-8), as `AgentProtocol.unsent` explains."""
        return 0

    def wrote(self, nbytes: int) -> None:
        """For the driver: so many bytes more were written."""
        self._unseen_bytes += nbytes
        if self._unseen_bytes >= LEVEL_BYTES:
            self._wait_s = LEVEL_FIRST_LOOK_S
            self.look_at = -math.inf

    def look(self, mono: float) -> None:
        """For the driver: find out what has not left."""
        self.level = self.unsent_bytes()
        self._unseen_bytes = 0
        self.look_at = mono + self._wait_s if self.level else math.inf
        self._wait_s = min(2 * self._wait_s, LEVEL_LAST_LOOK_S)


_CAUSES: Final[dict[str, ConnectFailure]] = {
    "SSLError": "tls",
    "gaierror": "dns",
    "UnicodeError": "dns",  # a label that no host name has
    "ConnectionRefusedError": "refused",
    "TimeoutError": "timeout",
}
"""By the name of a class, so that what a library calls the same counts as well."""


def cause_of(error: BaseException | str) -> ConnectFailure:
    """Which cause of `connect_failed` an exception is: by its class, or those of the exceptions that it stands for."""
    if isinstance(error, str):
        return "other"
    for each in _stands_for(error):
        for kind in type(each).__mro__:
            if kind.__name__ in _CAUSES:
                return _CAUSES[kind.__name__]
    return "other"


def _stands_for(error: BaseException) -> Iterator[BaseException]:
    """An exception, and what it was raised from; of a group its members."""
    ahead, seen = [error], set[int]()
    while ahead:
        each = ahead.pop(0)
        if id(each) not in seen:  # authors can make circles of them
            seen.add(id(each))
            if isinstance(each, BaseExceptionGroup):
                ahead += cast("BaseExceptionGroup[BaseException]", each).exceptions
            else:
                yield each
            if each.__cause__ is not None:
                ahead.append(each.__cause__)


def _text_of(error: BaseException | str) -> str:
    if isinstance(error, str):
        return error
    return next((text for each in _stands_for(error) if (text := text_of(each))), type(error).__name__)
