"""The wire reads any bytes, in pieces and in both roles, as wsproto reads them whole that is given every frame.

The bytes: the role, how the stream is cut, the stream. The oracle is the one of `tests/wires/test_lane.py`.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from decoding import SIZES_BYTES, Reader
from mutants.planted import Mutant
from splicing import frame_ends, splice
from support.wire_readings import read_frames, read_frames_by_wsproto

PLANTED: Final = Mutant(
    "a length need not have its shortest form",
    "artcafe_proto/wires/lane.py",
    "if size < _LEAST[extended] or size > max_size:",
    "if size > max_size:",
    "fuzz/targets/lane.py::check",
)
DICTIONARY: Final = (
    b"\x81\x00",
    b"\x81\x80\0\0\0\0",
    b"\x81\x02{}",
    b"\x81\x82\0\0\0\0{}",
    b"\x81\x7e",
    b"\x81\xfe",
    b"\x81\x7f\0\0\0\0",
    b"\x81\xff\0\0\0\0",
    b"\x89\x00",
    b"\x8a\x80\0\0\0\0",
    b"\x01\x00",
    b"\x80\x00",
    b"\x88\x00",
    b"\xc1",
    b"\xc3\xa9",
    b"\xed\xa0\x80",
)


mutate: Final = partial(splice, words=DICTIONARY, head=1 + SIZES_BYTES, ends=frame_ends)


def check(data: bytes) -> None:
    """One end of a link."""
    reader = Reader(data)
    client = bool(reader.byte() & 1)
    stream, chunks = reader.stream()
    assert read_frames(client, chunks) == read_frames_by_wsproto(client, stream)
