"""The fast lane and wsproto together read any bytes, cut anyhow, in either role, as wsproto alone does.

The first byte of an input is the role and how the rest is cut: into pieces of one length, or not at all.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from artcafe_proto.wires.inputs import Input
from artcafe_proto.wires.lane import read_texts
from lane_oracle import LANE, read, without_lane


def check(data: bytes) -> None:
    """Read it with the lane and without."""
    head, stream = data[0] if data else 0, data[1:]
    client, step = bool(head & 1), head >> 1
    cuts = range(step, len(stream), step) if step else ()
    with without_lane():
        expected = read(client, stream, ())
    assert read(client, stream, cuts) == expected


def plant() -> None:
    """The lane looks past the reserved bits and FIN."""

    def lane(buffer: bytes, *, masked: bool, max_size: int, inputs: list[Input]) -> int:
        seen: Any = bytes((buffer[0] & 0x0F | 0x80,)) + bytes(buffer[1:]) if buffer else buffer
        return read_texts(seen, masked=masked, max_size=max_size, inputs=inputs)

    patch(LANE, lane).start()
