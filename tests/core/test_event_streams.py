"""PLAT-4: the event stream of a tenant, as a format and on the connections of a platform."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, get_args

import msgspec
import pytest

from artcafe_proto import HttpRequest, Instant, PlatformSession, RemoteProtocolError, limits
from artcafe_proto.effects import Disconnect, PauseReading, SendBody, SendResponse
from artcafe_proto.events import (
    AgentAuthenticated,
    AgentOffline,
    AgentOnline,
    AuthenticationRefused,
    ChallengeIssued,
    CommandAccepted,
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    CommandSent,
    HeartbeatReceived,
    HubEvent,
    MessageReceived,
    PeerViolation,
    RequestFailed,
    StatusReceived,
    StoreRecovered,
    StoreStalled,
    UnknownReceived,
)
from artcafe_proto.instants import format_timestamp
from artcafe_proto.messages import HeartbeatData, ResponseData
from artcafe_proto.platform import streams
from artcafe_proto.platform.streams import Stream, Streams, describe
from core.test_platform_protocol import Wire
from support.drained import due_at
from support.platform_api import NOW, OTHER_TENANT, TENANT
from support.platform_stage import AGENT, TENANT_TOKEN, Stage, sent

RUN = f"{Random(1).getrandbits(64):016x}"
AT = "2023-11-14T22:13:20.000Z"
SUCCESS = ResponseData("c1", "success", result=msgspec.Raw(b'{"n":1}'))
FAILURE = ResponseData("c1", "error", reason="no", code="handler_error")

EVENTS: list[tuple[HubEvent, str, dict[str, Any]]] = [
    (
        AgentAuthenticated("a1", "k1", "ssh-ed25519"),
        "agent.authenticated",
        {"key_id": "k1", "algorithm": "ssh-ed25519"},
    ),
    (AgentOnline("a1", 3), "agent.online", {"epoch": 3}),
    (AgentOffline("a1", 3, "reset"), "agent.offline", {"epoch": 3, "reason": "reset"}),
    (
        HeartbeatReceived("a1", HeartbeatData("a1", "busy", 12.5, 256.5)),
        "agent.heartbeat",
        {"status": "busy", "metrics": {"cpu_usage": 12.5, "memory_usage": 256.5}},
    ),
    (
        StatusReceived("a1", "busy", "c1", 50.0, "half"),
        "agent.status",
        {"status": "busy", "current_task": "c1", "progress": 50.0, "message": "half"},
    ),
    (MessageReceived("m1", msgspec.Raw(b'{"x":[1]}'), "a1"), "agent.message", {"message_id": "m1", "data": {"x": [1]}}),
    (
        UnknownReceived("new", "m1", msgspec.Raw(b"{}"), "a1"),
        "agent.unknown",
        {"message_id": "m1", "type": "new", "data": {}},
    ),
    (PeerViolation("bad", "MSG-5", "a1"), "agent.violation", {"reason": "bad", "clause": "MSG-5"}),
    (CommandSent("a1", "c1", "work", 1), "command.sent", {"command_id": "c1", "command": "work", "attempt": 1}),
    (CommandDeferred("a1", "c1", "draining"), "command.deferred", {"command_id": "c1", "code": "draining"}),
    (
        CommandAnswered("a1", "c1", SUCCESS, False),
        "command.answered",
        {"command_id": "c1", "response": {"status": "success", "result": {"n": 1}}, "late": False},
    ),
    (
        CommandAnswered("a1", "c1", FAILURE, True),
        "command.answered",
        {"command_id": "c1", "response": {"status": "error", "code": "handler_error", "reason": "no"}, "late": True},
    ),
    (CommandRepeated("a1", "c1"), "command.repeated", {"command_id": "c1"}),
    (CommandExpired("a1", "c1"), "command.expired", {"command_id": "c1"}),
]
UNTOLD: list[HubEvent] = [
    ChallengeIssued("a1"),
    AuthenticationRefused("a1", "no key of its", "AUTH-8"),
    CommandAccepted("a1", "c1"),
    RequestFailed("GET", ValueError()),
    StoreStalled("slow"),
    StoreRecovered(9.0),
]


def listener(conn: int = 1, tenant_id: str = TENANT, agent_id: str | None = None) -> Stream:
    return Stream(conn, 1, tenant_id, agent_id)


# --- the format -------------------------------------------------------------------------------------------------------


def test_every_event_of_the_hub_is_on_the_stream_or_left_out_on_purpose() -> None:
    seen = {type(event) for event, _, _ in EVENTS} | {type(event) for event in UNTOLD}
    assert seen == set(get_args(HubEvent))


@pytest.mark.parametrize(("event", "name", "fields"), EVENTS, ids=lambda value: value if isinstance(value, str) else "")
def test_an_event_is_named_numbered_and_says_whose_and_when(event: HubEvent, name: str, fields: dict[str, Any]) -> None:
    all_streams = Streams(Random(1))
    all_streams.add(listener(), None, NOW)
    publication = all_streams.publish(TENANT, event, NOW)
    assert publication is not None
    named, numbered, data, *rest = publication.data.decode().split("\n")
    assert (named, numbered, rest) == (f"event: {name}", f"id: {RUN}-1", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == {"agent_id": "a1", **fields, "timestamp": AT}


@pytest.mark.parametrize("event", UNTOLD)
def test_what_anybody_can_cause_is_not_on_the_stream(event: HubEvent) -> None:
    all_streams = Streams(Random(1))
    all_streams.add(listener(), None, NOW)
    assert describe(event) is None
    assert all_streams.publish(TENANT, event, NOW) is None


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\nevent: agent.offline\ndata: "])
def test_line_ends_in_what_an_agent_sent_end_nothing_on_the_stream(end: str) -> None:
    all_streams = Streams(Random(1))
    all_streams.add(listener(), None, NOW)
    raw = f'{{{end[:2]}"x":{end[:2]}{json.dumps(end)}{end[:1]}}}'.encode()
    publication = all_streams.publish(TENANT, MessageReceived("m1", msgspec.Raw(raw), "a1"), NOW)
    assert publication is not None
    assert publication.data.count(b"\n") == 4
    assert b"\r" not in publication.data
    data = json.loads(publication.data.split(b"\n")[2].removeprefix(b"data: "))
    assert data["data"] == {"x": end}


def test_streams_hear_of_their_tenant_and_if_they_want_of_one_agent() -> None:
    all_streams = Streams(Random(1))
    everything, one, other, foreign = (
        listener(1),
        listener(2, agent_id="a1"),
        listener(3, agent_id="a2"),
        listener(4, OTHER_TENANT),
    )
    for stream in (everything, one, other, foreign):
        all_streams.add(stream, None, NOW)
    publication = all_streams.publish(TENANT, CommandExpired("a1", "c1"), NOW)
    assert publication is not None
    assert publication.streams == [everything, one]
    all_streams.forget(1)
    all_streams.forget(1)
    publication = all_streams.publish(TENANT, CommandExpired("a2", "c1"), NOW)
    assert publication is not None
    assert publication.streams == [other]
    assert all_streams.get(2) is one
    assert all_streams.all() == [one, other, foreign]


def test_who_comes_back_is_told_whether_something_was_missed() -> None:
    all_streams = Streams(Random(1))

    def begun(name: str, number: int) -> bytes:
        return f'event: stream.{name}\nid: {RUN}-{number}\ndata: {{"timestamp":"{AT}"}}\n\n'.encode()

    assert all_streams.add(listener(1), None, NOW) == begun("open", 0)
    assert all_streams.add(listener(2), f"{RUN}-0", NOW) == begun("open", 0)
    for conn in (1, 2):
        all_streams.forget(conn)
    assert all_streams.publish(TENANT, UNTOLD[0], NOW) is None
    assert all_streams.add(listener(3), f"{RUN}-0", NOW) == begun("open", 0), "what is not told is not missed"
    all_streams.forget(3)
    assert all_streams.publish(TENANT, CommandExpired("a1", "c1"), NOW) is None
    assert all_streams.add(listener(4), f"{RUN}-1", NOW) == begun("open", 1)
    for missed in (f"{RUN}-0", "other-1", "", "nonsense"):
        assert all_streams.add(listener(5), missed, NOW) == begun("reset", 1)
    assert all_streams.add(listener(6, OTHER_TENANT), None, NOW) == begun("open", 0), "each tenant has its own count"


def test_a_tenant_has_room_for_so_many() -> None:
    all_streams = Streams(Random(1))
    for conn in range(limits.MAX_STREAMS_PER_TENANT):
        assert all_streams.has_room(TENANT)
        all_streams.add(listener(conn), None, NOW)
    assert not all_streams.has_room(TENANT)
    assert all_streams.has_room(OTHER_TENANT)
    all_streams.forget(0)
    assert all_streams.has_room(TENANT)


# --- on connections ---------------------------------------------------------------------------------------------------


class Scene(Stage):
    """A hub whose tenant listens, on a connection of its own for each stream."""

    def listen(self, query: str = "", method: str = "GET", **headers: str) -> PlatformSession:
        """A connection whose request was for events."""
        session = self.session()
        fields = {"authorization": f"Bearer {TENANT_TOKEN}"} | headers
        target = f"/api/v1/events{query}"
        request = HttpRequest(method=method, target=target, headers=tuple(fields.items()))
        session.request_received(1, request, self.now, upgrade=False)
        return session

    def listener(self, query: str = "", **headers: str) -> PlatformSession:
        """A connection on which a stream has begun, and its beginning was read."""
        session = self.listen(query, **headers)
        assert [named(output) for output in sent(session)] == [200, "stream.open"]
        return session

    def happens(self, agent_id: str = AGENT) -> None:
        """An agent of the tenant says that it is busy."""
        self.hub.set_status(TENANT, agent_id, "busy", self.now)


def named(output: Any) -> Any:
    """A status, the name of an event, the bytes of another piece, or a disconnect."""
    match output:
        case SendResponse():
            return output.response.status
        case SendBody():
            name, separator, _ = output.data.partition(b"\nid: ")
            return name.decode().removeprefix("event: ") if separator else (output.data, output.more)
        case _:
            return output


def test_plat_4_a_stream_begins_with_its_place_and_goes_on_with_what_happens() -> None:
    scene = Scene()
    session = scene.listen()
    head, opening = sent(session)
    assert (head.response, head.more) == (streams.HEAD, True)
    assert named(opening) == "stream.open"
    scene.happens()
    (event,) = sent(session)
    assert (named(event), event.more) == ("agent.status", True)
    last_id = event.data.partition(b"id: ")[2].partition(b"\n")[0].decode()
    assert named(sent(scene.listen("", **{"last-event-id": last_id}))[1]) == "stream.open"
    scene.happens()
    assert named(sent(scene.listen("", **{"last-event-id": last_id}))[1]) == "stream.reset"


def test_plat_4_a_stream_of_one_agent_has_its_events_alone() -> None:
    scene = Scene()
    scene.register("agent-2")
    session = scene.listener("?agent_id=agent-2")
    scene.happens()
    assert sent(session) == []
    scene.happens("agent-2")
    assert [named(output) for output in sent(session)] == ["agent.status"]


def test_plat_4_a_head_request_for_events_is_answered_whole() -> None:
    scene = Scene()
    session = scene.listen(method="HEAD")
    head, end = sent(session)
    assert head.response == streams.HEAD
    assert (end.data, end.more) == (b"", False)
    scene.happens()
    assert sent(session) == []
    assert due_at(session) is None


def test_plat_4_silence_is_broken_by_a_comment_and_only_silence() -> None:
    scene = Scene()
    session = scene.listener()
    scene.wait(limits.KEEP_ALIVE_S - 1)
    scene.happens()
    assert [named(output) for output in sent(session)] == ["agent.status"]
    scene.wait(limits.KEEP_ALIVE_S - 0.5)
    assert sent(session) == []
    scene.wait(1)
    assert [named(output) for output in sent(session)] == [(streams.KEEP_ALIVE, True)]
    scene.wait(4 * limits.KEEP_ALIVE_S)
    assert len(sent(session)) == 4


@pytest.mark.parametrize("silence", [False, True])
@pytest.mark.parametrize("over", [0, 1])
def test_plat_4_a_listener_that_does_not_keep_up_loses_its_stream_above_a_level(over: int, silence: bool) -> None:
    scene = Scene(write_stall_timeout=600.0)
    session = scene.listener()
    session.unsent(limits.MAX_WAITING_BYTES + over, scene.now)
    assert sent(session) == [PauseReading(session.conn)]
    if silence:
        scene.wait(limits.KEEP_ALIVE_S)
    else:
        scene.happens()
    ended = [(b"", False), Disconnect(session.conn, abort=False)]
    going_on = [(streams.KEEP_ALIVE, True) if silence else "agent.status"]
    assert [named(output) for output in sent(session)] == (ended if over else going_on)
    scene.happens()
    assert [named(output) for output in sent(session)] == ([] if over else ended), "what is written counts with it"


def test_plat_4_a_listener_that_has_read_keeps_its_stream() -> None:
    scene = Scene()
    session = scene.listener()
    for _ in range(3):
        session.unsent(limits.MAX_WAITING_BYTES, scene.now)
        scene.happens()
        session.unsent(0, scene.now)
        scene.happens()
    events = [named(output) for output in sent(session) if isinstance(output, SendBody)]
    assert events == ["agent.status"] * 6
    assert not session.is_closed


def test_plat_4_a_stream_ends_whole_when_its_connection_is_dropped_and_is_forgotten_when_it_is_lost() -> None:
    scene = Scene()
    dropped, lost = scene.listener(), scene.listener()
    dropped.drop("the platform stops", scene.now)
    assert [named(output) for output in sent(dropped)] == [(b"", False), Disconnect(dropped.conn, abort=False)]
    lost.disconnected("reset", scene.now)
    scene.happens()
    assert sent(dropped) == sent(lost) == []


ENDS: dict[str, Callable[[PlatformSession, Instant], None]] = {
    "close_received": lambda session, now: session.close_received(1000, "", now),
    "disconnected": lambda session, now: session.disconnected("reset", now),
    "peer_failed": lambda session, now: session.peer_failed(RemoteProtocolError(1002, "nonsense", "RFC 6455"), now),
    "peer_ended": lambda session, now: session.peer_ended(now),
    "drop": lambda session, now: session.drop("the platform stops", now),
}


@pytest.mark.parametrize("name", ENDS)
def test_plat_4_an_agent_is_offline_at_the_time_that_its_link_ends(name: str) -> None:
    scene = Scene()
    link, session = scene.online(), scene.listener()
    scene.mono += 10.0
    scene.wall += 10.0
    ENDS[name](link, scene.now)
    (event,) = sent(session)
    assert named(event) == "agent.offline"
    assert json.loads(event.data.partition(b"data: ")[2])["timestamp"] == format_timestamp(scene.wall)


def test_plat_4_a_tenant_that_has_as_many_streams_as_it_may_is_refused_until_one_ends() -> None:
    scene = Scene()
    listeners = [scene.listener() for _ in range(limits.MAX_STREAMS_PER_TENANT)]
    (refused,) = sent(scene.listen())
    assert refused.response.status == 429
    assert json.loads(refused.response.body)["error"]["code"] == "too_many_streams"
    listeners[0].disconnected("reset", scene.now)
    scene.listener()


@pytest.mark.parametrize("requests", [1, 2])
def test_plat_4_a_listener_that_ends_its_side_has_heard_all(requests: int) -> None:
    """Also one whose turn comes only then, because it stood behind another."""
    wire = Wire()
    head = f"GET /api/v1/events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TENANT_TOKEN}\r\n\r\n".encode()
    assert wire.send(head * requests).count(b"event: stream.open\n") == 1
    wire.protocol.eof_received(wire.stage.now)
    rest = wire.read()
    assert rest.count(b"event: stream.open\n") == requests - 1
    assert rest.endswith(b"\r\n0\r\n\r\n<closed>") or rest == b"0\r\n\r\n<closed>"
