"""PLAT-7, PLAT-8, MSG-6, MSG-7: one accepted connection, byte by byte."""

from __future__ import annotations

import json
from random import Random

import pytest

from artcafe_proto import HttpResponse, Instant, LocalProtocolError, PlatformProtocol
from artcafe_proto.effects import Disconnect, PauseReading, ResumeReading, Write
from artcafe_proto.events import RequestArrived
from artcafe_proto.policies.timetable import GRID_S
from artcafe_proto.wires.frames import FrameWriter
from support.drained import due_at, take
from support.platform_stage import AGENT, Stage
from support.snapshots import snapshot

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\n"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
LINK_HEAD = b"GET /api/v1/ws/agent/a HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


class Wire:
    """A connection to a platform, from the outside."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.protocol = PlatformProtocol(self.stage.hub, conn=500, now=self.stage.now)
        self.answer = HttpResponse(status=200, body=b"{}")

    def send(self, data: bytes, chunk: int = 1_000_000) -> bytes:
        """Send bytes; returns what comes back. Requests of tenants are answered with `answer`."""
        for start in range(0, len(data), chunk):
            self.protocol.data_received(data[start : start + chunk], self.stage.now)
            self.protocol.unsent(0, self.stage.now)
        return self.read()

    def read(self) -> bytes:
        """What comes back."""
        written = self.drain()
        while (due := due_at(self.protocol)) is not None and due <= self.stage.mono:
            self.stage.hub.handle_timer(self.stage.now)
            written += self.drain()
        return written

    def drain(self) -> bytes:
        """What comes back before time goes on."""
        written = b""
        while (output := take(self.protocol)) is not None:
            match output:
                case Write():
                    written += output.data
                case RequestArrived():
                    self.protocol.respond(output.exchange, self.answer, self.stage.now)
                case Disconnect():
                    written += b"<closed>"
                case PauseReading() | ResumeReading():
                    pass
                case _:
                    raise AssertionError(output)
        return written

    def upgrade(self) -> FrameWriter:
        """Open the agent's link."""
        token = self.stage.token()
        head = f"GET /api/v1/ws/agent/{AGENT} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
        head += "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        head += f"Sec-WebSocket-Key: {KEY}\r\n\r\n"
        answer = self.send(head.encode())
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answer
        return FrameWriter(client=True, rng=Random(1))


def close_code(data: bytes) -> int:
    """The code of the close frame that `data` ends with, before the end of the connection."""
    frame = data.removesuffix(b"<closed>")
    at = frame.rindex(b"\x88")
    return int.from_bytes(frame[at + 2 : at + 4])


def test_a_body_that_awaits_a_100_gets_it_and_keeps_its_deadline() -> None:
    wire = Wire()
    head = POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    assert wire.send(head) == b"HTTP/1.1 100 \r\n\r\n"
    assert wire.send(b"{}").startswith(b"HTTP/1.1 200 ")
    assert wire.send(GET + head).endswith(b"\r\n\r\n{}HTTP/1.1 100 \r\n\r\n")
    wire.stage.wait(15.001)
    assert wire.read().startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("chunk", [1, 7, 1_000_000])
def test_requests_on_one_connection_are_answered_in_order(chunk: int) -> None:
    wire = Wire()
    one = b"POST /api/v1/auth/challenge HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    one += b'Content-Length: 16\r\n\r\n{"agent_id":"a"}'
    two = b"GET /elsewhere HTTP/1.1\r\nHost: h\r\n\r\n"
    answers = wire.send(one + two + one, chunk)
    assert answers.count(b"HTTP/1.1 200 ") == 3
    assert answers.count(b"date: ") + answers.count(b"Date: ") == 3
    assert answers.count(b'{"challenge":') == 2
    assert b"<closed>" not in answers


@pytest.mark.parametrize(
    "garbage",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 70_000,
    ],
)
def test_plat_7_what_is_no_request_is_refused_and_ends_the_connection(garbage: bytes) -> None:
    wire = Wire()
    answer = wire.send(garbage)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b'{"error":{"code":' in answer
    assert answer.endswith(b"<closed>")
    assert wire.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") == b""
    assert due_at(wire.protocol) is None


