"""What a handler's signature means, without a loop or a link."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pydantic.dataclasses
import pytest

from artcafe_anyio import Agent, CommandContext
from artcafe_anyio.arguments import InvalidArgumentsError
from artcafe_anyio.calling import Function
from artcafe_anyio.clocks import read_clocks
from artcafe_anyio.handlers import Handler, Mode
from artcafe_proto import LocalProtocolError
from artcafe_proto.events import CommandReceived

if TYPE_CHECKING:
    from collections.abc import Hashable


class Size(msgspec.Struct):
    """A type of the author's."""

    width: int
    height: int = 1


def call(function: Function, args: dict[str, Any]) -> object:
    """What comes of calling `function` as a handler."""
    raw = msgspec.Raw(json.dumps(args).encode())
    event = CommandReceived("cmd-1", "name", raw, float("inf"))
    return function(**Handler(function, inline=True).bind(raw, CommandContext(event, lambda _, __: None, read_clocks)))


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


# --- annotations ------------------------------------------------------------------------------------------------------


class Color(Enum):
    RED = "red"


@dataclass
class Order:
    """A dataclass of the author's."""

    item: str
    paths: list[Path]


class Options(TypedDict):
    depth: int


class Corner(NamedTuple):
    x: int
    y: int = 0


Number = NewType("Number", int)


class Positive(pydantic.BaseModel):
    """A model of pydantic's."""

    number: Annotated[int, pydantic.Field(gt=0)]
    secret: pydantic.SecretStr = pydantic.SecretStr("")


@dataclass
class Basket:
    """A dataclass that holds one."""

    models: list[Positive]


class Shelf(msgspec.Struct):
    """A struct that holds one."""

    model: Positive | None


@pydantic.dataclasses.dataclass
class Checked:
    """A dataclass of pydantic's."""

    number: Annotated[int, pydantic.Field(gt=0)]


READ: list[tuple[Any, Any, Any]] = [
    (object, {"a": [1]}, {"a": [1]}),
    (Any, [1], [1]),
    (list[object], [1, "x"], [1, "x"]),
    (Iterable[int], [1, 2], [1, 2]),
    (Iterable, ["x"], ["x"]),
    (dict[str, Iterable[datetime]], {"a": ["2026-05-01T00:00:00Z"]}, {"a": [datetime(2026, 5, 1, tzinfo=UTC)]}),
    (Sequence[int], [1], [1]),
    (Mapping[str, Path], {"a": "b/c"}, {"a": Path("b/c")}),
    (Path, "a/b", Path("a/b")),
    (Path | None, None, None),
    (set[int], [1, 1], {1}),
    (Order, {"item": "x", "paths": ["p"]}, Order("x", [Path("p")])),
    (Options, {"depth": 1}, {"depth": 1}),
    (Corner, [1, 2], Corner(1, 2)),
    (Color, "red", Color.RED),
    (Literal["a", "b"], "b", "b"),
    (UUID, str(UUID(int=1)), UUID(int=1)),
    (Decimal, "0.1", Decimal("0.1")),
    (Number, 5, 5),
    (bytes, "eA==", b"x"),
    (Positive, {"number": 1}, Positive(number=1)),
    (Positive | None, None, None),
    (list[Positive], [{"number": 2}], [Positive(number=2)]),
    (dict[str, list[Positive]], {"a": [{"number": 2}]}, {"a": [Positive(number=2)]}),
    (Basket, {"models": [{"number": 3}]}, Basket([Positive(number=3)])),
    (Shelf, {"model": {"number": 3}}, Shelf(Positive(number=3))),
    (Checked, {"number": 3}, Checked(3)),
    (Annotated[int, pydantic.Field(lt=9)], 8, 8),
]


