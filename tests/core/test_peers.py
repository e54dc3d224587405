"""A driver's own tests: the manual clock and the scripted peer, used as an embedder would use them."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from artcafe_proto import AgentConfig, AgentProtocol, LocalProtocolError, RemoteProtocolError
from artcafe_proto.effects import (
    CancelSign,
    Connect,
    Disconnect,
    Effect,
    PauseReading,
    Persist,
    ResumeReading,
    Sign,
    Write,
)
from artcafe_proto.events import AgentEvent, CallAnswered, CommandReceived, Offline, Online
from artcafe_proto.testing import Answer, HangUp, ManualClock, Raw, ScriptedPeer, Silence
from artcafe_proto.wires.frames import FrameWriter


class Embedded:
    """The smallest driver: it carries out what the protocol asks, against a scripted peer."""

    def __init__(self, peer: ScriptedPeer, **settings: Any) -> None:
        defaults: dict[str, Any] = {"agent_id": "a", "tenant_id": "t", "api_endpoint": "http://localhost", "jitter": 0}
        self.protocol = AgentProtocol(AgentConfig(**(defaults | settings)), rng=Random(1))
        self.clock = ManualClock()
        self.peer = peer
        self.events: list[AgentEvent] = []
        self.protocol.start(self.clock.now)
        self.run()

    def run(self) -> None:
        while (output := self.protocol.next_output()) is not None:
            self.carry_out(output)

    def carry_out(self, output: Effect | AgentEvent) -> None:
        now = self.clock.now
        match output:
            case Connect():
                self.protocol.connected(output.conn, now, tls=output.tls)
            case Sign():
                self.protocol.signed(output.request, b"signature", now)
            case Write():
                for done in self.peer.data_received(output.conn, output.data, now):
                    self.hear(done)
            case Disconnect():
                self.peer.disconnected(output.conn)
            case CancelSign() | PauseReading() | ResumeReading() | Persist():
                pass
            case _:
                self.events.append(output)

    def hear(self, done: Write | Disconnect) -> None:
        if isinstance(done, Write):
            self.protocol.data_received(done.conn, done.data, self.clock.now)
        else:
            self.protocol.disconnected(done.conn, "the peer closed it", self.clock.now)
        self.run()

    def wait(self) -> None:
        deadline = self.protocol.deadline()
        assert deadline is not None
        self.protocol.handle_timer(self.clock.advance_to(deadline))
        self.run()

    def seen(self, kind: type[AgentEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def test_without_a_script_it_is_a_good_platform() -> None:
    peer = ScriptedPeer()
    driver = Embedded(peer)
    assert [type(event).__name__ for event in driver.events] == ["TokenReceived", "Online"]
    assert [request.method for request in peer.requests] == ["POST", "POST", "GET"]
    driver.hear(peer.command("work", {"n": 1}, driver.clock.now, command_id="c-1"))
    (event,) = driver.seen(CommandReceived)
    driver.protocol.respond(event.command_id, {"n": 2}, driver.clock.now)
    driver.run()
    (response,) = peer.received("response")
    assert response["data"]["command_id"] == "c-1"
    assert response["data"]["result"] == {"n": 2}
    driver.wait()
    assert peer.pings > 0


def test_a_script_answers_before_that() -> None:
    peer = ScriptedPeer(Answer(503, headers=(("retry-after", "25"),)), Raw(b"rubbish\r\n\r\n"), Silence(), HangUp())
    driver = Embedded(peer)
    began = driver.clock.now.mono
    for _ in range(12):
        driver.wait()
        if driver.seen(Online):
            break
    waits = [event.retry_at for event in driver.seen(Offline)]
    assert waits[0] == began + 25
    assert len(waits) == 4
    assert peer.script == type(peer.script)()
    assert driver.seen(Online)


@pytest.mark.parametrize("code", [1000, 1012, 4401])
def test_it_closes_links(code: int) -> None:
    peer = ScriptedPeer()
    driver = Embedded(peer)
    driver.hear(peer.close(code, "by the script"))
    assert len(driver.seen(Offline)) == 1
    assert peer.links == []
    with pytest.raises(LocalProtocolError, match="no agent has opened one"):
        peer.close(1000)


def test_it_answers_what_an_agent_asks_about_itself_and_takes_its_pongs() -> None:
    driver = Embedded(ScriptedPeer())
    driver.protocol.get_details(driver.clock.now)
    driver.run()
    assert [event.details for event in driver.seen(CallAnswered)] == [{}]
    pong = FrameWriter(client=True, rng=Random(1)).pong(b"1")
    assert driver.peer.data_received(driver.peer.links[-1], pong, driver.clock.now) == []


@pytest.mark.parametrize("data", [b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_no_agent_writes_is_an_error(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ScriptedPeer().data_received(1, data, ManualClock().now)


def test_a_reset_is_told() -> None:
    driver = Embedded(ScriptedPeer(HangUp(abort=True)))
    assert len(driver.seen(Offline)) == 1


def test_the_manual_clock_stands_still_until_it_is_told() -> None:
    clock = ManualClock(mono=5.0, wall=100.0)
    assert clock.now == (5.0, 100.0) == clock.now
    assert clock.advance(2.5) == (7.5, 102.5)
    assert clock.advance_to(8.0) == (8.0, 103.0) == clock.advance_to(1.0)
    assert clock.set_wall(0.0) == (8.0, 0.0)
    with pytest.raises(LocalProtocolError, match="does not go back"):
        clock.advance(-1.0)
