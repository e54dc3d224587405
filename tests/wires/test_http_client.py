"""The agent's end: what it writes, what it takes for an answer, and when a connection may be used again."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.exchanges import JSON_HEADERS, HttpRequest, HttpResponse
from artcafe_proto.limits import MAX_HTTP_BODY_BYTES, MAX_HTTP_HEAD_BYTES, MAX_INFORMATIONAL_RESPONSES
from artcafe_proto.wires.frames import FrameWriter
from artcafe_proto.wires.handshake import accept_key, make_key
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.inputs import (
    CloseReceived,
    Ended,
    Failed,
    Input,
    ResponseReceived,
    TextReceived,
    Upgraded,
)
from support.wire_readings import answered, pieces

GET = HttpRequest(method="GET", target="/api/v1/agents/a")
POST = HttpRequest(method="POST", target="/api/v1/auth/challenge", headers=JSON_HEADERS, body=b'{"agent_id":"a"}')
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
KEY = make_key(Random(1))
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + accept_key(KEY).encode() + b"\r\n\r\n"
)


def wire() -> ClientWire:
    return ClientWire(authority="api.example:8443", rng=Random(1), max_message_size=1000)


def waiting(request: HttpRequest = GET) -> ClientWire:
    """A wire whose request is under way."""
    client = wire()
    client.request(request)
    return client


def upgrading() -> ClientWire:
    client = wire()
    client.upgrade(GET)
    return client


def response(inputs: list[Input]) -> HttpResponse:
    (received,) = inputs
    assert isinstance(received, ResponseReceived)
    return received.response


def failure(inputs: list[Input]) -> tuple[int, str]:
    (failed,) = inputs
    assert isinstance(failed, Failed)
    return failed.error.code, failed.error.reason


# --- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_gets_host_and_content_length_and_nothing_else() -> None:
    assert wire().request(POST) == (
        b"POST /api/v1/auth/challenge HTTP/1.1\r\nhost: api.example:8443\r\ncontent-type: application/json\r\n"
        b'content-length: 16\r\n\r\n{"agent_id":"a"}'
    )
    assert wire().request(GET) == b"GET /api/v1/agents/a HTTP/1.1\r\nhost: api.example:8443\r\n\r\n"


def test_an_upgrade_gets_the_fields_of_the_opening_handshake() -> None:
    assert wire().upgrade(GET) == (
        b"GET /api/v1/agents/a HTTP/1.1\r\nhost: api.example:8443\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-key: " + KEY.encode() + b"\r\nsec-websocket-version: 13\r\n\r\n"
    )


def test_one_request_at_a_time() -> None:
    client = waiting()
    with pytest.raises(LocalProtocolError, match="another is under way"):
        client.request(GET)
    assert response(client.receive(OK)).status == 200


def test_a_header_that_cannot_be_written_is_named_without_its_value() -> None:
    client = wire()
    for value in ("Bearer secret\r\nx: y", "Bearer secret\u0142", " Bearer secret"):
        with pytest.raises(LocalProtocolError, match="'authorization'") as caught:
            client.request(HttpRequest(method="GET", target="/", headers=(("authorization", value),)))
        assert "secret" not in str(caught.value)
    for target in ("/a b", "/\u0142"):
        with pytest.raises(LocalProtocolError, match="target"):
            client.request(HttpRequest(method="GET", target=target))
    for name in ("content-length", "Transfer-Encoding", "host"):
        with pytest.raises(LocalProtocolError, match="(?i)" + name):
            client.request(HttpRequest(method="GET", target="/", headers=((name, "2"),), body=b"{}"))
    assert client.request(GET)  # nothing has changed


def test_an_upgrade_that_is_misuse_draws_no_key() -> None:
    rng = Random(1)
    client = ClientWire(authority="h", rng=rng, max_message_size=1000)
    with pytest.raises(LocalProtocolError, match="target"):
        client.upgrade(HttpRequest(method="GET", target="/a b"))
    client.request(GET)
    with pytest.raises(LocalProtocolError, match="another is under way"):
        client.upgrade(GET)
    assert rng.getstate() == Random(1).getstate()


# --- responses --------------------------------------------------------------------------------------------------------


def test_a_response_is_whole_with_its_names_in_lower_case() -> None:
    data = b"HTTP/1.1 401 No\r\nDate: now\r\nX-Name: caf\xe9\r\nContent-Length: 3\r\n\r\nwhy"
    assert response(waiting().receive(data)) == HttpResponse(
        status=401, headers=(("date", "now"), ("x-name", "caf\xe9"), ("content-length", "3")), body=b"why"
    )


def test_a_connection_carries_one_exchange_after_another() -> None:
    client = wire()
    for _ in range(3):
        client.request(POST)
        got = response(client.receive(OK))
        assert (got.body, got.reusable) == (b"{}", True)
    assert client.receive_eof() == [Ended()]


def test_a_chunked_body_is_joined_and_the_connection_goes_on() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
    got = response(waiting().receive(data))
    assert (got.body, got.reusable) == (b"abcde", True)


@pytest.mark.parametrize("head", [b"HTTP/1.1 204 No\r\n\r\n", b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n"])
def test_a_response_without_a_body_is_complete_at_its_head(head: bytes) -> None:
    got = response(waiting().receive(head))
    assert (got.body, got.reusable) == (b"", True)


def test_a_response_to_head_has_no_body() -> None:
    client = waiting(HttpRequest(method="HEAD", target="/"))
    got = response(client.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"))
    assert (got.body, got.reusable) == (b"", True)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", id="close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", id="HTTP/1.0"),
        pytest.param(OK + b"H", id="bytes behind"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nH", id="behind chunks"),
    ],
)
def test_a_connection_that_cannot_go_on_says_so_and_ignores_the_rest(data: bytes) -> None:
    client = waiting()
    got = response(client.receive(data))
    assert (got.body, got.reusable) == (b"{}", False)
    assert client.receive(OK) == []
    assert client.receive_eof() == []
    with pytest.raises(LocalProtocolError, match="it is over"):
        client.request(GET)


def test_informational_responses_are_skipped_up_to_their_limit() -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    client = waiting()
    assert response(client.receive(hint * MAX_INFORMATIONAL_RESPONSES + OK)).status == 200
    client.request(GET)  # each exchange has its own count
    assert client.receive(hint * MAX_INFORMATIONAL_RESPONSES) == []
    assert failure(client.receive(hint))[0] == 400


# --- the limits -------------------------------------------------------------------------------------------------------


def test_a_body_may_have_the_limit() -> None:
    body = b"x" * MAX_HTTP_BODY_BYTES
    assert response(waiting().receive(b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n" + body)).body == body


def test_a_larger_content_length_fails_at_once() -> None:
    assert failure(waiting().receive(b"HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n"))[0] == 413


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked\r\n", b""])
def test_a_body_without_a_length_fails_when_it_has_grown_too_large(framing: bytes) -> None:
    client = waiting()
    assert client.receive(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n") == []
    piece = b"400\r\n" + b"x" * 1024 + b"\r\n" if framing else b"x" * 1024
    for _ in range(64):
        assert client.receive(piece) == []
    assert failure(client.receive(piece))[0] == 413


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"1;" + b"e" * 1000 + b"\r\nx\r\n", id="extensions"),
        pytest.param(b"1;" + b"e" * 1000, id="one extension"),
        pytest.param(b"0\r\n" + b"t: 1\r\n" * 200, id="trailer"),
    ],
)
def test_endless_chunk_framing_fails(endless: bytes) -> None:
    client = waiting()
    inputs = client.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    received = 0
    while not inputs:
        assert received < 200_000
        inputs = client.receive(endless)
        received += len(endless)
    assert failure(inputs)[0] in {400, 413}


def test_a_head_may_have_the_limit_and_not_one_byte_more_however_it_comes() -> None:
    start, end = b"HTTP/1.1 204 No\r\nx: ", b"\r\n\r\n"
    head = start + b"x" * (MAX_HTTP_HEAD_BYTES - len(start) - len(end)) + end
    assert response(waiting().receive(head)).status == 204
    larger = head[:-4] + b"x" + end
    assert failure(waiting().receive(larger))[0] == 431
    client = waiting()
    assert [client.receive(piece) for piece in (larger[:40_000], larger[40_000:-5])] == [[], []]
    assert failure(client.receive(larger[-5:]))[0] == 431


# --- what fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x16\x03\x01", id="TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n\r\n", id="SSH"),
        pytest.param(b"HTTP/1.1 200 OK\n\n", id="bare LF"),
        pytest.param(b"HTTP/1.1 abc\r\n\r\n", id="status"),
        pytest.param(b"HTTP/1.1 099 Low\r\n\r\n", id="status below 100"),
        pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", id="version"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: \x01\r\nContent-Length: 0\r\n\r\n", id="control character"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 129 + b"\r\n", id="129 fields"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", id="length and chunks"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", id="encoding"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", id="two encodings"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", id="chunk"),
        pytest.param(SWITCH, id="101 to a plain request"),
    ],
)
def test_what_is_no_response_fails(data: bytes) -> None:
    client = waiting()
    failure(client.receive(data))
    assert client.receive(OK) == []
    assert client.receive_eof() == []


def test_failures_do_not_quote_the_peer() -> None:
    _, reason = failure(waiting().receive(b"HTTP/1.1 200 OK\r\nX-Token : secret\r\n\r\n"))
    assert reason == "illegal header line"


def test_bytes_that_answer_nothing_fail() -> None:
    assert failure(wire().receive(OK))[1] == "bytes came that answer no request"
    client = waiting()
    assert response(client.receive(OK)).reusable
    assert failure(client.receive(OK))[1] == "bytes came that answer no request"


# --- the end ----------------------------------------------------------------------------------------------------------


def test_the_end_while_idle_or_before_any_byte_of_an_answer_is_an_end() -> None:
    for client in (wire(), waiting(), upgrading()):
        assert client.receive_eof() == [Ended()]
        assert client.receive_eof() == []


def test_the_end_completes_a_body_without_a_length() -> None:
    client = waiting()
    assert client.receive(b"HTTP/1.1 200 OK\r\n\r\n{}") == []
    assert response(client.receive_eof()) == HttpResponse(status=200, body=b"{}", reusable=False)


@pytest.mark.parametrize(
    "data",
    [
        b"H",
        b"HTTP/1.1 103 Hints\r\n\r\n",
        OK[:-3],
        OK[:-1],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_the_end_within_a_response_fails(data: bytes) -> None:
    client = waiting()
    assert client.receive(data) == []
    failure(client.receive_eof())


# --- the upgrade ------------------------------------------------------------------------------------------------------


UNASKED = "expected a final response, got a 101 to a request that asked for no upgrade"


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (SWITCH, UNASKED),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + SWITCH, UNASKED),
        (SWITCH.replace(b"HTTP/1.1", b"HTTP/1.0"), UNASKED),
        (b"HTTP/1.1 099 Early\r\n\r\n", "expected a status from 100 on, got 99"),
    ],
)
@pytest.mark.parametrize("asked", [GET, POST])
def test_auth_7_a_status_that_answers_no_request_is_told_in_our_words(
    asked: HttpRequest, head: bytes, reason: str
) -> None:
    assert failure(waiting(asked).receive(head))[1] == reason


def test_http_1_0_has_no_101() -> None:
    client = upgrading()
    assert failure(client.receive(SWITCH.replace(b"HTTP/1.1", b"HTTP/1.0")))[1] == "HTTP/1.0 has no 101"
    assert client.websocket is None


def test_a_chunk_that_is_too_large_is_refused_at_its_size() -> None:
    client = waiting()
    assert failure(client.receive(b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n10001\r\n"))[0] == 413


def test_a_good_101_upgrades_and_frames_may_be_right_behind_it() -> None:
    server = FrameWriter(client=False, rng=Random(2))
    client = upgrading()
    assert client.websocket is None
    data = b"HTTP/1.1 103 Hints\r\n\r\n" + SWITCH + server.text(b"hello")
    assert client.receive(data) == [Upgraded(), TextReceived(b"hello")]
    assert client.websocket is not None
    assert client.receive(server.close(1000, "bye")) == [CloseReceived(1000, "bye")]
    with pytest.raises(LocalProtocolError):
        client.request(GET)


def test_the_websocket_has_the_limit_and_the_masks_of_a_client() -> None:
    client = upgrading()
    assert client.receive(SWITCH) == [Upgraded()]
    assert client.websocket is not None
    assert client.websocket.writer.text(b"x")[1] == 0x81
    assert failure(client.receive(b"\x81\x7e\x03\xe9"))[0] == 1009


def test_the_end_of_an_upgraded_connection_is_the_websockets() -> None:
    client = upgrading()
    client.receive(SWITCH)
    assert client.receive_eof() == [Ended()]


@pytest.mark.parametrize(
    "data",
    [
        SWITCH.replace(b"websocket", b"h2c"),
        SWITCH.replace(accept_key(KEY).encode(), accept_key("other").encode()),
        SWITCH[:-2] + b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
    ],
)
def test_a_bad_101_fails(data: bytes) -> None:
    client = upgrading()
    assert failure(client.receive(data))[1].startswith("the 101 response needs")
    assert client.websocket is None


def test_an_upgrade_may_be_refused_and_tried_again_on_the_same_connection() -> None:
    client = upgrading()
    got = response(client.receive(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 7\r\n\r\n"))
    assert (got.status, got.reusable, got.retry_after_s) == (503, True, 7.0)
    client.request(POST)
    assert response(client.receive(OK)).reusable


# --- however it comes -------------------------------------------------------------------------------------------------


def head_of(start: bytes, fields: list[bytes]) -> bytes:
    return start + b"".join(fields) + b"\r\n"


heads = st.builds(
    head_of,
    st.sampled_from(
        [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 204 No\r\n", b"HTTP/1.1 103 Hints\r\n"]
    ),
    st.lists(
        st.sampled_from(
            [
                b"Content-Length: 5\r\n",
                b"Content-Length: 99999\r\n",
                b"Transfer-Encoding: chunked\r\n",
                b"Connection: close\r\n",
                b" folded\r\n",
                b"bare: x\n",
            ]
        ),
        max_size=3,
    ),
)
bodies = st.sampled_from([b"hello", b"5\r\nhello\r\n", b"0\r\n", b"\r\n", b"\x81\x05hello", b"\x89\x00"])
streams = st.lists(heads | bodies | st.just(SWITCH) | st.binary(max_size=5), max_size=8).map(b"".join)


@given(st.booleans(), streams, st.lists(st.integers(0, 1000), max_size=10), st.booleans())
def test_any_cutting_of_an_answer_gives_the_same_inputs(
    upgrade: bool, data: bytes, cuts: list[int], ends: bool
) -> None:
    def run(chunks: list[bytes]) -> list[object]:
        return answered(upgrading() if upgrade else waiting(), chunks, ends=ends)

    whole = run([data])
    assert run(pieces(data, cuts)) == whole
    assert run([bytes((octet,)) for octet in data]) == whole


@given(st.sampled_from([wire, waiting, upgrading]), st.lists(streams | st.binary(), max_size=5))
def test_no_bytes_raise(client_of: Callable[[], ClientWire], chunks: list[bytes]) -> None:
    client = client_of()
    inputs = [entry for chunk in chunks for entry in client.receive(chunk)] + client.receive_eof()
    assert all(not isinstance(entry, Failed) for entry in inputs[:-1])
    assert client.receive(OK) == []
    assert client.receive_eof() == []
