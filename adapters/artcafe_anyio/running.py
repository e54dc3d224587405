"""The application's functions at work: a task or a thread a command, and exactly one answer each (CMD-3, CMD-7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import anyio

from artcafe_anyio.handlers import CommandContext, CommandError, InvalidArgumentsError, Mode
from artcafe_anyio.logs import logger
from artcafe_proto import AgentEvent, LocalProtocolError, MessageReceived

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from anyio.abc import TaskGroup

    from artcafe_anyio.handlers import Handler
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
    ) -> None:
        self._commands = commands
        self._protocol = protocol
        self._turn = turn
        self._threads = threads
        self._tasks = tasks
        self._running: dict[str, _Running] = {}

    def start(self, event: CommandReceived) -> None:
        """Run a command, or answer why not."""
        handler = self._commands.get(event.command)
        if handler is None:
            self._fail(event.command_id, "unknown_command", f"this agent has no command {event.command!r}")
            return
        context = CommandContext(event, partial(self._report, event.command_id))
        try:
            call = handler.bind(event.raw_args, context)
        except InvalidArgumentsError as error:
            self._fail(event.command_id, "invalid_arguments", str(error))
        except Exception as error:  # a type of the author's that cannot be made of what came
            self._failed(context, error)
        else:
            if handler.mode is Mode.INLINE:
                self._call_inline(context, call)
            else:
                running = self._running[event.command_id] = _Running(handler, context, anyio.CancelScope())
                self._tasks.start_soon(self._run, running, call)

    def cancel(self, command_id: str) -> None:
        """Stop running a command. A thread cannot be stopped: until it ends by itself it keeps the command's slot."""
        running = self._running.get(command_id)
        if running is not None:
            running.context.is_cancelled = True
            if running.handler.mode is Mode.TASK:
                running.scope.cancel()

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
        except BaseException:  # the agent is cancelled from outside, or the handler has cancelled its own task
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
            logger.error("command %r (%s): %s", context.command, context.command_id, error)
            self._fail(context.command_id, "handler_error", "the handler's result cannot be written as JSON")

    def _failed(self, context: CommandContext, error: Exception) -> None:
        """A handler raised: only a CommandError chooses what the platform reads (CMD-7)."""
        if isinstance(error, CommandError):
            logger.info("command %r (%s) refused: %s", context.command, context.command_id, error.reason)
            self._fail(context.command_id, "handler_error", error.reason)
        else:
            logger.error("the handler of %r failed (%s)", context.command, context.command_id, exc_info=error)
            self._fail(context.command_id, "handler_error", type(error).__name__)

    def _fail(self, command_id: str, code: FinalCode, reason: str) -> None:
        with self._turn() as now:
            self._protocol.fail(command_id, code, reason, now)

    def _report(self, command_id: str, percent: float) -> None:
        self._threads.call(partial(self._progress, command_id, percent))

    def _progress(self, command_id: str, percent: float) -> None:
        with self._turn() as now:
            self._protocol.progress(command_id, percent, now)


_CANCELLED: Final = "the command was cancelled before it was done"


class MessageRunner:
    """Runs handlers of messages, a task a call."""

    def __init__(self, handlers: list[MessageHandler], tasks: TaskGroup) -> None:
        self._handlers = handlers
        self._tasks = tasks
        self._count = 0

    def start(self, event: MessageReceived) -> None:
        """Give every handler the message."""
        for handler in self._handlers:
            if self._count == MAX_MESSAGE_TASKS:
                logger.warning("message %r dropped: %d handlers are busy already", event.message_id, self._count)
                return
            self._count += 1
            self._tasks.start_soon(self._run, handler, event)

    async def _run(self, handler: MessageHandler, event: MessageReceived) -> None:
        try:
            await handler(event)
        except Exception:
            logger.exception("a handler of messages failed (%r)", event.message_id)
        finally:
            self._count -= 1
