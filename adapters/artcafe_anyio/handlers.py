"""Handlers: the functions that carry out commands, and what they are given (CMD-6, CMD-7)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from artcafe_anyio.arguments import Arguments
from artcafe_anyio.calling import check_function, dispatches, is_async, name_of
from artcafe_proto import ArtCafeError, LocalProtocolError
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from artcafe_anyio.calling import Function
    from artcafe_anyio.clocks import Clock
    from artcafe_proto.events import CommandReceived

__all__ = ["CommandContext", "CommandError"]


class CommandError(ArtCafeError):
    """Raise it in a handler: `reason` is what the platform gets to read, the text of it if it is an error. Of other
    errors it learns only the class.
    """

    def __init__(self, reason: str | BaseException) -> None:
        super().__init__(reason)
        self.reason: Final = text_of(reason) if isinstance(reason, BaseException) else str(reason)


class CommandContext:
    """What a handler may know of its command, and say about it. A parameter annotated with this class receives it."""

    __slots__ = ("_clock", "_event", "_report", "is_cancelled")

    is_cancelled: bool
    """Whether its time is over, or the agent stops. A task is cancelled; a thread cannot be, and may look here."""

    def __init__(self, event: CommandReceived, report: Callable[[str, float], None], clock: Clock) -> None:
        """For the agent: `report` takes the command's id and its progress, from any thread."""
        self._event = event
        self._report = report
        self._clock = clock
        self.is_cancelled = False

    @property
    def command_id(self) -> str:
        """The platform's id of this command."""
        return self._event.command_id

    @property
    def command(self) -> str:
        """The name it was sent to."""
        return self._event.command

    @property
    def remaining_s(self) -> float:
        """Seconds until the command is cancelled (CMD-4), at least 0."""
        return max(self._event.deadline - self._clock().mono, 0.0)

    def progress(self, percent: float) -> None:
        """Report progress, 0 to 100, from a task, inline or a worker thread.

        The latest wins, at most one a second goes out, none while the link is down (STAT-4). Raises LocalProtocolError
        for another number.
        """
        self._report(self.command_id, percent)


class Mode(Enum):
    """Where a handler runs."""

    TASK = "task"
    THREAD = "thread"
    INLINE = "inline"


class Handler:
    """A function as the handler of a command, and what it takes."""

    def __init__(self, function: Function, *, inline: bool) -> None:
        """Raises LocalProtocolError if the function cannot be one."""
        check_function(function, "a handler")
        if dispatches(function) and not getattr(function, "args", ()):  # of a partial, which has bound it
            why = "the type of its first positional argument decides what is called, and arguments come by name"
            raise LocalProtocolError(f"{name_of(function)}: {why}: register a function that calls it")
        self.function: Final = function
        self.mode: Final = _mode(function, inline=inline)
        self._arguments = Arguments(function, CommandContext)
        self.needs_context: Final = bool(self._arguments.given_names) or self.mode is not Mode.INLINE

    def bind(self, raw_args: msgspec.Raw, context: CommandContext | None) -> dict[str, Any]:
        """What to call `function` with, of a JSON object. Raises InvalidArgumentsError if that does not fit (CMD-6)."""
        named = self._arguments.read(raw_args)
        for name in self._arguments.given_names:
            named[name] = context
        return named


def _mode(function: Function, *, inline: bool) -> Mode:
    if is_async(function):
        if inline:
            raise LocalProtocolError(f"{name_of(function)} is async: inline is for plain functions")
        return Mode.TASK
    return Mode.INLINE if inline else Mode.THREAD
