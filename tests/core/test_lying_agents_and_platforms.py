"""MSG-5, MSG-6, AUTH-7, PLAT-7: whatever JSON a liar sends, a façade answers as documented and does not raise."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from itertools import count
from random import Random
from typing import Any, Final

import msgspec
import pytest

from artcafe_proto import (
    AgentConfig,
    AgentProtocol,
    HttpRequest,
    HttpResponse,
    Instant,
    LocalProtocolError,
    PlatformProtocol,
    messages,
)
from artcafe_proto.agent import LinkState, authentication
from artcafe_proto.effects import Connect, Sign, Write
from artcafe_proto.events import (
    CallAnswered,
    CallFailed,
    CommandReceived,
    MessageReceived,
    Offline,
    Online,
    PeerViolation,
    RepeatReceived,
    TokenReceived,
    UnknownReceived,
)
from artcafe_proto.exchanges import JSON_HEADERS
from artcafe_proto.platform import api, authenticator
from artcafe_proto.testing.wiretap import CLOSE, TEXT, Frame, Wiretap
from artcafe_proto.wires.frames import FrameWriter
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.http_server import ServerWire
from artcafe_proto.wires.inputs import RequestReceived, ResponseReceived
from support.drained import take_all
from support.liars import NOT_UTF_8, VALUES, lies_about, sound_fields, structs_in, whole_lies, written
from support.platform_stage import TENANT_TOKEN
from support.virtual import AGENT, TENANT, Pair, signing_key

CLAUSES: Final = {"MSG-1", "MSG-3", "MSG-5", "MSG-6", "CMD-2", "CMD-4", "HB-2"}
"""What a text message may be told to have broken."""
CHALLENGE: Final = "challenge-of-sixteen-and-more-characters"
EXAMPLES: Final = {
    "agent_id": msgspec.json.encode(AGENT),
    "status": b'"online"',
    "cpu_usage": b"1.5",
    "memory_usage": b"20.5",
    "command": b'"echo"',
    "args": b'{"text":"a"}',
    "timeout": b"10",
    "current_task": b'"cmd-1"',
    "progress": b"50",
    "message": b'"half of it"',
    "command_id": b'"cmd-1"',
    "result": b'{"a":1}',
    "reason": b'"no"',
    "code": b'""',
    "tenant_id": msgspec.json.encode(TENANT),
    "challenge": msgspec.json.encode(CHALLENGE),
    "response": b'"AAAA"',
    "key_id": b"null",
    "valid": b"true",
    "token": b'"a-token"',
    "name": b'"a name"',
    "capabilities": b'["resize"]',
    "metadata": b'{"a":1}',
    "public_key": msgspec.json.encode(signing_key(8).public.openssh),
    "key_type": b'"agent"',
    "expires_in": b"60",
    "data": b'{"a":1}',
}
DATA: Final = {
    "heartbeat": messages.HeartbeatData,
    "command": messages.CommandData,
    "status": messages.StatusData,
    "response": messages.ResponseData,
}
"""What is read of each type's data; that of `message`, and of types that nobody knows, is any object."""
TYPES: Final = (*DATA, "message", "nonsense")


def test_every_type_of_message_is_lied_about() -> None:
    only_written = {"SuccessData", "ErrorData"}
    assert structs_in(messages, "Data").keys() - only_written == {each.__name__ for each in DATA.values()}


