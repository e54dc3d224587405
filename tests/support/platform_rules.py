"""What a generated life of a platform is made of, whether its connections are driven by messages or by bytes.

Two hubs with the same seed get the same inputs, so that every step also shows that a run repeats exactly. What they say
is held against a small model of what a platform may never do.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from artcafe_proto import (
    ApiError,
    HttpRequest,
    HttpResponse,
    Instant,
    LocalProtocolError,
    PlatformConfig,
    PlatformHub,
    PlatformProtocol,
    PlatformSession,
)
from artcafe_proto import links as links_module
from artcafe_proto.effects import Disconnect, PlatformEffect, PlatformSessionEffect
from artcafe_proto.events import (
    AgentOffline,
    AgentOnline,
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandSent,
    HeartbeatReceived,
    RequestArrived,
)
from artcafe_proto.platform import PlatformOutput
from artcafe_proto.platform import delivery as delivery_module
from artcafe_proto.policies import challenges as challenges_module
from support.drained import due_at
from support.platform_stage import AGENT, JSON, TENANT, TENANT_TOKEN
from support.snapshots import snapshot
from support.virtual import signing_key

C = TypeVar("C", PlatformSession, PlatformProtocol)
T = TypeVar("T")
_OF_CONNECTIONS = PlatformSessionEffect | PlatformEffect | RequestArrived
Output = PlatformOutput
Heard = tuple[int, Output]
"""What was said, and on which connection; 0 is the hub."""

AGENTS = [AGENT, "agent-2"]
PICKS = st.integers(0, 6)
WAITS_S = st.sampled_from([0.0, 0.5, 1.5, 12.0, 35.0, 100.0, 700.0])
COMMAND_IDS = st.sampled_from(["cmd-1", "cmd-2", "cmd-3", "cmd-4"])
ARGS: st.SearchStrategy[Any] = st.sampled_from(
    [None, {}, {"a": 1}, {"a": "x" * 9000}, {"a": object()}, [], json.loads("[" * 70 + "]" * 70)]
)
TIMEOUTS = st.sampled_from([None, 5.0, 0.0, -1.0, float("nan")])
EXPIRIES = st.sampled_from([None, 10.0, 200.0, 0.0, 1e9, float("nan")])
PATHS = st.sampled_from(
    [
        "/api/v1/auth/challenge",
        "/api/v1/auth/verify",
        "/api/v1/ws/agent/agent-1",
        "/api/v1/ws/agent/agent-2?x=1",
        "/api/v1/ws/agent/%ff",
        "/api/v1/agents",
        "/",
    ]
)
BODIES = st.sampled_from(
    [b"", b"{}", b"\xff", b"[" * 100, b'{"agent_id":""}', b'{"agent_id":"agent-1"}', b'{"agent_id":"nobody"}']
)
FIELDS = st.sampled_from(
    [
        (),
        JSON,
        (*JSON, ("authorization", "Bearer x")),
        (("authorization", f"Bearer {TENANT_TOKEN}"),),
        (("origin", "http://page"),),
    ]
)
MESSAGES: st.SearchStrategy[tuple[str, Any]] = st.sampled_from(
    [
        ("heartbeat", {"agent_id": AGENT}),
        ("heartbeat", {"agent_id": "agent-2", "status": "busy", "cpu_usage": 1e9, "memory_usage": -1}),
        ("heartbeat", {}),
        ("status", {"status": "busy", "progress": 5}),
        ("status", {"status": "mad"}),
        ("message", {}),
        ("command", {"command": "work"}),
        ("other", {}),
        ("", []),
    ]
)
GARBAGE = st.binary(max_size=20) | st.sampled_from([b"[" * 100, b"{}", b"null"])
ANSWERS = st.sampled_from(
    [
        {"status": "success", "result": {"a": 1}},
        {"status": "error", "code": "handler_error", "reason": "it broke"},
        {"status": "error", "code": "overloaded"},
        {"status": "error", "code": "draining"},
        {"status": "maybe"},
    ]
)
LIMITS = (
    (links_module, "MAX_WAITING_REPLIES", 2),
    (delivery_module, "MAX_PENDING_COMMANDS", 3),
    (delivery_module, "MAX_FINISHED_COMMANDS", 2),
    (challenges_module, "MAX_CONSUMED_CHALLENGES", 4),
)
WINDOW = 2


class PlatformLife(RuleBasedStateMachine, Generic[C]):
    """The tenants, the clocks, and what must hold; subclasses are the agents' side."""

    def accept(self, hub: PlatformHub, conn: int, now: Instant) -> C:
        """A new connection; called twice."""
        raise NotImplementedError

    def request(self, conn: int, request: HttpRequest, *, upgrade: bool) -> None:
        """A request on a connection."""
        raise NotImplementedError

    def text(self, conn: int, payload: bytes) -> None:
        """A message on a connection."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.limits = pytest.MonkeyPatch()
        for module, name, value in LIMITS:
            self.limits.setattr(module, name, value)
        self.mono, self.wall = 50.0, 1e9
        self.key = signing_key()
        self.hubs = (self.make_hub(), self.make_hub())
        self.sessions: tuple[dict[int, C], dict[int, C]] = ({}, {})
        self.gone: set[int] = set()
        self.arrived: list[tuple[int, int]] = []
        self.challenges: list[tuple[str, str]] = []
        self.tokens: list[tuple[str, str]] = []
        self.epochs: dict[str, int] = defaultdict(int)
        self.online: set[str] = set()
        self.attempts: dict[tuple[str, str], int] = defaultdict(int)
        self.unanswered: dict[str, set[str]] = defaultdict(set)
        self.sent_on_link: dict[str, set[str]] = defaultdict(set)
        self.over: set[tuple[str, str]] = set()

    def make_hub(self) -> PlatformHub:
        config = PlatformConfig(window=WINDOW, max_bad_messages=2, command_expires_in=300.0, max_message_size=8192)
        hub = PlatformHub(config, rng=Random(3), signing_seed=bytes(32))
        hub.registry.add_tenant(TENANT, TENANT_TOKEN)
        for agent_id in AGENTS:
            hub.registry.create_agent(TENANT, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=self.wall)
            hub.registry.add_key(TENANT, agent_id, self.key.public.openssh, "")
        return hub

    def teardown(self) -> None:
        self.limits.undo()

    @property
    def now(self) -> Instant:
        return Instant(self.mono, self.wall)

    # --- how an input is made -----------------------------------------------------------------------------------------

    def world(self, conn: int, *actions: Callable[[C], object]) -> None:
        """An input from the world, perhaps told differently to the second session: it never raises."""
        for sessions, action in zip(self.sessions, (actions[0], actions[-1]), strict=True):
            action(sessions[conn])
        self.drain()

    def owner(self, action: Callable[[PlatformHub], T]) -> T | None:
        """A call of the hub's owner: what is refused (None here) changes nothing but the ids that were drawn."""
        before = self.state()
        try:
            result = action(self.hubs[0])
        except (ApiError, LocalProtocolError) as error:
            assert self.state() == before
            with pytest.raises(type(error)):
                action(self.hubs[1])
            return None
        action(self.hubs[1])
        self.drain()
        return result

    def state(self) -> object:
        """All there is of the first hub and its sessions, but for the moment that was told last."""
        hub = self.hubs[0]
        told = vars(hub).pop("_now")
        try:
            return snapshot((hub, self.sessions[0]))
        finally:
            vars(hub)["_now"] = told

    def drain(self) -> None:
        """Both platforms say the same, and nothing that a platform may not say."""
        heard = [self.drained(index) for index in (0, 1)]
        assert heard[0] == heard[1]
        for conn, output in heard[0]:
            assert conn not in self.gone, "nothing follows `Disconnect`"
            self.hear(conn, output)

    def drained(self, index: int) -> list[Heard]:
        """Everything that one platform has to say."""
        outputs = iter(self.hubs[index].next_output, None)
        return [(output.conn if isinstance(output, _OF_CONNECTIONS) else 0, output) for output in outputs]

    def hear(self, conn: int, output: Output) -> None:
        """Keep the model."""
        match output:
            case Disconnect():
                assert output.conn == conn
                self.gone.add(conn)
            case RequestArrived():
                self.arrived.append((conn, output.exchange))
            case AgentOnline():
                assert output.agent_id not in self.online
                assert output.epoch > self.epochs[output.agent_id], "PLAT-6"
                self.epochs[output.agent_id] = output.epoch
                self.online.add(output.agent_id)
            case AgentOffline():
                assert output.epoch == self.epochs[output.agent_id], "PLAT-6"
                self.online.remove(output.agent_id)
                self.unanswered[output.agent_id].clear()
                self.sent_on_link[output.agent_id].clear()
            case HeartbeatReceived():
                assert output.agent_id in self.online
            case CommandSent() | CommandDeferred() | CommandAnswered() | CommandExpired():
                self.hear_of_command(output)
            case _:
                pass

    def hear_of_command(self, event: CommandSent | CommandDeferred | CommandAnswered | CommandExpired) -> None:
        """CMD-10: in the window, once a link, one after the other."""
        unanswered, on_link = self.unanswered[event.agent_id], self.sent_on_link[event.agent_id]
        command = (event.agent_id, event.command_id)
        match event:
            case CommandSent():
                assert event.agent_id in self.online
                if event.attempt == 1 and command in self.over:  # another command has its id
                    on_link.discard(event.command_id)
                    self.attempts[command] = 0
                assert event.command_id not in on_link
                self.attempts[command] += 1
                assert event.attempt == self.attempts[command]
                unanswered.add(event.command_id)
                on_link.add(event.command_id)
                assert len(unanswered) <= WINDOW
            case CommandDeferred():
                unanswered.remove(event.command_id)
                on_link.remove(event.command_id)
            case CommandAnswered():
                assert (command in self.over) == event.late
                self.over.add(command)
                unanswered.discard(event.command_id)
            case CommandExpired():
                assert command not in self.over
                self.over.add(command)
                unanswered.discard(event.command_id)

    # --- time, and connections ----------------------------------------------------------------------------------------

    @initialize(is_up=st.booleans())
    def begin(self, is_up: bool) -> None:
        """Half of the lives begin with an agent that is online."""
        self.connect()
        if is_up:
            self.sign_in(0, AGENT)
            self.say(0, AGENT)
            assert self.online == {AGENT}

    @rule()
    def connect(self) -> None:
        """Somebody connects."""
        conn, now = len(self.sessions[0]) + 1, self.now
        for hub, sessions in zip(self.hubs, self.sessions, strict=True):
            sessions[conn] = self.accept(hub, conn, now)
        self.drain()

    def conn(self, number: int) -> int:
        """One of the connections, the last one most often."""
        return len(self.sessions[0]) - number % len(self.sessions[0])

    @rule(seconds=WAITS_S, drift_s=st.sampled_from([0.0, 0.0, 0.0, 40.0]))
    def time_passes_unseen(self, seconds: float, drift_s: float) -> None:
        """Timers will be late."""
        self.mono += seconds
        self.wall += seconds + drift_s

    @rule()
    def handle_timers(self) -> None:
        """On time, late, or for nothing."""
        now = self.now
        for hub in self.hubs:
            hub.handle_timer(now)
            deadline = hub.deadline()
            assert deadline is None or deadline > self.mono
        self.drain()

    @rule(seconds=WAITS_S)
    def time_passes(self, seconds: float) -> None:
        """With every timer on time."""
        end = self.mono + seconds
        for _ in range(100):
            due = self.hubs[0].deadline()
            if due is None or due > end:
                break
            self.wall += max(due - self.mono, 0.0)
            self.mono = max(due, self.mono)
            self.handle_timers()
        self.wall += end - self.mono
        self.mono = end

    # --- tenants ------------------------------------------------------------------------------------------------------

    @rule(
        agent_id=st.sampled_from([*AGENTS, "nobody"]),
        command=st.sampled_from(["work", "", "x" * 300]),
        args=ARGS,
        timeout_s=TIMEOUTS,
        expires_in_s=EXPIRIES,
        command_id=COMMAND_IDS | st.sampled_from(["", "\n"]),
    )
    def send_any_command(self, agent_id: str, command: str, **options: Any) -> None:
        """Good in every part, or refused."""
        now = self.now
        self.keep_over(self.owner(lambda hub: hub.send_command(TENANT, agent_id, command, now=now, **options)))

    @rule(command_id=COMMAND_IDS, expires_in_s=st.sampled_from([None, 10.0]))
    def send_command(self, command_id: str, expires_in_s: float | None) -> None:
        """A good one."""
        self.send_any_command(
            agent_id=AGENT, command="work", args=None, timeout_s=None, expires_in_s=expires_in_s, command_id=command_id
        )

    def keep_over(self, command: Any) -> None:
        """A command id may be used anew once its command was let go."""
        if command is not None and not command.is_over:
            key = (command.agent_id, command.command_id)
            self.over.discard(key)
            self.attempts[key] = command.attempts

    @rule(agent_id=st.sampled_from([*AGENTS, "nobody"]), data=ARGS)
    def send_message(self, agent_id: str, data: Any) -> None:
        """To an agent that is online, or not."""
        now = self.now
        self.owner(lambda hub: hub.send_message(TENANT, agent_id, data, now))

    @rule(number=PICKS)
    def revoke_or_add_a_key(self, number: int) -> None:
        """Of the first agent."""
        now = self.now
        keys = [key.key_id for key in self.hubs[0].registry.keys(AGENT)]
        if number < 3:
            self.owner(lambda hub: hub.registry.add_key(TENANT, AGENT, self.key.public.openssh, "") and None)
        elif number < 5:
            self.owner(lambda hub: hub.registry.add_key(TENANT, AGENT, "ssh-rsa AAAA", "") and None)
        else:
            key_id = self.pick(keys, number) or "key-x"
            self.owner(lambda hub: hub.revoke_key(TENANT, key_id, now))

    @rule(agent_id=st.sampled_from([*AGENTS, "nobody"]))
    def set_status(self, agent_id: str) -> None:
        """By HTTP."""
        now = self.now
        self.owner(lambda hub: hub.set_status(TENANT, agent_id, "busy", now) and None)

    def pick(self, things: list[T], number: int) -> T | None:
        """One of the things seen so far, the last one most often."""
        return things[-1 - number % len(things)] if things else None

    # --- what agents do -----------------------------------------------------------------------------------------------

    @rule(number=PICKS, method=st.sampled_from(["GET", "POST", "HEAD"]), path=PATHS, fields=FIELDS, body=BODIES)
    def ask_anything(self, number: int, method: str, path: str, fields: Any, body: bytes) -> None:
        self.request(
            self.conn(number), HttpRequest(method=method, target=path, headers=fields, body=body), upgrade=False
        )

    @rule(number=PICKS, agent_id=st.sampled_from([*AGENTS, "nobody"]))
    def challenge(self, number: int, agent_id: str) -> None:
        self.post(number, "challenge", {"agent_id": agent_id})

    @rule(number=PICKS, which=PICKS, agent_id=st.sampled_from(AGENTS), is_right=st.booleans())
    def verify(self, number: int, which: int, agent_id: str, is_right: bool) -> None:
        challenge = self.pick([text for text, given in self.challenges if given == agent_id], which) or "none"
        signature = self.key.sign(challenge.encode() if is_right else b"other", "ssh")
        response = b64encode(signature).decode()
        fields = {"tenant_id": TENANT, "agent_id": agent_id, "challenge": challenge, "response": response}
        self.post(number, "verify", fields)

    @rule(number=PICKS, which=PICKS, agent_id=st.sampled_from(AGENTS))
    def open_link(self, number: int, which: int, agent_id: str) -> None:
        token = self.pick([text for text, given in self.tokens if given == agent_id], which) or "none"
        target = f"/api/v1/ws/agent/{agent_id}"
        request = HttpRequest(method="GET", target=target, headers=(("authorization", f"Bearer {token}"),))
        self.request(self.conn(number), request, upgrade=True)

    @rule(number=PICKS, agent_id=st.sampled_from(AGENTS))
    def sign_in(self, number: int, agent_id: str) -> None:
        """All three on one connection."""
        self.challenge(number, agent_id)
        self.verify(number, 0, agent_id, is_right=True)
        self.open_link(number, 0, agent_id)

    def post(self, number: int, endpoint: str, fields: object) -> None:
        target, body = f"/api/v1/auth/{endpoint}", json.dumps(fields).encode()
        self.request(
            self.conn(number), HttpRequest(method="POST", target=target, headers=JSON, body=body), upgrade=False
        )

    def answered(self, request: HttpRequest, response: HttpResponse) -> None:
        """Keep what an agent would."""
        if response.status == 200:
            body, asked = json.loads(response.body), json.loads(request.body)
            if request.target.endswith("challenge"):
                self.challenges.append((body["challenge"], asked["agent_id"]))
            else:
                self.tokens.append((body["token"], asked["agent_id"]))

    @rule(number=PICKS, agent_id=st.sampled_from(AGENTS))
    def say(self, number: int, agent_id: str) -> None:
        """A heartbeat."""
        self.message(number, ("heartbeat", {"agent_id": agent_id}), "m-1")

    @rule(number=PICKS, message=MESSAGES, message_id=st.sampled_from(["m-1", "", "x" * 129]))
    def message(self, number: int, message: tuple[str, Any], message_id: str) -> None:
        payload = {"type": message[0], "id": message_id, "data": message[1]}
        self.text(self.conn(number), json.dumps(payload).encode())

    @rule(number=PICKS, command_id=COMMAND_IDS, answer=ANSWERS)
    def answer(self, number: int, command_id: str, answer: dict[str, Any]) -> None:
        self.message(number, ("response", {"command_id": command_id} | answer), "m-1")

    @rule(number=PICKS, payload=GARBAGE)
    def garbage(self, number: int, payload: bytes) -> None:
        self.text(self.conn(number), payload)

    @rule(number=PICKS, paused=st.booleans())
    def writing(self, number: int, paused: bool) -> None:
        now, waiting = self.now, paused << 20
        self.world(self.conn(number), lambda session: session.unsent(waiting, now))

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        """After every step."""
        for agent_id in AGENTS:
            assert self.hubs[0].agent(TENANT, agent_id).online == (agent_id in self.online)
        for session in self.sessions[0].values():
            assert not session.is_closed or due_at(session) is None
