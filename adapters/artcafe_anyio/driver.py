"""The one owner of an agent's protocol: every input is followed to its last effect without an await.

Tasks and callbacks change the protocol within a turn, at whose end all outputs are carried out and the timer knows
of an earlier deadline. Nothing else touches it. An internal error ends the agent with that error, wherever it comes up:
a callback of the loop has nobody to raise it to.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio

from artcafe_anyio.calling import call_back
from artcafe_anyio.clocks import Clock, guarded
from artcafe_anyio.errors import GaveUpError, first_error
from artcafe_anyio.logs import AgentLog
from artcafe_anyio.loops import Flag, Scope, Starter
from artcafe_anyio.process_metrics import ProcessMetrics
from artcafe_anyio.randomness import PooledRandom
from artcafe_anyio.running import CommandRunner, MessageRunner
from artcafe_anyio.tasks import AnyioTasks, AsyncioTasks
from artcafe_anyio.threads import Threads
from artcafe_anyio.waiting import WaitingRoom
from artcafe_proto import (
    AgentProtocol,
    AgentTimer,
    ArtCafeError,
    LocalProtocolError,
    RemoteProtocolError,
    SigningRefusedError,
)
from artcafe_proto.effects import CancelSign, Connect, Disconnect, PauseReading, ResumeReading, Sign, Write
from artcafe_proto.events import CommandCancelled, CommandReceived, MessageReceived, Offline, ResponsesSettled, Stopped
from artcafe_proto.readable import text_of
from artcafe_proto.secrecy import forget_locals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager

    from anyio.abc import TaskStatus

    from artcafe_anyio.connection import Connection
    from artcafe_anyio.running import Application
    from artcafe_anyio.signers import Signer
    from artcafe_anyio.transports import TransportConnection
    from artcafe_proto import AgentConfig, Instant
    from artcafe_proto.effects import Effect
    from artcafe_proto.events import AgentEvent

    AnyConnection = Connection | TransportConnection
    ConnectionMaker = Callable[[Connect, AgentProtocol, Callable[[], AbstractContextManager[Instant]]], AnyConnection]

MAX_SLEEP_S: Final = 10.0
"""The event loop's clock stands still while the computer sleeps and ours does not: so look at ours this often."""


class Turn:
    """The context of one input. It gives the moment that it began; at its end all that follows is carried out.

    There is one for all turns of a kind, as they hold nothing but that moment, and the last one's will do.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._clock = driver.clock
        self._now = self._clock()

    def __enter__(self) -> Instant:
        self._now = self._clock()
        return self._now


class OwnTurn(Turn):
    """Of the driver's own parts, which have nobody to raise an error to: it ends the agent, and they go on."""

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: object) -> bool:
        if isinstance(exc, Exception):
            self._driver.fail(exc)
        self._driver.end_turn(self._now)
        return isinstance(exc, Exception)


class CallersTurn(Turn):
    """Of whoever calls the agent, and is told what was wrong with that; any other error ends the agent as well."""

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: object) -> None:
        if isinstance(exc, Exception) and not isinstance(exc, ArtCafeError):
            self._driver.fail(exc)
        self._driver.end_turn(self._now)


