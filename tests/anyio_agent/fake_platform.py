"""A platform played by the test: h11 for HTTP, wsproto for frames, nothing of the core."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from itertools import count
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from wsproto.connection import SERVER, Connection, ConnectionState
from wsproto.events import CloseConnection, Event, Ping, TextMessage

CHALLENGE = "a-challenge-of-more-than-sixteen-characters"
PATIENCE_S = 20.0
"""After which a test has failed."""


class Link:
    """A WebSocket that the agent has opened."""

    def __init__(self, stream: ByteStream, headers: dict[bytes, bytes]) -> None:
        self.stream = stream
        self.headers = headers
        self.received: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.ended = False
        self.may_read = anyio.Event()
        self.may_read.set()
        self.pongs = True
        self._unanswered: Ping | None = None
        self._frames = Connection(SERVER)
        self._news = anyio.Event()
        self._numbers = count(1)
        self._writing = anyio.Lock()

    async def read(self) -> None:
        """Collect what the agent says until it closes the link or is cut off."""
        while self.close_code is None:
            await self.may_read.wait()
            try:
                data = await self.stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                break
            self._frames.receive_data(data)
            for event in self._frames.events():
                match event:
                    case TextMessage():
                        self._take(event)
                    case Ping() if not self.pongs:
                        self._unanswered = event
                    case Ping():
                        await self._send(event.response())
                    case CloseConnection():
                        self.close_code = int(event.code)
                        if self._frames.state is ConnectionState.REMOTE_CLOSING:
                            await self._send(event.response())
                    case _:
                        pass
        self.ended = True
        self._tell()

    _text = ""

    def _take(self, event: TextMessage) -> None:
        self._text += event.data
        if event.message_finished:
            self.received.append(json.loads(self._text))
            self._text = ""
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def wait_for(self, kind: str, **data: Any) -> dict[str, Any]:
        """The `data` of the first message of this type with these fields."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                for message in self.received:
                    if message["type"] == kind and data.items() <= message["data"].items():
                        return message["data"]
                await self._news.wait()

    async def heartbeats(self, count: int) -> None:
        """Wait until so many more have come."""
        before = len(self.received)
        await self.wait_until(lambda: sum(each["type"] == "heartbeat" for each in self.received[before:]) >= count)

    async def wait_closed(self) -> int:
        """The code the agent closed with."""
        await self.wait_until(lambda: self.close_code is not None)
        assert self.close_code is not None
        return self.close_code

    async def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait for what something new makes true."""
        with anyio.fail_after(PATIENCE_S):
            while not done():
                await self._news.wait()

    async def send(self, kind: str, message_id: str, data: dict[str, Any]) -> None:
        """Send the agent a message."""
        await self.send_text(json.dumps({"type": kind, "id": message_id, "data": data}))

    async def send_text(self, text: str) -> None:
        """Send the agent anything."""
        await self._send(TextMessage(text))

    async def command(self, command: str, args: dict[str, Any] | None = None, **more: Any) -> str:
        """Send a command; returns its id."""
        command_id = f"cmd-{next(self._numbers)}"
        await self.send("command", command_id, {"command": command, "args": args or {}} | more)
        return command_id

    async def call(self, command: str, args: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Send a command; returns the response's data."""
        command_id = await self.command(command, args, **more)
        return await self.wait_for("response", command_id=command_id)

    async def pong(self) -> None:
        """Answer the ping that was not answered, and those that follow."""
        await self.wait_until(lambda: self._unanswered is not None)
        assert self._unanswered is not None
        self.pongs = True
        await self._send(self._unanswered.response())

    async def close(self, code: int, reason: str = "") -> None:
        """Close the link from this side."""
        await self._send(CloseConnection(code=code, reason=reason))

    async def _send(self, event: Event) -> None:
        async with self._writing:
            await self.stream.send(self._frames.send(event))

    async def cut(self, *, reset: bool = False) -> None:
        """End it without a word; with `reset` as if this machine had crashed."""
        if reset:
            raw_socket = self.stream.extra(SocketAttribute.raw_socket)
            raw_socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.aclose_forcefully(self.stream)