def lying_texts(message_type: str, values: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Text messages of a type with a lie somewhere. Ids differ, unless they are the lie."""
    numbers = count(1)

    sound = sound_fields(DATA[message_type], EXAMPLES) if message_type in DATA else {"a": b"1"}

    def envelope() -> dict[str, bytes]:
        kind, message_id = msgspec.json.encode(message_type), b'"x-%d"' % next(numbers)
        return {"type": kind, "id": message_id, "data": written(sound), "timestamp": b"null"}

    yield from lies_about(envelope(), values)
    for what, data in lies_about(sound, values):
        yield f"data: {what}", written(envelope() | {"data": data})
    for what, value in values.items():
        inner = written({"a": b'[{"b":' + value + b"}]"})
        yield f"within args: {what}", written(envelope() | {"data": written({"command": b'"echo"', "args": inner})})
        yield f"within data: {what}", written(envelope() | {"data": inner})


class Lied:
    """A pair with a link that stays, whatever is injected into it."""

    def __init__(self) -> None:
        patience = {"max_bad_messages": 1_000_000}
        self.pair = Pair(agent=patience, platform=patience)
        self.pair.on_command = self.run
        self.pair.start()
        self.pair.run_until(lambda: bool(self.pair.seen(Online)))
        self.pair.run_for(1.0)
        self.args: list[dict[str, Any]] = []
        self.unwritable: tuple[str, ...] = ()

    def run(self, event: CommandReceived) -> None:
        self.args.append(event.args)
        try:
            self.pair.respond(event, event.args)
        except LocalProtocolError:  # a number beyond all that Python reads is infinite, which JSON is not
            self.unwritable = ("handler_error",)
            self.pair.agent.fail(event.command_id, "handler_error", "ValueError", self.pair.now)

    def to_agent(self, payload: bytes) -> tuple[list[Any], list[Frame]]:
        """What the agent makes of a text: its events, and the frames that it sends."""
        pair = self.pair
        events, writes = len(pair.agent_events), len(pair.writes)
        pair.inject_to_agent(FrameWriter(client=False, rng=Random(1)).text(payload))
        pair.run_for(0.0)
        tap = Wiretap()
        tap.is_upgraded = True
        frames = [frame for _, data in pair.writes[writes:] for frame in tap.read(data)]
        return [event for _, event in pair.agent_events[events:]], [each for each in frames if isinstance(each, Frame)]

    def to_platform(self, payload: bytes) -> list[Any]:
        """The events that the hub makes of a text."""
        events = len(self.pair.hub_events)
        self.pair.inject_to_platform(FrameWriter(client=True, rng=Random(1)).text(payload))
        self.pair.run_for(0.0)
        return [event for _, event in self.pair.hub_events[events:]]

    @property
    def is_up(self) -> bool:
        """Whether both ends take the link as up."""
        return self.pair.agent.state.link is LinkState.UP and self.pair.hub.conn_of(AGENT) is not None


@pytest.mark.parametrize("message_type", TYPES)
def test_msg_5_no_text_message_makes_an_agent_raise_or_costs_its_link(message_type: str) -> None:
    lied = Lied()
    for what, payload in lying_texts(message_type, VALUES):
        events, frames = lied.to_agent(payload)
        assert lied.is_up, what
        replies = [json.loads(frame.payload) for frame in frames if frame.opcode == TEXT]
        assert events or replies, f"{what}: it is told, or answered"
        for event in events:
            match event:
                case PeerViolation():
                    assert event.clause in CLAUSES, what
                    assert event.reason.startswith(("expected", "a command id was used again")), what
                case MessageReceived() | UnknownReceived():
                    assert isinstance(msgspec.json.decode(event.raw_data, type=dict[str, msgspec.Raw]), dict), what
                    if isinstance(event, MessageReceived):
                        assert isinstance(event.data, dict), what
                case CommandReceived():
                    assert isinstance(lied.args[-1], dict), what
                case RepeatReceived():
                    pass
                case _:
                    assert type(event).__name__ == "ResponsesSettled", what
        for reply in replies:
            assert reply["type"] in ("response", "heartbeat"), what
            if reply["type"] == "response":
                assert reply["data"].get("code", "") in ("", "invalid_arguments", *lied.unwritable), what


@pytest.mark.parametrize("what", VALUES)
def test_msg_5_a_command_with_a_usable_id_and_bad_data_is_answered(what: str) -> None:
    lied = Lied()
    fields = sound_fields(messages.CommandData, EXAMPLES)
    for number, name in enumerate(fields):
        data = written(fields | {name: VALUES[what]})
        payload = b'{"type":"command","id":"y-%d","data":%b}' % (number, data)
        received = len(lied.args)
        _, frames = lied.to_agent(payload)
        replies = [json.loads(frame.payload)["data"] for frame in frames if frame.opcode == TEXT]
        assert [reply["command_id"] for reply in replies] == [f"y-{number}"], name
        assert (replies[0].get("code") == "invalid_arguments") is (len(lied.args) == received), name


@pytest.mark.parametrize("message_type", TYPES)
def test_msg_5_no_text_message_makes_a_platform_raise_or_costs_its_link(message_type: str) -> None:
    lied = Lied()
    for what, payload in lying_texts(message_type, VALUES):
        events = lied.to_platform(payload)
        assert lied.is_up, what
        assert events, f"{what}: it is told"
        for event in events:
            if isinstance(event, PeerViolation):
                assert event.clause in CLAUSES, what
                assert event.reason.startswith("expected"), what
            if isinstance(event, MessageReceived):
                assert isinstance(event.data, dict), what
    public = json.dumps(lied.pair.hub.agent(TENANT, AGENT).public(), allow_nan=False)
    assert AGENT in public, "and what it shows of the agent is still JSON"


@pytest.mark.parametrize("field", ["id", "status", "result", "reason", "code"])
def test_msg_5_a_response_with_a_usable_command_id_ends_its_command_whatever_else_is_in_it(field: str) -> None:
    lied = Lied()
    lied.pair.on_command = lambda event: None
    hub = lied.pair.hub
    for what, value in VALUES.items():
        data = sound_fields(messages.ResponseData, EXAMPLES) | ({field: value} if field != "id" else {})
        command_id = hub.send_command(TENANT, AGENT, "echo", now=lied.pair.now).command_id
        data["command_id"] = msgspec.json.encode(command_id)
        message_id = value if field == "id" else b'"x"'
        events = lied.to_platform(b'{"type":"response","data":%b,"id":%b}' % (written(data), message_id))
        is_refused = any(isinstance(event, PeerViolation) for event in events)
        response = hub.command(TENANT, command_id).public()["response"]
        assert response is not None, what
        assert (response.get("code") == "undeliverable") is is_refused, what
        json.dumps({name: member for name, member in response.items() if name != "result"}).encode()
        msgspec.json.decode(response.get("result", b"null"))


@pytest.mark.parametrize("to_agent", [True, False])
def test_msg_5_what_comes_in_the_place_of_a_message_costs_nothing(to_agent: bool) -> None:
    lied = Lied()
    sound = {"type": b'"message"', "id": b'"x-1"', "data": b'{"a":1}'}
    for what, payload in whole_lies(sound).items():
        if b"\xff\xfe" in payload:
            continue  # which is not UTF-8
        events = lied.to_agent(payload)[0] if to_agent else lied.to_platform(payload)
        assert lied.is_up, what
        (event,) = events
        assert isinstance(event, MessageReceived if what == "blanks around it" else PeerViolation), what


@pytest.mark.parametrize("where", ["type", "id", "data", "timestamp", "nobody_knows", "args", "within args"])
@pytest.mark.parametrize("what", NOT_UTF_8)
def test_msg_6_what_is_not_utf_8_closes_1007_also_where_nobody_decodes_it(what: str, where: str) -> None:
    value = NOT_UTF_8[what]
    sound = {"type": b'"command"', "id": b'"x-1"', "data": b'{"command":"echo","args":{}}', "timestamp": b"null"}
    within = {"args": b'{"command":"echo","args":%b}', "within args": b'{"command":"echo","args":{"a":[%b]}}'}
    lie = {"data": within[where] % value} if where in within else {where: value}
    for to_agent in (True, False):
        lied = Lied()
        if to_agent:
            _, frames = lied.to_agent(written(sound | lie))
            closes = [frame.payload[:2] for frame in frames if frame.opcode == CLOSE]
            assert closes == [(1007).to_bytes(2, "big")]
        else:
            lied.to_platform(written(sound | lie))
        assert not lied.is_up
        assert lied.args == []
        lied.pair.run_for(10.0)
        assert lied.is_up, "and it comes back"


# --- bodies that a platform answers an agent with (AUTH-7, STAT-2) ----------------------------------------------------


class Talk:
    """An agent, and a platform that answers its requests with given bodies."""

    def __init__(self, **bodies: bytes) -> None:
        self.events: list[Any] = []
        self._bodies = {
            "challenge": b'{"challenge":"%b"}' % CHALLENGE.encode(),
            "verify": b'{"valid":true,"token":"t"}',
            "agents": b"{}",
        } | bodies
        self._now = Instant(100.0, 1e9)
        self._wires: dict[int, ServerWire] = {}
        config = AgentConfig(agent_id=AGENT, tenant_id=TENANT, api_endpoint="http://localhost")
        self.agent = AgentProtocol(config, rng=Random(1))
        self.agent.start(self._now)
        self.drain()

    def drain(self) -> None:
        """Carry out what the agent asks for, until it waits for something else than an answer."""
        while (output := self.agent.next_output()) is not None:
            match output:
                case Connect():
                    self._wires[output.conn] = ServerWire(rng=Random(2), max_message_size=1 << 20)
                    self.agent.connected(output.conn, self._now, tls=output.tls)
                case Write():
                    self._answer(output.conn, output.data)
                case Sign():
                    self.agent.signed(output.request, b"signature", self._now)
                case _:
                    self.events.append(output)

    def _answer(self, conn: int, data: bytes) -> None:
        wire = self._wires[conn]
        for received in wire.receive(data):
            if not isinstance(received, RequestReceived):
                continue
            if received.upgrade:
                answer = wire.accept_upgrade()
            else:
                (name,) = [each for each in self._bodies if f"/{each}" in received.request.target]
                answer = wire.respond(HttpResponse(status=200, headers=JSON_HEADERS, body=self._bodies[name]))
            self.agent.data_received(conn, answer, self._now)

    def seen(self, *kinds: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


ANSWERS: Final = {"_ChallengeAnswer": "challenge", "_VerifyAnswer": "verify"}


def lying_bodies(sound: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    values = VALUES | NOT_UTF_8
    yield from lies_about(sound, values)
    yield from whole_lies(sound).items()
    yield from values.items()


@pytest.mark.parametrize("name", structs_in(authentication, "Answer"))
def test_auth_7_no_answer_makes_an_agent_raise_and_it_tries_again(name: str) -> None:
    sound = sound_fields(structs_in(authentication, "Answer")[name], EXAMPLES)
    for what, body in lying_bodies(sound):
        talk = Talk(**{ANSWERS[name]: body})
        if offlines := talk.seen(Offline):
            assert {event.clause for event in offlines} <= {"AUTH-2", "AUTH-7", "TOK-1"}, what
            assert all(event.retry_at is not None for event in offlines), what
            assert talk.agent.deadline() is not None, what
        else:
            assert talk.seen(TokenReceived), what
            assert talk.seen(Online), what


def test_msg_6_an_answer_that_nests_too_deeply_is_not_understood() -> None:
    deep = b'{"challenge":"%b","valid":true,"token":"t","deep":%b}'
    for levels, is_fine in ((63, True), (64, False), (30_000, False)):
        body = deep % (CHALLENGE.encode(), b"[" * levels + b"]" * levels)
        for name in ANSWERS.values():
            talk = Talk(**{name: body})
            assert bool(talk.seen(Online)) is is_fine
            assert [event.clause for event in talk.seen(Offline)] == ([] if is_fine else ["AUTH-7"])


def test_tok_1_a_token_of_any_times_is_taken() -> None:
    for what, value in (VALUES | NOT_UTF_8).items():
        payload = urlsafe_b64encode(b'{"exp":%b,"iat":%b}' % (value, value)).decode().rstrip("=")
        token = f"e30.{payload}.AA"
        talk = Talk(verify=msgspec.json.encode({"valid": True, "token": token}))
        assert len(token) > 16_384 or talk.seen(Online), what


def test_stat_2_no_answer_to_a_call_makes_an_agent_raise_or_costs_its_link() -> None:
    for what, body in lying_bodies({"agent_id": b'"a"', "status": b'"online"'}):
        talk = Talk(agents=body)
        talk.agent.get_details(Instant(100.0, 1e9))
        talk.drain()
        (outcome,) = talk.seen(CallAnswered, CallFailed)
        if isinstance(outcome, CallFailed):
            assert outcome.clause == "STAT-2", what
        assert talk.agent.state.link is LinkState.UP, what


# --- bodies that a platform is sent (PLAT-7) --------------------------------------------------------------------------

BODIES: Final = {
    "_ChallengeBody": ("POST", "/api/v1/auth/challenge"),
    "_VerifyBody": ("POST", "/api/v1/auth/verify"),
    "_AgentBody": ("POST", "/api/v1/agents"),
    "_StatusBody": ("PUT", f"/api/v1/agents/{AGENT}/status"),
    "_KeyBody": ("POST", "/api/v1/ssh-keys"),
    "_CommandBody": ("POST", f"/api/v1/agents/{AGENT}/commands"),
    "_MessageBody": ("POST", f"/api/v1/agents/{AGENT}/messages"),
}
READ: Final = structs_in(authenticator, "Body") | structs_in(api, "Body")
SAID: Final = {200, 201, 202, 400, 401, 404, 409, 413, 422, 429}


class Caller:
    """A connection to a platform with an agent that is online, and requests on it."""

    def __init__(self) -> None:
        self._pair = Pair()
        self._pair.start()
        self._pair.run_until(lambda: bool(self._pair.seen(Online)))
        self._pair.run_for(1.0)
        self._pair.hub.registry.add_tenant(TENANT, TENANT_TOKEN)
        self._protocol = PlatformProtocol(self._pair.hub, conn=99, now=self._pair.now)
        self._wire = ClientWire(authority="localhost", rng=Random(1), max_message_size=1 << 20)
        token = self._pair.agent._machine._connector._login.token  # pyright: ignore[reportPrivateUsage]
        assert token is not None
        self._agent_token = token.value

    def ask(self, name: str, body: bytes) -> HttpResponse:
        """One request; by the agent where it is the agent's."""
        method, target = BODIES[name]
        token = self._agent_token if name == "_StatusBody" else TENANT_TOKEN
        headers = (*JSON_HEADERS, ("authorization", f"Bearer {token}"))
        request = self._wire.request(HttpRequest(method=method, target=target, headers=headers, body=body))
        self._protocol.data_received(request, self._pair.now)
        received: list[Any] = []
        for output in take_all(self._protocol):
            assert isinstance(output, Write)
            received += self._wire.receive(output.data)
        (answered,) = received
        assert isinstance(answered, ResponseReceived)
        return answered.response


def test_every_body_is_lied_about() -> None:
    assert READ.keys() == BODIES.keys()


@pytest.mark.parametrize("name", BODIES)
def test_plat_7_no_body_makes_a_platform_raise_and_its_connection_goes_on(name: str) -> None:
    caller, statuses = Caller(), set[int]()
    for what, body in lying_bodies(sound_fields(READ[name], EXAMPLES)):
        response = caller.ask(name, body)
        statuses.add(response.status)
        assert response.status in SAID, (what, response.status, response.body)
        assert response.reusable, what
        said = json.loads(response.body)
        if response.status >= 400:
            assert {"code", "message"} == said["error"].keys(), what
    assert {400, 422} <= statuses, "what is no JSON is told from what is another body"


def test_plat_7_what_a_liar_has_registered_can_still_be_shown() -> None:
    caller = Caller()
    for value in (b"9" * 400, b'"\\u0000"', b"-0", b"1e308"):
        assert caller.ask("_AgentBody", b'{"metadata":{"a":%b},"agent_id":null}' % value).status == 201
    assert caller.ask("_AgentBody", b'{"metadata":{"a":1e309}}').status == 422
