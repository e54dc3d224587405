"""What a record holds: plain data, which depends on no class of the package.

A file is an LZMA stream of worlds, each in MessagePack behind its length. A value of the package is stored as `plain`
makes it: a struct as its fields beside its class's name, a tuple as a list, an enum as the name of its member.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final, cast

import msgspec

HUB: Final = 0
"""The number of a platform's hub; its connections have those that their owner gave them. An agent is 0, too."""


class Call(msgspec.Struct, array_like=True, tag="call"):
    """One input: a call of one of a machine's objects, its arguments by name, and what it returned or raised."""

    target: int
    name: str
    args: dict[str, Any]
    result: Any


class Drained(msgspec.Struct, array_like=True, tag="drained"):
    """The outputs since the last input, and the deadline afterwards, of each object that was drained.

    Not `to_the_end` where the next input was made while outputs were still to come.
    """

    to_the_end: bool
    outputs: list[tuple[int, list[Any], float | None]]


class Machine(msgspec.Struct):
    """One life of an agent, or of a platform's memory: how it was built, and what happened to it in order."""

    role: str
    settings: dict[str, Any]
    """Of its configuration, where they are not the defaults."""
    seed: int
    """Of its random numbers: see `replays.draws`."""
    signing_seed: bytes = b""
    has_one_deadline: bool = False
    """Of a platform: whether the hub kept the time of its connections too."""
    steps: list[Call | Drained] = []


class World(msgspec.Struct):
    """One simulated world: its seed, the faults that happened in it, and its machines."""

    seed: int
    faults: list[str]
    machines: list[Machine]


def plain(value: Any) -> Any:
    """`value` without classes of the package."""
    match value:
        case msgspec.Raw():
            return bytes(value)
        case msgspec.Struct():
            fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
            return {"class": type(value).__name__} | fields
        case Enum():
            return value.name
        case dict():
            return {key: plain(each) for key, each in cast("dict[str, Any]", value).items()}
        case list() | tuple():
            return [plain(each) for each in cast("list[Any]", value)]
        case _:
            return value


def unmasked(data: bytes, *, keep_keys: bool = True) -> bytes:
    """The whole frames of an agent that `data` begins with, their payloads unmasked (RFC 6455 section 5.2), and the
    rest. Done twice it makes the same bytes again, if the keys are kept; else they become zero.
    """
    written: list[bytes] = []
    place = 0
    while len(data) > place + 1 and data[place] & 0x80 and data[place + 1] & 0x80:
        length_bytes = {126: 2, 127: 8}.get(data[place + 1] & 0x7F, 0)
        keyed = place + 2 + length_bytes
        size = int.from_bytes(data[place + 2 : keyed]) if length_bytes else data[place + 1] & 0x7F
        end = keyed + 4 + size
        if end > len(data):
            break
        key = data[keyed : keyed + 4]
        clear = int.from_bytes(data[keyed + 4 : end]) ^ int.from_bytes((key * (size // 4 + 1))[:size])
        written += [data[place:keyed], key if keep_keys else bytes(4), clear.to_bytes(size)]
        place = end
    return b"".join([*written, data[place:]])


def write(path: Path, worlds: Iterable[World], preset: int) -> None:
    """Store worlds. `preset` is LZMA's, 0 (fast) to 9 (small)."""
    with lzma.open(path, "wb", preset=preset) as file:
        for world in worlds:
            stored = _encoder.encode(world)
            file.write(len(stored).to_bytes(4) + stored)


def read(path: Path) -> Iterator[World]:
    """The worlds of a record. Raises ValueError for what is no record."""
    with lzma.open(path, "rb") as file:
        while size := file.read(4):
            yield _decoder.decode(file.read(int.from_bytes(size)))


def encoded(value: Any) -> bytes:
    """Plain data in bytes that are the same for the same value, whatever the order of fields."""
    return _deterministic.encode(value)


_encoder: Final = msgspec.msgpack.Encoder()
_deterministic: Final = msgspec.msgpack.Encoder(order="deterministic")
_decoder: Final = msgspec.msgpack.Decoder(World)
