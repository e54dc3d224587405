"""Copies of a world that share nothing which can change.

A world is frozen once and thawed for every action that is tried in it. `pickle` keeps what belongs together together,
bound methods included; `copy.deepcopy` would let all copies emit into the one queue whose `append` the hub hands out.
"""

from __future__ import annotations

import io
import pickle
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from artcafe_proto import AgentConfig, PlatformConfig, SigningKey
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.regions import Table
from artcafe_proto.secrecy import Secretive
from walk.scenarios import Scenario

if TYPE_CHECKING:
    from walk.world import World

SHARED: Final[tuple[type[Any], ...]] = (
    type,
    AgentConfig,
    Enum,
    PlatformConfig,
    PublicKey,
    Scenario,
    SigningKey,
    Table,
    TokenIssuer,
)
"""What never changes: all copies hold the same."""


def freeze(world: World) -> bytes:
    """Everything that `thaw` needs to make the same world."""
    buffer = io.BytesIO()
    _Freezer(buffer, pickle.HIGHEST_PROTOCOL).dump(world)
    return buffer.getvalue()


def thaw(frozen: bytes) -> World:
    """A new world, as it was when it was frozen."""
    return pickle.loads(frozen)


class _Freezer(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        if _is_shared(obj):
            return _kept, (_keep(obj),)
        if isinstance(obj, Secretive):  # which lets itself be copied by nobody else (TOK-4)
            if isinstance(obj, Struct):
                return _struct, (type(obj), asdict(obj))
            return type(obj).__new__, (type(obj),), _attributes(obj), None, None, _restore
        if isinstance(obj, count):
            return count, (int(repr(obj)[len("count(") : -1]),)  # pyright: ignore[reportUnknownArgumentType]
        return NotImplemented


_shared: Final[dict[int, Any]] = {}


def _is_shared(obj: object) -> bool:
    return isinstance(obj, SHARED)


def _keep(obj: object) -> int:
    _shared[id(obj)] = obj
    return id(obj)


def _kept(number: int) -> Any:
    return _shared[number]


def _struct(kind: type[Any], fields: dict[str, Any]) -> Any:
    return kind(**fields)


def _attributes(obj: object) -> dict[str, Any]:
    """What an object holds, in slots or without."""
    slots = [name for each in type(obj).__mro__ for name in getattr(each, "__slots__", ())]
    return {name: getattr(obj, name) for name in (*slots, *getattr(obj, "__dict__", ()))}


def _restore(obj: object, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        setattr(obj, name, value)
