"""The application's functions at work: a task or a thread a command, and exactly one answer each (CMD-3, CMD-7)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import anyio

from artcafe_anyio.arguments import InvalidArgumentsError
from artcafe_anyio.calling import (
    CallFailed,
    awaited,
    call_anywhere,
    call_here,
    call_in_thread,
    check_callback,
    check_function,
    check_takes_one,
    discard,
    is_async,
    is_awaitable,
    raise_interrupt,
    seen_error,
)
from artcafe_anyio.handlers import CommandContext, CommandError, Handler, Mode
from artcafe_proto import LocalProtocolError
from artcafe_proto.events import AgentEvent, MessageReceived

if TYPE_CHECKING:
    from contextvars import Context

    from artcafe_anyio.calling import Function
    from artcafe_anyio.clocks import Clock
    from artcafe_anyio.logs import AgentLog
    from artcafe_anyio.loops import Starter
    from artcafe_anyio.tasks import CommandTasks
    from artcafe_anyio.threads import Threads
    from artcafe_proto import AgentProtocol, Instant
    from artcafe_proto.events import CommandReceived
    from artcafe_proto.messages import FinalCode

MAX_MESSAGE_TASKS: Final = 1024
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Calls of message handlers that run at once, and the data that they were given, one call always; nobody waits for
them, so the messages beyond are dropped."""
_SAME_MOMENT_S: Final = 0.001
"""A handler that was quicker than this answers at the moment that its command came."""

MAX_MESSAGE_THREADS: Final = 32
"""Threads for those of them that are plain functions; the others wait for one."""

MessageHandler = Callable[[MessageReceived], object]
Begin = Callable[[], object]
EventCallback = Callable[[AgentEvent], object]


class Application:
    """What an agent's author has registered."""

    def __init__(self) -> None:
        self.commands: dict[str, Handler] = {}
        self.message_handlers: list[MessageHandler] = []
        self.callbacks: list[EventCallback] = []
        self.idempotent: set[str] = set()
        """Commands that may run again after a crash (CMD-9)."""

    def add_command(self, name: str, function: Function, *, inline: bool, idempotent: bool) -> None:
        """Raises LocalProtocolError for a function that cannot be a handler, and for a name that has one."""
        if name in self.commands:
            raise LocalProtocolError(f"the command {name!r} has a handler already")
        self.commands[name] = Handler(function, inline=inline)
        if idempotent:
            self.idempotent.add(name)

    def add_message_handler(self, handler: MessageHandler) -> None:
        """Raises LocalProtocolError for what cannot be one."""
        check_function(handler, "on_message")
        check_takes_one(handler, "on_message")
        self.message_handlers.append(handler)

    def add_callback(self, callback: EventCallback) -> None:
        """Raises LocalProtocolError for what cannot be called back, or would have to be awaited."""
        check_callback(callback)
        self.callbacks.append(callback)

    def copy(self) -> Application:
        """The same functions; what is registered with one of the two later is not with the other."""
        copy = Application()
        copy.commands.update(self.commands)
        copy.message_handlers.extend(self.message_handlers)
        copy.callbacks.extend(self.callbacks)
        copy.idempotent.update(self.idempotent)
        return copy


class _Running:
    """A command at work in a task or a thread."""

    __slots__ = ("begin", "cancel", "context", "event", "is_in_thread", "mode")

    cancel: Callable[[], object]

    def __init__(self, event: CommandReceived, context: CommandContext, mode: Mode, begin: Begin) -> None:
        """`begin` gives the result, or what is to be awaited for it."""
        self.event = event
        self.context = context
        self.mode = mode
        self.begin = begin
        self.is_in_thread = False


