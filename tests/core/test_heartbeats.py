"""HB-1: the heartbeat grid."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto.policies.heartbeats import next_heartbeat


def test_beats_are_multiples_of_the_interval_from_the_origin() -> None:
    assert next_heartbeat(100.0, 30.0, 100.0) == 130
    assert next_heartbeat(100.0, 30.0, 129.9) == 130
    assert next_heartbeat(100.0, 30.0, 130.0) == 160
    assert next_heartbeat(100.0, 30.0, 1000.0) == 1030


@given(
    origin=st.floats(0, 1e9),
    interval=st.floats(1e-3, 1e5),
    after=st.floats(0, 1e7),
)
def test_the_next_beat_is_always_later_and_never_skips_one(origin: float, interval: float, after: float) -> None:
    mono = origin + after
    beat = next_heartbeat(origin, interval, mono)
    assert beat > mono
    assert beat - mono <= interval * 1.001 + 1e-6
