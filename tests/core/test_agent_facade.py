"""`AgentProtocol` has a machine: what can be reached through it, and what it does with bytes in both directions."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import pytest

from artcafe_proto import AgentMachine, AgentProtocol, Instant, LocalProtocolError
from artcafe_proto import outputs as outputs_module
from artcafe_proto.effects import Connect, Write
from artcafe_proto.wires.inputs import Input, PingReceived, PongReceived, TextReceived
from artcafe_proto.wires.websocket import WebSocketWire
from support.played import frame
from support.snapshots import snapshot
from support.virtual import Pair

MESSAGE_LEVEL = {
    "response_received",
    "upgraded",
    "text_received",
    "ping_received",
    "pong_received",
    "close_received",
    "acked",
    "bytes_received",
    "peer_failed",
    "peer_ended",
}
FOR_FACADES = {"begin_read", "next_event"}
DAMAGED = b'{"type":"command","id":"cmd-1","data":{"command":5}}'
Ending = Callable[[AgentProtocol, int, Instant], object]
ENDINGS: dict[str, Ending] = {
    "eof_received": lambda agent, conn, now: agent.eof_received(conn, now),
    "disconnected": lambda agent, conn, now: agent.disconnected(conn, "", now),
    "connect_failed": lambda agent, conn, now: agent.connect_failed(conn, "dns", "", now),
}


def public_names(kind: type[object]) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


class Online:
    """An agent with a link, and what it writes there, read as the platform would."""

    def __init__(self) -> None:
        self._pair = Pair()
        self._pair.start()
        self._pair.run_until(lambda: bool(self._pair.agent.rtt_s))
        self.agent = self._pair.agent
        self.conn = self._pair.agent_conns[-1]
        self._wire = WebSocketWire(client=False, rng=Random(1), max_message_size=1 << 20)

    @property
    def now(self) -> Instant:
        return self._pair.now

    def read(self, write: object) -> list[Input]:
        """What is in a write on the link."""
        assert isinstance(write, Write)
        assert write.conn == self.conn
        return self._wire.receive(write.data)

    def said(self) -> list[Input]:
        """Everything that the agent writes now; nothing else is asked for."""
        writes = [each for each in iter(self.agent.next_output, None) if isinstance(each, Write)]
        return [received for write in writes for received in self.read(write)]


# --- what can be reached ----------------------------------------------------------------------------------------------


def test_the_public_names_are_those_of_the_docstring() -> None:
    listed = re.findall(r"`([a-z_]+)`", AgentProtocol.__doc__ or "")
    assert public_names(AgentProtocol) == set(listed)
    online = Online()
    assert {name for name in vars(online.agent) if not name.startswith("_")} == set()


def test_no_message_can_be_handed_in_beside_the_bytes() -> None:
    assert public_names(AgentMachine) - public_names(AgentProtocol) == MESSAGE_LEVEL | FOR_FACADES
    assert not issubclass(AgentProtocol, AgentMachine)
    for name in MESSAGE_LEVEL | FOR_FACADES:
        assert not hasattr(Online().agent, name)


def test_what_is_looked_at_is_the_machines() -> None:
    agent = Online().agent
    machine = agent._machine  # pyright: ignore[reportPrivateUsage]
    for name, value in vars(AgentProtocol).items():
        if isinstance(value, property):
            assert getattr(agent, name) == getattr(machine, name), name
    assert agent.deadline() == machine.deadline()


# --- reads ------------------------------------------------------------------------------------------------------------


def test_what_a_read_begins_with_is_answered_before_what_it_ends_with() -> None:
    online = Online()
    online.agent.data_received(online.conn, frame(1, DAMAGED) + frame(9, b"and a ping"), online.now)
    assert [type(each) for each in online.said()] == [TextReceived, PingReceived, PongReceived]


@pytest.mark.parametrize("is_last", [False, True])
def test_only_within_a_read_the_number_of_outputs_is_no_misuse(is_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs_module, "MAX_UNDRAINED_OUTPUTS", 0)
    online = Online()
    if is_last:
        online.agent.eof_received(online.conn, online.now)
    else:
        close = frame(8, b"\x03\xe8")
        online.agent.data_received(online.conn, frame(1, DAMAGED) + frame(1, b"{}") + close, online.now)
    before = snapshot(online.agent)
    with pytest.raises(LocalProtocolError, match="undrained"):
        online.agent.handle_timer(online.now)
    assert snapshot(online.agent) == before
    online.said()
    online.agent.handle_timer(online.now)


@pytest.mark.parametrize("name", ENDINGS)
def test_the_end_of_a_connection_is_refused_while_outputs_are_undrained(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs_module, "MAX_UNDRAINED_OUTPUTS", 0)
    online = Online()
    online.agent.data_received(online.conn, frame(9, b"a ping"), online.now)
    before = snapshot(online.agent)
    with pytest.raises(LocalProtocolError, match="undrained"):
        ENDINGS[name](online.agent, online.conn, online.now)
    assert snapshot(online.agent) == before
    assert online.said() == [PongReceived(b"a ping")]


def test_link_9_a_connection_that_is_open_and_could_not_be_opened_is_over() -> None:
    pair = Pair()
    pair.agent.start(pair.now)
    (conn,) = (each.conn for each in iter(pair.agent.next_output, None) if isinstance(each, Connect))
    pair.agent.connected(conn, pair.now, tls=False)
    pair.agent.connect_failed(conn, "other", "late", pair.now)
    assert not [each for each in iter(pair.agent.next_output, None) if isinstance(each, Write)]


# --- writes -----------------------------------------------------------------------------------------------------------


def test_link_8_what_is_drained_and_not_written_yet_has_not_left() -> None:
    online = Online()
    agent = online.agent
    large: dict[str, object] = {"a": "x" * 200_000}
    agent.send_message(large, online.now)
    online.said()
    agent.unsent(online.conn, 200_000, online.now)
    agent.get_details(online.now)
    connect = agent.next_output()
    assert isinstance(connect, Connect)
    agent.connected(connect.conn, online.now, tls=connect.tls)
    agent.send_message(large, online.now)
    request = agent.next_output()
    assert isinstance(request, Write)
    assert request.conn == connect.conn
    agent.unsent(online.conn, 200_000, online.now)  # the first message: the driver was not told of the second
    last = agent.send_message({}, online.now)
    second = agent.next_output()
    assert [len(each.payload) > 200_000 for each in online.read(second) if isinstance(each, TextReceived)] == [True]
    assert online.said() == []
    agent.unsent(online.conn, 0, online.now)
    assert [last.encode() in each.payload for each in online.said() if isinstance(each, TextReceived)] == [True]
