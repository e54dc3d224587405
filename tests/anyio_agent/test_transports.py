"""What is particular to the transports of asyncio; everything else about connections is held by the other tests."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from wsproto.connection import SERVER, Connection
from wsproto.events import TextMessage

from anyio_agent.fake_platform import FakePlatform
from artcafe_anyio import Agent
from artcafe_anyio.transports import TransportConnection, runs_on_asyncio

pytestmark = pytest.mark.anyio

COUNT = 5


def frames(command: str) -> bytes:
    """So many commands in one piece."""
    sender = Connection(SERVER)
    data = {"command": command}
    texts = [json.dumps({"type": "command", "id": f"{command}-{number}", "data": data}) for number in range(COUNT)]
    return b"".join(sender.send(TextMessage(text)) for text in texts)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("command", ["inline", "together"])
async def test_what_is_answered_in_one_turn_of_the_loop_is_written_at_once(
    key: Ed25519PrivateKey, key_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    platform = FakePlatform(key.public_key())
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path)
    written: list[bytes] = []
    started, let_go = [0], anyio.Event()
    send = TransportConnection._send  # pyright: ignore[reportPrivateUsage]

    def noted(connection: TransportConnection, transport: asyncio.Transport, piece: bytes) -> None:
        written.append(piece)
        send(connection, transport, piece)

    @agent.command("inline", inline=True)
    def inline() -> None: ...  # pyright: ignore[reportUnusedFunction]

    @agent.command("together")
    async def together() -> None:  # pyright: ignore[reportUnusedFunction]
        started[0] += 1
        if started[0] == COUNT:
            let_go.set()
        await let_go.wait()

    async with platform.listening() as url:
        async with agent.configured(api_endpoint=url):
            link = await platform.link()
            monkeypatch.setattr(TransportConnection, "_send", noted)
            await link.stream.send(frames(command))
            for number in range(COUNT):
                await link.wait_for("response", command_id=f"{command}-{number}")
            with_responses = [data for data in written if len(data) > COUNT * 100]
        await link.wait_closed()
    assert len(with_responses) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_is_chosen_where_the_loop_has_transports(anyio_backend: str) -> None:
    assert runs_on_asyncio() is (anyio_backend == "asyncio")
