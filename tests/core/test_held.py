"""PLAT-5: what of a connection waits for a store, byte by byte, and what comes in or is sent meanwhile."""

from __future__ import annotations

from random import Random

import pytest

from artcafe_proto import HttpRequest, HttpResponse, PlatformProtocol
from artcafe_proto.effects import Disconnect, SendBody, SendPing, SendResponse, Write
from artcafe_proto.platform.streams import KEEP_ALIVE
from artcafe_proto.wires.frames import FrameWriter
from core.test_storing import StoringStage
from support.platform_stage import AGENT, TENANT, TENANT_TOKEN
from support.virtual import signing_key

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def request(method: str, path: str, body: str = "", token: str = TENANT_TOKEN, more: str = "") -> bytes:
    """A request, as bytes."""
    head = f"{method} /api/v1/{path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n{more}"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body}".encode()


COMMAND = request("POST", f"agents/{AGENT}/commands", '{"command":"work","command_id":"c1"}')


class Line(StoringStage):
    """A connection to a platform whose store is played by hand, from the outside."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol = self.connect()

    def connect(self) -> PlatformProtocol:
        """Another connection."""
        return PlatformProtocol(self.hub, conn=500 + next(self._conns), now=self.now)

    def send(self, data: bytes) -> bytes:
        """Send bytes; returns what comes back."""
        for start in range(0, len(data), 50_000):
            self.protocol.data_received(data[start : start + 50_000], self.now)
        return self.read()

    def read(self) -> bytes:
        """What comes back, before time goes on."""
        self.pass_time(0.0)
        ends = {True: b"<aborted>", False: b"<closed>"}
        outputs = self.out.pop(self.protocol.conn, [])
        assert all(isinstance(each, Write | Disconnect) for each in outputs), outputs
        return b"".join(each.data if isinstance(each, Write) else ends[each.abort] for each in outputs)

    def upgrade(self) -> bytes:
        """Ask for the agent's link, as a key of the agent is not stored: nothing comes back."""
        token = self.token()
        self.hub.registry.add_key(TENANT, AGENT, signing_key(9).public.openssh, "another")
        fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        return self.send(request("GET", f"ws/agent/{AGENT}", token=token, more=f"{fields}Sec-WebSocket-Key: {KEY}\r\n"))


def statuses(data: bytes) -> list[int]:
    """Of the responses in `data`, in their order."""
    return [int(each[:3]) for each in data.split(b"HTTP/1.1 ")[1:]]


# --- what comes in meanwhile ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["a response", "a 101", "a response before an end", "an event"])
def test_plat_8_who_sends_too_much_ahead_of_what_is_held_is_cut_off(held: str) -> None:
    """Nothing can be said before it. What is stored later must not be written to a connection that is over."""
    line = Line()
    if held == "a 101":
        assert line.upgrade() == b""
    elif held == "an event":
        line.command()
        assert statuses(line.send(request("GET", "events"))) == [200]
    else:
        assert line.send(COMMAND) == b""
    if held == "a response before an end":
        line.protocol.drop("the platform ends", line.now)
        assert line.read() == b""
    assert line.send(b"x" * 300_000) == b"<aborted>"
    line.store()
    assert line.read() == b""
    assert line.protocol.is_closed
    PlatformProtocol(line.hub, conn=line.protocol.conn, now=line.now)  # its number is free


def test_what_came_behind_an_opening_handshake_is_read_once_its_101_has_left() -> None:
    line = Line()
    assert line.upgrade() == b""
    ping = FrameWriter(client=True, rng=Random(1)).write(SendPing(0, b"early"))
    assert line.send(ping) == b""
    line.store()
    written = line.read()
    assert (statuses(written), written.endswith(b"\x8a\x05early")) == ([101], True)


def test_an_end_behind_an_opening_handshake_ends_the_link_once_its_101_has_left() -> None:
    line = Line()
    assert line.upgrade() == b""
    line.protocol.eof_received(line.now)
    assert line.read() == b""
    line.store()
    written = line.read()
    assert (statuses(written), written.endswith(b"<closed>")) == ([101], True)


def test_plat_8_who_is_turned_away_behind_what_is_held_gets_that_first() -> None:
    line = Line()
    assert line.send(COMMAND) == b""
    line.protocol.turn_away(line.now)
    assert line.read() == b""
    line.store()
    written = line.read()
    assert (statuses(written), written.endswith(b"<closed>")) == ([202], True)


# --- event streams ----------------------------------------------------------------------------------------------------


def test_plat_4_silence_is_broken_after_15_s_while_something_is_not_stored() -> None:
    stage = StoringStage()
    session = stage.request("GET", "events")
    assert [type(each) for each in stage.said(session)] == [SendResponse, SendBody]
    stage.command()
    for _ in range(3):
        stage.pass_time(15.0)
        assert [each.data for each in stage.said(session)] == [KEEP_ALIVE]
    stage.store()
    assert stage.said(session) == [], "no comment was held"


def test_a_comment_passes_events_that_wait_but_not_the_head() -> None:
    stage = StoringStage()
    stage.command()
    session = stage.session()
    session.request_received(1, HttpRequest(method="GET", target="/own"), stage.now, upgrade=False)
    assert [type(each) for each in stage.said(session)] == []
    session.respond(1, HttpResponse(status=200), stage.now, more=True, after=stage.hub.barrier)
    session.send_body(1, KEEP_ALIVE, stage.now)
    assert stage.said(session) == [], "it belongs behind the head"
    session.send_body(1, b"event", stage.now, after=stage.hub.barrier)
    stage.store()
    assert [type(each) for each in stage.said(session)] == [SendResponse, SendBody, SendBody]
    stage.command()
    session.send_body(1, b"event", stage.now, after=stage.hub.barrier)
    session.send_body(1, KEEP_ALIVE, stage.now, after=stage.hub.barrier)
    assert [each.data for each in stage.said(session)] == [KEEP_ALIVE]
    stage.store()
    assert [each.data for each in stage.said(session)] == [b"event"]
