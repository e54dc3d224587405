"""Handlers: what a function's signature says about a command's arguments, and how it is called (CMD-6, CMD-7)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Union, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.inspect import CustomType, UnionType, type_info
from msgspec.structs import asdict

from artcafe_anyio.clocks import monotonic
from artcafe_proto import ArtCafeError, LocalProtocolError

if TYPE_CHECKING:
    from artcafe_proto import CommandReceived

Function = Callable[..., object]
"""What `Agent.command` decorates."""


class CommandError(ArtCafeError):
    """Raise it in a handler: `reason` is what the platform gets to read. Of other errors it learns only the class."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class CommandContext:
    """What a handler may know of its command, and say about it. A parameter annotated with this class receives it."""

    __slots__ = ("_event", "_report", "is_cancelled")

    is_cancelled: bool
    """Whether its time is over, or the agent stops. A task is cancelled; a thread cannot be, and may look here."""

    def __init__(self, event: CommandReceived, report: Callable[[str, float], None]) -> None:
        """For the agent: `report` takes the command's id and its progress, from any thread."""
        self._event = event
        self._report = report
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
        return max(self._event.deadline - monotonic(), 0.0)

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


class InvalidArgumentsError(Exception):
    """The arguments that came do not fit the handler. The message is for the platform."""


class Handler:
    """A function as the handler of a command, and what it takes."""

    def __init__(self, function: Function, *, inline: bool) -> None:
        """Raises LocalProtocolError if the function's parameters cannot be a command's arguments."""
        self.function: Final = function
        self.mode: Final = _mode(function, inline=inline)
        self._context_names: list[str] = []
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        hints = _hints(function)
        for parameter in inspect.signature(function).parameters.values():
            annotation = hints.get(parameter.name, Any)
            if annotation is CommandContext:
                self._context_names.append(parameter.name)
            elif parameter.default is parameter.empty:
                fields.append((parameter.name, annotation))
            else:  # what is not sent is left out of the call, so the default is the function's own
                fields.append((parameter.name, Union[annotation, UnsetType], UNSET))  # noqa: UP007 annotation is a value
            _check(function, parameter, annotation)
        self._has_defaults = any(len(field) == 3 for field in fields)
        self.needs_context: Final = bool(self._context_names) or self.mode is not Mode.INLINE
        arguments = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True)
        self._decoder = msgspec.json.Decoder(arguments)

    def bind(self, raw_args: msgspec.Raw, context: CommandContext | None) -> dict[str, Any]:
        """What to call `function` with, of a JSON object. Raises InvalidArgumentsError if that does not fit (CMD-6)."""
        try:
            arguments = self._decoder.decode(raw_args)
        except msgspec.MsgspecError as error:
            raise InvalidArgumentsError(str(error)) from None
        named = asdict(arguments)
        if self._has_defaults:
            named = {name: value for name, value in named.items() if value is not UNSET}
        for name in self._context_names:
            named[name] = context
        return named


def _mode(function: Function, *, inline: bool) -> Mode:
    if inspect.iscoroutinefunction(function):
        if inline:
            raise LocalProtocolError(f"{_name(function)} is async: inline is for plain functions")
        return Mode.TASK
    return Mode.INLINE if inline else Mode.THREAD


def _hints(function: Function) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise LocalProtocolError(
            f"{_name(function)}: an annotation names {error.name}, which its module does not have when it runs: "
            "import it outside of TYPE_CHECKING"
        ) from None
    except TypeError as error:
        raise LocalProtocolError(f"{_name(function)}: {error}: a handler is a function or a method") from None


_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _check(function: Function, parameter: inspect.Parameter, annotation: Any) -> None:
    if parameter.kind not in _BY_NAME:
        raise LocalProtocolError(f"{_name(function)}: arguments come by name, so {parameter} cannot receive any")
    if annotation is CommandContext:
        return
    try:
        info = type_info(annotation)
        msgspec.json.Decoder(Union[annotation, UnsetType])  # noqa: UP007 annotation is a value
    except TypeError as error:
        raise LocalProtocolError(f"{_name(function)}: {parameter} cannot be read from JSON: {error}") from None
    if any(isinstance(each, CustomType) for each in (info.types if isinstance(info, UnionType) else (info,))):
        raise LocalProtocolError(f"{_name(function)}: {parameter} cannot be read from JSON: take what it is made of")


def _name(function: Function) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
