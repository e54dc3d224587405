"""The arguments of a command: what a function's parameters say about them, and how they are read (CMD-6)."""

from __future__ import annotations

import inspect
import sys
import types
from collections import abc
from contextlib import suppress
from dataclasses import is_dataclass
from functools import lru_cache, partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

import msgspec
from msgspec import UNSET
from msgspec.inspect import CustomType, type_info
from msgspec.structs import astuple

from artcafe_anyio.calling import innermost, name_of
from artcafe_proto import LocalProtocolError
from artcafe_proto.readable import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artcafe_anyio.calling import Function


class InvalidArgumentsError(Exception):
    """The arguments that came do not fit the handler. The message is for the platform."""


class Arguments:
    """What a function takes: by name, each read as its annotation says."""

    def __init__(self, function: Function, injected: type) -> None:
        """Parameters of the type `injected` are not read but given. Raises LocalProtocolError if the function's
        parameters cannot be a command's arguments.
        """
        self.given_names: Final[list[str]] = []
        """The parameters of that type."""
        self._by_pydantic: list[tuple[str, _PydanticReader]] = []
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        names: dict[str, str] = {}  # fields are numbered, as a struct cannot have one of every name
        hints = _hints(function)
        for parameter in _parameters(function):
            annotation = hints.get(parameter.name, Any)
            _check_kind(function, parameter)
            if _is_given(annotation, injected):
                self.given_names.append(parameter.name)
                continue
            try:
                if _is_for_pydantic(annotation, set()):
                    self._by_pydantic.append((parameter.name, _PydanticReader(annotation)))
                    annotation = msgspec.Raw
                _check_type(annotation)
            except Exception as error:  # msgspec's, pydantic's, or a NameError within a type of the author's
                why = text_of(error).partition("\n")[0]
                raise LocalProtocolError(f"{name_of(function)}: {parameter} cannot be read from JSON: {why}") from None
            field = f"field_{len(fields)}"
            names[field] = parameter.name
            # what is not sent is left out of the call, so the default is the function's own
            has_default = parameter.default is not parameter.empty
            fields.append((field, annotation, UNSET) if has_default else (field, annotation))
        self._has_defaults = any(len(field) == 3 for field in fields)
        struct = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True, rename=names)
        self._names = tuple(names[field] for field in struct.__struct_fields__)
        self._decoder = msgspec.json.Decoder(struct, dec_hook=_read)

    def read(self, raw_args: msgspec.Raw) -> dict[str, Any]:
        """The arguments in a JSON object, by name. Raises InvalidArgumentsError, or what a type of theirs raises."""
        try:
            named = dict(zip(self._names, astuple(self._decoder.decode(raw_args)), strict=True))
            if self._has_defaults:
                named = {name: value for name, value in named.items() if value is not UNSET}
            for name, reader in self._by_pydantic:
                if name in named:
                    named[name] = reader.read(bytes(named[name]), "$", name)
        except msgspec.MsgspecError as error:
            raise InvalidArgumentsError(str(error)) from None
        return named


# --- what the parameters are ------------------------------------------------------------------------------------------


def _parameters(function: Function) -> list[inspect.Parameter]:
    """Those that a call has to fill: not what a partial has bound."""
    bound: set[str] = set()
    layer: object = function
    while isinstance(layer, partial):
        bound |= layer.keywords.keys()
        layer = cast("object", layer.func)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise LocalProtocolError(f"{name_of(function)}: its parameters are not known: {error}") from None
    return [parameter for name, parameter in parameters.items() if name not in bound]


def _hints(function: Function) -> dict[str, Any]:
    inner = innermost(function)
    try:
        if not getattr(inner, "__annotations__", None):
            return {}
        around = getattr(inspect.unwrap(inner), "__globals__", None) or getattr(inner, "__globals__", {})
        return get_type_hints(inner, around, _names_around(inner), include_extras=True)
    except NameError as error:
        raise LocalProtocolError(
            f"{name_of(function)}: an annotation names {error.name}, which is not there when it runs: import it "
            "outside of TYPE_CHECKING, or register the function where it is defined"
        ) from None
    except Exception as error:  # an annotation may be any expression
        why = f"{type(error).__name__}: {text_of(error)}"
        raise LocalProtocolError(f"{name_of(function)}: its annotations cannot be evaluated: {why}") from None


def _names_around(function: Any) -> Mapping[str, Any]:
    """The local names that a function's annotations may use: of the functions and classes around it, which run now."""
    function = inspect.unwrap(function)
    code = getattr(function, "__code__", None)
    names: dict[str, Any] = {}
    frame = sys._getframe() if code is not None else None  # pyright: ignore[reportPrivateUsage]
    while frame is not None and code is not None:
        around = frame.f_code
        if around.co_filename == code.co_filename and function.__qualname__.startswith(f"{around.co_qualname}."):
            names = {**frame.f_locals, **names}
        frame = frame.f_back
    for name, cell in zip(getattr(code, "co_freevars", ()), getattr(function, "__closure__", None) or (), strict=False):
        with suppress(ValueError):  # it has no value yet
            names.setdefault(name, cell.cell_contents)
    return names


