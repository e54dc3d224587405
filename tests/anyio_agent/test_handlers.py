"""What a handler's signature means, without a loop or a link."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from artcafe_anyio import Agent, CommandContext
from artcafe_anyio.handlers import Function, Handler, InvalidArgumentsError, Mode
from artcafe_proto import CommandReceived, LocalProtocolError

if TYPE_CHECKING:
    from decimal import Decimal


class Size(msgspec.Struct):
    """A type of the author's."""

    width: int
    height: int = 1


def call(function: Function, args: dict[str, Any]) -> object:
    """What comes of calling `function` as a handler."""
    raw = msgspec.Raw(json.dumps(args).encode())
    event = CommandReceived("cmd-1", "name", raw, float("inf"))
    return function(**Handler(function, inline=True).bind(raw, CommandContext(event, lambda _, __: None)))


def test_arguments_come_by_name_and_typed() -> None:
    def handle(path: str, size: Size, *, exact: bool, scale: float = 2.0) -> object:
        return path, size, exact, scale

    args = {"exact": True, "size": {"width": 3}, "path": "cat.png"}
    assert call(handle, args) == ("cat.png", Size(3), True, 2.0)


def test_defaults_are_the_functions_own() -> None:
    default: list[int] = [1]

    def handle(numbers: list[int] = default) -> object:
        return numbers

    assert call(handle, {}) is default
    assert call(handle, {"numbers": []}) == []


def test_unannotated_parameters_take_anything() -> None:
    def handle(first, second=None):  # type: ignore[no-untyped-def] # pyright: ignore
        return first, second  # pyright: ignore

    assert call(handle, {"first": {"a": [1]}}) == ({"a": [1]}, None)  # pyright: ignore
    assert call(handle, {"first": 1, "second": "x"}) == (1, "x")  # pyright: ignore


def test_the_context_is_found_by_its_annotation() -> None:
    def handle(about: CommandContext, a: int, again: CommandContext) -> object:
        assert about is again
        return about.command_id, about.command, a, about.is_cancelled, about.remaining_s

    assert call(handle, {"a": 4}) == ("cmd-1", "name", 4, False, float("inf"))
    with pytest.raises(InvalidArgumentsError, match="unknown field `about`"):
        call(handle, {"a": 4, "about": 1})


def test_methods_and_constraints() -> None:
    class Shop:
        def handle(self, count: Annotated[int, msgspec.Meta(ge=1)]) -> int:
            return count

    assert call(Shop().handle, {"count": 1}) == 1
    with pytest.raises(InvalidArgumentsError, match=">= 1"):
        call(Shop().handle, {"count": 0})


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({}, "missing required field `path`"),
        ({"path": 1}, r"Expected `str`, got `int` - at `\$.path`"),
        ({"path": "x", "size": {"width": "3"}}, r"at `\$.size.width`"),
        ({"path": "x", "other": 1}, "unknown field `other`"),
    ],
)
def test_what_does_not_fit_is_refused(args: dict[str, Any], reason: str) -> None:
    def handle(path: str, size: Size | None = None) -> None:
        raise AssertionError("it is not called")

    with pytest.raises(InvalidArgumentsError, match=reason):
        call(handle, args)


def test_where_a_handler_runs() -> None:
    async def coroutine() -> None: ...

    def plain() -> None: ...

    assert Handler(coroutine, inline=False).mode is Mode.TASK
    assert Handler(plain, inline=False).mode is Mode.THREAD
    assert Handler(plain, inline=True).mode is Mode.INLINE
    with pytest.raises(LocalProtocolError, match="inline is for plain functions"):
        Handler(coroutine, inline=True)


def star(*args: int) -> None: ...
def rest(**args: int) -> None: ...
def positional(a: int, /) -> None: ...
def path(path: Path) -> None: ...
def optional_path(path: Path | None = None) -> None: ...
def two_structs(a: Size | CommandContext) -> None: ...
def typing_only(a: Decimal) -> None: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (star, r"\*args"),
        (rest, r"\*\*args"),
        (positional, "by name"),
        (path, "cannot be read from JSON"),
        (optional_path, "cannot be read from JSON"),
        (two_structs, "cannot be read from JSON"),
        (typing_only, "names Decimal.*TYPE_CHECKING"),
        (len, "obj"),
        (object(), "a handler is a function"),
    ],
)
def test_functions_that_cannot_be_handlers(function: Any, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        Agent().command("name")(function)


def test_decorated_functions_are_unchanged_and_names_are_unique() -> None:
    agent = Agent()

    def handle() -> None: ...

    assert agent.command("a")(handle) is handle
    assert agent.command("b")(handle) is handle
    with pytest.raises(LocalProtocolError, match="'a' has a handler already"):
        agent.command("a")(handle)
    with pytest.raises(LocalProtocolError, match="a command has a name"):
        agent.command(handle)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