@pytest.mark.parametrize(("annotation", "sent", "taken"), READ, ids=lambda value: str(value)[:60])
def test_an_annotation_is_read_as_it_says(annotation: Any, sent: Any, taken: Any) -> None:
    def handle(it, other=7):  # type: ignore[no-untyped-def] # pyright: ignore
        return it, other  # pyright: ignore

    handle.__annotations__ = {"it": annotation, "other": annotation}
    assert call(handle, {"it": sent}) == (taken, 7)  # pyright: ignore
    assert call(handle, {"it": sent, "other": sent}) == (taken, taken)  # pyright: ignore


@pytest.mark.parametrize(
    ("annotation", "sent", "reason"),
    [
        (Path, 5, r"at `\$.it`"),
        (Iterable[int], ["x"], "Expected `int`, got `str`"),
        (Order, {"item": "x", "paths": [1]}, r"at `\$.it.paths\[0\]`"),
        (Positive, {"number": "zwölf"}, r"Input should be a valid integer.* - at `\$.it.number`"),
        (list[Positive], [{"number": 1}, {"number": 0}], r"greater than 0 - at `\$.it.1.number`"),
        (Basket, {"models": [{"number": 0}]}, r"greater than 0 - at `\$.it.models.0.number`"),
        (Shelf, {"model": {"number": 0}}, r"greater than 0 - at `number` - at `\$.it.model`"),
        (Checked, {"number": 0}, r"greater than 0 - at `\$.it.number`"),
        (Annotated[int, pydantic.Field(lt=9)], 9, "less than 9"),
    ],
)
def test_what_does_not_fit_an_annotation_is_told_without_what_came(annotation: Any, sent: Any, reason: str) -> None:
    def handle(it):  # type: ignore[no-untyped-def] # pyright: ignore
        raise AssertionError("it is not called")

    handle.__annotations__ = {"it": annotation}
    with pytest.raises(InvalidArgumentsError, match=reason) as caught:
        call(handle, {"it": sent})  # pyright: ignore
    assert "http" not in str(caught.value)
    assert "zwölf" not in str(caught.value)


class Greedy(CommandContext):
    """Nobody makes one."""


class Lost(msgspec.Struct):
    """Its annotation means nothing here."""

    it: "Nowhere"  # type: ignore[name-defined] # noqa: F821, UP037 # pyright: ignore


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (complex, "complex is no type of JSON"),
        (list[complex], "complex is no type of JSON"),
        (dict[str, Order | complex], "cannot be read from JSON"),
        (Greedy, "Greedy is no type of JSON"),
        (list[CommandContext], "CommandContext is no type of JSON"),
        (str | Path, "cannot be read from JSON"),
        (type[int], "type is no type of JSON"),
        (Lost, "Nowhere"),
        (5, "cannot be read from JSON"),
        ("Nowhere", "names Nowhere"),
        ("1 +", "cannot be evaluated: SyntaxError"),
        (Positive | Size, "cannot be read from JSON"),
    ],
)
def test_annotations_that_cannot_be_read_are_refused_at_registration(annotation: Any, reason: str) -> None:
    def handle(it):  # type: ignore[no-untyped-def] # pyright: ignore
        ...

    handle.__annotations__ = {"it": annotation}
    with pytest.raises(LocalProtocolError, match=reason):
        Agent().command("name")(handle)  # pyright: ignore


def test_the_context_may_be_optional_annotated_or_named_by_a_text() -> None:
    def handle(
        a: CommandContext | None,
        b: "Optional[CommandContext]",  # noqa: UP037, UP045
        c: Annotated[CommandContext, "x"],
        d: CommandContext | None = None,
    ) -> object:
        return {a, b, c, d}

    (context,) = call(handle, {})  # type: ignore[misc] # pyright: ignore
    assert isinstance(context, CommandContext)


