"""The helper that says whether state changed sees every change, and none where there is none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Any

import msgspec
import pytest

from artcafe_proto import AgentConfig, AgentMachine, AgentProtocol, Instant, PlatformConfig, PlatformHub
from artcafe_proto.platform.protocol import PlatformProtocol
from artcafe_proto.policies.tokens import Token
from artcafe_proto.testing import ScriptedPeer
from support.snapshots import snapshot

CONFIG = AgentConfig(agent_id="a", tenant_id="t", api_endpoint="http://localhost")
NOW = Instant(10.0, 1e9)


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Struct(msgspec.Struct):
    value: list[int]


def closure(value: list[int]) -> Callable[[], list[int]]:
    return lambda: value


def generator(value: list[int]) -> Any:
    yield value
    yield value


CHANGES: list[tuple[object, Callable[[Any], object]]] = [
    ([1, [2]], lambda it: it[1].append(3)),
    ({"a": 1, "b": 2}, lambda it: it.update(b=it.pop("b"), a=it.pop("a"))),
    ({1, 2}, lambda it: it.add(3)),
    (deque([1]), lambda it: it.append(1)),
    (bytearray(b"a"), lambda it: it.extend(b"b")),
    ([1.0], lambda it: it.__setitem__(0, 1)),
    (Random(1), lambda it: it.random()),
    (count(1), next),
    (Slotted(1), lambda it: setattr(it, "value", 2)),
    (Struct([1]), lambda it: it.value.append(2)),
    (partial(print, [1]), lambda it: it.args[0].append(2)),
    (closure([1]), lambda it: it().append(2)),
    (generator([1]), next),
    ([1].append, lambda it: it(2)),
    (Token("x", life_s=1.0, mono=0.0), lambda it: setattr(it, "used", True)),
]


@pytest.mark.parametrize(("thing", "change"), CHANGES, ids=lambda each: type(each).__name__)
def test_a_change_of_anything_shows(thing: object, change: Callable[[Any], object]) -> None:
    before = snapshot(thing)
    assert snapshot(thing) == before
    change(thing)
    assert snapshot(thing) != before


def test_what_is_shared_is_not_what_is_merely_equal() -> None:
    inner = [1]
    assert snapshot([inner, inner]) != snapshot([inner, [1]])
    assert snapshot([inner, inner]) == snapshot([[1]] * 2)


def test_nan_is_itself() -> None:
    assert snapshot([float("nan")]) == snapshot([float("nan")])


def test_what_it_does_not_know_is_an_error() -> None:
    with pytest.raises(TypeError, match="no snapshot knows"):
        snapshot(iter([1]))


def agent() -> AgentProtocol:
    made = AgentProtocol(CONFIG, rng=Random(1))
    made.start(NOW)
    return made


def hub() -> PlatformHub:
    return PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32))


MACHINES: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
    (lambda: AgentMachine(CONFIG, rng=Random(1)), lambda it: it.start(NOW)),
    (lambda: AgentMachine(CONFIG, rng=Random(1)), lambda it: it.set_metrics(1, 2)),
    (agent, lambda it: it.next_output()),
    (agent, lambda it: it.handle_timer(Instant(11.0, 1e9))),
    (hub, lambda it: it.registry.add_tenant("t", "x" * 16)),
    (lambda: PlatformProtocol(hub(), conn=1, now=NOW), lambda it: it.data_received(b"G", NOW)),
    (ScriptedPeer, lambda it: it.data_received(1, b"G", NOW)),
]


@pytest.mark.parametrize(("make", "change"), MACHINES)
def test_the_machines_are_seen_whole(make: Callable[[], Any], change: Callable[[Any], object]) -> None:
    machine = make()
    before = snapshot(machine)
    assert snapshot(machine) == before
    change(machine)
    assert snapshot(machine) != before
