"""Our agent with a platform that is not ours, on each of the servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from artcafe_anyio import Agent, CommandContext, CommandError
from support.foreign_platform import ForeignPlatform
from support.foreign_servers import PEERS, serving

pytestmark = pytest.mark.anyio

COMMANDS: list[dict[str, Any]] = [
    {"command": "add", "args": {"a": 1, "b": 2}, "timeout": 300},
    {"command": "greet", "args": {"name": "Ada"}},
    {"command": "digest"},
    {"command": "refuse", "args": {}},
    {"command": "fail", "args": {}},
    {"command": "add", "args": {"a": "one", "b": 2}},
    {"command": "unknown", "args": {"task_id": "task-123", "parameters": {}}},
    {"command": "sleep", "args": {}, "timeout": 0.05},
]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops."""
    return request.param


def new_agent(url: str, key: Path) -> Agent:
    """An agent with a handler of each kind."""
    agent = Agent(agent_id="agent-1", tenant_id="tenant-1", private_key_path=key, api_endpoint=url)

    @agent.command("add")
    async def add(a: int, b: int) -> int:  # pyright: ignore[reportUnusedFunction]
        return a + b

    @agent.command("greet", inline=True)
    def greet(name: str) -> dict[str, str]:  # pyright: ignore[reportUnusedFunction]
        return {"greeting": f"hello {name}"}

    @agent.command("digest")
    def digest(ctx: CommandContext) -> str:  # pyright: ignore[reportUnusedFunction]
        return ctx.command_id

    @agent.command("refuse")
    async def refuse() -> None:  # pyright: ignore[reportUnusedFunction]
        raise CommandError("not today")

    @agent.command("fail")
    async def fail() -> None:  # pyright: ignore[reportUnusedFunction]
        raise ZeroDivisionError("a secret")

    @agent.command("sleep")
    async def sleep() -> None:  # pyright: ignore[reportUnusedFunction]
        await anyio.sleep_forever()

    return agent


@pytest.mark.parametrize(("kind", "peer"), [*(("ed25519", peer) for peer in PEERS), ("rsa", "uvicorn"), ("rsa", "ws")])
async def test_it_comes_online_and_answers(request: pytest.FixtureRequest, keys: Path, kind: str, peer: str) -> None:
    key = keys / kind
    platform = ForeignPlatform()
    account = platform.register("agent-1", key.with_suffix(".pub").read_text())
    for data in COMMANDS:
        account.post(**data)
    with serving(peer, platform, request) as url:
        async with new_agent(url, key):
            await account.until(account.is_answered)
    assert account.received[0]["type"] == "heartbeat"
    assert account.received[0]["data"]["memory_usage"] > 1
    answers = account.responses()
    assert [answers[f"cmd-{n}"].get("result") for n in range(3)] == [3, {"greeting": "hello Ada"}, "cmd-2"]
    codes = ["handler_error", "handler_error", "invalid_arguments", "unknown_command", "timeout"]
    assert [answers[f"cmd-{n}"].get("code") for n in range(3, 8)] == codes
    assert [answers[f"cmd-{n}"]["reason"] for n in (3, 4)] == ["not today", "ZeroDivisionError"]
    statuses = [message["data"] for message in account.received if message["type"] == "status"]
    assert statuses[-1] == {"status": "offline"}
