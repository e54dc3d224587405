"""The application's functions at work: a task or a thread a command, and exactly one answer each (CMD-3, CMD-7)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from anyio import get_cancelled_exc_class
from anyio.lowlevel import checkpoint_if_cancelled

from artcafe_anyio.clocks import monotonic, read_clocks
from artcafe_anyio.handlers import CommandContext, CommandError, InvalidArgumentsError, Mode
from artcafe_proto import AgentEvent, LocalProtocolError, MessageReceived

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from artcafe_anyio.handlers import Handler
    from artcafe_anyio.logs import AgentLog
    from artcafe_anyio.tasks import CommandTasks
    from artcafe_anyio.threads import Threads
    from artcafe_proto import AgentProtocol, CommandReceived, FinalCode, Instant

MAX_MESSAGE_TASKS: Final = 1024
"""Calls of message handlers that run at once; nobody waits for them, so the messages beyond are dropped."""
_SAME_MOMENT_S: Final = 0.001
"""A handler that was quicker than this answers at the moment that its command came."""

MessageHandler = Callable[[MessageReceived], Awaitable[object]]
EventCallback = Callable[[AgentEvent], object]


class Application:
    """What an agent's author has registered."""

    def __init__(self) -> None:
        self.commands: dict[str, Handler] = {}
        self.message_handlers: list[MessageHandler] = []
        self.callbacks: list[EventCallback] = []

    def copy(self) -> Application:
        """The same functions; what is registered with one of the two later is not with the other."""
        copy = Application()
        copy.commands.update(self.commands)
        copy.message_handlers.extend(self.message_handlers)
        copy.callbacks.extend(self.callbacks)
        return copy


class _Running:
    """A command at work in a task or a thread."""

    __slots__ = ("arguments", "cancel", "context", "event", "handler")

    cancel: Callable[[], object]

    def __init__(
        self, event: CommandReceived, handler: Handler, context: CommandContext, arguments: dict[str, Any]
    ) -> None:
        self.event = event
        self.handler = handler
        self.context = context
        self.arguments = arguments


