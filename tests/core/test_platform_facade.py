"""`PlatformProtocol` has a session: what can be reached through it, and when it reads and writes bytes."""

from __future__ import annotations

import re
from random import Random
from types import MemberDescriptorType

import pytest

from artcafe_proto import HttpResponse, LocalProtocolError, PlatformProtocol, PlatformSession
from artcafe_proto.effects import Disconnect, Write
from artcafe_proto.platform.connections import ConnectionTimer
from artcafe_proto.wires.frames import FrameWriter
from support.drained import due_at, take, take_all
from support.platform_stage import AGENT, TENANT, TENANT_TOKEN, Stage
from support.snapshots import snapshot
from support.virtual import session_of

MESSAGE_LEVEL = {
    "request_received",
    "text_received",
    "ping_received",
    "pong_received",
    "close_received",
    "bytes_received",
    "peer_failed",
    "peer_ended",
    "link_opened",
}
FOR_THE_HUB = {"deliver", "has_room", "unread_bytes"}
FOR_FACADES = {"next_event"}
FIELDS = f"Host: h\r\nAuthorization: Bearer {TENANT_TOKEN}\r\n"
LIST = f"GET /api/v1/agents HTTP/1.1\r\n{FIELDS}\r\n".encode()
WATCH = f"GET /api/v1/events HTTP/1.1\r\n{FIELDS}\r\n".encode()
POLL = f"GET /api/v1/commands/cmd-1?wait=20 HTTP/1.1\r\n{FIELDS}\r\n".encode()
HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def methods(kind: type[object]) -> set[str]:
    return {
        name
        for name, each in vars(kind).items()
        if not name.startswith("_") and not isinstance(each, MemberDescriptorType)
    }


class Accepted:
    """A connection that a platform has accepted."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.protocol = PlatformProtocol(self.stage.hub, conn=500, now=self.stage.now)

    def hear(self, data: bytes) -> None:
        self.protocol.data_received(data, self.stage.now)

    def written(self) -> bytes:
        """What it writes now; nothing else is asked for."""
        writes = take_all(self.protocol)
        assert all(isinstance(each, Write) for each in writes), writes
        return b"".join(each.data for each in writes if isinstance(each, Write))

    def upgrade(self, behind: bytes = b"") -> None:
        """Open the agent's link; `behind` comes with the handshake."""
        head = f"GET /api/v1/ws/agent/{AGENT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {self.stage.token()}\r\n"
        self.hear(f"{head}{HANDSHAKE}\r\n".encode() + behind)
        assert b" 101 " in self.written()


# --- what can be reached ----------------------------------------------------------------------------------------------


def test_the_public_names_are_those_of_the_docstring() -> None:
    listed = re.findall(r"`([a-z_]+)`", PlatformProtocol.__doc__ or "")
    assert {name for name in dir(PlatformProtocol) if not name.startswith("_")} == set(listed)


def test_no_message_can_be_handed_in_beside_the_bytes() -> None:
    assert methods(PlatformSession) - methods(PlatformProtocol) == MESSAGE_LEVEL | FOR_THE_HUB | FOR_FACADES
    assert not issubclass(PlatformProtocol, PlatformSession)
    protocol = Accepted().protocol
    for name in MESSAGE_LEVEL | FOR_THE_HUB | FOR_FACADES | {"outputs"}:
        assert not hasattr(protocol, name)


def test_what_the_core_answers_is_not_the_owners_to_answer() -> None:
    """An owner is handed what it may answer: else it could take the place of a poll's answer, or write on a stream."""
    accepted = Accepted()
    accepted.stage.command(command_id="cmd-1")
    protocol, forged = accepted.protocol, HttpResponse(status=200, body=b"forged")
    accepted.hear(POLL)
    for _ in range(2):  # before it is drained, and while the poll waits
        assert not protocol.respond(1, forged, accepted.stage.now)
        assert accepted.written() == b""
    accepted.stage.wait(20.0)
    assert b'"command_id":"cmd-1"' in accepted.written()
    accepted.hear(WATCH)
    assert b"event: stream.open" in accepted.written()
    for more in (True, False):
        assert not protocol.send_body(2, b"event: forged\n\n", accepted.stage.now, more=more)
    assert accepted.written() == b""
    accepted.stage.command()
    accepted.stage.hub.set_status(TENANT, AGENT, "busy", accepted.stage.now)
    assert b"event: agent.status" in accepted.written()


def test_what_is_looked_at_is_the_sessions() -> None:
    accepted = Accepted()
    assert accepted.protocol.agent_id is None
    accepted.upgrade()
    protocol, session = accepted.protocol, session_of(accepted.protocol)
    for name in ("conn", "state", "is_closed", "has_peer_ended"):
        assert getattr(protocol, name) == getattr(session, name), name
    assert protocol.agent_id == AGENT


def test_tok_4_what_it_writes_is_not_among_its_vars() -> None:
    accepted = Accepted()
    accepted.hear(LIST)
    assert take(accepted.protocol) is not None
    assert not hasattr(accepted.protocol, "__dict__")


# --- when it reads ----------------------------------------------------------------------------------------------------


def test_plat_8_requests_that_the_core_answers_have_their_own_turns_too() -> None:
    accepted = Accepted()
    accepted.hear(LIST * 4)
    for _ in range(3):
        assert accepted.written().count(b"HTTP/1.1 200") == 1
        assert due_at(accepted.protocol) == accepted.stage.mono
        accepted.stage.hub.handle_timer(accepted.stage.now)
    assert accepted.written().count(b"HTTP/1.1 200") == 1
    assert due_at(accepted.protocol) == accepted.stage.mono + accepted.stage.hub.config.idle_timeout


