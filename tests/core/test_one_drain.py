"""The one drain and the one deadline of a platform: what the hub yields of its connections, and when."""

from __future__ import annotations

import json

import pytest

from artcafe_proto import HttpRequest, LocalProtocolError, PlatformProtocol, PlatformSession
from artcafe_proto.effects import AcceptUpgrade, Disconnect, SendClose, SendResponse, SendText, Write
from artcafe_proto.events import (
    AgentOffline,
    AgentOnline,
    ChallengeIssued,
    CommandAnswered,
    CommandSent,
    RequestArrived,
)
from artcafe_proto.platform import NOT_FOUND
from artcafe_proto.policies.timetable import GRID_S
from support.drained import due_at
from support.platform_stage import AGENT, TENANT_TOKEN, Stage, answer
from support.snapshots import snapshot

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"


def outputs(stage: Stage) -> list[object]:
    return list(iter(stage.hub.next_output, None))


def test_everything_about_a_connection_has_its_number_whatever_its_kind() -> None:
    stage = Stage()
    protocol = PlatformProtocol(stage.hub, conn=500, now=stage.now)
    session = PlatformSession(stage.hub, 501)
    protocol.data_received(GET, stage.now)
    session.request_received(7, HttpRequest(method="GET", target="/y"), stage.now, upgrade=False)
    arrived = {each.conn: each.exchange for each in outputs(stage) if isinstance(each, RequestArrived)}
    assert arrived == {500: 1, 501: 7}
    for each in (protocol, session):
        each.drop("the platform stops", stage.now)
    assert {each.conn for each in outputs(stage) if isinstance(each, Disconnect)} == {500, 501}


def test_what_an_input_leads_to_on_other_connections_leaves_in_the_same_drain() -> None:
    stage = Stage()
    older = stage.online()
    outputs(stage)
    body = json.dumps({"command": "work"}).encode()
    head = f"POST /api/v1/agents/{AGENT}/commands HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TENANT_TOKEN}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    tenant = PlatformProtocol(stage.hub, conn=500, now=stage.now)
    tenant.data_received(head.encode() + body, stage.now)
    said = outputs(stage)
    assert [each.conn for each in said if isinstance(each, SendText)] == [older.conn]
    assert [each.conn for each in said if isinstance(each, Write)] == [500]
    newer = stage.open()
    said = outputs(stage)
    assert AcceptUpgrade(newer.conn, 1) in said
    assert [(each.conn, each.code) for each in said if isinstance(each, SendClose)] == [(older.conn, 4409)]
    assert [type(each) for each in said if isinstance(each, AgentOnline | AgentOffline)] == [AgentOffline]


def test_a_callback_calls_the_hub_within_a_drain_which_goes_on_with_what_that_leads_to() -> None:
    stage = Stage()
    session = stage.online()
    first = stage.command()
    outputs(stage)
    answer(stage, session, first)
    said: list[object] = []
    while (output := stage.hub.next_output()) is not None:
        said.append(output)
        if isinstance(output, CommandAnswered):
            stage.command(command_id="next")
    told = [type(each) for each in said if isinstance(each, CommandAnswered | CommandSent | SendText)]
    assert told == [CommandAnswered, CommandSent, SendText]


def test_only_connections_to_which_something_has_happened_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    protocols = [PlatformProtocol(stage.hub, conn=500 + number, now=stage.now) for number in range(100)]
    outputs(stage)
    looked_at: list[int] = []
    take_output = PlatformProtocol.take_output

    def look(protocol: PlatformProtocol) -> object:
        looked_at.append(protocol.conn)
        return take_output(protocol)

    monkeypatch.setattr(PlatformProtocol, "take_output", look)
    protocols[7].data_received(b"GET", stage.now)
    assert outputs(stage) == []
    assert outputs(stage) == []
    stage.hub.handle_timer(stage.now)
    assert outputs(stage) == []
    assert looked_at == [507]


# --- what is kept of a connection -------------------------------------------------------------------------------------


def test_a_number_is_given_once_while_its_connection_is_open() -> None:
    stage = Stage()
    protocol = PlatformProtocol(stage.hub, conn=500, now=stage.now)
    outputs(stage)
    before = snapshot(stage.hub)
    for again in (
        lambda: PlatformProtocol(stage.hub, conn=500, now=stage.now),
        lambda: PlatformSession(stage.hub, 500),
    ):
        with pytest.raises(LocalProtocolError, match="no open connection has, not 500"):
            again()
        assert snapshot(stage.hub) == before
    protocol.disconnected("reset", stage.now)
    assert outputs(stage) == []
    PlatformProtocol(stage.hub, conn=500, now=stage.now)


