"""`PlatformProtocol` and its hub under any inputs and calls raise for misuse alone.

An input is a sequence of operations; one of them is an agent that signs in as it should, so that links come up. After
each all outputs are drained, and a time that was handled is not due any more.
"""

from __future__ import annotations

import json
from base64 import b64encode
from contextlib import suppress
from random import Random
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_proto import (
    ApiError,
    Attend,
    Disconnect,
    Instant,
    LocalProtocolError,
    PlatformConfig,
    PlatformHub,
    PlatformProtocol,
    Request,
    RequestArrived,
    Response,
    SigningKey,
    Write,
)
from artcafe_proto.hub.delivery import Delivery
from artcafe_proto.messages import ResponseData
from artcafe_proto.testing import ManualClock
from artcafe_proto.wires.frames import FrameWriter
from artcafe_proto.wires.http_client import ClientWire
from artcafe_proto.wires.inputs import ResponseReceived
from operations import WAITS_S, Operations

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))
JSON = (("content-type", "application/json"),)
REQUESTS = (
    b"POST /api/v1/auth/challenge HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n"
    b'{"agent_id":"a"}',
    b"POST /api/v1/auth/verify HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"GET /api/v1/ws/agent/a HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /x HTTP/1.1\r\nHost: h\r\n\r\nGET /y HTTP/1.1\r\nHo",
)
MESSAGES = (
    b'{"type":"heartbeat","id":"h","data":{"agent_id":"a","status":"online"}}',
    b'{"type":"heartbeat","id":"h","data":{"agent_id":"b"}}',
    b'{"type":"status","id":"s","data":{"status":"busy","current_task":"%s","progress":5}}',
    b'{"type":"response","id":"r","data":{"command_id":"%s","status":"success","result":{}}}',
    b'{"type":"response","id":"r","data":{"command_id":"%s","status":"error","code":"overloaded","reason":""}}',
    b'{"type":"response","id":"r","data":{"command_id":"%s"}}',
    b'{"type":"message","id":"m","data":{}}',
    b'{"type":"command","id":"c","data":{}}',
)