class CommandRunner:
    """Runs commands. `start` and `cancel` are called while outputs are carried out, and await nothing."""

    def __init__(
        self,
        commands: dict[str, Handler],
        protocol: AgentProtocol,
        settle: Callable[[Instant], None],
        threads: Threads,
        tasks: CommandTasks,
        log: AgentLog,
    ) -> None:
        """`settle` carries out what follows from an answer, now or soon."""
        self._commands = commands
        self._protocol = protocol
        self._settle = settle
        self._threads = threads
        self._tasks = tasks
        self._log = log
        self._running: dict[str, _Running] = {}

    def start(self, event: CommandReceived, now: Instant) -> None:
        """Run a command, or answer why not."""
        handler = self._commands.get(event.command)
        if handler is None:
            self._refuse(event, "unknown_command", f"this agent has no command {event.command!r}")
            return
        context = CommandContext(event, self._report) if handler.needs_context else None
        try:
            arguments = handler.bind(event.raw_args, context)
        except InvalidArgumentsError as error:
            self._refuse(event, "invalid_arguments", str(error))
        except Exception as error:  # a type of the author's that cannot be made of what came
            self._failed(event, error)
        else:
            if context is None or handler.mode is Mode.INLINE:
                self._call_inline(event, handler, arguments, now)
            else:
                running = self._running[event.command_id] = _Running(event, handler, context, arguments)
                running.cancel = self._tasks.start(self._run, running)

    def cancel(self, command_id: str, code: Literal["timeout", "cancelled"]) -> None:
        """Stop running a command. A thread cannot be stopped: until it ends by itself it keeps the command's slot."""
        running = self._running.get(command_id)
        if running is None:
            return
        running.context.is_cancelled = True
        if running.handler.mode is Mode.TASK:
            running.cancel()
        elif code == "timeout":
            text = "its thread cannot be stopped and keeps a slot until it returns [CMD-5]"
            self._log.line(logging.WARNING, f"{_named(running.event)}: {text}")

    # --- running ------------------------------------------------------------------------------------------------------

    def _call_inline(self, event: CommandReceived, handler: Handler, arguments: dict[str, Any], now: Instant) -> None:
        try:
            result = handler.function(**arguments)
        except Exception as error:
            self._failed(event, error)
        except BaseException:
            self._fail(event, "cancelled", _CANCELLED)
            raise
        else:
            if monotonic() - now.mono >= _SAME_MOMENT_S:
                now = read_clocks()
            self._respond(event, result, now)

    async def _run(self, running: _Running) -> None:
        event, call = running.event, running.handler.function
        try:
            if running.handler.mode is Mode.TASK:
                result = await cast("Awaitable[object]", call(**running.arguments))
            else:
                result = await self._threads.run(partial(call, **running.arguments))
        except Exception as error:
            self._failed(event, error)
        except get_cancelled_exc_class():
            self._fail(event, "cancelled", _CANCELLED)
            # Did somebody cancel this task? If the handler just raised that, as awaiting a cancelled task of asyncio's
            # does, it must go no further: leaving the task group it would cancel the agent.
            await checkpoint_if_cancelled()
        except BaseException:
            self._fail(event, "cancelled", _CANCELLED)
            raise
        else:
            now = read_clocks()
            self._respond(event, result, now)
            self._settle(now)
        finally:
            del self._running[event.command_id]

    # --- answering ----------------------------------------------------------------------------------------------------

    def _respond(self, event: CommandReceived, result: object, now: Instant) -> None:
        try:
            self._protocol.respond(event.command_id, result, now)
        except LocalProtocolError as error:
            self._log.line(logging.ERROR, f"{_named(event)} answered handler_error: {error} [CMD-7]")
            self._fail(event, "handler_error", "the handler's result cannot be written as JSON")

    def _failed(self, event: CommandReceived, error: Exception) -> None:
        """A handler raised: only a CommandError chooses what the platform reads (CMD-7)."""
        if isinstance(error, CommandError):
            self._refuse(event, "handler_error", error.reason)
        else:
            text = f"{_named(event)} answered handler_error: its handler raised {type(error).__name__} [CMD-7]"
            self._log.line(logging.ERROR, text, error)
            self._fail(event, "handler_error", type(error).__name__)

    def _refuse(self, event: CommandReceived, code: FinalCode, reason: str) -> None:
        """Answer with an error that is the caller's to read and mend."""
        self._log.line(logging.INFO, f"{_named(event)} answered {code}: {reason} [CMD-9]")
        self._fail(event, code, reason)

    def _fail(self, event: CommandReceived, code: FinalCode, reason: str) -> None:
        now = read_clocks()
        self._protocol.fail(event.command_id, code, reason, now)
        self._settle(now)

    def _report(self, command_id: str, percent: float) -> None:
        self._threads.call(partial(self._progress, command_id, percent))

    def _progress(self, command_id: str, percent: float) -> None:
        now = read_clocks()
        self._protocol.progress(command_id, percent, now)
        self._settle(now)


_CANCELLED: Final = "the command was cancelled before it was done"


def _named(event: CommandReceived) -> str:
    return f"command {event.command_id!r} ({event.command!r})"


class MessageRunner:
    """Runs handlers of messages, a task a call."""

    def __init__(self, handlers: list[MessageHandler], tasks: TaskGroup, log: AgentLog) -> None:
        self._handlers = handlers
        self._tasks = tasks
        self._log = log
        self._count = 0

    def start(self, event: MessageReceived) -> None:
        """Give every handler the message."""
        for handler in self._handlers:
            if self._count == MAX_MESSAGE_TASKS:
                text = f"a message is dropped: {self._count} handlers of messages are busy already"
                self._log.repeated(logging.WARNING, text, "dropped")
                return
            self._count += 1
            self._tasks.start_soon(self._run, handler, event)

    async def _run(self, handler: MessageHandler, event: MessageReceived) -> None:
        try:
            await handler(event)
        except Exception as error:
            text = f"message {event.message_id!r}: its handler raised {type(error).__name__}"
            self._log.line(logging.ERROR, text, error)
        except get_cancelled_exc_class():
            await checkpoint_if_cancelled()  # likewise
        finally:
            self._count -= 1
