"""Random faults on the pair: nothing raises, timers move on, and when the faults stop everything is answered once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random

import pytest

from artcafe_proto import LocalProtocolError
from artcafe_proto.agent import LinkState
from artcafe_proto.events import CommandAnswered, CommandCancelled, CommandReceived, Online, PeerViolation, Stopped
from artcafe_proto.testing.ensuring import ensure
from support.virtual import TENANT, Pair

LONGEST_WAIT_S = 3600.0 + 144.0 + 100.0  # LINK-6 or a Retry-After, then LINK-3, then the deadlines


class Chaos:
    """A pair, and everything that can go wrong with it."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        settings = {"max_concurrent": 2, "max_queued": 3, "drain_timeout": 20.0, "heartbeat_interval": 7.0}
        self.pair = Pair(seed=seed, latency_s=self.rng.choice([0.0, 0.01, 0.5]), agent=settings, platform={"window": 4})
        self.sent: list[str] = []
        self.open: list[CommandReceived] = []
        self.received: list[str] = []
        self.pair.on_command = self.take
        self.faults: list[Callable[[], None]] = [
            self.wait, self.wait, self.wait, self.oversleep, self.send, self.send, self.answer, self.answer, self.say,
            self.pair.cut, self.refuse, self.garbage_to_agent, self.garbage_to_platform, self.half_message,
            self.end_of_stream, self.pause, self.suspend, self.close_by_platform, self.late_calls, self.status,
            self.call,
        ]  # fmt: skip

    def take(self, event: CommandReceived) -> None:
        assert event.command_id not in self.received, "CMD-1: executed once"
        self.received.append(event.command_id)
        self.open.append(event)
        if self.rng.random() < 0.3:
            self.answer()  # while the outputs are being drained

    def step(self) -> None:
        self.rng.choice(self.faults)()
        self.pair.run_for(0)

    def wait(self) -> None:
        self.pair.run_for(self.rng.choice([0.001, 0.1, 1.0, 5.0, 31.0]))

    def oversleep(self) -> None:
        self.pair.mono += self.rng.choice([0.5, 2.0, 45.0])

    def suspend(self) -> None:
        self.pair.wall_offset += self.rng.choice([-7200.0, 3600.0, 10.0])

    def send(self) -> None:
        self.sent.append(self.pair.send(timeout_s=self.rng.choice([0.5, 5.0, None])))

    def answer(self) -> None:
        if self.open:
            event = self.open.pop(self.rng.randrange(len(self.open)))
            agent, now = self.pair.agent, self.pair.now
            agent.progress(event.command_id, 50, now)
            if self.rng.random() < 0.5:
                agent.respond(event.command_id, {"n": "x" * self.rng.choice([1, 1000])}, now)
            else:
                agent.fail(event.command_id, "handler_error", "ValueError", now)

    def say(self) -> None:
        self.pair.agent.send_message({"n": 1}, self.pair.now)

    def status(self) -> None:
        self.pair.agent.set_status(self.rng.choice(["online", "busy", "error"]), self.pair.now)

    def call(self) -> None:
        with suppress(LocalProtocolError):  # too many wait
            self.pair.agent.get_details(self.pair.now)

    def refuse(self) -> None:
        self.pair.refusing = not self.pair.refusing

    def garbage_to_agent(self) -> None:
        self.pair.inject_to_agent(self.garbage())

    def garbage_to_platform(self) -> None:
        self.pair.inject_to_platform(self.garbage())

    def garbage(self) -> bytes:
        rng = self.rng
        return rng.choice(
            [
                rng.randbytes(rng.randrange(1, 200)),
                b"HTTP/1.1 503 Busy\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n",
                b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n",
                b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
                b"\x81\x02{}",
                b"\x82\x00",
                b"\x89\x00",
                b"\x8a\x011",
                b"\x8a\x0299",
                b"\x88\x00",
                b'\x81\x37{"type":"command","id":"c","data":{"command":5},"x":1}',
            ]
        )

    def half_message(self) -> None:
        self.pair.inject_to_agent(b"\x81\x7e\x10\x00" + b'{"type":"com')

    def end_of_stream(self) -> None:
        for conn in self.pair.agent_conns:
            self.pair.agent.eof_received(conn, self.pair.now)

    def pause(self) -> None:
        for conn in self.pair.agent_conns:
            self.pair.agent.unsent(conn, 1 << 20, self.pair.now)
            resumed = self.rng.choice([0.1, 3.0, 40.0])
            self.pair.at(resumed, lambda c=conn: self.pair.agent.unsent(c, 0, self.pair.now))

    def close_by_platform(self) -> None:
        for session in list(self.pair.sessions.values()):
            session.close(self.rng.choice([1000, 1001, 1007, 1011, 1013, 4401, 4409]), "for the test", self.pair.now)

    def late_calls(self) -> None:
        agent, now = self.pair.agent, self.pair.now
        conn = self.rng.randrange(1, 100)
        if conn not in self.pair.agent_conns:
            agent.data_received(conn, b"late", now)
            agent.disconnected(conn, "late", now)
            agent.connect_failed(conn, "refused", "late", now)
            agent.connected(conn, now, tls=False)
        agent.signed(conn, b"late", now)
        agent.sign_failed(conn, "late", now)
        agent.respond("never-received", 1, now)
        with pytest.raises(LocalProtocolError):
            agent.start(now)


