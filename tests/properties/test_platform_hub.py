"""`PlatformHub` over its whole life: two tenants, agents and keys that come and go, many links, commands and restarts.

A model knows who may do what, and what a tenant must be shown; it is told of nothing but the rules' own steps, and of
what sessions are asked to send. (`test_platform_session` tries the senseless inputs.)
"""

from __future__ import annotations

import json
from base64 import b64encode
from random import Random
from typing import Any, NamedTuple, TypeVar

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from artcafe_proto import ApiError, HttpRequest, HttpResponse, Instant, PlatformConfig, PlatformHub, PlatformSession
from artcafe_proto.effects import AcceptUpgrade, SendClose, SendResponse, SendText
from support.drained import take
from support.platform_stage import JSON
from support.virtual import signing_key

T = TypeVar("T")

AGENTS = {"agent-1": "tenant-1", "agent-2": "tenant-2"}
OTHERS = {"tenant-1": "tenant-2", "tenant-2": "tenant-1"}
KEYS = [signing_key(seed) for seed in range(2)]
WINDOW, TOKEN_LIFE_S, EXPIRES_IN_S, OVERLOADED_S = 2, 60.0, 300.0, 1.0
AGENT_IDS = st.sampled_from(["agent-1", "agent-1", "agent-2"])
COMMAND_IDS = st.sampled_from(["cmd-1", "cmd-2", "cmd-3", "cmd-4"])
KEY_NUMBERS = st.integers(0, len(KEYS) - 1)
PICKS = st.sampled_from([0, 0, 0, 1, 2, 3])
"""Which of the things seen so far: 0 is the last."""


class Token(NamedTuple):
    """What its agent was given."""

    text: str
    agent_id: str
    key_id: str
    expires_at: float


class Link(msgspec.Struct):
    """A link as the model sees it. `alive` until somebody ends it."""

    session: PlatformSession
    agent_id: str
    key_id: str
    alive: bool = True
    online: bool = False
    drained: bool = False
    unanswered: list[str] = []
    limit: int = WINDOW
    """How many may be unanswered: the window, or fewer since the agent was overloaded."""
    opens_at: float = 0.0

    @property
    def takes_more(self) -> bool:
        return self.online and not self.drained and len(self.unanswered) < self.limit


class Task(msgspec.Struct):
    """A command as its tenant must be shown it."""

    args: int
    expires_at: float
    state: str = "queued"
    attempts: int = 0