_BY_NAME: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def _check_kind(function: Function, parameter: inspect.Parameter) -> None:
    if parameter.kind not in _BY_NAME:
        raise LocalProtocolError(f"{name_of(function)}: arguments come by name, so {parameter} cannot receive any")
    scope = getattr(function, "__qualname__", "").rpartition(".")[0]
    is_of_class = scope and not scope.endswith("<locals>") and inspect.isfunction(function)
    if is_of_class and parameter.name in ("self", "cls") and parameter.annotation is parameter.empty:
        raise LocalProtocolError(f"{name_of(function)} is a method of a class: register the method of an instance")


def _is_given(annotation: Any, injected: type) -> bool:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return {*get_args(annotation)} == {injected, types.NoneType}
    return annotation is injected


# --- how they are read ------------------------------------------------------------------------------------------------


def _check_type(annotation: Any) -> None:
    """Raise TypeError, or whatever a type of the author's does, for what could not be read."""
    msgspec.json.Decoder(annotation, dec_hook=_read)
    for kind in _custom_types(type_info(annotation), set()):
        is_path = issubclass(kind, PurePath)
        if not (is_path or kind in (object, *_LISTS) or _is_for_pydantic(kind, set())):
            raise TypeError(f"{kind.__name__} is no type of JSON: take what it is made of")


def _custom_types(info: object, seen: set[int]) -> Iterator[type]:
    """The types within `info` that msgspec leaves to its hook."""
    if isinstance(info, CustomType):
        yield info.cls
    elif isinstance(info, tuple):
        for each in info:  # pyright: ignore[reportUnknownVariableType]
            yield from _custom_types(each, seen)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field) and id(info) not in seen:
        seen.add(id(info))
        yield from _custom_types(astuple(info), seen)


_LISTS: Final = (abc.Iterable, abc.Container, abc.Reversible)
"""What a list is, too."""


def _read(kind: Any, value: Any) -> object:
    """A value of a type that msgspec does not know, of what it made of the JSON."""
    origin = get_origin(kind) or kind
    if origin is object:
        return value
    if origin not in _LISTS and issubclass(origin, PurePath):
        return origin(value)
    try:
        if origin in _LISTS:
            (item,) = get_args(kind) or (Any,)
            return msgspec.convert(value, list[item], dec_hook=_read, str_keys=True)
        return _pydantic_reader(kind).read(msgspec.json.encode(value))
    except msgspec.ValidationError as error:  # a ValueError gets added to it where this value stands
        raise ValueError(str(error)) from None


def _is_for_pydantic(kind: Any, seen: set[int]) -> bool:
    """Whether pydantic has to read it: its models, types and constraints, wherever they stand. It is not imported for
    that: where it is not loaded, nothing can be its own.
    """
    if "pydantic" not in sys.modules or id(kind) in seen:
        return False
    seen.add(id(kind))
    if hasattr(kind, "__get_pydantic_core_schema__") or hasattr(kind, "__pydantic_core_schema__"):
        return True
    if type(kind).__module__.partition(".")[0] in ("pydantic", "pydantic_core", "annotated_types"):
        return True  # the metadata of an Annotated
    inner = [*get_args(kind), *getattr(kind, "__metadata__", ())]
    if is_dataclass(kind) or is_typeddict(kind) or hasattr(kind, "_fields"):
        try:
            inner += get_type_hints(kind, include_extras=True).values()
        except Exception:  # which msgspec will tell
            return False
    return any(_is_for_pydantic(each, seen) for each in inner)


class _PydanticReader:
    """Reads JSON by pydantic's rules."""

    def __init__(self, annotation: Any) -> None:
        from pydantic import TypeAdapter, ValidationError  # it is loaded already, and nothing here depends on it

        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        self._refused = ValidationError

    def read(self, raw: bytes, *path: str) -> object:
        """What the JSON says. Raises msgspec.ValidationError with what is wrong and where, but not what came."""
        try:
            return self._adapter.validate_json(raw)
        except self._refused as error:
            wrong = error.errors(include_url=False, include_context=False, include_input=False)
            said = [f"{each['msg']} - at `{'.'.join([*path, *map(str, each['loc'])])}`" for each in wrong[:_TOLD]]
            raise msgspec.ValidationError("; ".join(said)) from None


_TOLD: Final = 10
_pydantic_reader = lru_cache(_PydanticReader)