@pytest.mark.parametrize("seed", range(120))
def test_faults_stop_and_everything_is_answered_exactly_once(seed: int) -> None:
    chaos = Chaos(seed)
    pair = chaos.pair
    pair.start()
    for _ in range(60):
        chaos.step()
        assert len(pair.agent_conns) <= 3, "LINK-9: one link, up or opening, one renewal, one call"
        deadline = pair.agent.deadline()
        assert deadline is not None, "something is always waited for"

    pair.refusing = False
    pair.run_until(lambda: pair.agent.state.link is LinkState.UP, LONGEST_WAIT_S)
    for _ in range(400):
        while chaos.open:
            chaos.answer()
        pair.run_for(1)
        pair.run_until(lambda: pair.agent.state.link is LinkState.UP, LONGEST_WAIT_S)
    answered = [event.command_id for event in pair.seen(CommandAnswered)]
    assert sorted(answered) == sorted(chaos.sent)
    assert {pair.hub.command(TENANT, command_id).state for command_id in chaos.sent} <= {"succeeded", "failed"}
    assert pair.agent.outbox_size == 0
    assert pair.agent.in_flight == ()

    pair.agent.stop(pair.now)
    pair.run_for(60)
    assert pair.seen(Stopped) == [Stopped(())]
    assert pair.agent.deadline() is None
    assert pair.agent_conns == []
    for _ in range(3):
        chaos.late_calls()
    pair.run_for(1)
    assert len(pair.seen(Stopped)) == 1


def test_the_chaos_reaches_what_it_is_for() -> None:
    seen: set[str] = set()
    reasons: set[str] = set()
    for seed in range(30):
        chaos = Chaos(seed)
        chaos.pair.start()
        for _ in range(60):
            chaos.step()
            reasons |= {chaos.pair.agent.deadline_reason.name} if chaos.pair.agent.deadline_reason else set()
        events = [*chaos.pair.agent_events, *chaos.pair.hub_events]
        seen |= {type(event).__name__ for _, event in events}
    assert {Online.__name__, PeerViolation.__name__, CommandCancelled.__name__, "CommandRepeated"} <= seen
    assert {"HEARTBEAT", "PING", "COMMANDS", "RETRY", "CONNECT", "EXCHANGE"} <= reasons


def test_what_a_simulation_relies_on_is_said_when_it_does_not_hold() -> None:
    with pytest.raises(AssertionError, match=r"^what it relies on$"):
        ensure(False, "what it relies on")
