"""The simulated connection and who sits at its ends: FIFO and late, and told of an end once."""

from __future__ import annotations

from random import Random

from artcafe_proto.testing.circuits import Chunking, Circuit, Direction
from artcafe_proto.testing.rogues import Rogue
from artcafe_proto.testing.schedule import Schedule


class Listener:
    """An end that writes down what reaches it."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.leaves_at = ""
        self.wakes_at = 5.0

    def data_arrived(self, circuit: Circuit, data: bytes) -> None:
        self.heard.append(data.decode())
        if self.heard[-1] == self.leaves_at:
            circuit.leave(circuit.down, circuit.up, abort=False)

    def eof_arrived(self, circuit: Circuit) -> None:
        self.heard.append("<end>")

    def reset_arrived(self, circuit: Circuit, reason: str) -> None:
        self.heard.append(f"<{reason}>")


class World:
    """One circuit, and time."""

    def __init__(self) -> None:
        self.client, self.server = Listener(), Listener()
        self.schedule = Schedule()
        self.circuit = self.connect(self.server)
        self.up, self.down = self.circuit.up, self.circuit.down

    def connect(self, server: Listener | Rogue) -> Circuit:
        return Circuit(self.client, server, schedule=self.schedule, rng=Random(1), latency_s=0.1)

    def wait(self, seconds: float) -> None:
        end = self.schedule.time + seconds
        while self.schedule.next_at <= end:
            self.schedule.time = self.schedule.next_at
            self.schedule.pop()()
        self.schedule.time = end

    def leave_client(self, *, abort: bool = False) -> None:
        self.circuit.leave(self.down, self.up, abort=abort)


def say(direction: Direction, *words: str) -> None:
    for word in words:
        direction.send(word.encode())


def test_what_is_sent_arrives_late_and_in_order() -> None:
    world = World()
    say(world.down, "one", "two")
    world.wait(0.05)
    assert world.client.heard == []
    world.wait(0.1)
    assert world.client.heard == ["one", "two"]


def test_what_is_merged_comes_at_once_and_the_end_behind_it() -> None:
    world = World()
    world.down.chunking = Chunking.MERGED
    say(world.down, "one", "two", "")
    world.wait(1)
    assert world.client.heard == ["onetwo", "<end>"]


def test_a_slow_line_carries_one_slice_after_the_other_and_tells_the_sender_what_waits() -> None:
    world = World()
    world.down.bytes_per_s = 4096.0
    say(world.down, "x" * 10_000, "")
    world.wait(1.5)
    assert [len(heard) for heard in world.client.heard] == [4096]
    assert world.down.unsent_bytes == 5904
    world.wait(2)
    assert [len(heard) for heard in world.client.heard] == [4096, 4096, 1808, len("<end>")]
    assert world.down.unsent_bytes == 0


def test_what_is_sent_behind_what_waits_for_a_slow_line_waits_too() -> None:
    world = World()
    world.up.bytes_per_s = 1.0
    say(world.up, "one")
    world.up.be_fast()
    say(world.up, "two")
    world.wait(3.05)
    assert world.server.heard == ["o", "n"]
    world.wait(0.1)
    assert world.server.heard == ["o", "n", "e", "two"]


def test_what_is_halved_brings_the_rest_after_the_receivers_timer() -> None:
    world = World()
    world.down.chunking = Chunking.HALVED
    world.circuit.rng = Random(1)  # which halves the first
    say(world.down, "onetwo", "end")
    world.wait(4.9)
    assert world.client.heard == ["one"]
    world.wait(0.2)
    assert world.client.heard == ["one", "two", "end"]


def test_who_does_not_read_gets_what_was_sent_later_and_a_reset_at_once() -> None:
    world = World()
    world.down.is_paused = True
    say(world.down, "one", "two")
    world.wait(1)
    assert world.client.heard == []
    world.down.resume()
    world.wait(0)
    assert world.client.heard == ["one", "two"]
    world.down.is_paused = True
    world.circuit.leave(world.up, world.down, abort=True)
    world.wait(1)
    assert world.client.heard == ["one", "two", "<reset by peer>"]


def test_who_leaves_amid_what_arrives_hears_no_more_of_it() -> None:
    world = World()
    world.down.chunking = Chunking.BYTES
    world.client.leaves_at = "b"
    say(world.down, "abcd", "ef", "")
    world.wait(1)
    assert world.client.heard == ["a", "b"]
    assert world.server.heard == ["<end>"]


def test_who_has_left_hears_of_no_end_and_leaves_once() -> None:
    world = World()
    world.leave_client()
    world.leave_client(abort=True)
    world.circuit.leave(world.up, world.down, abort=True)
    say(world.down, "too late")
    world.wait(1)
    assert world.client.heard == []
    assert world.server.heard == []


def test_a_cut_is_told_to_both_unless_one_has_left_meanwhile() -> None:
    world = World()
    world.circuit.cut("cut")
    world.wait(0)
    assert (world.client.heard, world.server.heard) == (["<cut>"], ["<cut>"])
    world = World()
    world.circuit.cut("cut")
    world.leave_client()
    world.wait(1)
    assert (world.client.heard, world.server.heard) == ([], ["<cut>"])


def test_a_rogue_is_gone_when_the_agent_is() -> None:
    world = World()
    for name in ("mute", "500"):
        circuit = world.connect(Rogue(name))
        circuit.leave(circuit.down, circuit.up, abort=False)
        world.wait(1)
        assert circuit.up.is_closed