def test_plat_7_a_body_over_64_kib_is_413() -> None:
    answer = Wire().send(b"POST /elsewhere HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"<closed>")


@pytest.mark.parametrize(
    ("begun", "drip", "allowed_s"),
    [
        pytest.param(b"", b"GET /" + b"x" * 100, 10, id="start line"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 20, 10, id="fields"),
        pytest.param(LINK_HEAD, b"x: y\r\n" * 20, 10, id="opening handshake"),
        pytest.param(POST + b"Content-Length: 65536\r\n\r\n", b"x" * 100, 15, id="body"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 20, 15, id="chunks"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 100, 15, id="a chunk's size"),
        pytest.param(GET + b"GET / HT", b"TP/1.1\r\nx: y" + b"z" * 100, 10, id="behind another request"),
    ],
)
def test_plat_8_who_sends_a_byte_a_second_is_cut_at_the_deadline_all_the_same(
    begun: bytes, drip: bytes, allowed_s: int
) -> None:
    wire = Wire()
    answer = wire.send(begun + drip[:1]).removeprefix(b"HTTP/1.1 200")
    begun_at = wire.stage.mono
    for place in range(1, allowed_s):
        assert b"HTTP/1.1" not in answer
        wire.stage.wait(1)
        answer = wire.send(drip[place : place + 1])
    assert answer == b""
    assert due_at(wire.protocol) == begun_at + allowed_s
    wire.stage.mono += 1
    assert wire.read().startswith(b"HTTP/1.1 408 ")
    assert wire.protocol.is_closed
    assert wire.send(drip) == b""
    assert due_at(wire.protocol) is None, "and nothing is kept of it"


def test_hb_3_a_link_on_which_nothing_ever_comes_is_pinged_closed_and_cut() -> None:
    """LINK-7, LINK-8: whoever completes the handshake and then says nothing has 45 s."""
    wire = Wire()
    wire.upgrade()
    assert not wire.stage.hub.agent("tenant-1", AGENT).online
    opened_at = wire.stage.mono
    seen: list[tuple[float, bytes]] = []
    for _ in range(3):
        due = due_at(wire.protocol)
        assert due is not None
        wire.stage.mono = due
        seen.append((due - opened_at, wire.read()))
    assert due_at(wire.protocol) is None
    (ping_s, ping), (close_s, close), (cut_s, cut) = seen
    assert (ping_s, close_s, cut_s) == (20, 40, 45)
    assert ping == b"\x89\x011"
    assert close_code(close) == 4408
    assert cut == b"<closed>"


def test_plat_8_whoever_is_turned_away_is_told_and_may_come_back_later() -> None:
    wire = Wire()
    wire.protocol.turn_away(wire.stage.now)
    head, _, body = wire.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 10" in head.lower()
    assert json.loads(body.removesuffix(b"<closed>"))["error"]["code"] == "too_many_connections"
    assert body.endswith(b"<closed>")
    assert due_at(wire.protocol) is None
    assert wire.send(GET) == b""
    wire.protocol.turn_away(wire.stage.now)
    assert wire.read() == b""


def test_plat_8_turning_away_amid_an_answer_or_a_link_ends_it_as_it_is() -> None:
    stream = Stream()
    stream.protocol.turn_away(stream.now)
    assert stream.wire.read() == b"<closed>", "in the middle of a body nothing else can be said"
    wire = Wire()
    wire.upgrade()
    wire.protocol.turn_away(wire.stage.now)
    assert close_code(wire.read()) == 1001


def test_an_idle_connection_is_closed_after_longer_than_a_signature_may_take() -> None:
    wire = Wire()
    wire.send(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    wire.stage.wait(74)
    assert wire.read() == b""
    wire.stage.wait(1)
    assert wire.read() == b"<closed>"


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(status=100),
        HttpResponse(status=600),
        HttpResponse(status=200, headers=(("bad name", "x"),)),
        HttpResponse(status=200, headers=(("x-a", "b\r\nc: d"),)),
        HttpResponse(status=200, headers=(("content-length", "2"),), body=b"{}"),
        HttpResponse(status=200, headers=(("Transfer-Encoding", "chunked"),)),
    ],
)
def test_an_answer_that_http_cannot_carry_is_misuse_and_another_may_be_given(response: HttpResponse) -> None:
    wire = Wire()
    wire.protocol.data_received(GET, wire.stage.now)
    arrived = take(wire.protocol)
    assert isinstance(arrived, RequestArrived)
    before = snapshot(wire.protocol)
    for more in (False, True):
        with pytest.raises(LocalProtocolError):
            wire.protocol.respond(arrived.exchange, response, wire.stage.now, more=more)
    assert snapshot(wire.protocol) == before
    assert wire.protocol.respond(arrived.exchange, HttpResponse(status=500), wire.stage.now)