class HubLife(RuleBasedStateMachine):
    """CMD-10, PLAT-1 … PLAT-6, TOK-5, TOK-6."""

    def __init__(self) -> None:
        super().__init__()
        self.mono, self.wall = 50.0, 1e9
        self.lives = 0
        self.conns = 0
        self.tokens: list[Token] = []
        self.restart()

    @property
    def now(self) -> Instant:
        return Instant(self.mono, self.wall)

    @initialize(is_up=st.booleans())
    def begin(self, is_up: bool) -> None:
        """Half of the lives begin with an agent that is online."""
        if is_up:
            self.come_online("agent-1", 0)
            assert self.live("agent-1") is not None

    @rule(really=st.integers(0, 9))
    def restart(self, really: int = 0) -> None:
        """It has its signing key (TOK-5) and nothing else: memory is all it keeps things in."""
        if really == 0:
            self.lives += 1
            config = PlatformConfig(window=WINDOW, token_life=TOKEN_LIFE_S, command_expires_in=EXPIRES_IN_S)
            self.hub = PlatformHub(config, rng=Random(self.lives), signing_seed=bytes(32))
            self.keys: dict[str, dict[int, str]] = {}
            self.links: list[Link] = []
            self.tasks: dict[str, dict[str, Task]] = {}

    # --- what is heard ------------------------------------------------------------------------------------------------

    def hear(self, link: Link) -> list[int]:
        """What a session has to say; the codes with which it closes."""
        codes: list[int] = []
        while (output := take(link.session)) is not None:
            match output:
                case SendText():
                    assert link.online, "PLAT-6: commands are for the live link"
                    assert not codes
                    self.hear_command(link, json.loads(output.payload))
                case SendClose():
                    codes.append(output.code)
                case _:
                    pass
        return codes

    def hear_command(self, link: Link, message: dict[str, Any]) -> None:
        assert link.takes_more, "CMD-9 and CMD-10: after `draining` none, after `overloaded` as many as it holds"
        assert message["id"] == self.next_for(link), "CMD-10: what is pending, once a connection, by acceptance"
        task = self.tasks[link.agent_id][message["id"]]
        assert message["data"]["args"] == {"n": task.args}
        link.unanswered.append(message["id"])
        task.state, task.attempts = "sent", task.attempts + 1

    def next_for(self, link: Link) -> str | None:
        """The first that was accepted of those that are pending and not on their way."""
        for command_id, task in self.tasks[link.agent_id].items():
            is_pending = task.state in ("queued", "sent") and task.expires_at > self.mono
            if is_pending and command_id not in link.unanswered:
                return command_id
        return None

    def drain(self, *, closed: Link | None = None, code: int = 0) -> None:
        """Drain the hub; one link at most closes."""
        for link in self.links:
            codes = self.hear(link)
            assert codes == ([code] if link is closed else [])
            if codes:
                self.end(link)

    def end(self, link: Link) -> None:
        link.alive = link.online = False

    def live(self, agent_id: str) -> Link | None:
        """The one link of an agent."""
        alive = [link for link in self.links if link.agent_id == agent_id and link.alive]
        assert len(alive) <= 1, "PLAT-6: one live connection an agent"
        return alive[0] if alive else None

    def pick(self, things: list[T], number: int) -> T:
        return things[-1 - number % len(things)]

    def refused(self, status: int, call: Any, *args: Any, **options: Any) -> None:
        """A call of the owner's that must be refused."""
        with pytest.raises(ApiError) as refused:
            call(*args, **options)
        assert refused.value.status == status

    # --- time ---------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.5, 70.0, 310.0]))
    def time_passes_unseen(self, seconds: float) -> None:
        """The hub's timer will be late."""
        self.mono += seconds
        self.wall += seconds

    @rule(seconds=st.sampled_from([0.0, 1.0, 1.0, 70.0, 310.0]))
    def time_passes(self, seconds: float) -> None:
        """For the hub; what sessions wait for has tests of its own."""
        self.mono += seconds
        self.wall += seconds
        for tasks in self.tasks.values():
            for task in tasks.values():
                if task.expires_at <= self.mono and task.state in ("queued", "sent"):
                    task.state = "expired"
        for link in self.links:
            if link.limit < WINDOW and link.opens_at <= self.mono:
                link.limit = min(2 * link.limit + 1, WINDOW)
                link.opens_at = self.mono + OVERLOADED_S
        self.hub.handle_timer(self.now)
        deadline = self.hub.deadline()
        assert deadline is None or deadline > self.mono
        self.drain()

    # --- tenants, agents and keys -------------------------------------------------------------------------------------

    @rule(agent_id=AGENT_IDS)
    def create_agent(self, agent_id: str) -> None:
        options: dict[str, Any] = {"name": "", "capabilities": (), "metadata": {}, "wall": self.wall}
        create = self.hub.registry.create_agent
        if agent_id in self.keys:
            self.refused(409, create, AGENTS[agent_id], agent_id=agent_id, **options)
        else:
            create(AGENTS[agent_id], agent_id=agent_id, **options)
            self.keys[agent_id], self.tasks[agent_id] = {}, {}

    @rule(agent_id=AGENT_IDS, number=KEY_NUMBERS)
    def add_key(self, agent_id: str, number: int) -> None:
        tenant_id, add_key, line = AGENTS[agent_id], self.hub.registry.add_key, KEYS[number].public.openssh
        self.refused(404, add_key, OTHERS[tenant_id], agent_id, line, "")
        if agent_id not in self.keys:
            self.refused(404, add_key, tenant_id, agent_id, line, "")
        elif number in self.keys[agent_id]:
            self.refused(409, add_key, tenant_id, agent_id, line, "")
        else:
            self.keys[agent_id][number] = add_key(tenant_id, agent_id, line, "").key_id

    @rule(agent_id=AGENT_IDS, number=KEY_NUMBERS)
    def revoke_key(self, agent_id: str, number: int) -> None:
        """TOK-6: its link is closed, another key's stays."""
        tenant_id, key_id = AGENTS[agent_id], self.keys.get(agent_id, {}).pop(number, "key-x")
        self.refused(404, self.hub.revoke_key, OTHERS[tenant_id], key_id, self.now)
        if key_id == "key-x":
            self.refused(404, self.hub.revoke_key, tenant_id, key_id, self.now)
            return
        link = self.live(agent_id)
        self.hub.revoke_key(tenant_id, key_id, self.now)
        self.drain(closed=link if link is not None and link.key_id == key_id else None, code=4403)

    # --- links --------------------------------------------------------------------------------------------------------

    def ask(self, target: str, body: dict[str, str]) -> HttpResponse:
        self.conns += 1
        session = PlatformSession(self.hub, self.conns)
        request = HttpRequest(method="POST", target=target, headers=JSON, body=json.dumps(body).encode())
        session.request_received(1, request, self.now, upgrade=False)
        output = take(session)
        assert isinstance(output, SendResponse)
        return output.response

    @rule(agent_id=AGENT_IDS, number=KEY_NUMBERS)
    def authenticate(self, agent_id: str, number: int) -> None:
        challenge = json.loads(self.ask("/api/v1/auth/challenge", {"agent_id": agent_id}).body)["challenge"]
        signature = b64encode(KEYS[number].sign(challenge.encode(), "ssh")).decode()
        fields = {"tenant_id": AGENTS[agent_id], "agent_id": agent_id, "challenge": challenge, "response": signature}
        answer = self.ask("/api/v1/auth/verify", fields)
        key_id = self.keys.get(agent_id, {}).get(number)
        assert answer.status == (401 if key_id is None else 200)
        if key_id is not None:
            text = json.loads(answer.body)["token"]
            self.tokens.append(Token(text, agent_id, key_id, self.wall + TOKEN_LIFE_S))
        assert self.ask("/api/v1/auth/verify", fields).status == 401, "AUTH-8: a challenge is used once"

    @precondition(lambda self: self.tokens)
    @rule(number=PICKS)
    def open_link(self, number: int) -> None:
        token = self.pick(self.tokens, number)
        is_good = token.key_id in self.keys.get(token.agent_id, {}).values() and self.wall < token.expires_at
        older = self.live(token.agent_id)
        self.conns += 1
        session = PlatformSession(self.hub, self.conns)
        fields = (("authorization", f"Bearer {token.text}"),)
        target = f"/api/v1/ws/agent/{token.agent_id}"
        session.request_received(1, HttpRequest(method="GET", target=target, headers=fields), self.now, upgrade=True)
        output = take(session)
        assert isinstance(output, AcceptUpgrade if is_good else SendResponse), output
        self.drain(closed=older if is_good else None, code=4409)
        if is_good:
            self.links.append(Link(session, token.agent_id, token.key_id))

    @rule(agent_id=AGENT_IDS)
    def come_back(self, agent_id: str) -> None:
        """With the key at hand."""
        self.come_online(agent_id, min(self.keys.get(agent_id, {}), default=0))

    @rule(agent_id=AGENT_IDS, number=KEY_NUMBERS)
    def come_online(self, agent_id: str, number: int) -> None:
        """All that it takes."""
        if agent_id not in self.keys:
            self.create_agent(agent_id)
        if number not in self.keys[agent_id]:
            self.add_key(agent_id, number)
        self.authenticate(agent_id, number)
        self.open_link(0)
        self.beat(0)

    @precondition(lambda self: self.links)
    @rule(number=PICKS)
    def beat(self, number: int) -> None:
        """From the first heartbeat on the agent is online, if this is its link (HB-3)."""
        link = self.pick(self.links, number)
        link.online = link.alive
        self.say(link, "heartbeat", {"agent_id": link.agent_id})

    def say(self, link: Link, message_type: str, data: dict[str, Any]) -> None:
        payload = json.dumps({"type": message_type, "id": "m-1", "data": data}).encode()
        link.session.text_received(payload, self.now)
        self.drain()

    @precondition(lambda self: self.links)
    @rule(number=PICKS)
    def lose_link(self, number: int) -> None:
        """Any link, an older one's end included, which touches nothing (PLAT-6)."""
        link = self.pick(self.links, number)
        self.end(link)
        link.session.disconnected("reset", self.now)
        self.drain()

    # --- commands -----------------------------------------------------------------------------------------------------

    @rule(agent_id=AGENT_IDS, command_id=COMMAND_IDS, args=st.sampled_from([1, 1, 1, 2]))
    def send_command(self, agent_id: str, command_id: str, args: int) -> None:
        """Once, again, or with other content (PLAT-4)."""
        options: dict[str, Any] = {"command_id": command_id, "now": self.now}
        arguments = (agent_id, "work", {"n": args})
        self.refused(404, self.hub.send_command, OTHERS[AGENTS[agent_id]], *arguments, **options)
        if agent_id not in self.keys:
            self.refused(404, self.hub.send_command, AGENTS[agent_id], *arguments, **options)
        elif self.tasks[agent_id].setdefault(command_id, Task(args, self.mono + EXPIRES_IN_S)).args != args:
            self.refused(409, self.hub.send_command, AGENTS[agent_id], *arguments, **options)
        else:
            self.hub.send_command(AGENTS[agent_id], *arguments, **options)
            self.drain()

    @rule(agent_id=AGENT_IDS)
    def send_commands(self, agent_id: str) -> None:
        """More than the window."""
        for command_id in ("cmd-1", "cmd-2", "cmd-3", "cmd-4"):
            self.send_command(agent_id, command_id, 1)

    @precondition(lambda self: self.links)
    @rule(
        number=PICKS,
        which=PICKS,
        command_id=COMMAND_IDS,
        kind=st.sampled_from(["success", "handler_error", "overloaded", "draining", "damaged"]),
    )
    def answer(self, number: int, which: int, command_id: str, kind: str) -> None:
        """An agent answers what it was sent, now or before, or what it never was; or what cannot be read (MSG-5)."""
        link = self.pick(self.links, number)
        if link.unanswered and which < 2:
            command_id = self.pick(link.unanswered, which)
        task = self.tasks.get(link.agent_id, {}).get(command_id)
        if link.alive:
            is_final = kind in ("success", "handler_error", "damaged")
            was_under_way = command_id in link.unanswered
            if was_under_way:
                link.unanswered.remove(command_id)
            if was_under_way and kind == "overloaded":
                link.limit = min(len(link.unanswered), WINDOW - 1)
                link.opens_at = self.mono + OVERLOADED_S
            link.drained |= was_under_way and kind == "draining"
            if task is not None and task.state in ("queued", "sent") and (is_final or was_under_way):
                task.state = {"success": "succeeded", "overloaded": "queued", "draining": "queued"}.get(kind, "failed")
        status: dict[str, Any] = {"status": "success"} if kind == "success" else {"status": "error", "code": kind}
        status |= {"result": float("nan")} if kind == "damaged" else {}
        self.say(link, "response", {"command_id": command_id} | status)

    # --- what always holds --------------------------------------------------------------------------------------------

    @invariant()
    def tenants_are_shown_how_it_is(self) -> None:
        for agent_id, tasks in self.tasks.items():
            agent = self.hub.agent(AGENTS[agent_id], agent_id)
            link = self.live(agent_id)
            assert agent.online == (link is not None and link.online)
            for command_id, task in tasks.items():
                shown = self.hub.command(AGENTS[agent_id], command_id, agent_id).public()
                assert (shown["state"], shown["attempts"]) == (task.state, task.attempts)
                self.refused(404, self.hub.command, OTHERS[AGENTS[agent_id]], command_id, agent_id)

    @invariant()
    def no_command_is_left_lying(self) -> None:
        """CMD-10: as many as the window allows are on their way to whoever is online and takes them."""
        for link in self.links:
            assert len(link.unanswered) <= WINDOW
            assert not link.takes_more or self.next_for(link) is None


TestPlatformHub = HubLife.TestCase
