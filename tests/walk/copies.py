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

from artcafe_proto import AgentConfig, PlatformConfig, SigningKey
from artcafe_proto.policies.public_keys import PublicKey
from artcafe_proto.policies.token_issuer import TokenIssuer
from artcafe_proto.policies.tokens import Token
from artcafe_proto.regions import Table
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
        if isinstance(obj, Token):  # which lets itself be copied by nobody else (TOK-4)
            return _token, (obj.value, obj.life_s, obj.expires_at, obj.renew_at, obj.used)
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


def _token(value: str, life_s: float | None, expires_at: float | None, renew_at: float | None, used: bool) -> Token:
    token = Token(value, life_s=life_s, mono=0.0)
    token.expires_at, token.renew_at, token.used = expires_at, renew_at, used
    return token
