"""`AgentProtocol` under any bytes: the second of two agents gets them in small pieces and must do the very same.

A `ScriptedPeer` reads what is written, so that bytes that are no HTTP and no WebSocket would show.
"""

from __future__ import annotations

from collections import deque
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from artcafe_proto import AgentConfig, AgentProtocol
from artcafe_proto.agent import ConnectFailure
from artcafe_proto.effects import Connect, Disconnect, Sign, Write
from artcafe_proto.testing import Answer, HangUp, Raw, ScriptedPeer, Silence
from artcafe_proto.testing.peers import Reply
from artcafe_proto.wires.frames import FrameWriter
from support.agent_rules import (
    COMMAND_IDS,
    COMMANDS,
    CONTENTS,
    GARBAGE,
    LIVES_S,
    MESSAGES,
    PICKS,
    AgentLife,
    Output,
    envelope,
)

STEPS = st.sampled_from([1, 2, 7, 100_000])
"""Bytes of the pieces that the second agent gets."""
BODIES = st.sampled_from([b"", b"{}", b"[" * 100, b'{"challenge":"short"}', b'{"valid":false}', b'{"valid":true}'])
FIELDS = st.sampled_from([(), (("retry-after", "7"),), (("connection", "close"),), (("location", "http://x/"),)])
REPLIES: st.SearchStrategy[Reply] = (
    st.builds(Answer, st.sampled_from([200, 204, 302, 401, 403, 404, 429, 503]), BODIES, FIELDS)
    | st.builds(Raw, st.binary(max_size=12))
    | st.builds(
        Raw,
        st.sampled_from(
            [
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
                b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
                b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n",
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
                b"HTTP/1.1 100 Continue\r\n\r\n" * 9,
            ]
        ),
    )
    | st.builds(Silence)
    | st.builds(HangUp, st.booleans())
)
FRAMES = FrameWriter(client=False, rng=Random(1))


