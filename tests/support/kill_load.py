"""A tenant's load on a platform that is killed again and again, and all that it, and its agents, were promised."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from itertools import count
from random import Random
from ssl import SSLContext
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from artcafe_proto import SigningKey
from support.kill_phases import TENANT, TOKEN

PAUSE_S: Final = 0.15
"""At most between two commands of one agent: about 200 a second for twenty of them."""
RETRY_S: Final = 0.02
LOST: Final = (OSError, EOFError, ValueError)
"""What a request ends with whose platform was killed."""
OVER: Final = ("succeeded", "failed", "expired")


class Promises:
    """What the platform has said, by which it is judged."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        """Commands that were answered 202."""
        self.settled: set[str] = set()
        """Commands whose agents got a pong after their responses."""
        self.seen: set[str] = set()
        """Commands whose responses were shown to the tenant."""
        self.agents: set[str] = set()
        self.keys: dict[str, int] = {}
        """Keys that were added, with what makes their private halves."""
        self.revoking: set[str] = set()
        """Keys whose end was asked for, and perhaps not answered."""
        self.revoked: set[str] = set()
        self.ran: Counter[str] = Counter()
        """How often each command's handler was called."""
        self.online: set[str] = set()
        self.repeats = 0
        self.replaced: list[str] = []

    def heard(self, line: str) -> None:
        """What the agents' process has said (see `killed_agents`)."""
        word, about = line.split()
        match word:
            case "online":
                self.online.add(about)
            case "offline":
                self.online.discard(about)
            case "ran":
                self.ran[about] += 1
            case "settled":
                self.settled.add(about)
            case "repeated":
                self.repeats += 1
            case "gave-up":
                self.replaced.append(about)
            case _:
                raise AssertionError(line)


class Client:
    """One connection of a tenant, opened anew when it has ended."""

    def __init__(self, port: int, tls: SSLContext | None = None) -> None:
        self._port = port
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """The status and the body of the answer. Raises one of LOST."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(
                    "127.0.0.1", self._port, ssl=self._tls, server_hostname="localhost" if self._tls else None
                )
            return await self._exchange(*self._streams, method, path, body)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _exchange(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        path: str,
        body: dict[str, Any] | None,
    ) -> tuple[int, Any]:
        raw = b"" if body is None else msgspec.json.encode(body)
        fields = f"Host: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(raw)}\r\n"
        if body is not None:
            fields += "Content-Type: application/json\r\n"
        writer.write(f"{method} /api/v1{path} HTTP/1.1\r\n{fields}\r\n".encode() + raw)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(head.split(" ", 2)[1])
        size = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
        answer = await reader.readexactly(size)
        return status, msgspec.json.decode(answer) if answer else None


class Tenant:
    """Asks a platform that comes and goes."""

    def __init__(self) -> None:
        self.is_up = asyncio.Event()
        """Whether there is a platform to ask."""

    async def surely(
        self, client: Client, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        """Ask until there is an answer: of the next platform, if need be."""
        while True:
            await self.is_up.wait()
            with suppress(*LOST):
                status, answer = await client.ask(method, path, body)
                if status != 503:
                    return status, answer
            await asyncio.sleep(RETRY_S)


class Load(Tenant):
    """Commands for all agents, and agents and keys that come and go, until `stop`."""

    def __init__(self, port: int, agents: int, seed: int, promises: Promises) -> None:
        super().__init__()
        self._seed = seed
        self._promises = promises
        self._is_stopping = False
        self._clients = [Client(port) for _ in range(agents + 1)]
        works: list[Coroutine[Any, Any, None]] = [self._register(self._clients[agents])]
        works += [self._command(f"agent-{number}", self._clients[number]) for number in range(agents)]
        self._tasks = [asyncio.create_task(work) for work in works]

    async def stop(self) -> None:
        """Wait until all that was begun is answered. Raises what has gone wrong."""
        self._is_stopping = True
        await asyncio.gather(*self._tasks)

    def check(self) -> None:
        """Raise what has gone wrong, if anything has."""
        for task in self._tasks:
            if task.done():
                task.result()

    def cancel(self) -> None:
        """End at once."""
        for task in self._tasks:
            task.cancel()
        for client in self._clients:
            client.close()

    async def _command(self, agent_id: str, client: Client) -> None:
        rng = Random(f"{self._seed} {agent_id}")
        for number in count():
            if self._is_stopping:
                break
            command_id = f"{agent_id}.{number}"
            body = {"command": "work", "args": {"seconds": rng.uniform(0, 0.02)}, "command_id": command_id}
            expect(await self.surely(client, "POST", f"/agents/{agent_id}/commands", body), 202)
            self._promises.accepted.add(command_id)
            if rng.random() < 0.5:
                await self.see(client, command_id)
            else:
                await asyncio.sleep(rng.uniform(0, PAUSE_S))

    async def see(self, client: Client, command_id: str) -> None:
        """Wait for the end of a command."""
        shown = None
        while shown is None or shown["state"] not in OVER:
            shown = expect(await self.surely(client, "GET", f"/commands/{command_id}?wait=5"), 200)
        check_response(command_id, shown)
        self._promises.seen.add(command_id)

    async def _register(self, client: Client) -> None:
        """Agents that never come, with a key each; every second key is revoked."""
        for number in count():
            if self._is_stopping:
                break
            agent_id = f"spare-{number}"
            expect(await self.surely(client, "POST", "/agents", {"agent_id": agent_id}), 201, 409)
            self._promises.agents.add(agent_id)
            key = {"agent_id": agent_id, "public_key": public_line(number)}
            status, added = await self.surely(client, "POST", "/ssh-keys", key)
            if status == 201:  # else it was added just before a kill, and nobody knows its id
                key_id = added["key_id"]
                self._promises.keys[key_id] = number
                if number % 2:
                    self._promises.revoking.add(key_id)
                    expect(await self.surely(client, "DELETE", f"/ssh-keys/{key_id}"), 204, 404)
                    self._promises.revoked.add(key_id)
            await asyncio.sleep(PAUSE_S / 2)


async def can_sign_in(client: Client, agent_id: str, number: int) -> bool:
    """Whether the key of a spare agent is taken."""
    challenge = expect(await client.ask("POST", "/auth/challenge", {"agent_id": agent_id}), 200)["challenge"]
    signature = SigningKey(spare_key(number)).sign(challenge.encode(), "ssh")
    body = {
        "tenant_id": TENANT,
        "agent_id": agent_id,
        "challenge": challenge,
        "response": b64encode(signature).decode(),
    }
    return bool(expect(await client.ask("POST", "/auth/verify", body), 200, 401)["valid"])


def expect(answer: tuple[int, Any], *statuses: int) -> Any:
    """The body of an answer of one of these."""
    assert answer[0] in statuses, answer
    return answer[1]


def check_response(command_id: str, shown: dict[str, Any]) -> None:
    """That it is what the agent has answered."""
    response = {"status": "success", "result": f"done {command_id}"}
    assert (shown["state"], shown["response"]) == ("succeeded", response), shown


def spare_key(number: int) -> Ed25519PrivateKey:
    """The key of a spare agent."""
    return Ed25519PrivateKey.from_private_bytes(Random(number).randbytes(32))


def public_line(number: int) -> str:
    """Its public half, as it is registered."""
    return spare_key(number).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