def test_nothing_is_waited_for_after_the_last_answer_whatever_was_sent_behind_its_request() -> None:
    wire = Wire()
    wire.answer = HttpResponse(status=200, headers=(("connection", "close"),))
    assert wire.send(GET + GET).endswith(b"<closed>")
    assert due_at(wire.protocol) is None


def test_an_answer_that_takes_its_time_has_no_deadline() -> None:
    wire = Wire()
    wire.protocol.data_received(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n", wire.stage.now)
    arrived = take(wire.protocol)
    assert isinstance(arrived, RequestArrived)
    assert due_at(wire.protocol) is None
    assert not wire.protocol.respond(arrived.exchange + 1, HttpResponse(status=200), wire.stage.now)
    assert wire.protocol.respond(arrived.exchange, HttpResponse(status=204), wire.stage.now)
    assert not wire.protocol.respond(arrived.exchange, HttpResponse(status=204), wire.stage.now)
    assert wire.read().startswith(b"HTTP/1.1 204 ")


def test_plat_8_what_a_connection_holds_of_what_is_not_whole_is_known() -> None:
    wire = Wire()
    head = POST + b"Content-Length: 9\r\n\r\n"
    assert wire.protocol.held_bytes == 0
    wire.send(head[:-1])
    assert wire.protocol.held_bytes == len(head) - 1
    wire.send(head[-1:] + b"12345")
    assert wire.protocol.held_bytes == 2 * len(head) + 5, "its fields are kept twice"
    wire.send(b"6789")
    assert wire.protocol.held_bytes == 0
    frames = wire.upgrade()
    assert wire.protocol.held_bytes == 0
    masked = bytes.fromhex("0185 00000000") + b"x" * 5
    wire.send(masked + frames.ping(b"")[:3])
    assert wire.protocol.held_bytes == 5 + 3


@pytest.mark.parametrize("chunk", [1, 3, 1_000_000])
def test_a_link_opens_and_takes_messages_in_any_chunking(chunk: int) -> None:
    wire = Wire()
    frames = wire.upgrade()
    heartbeat = {"type": "heartbeat", "id": "hb-1", "data": {"agent_id": AGENT}}
    assert wire.send(frames.text(json.dumps(heartbeat).encode()) + frames.ping(b"12"), chunk) == b"\x8a\x0212"
    assert wire.stage.hub.agent("tenant-1", AGENT).online


def test_msg_6_and_7_bad_frames_close_with_their_codes() -> None:
    cases: list[tuple[bytes, int]] = [
        (b"\x82\x80\0\0\0\0", 1003),
        (b"\x81\xff" + (2**20 + 1).to_bytes(8) + b"\0\0\0\0", 1009),
        (b"\x81\xff" + (2**62).to_bytes(8), 1009),
        (b"\x81\x00", 1002),
        (b"\x81\x82\0\0\0\0\xc3\x28", 1007),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
    ]
    for data, code in cases:
        wire = Wire()
        wire.upgrade()
        answer = wire.send(data + b"\0" * 16)
        assert close_code(answer) == code, data
        assert answer.endswith(b"<closed>")
        assert wire.protocol.is_closed
        assert wire.send(data) == b""


def test_the_closing_handshake_from_either_side() -> None:
    wire = Wire()
    frames = wire.upgrade()
    assert wire.send(frames.close(1000, "done")) == b"\x88\x02\x03\xe8<closed>"
    wire = Wire()
    frames = wire.upgrade()
    wire.protocol.close(4409, "replaced", wire.stage.now)
    assert close_code(wire.read()) == 4409
    assert wire.send(frames.text(b"{}")) == b"", "nothing is taken any more"
    assert wire.send(frames.close(4409, "")) == b"<closed>"


def test_the_end_of_the_stream_ends_the_connection() -> None:
    wire = Wire()
    wire.protocol.eof_received(wire.stage.now)
    assert wire.read() == b"<closed>"
    wire = Wire()
    wire.upgrade()
    wire.protocol.eof_received(wire.stage.now)
    assert wire.protocol.is_closed
    assert wire.read().endswith(b"<closed>")
    wire.protocol.disconnected("again", wire.stage.now)
    wire.protocol.eof_received(wire.stage.now)
    assert wire.read() == b""


def test_plat_8_each_pipelined_request_waits_for_the_answer_before_it_to_be_written() -> None:
    wire = Wire()
    wire.answer = HttpResponse(status=200, body=b"x" * 100_000)
    request = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
    wire.protocol.data_received(request * 20, wire.stage.now)
    assert len(wire.drain()) < 110_000
    wire.protocol.unsent(1 << 20, wire.stage.now)
    assert wire.read() == b""
    wire.protocol.unsent(0, wire.stage.now)
    assert wire.read().count(b"HTTP/1.1 200") == 19


def test_plat_8_deadlines_start_anew_with_every_request() -> None:
    wire = Wire()
    request = b"POST /api/v1/auth/challenge HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    request += b'Content-Length: 16\r\n\r\n{"agent_id":"a"}'
    wire.stage.wait(70)
    assert b" 200 " in wire.send(request)
    wire.stage.wait(70)
    assert b" 200 " in wire.send(request), "a touch key takes its time (AUTH-6)"


# --- answers in pieces ------------------------------------------------------------------------------------------------


class Stream:
    """A connection whose first request is being answered in pieces."""

    def __init__(self, request: bytes = GET, ahead: bytes = b"") -> None:
        self.wire = Wire()
        self.protocol = self.wire.protocol
        self.protocol.data_received(request + ahead, self.now)
        arrived = take(self.protocol)
        assert isinstance(arrived, RequestArrived)
        self.exchange = arrived.exchange
        assert self.protocol.respond(self.exchange, HttpResponse(status=200), self.now, more=True)
        self.head = self.wire.read()

    @property
    def now(self) -> Instant:
        return self.wire.stage.now

    def piece(self, data: bytes, *, more: bool = True) -> bytes:
        """Send a piece; returns what goes out before time goes on."""
        assert self.protocol.send_body(self.exchange, data, self.now, more=more)
        return self.wire.drain()

    def is_over(self) -> bool:
        """Whether no piece is taken any more."""
        return not self.protocol.send_body(self.exchange, b"late", self.now)


def test_an_answer_in_pieces_goes_out_piece_by_piece_and_has_no_deadline() -> None:
    stream = Stream()
    assert b"Transfer-Encoding: chunked" in stream.head
    assert b"date: " in stream.head.lower()
    assert stream.piece(b"one") == b"3\r\none\r\n"
    assert due_at(stream.protocol) is None
    stream.wire.stage.wait(86_400)
    assert stream.piece(b"two") == b"3\r\ntwo\r\n"
    assert not stream.protocol.respond(stream.exchange, HttpResponse(status=200), stream.now)
    assert not stream.protocol.send_body(stream.exchange + 1, b"x", stream.now)
    assert stream.piece(b"", more=False) == b"0\r\n\r\n"
    assert stream.is_over()
    assert due_at(stream.protocol) == stream.now.mono + 75, "then the connection is idle"
    assert stream.wire.send(GET).startswith(b"HTTP/1.1 200")


def test_only_what_was_begun_has_pieces() -> None:
    wire = Wire()
    wire.protocol.data_received(GET, wire.stage.now)
    arrived = take(wire.protocol)
    assert isinstance(arrived, RequestArrived)
    assert not wire.protocol.send_body(arrived.exchange, b"x", wire.stage.now)
    assert wire.protocol.respond(arrived.exchange, HttpResponse(status=200), wire.stage.now)
    assert not wire.protocol.send_body(arrived.exchange, b"x", wire.stage.now)


def test_pieces_to_http_1_0_end_with_the_connection() -> None:
    stream = Stream(b"GET /x HTTP/1.0\r\n\r\n")
    assert b"Transfer-Encoding" not in stream.head
    assert stream.piece(b"one") == b"one"
    assert stream.piece(b"", more=False) == b"<closed>"
    assert stream.protocol.is_closed


def test_a_head_request_gets_no_pieces() -> None:
    stream = Stream(GET.replace(b"GET", b"HEAD"))
    assert b"Transfer-Encoding: chunked" in stream.head
    assert stream.protocol.send_body(stream.exchange, b"one", stream.now)
    assert take(stream.protocol) is None, "nor a write of nothing"
    assert stream.piece(b"", more=False) == b""
    assert stream.wire.send(GET).startswith(b"HTTP/1.1 200")


def test_a_request_behind_an_answer_in_pieces_waits_for_its_end() -> None:
    stream = Stream(ahead=GET)
    assert stream.piece(b"one") == b"3\r\none\r\n"
    assert stream.wire.send(GET) == b""
    stream.protocol.send_body(stream.exchange, b"", stream.now, more=False)
    assert stream.wire.read().startswith(b"0\r\n\r\nHTTP/1.1 200")
    assert stream.wire.read() == b""


def test_plat_8_more_than_a_request_sent_ahead_of_pieces_ends_them() -> None:
    stream = Stream()
    ended = stream.wire.send(b"x" * 200_000, chunk=50_000)
    assert ended == b"<closed>", "in the middle of a body nothing else can be said"
    assert stream.is_over()


def test_a_peer_that_ended_its_side_still_gets_its_pieces() -> None:
    stream = Stream()
    assert not stream.protocol.has_peer_ended
    stream.protocol.eof_received(stream.now)
    assert stream.protocol.has_peer_ended, "the owner may know that nobody listens any more"
    assert stream.wire.read() == b""
    assert stream.piece(b"one") == b"3\r\none\r\n"
    assert stream.piece(b"", more=False) == b"0\r\n\r\n<closed>"


def test_a_lost_connection_takes_no_more_pieces() -> None:
    stream = Stream()
    stream.protocol.disconnected("reset", stream.now)
    assert stream.is_over()
    assert due_at(stream.protocol) is None
    assert stream.wire.read() == b""


def test_a_dropped_answer_in_pieces_is_cut_off_visibly() -> None:
    stream = Stream()
    stream.protocol.drop("the platform stops", stream.now)
    assert stream.wire.read() == b"<closed>", "no last chunk: the answer is not whole"
    assert stream.is_over()


def test_an_answer_in_pieces_that_was_ended_first_is_whole_when_dropped() -> None:
    stream = Stream()
    stream.protocol.send_body(stream.exchange, b"", stream.now, more=False)
    stream.protocol.drop("the platform stops", stream.now)
    assert stream.wire.read() == b"0\r\n\r\n<closed>"


def test_link_8_a_client_that_does_not_read_its_pieces_is_cut_after_30_s() -> None:
    stream = Stream()
    stream.piece(b"x" * 100_000)
    stream.protocol.unsent(1 << 20, stream.now)
    stream.wire.stage.wait(29.9)
    assert not stream.protocol.is_closed
    stream.protocol.unsent(0, stream.now)
    stream.protocol.unsent(1 << 20, stream.now)
    stream.wire.stage.wait(29.9)
    assert not stream.protocol.is_closed
    stream.wire.stage.wait(0.1 + GRID_S)
    assert stream.protocol.is_closed
    assert stream.is_over()


def test_pieces_survive_a_pause_of_writing() -> None:
    stream = Stream(ahead=GET)
    stream.protocol.unsent(1 << 20, stream.now)
    assert stream.piece(b"one") == b"3\r\none\r\n", "what is sent is never held back"
    stream.protocol.send_body(stream.exchange, b"", stream.now, more=False)
    assert stream.wire.read() == b"0\r\n\r\n", "the next request waits until the peer reads"
    stream.protocol.unsent(0, stream.now)
    assert stream.wire.read().startswith(b"HTTP/1.1 200")


def test_plat_8_a_request_that_comes_too_slowly_is_told_so_and_an_idle_connection_is_not() -> None:
    wire = Wire()
    assert wire.send(b"GET / HTTP/1.1\r\n") == b""
    wire.stage.mono += 10
    head, _, body = wire.read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    text = b'{"error":{"code":"request_timeout","message":"the request did not come in time"}}'
    assert body == text + b"<closed>"
    wire = Wire()
    due = due_at(wire.protocol)
    assert due is not None
    wire.stage.mono = due
    assert wire.read() == b"<closed>"


def test_plat_8_a_client_that_reads_nothing_is_given_the_time_of_a_stall_and_no_other() -> None:
    wire = Wire()
    wire.protocol.data_received(b"GET / HTTP/1.1\r\n", wire.stage.now)
    assert due_at(wire.protocol) == wire.stage.mono + 10
    wire.protocol.unsent(1 << 20, wire.stage.now)
    assert due_at(wire.protocol) == wire.stage.mono + 30


def test_an_answer_has_the_date_of_the_platform_unless_it_brings_its_own() -> None:
    wire = Wire()
    wire.answer = HttpResponse(status=200, headers=(("date", "Sun, 06 Nov 1994 08:49:37 GMT"),))
    written = wire.send(GET)
    assert written.lower().count(b"date: ") == 1
    assert b"Sun, 06 Nov 1994 08:49:37 GMT" in written


def test_a_request_that_waited_for_its_turn_is_answered_when_the_client_has_ended_its_side() -> None:
    wire = Wire()
    request = b"GET /api/v1/auth/challenge HTTP/1.1\r\nHost: h\r\n\r\n"
    wire.protocol.data_received(2 * request, wire.stage.now)
    assert wire.drain().count(b"HTTP/1.1 405 ") == 1
    wire.stage.wall += 1
    wire.protocol.eof_received(wire.stage.now)
    assert b"date: Sun, 09 Sep 2001 01:46:41 GMT" in wire.drain()