def test_nothing_of_http_is_waited_for_on_a_link() -> None:
    accepted = Accepted()
    accepted.upgrade()
    assert not {ConnectionTimer.COMING, ConnectionTimer.WAITING} & accepted.protocol.timers.keys()


def test_what_came_behind_the_handshake_has_a_turn_unless_the_link_closes_before() -> None:
    beat = FrameWriter(client=True, rng=Random(1)).text(b'{"type":"heartbeat","id":"h","data":{"agent_id":"agent-1"}}')
    accepted = Accepted()
    accepted.upgrade(behind=beat)
    assert due_at(accepted.protocol) == accepted.stage.mono
    accepted.stage.hub.handle_timer(accepted.stage.now)
    assert accepted.stage.hub.agent(TENANT, AGENT).online
    closed = Accepted()
    closed.upgrade(behind=beat)
    closed.protocol.close(4409, "replaced", closed.stage.now)
    closed.written()
    assert due_at(closed.protocol) == closed.stage.mono + closed.stage.hub.config.close_timeout


@pytest.mark.parametrize(("waited_s", "abort"), [(44.0, True), (45.0, True), (46.0, False)])
def test_of_two_late_deadlines_the_earlier_one_counts(waited_s: float, abort: bool) -> None:
    """75 s for a request, and 30 s of a stall since it was told."""
    accepted = Accepted()
    accepted.stage.wait(waited_s)
    accepted.protocol.unsent(1, accepted.stage.now)
    accepted.stage.wait(100.0)
    accepted.stage.hub.handle_timer(accepted.stage.now)
    assert take_all(accepted.protocol) == [Disconnect(500, abort=abort)]
    assert due_at(accepted.protocol) is None


# --- when it writes ---------------------------------------------------------------------------------------------------


def test_link_8_an_event_that_nobody_was_told_of_has_not_left() -> None:
    accepted = Accepted()
    accepted.hear(WATCH)
    assert b"stream.open" in accepted.written()
    accepted.stage.hub.set_status(TENANT, AGENT, "busy", accepted.stage.now)
    accepted.protocol.unsent(1000, accepted.stage.now)
    event = accepted.written()
    assert b"agent.status" in event
    assert session_of(accepted.protocol).unread_bytes == 1000 + len(event)


def test_a_poll_is_dated_when_it_is_answered_and_the_next_request_follows() -> None:
    accepted = Accepted()
    accepted.stage.command(command_id="cmd-1", expires_in_s=10.0)
    accepted.hear(POLL + LIST)
    assert accepted.written() == b""
    accepted.stage.wait(10.0)
    assert due_at(accepted.protocol) == accepted.stage.mono + 10.0
    answered = accepted.written()
    assert b'"expired"' in answered
    assert b"date: Sun, 09 Sep 2001 01:46:50 GMT" in answered
    assert due_at(accepted.protocol) == accepted.stage.mono
    accepted.stage.hub.handle_timer(accepted.stage.now)
    assert b"HTTP/1.1 200" in accepted.written()


def test_a_poll_whose_time_is_over_is_answered_and_the_next_request_follows() -> None:
    accepted = Accepted()
    accepted.stage.command(command_id="cmd-1")
    accepted.hear(POLL + LIST)
    assert accepted.written() == b""
    accepted.stage.wait(20.0)
    answered = accepted.written()
    assert answered.count(b"HTTP/1.1 200") == 2
    assert answered.index(b'"queued"') < answered.index(b'"agents"')


@pytest.mark.parametrize("name", ["eof_received", "drop"])
def test_a_poll_is_answered_when_its_connection_ends(name: str) -> None:
    accepted = Accepted()
    accepted.stage.command(command_id="cmd-1")
    accepted.hear(POLL)
    assert accepted.written() == b""
    accepted.stage.wall += 5.0
    now = accepted.stage.now
    if name == "drop":
        accepted.protocol.drop("the platform stops", now)
    else:
        accepted.protocol.eof_received(now)
    write, disconnect = take_all(accepted.protocol)
    assert isinstance(write, Write)
    assert b'"queued"' in write.data
    assert b"date: Sun, 09 Sep 2001 01:46:45 GMT" in write.data
    assert disconnect == Disconnect(500, abort=False)
    assert due_at(accepted.protocol) is None


@pytest.mark.parametrize("asked", [POLL, WATCH])
def test_nothing_is_waited_for_on_a_connection_that_ended_before_it_was_drained(asked: bytes) -> None:
    accepted = Accepted()
    accepted.stage.command(command_id="cmd-1")
    before = snapshot(accepted.stage.hub.watches._sessions)  # pyright: ignore[reportPrivateUsage]
    accepted.hear(asked)
    accepted.protocol.disconnected("reset", accepted.stage.now)
    assert accepted.written() == b""
    assert due_at(accepted.protocol) is None
    assert snapshot(accepted.stage.hub.watches._sessions) == before  # pyright: ignore[reportPrivateUsage]


def test_no_moment_is_taken_for_an_answer_before_anything_has_changed() -> None:
    accepted = Accepted()
    accepted.hear(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    before = snapshot((accepted.stage.hub, accepted.protocol))
    session = session_of(accepted.protocol)
    for answer in (
        lambda: session.respond(1, HttpResponse(status=200), None),  # type: ignore[arg-type]
        lambda: session.send_body(1, b"", None),  # type: ignore[arg-type]
    ):
        with pytest.raises(LocalProtocolError, match="Instant"):
            answer()
        assert snapshot((accepted.stage.hub, accepted.protocol)) == before
