"""The application's functions at work: a task or a thread a command, and exactly one answer each (CMD-3, CMD-7)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

import anyio
from anyio import get_cancelled_exc_class
from anyio.lowlevel import checkpoint_if_cancelled

from artcafe_anyio.handlers import CommandContext, CommandError, InvalidArgumentsError, Mode
from artcafe_proto import AgentEvent, LocalProtocolError, MessageReceived

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from anyio.abc import TaskGroup

    from artcafe_anyio.handlers import Handler
    from artcafe_anyio.logs import AgentLog
    from artcafe_anyio.threads import Threads
    from artcafe_proto import AgentProtocol, CommandReceived, FinalCode, Instant

MAX_MESSAGE_TASKS: Final = 1024
"""Calls of message handlers that run at once; nobody waits for them, so the messages beyond are dropped."""

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


class _Running(NamedTuple):
    handler: Handler
    context: CommandContext
    scope: anyio.CancelScope


class CommandRunner:
    """Runs commands. `start` and `cancel` are called while outputs are carried out, and await nothing."""

    def __init__(
        self,
        commands: dict[str, Handler],
        protocol: AgentProtocol,
        turn: Callable[[], AbstractContextManager[Instant]],
        threads: Threads,
        tasks: TaskGroup,
        log: AgentLog,
    ) -> None:
        self._commands = commands
        self._protocol = protocol
        self._turn = turn
        self._threads = threads
        self._tasks = tasks
        self._log = log
        self._running: dict[str, _Running] = {}

    def start(self, event: CommandReceived) -> None:
        """Run a command, or answer why not."""
        context = CommandContext(event, self._report)
        handler = self._commands.get(event.command)
        if handler is None:
            self._refuse(context, "unknown_command", f"this agent has no command {event.command!r}")
            return
        try:
            call = handler.bind(event.raw_args, context)
        except InvalidArgumentsError as error:
            self._refuse(context, "invalid_arguments", str(error))
        except Exception as error:  # a type of the author's that cannot be made of what came
            self._failed(context, error)
        else:
            if handler.mode is Mode.INLINE:
                self._call_inline(context, call)
            else:
                running = self._running[event.command_id] = _Running(handler, context, anyio.CancelScope())
                self._tasks.start_soon(self._run, running, call)

    def cancel(self, command_id: str, code: Literal["timeout", "cancelled"]) -> None:
        """Stop running a command. A thread cannot be stopped: until it ends by itself it keeps the command's slot."""
        running = self._running.get(command_id)
        if running is None:
            return
        running.context.is_cancelled = True
        if running.handler.mode is Mode.TASK:
            running.scope.cancel()
        elif code == "timeout":
            text = "its thread cannot be stopped and keeps a slot until it returns [CMD-5]"
            self._log.line(logging.WARNING, f"{_named(running.context)}: {text}")

    # --- running ------------------------------------------------------------------------------------------------------

    def _call_inline(self, context: CommandContext, call: Callable[[], object]) -> None:
        try:
            result = call()
        except Exception as error:
            self._failed(context, error)
        except BaseException:
            self._fail(context.command_id, "cancelled", _CANCELLED)
            raise
        else:
            self._respond(context, result)

    async def _run(self, running: _Running, call: Callable[[], object]) -> None:
        context = running.context
        try:
            with running.scope:
                if running.handler.mode is Mode.TASK:
                    result = await cast("Awaitable[object]", call())
                else:
                    result = await self._threads.run(call)
                self._respond(context, result)
            if running.scope.cancelled_caught:
                self._fail(context.command_id, "cancelled", _CANCELLED)
        except Exception as error:
            self._failed(context, error)
        except get_cancelled_exc_class():
            self._fail(context.command_id, "cancelled", _CANCELLED)
            # Did somebody cancel this task? If the handler just raised that, as awaiting a cancelled task of asyncio's
            # does, it must go no further: leaving the task group it would cancel the agent.
            await checkpoint_if_cancelled()
        except BaseException:
            self._fail(context.command_id, "cancelled", _CANCELLED)
            raise
        finally:
            del self._running[context.command_id]

    # --- answering ----------------------------------------------------------------------------------------------------

    def _respond(self, context: CommandContext, result: object) -> None:
        try:
            with self._turn() as now:
                self._protocol.respond(context.command_id, result, now)
        except LocalProtocolError as error:
            self._log.line(logging.ERROR, f"{_named(context)} answered handler_error: {error} [CMD-7]")
            self._fail(context.command_id, "handler_error", "the handler's result cannot be written as JSON")

    def _failed(self, context: CommandContext, error: Exception) -> None:
        """A handler raised: only a CommandError chooses what the platform reads (CMD-7)."""
        if isinstance(error, CommandError):
            self._refuse(context, "handler_error", error.reason)
        else:
            text = f"{_named(context)} answered handler_error: its handler raised {type(error).__name__} [CMD-7]"
            self._log.line(logging.ERROR, text, error)
            self._fail(context.command_id, "handler_error", type(error).__name__)

    def _refuse(self, context: CommandContext, code: FinalCode, reason: str) -> None:
        """Answer with an error that is the caller's to read and mend."""
        self._log.line(logging.INFO, f"{_named(context)} answered {code}: {reason} [CMD-9]")
        self._fail(context.command_id, code, reason)

    def _fail(self, command_id: str, code: FinalCode, reason: str) -> None:
        with self._turn() as now:
            self._protocol.fail(command_id, code, reason, now)

    def _report(self, command_id: str, percent: float) -> None:
        self._threads.call(partial(self._progress, command_id, percent))

    def _progress(self, command_id: str, percent: float) -> None:
        with self._turn() as now:
            self._protocol.progress(command_id, percent, now)


_CANCELLED: Final = "the command was cancelled before it was done"


def _named(context: CommandContext) -> str:
    return f"command {context.command_id!r} ({context.command!r})"


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
                text = f"message {event.message_id!r} dropped: {self._count} handlers are busy already"
                self._log.line(logging.WARNING, text)
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
