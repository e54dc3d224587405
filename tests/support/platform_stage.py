"""A hub with one registered agent, and sessions played by hand: messages and time, no bytes."""

from __future__ import annotations

import json
from base64 import b64encode
from itertools import count
from random import Random
from typing import Any

from artcafe_proto import (
    HttpRequest,
    HttpResponse,
    Instant,
    PlatformConfig,
    PlatformHub,
    PlatformSession,
)
from artcafe_proto.effects import AcceptUpgrade, SendResponse, SendText
from support.drained import take, take_all, take_event
from support.virtual import signing_key

TENANT, AGENT, TENANT_TOKEN = "tenant-1", "agent-1", "a-tenant-token-of-some-length"
JSON = (("content-type", "application/json"),)


class Stage:
    """A hub with one registered agent, and sessions played by hand."""

    def __init__(self, **settings: Any) -> None:
        self.mono: float = 50.0
        self.wall: float = 1e9
        self.hub = self.make_hub(PlatformConfig(**settings))
        self.key = signing_key()
        self.events: list[Any] = []
        self._conns = count(1)
        self.hub.registry.add_tenant(TENANT, TENANT_TOKEN)
        self.enrol()

    def enrol(self) -> None:
        """Register the agent and its key."""
        self.register(AGENT)
        self.key_id = self.hub.registry.add_key(TENANT, AGENT, self.key.public.openssh, "").key_id

    def make_hub(self, config: PlatformConfig) -> PlatformHub:
        """The hub."""
        return PlatformHub(config, rng=Random(3), signing_seed=bytes(32))

    def register(self, agent_id: str, tenant_id: str = TENANT) -> None:
        """Register another agent."""
        self.hub.registry.create_agent(
            tenant_id, agent_id=agent_id, name="", capabilities=(), metadata={}, wall=self.wall
        )

    @property
    def now(self) -> Instant:
        """The moment."""
        return Instant(self.mono, self.wall)

    def wait(self, seconds: float, hears: PlatformSession | None = None) -> None:
        """Let time pass. Something comes in on `hears` all the while, so that its link does not end by silence."""
        end = self.mono + seconds
        while (due := self.hub.deadline()) is not None and due <= end:
            self.pass_to(max(due, self.mono))
            if hears is not None:
                hears.bytes_received(self.now)
            self.hub.handle_timer(self.now)
            deadline = self.hub.deadline()
            assert deadline is None or deadline > self.mono, "a handled timer must not be due any more"
        self.pass_to(end)

    def pass_to(self, mono: float) -> None:
        """It is later, and nobody has been told."""
        self.wall += mono - self.mono
        self.mono = mono

    def seen(self, kind: type[Any]) -> list[Any]:
        """All events of one kind so far."""
        self.events += iter(lambda: take_event(self.hub), None)
        return [event for event in self.events if isinstance(event, kind)]

    def session(self, address: str | None = None) -> PlatformSession:
        """A new connection."""
        return PlatformSession(self.hub, next(self._conns), address=address)

    def ask(
        self, path: str, body: object = None, method: str = "POST", address: str | None = None, **fields: str
    ) -> HttpResponse:
        """One request on a connection of its own."""
        session = self.session(address)
        headers = (*JSON, *((name.replace("_", "-"), value) for name, value in fields.items()))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        session.request_received(
            1, HttpRequest(method=method, target=path, headers=headers, body=data), self.now, upgrade=False
        )
        output = take(session)
        assert isinstance(output, SendResponse), output
        return output.response

    def challenge(self, agent_id: str = AGENT) -> str:
        """A challenge."""
        response = self.ask("/api/v1/auth/challenge", {"agent_id": agent_id})
        assert response.status == 200
        return json.loads(response.body)["challenge"]

    def verify(self, challenge: str, **changes: Any) -> HttpResponse:
        """A verify request, right but for the changes."""
        signature = self.key.sign(challenge.encode(), "ssh")
        body = {
            "tenant_id": TENANT,
            "agent_id": AGENT,
            "challenge": challenge,
            "response": b64encode(signature).decode(),
        }
        return self.ask("/api/v1/auth/verify", body | changes)

    def token(self) -> str:
        """A token of the agent's."""
        return json.loads(self.verify(self.challenge()).body)["token"]

    def open(
        self, token: str | None = None, agent_id: str = AGENT, address: str | None = None, **fields: str
    ) -> PlatformSession:
        """A link, or what answers instead."""
        session = self.session(address)
        headers = {"authorization": f"Bearer {self.token() if token is None else token}"} | fields
        request = HttpRequest(method="GET", target=f"/api/v1/ws/agent/{agent_id}", headers=tuple(headers.items()))
        session.request_received(1, request, self.now, upgrade=True)
        return session

    def online(self, address: str | None = None) -> PlatformSession:
        """A link whose first heartbeat has come."""
        session = self.open(address=address)
        assert isinstance(take(session), AcceptUpgrade)
        say(self, session, "heartbeat", {"agent_id": AGENT, "status": "online"})
        return session

    def command(self, **options: Any) -> str:
        """A tenant's command."""
        return self.hub.send_command(TENANT, AGENT, "work", now=self.now, **options).command_id


def say(stage: Stage, session: PlatformSession, message_type: str, data: object) -> None:
    """The agent says something."""
    session.bytes_received(stage.now)
    payload = json.dumps({"type": message_type, "id": "x-1", "data": data}).encode()
    session.text_received(payload, stage.now)


def size_of(stage: Stage, command_id: str) -> int:
    """Bytes that are kept of a command's arguments and of its response."""
    command = stage.hub._state.command(TENANT, command_id, AGENT)  # pyright: ignore[reportPrivateUsage]
    assert command is not None
    return command.size


def expiry_of(stage: Stage, command_id: str) -> float:
    """When a command expires by the monotonic clock."""
    return stage.hub._delivery._lines[AGENT].pending[command_id].expires_at  # pyright: ignore[reportPrivateUsage]


def sent(session: PlatformSession) -> list[Any]:
    """What a session has to send."""
    return take_all(session)


def command_ids(session: PlatformSession) -> list[str]:
    """Ids of the commands that a session has to send."""
    texts = [json.loads(output.payload) for output in sent(session) if isinstance(output, SendText)]
    return [message["id"] for message in texts if message["type"] == "command"]


def answer(stage: Stage, session: PlatformSession, command_id: str, **data: Any) -> None:
    """The agent answers a command."""
    say(stage, session, "response", {"command_id": command_id, "status": "success"} | data)
