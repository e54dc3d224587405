"""The driver of an agent on asyncio or trio: what `artcafe_proto.Driver` leaves to tasks, threads and logs.

Every input is followed to its last effect without an await. An internal error ends the agent with that error, wherever
it comes up: a callback of the loop has nobody to raise it to.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

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
from artcafe_proto import AgentTimer, ArtCafeError, Driver
from artcafe_proto.events import CommandCancelled, CommandReceived, MessageReceived, Offline, ResponsesSettled, Stopped
from artcafe_proto.records import Keeps
from artcafe_proto.secrecy import forget_locals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from anyio.abc import TaskStatus

    from artcafe_anyio.connection import StreamConnection
    from artcafe_anyio.journals import Journal
    from artcafe_anyio.running import Application
    from artcafe_anyio.signers import Signer
    from artcafe_anyio.transports import TransportConnection
    from artcafe_proto import AgentConfig, Instant
    from artcafe_proto.effects import CancelSign, Connect, Persist, Sign
    from artcafe_proto.events import AgentEvent
    from artcafe_proto.records import Record

    AnyConnection = StreamConnection | TransportConnection
    ConnectionMaker = Callable[[Driver, Connect], AnyConnection]


class AgentDriver(Driver):
    """Drives one `AgentProtocol` from `start` to `Stopped`. Construct it in the event loop that runs it."""

    connection_errors: ClassVar[tuple[type[Exception], ...]] = ()  # ours tell how they end, and raise nothing

    def __init__(
        self,
        config: AgentConfig,
        application: Application,
        clock: Clock,
        journal: Journal | None = None,
        restored: Iterable[Record] = (),
        now: Instant | None = None,
        *,
        by_asyncio: bool,
    ) -> None:
        """`by_asyncio`: what asyncio has of its own may be used. `restored` is what the journal held, and `now` the
        moment, as for `AgentProtocol`.
        """
        keeps = Keeps.NOTHING if journal is None else Keeps.RECORDS
        super().__init__(
            config, rng=PooledRandom(), report=self._signing_failed, restored=restored, keeps=keeps, now=now
        )
        self._journal = journal
        self._storing = Scope()
        self.threads: Final = Threads()
        self.log: Final = AgentLog(config.agent_id)
        self._failure: Exception | None = None
        self._has_stopped = Flag()
        self._is_closed = False
        self._clock: Final = guarded(clock, self.internal_error)
        self.waiting: Final = WaitingRoom()
        self._callbacks = application.callbacks
        self._context = copy_context()  # of where the agent is started: what the author wrote sees a copy of it
        self._tasks = anyio.create_task_group()  # cancelled when the agent has stopped
        self._closing_tasks = anyio.create_task_group()  # waited for: connections end by themselves, soon
        self._call_soon = asyncio.get_running_loop().call_soon if by_asyncio else None
        self._is_planned = False
        self._starter = Starter(self._tasks)
        self._closing_starter = Starter(self._closing_tasks)
        self._command_tasks = (
            AsyncioTasks(self._tasks, self.internal_error)
            if by_asyncio
            else AnyioTasks(self._tasks, self._starter, self.internal_error)
        )
        self._commands = CommandRunner(
            application.commands,
            self.protocol,
            self._answered,
            self.progress,
            self.threads,
            self._command_tasks,
            self.log,
            self._context,
            self._clock,
        )
        self._messages = MessageRunner(
            application.message_handlers, self._starter, self.threads, self.log, self._context
        )
        self._signing: dict[int, Scope] = {}
        self._metrics = ProcessMetrics(self._clock, self.log)
        self._rings_at = math.inf
        self._is_set_anew = Flag()
        self._last_offline = ""
        self._gave_up = False

    async def run(
        self,
        signers: Sequence[Signer],
        connect: ConnectionMaker,
        task_status: TaskStatus[None],
    ) -> None:
        """Go online and stay until stopped. `signers` has one for each key; what `connect` makes opens when it is run.
        Raises GaveUpError if that is how it ends, StoreError if the journal could not be kept, and the internal error
        if there was one.
        """
        self._signers = signers
        self._make_connection = connect
        async with self.threads, self._closing_tasks, self._tasks, self._command_tasks:
            try:
                for work in (self._starter.run, self._closing_starter.run):
                    self._tasks.start_soon(self._guarded, work)
                self._closing_tasks.start_soon(self._guarded, self._keep_time)
                if self._journal is not None:
                    self._closing_tasks.start_soon(self._store, self._journal)
                self.start()
                task_status.started()
                await self._has_stopped.wait()
                self._tasks.cancel_scope.cancel()
                if self._failure is not None:  # there is nobody to see connections to their end
                    self._closing_tasks.cancel_scope.cancel()
            except BaseException:
                self.abandon()
                raise
        if self._failure is not None:
            raise self._failure
        if self._journal is not None and self.protocol.unstored:
            raise self._journal.failure(self.protocol.unstored)
        if self._gave_up:
            raise GaveUpError(f"{self._last_offline} [LINK-6]")

    def end(self) -> None:
        """However `run` ended, if it was called at all: nobody waits for anything of this life any longer."""
        self.threads.end()
        self.waiting.close()

    def internal_error(self, error: Exception) -> None:
        """The agent ends with it at once. Of several the first one counts."""
        self._fail(error, f"ended by an internal error: {type(error).__name__}", error)

    def _fail(self, failure: Exception, text: str, shown: Exception | None = None) -> None:
        if self._failure is None:
            self._failure = failure
            forget_locals(failure)
            with suppress(Exception):  # of a log that is broken: this is raised, too
                self.log.line(logging.ERROR, text, shown)
        self.abandon()
        self._has_stopped.set()

    async def _guarded(self, run: Callable[..., Awaitable[None]], *arguments: object) -> None:
        try:
            await run(*arguments)
        except Exception as error:
            self.internal_error(first_error(error))

    # --- for callers that wait ----------------------------------------------------------------------------------------

    async def call(self, make: Callable[[Instant], int]) -> dict[str, Any]:
        """Make a call and wait for its answer (STAT-2). Raises CallError. Cancelled, it takes the call back."""
        with self.turn() as now:
            number = make(now)
            waiter = self.waiting.enter(number)
        try:
            return await waiter.wait()
        finally:
            if not waiter.is_over:
                with self.turn() as now:
                    self.protocol.cancel_call(number, now)

    async def deliver(self, data: dict[str, Any]) -> str:
        """Send a message and wait until it is settled (CMD-3); returns its id. Raises NotSettledError."""
        with self.turn() as now:
            message_id = self.protocol.send_message(data, now)
            waiter = self.waiting.enter(message_id)
        await waiter.wait()
        return message_id

    # --- what the loop supplies ---------------------------------------------------------------------------------------

    def clock(self) -> Instant:
        """The moment."""
        return self._clock()

    def call_at(self, mono: float) -> None:
        """Have the timer ring then."""
        self._rings_at = mono
        self._is_set_anew.set()

    async def _keep_time(self) -> None:
        """Ring when it is time, until all connections are closed; a deadline that moves away costs nothing."""
        while not self._is_closed:
            self._is_set_anew.clear()
            with anyio.move_on_after(max(self._rings_at - self._clock().mono, 0)):
                await self._is_set_anew.wait()
                continue
            self.timer_due()

    def timer_due(self) -> None:
        """The timer has rung."""
        with self.own_turn() as now:
            deadline = self.protocol.deadline()
            is_due = deadline is not None and deadline <= now.mono
            if is_due and self.protocol.deadline_reason is AgentTimer.HEARTBEAT:
                self.protocol.set_metrics(*self._metrics.read())
            super().timer_due()

    def open(self, asked: Connect) -> AnyConnection:
        """Begin to open a connection."""
        self.protocol.set_metrics(*self._metrics.read())  # for the first heartbeat, which no timer announces (HB-1)
        connection = self._make_connection(self, asked)
        self._closing_starter.start_soon(self._guarded, connection.run)
        return connection

    def stopped(self) -> None:
        """All connections are closed, and the journal has had its time."""
        self._is_closed = True
        self._is_set_anew.set()
        self._storing.cancel()

    def _answered(self, now: Instant) -> None:
        """Carry out what follows from a command's answer, if possible once for all that is answered in a turn of the
        loop.
        """
        if self._call_soon is None:
            self._end_turn()
        elif not self._is_planned:
            self._is_planned = True
            self._call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._is_planned = False
        with self.own_turn():
            pass

    # --- events -------------------------------------------------------------------------------------------------------

    def handle(self, event: AgentEvent, now: Instant) -> None:
        """Run what the author has written for it."""
        if type(event) is CommandReceived:  # most are
            if self._callbacks or self.log.is_verbose:
                self._tell(event, now)
            self._commands.start(event, now)
        elif type(event) is not ResponsesSettled or self._callbacks or self.log.is_verbose:
            self._publish(event, now)

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
                self._has_stopped.set()
            case _:
                pass

    # --- the journal --------------------------------------------------------------------------------------------------

    def persist(self, asked: Persist) -> None:
        """Have the journal store a batch."""
        assert self._journal is not None, "only an agent with a journal has something stored"
        self._journal.committer.take(asked)

    async def _store(self, journal: Journal) -> None:
        """Until the end. What is of no use to try again ends the agent."""
        with self._storing:
            try:
                await journal.committer.run(self.persisted, self.persist_failed)
            except ArtCafeError as error:
                self._fail(error, f"ended by its journal: {error} [CMD-1]")
            except Exception as error:
                self.internal_error(error)

    # --- signatures ---------------------------------------------------------------------------------------------------

    def sign(self, asked: Sign) -> None:
        """Have a task sign a challenge."""
        scope = self._signing[asked.request] = Scope()
        self._context.copy().run(self._starter.start_soon, self._guarded, self._sign_challenge, asked, scope)

    def cancel_sign(self, asked: CancelSign) -> None:
        """Cancel that task."""
        if asked.request in self._signing:
            self._signing[asked.request].cancel()

    async def _sign_challenge(self, asked: Sign, scope: Scope) -> None:
        with scope:
            try:
                signature = await self._signers[asked.key](asked.challenge.encode())
            except Exception as error:
                self.sign_failed(asked.request, error)
            else:
                self.signed(asked.request, signature)
        del self._signing[asked.request]

    def _signing_failed(self, error: BaseException) -> None:
        if not isinstance(error, ArtCafeError):  # whose texts the platform's operator reads as well
            forget_locals(error)
            self.log.line(logging.ERROR, "signing the challenge failed", error)
