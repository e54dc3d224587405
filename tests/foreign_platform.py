"""A platform that is not ours: Starlette on uvicorn, PyJWT, cryptography and the standard library's json.

It implements the guide's endpoints in the guide's words and nothing of this project.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import jwt
import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

JWT_SECRET = "a secret of the foreign platform, long enough"


def ssh_string(blob: bytes) -> tuple[bytes, bytes]:
    """One string of an SSH structure, and what follows (RFC 4251 section 5)."""
    size = int.from_bytes(blob[:4])
    return blob[4 : 4 + size], blob[4 + size :]


class ForeignPlatform:
    """Knows one agent by its public key; sends it `commands` one by one and collects what it says."""

    def __init__(self, agent_id: str, public_key: str, commands: list[dict[str, Any]]) -> None:
        self.agent_id = agent_id
        self.public_key = load_ssh_public_key(public_key.encode())
        self.commands = commands
        self.received: list[dict[str, Any]] = []
        self.connections = 0
        self.close_after: int | None = None
        """Close the connection once after so many responses."""
        self.last_command: dict[str, Any] | None = None
        """Sent when everything else is answered."""
        self.all_answered = threading.Event()
        self._challenges: set[str] = set()
        self.app = Starlette(
            routes=[
                Route("/api/v1/auth/challenge", self.challenge, methods=["POST"]),
                Route("/api/v1/auth/verify", self.verify, methods=["POST"]),
                WebSocketRoute("/api/v1/ws/agent/{agent_id}", self.link),
            ]
        )

    async def challenge(self, request: Request) -> JSONResponse:
        """POST /auth/challenge."""
        body = await request.json()
        assert body == {"agent_id": self.agent_id}
        challenge = secrets.token_hex(32)
        self._challenges.add(challenge)
        return JSONResponse({"challenge": challenge, "expires_at": datetime.now(UTC).isoformat()})

    async def verify(self, request: Request) -> JSONResponse:
        """POST /auth/verify."""
        body = await request.json()
        challenge = body["challenge"]
        if challenge not in self._challenges or not self.is_right(challenge, base64.b64decode(body["response"])):
            return JSONResponse({"valid": False}, status_code=401)
        self._challenges.discard(challenge)
        claims = {"sub": body["agent_id"], "tenant": body["tenant_id"], "exp": int(time.time()) + 900}
        return JSONResponse({"valid": True, "token": jwt.encode(claims, JWT_SECRET, "HS256")})

    def is_right(self, challenge: str, blob: bytes) -> bool:
        """Whether the SSH signature blob is the agent's."""
        algorithm, rest = ssh_string(blob)
        signature, rest = ssh_string(rest)
        assert rest == b""
        try:
            if isinstance(self.public_key, ed25519.Ed25519PublicKey):
                assert algorithm == b"ssh-ed25519"
                self.public_key.verify(signature, challenge.encode())
            else:
                assert isinstance(self.public_key, rsa.RSAPublicKey)
                assert algorithm == b"rsa-sha2-512"
                self.public_key.verify(signature, challenge.encode(), padding.PKCS1v15(), SHA512())
        except InvalidSignature:
            return False
        return True

    async def link(self, socket: WebSocket) -> None:
        """The WebSocket."""
        scheme, _, token = socket.headers.get("authorization", "").partition(" ")
        assert scheme == "Bearer"
        assert jwt.decode(token, JWT_SECRET, ["HS256"])["sub"] == socket.path_params["agent_id"]
        await socket.accept()
        self.connections += 1
        with suppress(WebSocketDisconnect):
            await self.talk(socket)

    async def talk(self, socket: WebSocket) -> None:
        """Wait for the first heartbeat, send what is unanswered, collect the rest."""
        self.received.append(json.loads(await socket.receive_text()))
        answered = {message["data"]["command_id"] for message in self.received if message["type"] == "response"}
        for number in range(len(self.commands)):
            if f"cmd-{number}" not in answered:
                await self.send(socket, number)
        while True:
            self.received.append(json.loads(await socket.receive_text()))
            answered = {message["data"]["command_id"] for message in self.received if message["type"] == "response"}
            if self.close_after is not None and len(answered) >= self.close_after:
                self.close_after = None
                await socket.close(1001)
                return
            if len(answered) < len(self.commands):
                continue
            if self.last_command is None:
                self.all_answered.set()
            else:
                self.commands.append(self.last_command)
                self.last_command = None
                await self.send(socket, len(self.commands) - 1)

    async def send(self, socket: WebSocket, number: int) -> None:
        """Send a command, with a naive timestamp."""
        fields = {"type": "command", "id": f"cmd-{number}", "data": self.commands[number]}
        await socket.send_text(json.dumps(fields | {"timestamp": datetime.now().isoformat()}))

    def responses(self) -> dict[str, dict[str, Any]]:
        """The last response to each command."""
        return {
            message["data"]["command_id"]: message["data"] for message in self.received if message["type"] == "response"
        }

    @contextmanager
    def serving(self) -> Generator[str]:
        """Serve from a thread on a free port of 127.0.0.1; gives the base URL."""
        config = uvicorn.Config(self.app, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="wsproto")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.005)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()
