"""`AgentMachine` under every input in any order, at any time, the senseless ones too."""

from __future__ import annotations

import json
from collections import deque
from random import Random
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from artcafe_proto import AgentConfig, AgentMachine, HttpResponse, RemoteProtocolError
from artcafe_proto.agent import ConnectFailure
from artcafe_proto.effects import Connect, SendClose, SendPing, SendPong, SendRequest, SendText, SendUpgrade, Sign
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
from support.scripted import CHALLENGE, answer, token

STATUSES = st.sampled_from([101, 200, 204, 302, 400, 401, 403, 404, 429, 500, 503])
BODIES: st.SearchStrategy[bytes] = st.sampled_from(
    [
        b"",
        b"{}",
        b"[" * 100,
        json.dumps({"challenge": CHALLENGE}).encode(),
        json.dumps({"challenge": "short"}).encode(),
        json.dumps({"valid": True, "token": token()}).encode(),
        json.dumps({"valid": True, "token": "no token"}).encode(),
        json.dumps({"valid": True}).encode(),
        json.dumps({"valid": False}).encode(),
    ]
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["date", "retry-after"]),
        st.sampled_from(["", "7", "x", "Sun, 09 Sep 2001 01:46:40 GMT", "Sun, 09 Sep 2001 01:47:00 GMT", "9" * 30]),
    ),
    max_size=2,
).map(tuple)
RESPONSES = st.builds(HttpResponse, status=STATUSES, headers=HEADERS, body=BODIES, reusable=st.booleans())