@pytest.mark.parametrize("end", ["disconnected", "drop"])
def test_nothing_is_kept_of_a_connection_that_is_over_and_a_late_input_says_nothing(end: str) -> None:
    stage = Stage()
    stage.hub.handle_timer(stage.now)
    before = snapshot(stage.hub)
    protocol = PlatformProtocol(stage.hub, conn=500, now=stage.now)
    protocol.data_received(GET, stage.now)
    outputs(stage)
    if end == "drop":
        protocol.drop("the platform stops", stage.now)
        assert outputs(stage) == [Disconnect(500, abort=False)]
    else:
        protocol.disconnected("reset", stage.now)
        assert outputs(stage) == []
    protocol.data_received(
        GET + b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", stage.now
    )
    protocol.unsent(1 << 20, stage.now)
    assert outputs(stage) == []
    assert stage.hub.deadline() is None
    assert snapshot(stage.hub) == before


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_deadline_is_the_earliest_of_all_and_a_short_wait_is_exact() -> None:
    stage = Stage()
    for number in range(20):
        PlatformProtocol(stage.hub, conn=500 + number, now=stage.now)
        stage.pass_to(stage.mono + 0.01)
    first_due = 50.0 + stage.hub.config.idle_timeout
    assert stage.hub.deadline() == first_due
    poll = stage.session()
    stage.command(command_id="c-1")
    fields = (("authorization", f"Bearer {TENANT_TOKEN}"),)
    request = HttpRequest(method="GET", target="/api/v1/commands/c-1?wait=2.03", headers=fields)
    poll.request_received(1, request, stage.now, upgrade=False)
    assert outputs(stage) == []
    assert stage.hub.deadline() == stage.mono + 2.03


def test_long_waits_share_moments_and_none_is_much_too_long() -> None:
    stage = Stage()
    protocols: list[PlatformProtocol] = []
    for number in range(100):
        stage.pass_to(50.0 + number / 100)
        protocols.append(PlatformProtocol(stage.hub, conn=500 + number, now=stage.now))
    outputs(stage)
    waits = {each.conn: due_at(each) for each in protocols}
    moments: set[float] = set()
    while (deadline := stage.hub.deadline()) is not None:
        moments.add(deadline)
        stage.pass_to(deadline)
        stage.hub.handle_timer(stage.now)
        for output in outputs(stage):
            assert isinstance(output, Disconnect)
            due = waits.pop(output.conn)
            assert due is not None
            assert due <= stage.mono < due + GRID_S
    assert not waits
    assert len(moments) <= 1 / GRID_S + 1


def test_a_deadline_that_moves_away_takes_the_hubs_with_it() -> None:
    stage = Stage()
    session = stage.online()
    outputs(stage)
    assert stage.hub.deadline() == stage.mono + 20
    session.unsent(1 << 20, stage.now)
    session.unsent(0, stage.now)
    stage.pass_to(stage.mono + 10)
    session.bytes_received(stage.now)
    session.unsent(0, stage.now)
    assert outputs(stage) == []
    assert stage.hub.deadline() == stage.mono + 20
    session.disconnected("reset", stage.now)
    outputs(stage)
    assert stage.hub.deadline() is None


def test_a_timer_is_handled_whether_or_not_the_input_that_set_it_was_drained() -> None:
    stage = Stage()
    protocol = PlatformProtocol(stage.hub, conn=500, now=stage.now)
    protocol.data_received(b"GET / HT", stage.now)
    stage.pass_to(stage.mono + stage.hub.config.head_timeout)
    stage.hub.handle_timer(stage.now)
    assert stage.hub.deadline() is None
    write, disconnect = outputs(stage)
    assert isinstance(write, Write)
    assert write.data.startswith(b"HTTP/1.1 408 ")
    assert disconnect == Disconnect(500, abort=False)


def test_a_hub_that_was_told_no_moment_yet_waits_for_nothing_and_says_nothing() -> None:
    stage = Stage()
    stage.session()
    assert outputs(stage) == []
    assert stage.hub.deadline() is None
    stage.hub.handle_timer(stage.now)
    assert outputs(stage) == []


def test_an_answer_at_once_and_one_that_comes_later_are_of_their_connections() -> None:
    stage = Stage()
    sessions = [stage.session() for _ in range(2)]
    for session in sessions:
        session.request_received(1, HttpRequest(method="GET", target="/x"), stage.now, upgrade=False)
    arrived = outputs(stage)
    assert {each.conn for each in arrived if isinstance(each, RequestArrived)} == {each.conn for each in sessions}
    sessions[1].respond(1, NOT_FOUND, stage.now)
    (response,) = outputs(stage)
    assert isinstance(response, SendResponse)
    assert response.conn == sessions[1].conn


def test_what_a_request_of_a_connection_that_is_gone_leads_to_is_told_all_the_same() -> None:
    """It was accepted: whoever asked may have sent it and closed."""
    stage = Stage()
    outputs(stage)
    body = json.dumps({"agent_id": AGENT}).encode()
    gone = PlatformProtocol(stage.hub, conn=500, now=stage.now)
    head = "POST /api/v1/auth/challenge HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    gone.data_received(head.encode() + body, stage.now)
    gone.disconnected("it has left", stage.now)
    assert [type(each) for each in outputs(stage)] == [ChallengeIssued]
