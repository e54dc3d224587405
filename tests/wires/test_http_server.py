"""The platform's end: what it takes for a request, what it refuses with which status, and what it answers."""

from __future__ import annotations

import json
from random import Random

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.exchanges import JSON_HEADERS, HttpRequest, HttpResponse
from artcafe_proto.limits import MAX_HTTP_BODY_BYTES, MAX_HTTP_FIELDS, MAX_HTTP_HEAD_BYTES
from artcafe_proto.wires.frames import FrameWriter
from artcafe_proto.wires.handshake import accept_key
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.http_server import Phase, ServerWire
from artcafe_proto.wires.inputs import (
    CloseReceived,
    Ended,
    Failed,
    Input,
    RequestReceived,
    ResponseReceived,
    TextReceived,
    Upgraded,
)
from support.wire_readings import OK, pieces, serve

GET = b"GET /api/v1/agents?page=2 HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def wire() -> ServerWire:
    return ServerWire(rng=Random(1), max_message_size=1000)


def request(inputs: list[Input]) -> HttpRequest:
    (received,) = inputs
    assert isinstance(received, RequestReceived)
    return received.request


def failure(inputs: list[Input]) -> RemoteProtocolError:
    assert len(inputs) == 1
    (failed,) = inputs
    assert isinstance(failed, Failed)
    return failed.error


# --- requests and answers ---------------------------------------------------------------------------------------------


def test_a_request_is_whole_with_its_names_in_lower_case() -> None:
    got = request(wire().receive(POST))
    assert got == HttpRequest(
        method="POST", target="/p", headers=(("host", "h"), ("content-length", "5")), body=b"hello"
    )


def test_an_answer_has_its_length_and_the_connection_goes_on() -> None:
    server = wire()
    for _ in range(3):
        assert request(server.receive(GET)).target == "/api/v1/agents?page=2"
        assert server.respond(OK) == (b"HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        assert server.reusable


def test_pipelined_requests_come_one_at_a_time() -> None:
    server = wire()
    assert request(server.receive(POST + GET + POST[:-1])).method == "POST"
    assert server.receive(b"") == []
    server.respond(OK)
    assert server.phase is Phase.HEAD
    assert request(server.receive(b"")).method == "GET"
    server.respond(OK)
    assert server.receive(b"") == []
    assert server.phase is Phase.BODY
    assert request(server.receive(b"o")).body == b"hello"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GET[:-2] + b"Connection: close\r\n\r\n", id="close"),
        pytest.param(b"GET / HTTP/1.0\r\n\r\n", id="HTTP/1.0"),
        pytest.param(CHUNKED, id="chunked"),
    ],
)
def test_the_last_answer_says_that_it_is_the_last(data: bytes) -> None:
    server = wire()
    request(server.receive(data + GET))
    assert b"\r\nconnection: close\r\n" in server.respond(OK).lower()
    assert not server.reusable
    assert server.receive(GET) == []
    assert server.receive_eof() == []


def test_plat_8_a_body_in_too_many_small_chunks_is_refused() -> None:
    begun, byte, most = CHUNKED[: CHUNKED.index(b"3\r\nhel")], b"1\r\nx\r\n", 1092  # 1024 + 1092 // 16
    whole = begun + byte * most + b"0\r\n\r\n"
    assert request(wire().receive(whole)).body == b"x" * most
    server = wire()
    assert [each for octet in whole[:-1] for each in server.receive(bytes((octet,)))] == []
    assert request(server.receive(whole[-1:])).body == b"x" * most
    assert failure(wire().receive(begun + byte * (most + 1))).code == 413
    sixteen = b"10\r\n" + b"x" * 16 + b"\r\n"
    assert request(wire().receive(begun + sixteen * 4096 + b"0\r\n\r\n")).body == b"x" * MAX_HTTP_BODY_BYTES


