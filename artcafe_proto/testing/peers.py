"""A platform that does as it is told: what an embedder's driver talks to in its tests, without a socket of its own."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Any, Final, assert_never

import msgspec

from artcafe_proto.effects import Disconnect, Write
from artcafe_proto.errors import LocalProtocolError
from artcafe_proto.exchanges import JSON_HEADERS, Headers, HttpRequest, HttpResponse
from artcafe_proto.instants import format_timestamp
from artcafe_proto.wires.http_server import ServerWire
from artcafe_proto.wires.inputs import (
    CloseReceived,
    Failed,
    PingReceived,
    PongReceived,
    RequestReceived,
    TextReceived,
)

if TYPE_CHECKING:
    from artcafe_proto.instants import Instant
    from artcafe_proto.wires.inputs import Input

__all__ = ["Answer", "HangUp", "Raw", "Reply", "ScriptedPeer", "Silence"]


class Answer(msgspec.Struct, frozen=True):
    """Answer a request with a status, a body (bytes as they are, anything else as JSON) and header fields."""

    status: int
    body: Any = {}
    headers: Headers = ()


class Raw(msgspec.Struct, frozen=True):
    """Answer a request with these bytes, whatever they are."""

    data: bytes


class Silence(msgspec.Struct, frozen=True):
    """Do not answer a request, and leave the connection open."""


class HangUp(msgspec.Struct, frozen=True):
    """Answer a request by closing the connection, or by a reset."""

    abort: bool = False


Reply = Answer | Raw | Silence | HangUp


class ScriptedPeer:
    """Many connections of agents, answered by a script and, when that is at its end, as a good platform would.

    Feed it what a driver writes; carry out the `Write` and `Disconnect` it returns at the driver's end. It answers a
    challenge, takes any signature, opens links, answers pings and closes, and keeps what it was sent.
    """

    def __init__(self, *script: Reply, token_life_s: float = 900.0) -> None:
        """Each of `script` answers one request, in order, on whatever connection it comes."""
        self.script: deque[Reply] = deque(script)
        self.requests: list[HttpRequest] = []
        """Every request, in order."""
        self.messages: list[dict[str, Any]] = []
        """Every message on a link, in order, as JSON."""
        self.pings: int = 0
        self.links: list[int] = []
        """Connections that carry a link, the last one last."""
        self._token_life_s = token_life_s
        self._wires: dict[int, ServerWire] = {}
        self._sent = 0

    def data_received(self, conn: int, data: bytes, now: Instant) -> list[Write | Disconnect]:
        """The driver wrote `data` on its connection `conn`, which is opened by that if it was not."""
        wire = self._wires.get(conn)
        if wire is None:
            wire = self._wires[conn] = ServerWire(rng=Random(0), max_message_size=_MAX_MESSAGE_BYTES)  # noqa: S311
        done: list[Write | Disconnect] = []
        inputs = wire.receive(data)
        while inputs:
            for each in inputs:
                done += self._answer(conn, wire, each, now)
            inputs = wire.receive(b"") if wire.has_unread and conn in self._wires else []
        return done

    def disconnected(self, conn: int) -> None:
        """The driver closed its connection, or lost it."""
        self._wires.pop(conn, None)
        if conn in self.links:
            self.links.remove(conn)

    def send(self, message_type: str, data: dict[str, Any], now: Instant, *, message_id: str = "") -> Write:
        """A message on the last link. Raises LocalProtocolError without one."""
        self._sent += 1
        envelope = {
            "type": message_type,
            "id": message_id or f"{message_type}-{self._sent}",
            "timestamp": format_timestamp(now.wall),
            "data": data,
        }
        conn, wire = self._last_link()
        assert wire.websocket is not None
        return Write(conn, wire.websocket.writer.text(msgspec.json.encode(envelope)))

    def command(self, command: str, args: dict[str, Any], now: Instant, *, command_id: str = "") -> Write:
        """A command on the last link. Raises LocalProtocolError without one."""
        return self.send("command", {"command": command, "args": args}, now, message_id=command_id)

    def close(self, code: int, reason: str = "") -> Write:
        """A close frame on the last link (RFC 6455 section 7.4). Raises LocalProtocolError without one."""
        conn, wire = self._last_link()
        assert wire.websocket is not None
        return Write(conn, wire.websocket.writer.close(code, reason))

    def received(self, message_type: str) -> list[dict[str, Any]]:
        """The messages of one type."""
        return [message for message in self.messages if message["type"] == message_type]

    def _last_link(self) -> tuple[int, ServerWire]:
        if not self.links:
            raise LocalProtocolError("expected a link to send on; no agent has opened one")
        return self.links[-1], self._wires[self.links[-1]]

    def _answer(self, conn: int, wire: ServerWire, received: Input, now: Instant) -> list[Write | Disconnect]:
        match received:
            case RequestReceived():
                self.requests.append(received.request)
                return self._reply(conn, wire, received, now)
            case TextReceived():
                self.messages.append(msgspec.json.decode(received.payload))
            case PingReceived():
                self.pings += 1
                assert wire.websocket is not None
                return [Write(conn, wire.websocket.writer.pong(received.payload))]
            case CloseReceived():
                assert wire.websocket is not None
                answer = Write(conn, wire.websocket.writer.close(received.code, ""))
                return [answer, self._hang_up(conn, abort=False)]
            case Failed():
                raise received.error
            case _:
                assert isinstance(received, PongReceived), "nothing else comes before the end of a stream"
        return []

    def _reply(self, conn: int, wire: ServerWire, received: RequestReceived, now: Instant) -> list[Write | Disconnect]:
        reply = self.script.popleft() if self.script else self._good_reply(received.request, now)
        match reply:
            case None:
                self.links.append(conn)
                return [Write(conn, wire.accept_upgrade())]
            case Answer():
                body = reply.body if isinstance(reply.body, bytes) else msgspec.json.encode(reply.body)
                response = HttpResponse(status=reply.status, headers=(*JSON_HEADERS, *reply.headers), body=body)
                done: list[Write | Disconnect] = [Write(conn, wire.respond(response))]
                return done if wire.reusable else [*done, self._hang_up(conn, abort=False)]
            case Raw():
                return [Write(conn, reply.data)]
            case Silence():
                return []
            case HangUp():
                return [self._hang_up(conn, abort=reply.abort)]
            case _:
                assert_never(reply)

    def _hang_up(self, conn: int, *, abort: bool) -> Disconnect:
        self.disconnected(conn)
        return Disconnect(conn, abort=abort)

    def _good_reply(self, request: HttpRequest, now: Instant) -> Answer | None:
        """None for a link to open."""
        if "/ws/agent/" in request.target:
            return None
        if request.target.endswith("/auth/challenge"):
            return Answer(200, {"challenge": f"{len(self.requests):032x}-{now.wall:.0f}"})
        if request.target.endswith("/auth/verify"):
            return Answer(200, {"valid": True, "token": self._token(now)})
        return Answer(200, {})

    def _token(self, now: Instant) -> str:
        claims = {"iat": int(now.wall), "exp": int(now.wall + self._token_life_s), "n": len(self.requests)}
        return f"{_JOSE}.{urlsafe_b64encode(msgspec.json.encode(claims)).decode().rstrip('=')}.signature"


_MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
_JOSE: Final = "eyJhbGciOiJub25lIn0"
