"""The small record beside this file: the machines still do as they did. `python tests/replay.py` makes a large one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from artcafe_proto.testing.faults import OF_EVERY_WORLD
from replay import kinds_of_calls
from replays.comparing import Difference, compare
from replays.draws import Draws
from replays.present import ACCEPTED, CALLS
from replays.recording import record
from replays.stored import HUB, Call, Drained, World, encoded, read, unmasked, write

SMALL = Path(__file__).with_name("small.xz")
"""`python tests/replay.py record tests/replays/small.xz --worlds 20 --seconds 40 --preset 9`"""


def test_machines_do_as_in_the_small_record() -> None:
    counts = compare(read(SMALL))
    assert counts == {"worlds": 20, "machines": 86, "inputs": 12_159, "outputs": 7649}


def test_the_small_record_has_every_fault_and_every_call() -> None:
    calls: Counter[str] = Counter()
    faults: set[str] = set()
    for world in read(SMALL):
        calls += kinds_of_calls(world)
        faults |= set(world.faults)
    assert faults == {kind.name for kind in OF_EVERY_WORLD}
    assert calls.keys() == {f"{kind} {name}" for kind, specs in CALLS.items() for name in specs} | {
        f"connection {ACCEPTED}"
    }


def test_a_world_is_recorded_alike_twice_and_after_it_was_stored(tmp_path: Path) -> None:
    world, again = record(4, 10.0), record(4, 10.0)
    assert [encoded(machine.steps) for machine in world.machines] == [
        encoded(machine.steps) for machine in again.machines
    ]
    write(tmp_path / "record", [world], preset=0)
    (stored,) = read(tmp_path / "record")
    assert encoded(stored) == encoded(world)
    assert compare([stored])["outputs"] > 0


# --- what is noticed --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="stored")
def first_world() -> bytes:
    """The first recorded world, to be changed."""
    return encoded(next(read(SMALL)))


def steps_of(world: World, role: str) -> Iterator[Call | Drained]:
    """What happened to the machines of a role."""
    return (step for machine in world.machines if machine.role == role for step in machine.steps)


def outputs_of(world: World, role: str, is_wanted: Callable[[list[Any]], bool], *, hub: bool = False) -> list[Any]:
    """The first outputs of an agent or a connection that are wanted, of one drain; or of the hub."""
    for step in steps_of(world, role):
        if isinstance(step, Drained):
            for target, outputs, _ in step.outputs:
                if (target == HUB) is (hub or role == "agent") and is_wanted(outputs):
                    return outputs
    raise AssertionError("expected a world that has such outputs")


def has_write(outputs: list[Any]) -> bool:
    """Whether something is written."""
    return bool(outputs) and outputs[-1]["class"] == "Write"


def has_two(outputs: list[Any]) -> bool:
    """Whether there are outputs to change places."""
    return len(outputs) > 1 and outputs[0] != outputs[1]


def change_byte(outputs: list[Any]) -> None:
    data = bytearray(outputs[-1]["data"])
    data[-1] ^= 1
    outputs[-1]["data"] = bytes(data)


def swap(outputs: list[Any]) -> None:
    outputs[0], outputs[1] = outputs[1], outputs[0]


CHANGES: dict[str, Callable[[World], object]] = {
    "a byte of an agent's": lambda world: change_byte(outputs_of(world, "agent", has_write)),
    "a byte of a platform's": lambda world: change_byte(outputs_of(world, "platform", has_write)),
    "the order of an agent's": lambda world: swap(outputs_of(world, "agent", has_two)),
    "the order of a hub's": lambda world: swap(outputs_of(world, "platform", has_two, hub=True)),
    "an output that an agent lacks": lambda world: outputs_of(world, "agent", bool).append({"class": "Offline"}),
    "an output that a connection lacks": lambda world: outputs_of(world, "platform", has_write).append({"class": "X"}),
    "an output that an agent has besides": lambda world: outputs_of(world, "agent", bool).pop(),
    "an event that a hub has besides": lambda world: outputs_of(world, "platform", bool, hub=True).pop(),
    "all that a connection has besides": lambda world: outputs_of(world, "platform", has_write).clear(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_difference_of_outputs_is_noticed(stored: bytes, change: Callable[[World], object]) -> None:
    world = msgspec.msgpack.decode(stored, type=World)
    change(world)
    with pytest.raises(Difference, match=r"world \d+, machine \d+ \((agent|platform)\)\n.* after input \d+, of \d+: "):
        compare([world])


@pytest.mark.parametrize("role", ["agent", "platform"])
def test_another_result_is_noticed(stored: bytes, role: str) -> None:
    world = msgspec.msgpack.decode(stored, type=World)
    call = next(step for step in steps_of(world, role) if isinstance(step, Call) and step.result is not None)
    call.result = "another"
    with pytest.raises(Difference, match=f"the result of input .* {call.name}"):
        compare([world])


@pytest.mark.parametrize("role", ["agent", "platform"])
def test_another_deadline_is_noticed(stored: bytes, role: str) -> None:
    world = msgspec.msgpack.decode(stored, type=World)
    drained = next(step for step in steps_of(world, role) if isinstance(step, Drained) and step.outputs[-1][2])
    target, outputs, deadline = drained.outputs[-1]
    assert deadline is not None
    drained.outputs[-1] = (target, outputs, deadline + 1e-9)
    with pytest.raises(Difference, match=f"the deadline of {target} after input"):
        compare([world])


def test_nothing_to_compare_is_a_failure(stored: bytes) -> None:
    with pytest.raises(Difference, match="expected something to compare"):
        compare([])
    world = msgspec.msgpack.decode(stored, type=World)
    world.machines.clear()
    with pytest.raises(Difference, match="expected something to compare"):
        compare([world])


# --- what is no difference --------------------------------------------------------------------------------------------


def test_draws_of_one_kind_do_not_depend_on_those_of_another() -> None:
    one, other = Draws(7), Draws(7)
    waits = [one.random(), one.random()]
    keys = [one.getrandbits(64), one.getrandbits(64)]
    assert [other.getrandbits(64), other.getrandbits(64)] == keys
    assert other.getrandbits(128) != other.getrandbits(128)
    assert [other.random(), other.random()] == waits
    assert one.randbytes(16) == other.randbytes(16)
    assert Draws(8).random() != Draws(7).random()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_frames_differ_by_nothing_but_their_keys(size: int) -> None:
    if size < 126:
        length = bytes([0x80 | size])
    else:
        length = b"\xfe" + size.to_bytes(2) if size < 1 << 16 else b"\xff" + size.to_bytes(8)
    payload = bytes(number % 251 for number in range(size))

    def masked(key: bytes) -> bytes:
        octets = bytes(octet ^ key[place % 4] for place, octet in enumerate(payload))
        return b"\x81" + length + key + octets

    frames = masked(b"\1\2\3\4") + masked(b"\xff\0\xf0\x0f")
    clear = b"\x81" + length + bytes(4) + payload
    assert unmasked(frames, keep_keys=False) == clear * 2
    for data in (frames, frames[:-1], frames + b"\x81\x85\0", b"GET / HTTP/1.1\r\n\r\n", b"", b"\x81"):
        assert unmasked(unmasked(data)) == data
