"""A mutator for streams that are made of parts, lines or frames: it puts parts in, repeats, moves and leaves them out.

A third of the time it leaves the bytes to libFuzzer: else parts that are sound in themselves would stay so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import Final

MutateBytes = Callable[[bytes, int], bytes]


def splice(
    data: bytes,
    max_size: int,
    seed: int,
    mutate_bytes: MutateBytes,
    *,
    words: Sequence[bytes],
    head: int,
    ends: Callable[[bytes], list[int]],
) -> bytes:
    """Bytes made from `data`, of which the first `head` are no part; `ends` says where the parts of the rest end."""
    rng = Random(seed)
    if rng.randrange(3) == 0:
        return mutate_bytes(data, max_size)
    stream = data[head:]
    parts = [stream[start:end] for start, end in pairwise(sorted({0, *ends(stream), len(stream)}))]
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(parts) + 1)
        match rng.randrange(6):
            case 0 if parts:
                parts.insert(place, rng.choice(parts))
            case 1 if parts:
                del parts[place % len(parts)]
            case 2 if parts:
                parts.insert(place, parts.pop(rng.randrange(len(parts))))
            case 3 if parts:
                parts[place % len(parts)] = rng.choice(words)
            case _:
                parts.insert(place, rng.choice(words))
    return (data[:head].ljust(head, b"\0") + b"".join(parts))[:max_size]


def line_ends(stream: bytes) -> list[int]:
    """Where lines end (RFC 9112 section 2.2)."""
    return [place + 1 for place, octet in enumerate(stream) if octet == _LF]


def frame_ends(stream: bytes) -> list[int]:
    """Where frames end, if they are what they seem (RFC 6455 section 5.2)."""
    ends: list[int] = []
    place = 0
    while place + 2 <= len(stream):
        short = stream[place + 1] & 0x7F
        more = {126: 2, 127: 8}.get(short, 0)
        size = int.from_bytes(stream[place + 2 : place + 2 + more]) if more else short
        place += 2 + more + 4 * (stream[place + 1] >> 7) + size
        ends.append(min(place, len(stream)))
    return ends


_LF: Final = 0x0A