class CommandRunner:
    """Runs commands. `start` and `cancel` are called while outputs are carried out, and await nothing."""

    def __init__(
        self,
        commands: dict[str, Handler],
        protocol: AgentProtocol,
        end_turn: Callable[[Instant], None],
        progress: Callable[[str, float], object],
        threads: Threads,
        tasks: CommandTasks,
        log: AgentLog,
        context: Context,
        clock: Clock,
    ) -> None:
        """`end_turn` carries out what follows from an answer, now or soon; `progress` tells how far a command is.

        Each handler runs in a copy of `context`.
        """
        self._commands = commands
        self._protocol = protocol
        self._end_turn = end_turn
        self._progress = progress
        self._threads = threads
        self._tasks = tasks
        self._log = log
        self._context = context
        self._clock = clock
        self._running: dict[str, _Running] = {}

    def start(self, event: CommandReceived, now: Instant) -> None:
        """Run a command, or answer why not."""
        handler = self._commands.get(event.command)
        if handler is None:
            self._refuse(event, "unknown_command", f"this agent has no command {event.command!r}")
            return
        context = self._context_of(event) if handler.needs_context else None
        try:
            arguments = handler.bind(event.raw_args, context)
        except InvalidArgumentsError as error:
            self._refuse(event, "invalid_arguments", str(error))
        except BaseException as error:  # a type of the author's that cannot be made of what came
            raise_interrupt(error)
            self._failed(event, error)
        else:
            begin = partial(handler.function, **arguments)
            if context is None or handler.mode is Mode.INLINE:
                self._call_inline(event, context, begin, now)
            else:
                self._start_task(_Running(event, context, handler.mode, begin), self._context.copy())

    def _start_task(self, running: _Running, around: Context) -> None:
        self._running[running.event.command_id] = running
        running.cancel = around.run(self._tasks.start, self._run, running)

    def cancel(self, command_id: str, code: Literal["timeout", "cancelled"]) -> None:
        """Stop running a command. A thread cannot be stopped: until it ends by itself it keeps the command's slot."""
        running = self._running.get(command_id)
        if running is None:
            return
        running.context.is_cancelled = True
        if not running.is_in_thread:
            running.cancel()
        elif code == "timeout":
            text = "its thread cannot be stopped and keeps a slot until it returns [CMD-5]"
            self._log.line(logging.WARNING, f"{_named(running.event)}: {text}")

    # --- running ------------------------------------------------------------------------------------------------------

    def _call_inline(self, event: CommandReceived, context: CommandContext | None, begin: Begin, now: Instant) -> None:
        around = self._context.copy()
        try:
            result = around.run(begin)
        except BaseException as error:
            self._failed(event, error)  # also an interrupt, as nobody else will answer
            raise_interrupt(error)
            return
        if is_awaitable(result):
            context = context or self._context_of(event)
            self._start_task(_Running(event, context, Mode.INLINE, lambda: result), around)
            return
        then = self._clock()
        self._respond(event, result, now if then.mono - now.mono < _SAME_MOMENT_S else then)

    async def _run(self, running: _Running) -> None:
        event = running.event
        try:
            result = await self._outcome(running)
        except CallFailed as failed:
            self._failed(event, failed.error)
        except BaseException:  # from outside: the agent ends, or this command's time has
            self._fail(event, "cancelled", _CANCELLED)
            raise
        else:
            now = self._clock()
            self._respond(event, result, now)
            self._end_turn(now)
        finally:
            del self._running[event.command_id]

    async def _outcome(self, running: _Running) -> object:
        """What the handler gives. Raises CallFailed for what it raises."""
        if running.mode is Mode.THREAD:
            running.is_in_thread = True
            result = await call_in_thread(running.begin, self._threads)
            running.is_in_thread = False
            if running.context.is_cancelled:
                discard(result)
                return None
        else:
            result = call_here(running.begin)
        return await awaited(result, self._tasks.checkpoint)

    # --- answering ----------------------------------------------------------------------------------------------------

    def _respond(self, event: CommandReceived, result: object, now: Instant) -> None:
        try:
            self._protocol.respond(event.command_id, result, now)
        except LocalProtocolError as error:
            self._log.line(logging.ERROR, f"{_named(event)} answered handler_error: {error} [CMD-7]")
            self._fail(event, "handler_error", "the handler's result cannot be written as JSON")

    def _failed(self, event: CommandReceived, error: BaseException) -> None:
        """A handler raised: only a CommandError chooses what the platform reads (CMD-7)."""
        error = seen_error(error)
        name = type(error).__name__
        reason = vars(error).get("reason") if isinstance(error, CommandError) else None
        if isinstance(reason, str):
            self._refuse(event, "handler_error", reason)
        else:
            self._log.line(logging.ERROR, f"{_named(event)} answered handler_error: {name} [CMD-7]", error)
            self._fail(event, "handler_error", name)

    def _refuse(self, event: CommandReceived, code: FinalCode, reason: str) -> None:
        """Answer with an error that is the caller's to read and fix."""
        self._log.line(logging.INFO, f"{_named(event)} answered {code}: {reason} [CMD-9]")
        self._fail(event, code, reason)

    def _fail(self, event: CommandReceived, code: FinalCode, reason: str) -> None:
        now = self._clock()
        self._protocol.fail(event.command_id, code, reason, now)
        self._end_turn(now)

    def _context_of(self, event: CommandReceived) -> CommandContext:
        return CommandContext(event, self._report, self._clock)

    def _report(self, command_id: str, percent: float) -> None:
        self._threads.call(partial(self._progress, command_id, percent))


_CANCELLED: Final = "the command was cancelled before it was done"


def _named(event: CommandReceived) -> str:
    return f"command {event.command_id!r} ({event.command!r})"


class MessageRunner:
    """Runs handlers of messages, a task or a thread a call."""

    def __init__(
        self, handlers: list[MessageHandler], tasks: Starter, threads: Threads, log: AgentLog, context: Context
    ) -> None:
        """Each handler runs in a copy of `context`."""
        self._handlers = handlers
        self._tasks = tasks
        self._threads = threads
        self._log = log
        self._context = context
        self._count = 0
        self._bytes = 0
        self._free_threads = anyio.Semaphore(MAX_MESSAGE_THREADS)

    def start(self, event: MessageReceived) -> None:
        """Give every handler the message."""
        size = len(bytes(event.raw_data))
        for handler in self._handlers:
            if self._count == MAX_MESSAGE_TASKS or (self._count and self._bytes + size > MAX_MESSAGE_BYTES):
                text = f"a message is dropped: {self._count} handlers of messages are busy, with {self._bytes} bytes"
                self._log.repeated(logging.WARNING, text, "dropped")
                return
            self._count += 1
            self._bytes += size
            self._context.copy().run(self._tasks.start_soon, self._run, handler, event, size)

    async def _run(self, handler: MessageHandler, event: MessageReceived, size: int) -> None:
        call = partial(handler, event)
        try:
            if is_async(handler):
                await call_anywhere(call, self._threads, in_thread=False)
            else:
                async with self._free_threads:
                    await call_anywhere(call, self._threads, in_thread=True)
        except CallFailed as failed:
            text = f"message {event.message_id!r}: its handler raised {type(failed.error).__name__}"
            self._log.line(logging.ERROR, text, failed.error)
        finally:
            self._count -= 1
            self._bytes -= size