class FakePlatform:
    """Listens while it is entered by `listening`."""

    def __init__(self, public_key: Ed25519PublicKey) -> None:
        self.public_key = public_key
        self.url = ""
        self.requests: list[str] = []
        self.verify_bodies: list[dict[str, Any]] = []
        self.connections = 0
        self.keep_alive = True
        self.hangs_up = True
        self.mute: set[str] = set()
        """Targets of requests that are not answered."""
        self._news = anyio.Event()
        self._links, self._new_links = anyio.create_memory_object_stream[Link](100)

    @asynccontextmanager
    async def listening(self, ssl_context: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
        """Listen on a free port; gives the base URL. At the end all connections are cut."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(SocketAttribute.local_port)
        self.url = f"http{'' if ssl_context is None else 's'}://localhost:{port}"

        async def attend(stream: ByteStream) -> None:
            self.connections += 1
            async with stream:
                try:
                    if ssl_context is not None:
                        stream = await TLSStream.wrap(stream, server_side=True, ssl_context=ssl_context)
                    await self._talk(stream)
                    await stream.aclose()
                except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                    pass

        with self._links, self._new_links:
            async with listener, anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, attend)
                yield self.url
                tasks.cancel_scope.cancel()

    async def link(self) -> Link:
        """The next link that is opened, once its first message is there."""
        with anyio.fail_after(PATIENCE_S):
            link = await self._new_links.receive()
        await link.wait_for("heartbeat")
        return link

    async def asked_for(self, target: str) -> None:
        """Wait until there was a request for it."""
        with anyio.fail_after(PATIENCE_S):
            while target not in self.requests:
                await self._news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = anyio.Event()

    async def _talk(self, stream: ByteStream) -> None:
        http = h11.Connection(h11.SERVER)
        while True:
            request, body = await self._read_request(http, stream)
            if request is None:
                return
            self.requests.append(request.target.decode())
            self._tell()
            if request.target.decode() in self.mute:
                await anyio.sleep_forever()
            headers = dict(request.headers)
            if b"upgrade" in headers:
                await stream.send(http.send(self._accept(headers)) or b"")
                link = Link(stream, headers)
                self._links.send_nowait(link)
                await link.read()
                if not self.hangs_up:
                    await anyio.sleep_forever()
                return
            answer = b""
            if request.method != b"GET":
                answer = json.dumps(self.answer(request.target.decode(), json.loads(body))).encode()
            length = str(len(answer)).encode()
            connection = b"keep-alive" if self.keep_alive else b"close"
            fields = [(b"content-length", length), (b"connection", connection)]
            head = h11.Response(status_code=200, headers=fields)
            await stream.send((http.send(head) or b"") + (http.send(h11.Data(data=answer)) or b""))
            http.send(h11.EndOfMessage())
            if not self.keep_alive:
                return
            http.start_next_cycle()

    def answer(self, target: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON for a request."""
        if target.endswith("/challenge"):
            return {"challenge": CHALLENGE, "expires_at": "2026-05-01T12:34:56Z"}
        self.verify_bodies.append(body)
        blob = base64.b64decode(body["response"])
        assert blob.startswith(b"\0\0\0\x0bssh-ed25519\0\0\0\x40")
        self.public_key.verify(blob[-64:], body["challenge"].encode())
        return {"valid": True, "token": "an-opaque-token"}

    @staticmethod
    def _accept(headers: dict[bytes, bytes]) -> h11.InformationalResponse:
        digest = hashlib.sha1(headers[b"sec-websocket-key"] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        accept = [
            (b"upgrade", b"websocket"),
            (b"connection", b"Upgrade"),
            (b"sec-websocket-accept", base64.b64encode(digest)),
        ]
        return h11.InformationalResponse(status_code=101, headers=accept)

    @staticmethod
    async def _read_request(http: h11.Connection, stream: ByteStream) -> tuple[h11.Request | None, bytes]:
        request, body = None, b""
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                try:
                    http.receive_data(await stream.receive())
                except anyio.EndOfStream:
                    return None, b""
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return request, body
