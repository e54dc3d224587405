"""What a store holds: numbered records whose values are bytes, each under a checksum of its own (PLAT-5).

A value is a CRC-32 and a body. The checksum is of kind, number and body, so that a value that was damaged on disk, or
that has come to stand under another number, is noticed. A body is the JSON of a structure whose fields are only ever
appended: older records lack the newest ones, and those of a later version are passed over.
"""

from __future__ import annotations

from enum import Enum
from itertools import islice
from operator import lt
from typing import TYPE_CHECKING, Final, TypeVar
from zlib import crc32

import msgspec

from artcafe_proto.errors import ArtCafeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["DamagedRecordError", "Keeps", "Record"]

S = TypeVar("S", bound=msgspec.Struct)
_CRC_BYTES: Final = 4
_MOST_KINDS: Final = 256
_PRIME: Final = 2**32 - 5
"""What the checksum of a body begins with is of kind and number: modulo a prime no change of one bit is lost."""


class DamagedRecordError(ArtCafeError):
    """A record that a store gave back is not what was stored. `kind` and `n` say which; nothing was restored."""

    def __init__(self, kind: int, n: int, problem: str) -> None:
        super().__init__(f"record {n} of kind {kind} is damaged: {problem}")
        self.kind = kind
        self.n = n


class Keeps(Enum):
    """What a machine has its driver store."""

    NOTHING = "nothing"
    """It lives as long as its process."""
    RECORDS = "records"
    """What was promised is stored before anybody is told (PLAT-5): the driver carries out `Persist`."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """What `(kind, n)` holds from now on: `value`, or nothing more if that is None.

    To a store all three are opaque. Kinds and numbers are 0 or more; a number is below 2⁶³.
    """

    kind: int
    n: int
    value: bytes | None

    @property
    def size(self) -> int:
        """Bytes that a store has of it, at least."""
        return _RECORD_BYTES + (0 if self.value is None else len(self.value))

    def __repr__(self) -> str:  # the body may hold what is nobody else's business
        return f"Record({self.kind}, {self.n}, {'deleted' if self.value is None else f'{len(self.value)} bytes'})"


_RECORD_BYTES: Final = 32  # kind, number and what a store needs around them


def pack(kind: int, n: int, value: msgspec.Struct | None) -> Record:
    """The record of a structure; of a deletion for None."""
    if value is None:
        return Record(kind, n, None)
    body = _encoder.encode(value)
    return Record(kind, n, _checksum(kind, n, body) + body)


def body_of(record: Record) -> bytes:
    """The body of a record that has a value. Raises DamagedRecordError."""
    value = record.value
    assert value is not None, "a deletion has no body"
    body = value[_CRC_BYTES:]
    if value[:_CRC_BYTES] != _checksum(record.kind, record.n, body):
        raise DamagedRecordError(record.kind, record.n, "its checksum does not fit")
    return body


def unpack(record: Record, kind: type[S]) -> S:
    """The structure of a record that has a value. Raises DamagedRecordError."""
    try:
        return msgspec.json.decode(body_of(record), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRecordError(record.kind, record.n, str(error)) from None


def in_order(records: Iterable[Record]) -> Sequence[Record]:
    """Records by kind and number, as a store gives them; of several of one kind and number the last."""
    records = tuple(records)
    names = [(record.kind, record.n) for record in records]
    if all(map(lt, names, islice(names, 1, None))):
        return records
    latest = {(record.kind, record.n): record for record in records}
    return [latest[name] for name in sorted(latest)]


def _checksum(kind: int, n: int, body: bytes) -> bytes:
    return crc32(body, (n * _MOST_KINDS + kind) % _PRIME).to_bytes(_CRC_BYTES, "big")


_encoder: Final = msgspec.json.Encoder()