class Driver:
    """Drives one `AgentProtocol` from `start` to `Stopped`. Construct it in the event loop that runs it."""

    def __init__(self, config: AgentConfig, application: Application, clock: Clock, *, by_asyncio: bool) -> None:
        """`by_asyncio`: what asyncio has of its own may be used."""
        self.threads: Final = Threads()
        self.log: Final = AgentLog(config.agent_id)
        self._failure: Exception | None = None
        self._is_over = False
        self._stopped = Flag()
        self.clock: Final = guarded(clock, self.fail)
        self.protocol: Final = AgentProtocol(config, rng=PooledRandom())
        self.waiting: Final = WaitingRoom()
        self._callbacks = application.callbacks
        self._context = copy_context()  # of where the agent is started: what the author wrote sees a copy of it
        self._tasks = anyio.create_task_group()  # cancelled when the agent has stopped
        self._closing_tasks = anyio.create_task_group()  # waited for: connections end by themselves, soon
        self._call_soon = asyncio.get_running_loop().call_soon if by_asyncio else None
        self._starter = Starter(self._tasks)
        self._closing_starter = Starter(self._closing_tasks)
        self._command_tasks = (
            AsyncioTasks(self._tasks, self.fail) if by_asyncio else AnyioTasks(self._tasks, self._starter, self.fail)
        )
        self._commands = CommandRunner(
            application.commands,
            self.protocol,
            self._end_turn_soon,
            self.callers_turn,
            self.threads,
            self._command_tasks,
            self.log,
            self._context,
            self.clock,
        )
        self._turn_ends_at: Instant | None = None
        self._messages = MessageRunner(
            application.message_handlers, self._starter, self.threads, self.log, self._context
        )
        self._connections: dict[int, AnyConnection] = {}
        self._signing: dict[int, Scope] = {}
        self._metrics = ProcessMetrics(self.clock, self.log)
        self._turn = OwnTurn(self)
        self._callers_turn = CallersTurn(self)
        self._is_ending_turn = False
        self._wakes_at = math.inf
        self._earlier = Flag()
        self._last_offline = ""
        self._gave_up = False

    async def run(
        self,
        signers: Sequence[Signer],
        connect: ConnectionMaker,
        task_status: TaskStatus[None],
    ) -> None:
        """Go online and stay until stopped. `signers` has one for each key; what `connect` makes opens when it is run.
        Raises GaveUpError if that is how it ends, and the internal error if there was one.
        """
        self._signers = signers
        self._make_connection = connect
        async with self.threads, self._closing_tasks, self._tasks, self._command_tasks:
            for work in (self._starter.run, self._closing_starter.run, self._keep_time):
                self._tasks.start_soon(self._guarded, work)
            try:
                if not self.protocol.is_stopped:
                    with self.turn() as now:
                        self.protocol.start(now)
                task_status.started()
                await self._stopped.wait()
                self._tasks.cancel_scope.cancel()
                if self._failure is not None:  # there is nobody to see connections to their end
                    self._closing_tasks.cancel_scope.cancel()
            finally:
                self._is_over = True
        if self._failure is not None:
            raise self._failure
        if self._gave_up:
            raise GaveUpError(f"{self._last_offline} [LINK-6]")

    def end(self) -> None:
        """However `run` ended, if it was called at all: nobody waits for anything of this life any longer."""
        self.threads.end()
        self.waiting.close()

    def fail(self, error: Exception) -> None:
        """An internal error: the agent ends with it at once. Of several the first one counts."""
        if self._failure is None:
            self._failure = error
            forget_locals(error)
            with suppress(Exception):  # of a log that is broken: this is raised, too
                self.log.line(logging.ERROR, f"ended by an internal error: {type(error).__name__}", error)
        self._is_over = True
        self._stopped.set()

    async def _guarded(self, run: Callable[..., Awaitable[None]], *arguments: object) -> None:
        try:
            await run(*arguments)
        except Exception as error:
            self.fail(first_error(error))

    # --- for callers that wait ----------------------------------------------------------------------------------------

    async def call(self, make: Callable[[Instant], int]) -> dict[str, Any]:
        """Make a call and wait for its answer (STAT-2). Raises CallError. Cancelled, it takes the call back."""
        with self.callers_turn() as now:
            number = make(now)
            waiter = self.waiting.enter(number)
        try:
            return await waiter.wait()
        finally:
            if not waiter.is_over:
                with self.callers_turn() as now:
                    self.protocol.cancel_call(number, now)

    async def deliver(self, data: dict[str, Any]) -> str:
        """Send a message and wait until it is settled (CMD-3); returns its id. Raises NotSettledError."""
        with self.callers_turn() as now:
            message_id = self.protocol.send_message(data, now)
            waiter = self.waiting.enter(message_id)
        await waiter.wait()
        return message_id

    # --- turns --------------------------------------------------------------------------------------------------------

    def turn(self) -> OwnTurn:
        """Call the protocol with the instant that this gives as a context. No await within."""
        return self._turn

    def callers_turn(self) -> CallersTurn:
        """The same for whoever calls the agent."""
        return self._callers_turn

    def _end_turn_soon(self, now: Instant) -> None:
        """End the turn, if possible once for all that is answered in a turn of the loop."""
        if self._call_soon is None:
            self.end_turn(now)
        elif not self._is_ending_turn:
            if self._turn_ends_at is None:
                self._call_soon(self._end_turn_as_planned)
            self._turn_ends_at = now

    def _end_turn_as_planned(self) -> None:
        now, self._turn_ends_at = self._turn_ends_at, None
        assert now is not None
        self.end_turn(now)

    def end_turn(self, now: Instant) -> None:
        """Carry out everything that the protocol asks for. Nothing is raised: what fails here ends the agent."""
        if self._is_ending_turn:
            return  # something called while outputs are carried out; they will include its own
        if self._is_over:
            return  # everything is being let go of, and there is nobody to carry out more
        self._is_ending_turn = True
        try:
            try:
                self._carry_out_all(now)
            finally:
                self._is_ending_turn = False
                deadline = self.protocol.deadline()
                looks = min((each.look_at for each in self._connections.values()), default=math.inf)
                if looks < self._wakes_at or (deadline is not None and deadline < self._wakes_at):
                    self._earlier.set()
        except Exception as error:
            self.fail(error)

    def _carry_out_all(self, now: Instant) -> None:
        is_told = bool(self._callbacks) or self.log.is_verbose  # also of what every command brings with it
        while True:
            while (output := self.protocol.next_output()) is not None:
                if type(output) is CommandReceived:  # most are
                    if is_told:
                        self._tell(output, now)
                    self._commands.start(output, now)
                elif type(output) is not ResponsesSettled or is_told:
                    self._carry_out(output, now)
            levels = [(each.conn, each.due_level(now.mono)) for each in self._connections.values()]
            for conn, level in levels:
                if level is not None:
                    self.protocol.unsent(conn, level, now)
            if all(level is None for _, level in levels):
                break

    def _carry_out(self, output: Effect | AgentEvent, now: Instant) -> None:
        match output:
            case Write(conn=conn):
                if conn in self._connections:
                    self._connections[conn].write(output.data)
            case Connect():
                self._connect(output)
            case Disconnect(conn=conn):
                if conn in self._connections:
                    self._connections[conn].close(abort=output.abort, timeout_s=self.protocol.config.close_timeout)
            case PauseReading(conn=conn):
                if conn in self._connections:
                    self._connections[conn].pause_reading()
            case ResumeReading(conn=conn):
                if conn in self._connections:
                    self._connections[conn].resume_reading()
            case Sign():
                scope = self._signing[output.request] = Scope()
                self._context.copy().run(self._starter.start_soon, self._guarded, self._sign_challenge, output, scope)
            case CancelSign(request=request):
                if request in self._signing:
                    self._signing[request].cancel()
            case _:
                self._publish(output, now)

    def _tell(self, event: AgentEvent, now: Instant) -> None:
        self.log.event(event, now.mono)
        if self._callbacks:
            call_back(self._callbacks, event, self._context, partial(self.log.line, logging.ERROR))

    def _publish(self, event: AgentEvent, now: Instant) -> None:
        self._tell(event, now)
        self.waiting.tell(event)
        match event:
            case CommandCancelled():
                self._commands.cancel(event.command_id, event.code)
            case MessageReceived():
                self._messages.start(event)
            case Offline():
                self._last_offline = event.reason
            case Stopped():
                self._gave_up = event.gave_up
                self._stopped.set()
            case _:
                pass

    # --- connections and signatures -----------------------------------------------------------------------------------

    def _connect(self, asked: Connect) -> None:
        self.protocol.set_metrics(*self._metrics.read())  # for the first heartbeat, which no timer announces (HB-1)
        connection = self._make_connection(asked, self.protocol, self.turn)
        self._connections[asked.conn] = connection
        self._closing_starter.start_soon(self._guarded, self._attend, connection)

    async def _attend(self, connection: AnyConnection) -> None:
        try:
            await connection.run()
        finally:
            del self._connections[connection.conn]

    async def _sign_challenge(self, asked: Sign, scope: Scope) -> None:
        with scope:
            try:
                signature = await self._signers[asked.key](asked.challenge.encode())
            except (SigningRefusedError, RemoteProtocolError) as error:
                with self.turn() as now:
                    self.protocol.sign_failed(asked.request, text_of(error), now)
            except Exception as error:
                forget_locals(error)
                self.log.line(logging.ERROR, "signing the challenge failed", error)
                with self.turn() as now:
                    self.protocol.sign_failed(asked.request, type(error).__name__, now)
            else:
                with self.turn() as now:
                    self._signed(asked.request, signature, now)
        del self._signing[asked.request]

    def _signed(self, request: int, signature: bytes, now: Instant) -> None:
        try:
            self.protocol.signed(request, signature, now)
        except LocalProtocolError as error:  # whoever wrote the signer is told, and the agent goes on
            self.protocol.sign_failed(request, str(error), now)

    # --- time ---------------------------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        """Call `handle_timer` when it is due; a deadline that moves away costs nothing until then."""
        while True:
            deadline = self.protocol.deadline()
            mono = self.clock().mono
            latest = min([mono + MAX_SLEEP_S, *(each.look_at for each in self._connections.values())])
            self._wakes_at = latest if deadline is None else min(deadline, latest)
            self._earlier.clear()
            with anyio.move_on_after(max(self._wakes_at - mono, 0)):
                await self._earlier.wait()
            with self.turn() as now:
                due = self.protocol.deadline()
                if due is not None and due <= now.mono:
                    if self.protocol.deadline_reason is AgentTimer.HEARTBEAT:
                        self.protocol.set_metrics(*self._metrics.read())
                    for connection in self._connections.values():
                        self.protocol.unsent(connection.conn, connection.level(now.mono), now)
                self.protocol.handle_timer(now)
