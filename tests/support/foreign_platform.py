"""A platform that is not ours, but for the network: PyJWT, cryptography and the standard library's json.

It implements the guide's endpoints in the guide's words and nothing of this project. `foreign_servers` puts it on the
network, by several libraries.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import anyio
import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

JWT_SECRET = "a secret of the foreign platform, long enough"
PATIENCE_S = 60.0
"""Before a test that waits for something is taken as failed."""
OVERLOADED_RETRY_S = 1.0
WINDOW = 64
"""Commands that came back as `overloaded` are under way again at once at most, so many with the others."""


class ForeignLink(Protocol):
    """A WebSocket of one of the libraries. Both methods may be called from any thread and return at once."""

    def send(self, text: str) -> None: ...
    def close(self, code: int) -> None: ...


class Account:
    """One agent: commands for it, each kept until it is answered, and what it has said. Lives on several threads."""

    def __init__(self, agent_id: str, public_key: str) -> None:
        self.agent_id = agent_id
        self.public_key = public_key
        self.commands: dict[str, dict[str, Any]] = {}
        self.received: list[dict[str, Any]] = []
        """All messages."""
        self.finals: dict[str, list[str]] = {}
        """The texts of all final responses by command id; a response may come on two links."""
        self.links = 0
        """How many there were."""
        self.link: ForeignLink | None = None
        """The one that is online."""
        self.overloaded = 0
        self.on_final: Callable[[Account], None] = _do_nothing
        """Called after a final response, on a thread of the server's."""
        self._deferred: deque[tuple[float, str]] = deque()
        self._under_way: set[str] = set()
        self._lock = threading.RLock()

    # --- from the test ------------------------------------------------------------------------------------------------

    def post(self, command: str, args: dict[str, Any] | None = None, **more: Any) -> str:
        """Keep a command until it is answered, and send it now if the agent is online; returns its id."""
        with self._lock:
            command_id = f"cmd-{len(self.commands)}"
            self.commands[command_id] = {"command": command, "args": args or {}} | more
            self._send(command_id)
        return command_id

    def close(self, code: int) -> None:
        """Close the link that is online."""
        assert self.link is not None
        self.link.close(code)

    def responses(self) -> dict[str, dict[str, Any]]:
        """The data of the final response to each command."""
        with self._lock:
            return {command_id: json.loads(texts[0])["data"] for command_id, texts in self.finals.items()}

    def is_answered(self) -> bool:
        """Whether every command has its final response."""
        return len(self.finals) == len(self.commands)

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait for what the agent brings about; what it gave back goes out again when it is time."""
        with anyio.move_on_after(PATIENCE_S):
            while not done():
                with self._lock:
                    self._send_deferred()
                await anyio.sleep(0.01)
            return
        answers = f"{len(self.finals)} of {len(self.commands)} answered"
        raise AssertionError(f"{self.agent_id}: {self.links} links, {answers}, last {self.received[-3:]}")

    # --- from the server ----------------------------------------------------------------------------------------------

    def heard(self, link: ForeignLink, text: str) -> None:
        """The agent said something on a link; the first heartbeat brings it online."""
        with self._lock:
            message = json.loads(text)
            self.received.append(message)
            if message["type"] == "response":
                self._answered(message["data"], text)
            elif message["type"] == "heartbeat" and self.link is not link:
                self.links += 1
                self.link = link
                self._deferred.clear()
                self._under_way.clear()
                for command_id in self.commands:
                    if command_id not in self.finals:
                        self._send(command_id)

    def closed(self, link: ForeignLink) -> None:
        """A link is over."""
        with self._lock:
            if self.link is link:
                self.link = None

    def _answered(self, data: dict[str, Any], text: str) -> None:
        command_id = data["command_id"]
        self._under_way.discard(command_id)
        if data.get("code") == "overloaded":
            self.overloaded += 1
            self._deferred.append((time.monotonic() + OVERLOADED_RETRY_S, command_id))
        elif data.get("code") != "draining":
            self.finals.setdefault(command_id, []).append(text)
            self.on_final(self)
        self._send_deferred()

    def _send_deferred(self) -> None:
        while self._deferred and len(self._under_way) < WINDOW and self._deferred[0][0] <= time.monotonic():
            self._send(self._deferred.popleft()[1])

    def _send(self, command_id: str) -> None:
        """Send a command, with a naive timestamp."""
        if self.link is not None:
            self._under_way.add(command_id)
            fields = {"type": "command", "id": command_id, "data": self.commands[command_id]}
            self.link.send(json.dumps(fields | {"timestamp": datetime.now().isoformat()}))


class ForeignPlatform:
    """Knows agents by their public keys, and lets them in."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self._challenges: dict[str, str] = {}

    def register(self, agent_id: str, public_key: str) -> Account:
        """A new agent."""
        account = self.accounts[agent_id] = Account(agent_id, public_key)
        return account

    def challenge(self, body: Any) -> dict[str, str]:
        """The answer to POST /auth/challenge."""
        assert body.keys() == {"agent_id"}
        challenge = secrets.token_hex(32)
        self._challenges[challenge] = body["agent_id"]
        return {"challenge": challenge, "expires_at": datetime.now(UTC).isoformat()}

    def verify(self, body: Any) -> tuple[int, dict[str, Any]]:
        """Status and answer to POST /auth/verify."""
        challenge, agent_id = body["challenge"], body["agent_id"]
        is_known = self._challenges.pop(challenge, None) == agent_id
        signature = base64.b64decode(body["response"], validate=True)
        if not is_known or not is_right(self.accounts[agent_id].public_key, challenge, signature):
            return 401, {"valid": False}
        claims = {"sub": agent_id, "tenant": body["tenant_id"], "exp": int(time.time()) + 900}
        return 200, {"valid": True, "token": jwt.encode(claims, JWT_SECRET, "HS256")}

    def admit(self, authorization: str, agent_id: str) -> Account:
        """The agent that opens a link."""
        scheme, _, token = authorization.partition(" ")
        assert scheme == "Bearer"
        assert jwt.decode(token, JWT_SECRET, ["HS256"])["sub"] == agent_id
        return self.accounts[agent_id]


def is_right(public_key: str, challenge: str, blob: bytes) -> bool:
    """Whether an SSH signature blob is that of the key's owner (RFC 4253 section 6.6)."""
    key = load_ssh_public_key(public_key.encode())
    algorithm, rest = ssh_string(blob)
    signature, rest = ssh_string(rest)
    assert rest == b""
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            assert algorithm == b"ssh-ed25519"
            key.verify(signature, challenge.encode())
        else:
            assert isinstance(key, rsa.RSAPublicKey)
            assert algorithm == b"rsa-sha2-512"
            key.verify(signature, challenge.encode(), padding.PKCS1v15(), SHA512())
    except InvalidSignature:
        return False
    return True


def ssh_string(blob: bytes) -> tuple[bytes, bytes]:
    """One string of an SSH structure, and what follows (RFC 4251 section 5)."""
    size = int.from_bytes(blob[:4])
    return blob[4 : 4 + size], blob[4 + size :]


def _do_nothing(_: Account) -> None:
    pass