class AgentMachineLife(AgentLife[AgentMachine]):
    """The world of messages."""

    def make(self, config: AgentConfig) -> AgentMachine:
        return AgentMachine(config, rng=Random(1))

    def __init__(self) -> None:
        super().__init__()
        self.unanswered: deque[Output] = deque()
        self.exchanges: list[tuple[int, int]] = []
        self.connected_conns: set[int] = set()
        self.closed: set[int] = set()
        self.paused: set[int] = set()
        self.finals: dict[str, set[bytes]] = {}

    def hear(self, output: Output) -> None:
        super().hear(output)
        match output:
            case SendRequest() | SendUpgrade():
                self.exchanges.append((output.conn, output.exchange))
                assert output.conn in self.connected_conns - self.gone
            case SendText() | SendPing() | SendPong() | SendClose():
                assert output.conn in self.links
                assert output.conn not in self.gone | self.closed, "RFC 6455 section 5.5.1: nothing follows a close"
                if isinstance(output, SendClose):
                    self.closed.add(output.conn)
                elif isinstance(output, SendText):
                    self.hear_text(output)
            case _:
                pass
        if isinstance(output, Connect | Sign | SendRequest | SendUpgrade | SendPing):
            self.unanswered.append(output)

    def hear_text(self, send: SendText) -> None:
        message = json.loads(send.payload)
        data = message["data"]
        assert len(send.payload) <= self.agents[0].config.max_message_size
        is_urgent = message["type"] == "heartbeat" or data.get("status") == "offline"
        assert is_urgent or send.conn not in self.paused, "HB-2: only heartbeats go out while writing is paused"
        if message["type"] == "response" and data.get("code") not in ("overloaded", "draining", "expired_result"):
            final = self.finals.setdefault(data["command_id"], set())
            final.add(send.payload)
            assert len(final) <= 1 + (b'"undeliverable"' in b"".join(final)), "CMD-3: one final response"

    # --- a platform that does as it should ----------------------------------------------------------------------------

    @rule(times=st.integers(1, 6), life_s=LIVES_S)
    def comply(self, times: int, life_s: int) -> None:
        """Answer what the agents ask, in order."""
        for _ in range(times):
            if self.unanswered:
                self.answer(self.unanswered.popleft(), life_s)

    def answer(self, output: Output, life_s: int) -> None:
        now = self.now
        match output:
            case Connect():
                self.connect(output.conn)
            case Sign():
                self.world(lambda agent: agent.signed(output.request, b"signature", now))
            case SendUpgrade():
                self.world(lambda agent: agent.upgraded(output.conn, output.exchange, now))
            case SendPing():
                self.world(lambda agent: agent.pong_received(output.conn, output.payload, now))
            case SendRequest():
                body: dict[str, Any] = {"challenge": CHALLENGE}
                if "verify" in output.request.target:
                    body = {"valid": True, "token": token(exp=now.wall + life_s, iat=now.wall)}
                response = answer(200, body)
                self.world(lambda agent: agent.response_received(output.conn, output.exchange, response, now))
            case _:
                raise AssertionError(output)

    def connect(self, conn: int) -> None:
        now = self.now
        self.connected_conns.add(conn)
        self.world(lambda agent: agent.connected(conn, now, tls=False))

    # --- a world that does anything -----------------------------------------------------------------------------------

    def conn(self, number: int) -> int:
        """Of the link most often; of none that ever was, at first."""
        return (self.link if number < 3 else self.pick(self.conns, number)) or self.pick(self.conns, number) or 99

    @rule(number=PICKS)
    def connected(self, number: int) -> None:
        self.connect(self.conn(number))

    @rule(number=PICKS, cause=st.sampled_from(["dns", "refused", "tls"]), detail=st.text(max_size=5))
    def connect_failed(self, number: int, cause: ConnectFailure, detail: str) -> None:
        conn, now = self.conn(number), self.now
        self.gone |= set() if conn in self.links else {conn}
        self.world(lambda agent: agent.connect_failed(conn, cause, detail, now))

    @rule(number=PICKS)
    def disconnected(self, number: int) -> None:
        conn, now = self.conn(number), self.now
        self.gone.add(conn)
        self.world(lambda agent: agent.disconnected(conn, "reset", now))

    @rule(number=PICKS)
    def peer_ended(self, number: int) -> None:
        conn, now = self.conn(number), self.now
        self.world(lambda agent: agent.peer_ended(conn, now))

    @rule(number=PICKS, code=st.sampled_from([400, 1002, 1007, 1009]))
    def peer_failed(self, number: int, code: int) -> None:
        conn, now = self.conn(number), self.now
        error = RemoteProtocolError(code, "it said something else", "RFC 6455")
        self.world(lambda agent: agent.peer_failed(conn, error, now))

    @rule(number=PICKS)
    def bytes_received(self, number: int) -> None:
        conn, now = self.conn(number), self.now
        self.world(lambda agent: agent.bytes_received(conn, now))

    @rule(number=PICKS, paused=st.booleans())
    def writing(self, number: int, paused: bool) -> None:
        conn, now = self.conn(number), self.now
        if paused:
            self.world(lambda agent: agent.unsent(conn, 1 << 20, now))
            self.paused |= {conn} if conn == self.link else set()
        else:
            self.paused.discard(conn)
            self.world(lambda agent: agent.unsent(conn, 0, now))

    @rule(number=PICKS, other=PICKS, response=RESPONSES)
    def response_received(self, number: int, other: int, response: HttpResponse) -> None:
        conn, exchange = self.pick(self.exchanges, number) or (99, 98)
        _, exchange = self.pick(self.exchanges, other) or (99, 98) if other > 3 else (conn, exchange)
        now = self.now
        self.world(lambda agent: agent.response_received(conn, exchange, response, now))

    @rule(number=PICKS)
    def upgraded(self, number: int) -> None:
        (conn, exchange), now = self.pick(self.exchanges, number) or (99, 98), self.now
        self.world(lambda agent: agent.upgraded(conn, exchange, now))

    @rule(number=PICKS, signature=st.none() | st.binary(max_size=5))
    def signed(self, number: int, signature: bytes | None) -> None:
        request, now = self.pick(self.signs, number) or 99, self.now
        if signature is None:
            self.world(lambda agent: agent.sign_failed(request, "no key", now))
        else:
            self.world(lambda agent: agent.signed(request, signature, now))

    @rule(number=PICKS, command_id=COMMAND_IDS, data=COMMANDS)
    def command(self, number: int, command_id: str, data: object) -> None:
        self.text(number, envelope("command", command_id, data))

    @rule(number=PICKS, message_type=MESSAGES, message_id=COMMAND_IDS | st.sampled_from(["", "x" * 129]), data=CONTENTS)
    def message(self, number: int, message_type: str, message_id: str, data: object) -> None:
        self.text(number, envelope(message_type, message_id, data))

    @rule(number=PICKS, payload=GARBAGE)
    def text(self, number: int, payload: bytes) -> None:
        conn, now = self.conn(number), self.now
        self.world(lambda agent: agent.text_received(conn, payload, now))

    @rule(number=PICKS, payload=st.binary(max_size=4))
    def ping(self, number: int, payload: bytes) -> None:
        conn, now = self.conn(number), self.now
        self.world(lambda agent: agent.ping_received(conn, payload, now))

    @rule(number=PICKS, payload=st.integers(0, 9).map(lambda number: b"%d" % number) | st.binary(max_size=4))
    def pong(self, number: int, payload: bytes) -> None:
        conn, now = self.conn(number), self.now
        self.world(lambda agent: agent.pong_received(conn, payload, now))

    @rule(number=PICKS, code=st.sampled_from([1000, 1001, 1005, 1007, 1008, 1009, 4401, 4409]))
    def close(self, number: int, code: int) -> None:
        conn, now = self.conn(number), self.now
        self.world(lambda agent: agent.close_received(conn, code, "so it is", now))


class DirectAgentLife(AgentMachineLife):
    """The same world, with a transport that has authenticated: no request goes out, and a connection is a link."""

    def make(self, config: AgentConfig) -> AgentMachine:
        return AgentMachine(config, rng=Random(1), authenticates=False)

    def hear(self, output: Output) -> None:
        assert not isinstance(output, SendRequest | SendUpgrade | Sign)
        super().hear(output)


class AcknowledgedAgentLife(DirectAgentLife):
    """The same, over a transport that acknowledges: what it names was sent, on whatever link, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.message_ids: list[str] = []

    def make(self, config: AgentConfig) -> AgentMachine:
        return AgentMachine(config, rng=Random(1), authenticates=False, settled_by="acknowledgement")

    def hear_text(self, send: SendText) -> None:
        super().hear_text(send)
        self.message_ids.append(send.message_id)

    @rule(number=PICKS, other=PICKS)
    def ack(self, number: int, other: int) -> None:
        conn, message_id, now = self.conn(number), self.pick(self.message_ids, other) or "of nothing", self.now
        self.world(lambda agent: agent.acked(conn, message_id, now))


TestAgentMachine = AgentMachineLife.TestCase
TestDirectAgent = DirectAgentLife.TestCase
TestAcknowledgedAgent = AcknowledgedAgentLife.TestCase