def test_types_that_are_local_are_found_where_the_function_is_registered() -> None:
    class Size(msgspec.Struct):  # pyright: ignore[reportUnusedClass] and not the one of the module
        depth: int

    def handle(size: Size, sizes: list[Size] | None = None) -> object:
        return size.depth, sizes  # type: ignore[attr-defined] # pyright: ignore

    assert call(handle, {"size": {"depth": 5}, "sizes": []}) == (5, [])

    def later() -> Function:
        class Hidden(msgspec.Struct): ...

        def handle(it: Hidden) -> None: ...

        return handle

    with pytest.raises(LocalProtocolError, match=r"names Hidden.*register the function where it is defined"):
        Agent().command("name")(later())


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "__x",
        "__post_init__",
        "__slots__",
        "__dict__",
        "__init__",
        "self",
        "cls",
        "_x",
        "mro",
        "field_0",
        "größe",
        "type",
    ],
)
def test_parameters_may_have_any_name(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def handle({name}: int, field_1: int = 2): return {name}, field_1", scope)
    assert call(scope["handle"], {name: 1}) == (1, 2)
    assert call(scope["handle"], {name: 1, "field_1": 3}) == (1, 3)
    with pytest.raises(InvalidArgumentsError, match=rf"at `\$.{name}`"):
        call(scope["handle"], {name: "x"})


class Shop:
    """Things to call."""

    def method(self, a: int, size: Size | None = None) -> object:
        return a, size

    @staticmethod
    def static(a: int) -> object:
        return a

    @classmethod
    def of_class(cls, a: int) -> object:
        return cls, a

    def __call__(self, a: int) -> object:
        return a


def traced(function: Function) -> Function:
    """Decorate, as people do."""

    @functools.wraps(function)
    def wrapper(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return wrapper


def untyped(a):  # type: ignore[no-untyped-def] # pyright: ignore
    return a  # pyright: ignore


def bound(path: str, connection: object, *, depth: int = 1) -> object:
    return path, connection, depth


CONNECTION = object()


@contextmanager
def around() -> Generator[None]:
    """To decorate with."""
    yield


@around()
def within(path: str, size: Size) -> object:
    return path, size


@asynccontextmanager
async def around_async() -> AsyncGenerator[None]:
    yield


CALLED: list[tuple[Any, dict[str, Any], object]] = [
    (within, {"path": "x", "size": {"width": 2}}, ("x", Size(2))),
    (Shop(), {"a": 1}, 1),
    (Shop().method, {"a": 1, "size": {"width": 2}}, (1, Size(2))),
    (Shop.static, {"a": 1}, 1),
    (Shop.__dict__["static"], {"a": 1}, 1),
    (Shop.of_class, {"a": 1}, (Shop, 1)),
    (functools.partial(Shop().method, 5), {}, (5, None)),
    (functools.partial(Shop()), {"a": 1}, 1),
    (functools.partial(bound, connection=CONNECTION), {"path": "x"}, ("x", CONNECTION, 1)),
    (functools.partial(functools.partial(bound, "p"), connection=CONNECTION), {"depth": 2}, ("p", CONNECTION, 2)),
    (traced(traced(Shop().method)), {"a": 1}, (1, None)),
    (functools.lru_cache(Shop.static), {"a": 1}, 1),
    (untyped, {"a": [1]}, [1]),
]


@pytest.mark.parametrize(("function", "args", "result"), CALLED)
def test_whatever_can_be_called_is_a_handler(function: Any, args: dict[str, Any], result: object) -> None:
    assert call(function, args) == result


def test_a_context_manager_may_decorate_a_handler_of_each_kind() -> None:
    @around_async()
    async def within_async() -> None: ...

    assert Handler(within_async, inline=False).mode is Mode.TASK
    assert Handler(within, inline=False).mode is Mode.THREAD


def test_what_a_partial_has_bound_is_not_for_the_platform() -> None:
    with pytest.raises(InvalidArgumentsError, match="unknown field `connection`"):
        call(functools.partial(bound, connection=CONNECTION), {"path": "x", "connection": 1})


def star(*args: int) -> None: ...
def rest(**args: int) -> None: ...
def positional(a: int, /) -> None: ...
def two_structs(a: Size | CommandContext) -> None: ...
def typing_only(a: Hashable) -> None: ...
def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@contextmanager
def context_manager() -> Generator[int]:
    yield 1


@asynccontextmanager
async def async_context_manager() -> AsyncGenerator[int]:
    yield 1


@functools.singledispatch
def by_type(event: object, number: int = 0) -> int:
    return number


class Told:
    def __init__(self) -> None:
        self.heard: list[object] = []

    @functools.singledispatchmethod
    def hear(self, event: object) -> None:
        self.heard.append(event)

    @hear.register
    def _(self, event: int) -> None:
        self.heard.append(str(event))


NO_FUNCTIONS: list[tuple[Any, str]] = [
    (object(), "a function or a method that can be called, not an object of object"),
    (Shop.__dict__["of_class"], "not an object of classmethod"),
    (Shop, "Shop is a class"),
    (functools.partial(Shop), "Shop is a class"),
    (generator, "generator is a generator"),
    (functools.partial(generator), "generator is a generator"),
    (async_generator, "is a generator"),
    (context_manager, "context_manager makes a context manager"),
    (async_context_manager, "makes a context manager"),
]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        *NO_FUNCTIONS,
        (star, r"\*args"),
        (rest, r"\*\*args"),
        (positional, "by name"),
        (two_structs, "cannot be read from JSON"),
        (typing_only, "names Hashable.*TYPE_CHECKING"),
        (len, "obj"),
        (max, "its parameters are not known"),
        (Shop.method, "register the method of an instance"),
        (by_type, "by_type: the type of its first positional argument decides"),
        (functools.partial(by_type), "by_type: the type of its first positional argument decides"),
        (Told().hear, "Told.hear: the type of its first positional argument decides"),
    ],
)
def test_functions_that_cannot_be_handlers(function: Any, reason: str) -> None:
    with pytest.raises(LocalProtocolError, match=reason):
        Agent().command("name")(function)


