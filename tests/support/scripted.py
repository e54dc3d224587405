"""An `AgentMachine` and a platform played by hand: messages and time, no bytes."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from random import Random
from typing import Any, TypeVar

from artcafe_proto import AgentConfig, AgentMachine, HttpResponse, Instant
from artcafe_proto.effects import (
    AgentMachineEffect,
    Connect,
    Disconnect,
    SendPing,
    SendRequest,
    SendText,
    SendUpgrade,
    Sign,
)
from artcafe_proto.events import AgentEvent, Offline, Online
from artcafe_proto.policies.outbox import SettledBy
from support.well_formed import check_well_formed

Kind = TypeVar("Kind")
CHALLENGE = "challenge-of-sixteen-and-more-characters"


def token(exp: float = 1e9 + 900, iat: float = 1e9) -> str:
    """Something that reads like a JWT."""
    payload = json.dumps({"exp": exp, "iat": iat}).encode()
    return f"e30.{urlsafe_b64encode(payload).decode().rstrip('=')}.sig"


def answer(status: int, value: object = None, **headers: str) -> HttpResponse:
    """A response with a JSON body."""
    fields = tuple((name.replace("_", "-"), text) for name, text in headers.items())
    return HttpResponse(status=status, headers=fields, body=b"" if value is None else json.dumps(value).encode())


class Scripted:
    """The machine, its clock, and everything it has said so far."""

    def __init__(self, *, settled_by: SettledBy = "pong", **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "agent_id": "agent-1",
            "tenant_id": "tenant-1",
            "api_endpoint": "http://localhost",
            "jitter": 0.0,
        }
        self.mono: float = 100.0
        self.wall: float = 1e9
        self.machine = self.make_machine(AgentConfig(**(defaults | settings)), settled_by)
        self.said: list[AgentMachineEffect | AgentEvent] = []
        self.unseen: list[AgentMachineEffect | AgentEvent] = []
        self.signed: list[int] = []
        """Requests that the signer has answered."""
        self._token: str | None = None

    def make_machine(self, config: AgentConfig, settled_by: SettledBy) -> AgentMachine:
        """The machine, whose first moment is `now`."""
        return AgentMachine(config, rng=Random(5), settled_by=settled_by)

    @property
    def now(self) -> Instant:
        """The moment, on both clocks."""
        return Instant(self.mono, self.wall)

    def drain(self) -> None:
        """Take what the machine says."""
        while (output := self.machine.next_output()) is not None:
            check_well_formed(output)
            self.said.append(output)
            self.unseen.append(output)

    def wait(self, seconds: float) -> None:
        """Let time pass, timers included, as a punctual driver does."""
        end = self.mono + seconds
        while (due := self.machine.deadline()) is not None and due <= end:
            self.wall += due - self.mono
            self.mono = due
            self.machine.handle_timer(self.now)
            due = self.machine.deadline()
            assert due is None or due > self.mono, "a handled timer must not be due any more"
            self.drain()
        self.wall += end - self.mono
        self.mono = end

    def expect(self, kind: type[Kind]) -> Kind:
        """The next thing said of this kind; what was said before it is passed over."""
        self.drain()
        for index, output in enumerate(self.unseen):
            if isinstance(output, kind):
                del self.unseen[: index + 1]
                return output
        raise AssertionError(f"expected {kind.__name__}, got {self.unseen}")

    def none_of(self, *kinds: type[Any]) -> None:
        """Nothing of these kinds has been said since the last `expect`."""
        self.drain()
        assert not [output for output in self.unseen if isinstance(output, kinds)]

    # --- steps: each leads there from wherever the machine is, waits included -----------------------------------------

    def start(self) -> Connect:
        """It connects."""
        return self._reach(Connect)

    def connect(self) -> SendRequest:
        """… asks for a challenge …"""
        return self._reach(SendRequest, "challenge")

    def challenge(self) -> Sign:
        """… has it signed …"""
        return self._reach(Sign)

    def sign(self) -> SendRequest:
        """… sends the signature …"""
        return self._reach(SendRequest, "verify")

    def verify(self, value: str | None = None) -> SendUpgrade:
        """… opens the link, with the token `value` …"""
        self._token = value
        return self._reach(SendUpgrade)

    def up(self, value: str | None = None) -> int:
        """… and is up, with the token `value`; returns the connection."""
        self._token = value
        return self._reach(Online).link

    def _reach(self, kind: type[Kind], target: str = "") -> Kind:
        if self.machine.deadline() is None:
            self.machine.start(self.now)
        for _ in range(100):
            self.drain()
            while self.unseen:
                output = self.unseen.pop(0)
                if isinstance(output, kind) and target in getattr(getattr(output, "request", None), "target", ""):
                    return output
                self.comply(output)
                self.drain()
            due = self.machine.deadline()
            assert due is not None, f"it never came to {kind.__name__}"
            self.wait(due - self.mono)
        raise AssertionError(f"it never came to {kind.__name__}")

    def comply(self, output: AgentMachineEffect | AgentEvent) -> None:
        """The platform, the network or the signer does what it is asked for."""
        match output:
            case Connect():
                self.machine.connected(output.conn, self.now, tls=output.tls)
            case SendRequest() if output.request.target.endswith("challenge"):
                self.answer(output, answer(200, {"challenge": CHALLENGE, "expires_at": ""}))
            case SendRequest():
                value = token(exp=self.wall + 900, iat=self.wall) if self._token is None else self._token
                self.answer(output, answer(200, {"valid": True, "token": value}))
            case Sign():
                self.signed.append(output.request)
                self.machine.signed(output.request, b"signature", self.now)
            case SendUpgrade():
                self.machine.upgraded(output.conn, output.exchange, self.now)
            case _:
                pass

    def answer(self, request: SendRequest | SendUpgrade, response: HttpResponse) -> None:
        """Answer a request."""
        self.machine.bytes_received(request.conn, self.now)
        self.machine.response_received(request.conn, request.exchange, response, self.now)
        self.drain()

    def receive(self, conn: int, message_type: str, data: object, message_id: str = "m-1") -> None:
        """The platform sends a message."""
        payload = json.dumps({"type": message_type, "id": message_id, "data": data}).encode()
        self.machine.bytes_received(conn, self.now)
        self.machine.text_received(conn, payload, self.now)
        self.drain()

    def command(self, conn: int, command_id: str = "cmd-1", **data: Any) -> None:
        """The platform sends a command."""
        self.receive(conn, "command", {"command": "work"} | data, command_id)

    @staticmethod
    def text(send: SendText) -> dict[str, Any]:
        """A message that was sent."""
        return json.loads(send.payload)

    def texts(self, message_type: str) -> list[dict[str, Any]]:
        """All messages of one type that were sent so far."""
        self.drain()
        sent = [self.text(output) for output in self.said if isinstance(output, SendText)]
        return [message for message in sent if message["type"] == message_type]

    def pong(self, conn: int) -> None:
        """The platform answers the latest ping."""
        self.drain()
        pings = [output for output in self.said if isinstance(output, SendPing) and output.conn == conn]
        assert pings, "no ping was sent"
        self.machine.bytes_received(conn, self.now)
        self.machine.pong_received(conn, pings[-1].payload, self.now)
        self.drain()

    def wait_after_failure(self) -> tuple[float, str]:
        """Seconds until the next attempt and the clause, by the last `Offline`."""
        offline = self.expect(Offline)
        assert offline.retry_at is not None
        return round(offline.retry_at - self.mono, 6), offline.clause

    def dropped(self) -> list[int]:
        """Connections disconnected so far."""
        self.drain()
        return [output.conn for output in self.said if isinstance(output, Disconnect)]
