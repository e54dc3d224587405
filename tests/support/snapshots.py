"""The whole state of an object as a value that can be compared: how a test knows that a call has changed nothing.

Everything that is reached from the object is part of it: attributes, slots, containers, closures, generators, the state
of a `Random`. Two snapshots are equal only if both trees have the same shape, the same objects shared in the same
places, and equal leaves; the order of a dict counts. A kind of object that this module does not know is a TypeError, so
that nothing is left out in silence.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections import deque
from collections.abc import Iterator
from enum import Enum
from functools import partial
from random import Random
from types import BuiltinMethodType, FunctionType, GeneratorType, MappingProxyType, MethodType, ModuleType
from typing import Any

import msgspec

Snapshot = tuple[Any, ...]

_LEAVES: tuple[type[Any], ...] = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    Enum,
    type,
    ModuleType,
    re.Pattern,
    codecs.CodecInfo,
)
_OPAQUE = ("cryptography.", "h11._readers", "msgspec")
"""Modules whose other objects never change: keys, parsers without state, decoders."""


def snapshot(thing: object) -> Snapshot:
    """The state of everything that is reached from `thing`."""
    return _Walk().visit(thing)


class _Walk:
    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._alive: list[object] = []  # an id is unique only while its object lives

    def visit(self, thing: Any) -> Snapshot:
        kind: type[Any] = thing.__class__
        if issubclass(kind, _LEAVES):
            return (kind, repr(thing) if issubclass(kind, float) else thing)
        if id(thing) in self._seen:
            return ("seen", self._seen[id(thing)])
        self._seen[id(thing)] = len(self._seen)
        self._alive.append(thing)
        return (kind, *self._parts(kind, thing))

    def _parts(self, kind: type[Any], thing: Any) -> Iterator[Any]:
        # Asked with issubclass, because isinstance would narrow `thing` to what is half unknown.
        if issubclass(kind, Random):
            yield thing.getstate()
        elif issubclass(kind, bytearray | memoryview | msgspec.Raw):
            yield bytes(thing)
        elif issubclass(kind, itertools.count):
            yield repr(thing)
        elif issubclass(kind, codecs.IncrementalDecoder):
            yield thing.getstate()
        elif issubclass(kind, FunctionType):
            yield repr(thing.__code__)
            yield [self.visit(cell.cell_contents) for cell in thing.__closure__ or ()]
        elif issubclass(kind, MethodType | BuiltinMethodType):
            yield thing.__name__
            yield self.visit(thing.__self__)
        elif issubclass(kind, GeneratorType):
            frame = thing.gi_frame
            yield None if frame is None else (frame.f_lasti, self.visit(frame.f_locals))
        elif issubclass(kind, partial):
            yield from map(self.visit, (thing.func, thing.args, thing.keywords))
        else:
            yield from self._contents(kind, thing)

    def _contents(self, kind: type[Any], thing: Any) -> Iterator[Any]:
        """Items and fields: a subclass of a container may have both."""
        is_known = True
        if issubclass(kind, dict | MappingProxyType):
            yield [(self.visit(key), self.visit(value)) for key, value in thing.items()]
        elif issubclass(kind, list | tuple | deque):
            yield [self.visit(item) for item in thing]
        elif issubclass(kind, set | frozenset):
            yield sorted((self.visit(item) for item in thing), key=repr)
        elif issubclass(kind, msgspec.Struct):
            yield [(name, self.visit(getattr(thing, name))) for name in kind.__struct_fields__]
        else:
            is_known = False
        slots = [name for each in kind.__mro__ for name in vars(each).get("__slots__", ())]
        names = {*getattr(thing, "__dict__", ()), *slots} - {"__dict__", "__weakref__"}
        if hasattr(thing, "__dict__") or slots:
            yield [(name, self.visit(getattr(thing, name))) for name in sorted(names) if hasattr(thing, name)]
        elif not is_known and kind.__module__.startswith(_OPAQUE):
            yield id(thing)
        elif not is_known:
            raise TypeError(f"no snapshot knows the state of a {kind.__module__}.{kind.__qualname__}")
