"""`AgentProtocol` under any inputs and calls raises for misuse alone, and gives a command out once (CMD-1).

A platform that does as it should brings a link up; then an input is a sequence of operations. After each all outputs
are drained, and a time that was handled is not due any more.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from random import Random
from unittest.mock import patch

from artcafe_proto import (
    AgentConfig,
    AgentProtocol,
    CommandReceived,
    Connect,
    Disconnect,
    LocalProtocolError,
    Online,
    Sign,
    Write,
)
from artcafe_proto.policies.liveness import Liveness
from artcafe_proto.testing import ManualClock, ScriptedPeer
from artcafe_proto.wires.frames import FrameWriter
from operations import WAITS_S, Operations

COMMANDS = (
    b'{"type":"command","id":"%d","data":{"command":"work","args":{"a":1},"timeout":5}}',
    b'{"type":"command","id":"%d","data":{"command":"work","timeout":0}}',
    b'{"type":"message","id":"%d","data":{}}',
    b'{"type":"other","id":"%d"}',
)
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
)


class Life:
    """One agent, and all that it is told."""

    def __init__(self, operations: Operations) -> None:
        config = AgentConfig(agent_id="a", tenant_id="t", api_endpoint="http://127.0.0.1:1", give_up_after=3000.0)
        self.agent = AgentProtocol(config, rng=Random(1))
        self.clock = ManualClock()
        self.peer = ScriptedPeer()
        self.frames = FrameWriter(client=False, rng=Random(1))
        self.operations = operations
        self.conns: list[int] = [0]
        self.link = 0
        self.gone: set[int] = set()
        self.asked: list[Connect | Sign | Write] = []
        self.commands: list[str] = ["never"]
        self.agent.start(self.clock.now)
        self.drain()
        for _ in range(8):
            self.comply()

    def drain(self) -> None:
        """Take in all outputs; there is an end to them."""
        for _ in range(1000):
            output = self.agent.next_output()
            if output is None:
                return
            match output:
                case CommandReceived():
                    assert output.command_id not in self.commands, "a command is given out once (CMD-1)"
                    self.commands.append(output.command_id)
                case Online():
                    self.link = output.conn
                case Connect():
                    self.conns.append(output.conn)
                    self.asked.append(output)
                case Sign() | Write():
                    self.asked.append(output)
                case Disconnect():
                    self.gone.add(output.conn)
                case _:
                    pass
        raise AssertionError("outputs without an end")

    def comply(self) -> None:
        """Do what was asked for first, as a good world does."""
        if not self.asked:
            return
        asked, now = self.asked.pop(0), self.clock.now
        match asked:
            case Connect():
                self.agent.connected(asked.conn, now)
            case Sign():
                self.agent.signed(asked.request, b"signature", now)
            case Write() if asked.conn not in self.gone:  # the peer raises if it can read no HTTP and no frames
                for reply in self.peer.data_received(asked.conn, asked.data, now):
                    if isinstance(reply, Write):
                        self.agent.data_received(reply.conn, reply.data, now)
                    else:
                        self.agent.eof_received(reply.conn, now)
            case _:
                pass
        self.drain()

    def step(self) -> None:
        """One operation."""
        agent, ask, now = self.agent, self.operations, self.clock.now
        conn = self.link if ask.byte() & 1 else ask.one_of(self.conns)
        command_id = ask.one_of(self.commands)
        match ask.byte() % 16:
            case 0 | 1:
                return self.comply()
            case 2:
                agent.data_received(conn, self.frames.text(ask.one_of(COMMANDS) % (ask.byte() % 12)), now)
            case 3:
                agent.data_received(conn, self.frames.text(ask.bytes()), now)
            case 4:
                agent.data_received(conn, self.frames.pong(ask.bytes()[:125]), now)
            case 5:
                agent.data_received(conn, ask.bytes(), now)
            case 6:
                agent.data_received(conn, ask.one_of(ANSWERS), now)
            case 7:
                return self.wait()
            case 8:
                self.gone.add(conn)
                ask.one_of((agent.eof_received, partial(agent.disconnected, reason="reset")))(conn, now=now)
            case 9:
                ask.one_of((agent.writing_paused, agent.writing_resumed))(conn, now)
            case 10:
                agent.sign_failed(ask.byte(), "no key", now)
            case 11:
                self.gone.add(conn)
                agent.connect_failed(conn, "refused", "", now)
            case 12:
                agent.data_received(conn, self.frames.close(1000 + ask.byte() * 16, ""), now)
            case _:
                with suppress(LocalProtocolError):
                    self.call(command_id)
        self.drain()
        return None

    def call(self, command_id: str) -> None:
        """A call of the application's."""
        agent, now = self.agent, self.clock.now
        match self.operations.byte() % 8:
            case 0 | 1:
                agent.respond(command_id, self.operations.one_of((None, "x" * 300, object(), "\ud800")), now)
            case 2:
                agent.fail(command_id, "handler_error", "so it is", now)
            case 3:
                agent.progress(command_id, self.operations.byte(), now)
            case 4:
                agent.send_message({"a": self.operations.byte()}, now)
            case 5:
                agent.set_status(self.operations.one_of(("online", "busy", "error")), now)
            case 6:
                agent.put_status("online", now)
            case _:
                if self.operations.byte() > 200:  # else most lives would be short
                    agent.stop(now, drain=bool(self.operations.byte() & 1))

    def wait(self) -> None:
        """Time passes, and is handled."""
        now = self.clock.advance(self.operations.one_of(WAITS_S))
        self.agent.handle_timer(now)
        self.drain()
        deadline = self.agent.deadline()
        assert deadline is None or deadline > now.mono


def check(data: bytes) -> None:
    """Live through it."""
    operations = Operations(data)
    life = Life(operations)
    assert life.link, "a good platform's agent comes online"
    while operations:
        life.step()


def plant() -> None:
    """A pong is trusted to carry a number."""
    pong = Liveness.pong
    patch.object(Liveness, "pong", lambda self, payload, mono: pong(self, b"%d" % int(payload), mono)).start()  # pyright: ignore