class Life:
    """One platform with one agent, and all its connections."""

    def __init__(self, operations: Operations) -> None:
        self.hub = PlatformHub(PlatformConfig(window=2), rng=Random(1), signing_seed=bytes(32))
        self.clock = ManualClock()
        self.operations = operations
        self.frames = FrameWriter(client=True, rng=Random(2))
        self.protocols: dict[int, PlatformProtocol] = {}
        self.written: dict[int, bytes] = {}
        self.commands = ["none"]
        registry = self.hub.registry
        registry.add_tenant("t", "a-token-of-the-tenant")
        registry.create_agent("t", agent_id="a", name="a", capabilities=(), metadata={}, wall=0.0)
        self.key_id = registry.add_key("t", "a", KEY.public.openssh, "").key_id
        self.sign_in()

    def drain(self) -> None:
        """Take in all outputs; there is an end to them."""
        for _ in range(1000):
            busy = [conn for conn in list(self.protocols) if self.drain_one(conn)]
            if not busy and not self.drain_hub():
                return
        raise AssertionError("outputs without an end")

    def drain_hub(self) -> bool:
        """Whether there was something that brings more about."""
        output = self.hub.next_output()
        while output is not None and not isinstance(output, Attend):
            output = self.hub.next_output()
        return output is not None

    def drain_one(self, conn: int) -> bool:
        """Whether there was something."""
        protocol, output = self.protocols[conn], self.protocols[conn].next_output()
        match output:
            case None:
                return False
            case Write():
                self.written[conn] = self.written.get(conn, b"") + output.data
            case Disconnect():
                del self.protocols[conn]
            case RequestArrived():
                protocol.respond(output.exchange, Response(status=404, headers=(), body=b""), self.clock.now)
            case _:
                pass
        return True

    def accept(self) -> int:
        """A new connection."""
        conn = len(self.written) + 1
        self.written[conn] = b""
        address = f"192.0.2.{self.operations.byte() & 1}"
        self.protocols[conn] = PlatformProtocol(self.hub, conn=conn, now=self.clock.now, address=address)
        return conn

    def sign_in(self) -> None:
        """An agent does all as it should; it may be told to wait (PLAT-8)."""
        conn, wire = self.accept(), ClientWire(authority="h", rng=Random(3), max_message_size=1 << 20)

        def ask(step: str, body: dict[str, str]) -> dict[str, str]:
            request = Request(
                method="POST", target=f"/api/v1/auth/{step}", headers=JSON, body=json.dumps(body).encode()
            )
            self.feed(conn, wire.request(request))
            data, self.written[conn] = self.written[conn], b""
            (answer,) = wire.receive(data)
            assert isinstance(answer, ResponseReceived)
            return json.loads(answer.response.body)

        challenge = ask("challenge", {"agent_id": "a"}).get("challenge")
        if challenge is None:
            return
        signature = b64encode(KEY.sign(challenge.encode(), "ssh")).decode()
        body = {"tenant_id": "t", "agent_id": "a", "challenge": challenge, "response": signature}
        token = ask("verify", body).get("token")
        if token is not None:
            headers = (("authorization", f"Bearer {token}"),)
            self.feed(conn, wire.upgrade(Request(method="GET", target="/api/v1/ws/agent/a", headers=headers, body=b"")))

    def feed(self, conn: int, data: bytes) -> None:
        """Bytes of a peer."""
        if conn in self.protocols:
            self.protocols[conn].data_received(data, self.clock.now)
            self.drain()

    def step(self) -> None:
        """One operation."""
        ask, now = self.operations, self.clock.now
        conn = ask.one_of([*self.protocols, 0])
        protocol = self.protocols.get(conn)
        kind = ask.byte() % 14
        if kind < 3:
            return self.step_of_hub(kind)
        if protocol is None:
            return None if len(self.written) > 20 else self.drain_after(self.accept)
        match kind:
            case 3 | 4:
                self.feed(
                    conn, self.frames.text(ask.one_of(MESSAGES).replace(b"%s", ask.one_of(self.commands).encode()))
                )
            case 5:
                self.feed(conn, self.frames.text(ask.bytes()))
            case 6:
                self.feed(conn, self.frames.pong(ask.bytes()[:125]))
            case 7:
                self.feed(conn, ask.bytes())
            case 8:
                self.feed(conn, ask.one_of(REQUESTS))
            case 9:
                protocol.eof_received(now)
            case 10:
                protocol.disconnected("reset", now)
            case 11:
                ask.one_of((protocol.writing_paused, protocol.writing_resumed))(now)
            case 12:
                self.feed(conn, self.frames.close(1000 + ask.byte() * 16, ""))
            case _:
                protocol.drop("the platform stops", now)
        self.drain()
        return None

    def drain_after(self, action: object) -> None:
        """Call it, and drain."""
        assert callable(action)
        action()
        self.drain()

    def step_of_hub(self, kind: int) -> None:
        """A tenant's command, time, or an agent that comes back."""
        ask = self.operations
        if kind == 0:
            with suppress(ApiError, LocalProtocolError):
                sent = self.hub.send_command("t", "a", "work", {"n": ask.byte()}, timeout_s=5.0, now=self.clock.now)
                self.commands.append(sent.command_id)
        elif kind == 1:
            now = self.clock.advance(ask.one_of(WAITS_S))
            self.hub.handle_timer(now)
            for protocol in list(self.protocols.values()):
                protocol.handle_timer(now)
            self.drain()
            for machine in (self.hub, *self.protocols.values()):
                deadline = machine.deadline()
                assert deadline is None or deadline > now.mono
        elif len(self.written) < 20:
            self.sign_in()
        self.drain()


def check(data: bytes) -> None:
    """Live through it."""
    operations = Operations(data)
    life = Life(operations)
    while operations:
        life.step()


def plant() -> None:
    """A response is trusted to answer a command that there is."""
    answer = Delivery.answer

    def trusting(delivery: Delivery, tenant_id: str, agent_id: str, response: ResponseData, now: Instant) -> None:
        try:
            delivery.command(tenant_id, response.command_id, agent_id)
        except ApiError as error:
            raise KeyError(response.command_id) from error
        answer(delivery, tenant_id, agent_id, response, now)

    patch.object(Delivery, "answer", trusting).start()