class AgentProtocolLife(AgentLife[AgentProtocol]):
    """The world of bytes."""

    def make(self, config: AgentConfig) -> AgentProtocol:
        return AgentProtocol(config, rng=Random(1))

    def __init__(self) -> None:
        super().__init__()
        self.peer: ScriptedPeer | None = None
        self.todo: deque[Output] = deque()
        self.held: dict[int, bytes] = {}
        """The end of what was sent on a connection, which comes with what is sent next."""
        self.hung_up: set[int] = set()
        self.step = 1  # bytes of the pieces that the second agent gets

    def hear(self, output: Output) -> None:
        super().hear(output)
        match output:
            case Connect() | Sign() | Write():
                self.todo.append(output)
                if isinstance(output, Write):
                    assert output.conn in self.conns
                    assert output.conn not in self.gone
                    assert output.data
            case Disconnect():
                self.hang_up(output.conn)
            case _:
                pass

    def hang_up(self, conn: int) -> None:
        """The connection is over at the peer."""
        self.hung_up.add(conn)
        if self.peer is not None:
            self.peer.disconnected(conn)

    def feed(self, conn: int, data: bytes, *, hold: int = 0) -> None:
        """Bytes for an agent, whole for one and in pieces for the other; the last `hold` of them come later."""
        data = self.held.pop(conn, b"") + data
        if hold:
            data, self.held[conn] = data[:-hold], data[-hold:]
        if not data:  # no read brings none
            return
        latest, now, step = self.latest, self.now, self.step
        if conn not in self.agents[0]._channels:  # pyright: ignore[reportPrivateUsage]
            self.latest = latest  # what nobody reads tells no time either

        def in_pieces(agent: AgentProtocol) -> None:
            for place in range(0, len(data), step):
                agent.data_received(conn, data[place : place + step], now)

        self.world(lambda agent: agent.data_received(conn, data, now), in_pieces)

    def eof(self, conn: int) -> None:
        """The end of the peer's side."""
        now = self.now

        self.world(lambda agent: agent.eof_received(conn, now))

    def lose(self, conn: int) -> None:
        """A reset, or nobody knows."""
        now = self.now
        self.gone.add(conn)
        self.hang_up(conn)
        self.world(lambda agent: agent.disconnected(conn, "reset", now))

    # --- a platform that does as it should, or as its script says -----------------------------------------------------

    @rule(times=st.integers(1, 6), life_s=LIVES_S)
    def comply(self, times: int, life_s: int) -> None:
        for _ in range(times):
            if self.todo:
                self.answer(self.todo.popleft(), life_s)

    def answer(self, output: Output, life_s: int) -> None:
        now = self.now
        if self.peer is None:
            self.peer = ScriptedPeer(token_life_s=life_s)
        if isinstance(output, Connect):
            self.world(lambda agent: agent.connected(output.conn, now, tls=output.tls))
        elif isinstance(output, Sign):
            self.world(lambda agent: agent.signed(output.request, b"signature", now))
        elif isinstance(output, Write) and output.conn not in self.hung_up:
            for reply in self.peer.data_received(output.conn, output.data, now):
                if isinstance(reply, Write):
                    self.feed(reply.conn, reply.data)
                else:
                    self.hang_up(reply.conn)
                    (self.lose if reply.abort else self.eof)(reply.conn)

    @rule(reply=REPLIES)
    def script(self, reply: Reply) -> None:
        if self.peer is not None:
            self.peer.script.append(reply)

    @rule(step=STEPS)
    def cut(self, step: int) -> None:
        self.step = step

    @rule(command_id=COMMAND_IDS, data=COMMANDS, hold=st.sampled_from([0, 0, 1, 50]))
    def command(self, command_id: str, data: object, hold: int) -> None:
        self.say(FRAMES.text(envelope("command", command_id, data)), hold)

    @rule(message_type=MESSAGES, message_id=COMMAND_IDS | st.sampled_from(["", "x" * 129]), data=CONTENTS)
    def message(self, message_type: str, message_id: str, data: object) -> None:
        self.say(FRAMES.text(envelope(message_type, message_id, data)))

    @rule(payload=GARBAGE, hold=st.integers(0, 3))
    def text(self, payload: bytes, hold: int) -> None:
        self.say(FRAMES.text(payload), hold)

    @rule(number=st.integers(0, 9))
    def pong(self, number: int) -> None:
        self.say(FRAMES.pong(b"%d" % number))

    @rule(payload=st.binary(max_size=4))
    def ping(self, payload: bytes) -> None:
        self.say(FRAMES.ping(payload))

    @rule(code=st.sampled_from([1000, 1001, 1005, 1007, 1008, 1009, 4401, 4409]))
    def close(self, code: int) -> None:
        self.say(FRAMES.close(code, "so it is"))

    @rule(
        data=st.sampled_from(
            [
                b"\x82\x00",
                b"\x81\x7e\xff\xff",
                b"\x89\x7e",
                b"\x01\x02ab",
                b"\x80\x00",
                b"\xc1\x00",
                b"\x81\x02\xff\xfe",
            ]
        )
    )
    def frame(self, data: bytes) -> None:
        """A binary one, a huge one, a long ping, a fragment, its end or one without a beginning, bits, no UTF-8."""
        self.say(data)

    def say(self, data: bytes, hold: int = 0) -> None:
        """On the link, while there is one."""
        if self.link is not None:
            self.feed(self.link, data, hold=hold)

    # --- a world that does anything -----------------------------------------------------------------------------------

    def conn(self, number: int) -> int:
        return self.pick(self.conns, number) or 99

    @rule(number=PICKS, data=st.binary(max_size=20))
    def bytes_from_nowhere(self, number: int, data: bytes) -> None:
        self.feed(self.conn(number), data)

    @rule(number=PICKS)
    def connected(self, number: int) -> None:
        conn, now = self.conn(number), self.now
        self.world(lambda agent: agent.connected(conn, now, tls=False))

    @rule(number=PICKS, cause=st.sampled_from(["dns", "refused", "tls"]))
    def connect_failed(self, number: int, cause: ConnectFailure) -> None:
        conn, now = self.conn(number), self.now
        if conn not in self.links:  # that would be a driver that contradicts itself
            self.gone.add(conn)
            self.hang_up(conn)
            self.world(lambda agent: agent.connect_failed(conn, cause, "", now))

    @rule(number=PICKS, orderly=st.booleans())
    def end(self, number: int, orderly: bool) -> None:
        (self.eof if orderly else self.lose)(self.conn(number))

    @rule(number=PICKS, paused=st.booleans())
    def writing(self, number: int, paused: bool) -> None:
        conn, now = self.conn(number), self.now
        if paused:
            self.world(lambda agent: agent.unsent(conn, 1 << 20, now))
        else:
            self.world(lambda agent: agent.unsent(conn, 0, now))

    @rule(number=PICKS, signature=st.none() | st.binary(max_size=5))
    def signed(self, number: int, signature: bytes | None) -> None:
        request, now = self.pick(self.signs, number) or 99, self.now
        if signature is None:
            self.world(lambda agent: agent.sign_failed(request, "no key", now))
        else:
            self.world(lambda agent: agent.signed(request, signature, now))


TestAgentProtocol = AgentProtocolLife.TestCase