def test_the_chunks_of_another_request_do_not_count() -> None:
    client = ClientWire(authority="h", rng=Random(1), max_message_size=1000)
    for _ in range(3):
        client.request(HttpRequest(method="GET", target="/"))
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        (received,) = client.receive(head + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")
        assert isinstance(received, ResponseReceived)


def test_a_chunked_body_is_joined() -> None:
    assert request(wire().receive(CHUNKED)).body == b"hello"


def test_an_owner_may_end_the_connection_with_its_answer() -> None:
    server = wire()
    request(server.receive(GET))
    server.respond(HttpResponse(status=200, headers=(("connection", "close"),)))
    assert not server.reusable


@pytest.mark.parametrize(
    ("data", "response", "expected"),
    [
        (
            b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
            OK,
            b"HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n",
        ),
        (GET, HttpResponse(status=204), b"HTTP/1.1 204 \r\n\r\n"),
        (GET, HttpResponse(status=304), b"HTTP/1.1 304 \r\n\r\n"),
        (GET, HttpResponse(status=404), b"HTTP/1.1 404 \r\ncontent-length: 0\r\n\r\n"),
    ],
)
def test_answers_without_a_body(data: bytes, response: HttpResponse, expected: bytes) -> None:
    server = wire()
    request(server.receive(data))
    assert server.respond(response) == expected
    assert request(server.receive(GET)).method == "GET"


def test_only_a_request_is_answered_and_only_once() -> None:
    server = wire()
    with pytest.raises(LocalProtocolError):
        server.respond(OK)
    request(server.receive(GET))
    with pytest.raises(LocalProtocolError, match="opening handshake"):
        server.accept_upgrade()
    with pytest.raises(LocalProtocolError, match="'x'"):
        server.respond(HttpResponse(status=200, headers=(("x", "a\r\nb"),)))
    with pytest.raises(LocalProtocolError, match="content-length"):
        server.respond(HttpResponse(status=200, headers=(("content-length", "2"),), body=b"{}"))
    with pytest.raises(LocalProtocolError, match="101"):
        server.respond(HttpResponse(status=101))
    server.respond(OK)
    with pytest.raises(LocalProtocolError):
        server.respond(OK)


# --- answers in pieces ------------------------------------------------------------------------------------------------

STREAM = HttpResponse(status=200, headers=(("content-type", "text/plain"),))


def test_an_answer_in_pieces_goes_out_in_chunks_and_the_connection_goes_on() -> None:
    server = wire()
    for _ in range(2):
        request(server.receive(GET))
        head = server.respond(STREAM, more=True)
        assert head == b"HTTP/1.1 200 \r\ncontent-type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert (server.phase, server.is_sending_body) == (Phase.ANSWERING, True)
        assert server.send_body(b"hello", more=True) == b"5\r\nhello\r\n"
        assert server.send_body(b"", more=True) == b""
        assert server.send_body(b"x" * 16, more=False) == b"10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
        assert (server.phase, server.is_sending_body, server.reusable) == (Phase.IDLE, False, True)


def test_the_first_piece_may_come_with_the_head_and_the_end_without_any() -> None:
    server = wire()
    request(server.receive(GET))
    assert server.respond(HttpResponse(status=200, body=b"ab"), more=True).endswith(b"\r\n\r\n2\r\nab\r\n")
    assert server.send_body(b"", more=False) == b"0\r\n\r\n"


def test_to_http_1_0_pieces_go_out_as_they_are_until_the_connection_ends() -> None:
    server = wire()
    request(server.receive(b"GET / HTTP/1.0\r\n\r\n"))
    head = server.respond(STREAM, more=True)
    assert head == b"HTTP/1.1 200 \r\ncontent-type: text/plain\r\nConnection: close\r\n\r\n"
    assert server.send_body(b"hello", more=True) == b"hello"
    assert server.send_body(b"", more=False) == b""
    assert not server.reusable


@pytest.mark.parametrize(
    ("data", "response"),
    [(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", STREAM), (GET, HttpResponse(status=204)), (GET, HttpResponse(status=304))],
)
def test_an_answer_that_has_no_body_has_none_in_pieces_either(data: bytes, response: HttpResponse) -> None:
    server = wire()
    request(server.receive(data))
    head = server.respond(response, more=True)
    assert head.endswith(b"\r\n\r\n")
    assert b"content-length" not in head
    assert server.send_body(b"hello", more=True) == b""
    assert server.send_body(b"hello", more=False) == b""
    assert request(server.receive(GET)).method == "GET"


def test_only_what_was_begun_is_continued() -> None:
    server = wire()
    with pytest.raises(LocalProtocolError, match="continued"):
        server.send_body(b"x", more=True)
    request(server.receive(GET))
    with pytest.raises(LocalProtocolError, match="continued"):
        server.send_body(b"x", more=True)
    server.respond(STREAM, more=True)
    with pytest.raises(LocalProtocolError, match="awaits"):
        server.respond(OK)
    with pytest.raises(LocalProtocolError):
        server.refuse(RemoteProtocolError(400, "too late", "PLAT-7"))
    server.send_body(b"", more=False)
    with pytest.raises(LocalProtocolError, match="continued"):
        server.send_body(b"x", more=True)


def test_what_comes_behind_waits_for_the_last_piece() -> None:
    server = wire()
    request(server.receive(GET + POST[:-1]))
    server.respond(STREAM, more=True)
    assert server.receive(b"o") == []
    server.send_body(b"x", more=True)
    assert server.receive(b"") == []
    server.send_body(b"", more=False)
    assert server.has_unread
    assert request(server.receive(b"")).body == b"hello"


def test_a_client_that_only_listens_any_more_gets_every_piece_and_then_the_end() -> None:
    server = wire()
    request(server.receive(GET))
    server.respond(STREAM, more=True)
    assert server.receive_eof() == []
    assert server.send_body(b"x", more=True) == b"1\r\nx\r\n"
    assert server.reusable
    assert server.send_body(b"", more=False) == b"0\r\n\r\n"
    assert not server.reusable


def test_requests_sent_ahead_before_the_end_are_answered_after_the_last_piece() -> None:
    server = wire()
    request(server.receive(GET))
    server.respond(STREAM, more=True)
    assert server.receive(GET) == []
    assert server.receive_eof() == []
    server.send_body(b"", more=False)
    request(server.receive(b""))
    assert b"connection: close" in server.respond(OK)
    assert not server.reusable


def test_too_much_sent_ahead_during_an_answer_in_pieces_fails_and_cannot_be_answered() -> None:
    server = wire()
    request(server.receive(GET))
    server.respond(STREAM, more=True)
    server.receive(b"x" * (MAX_HTTP_HEAD_BYTES + MAX_HTTP_BODY_BYTES))
    error = failure(server.receive(b"x"))
    assert error.code == 413
    with pytest.raises(LocalProtocolError):
        server.refuse(error)


def test_an_answer_in_pieces_may_be_the_last() -> None:
    server = wire()
    request(server.receive(CHUNKED))
    assert b"\r\nconnection: close\r\n" in server.respond(STREAM, more=True).lower()
    assert server.reusable
    server.send_body(b"", more=False)
    assert not server.reusable


def test_phases_follow_the_bytes() -> None:
    server = wire()
    seen = [server.phase]
    for octet in POST:
        server.receive(bytes((octet,)))
        if server.phase is not seen[-1]:
            seen.append(server.phase)
    server.respond(OK)
    assert [*seen, server.phase] == [Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.ANSWERING, Phase.IDLE]


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_end_between_requests_is_an_end() -> None:
    server = wire()
    request(server.receive(GET))
    server.respond(OK)
    assert server.receive_eof() == [Ended()]
    assert (server.phase, server.receive_eof()) == (Phase.CLOSED, [])


@pytest.mark.parametrize("data", [GET[:-1], POST[:-1]])
def test_the_end_within_a_request_fails(data: bytes) -> None:
    server = wire()
    assert server.receive(data) == []
    assert failure(server.receive_eof()).code == 400
    assert server.receive_eof() == []


def test_a_client_that_only_listens_any_more_still_gets_its_answer() -> None:
    server = wire()
    request(server.receive(GET))
    assert server.receive_eof() == []
    assert b"connection: close" in server.respond(OK)
    assert not server.reusable


def test_the_end_waits_behind_requests_sent_ahead() -> None:
    server = wire()
    request(server.receive(GET + GET))
    assert server.receive_eof() == []
    assert b"connection: close" not in server.respond(OK)
    request(server.receive(b""))
    assert b"connection: close" in server.respond(OK)
    assert not server.reusable


def test_a_part_of_a_request_before_the_end_is_refused_after_the_answer_due() -> None:
    server = wire()
    request(server.receive(GET + GET[:-2]))
    assert server.receive_eof() == []
    server.respond(OK)
    assert failure(server.receive(b"")).code == 400


def test_an_end_behind_the_opening_handshake_ends_the_link() -> None:
    server = wire()
    request(server.receive(UPGRADE))
    assert server.receive_eof() == []
    server.accept_upgrade()
    assert isinstance(server.receive(b"")[0], Failed | Ended)


# --- what is refused --------------------------------------------------------------------------------------------------


def head(*lines: bytes, start: bytes = b"POST /p HTTP/1.1", host: bytes = b"Host: h") -> bytes:
    return b"\r\n".join([start, *([host] if host else []), *lines, b"", b""])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\x16\x03\x01", 400, id="TLS"),
        pytest.param(b"\r\n" + GET, 400, id="empty line first"),
        pytest.param(b"hello\r\n\r\n", 400, id="no request"),
        pytest.param(b"GET / HTTP/1.1\nHost: h\n\n", 400, id="bare LF"),
        pytest.param(head(b"a: 1\nb: 2"), 400, id="bare LF in the fields"),
        pytest.param(head(b"a: 1\rb: 2"), 400, id="bare CR"),
        pytest.param(head(b"a: 1", b" 2"), 400, id="folded field"),
        pytest.param(head(b" a: 1", host=b""), 400, id="space before the first field"),
        pytest.param(head(b"a : 1"), 400, id="space before the colon"),
        pytest.param(head(b"a: \x00"), 400, id="NUL"),
        pytest.param(head(b"a: x\x01y"), 400, id="control character in a value"),
        pytest.param(head(b"a: x\x7f"), 400, id="DEL in a value"),
        pytest.param(head(b"a\x1f: x"), 400, id="control character in a name"),
        pytest.param(head(b"a: x\x0by"), 400, id="vertical tab"),
        pytest.param(head(b"Transfer-Encoding:\x0bchunked"), 400, id="vertical tab before chunked"),
        pytest.param(head(b"a: 1", b"\t2"), 400, id="field folded with a tab"),
        pytest.param(head(b"a"), 400, id="no colon"),
        pytest.param(head(b": 1"), 400, id="no name"),
        pytest.param(head(b"a(b): 1"), 400, id="name that is no token"),
        pytest.param(head(b"Transfer-Encoding : chunked"), 400, id="space before the colon of a framing"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", 400, id="CR CR LF"),
        pytest.param(b"GET / HTTP/1.1\n\rHost: h\r\n\r\n", 400, id="LF CR"),
        pytest.param(head(host=b""), 400, id="no Host"),
        pytest.param(head(b"Host: h"), 400, id="two Hosts"),
        pytest.param(head(b"hOST: x"), 400, id="two Hosts that differ"),
        pytest.param(head(host=b"Host: a, b"), 400, id="list of Hosts"),
        pytest.param(head(host=b"Host: a b"), 400, id="space in Host"),
        pytest.param(head(host=b"Host: \xff"), 400, id="non-ASCII Host"),
        pytest.param(head(host=b"Host: u@h"), 400, id="user in Host"),
        pytest.param(head(host=b"Host: h/p"), 400, id="path in Host"),
        pytest.param(head(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400, id="length and chunks"),
        pytest.param(head(b"Transfer-Encoding: chunked", start=b"POST / HTTP/1.0"), 400, id="chunks in HTTP/1.0"),
        pytest.param(head(b"Content-Length: 5", b"Content-Length: 6"), 400, id="two lengths"),
        pytest.param(head(b"Content-Length: 5, 6"), 400, id="a list of lengths"),
        pytest.param(head(b"Content-Length: 5", b"content-length: 5"), 400, id="one length twice"),
        pytest.param(head(b"Content-Length: 5, 5"), 400, id="a list of one length"),
        pytest.param(head(b"Content-Length: 5,"), 400, id="a list that goes on"),
        pytest.param(head(b"Content-Length: 1 0"), 400, id="space in a length"),
        pytest.param(head(b"Content-Length: -1"), 400, id="negative length"),
        pytest.param(head(b"Content-Length: 1_0"), 400, id="underscore in a length"),
        pytest.param(head(b"Content-Length: \xd9\xa1"), 400, id="length in Arabic digits"),
        pytest.param(head(b"Content-Length: 0", b"Transfer-Encoding: chunked"), 400, id="no length and chunks"),
        pytest.param(head(b"Content-Length: 5", b"Transfer-Encoding: identity"), 400, id="length and identity"),
        pytest.param(head(b"Content-Length: +5"), 400, id="signed length"),
        pytest.param(head(b"Content-Length: 0x5"), 400, id="hexadecimal length"),
        pytest.param(head(b"Content-Length:"), 400, id="empty length"),
        pytest.param(head(b"Content-Length: 65537"), 413, id="large length"),
        pytest.param(head(b"Content-Length: " + b"9" * 20), 413, id="enormous length"),
        pytest.param(head(b"Transfer-Encoding: gzip, chunked"), 501, id="gzip"),
        pytest.param(head(b"Transfer-Encoding: xchunked"), 400, id="unknown encoding"),
        pytest.param(head(b"Transfer-Encoding: identity"), 400, id="identity"),
        pytest.param(head(b"Transfer-Encoding:"), 400, id="no encoding"),
        pytest.param(head(b"Transfer-Encoding: chunked,"), 400, id="a list of encodings that goes on"),
        pytest.param(head(b'Transfer-Encoding: "chunked"'), 400, id="quoted encoding"),
        pytest.param(head(b"Transfer-Encoding: chunked;q=1"), 400, id="encoding with a parameter"),
        pytest.param(head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400, id="chunked twice"),
        pytest.param(head(b"Transfer-Encoding: gzip"), 400, id="no chunked"),
        pytest.param(head(b"Transfer-Encoding: chunked, gzip"), 400, id="chunked is not the last"),
        pytest.param(
            head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"), 400, id="chunked in the first field"
        ),
        pytest.param(
            head(b"Transfer-Encoding: gzip", b"transfer-encoding: Chunked"), 501, id="gzip in a field of its own"
        ),
        pytest.param(head(b"Transfer-Encoding: chunked, chunked"), 400, id="a list of chunked twice"),
        pytest.param(head(b"Transfer-Encoding: chunked\xa0"), 400, id="chunked and a no-break space"),
        pytest.param(head(b"Expect: x", b"Content-Length: 5"), 417, id="unknown expectation"),
        pytest.param(head(b"Expect: 100-continue, x", b"Content-Length: 5"), 417, id="several expectations"),
        pytest.param(
            head(b"Expect: 100-continue\xa0", b"Content-Length: 5"), 417, id="expectation and a no-break space"
        ),
        pytest.param(head(b"Expect:", b"Content-Length: 5"), 417, id="empty expectation"),
        pytest.param(head(b"Expect: 100-continue", b"Expect: 100-continue"), 400, id="two Expects"),
        pytest.param(head(b"Expect: 100-continue", b"Content-Length: 65537"), 413, id="large length, expectantly"),
        pytest.param(head(b"Authorization: Bearer a", b"Authorization: Bearer a"), 400, id="two Authorizations"),
        pytest.param(head(b"Authorization: Bearer a", b"authorization:"), 400, id="two Authorizations, one empty"),
        pytest.param(head(b"Content-Type: text/plain", b"Content-Type: application/json"), 400, id="two Content-Types"),
        pytest.param(head(b"Content-Length: 5\xa0"), 400, id="length and a no-break space"),
        pytest.param(
            UPGRADE.replace(b"Connection: Upgrade", b"Connection: Upgrade\xa0"), 400, id="no Upgrade in Connection"
        ),
        pytest.param(head(start=b"GET ftp://h/ HTTP/1.1"), 400, id="another scheme"),
        pytest.param(head(start=b"GET http:/h HTTP/1.1"), 400, id="scheme without an authority"),
        pytest.param(head(start=b"GET http:///x HTTP/1.1"), 400, id="empty authority"),
        pytest.param(head(start=b"GET http://u@h/ HTTP/1.1"), 400, id="user in the absolute-form"),
        pytest.param(head(start=b"GET http://h/# HTTP/1.1"), 400, id="fragment in the absolute-form"),
        pytest.param(head(start=b"GET http://h\\/ HTTP/1.1"), 400, id="backslash in the absolute-form"),
        pytest.param(head(start=b"CONNECT h:443 HTTP/1.1"), 400, id="authority-form"),
        pytest.param(head(start=b"OPTIONS * HTTP/1.1"), 400, id="asterisk-form"),
        pytest.param(head(start=b"GET /# HTTP/1.1"), 400, id="fragment"),
        pytest.param(head(start=b"GET x HTTP/1.1"), 400, id="relative target"),
        pytest.param(head(start=b"GET \\x HTTP/1.1"), 400, id="backslash"),
        pytest.param(head(start=b"GET HTTP/1.1"), 400, id="no target"),
        pytest.param(head(start=b"GET /\x00 HTTP/1.1"), 400, id="NUL in the target"),
        pytest.param(head(start=b"GET /\x7f HTTP/1.1"), 400, id="DEL in the target"),
        pytest.param(head(start=b"G\x01T / HTTP/1.1"), 400, id="control character in the method"),
        pytest.param(head(start=b"GET\t/\tHTTP/1.1"), 400, id="tabs in the start line"),
        pytest.param(head(start=b"GET / HTTP/1.1 "), 400, id="space behind the version"),
        pytest.param(head(start=b"GET / http/1.1"), 400, id="version in lower case"),
        pytest.param(head(start=b"GET / HTTP/1.10"), 400, id="HTTP/1.10"),
        pytest.param(head(start=b"GET /"), 400, id="no version"),
        pytest.param(head(start=b"GET  / HTTP/1.1"), 400, id="two spaces"),
        pytest.param(head(start=b"GET /\xff HTTP/1.1"), 400, id="non-ASCII target"),
        pytest.param(head(start=b"CONNECT /h HTTP/1.1"), 501, id="CONNECT"),
        pytest.param(head(start=b"GET / HTTP/2.0"), 505, id="HTTP/2.0"),
        pytest.param(head(start=b"GET / HTTP/0.9"), 505, id="HTTP/0.9"),
        pytest.param(head(start=b"PRI * HTTP/2.0"), 505, id="HTTP/2 preface"),
        pytest.param(UPGRADE.replace(b"13", b"12"), 426, id="version of WebSocket"),
        pytest.param(UPGRADE.replace(b"GET", b"PUT"), 400, id="method of an upgrade"),
        pytest.param(UPGRADE[:-2] + b"Content-Length: 3\r\n\r\nabc", 400, id="upgrade with a body"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b"-1\r\n", 400, id="negative chunk"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b"+1\r\nx\r\n", 400, id="signed chunk"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b"0x1\r\nx\r\n", 400, id="hexadecimal prefix of a chunk"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b" 1\r\nx\r\n", 400, id="space before a chunk"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b"1_0\r\nx\r\n", 400, id="underscore in a chunk"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b"\r\nx\r\n", 400, id="chunk without a size"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b"0" * 21 + b"\r\n", 400, id="size of 21 digits"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b"1\r\nxy\r\n", 400, id="chunk longer than its size"),
        pytest.param(head(b"Transfer-Encoding: chunked") + b"1;a\nb\r\nx\r\n", 400, id="bare LF in an extension"),
        pytest.param(UPGRADE.replace(KEY.encode(), b"short"), 400, id="key of an upgrade"),
    ],
)
def test_a_doubtful_request_is_refused_once_and_for_all(data: bytes, code: int) -> None:
    server = wire()
    error = failure(server.receive(data))
    assert error.code == code
    assert server.phase is Phase.CLOSED
    status, headers, body = answer(server.refuse(error))
    assert (status, headers["connection"].split(", ")[0]) == (code, "close")
    assert json.loads(body)["error"]["message"] == error.reason
    assert server.receive(GET) == []
    assert server.receive_eof() == []
    with pytest.raises(LocalProtocolError):
        server.refuse(error)


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://h", "h", "/"),
        (b"http://h/", "h", "/"),
        (b"http://h?a=1", "h", "/?a=1"),
        (b"HTTPS://h:8420/a%2Fb?c=//d", "h:8420", "/a%2Fb?c=//d"),
        (b"http://[::1]:80/x", "[::1]:80", "/x"),
    ],
)
def test_the_absolute_form_means_its_path_on_its_host(target: bytes, host: str, path: str) -> None:
    (received,) = wire().receive(b"GET " + target + b" HTTP/1.1\r\nHost: other\r\nX: y\r\n\r\n")
    assert isinstance(received, RequestReceived)
    assert received.request.target == path
    assert received.request.headers == (("host", host), ("x", "y"))


def test_an_opening_handshake_may_have_the_absolute_form() -> None:
    (received,) = wire().receive(UPGRADE.replace(b"GET /", b"GET http://h/", 1))
    assert isinstance(received, RequestReceived)
    assert received.upgrade


def answer(data: bytes) -> tuple[int, dict[str, str], bytes]:
    """A whole response, as h11 reads it."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("host", "h")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    start = reader.next_event()
    assert isinstance(start, h11.Response)
    body = b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return start.status_code, {name.decode(): value.decode() for name, value in start.headers}, body


def test_a_refusal_has_the_form_of_every_error() -> None:
    server = wire()
    status, headers, body = answer(server.refuse(failure(server.receive(head(b"Content-Length: 65537")))))
    assert (status, headers) == (
        413,
        {"content-type": "application/json", "connection": "close", "content-length": str(len(body))},
    )
    assert json.loads(body) == {
        "error": {"code": "content_too_large", "message": "a body has at most 65536 bytes"},
    }


def test_a_wrong_version_is_told_the_right_one() -> None:
    server = wire()
    _, headers, _ = answer(server.refuse(failure(server.receive(UPGRADE.replace(b"13", b"8")))))
    assert (headers["sec-websocket-version"], headers["upgrade"]) == ("13", "websocket")


def test_a_refusal_of_head_has_no_body() -> None:
    server = wire()
    data = server.refuse(failure(server.receive(head(b"Content-Length: 65537", start=b"HEAD / HTTP/1.1"))))
    assert data.startswith(b"HTTP/1.1 413 ")
    assert data.endswith(b"\r\n\r\n")


def test_a_deadline_that_passed_can_be_answered() -> None:
    server = wire()
    server.receive(GET[:-1])
    late = RemoteProtocolError(408, "the head took longer than 10 s", "PLAT-8")
    assert json.loads(answer(server.refuse(late))[2])["error"]["code"] == "request_timeout"
    assert server.phase is Phase.CLOSED


def test_failures_do_not_quote_the_peer() -> None:
    assert failure(wire().receive(head(b"Authorization : Bearer secret"))).reason == "illegal header line"


@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", head(host=b"Host:")])
def test_these_are_requests_all_the_same(data: bytes) -> None:
    assert isinstance(request(wire().receive(data)), HttpRequest)


# --- the limits -------------------------------------------------------------------------------------------------------


def test_a_body_may_have_the_limit() -> None:
    body = b"x" * MAX_HTTP_BODY_BYTES
    assert request(wire().receive(head(b"Content-Length: 65536") + body)).body == body


def test_a_chunked_body_fails_when_it_has_grown_too_large() -> None:
    server = wire()
    assert server.receive(head(b"Transfer-Encoding: chunked")) == []
    piece = b"400\r\n" + b"x" * 1024 + b"\r\n"
    for _ in range(64):
        assert server.receive(piece) == []
    assert failure(server.receive(piece)).code == 413


def test_endless_chunk_framing_fails() -> None:
    server = wire()
    assert server.receive(head(b"Transfer-Encoding: chunked") + b"1;" + b"e" * (MAX_HTTP_HEAD_BYTES - 2)) == []
    assert failure(server.receive(b"e" * MAX_HTTP_BODY_BYTES)).code == 413


@pytest.mark.parametrize("size", [b"10001", b"FFFFFFFF", b"ffffffffffffffff", b"010000000000000001", b"10001;e=1"])
def test_a_chunk_larger_than_any_body_is_refused_at_its_size(size: bytes) -> None:
    server = wire()
    assert server.receive(head(b"Transfer-Encoding: chunked") + size) == []
    assert failure(server.receive(b"\r\n")).code == 413


def test_a_chunk_that_does_not_fit_behind_the_others_is_refused_at_its_size() -> None:
    whole = head(b"Transfer-Encoding: chunked") + b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    assert request(wire().receive(whole + b"1\r\nx\r\n0\r\n\r\n")).body == b"x" * 0x10000
    server = wire()
    assert server.receive(whole) == []
    assert failure(server.receive(b"2\r\n")).code == 413


EXPECTING = head(b"Expect: 100-Continue", b"Content-Length: 5")
CONTINUE = b"HTTP/1.1 100 \r\n\r\n"


@pytest.mark.parametrize("data", [EXPECTING, head(b"Expect: 100-continue", b"Transfer-Encoding: chunked")])
def test_who_expects_a_100_before_the_body_gets_it_once(data: bytes) -> None:
    server = wire()
    assert server.receive(data[:-1]) == []
    assert server.take_interim() == b""
    assert server.receive(data[-1:]) == []
    assert server.take_interim() == CONTINUE
    assert server.take_interim() == b""
    chunked = b"5\r\nhello\r\n0\r\n\r\n" if b"chunked" in data else b"hello"
    assert server.receive(chunked[:1]) == []
    assert server.take_interim() == b""
    assert request(server.receive(chunked[1:])).body == b"hello"
    assert server.respond(OK).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(EXPECTING + b"hello", id="the body came along"),
        pytest.param(EXPECTING + b"h", id="a part of it did"),
        pytest.param(head(b"Expect: 100-continue", start=b"GET / HTTP/1.1"), id="no body"),
        pytest.param(head(b"Expect: 100-continue", b"Content-Length: 5", start=b"PUT / HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(head(b"Expect: 100-continue", b"Content-Length: 65537"), id="a body that is too large"),
        pytest.param(POST[:-1], id="no expectation"),
    ],
)
def test_nobody_else_gets_a_100(data: bytes) -> None:
    server = wire()
    server.receive(data)
    assert server.take_interim() == b""


def test_an_expectation_waits_for_the_answer_before_it() -> None:
    server = wire()
    request(server.receive(GET + EXPECTING))
    assert server.take_interim() == b""
    server.respond(OK)
    assert server.receive(b"") == []
    assert server.take_interim() == CONTINUE
    late = RemoteProtocolError(408, "the body did not come", "PLAT-8")
    assert server.refuse(late).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "end", [b"0\r\n\r\n", b"0;a\rb\x00\r\n\r\n", b"0\r\na: b\n\n", b"0\r\nContent-Length: 5\r\nHost: x\r\n\r\n"]
)
def test_whatever_ends_a_chunked_body_nothing_behind_it_is_a_request(end: bytes) -> None:
    server = wire()
    received = request(server.receive(head(b"Transfer-Encoding: chunked") + b"1\r\nx\r\n" + end + GET))
    assert (received.body, dict(received.headers)["host"]) == (b"x", "h")
    assert b"connection: close" in server.respond(OK).lower()
    assert server.phase is Phase.CLOSED
    assert server.receive(b"") + server.receive(GET) == []


def test_a_head_may_have_so_many_fields_and_not_one_more() -> None:
    fields = [b"a:"] * (MAX_HTTP_FIELDS - 1)  # and Host
    assert len(request(wire().receive(head(*fields))).headers) == MAX_HTTP_FIELDS
    error = failure(wire().receive(head(*fields, b"a:")))
    assert (error.code, error.reason) == (431, "a head has at most 128 fields")


def test_a_head_may_have_the_limit_and_not_one_byte_more_however_it_comes() -> None:
    whole = head(b"x: ")
    whole = head(b"x: " + b"x" * (MAX_HTTP_HEAD_BYTES - len(whole)))
    assert request(wire().receive(whole)).method == "POST"
    larger = whole[:-4] + b"x\r\n\r\n"
    assert failure(wire().receive(larger)).code == 431
    server = wire()
    assert [server.receive(piece) for piece in (larger[:30_000], larger[30_000:-5])] == [[], []]
    assert failure(server.receive(larger[-5:])).code == 431


def test_what_is_sent_ahead_has_a_limit() -> None:
    server = wire()
    request(server.receive(GET))
    ahead = MAX_HTTP_HEAD_BYTES + MAX_HTTP_BODY_BYTES
    assert server.receive(b"x" * ahead) == []
    error = failure(server.receive(b"x"))
    assert (error.code, error.clause) == (413, "PLAT-8")
    assert answer(server.refuse(error))[0] == 413


def test_what_is_sent_ahead_has_a_limit_between_paced_requests_too() -> None:
    server = wire()
    ahead = GET * ((MAX_HTTP_HEAD_BYTES + MAX_HTTP_BODY_BYTES) // len(GET) + 2)
    request(server.receive(ahead))
    server.respond(OK)
    assert failure(server.receive(GET)).code == 413


def test_a_failure_never_comes_in_one_list_with_the_request_before_it() -> None:
    server = wire()
    assert request(server.receive(GET + b"x" * (MAX_HTTP_HEAD_BYTES + MAX_HTTP_BODY_BYTES + 1))).method == "GET"
    assert server.respond(OK)
    assert failure(server.receive(b"")).code == 431


# --- the upgrade ------------------------------------------------------------------------------------------------------


def test_an_upgrade_is_accepted_and_frames_that_came_early_are_read() -> None:
    client = FrameWriter(client=True, rng=Random(2))
    server = wire()
    first = client.text(b"early")
    (received,) = server.receive(UPGRADE + first[:3])
    assert isinstance(received, RequestReceived)
    assert received.upgrade
    assert server.receive(first[3:]) == []
    assert server.websocket is None
    assert server.accept_upgrade() == (
        b"HTTP/1.1 101 \r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + accept_key(KEY).encode() + b"\r\n\r\n"
    )
    assert server.websocket is not None
    assert server.phase is Phase.WEBSOCKET
    assert server.receive(b"") == [TextReceived(b"early")]
    assert server.receive(client.close(1001, "bye")) == [CloseReceived(1001, "bye")]
    with pytest.raises(LocalProtocolError):
        server.refuse(RemoteProtocolError(400, "too late", "PLAT-7"))


def test_the_websocket_has_the_limit_and_the_end_of_a_server() -> None:
    server = wire()
    server.receive(UPGRADE)
    server.accept_upgrade()
    assert failure(server.receive(b"\x81\xfe\x03\xe9mask")).code == 1009
    server = wire()
    server.receive(UPGRADE)
    server.accept_upgrade()
    assert server.receive_eof() == [Ended()]


def test_an_upgrade_may_be_answered_like_any_request() -> None:
    server = wire()
    server.receive(UPGRADE)
    server.respond(HttpResponse(status=401))
    assert server.reusable
    (received,) = server.receive(GET)
    assert isinstance(received, RequestReceived)
    assert not received.upgrade
    with pytest.raises(LocalProtocolError, match="opening handshake"):
        server.accept_upgrade()


@pytest.mark.parametrize(
    "data",
    [
        UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: websocket\xa0"),
        UPGRADE.replace(b"websocket", b"h2c"),
        UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        head(b"Upgrade: ,"),
    ],
)
def test_an_upgrade_to_something_else_or_from_http_1_0_is_a_plain_request(data: bytes) -> None:
    (received,) = wire().receive(data)
    assert isinstance(received, RequestReceived)
    assert not received.upgrade


# --- however it comes -------------------------------------------------------------------------------------------------


def head_of(start: bytes, fields: list[bytes]) -> bytes:
    return head(*fields, start=start)


heads = st.builds(
    head_of,
    st.sampled_from([b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"HEAD / HTTP/1.1", b"PUT /x HTTP/1.0", b"GET * HTTP/1.1"]),
    st.lists(
        st.sampled_from(
            [
                b"Content-Length: 5",
                b"Content-Length: 99999",
                b"Transfer-Encoding: chunked",
                b"Connection: close",
                b"Expect: 100-continue",
                b" folded",
                b"bare: x\ny: z",
                b"Upgrade: websocket",
            ]
        ),
        max_size=2,
    ),
)
bodies = st.sampled_from([b"hello", b"5\r\nhello\r\n", b"0\r\n", b"\r\n", b"\n"])
streams = st.lists(
    heads | bodies | st.sampled_from([GET, POST, CHUNKED, UPGRADE]) | st.binary(max_size=5), max_size=8
).map(b"".join)


@given(streams, st.lists(st.integers(0, 1000), max_size=10))
def test_any_cutting_gives_the_same_inputs_and_the_same_answers(data: bytes, cuts: list[int]) -> None:
    whole = serve(wire(), [data])
    assert serve(wire(), pieces(data, cuts)) == whole
    assert serve(wire(), [bytes((octet,)) for octet in data]) == whole


@given(st.lists(streams | st.binary(), max_size=5))
def test_no_bytes_raise_and_nothing_follows_a_failure(chunks: list[bytes]) -> None:
    seen, _ = serve(wire(), chunks)
    assert all(not isinstance(entry, tuple) for entry in seen[:-1])


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 400), st.lists(st.text(max_size=50), max_size=5))
def test_the_two_ends_fit(bodies: list[bytes], step: int, messages: list[str]) -> None:
    client = ClientWire(authority="h", rng=Random(1), max_message_size=1000)
    server = wire()

    def carry(data: bytes, to: ClientWire | ServerWire) -> list[Input]:
        return [entry for place in range(0, len(data), step) for entry in to.receive(data[place : place + step])]

    for number, body in enumerate(bodies):
        sent = HttpRequest(method="POST", target="/echo", headers=JSON_HEADERS, body=body)
        got = request(carry(client.request(sent), server))
        assert (got.method, got.target, got.body) == ("POST", "/echo", body)
        if number % 2:
            written = server.respond(HttpResponse(status=200, body=body), more=False)
        else:
            written = server.respond(HttpResponse(status=200, body=body[:7]), more=True)
            written += server.send_body(body[7:], more=True) + server.send_body(b"", more=False)
        (answered,) = carry(written, client)
        assert isinstance(answered, ResponseReceived)
        assert (answered.response.body, answered.response.reusable) == (body, True)

    (opening,) = carry(client.upgrade(HttpRequest(method="GET", target="/ws")), server)
    assert isinstance(opening, RequestReceived)
    assert carry(server.accept_upgrade(), client) == [Upgraded()]
    assert client.websocket is not None
    assert server.websocket is not None
    for message in map(str.encode, messages):
        assert carry(client.websocket.writer.text(message), server) == [TextReceived(message)]
        assert carry(server.websocket.writer.text(message), client) == [TextReceived(message)]
    assert carry(client.websocket.writer.close(1000, ""), server) == [CloseReceived(1000, "")]
