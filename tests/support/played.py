"""An `AgentProtocol` and a platform played by hand: real bytes, virtual time, no latency.

The platform behaves, and is read with h11 and wsproto rather than with what is under test, until a *strike* is armed
for one of its steps: then that is called in place of what a platform does there. What an agent must never do, whatever
happens to it, is checked as it goes (`Bench.audit`).
"""

from __future__ import annotations

import heapq
import json
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Callable
from hashlib import sha1
from itertools import count
from random import Random
from typing import Any, Literal, NamedTuple, TypeVar

import h11
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong, TextMessage

from artcafe_proto import AgentConfig, AgentProtocol, Instant
from artcafe_proto.effects import Connect, Disconnect, Sign, Write
from artcafe_proto.events import CommandReceived, Online

Kind = TypeVar("Kind")
Step = Literal["connect", "challenge", "sign", "verify", "upgrade", "first frame", "closing"]
"""Where the platform, the network or the signer does something, and so can fail to."""
HOST = "localhost"


class Asked(NamedTuple):
    """A request that reached the platform."""

    conn: int
    step: Step


class Peer:
    """The platform's end of one connection: `is_renewal` if it was made while a link was up."""

    def __init__(self, bench: Bench, conn: int, *, is_renewal: bool) -> None:
        self.bench = bench
        self.conn = conn
        self.is_renewal = is_renewal
        self.is_open = True
        self.is_mute = False
        """It hears, and says nothing any more."""
        self.key = ""
        self.goodbyes: list[int] = []
        """Codes of the agent's close frames, 1005 for none."""
        self.texts: list[dict[str, Any]] = []
        self._http = h11.Connection(h11.SERVER)
        self._frames: Connection | None = None
        self._said_close = False

    # --- what a platform and a network can do -------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Bytes for the agent, if it still listens."""
        if self.is_open:
            self.bench.agent.data_received(self.conn, data, self.bench.now)

    def eof(self) -> None:
        """The platform's side ends."""
        self.is_mute = True
        if self.is_open:
            self.bench.agent.eof_received(self.conn, self.bench.now)

    def reset(self, reason: str = "connection reset") -> None:
        """The connection is no more."""
        if self.is_open:
            self.is_open = False
            if self is self.bench.link:
                self.bench.link = None
            self.bench.agent.disconnected(self.conn, reason, self.bench.now)

    def accept(self, *, key: str | None = None, more: tuple[tuple[str, str], ...] = ()) -> None:
        """Answer the opening handshake with 101, as if it had carried `key`."""
        digest = sha1(((key or self.key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        fields = (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", b64encode(digest)))
        self._frames = Connection(ConnectionType.SERVER)
        head = "".join(f"{name}: {v.decode() if isinstance(v, bytes) else v}\r\n" for name, v in (*fields, *more))
        self.send(f"HTTP/1.1 101 Switching Protocols\r\n{head}\r\n".encode())

    def close(self, code: int) -> None:
        """Begin the closing handshake; 1005 names no code."""
        self._said_close = True
        self.send(frame(0x8, b"" if code == 1005 else code.to_bytes(2) + b"as the test says"))

    # --- what it hears ------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """Bytes from the agent."""
        if self._frames is not None:
            self._receive_frames(self._frames, data)
            return
        self._http.receive_data(data)
        request = self._http.next_event()
        assert isinstance(request, h11.Request), "whole requests are written at once"
        body = b""
        while isinstance(event := self._http.next_event(), h11.Data):
            body += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage)
        self._http = h11.Connection(h11.SERVER)
        self.bench.asked(self, request, body)

    def _receive_frames(self, frames: Connection, data: bytes) -> None:
        frames.receive_data(data)
        known = len(self.texts)
        for event in frames.events():
            assert not self.goodbyes, "RFC 6455 section 5.5.1: nothing follows a close frame"
            match event:
                case TextMessage():
                    self.texts.append(json.loads(event.data))
                case Ping() if not self.is_mute:
                    self.send(frame(0xA, bytes(event.payload)))
                case CloseConnection():
                    self.goodbyes.append(int(event.code))
                case Pong() | Ping():
                    pass
                case _:
                    raise AssertionError(f"an agent sends no {event}")
        for text in self.texts[known:]:
            if text["type"] == "response":
                self.bench.owed.pop(text["data"]["command_id"], None)
        if self.goodbyes and not self._said_close:
            self.bench.reach("closing", self, lambda: self.close(self.goodbyes[0]))
        elif self.texts and known == 0:
            assert self.texts[0]["type"] == "heartbeat", "HB-1: ahead of any response"
            self.bench.reach("first frame", self, lambda: self.bench.greet(self))


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A server's frame, of any size (RFC 6455 section 5.2)."""
    size = len(payload)
    head = bytes((0x80 * final | opcode,))
    if size < 126:
        return head + bytes((size,)) + payload
    if size < 1 << 16:
        return head + b"\x7e" + size.to_bytes(2) + payload
    return head + b"\x7f" + size.to_bytes(8) + payload


def http(status: int, body: object = None, *fields: tuple[str, str], raw: bytes | None = None) -> bytes:
    """A response with a JSON body, or with the body `raw`."""
    payload = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    head = "".join(f"{name}: {value}\r\n" for name, value in (*fields, ("content-length", str(len(payload)))))
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + payload


class Bench:
    """One agent, its clock, everything that happened, and the platform."""

    def __init__(self, *, jitter: float = 0.0, seed: int = 1, tls: bool = False, **settings: Any) -> None:
        scheme = "https" if tls else "http"
        base: dict[str, Any] = {"agent_id": "agent-1", "tenant_id": "tenant-1", "api_endpoint": f"{scheme}://{HOST}"}
        base |= {"jitter": jitter} | settings
        self.agent = AgentProtocol(AgentConfig(**base), rng=Random(seed))
        self.tls = tls
        self.mono = 100.0
        self.wall = 1e9
        self.token_life_s = 900.0
        self.owed: dict[str, dict[str, Any]] = {}
        """Commands that the platform keeps until they are answered, and sends on every link (CMD-10)."""
        self.peers: dict[int, Peer] = {}
        self.link: Peer | None = None
        self.log: list[tuple[float, object]] = []
        """Everything in order, with its time: the agent's outputs, `Asked`, and what a test adds."""
        self.on_online: Callable[[Peer], None] = lambda peer: None
        self.on_command: Callable[[CommandReceived], None] = lambda event: None
        self.tokens: list[str] = []
        self.used: list[str] = []
        """Tokens as upgrades carried them."""
        self._armed: dict[tuple[bool, Step], Callable[[Peer], None]] = {}
        self._schedule: list[tuple[float, int, Callable[[], None]]] = []
        self._tick = count()
        self._issued = 0
        self._challenges: Counter[str] = Counter()

    # --- time ---------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> Instant:
        """The moment, on both clocks."""
        return Instant(self.mono, self.wall)

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later."""
        heapq.heappush(self._schedule, (self.mono + delay_s, next(self._tick), action))

    def start(self) -> None:
        """Start the agent."""
        self.agent.start(self.now)
        self.drain()

    def stop(self, *, drain: bool = True) -> None:
        """Stop the agent."""
        self.agent.stop(self.now, drain=drain)
        self.drain()

    def run_for(self, seconds: float) -> None:
        """Let time pass."""
        end = self.mono + seconds
        while (due := self._next_due()) <= end:
            self._go_to(due)
        self._move(end)

    def run_until(self, done: Callable[[], object], limit_s: float = 5000.0) -> None:
        """Let time pass until something holds."""
        end = self.mono + limit_s
        while not done():
            due = self._next_due()
            assert due <= end, f"it did not come about within {limit_s} s"
            self._go_to(due)

    def _next_due(self) -> float:
        deadline = self.agent.deadline()
        scheduled = self._schedule[0][0] if self._schedule else float("inf")
        return min(scheduled, float("inf") if deadline is None else deadline)

    def _go_to(self, due: float) -> None:
        self._move(max(due, self.mono))
        if self._schedule and self._schedule[0][0] <= self.mono:
            heapq.heappop(self._schedule)[2]()
        else:
            self.agent.handle_timer(self.now)
            deadline = self.agent.deadline()
            assert deadline is None or deadline > self.mono, "a handled timer must not be due any more"
        self.drain()

    def _move(self, mono: float) -> None:
        self.wall += mono - self.mono
        self.mono = mono

    # --- the agent's outputs ------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Carry out what the agent asks for, until it asks for nothing more."""
        while outputs := list(iter(self.agent.next_output, None)):
            for output in outputs:
                self._carry_out(output)

    def _carry_out(self, output: object) -> None:
        self.log.append((self.mono, output))
        match output:
            case Connect():
                peer = self.peers[output.conn] = Peer(self, output.conn, is_renewal=self.link is not None)
                self.reach("connect", peer, lambda: self.agent.connected(output.conn, self.now, tls=output.tls))
            case Write():
                peer = self.peers[output.conn]
                assert peer.is_open, "nothing is written on a connection that has ended"
                peer.receive(output.data)
            case Disconnect():
                self._disconnected(output)
            case Sign():
                peer = self.peers[max(self.peers)]
                self.reach("sign", peer, lambda: self.agent.signed(output.request, b"signature", self.now))
            case Online():
                self.link = self.peers[output.link]
                self.on_online(self.link)
            case CommandReceived():
                self.on_command(output)
            case _:
                pass

    def _disconnected(self, disconnect: Disconnect) -> None:
        peer = self.peers[disconnect.conn]
        assert peer.is_open, "a connection is ended once"
        peer.is_open = False
        if peer is self.link:
            self.link = None

    # --- the platform's steps -----------------------------------------------------------------------------------------

    def arm(self, step: Step, strike: Callable[[Peer], None], *, renewal: bool = False) -> None:
        """From now on `strike` happens at `step`, of renewals or of all else."""
        self._armed[renewal, step] = strike

    def disarm(self, step: Step, *, renewal: bool = False) -> None:
        """From now on the platform behaves there."""
        self._armed.pop((renewal, step), None)

    def reach(self, step: Step, peer: Peer, behave: Callable[[], None]) -> None:
        """A step is reached: what is armed for it happens, or what should."""
        strike = self._armed.get((peer.is_renewal, step))
        if strike is not None:
            strike(peer)
        elif not peer.is_mute:
            behave()

    def asked(self, peer: Peer, request: h11.Request, body: bytes) -> None:
        """A request came."""
        target = request.target.decode()
        fields = {name.decode(): value.decode() for name, value in request.headers}
        step: Step = "challenge" if target.endswith("/challenge") else "verify" if body else "upgrade"
        self.log.append((self.mono, Asked(peer.conn, step)))
        if step == "upgrade":
            peer.key = fields["sec-websocket-key"]
            self.used.append(fields["authorization"].removeprefix("Bearer "))
            self.reach(step, peer, peer.accept)
            return
        assert "authorization" not in fields
        if step == "verify":
            self._challenges[json.loads(body)["challenge"]] += 1
        self.reach(step, peer, lambda: peer.send(self.proper_answer(step)))

    def proper_answer(self, step: Step) -> bytes:
        """What a platform answers to a challenge or a verify request."""
        if step == "challenge":
            self._issued += 1
            return http(200, {"challenge": f"challenge-number-{self._issued:08}", "expires_at": ""})
        return http(200, {"valid": True, "token": self.new_token()})

    def new_token(self, life_s: float | None = None) -> str:
        """A token like no other, from now on good for so long."""
        life_s = self.token_life_s if life_s is None else life_s
        payload = json.dumps({"exp": self.wall + life_s, "iat": self.wall, "jti": len(self.tokens)})
        self.tokens.append(f"e30.{urlsafe_b64encode(payload.encode()).decode().rstrip('=')}.sig")
        return self.tokens[-1]

    def greet(self, peer: Peer) -> None:
        """What a platform sends once the agent is online: the commands that are not answered (CMD-10)."""
        for command_id, data in list(self.owed.items()):
            peer.send(frame(0x1, json.dumps({"type": "command", "id": command_id, "data": data}).encode()))

    # --- what tests ask -----------------------------------------------------------------------------------------------

    def seen(self, kind: type[Kind]) -> list[Kind]:
        """All of one kind in the log."""
        return [entry for _, entry in self.log if isinstance(entry, kind)]

    def times(self, kind: type[Any]) -> list[float]:
        """When those of one kind came."""
        return [when for when, entry in self.log if isinstance(entry, kind)]

    def texts(self, message_type: str) -> list[dict[str, Any]]:
        """The data of all messages of one type that reached the platform, on whatever link."""
        return [text["data"] for peer in self.peers.values() for text in peer.texts if text["type"] == message_type]

    def respond(self, command_id: str, result: object = None) -> bool:
        """The application answers a command."""
        accepted = self.agent.respond(command_id, result, self.now)
        self.drain()
        return accepted

    def audit(self) -> None:
        """What holds whatever happened."""
        for connect in self.seen(Connect):
            port = 443 if self.tls else 80
            assert (connect.host, connect.port, connect.tls) == (HOST, port, self.tls), "AUTH-7: nothing is followed"
        assert set(self._challenges.values()) <= {1}, "LINK-2: a verify is never repeated"
        assert set(self.used) <= set(self.tokens)
        executed = Counter(event.command_id for event in self.seen(CommandReceived))
        assert set(executed.values()) <= {1}, "CMD-1: a command is executed once"
        for peer in self.peers.values():
            assert len(peer.goodbyes) <= 1, "RFC 6455 section 5.5.1: one close frame"
