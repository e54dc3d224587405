"""PLAT-5: what of a connection waits for a store, byte by byte, and what comes in or is sent meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from artcafe_proto import HttpRequest, HttpResponse, Instant, PlatformProtocol, PlatformSession
from artcafe_proto.effects import Disconnect, SendBody, SendPing, SendResponse, Write
from artcafe_proto.platform.streams import KEEP_ALIVE
from artcafe_proto.wires.frames import FrameWriter
from core.test_platform_protocol import close_code
from core.test_storing import StoringStage
from support.drained import take_all
from support.platform_stage import AGENT, TENANT, TENANT_TOKEN, Stage
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

    def upgrade(self, token: str | None = None) -> bytes:
        """Ask for the agent's link, as a key of the agent is not stored; returns what comes back."""
        token = self.token() if token is None else token
        self.hub.registry.add_key(TENANT, AGENT, signing_key(9).public.openssh, "another")
        return self.send(opening(token))


def opening(token: str) -> bytes:
    """The opening handshake of the agent's link."""
    fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    return request("GET", f"ws/agent/{AGENT}", token=token, more=f"{fields}Sec-WebSocket-Key: {KEY}\r\n")


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


# --- `after` ----------------------------------------------------------------------------------------------------------

OWN = HttpRequest(method="GET", target="/own")
OWN_BYTES = b"GET /own HTTP/1.1\r\nHost: h\r\n\r\n"
Say = Callable[[int], bool]


def respond(protocol: PlatformProtocol | PlatformSession, now: Instant) -> Say:
    """Answers a request of the driver's own after a batch."""
    return lambda after: protocol.respond(1, HttpResponse(status=200), now, after=after)


def send_body(protocol: PlatformProtocol | PlatformSession, now: Instant) -> Say:
    """Sends a piece of a body, whose head has left, after a batch."""
    protocol.respond(1, HttpResponse(status=200), now, more=True)
    return lambda after: protocol.send_body(1, b"piece", now, after=after)


@pytest.mark.parametrize("say", [respond, send_body])
@pytest.mark.parametrize("kind", ["bytes", "messages"])
@pytest.mark.parametrize("after", ["nothing", "a stored batch", "an unstored batch", "a batch to come"])
def test_what_a_driver_says_waits_for_the_batch_that_it_names(
    say: Callable[[PlatformProtocol | PlatformSession, Instant], Say], kind: str, after: str
) -> None:
    line = Line()
    stored = line.hub.barrier
    own = own_request(line, kind)
    if after != "a batch to come":
        line.command()
    said = say(own, line.now)
    line.drain()
    line.out.clear()
    waits_for = {"nothing": 0, "a stored batch": stored}.get(after, stored + 1)
    assert said(waits_for)
    line.drain()
    assert [each.conn for each in line.out.pop(own.conn, [])] == [own.conn] * (waits_for <= stored)
    if after == "a batch to come":
        line.command()
    line.store()
    assert [each.conn for each in line.out.pop(own.conn, [])] == [own.conn] * (waits_for > stored)


def own_request(stage: Stage, kind: str) -> PlatformProtocol | PlatformSession:
    """A connection on which the driver itself has a request to answer."""
    if kind == "bytes":
        protocol = PlatformProtocol(stage.hub, conn=900, now=stage.now)
        protocol.data_received(OWN_BYTES, stage.now)
    else:
        protocol = PlatformSession(stage.hub, 900)
        protocol.request_received(1, OWN, stage.now, upgrade=False)
    while stage.hub.next_output() is not None:
        pass
    return protocol


@pytest.mark.parametrize("say", [respond, send_body])
@pytest.mark.parametrize("kind", ["bytes", "messages"])
@pytest.mark.parametrize("after", [0, 1, 99])
def test_without_a_store_there_is_nothing_to_wait_for(
    say: Callable[[PlatformProtocol | PlatformSession, Instant], Say], kind: str, after: int
) -> None:
    stage = Stage()
    own = own_request(stage, kind)
    said = say(own, stage.now)
    take_all(own)
    assert said(after)
    assert [each.conn for each in take_all(own)] == [own.conn]


# --- in order ---------------------------------------------------------------------------------------------------------


def test_a_request_behind_one_whose_answer_waits_is_answered_behind_it() -> None:
    line = Line()
    refused_at_once = request("GET", "agents", token="a-token-of-nobody")
    assert line.send(COMMAND + refused_at_once) == b""
    line.store()
    assert statuses(line.read()) == [202, 401]


def test_two_pieces_leave_in_their_order_whatever_they_wait_for() -> None:
    line = Line()
    own = own_request(line, "messages")
    own.respond(1, HttpResponse(status=200), line.now, more=True)
    line.drain()
    line.out.clear()
    line.command()
    own.send_body(1, b"shown", line.now, after=line.hub.barrier)
    own.send_body(1, b"behind", line.now, more=False)
    line.drain()
    assert line.out == {}
    line.store()
    assert [each.data for each in line.out[own.conn]] == [b"shown", b"behind"]


# --- an upgrade that is held, and refused -----------------------------------------------------------------------------


def test_an_upgrade_whose_101_waits_too_long_is_accepted_and_closed_with_1013() -> None:
    line = Line()
    assert line.upgrade() == b""
    line.pass_time(5.0)
    written = line.read()
    assert (statuses(written), close_code(written)) == ([101], 1013)
    line.store()
    assert line.read() == b""
    line.pass_time(line.hub.config.close_timeout)
    assert line.read() == b"<aborted>"


@pytest.mark.parametrize("store", ["stores", "stalls"])
def test_a_refusal_of_an_upgrade_waits_for_the_records_of_its_agent(store: str) -> None:
    line = Line()
    token = line.token()
    line.hub.revoke_key(TENANT, line.key_id, line.now)
    assert line.upgrade(token) == b""
    if store == "stores":
        line.store()
    else:
        line.pass_time(5.0)
    assert statuses(line.read()) == [401 if store == "stores" else 503]


def test_a_refusal_of_an_upgrade_does_not_wait_for_what_is_not_its_agents() -> None:
    line = Line()
    line.command()
    line.register("agent-2")
    assert statuses(line.send(opening("not-a-token"))) == [401]
