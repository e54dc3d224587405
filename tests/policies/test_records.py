"""Records as a store has them: what was damaged or moved is noticed."""

from __future__ import annotations

import msgspec
import pytest

from artcafe_proto import LocalProtocolError
from artcafe_proto.platform.records import LifeRecord, TenantRecord, read_change
from artcafe_proto.records import DamagedRecordError, Record, pack, unpack


class Older(msgspec.Struct, frozen=True):
    name: str


class Newer(msgspec.Struct, frozen=True):
    name: str
    since: int = 7


def test_a_value_comes_back_and_says_nothing_in_a_log() -> None:
    packed = pack(2, 5, TenantRecord("tenant-1", b"\0\xffhash"))
    assert unpack(packed, TenantRecord) == TenantRecord("tenant-1", b"\0\xffhash")
    assert "tenant" not in repr(packed)
    assert repr(pack(2, 5, None)) == "Record(2, 5, deleted)"


def test_fields_may_be_appended() -> None:
    assert unpack(pack(1, 1, Older("x")), Newer) == Newer("x", 7)
    assert unpack(pack(1, 1, Newer("x", 9)), Older) == Older("x")


def test_every_flipped_bit_is_noticed() -> None:
    packed = pack(1, 3, LifeRecord(1e9))
    value = packed.value
    assert value is not None
    for place in range(8 * len(value)):
        damaged = bytearray(value)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(DamagedRecordError, match="record 3 of kind 1"):
            unpack(Record(1, 3, bytes(damaged)), LifeRecord)


@pytest.mark.parametrize("value", [b"", b"\0\0\0", b"\0\0\0\0", b"\0" * 40])
def test_what_is_cut_off_or_zeroed_is_noticed(value: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        unpack(Record(1, 3, value), LifeRecord)


def test_a_value_belongs_to_its_kind_and_number() -> None:
    packed = pack(1, 3, LifeRecord(1e9))
    for moved in (Record(1, 4, packed.value), Record(13, 3, packed.value), Record(11, 3, packed.value)):
        with pytest.raises(DamagedRecordError):
            unpack(moved, LifeRecord)
    for n in (3, 2**32 + 3, 2**62 + 7):
        value = pack(1, n, LifeRecord(1e9)).value
        moved = [Record(1, n ^ 1 << bit, value) for bit in range(63)]
        moved += [Record(1 ^ 1 << bit, n, value) for bit in range(8)]
        for record in moved:
            with pytest.raises(DamagedRecordError):
                unpack(record, LifeRecord)


def test_a_value_of_another_shape_is_damaged_too() -> None:
    with pytest.raises(DamagedRecordError):
        unpack(pack(1, 3, Older("x")), LifeRecord)
    with pytest.raises(LocalProtocolError, match="expected a kind of record that is known, not 99"):
        read_change(pack(99, 1, Older("x")))  # of a later version
    with pytest.raises(LocalProtocolError, match="expected a kind of record that is known, not 99"):
        read_change(Record(99, 1, None))
    with pytest.raises(DamagedRecordError, match="record 1 of kind 99"):
        read_change(Record(99, 1, pack(1, 1, Older("x")).value))