async def awaits(event: object) -> None: ...
def takes_none() -> None: ...
def takes_one(event: object) -> None: ...


@pytest.mark.parametrize(("function", "reason"), [*NO_FUNCTIONS, (takes_none, "takes one argument")])
def test_functions_that_cannot_hear_of_messages_and_events(function: Any, reason: str) -> None:
    for register in (Agent().on_message, Agent().on_event):
        with pytest.raises(LocalProtocolError, match=reason):
            register(function)


@pytest.mark.parametrize("function", [awaits, functools.partial(awaits), traced(awaits), takes_one])
def test_callbacks_of_events_are_plain_and_handlers_of_messages_either(function: Any) -> None:
    Agent().on_message(function)
    if function in (takes_one,) or not inspect.iscoroutinefunction(function):
        Agent().on_event(function)
    else:
        with pytest.raises(LocalProtocolError, match=r"on_event takes a plain function, and awaits is async"):
            Agent().on_event(function)


@pytest.mark.parametrize("function", [by_type, functools.partial(by_type), Told().hear])
def test_what_the_type_of_an_event_decides_hears_of_messages_and_events(function: Any) -> None:
    Agent().on_message(function)
    Agent().on_event(function)


def test_a_partial_that_has_bound_what_decides_is_a_handler() -> None:
    assert call(functools.partial(by_type, "a text"), {"number": 5}) == 5


def test_decorated_functions_are_unchanged_and_names_are_unique() -> None:
    agent = Agent()

    def handle() -> None: ...

    assert agent.command("a")(handle) is handle
    assert agent.command("b")(handle) is handle
    with pytest.raises(LocalProtocolError, match="'a' has a handler already"):
        agent.command("a")(handle)
    with pytest.raises(LocalProtocolError, match="a command has a name"):
        agent.command(handle)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
