"""What a tenant does with a `Platform` in the same process: the coroutines beside `turn`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from artcafe_anyio import Agent
from artcafe_cli.key_files import make_key_pair
from artcafe_platform import Platform
from artcafe_proto import ApiError, LocalProtocolError
from artcafe_proto.events import AgentOffline, AgentOnline, CommandAnswered, MessageReceived
from platform_server.harness import PATIENCE_S, Recorder
from support.platform_api import TENANT, TENANTS

PAGE = Path(__file__).parents[2] / "docs" / "platforms.md"
KEY_ID = "key-1"
CALLS: dict[str, Callable[[Platform], Coroutine[Any, Any, object]]] = {
    "create_agent": lambda platform: platform.create_agent(TENANT, agent_id="agent-1"),
    "add_key": lambda platform: platform.add_key(TENANT, "agent-1", "ssh-ed25519 AAAA"),
    "revoke_key": lambda platform: platform.revoke_key(TENANT, KEY_ID),
    "send_command": lambda platform: platform.send_command(TENANT, "agent-1", "work"),
    "send_message": lambda platform: platform.send_message(TENANT, "agent-1", {}),
}
AFTERWARDS = {
    "add_key": (422, "invalid_key"),
    "revoke_key": (404, "key_not_found"),
    "send_message": (409, "agent_offline"),
}
"""What each is refused with once there is an agent, without a key or a link; the others are not."""


async def call(platform: Platform, name: str) -> None:
    if name in CALLS:
        await CALLS[name](platform)
    elif name == "abort_agent":
        platform.abort_agent("agent-1")
    else:
        with platform.turn():
            pass


everything = pytest.mark.parametrize("name", [*CALLS, "abort_agent", "turn"])


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_streams", [False, True])
async def test_an_agent_is_registered_sent_commands_and_messages_and_loses_its_key(
    tmp_path: Path, anyio_streams: bool
) -> None:
    public = await to_thread.run_sync(make_key_pair, tmp_path / "key", "ed25519", "")
    heard = anyio.Event()
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS, anyio_streams=anyio_streams) as platform:
            events = Recorder(platform)
            created = await platform.create_agent(TENANT, name="A", capabilities=["work"], metadata={"rack": 4})
            assert created.public() | {"created_at": ""} == {
                "agent_id": created.agent_id,
                "tenant_id": TENANT,
                "name": "A",
                "capabilities": ("work",),
                "metadata": {"rack": 4},
                "created_at": "",
                "status": "offline",
                "last_seen": None,
                "metrics": {"cpu_usage": 0.0, "memory_usage": 0.0},
            }
            key = await platform.add_key(TENANT, created.agent_id, public.openssh, "laptop")
            assert (key.public_key.fingerprint, key.name) == (public.fingerprint, "laptop")
            agent = Agent(
                agent_id=created.agent_id,
                tenant_id=TENANT,
                private_key_path=tmp_path / "key",
                api_endpoint=platform.url,
                anyio_streams=anyio_streams,
            )

            @agent.command("work")
            async def work(x: int) -> int:  # pyright: ignore[reportUnusedFunction]
                return x

            @agent.on_message
            async def hear(message: MessageReceived) -> None:  # pyright: ignore[reportUnusedFunction]
                assert message.data == {"n": 2}
                heard.set()

            async with agent:
                await events.nth(AgentOnline)
                command_id = await platform.send_command(TENANT, created.agent_id, "work", {"x": 1})
                assert (await events.nth(CommandAnswered)).command_id == command_id
                assert platform.hub.command(TENANT, command_id).state == "succeeded"
                assert (await platform.send_message(TENANT, created.agent_id, {"n": 2})).startswith("msg-")
                await heard.wait()
                await platform.revoke_key(TENANT, key.key_id)
                assert "the key was revoked" in (await events.nth(AgentOffline)).reason


@pytest.mark.anyio
@pytest.mark.parametrize("name", CALLS)
async def test_what_the_hub_refuses_is_an_api_error(name: str) -> None:
    async with Platform(tenants=TENANTS) as platform:
        await platform.create_agent(TENANT, agent_id="agent-1")
        if name == "create_agent":
            with pytest.raises(ApiError) as refused:
                await platform.create_agent(TENANT, agent_id="agent-1")
            assert (refused.value.status, refused.value.error) == (409, "agent_exists")
        elif name == "send_command":
            with pytest.raises(ApiError) as refused:
                await platform.send_command("another-tenant", "agent-1", "work")
            assert (refused.value.status, refused.value.error) == (404, "agent_not_found")
        else:
            with pytest.raises(ApiError) as refused:
                await CALLS[name](platform)
            assert (refused.value.status, refused.value.error) == AFTERWARDS[name]


@pytest.mark.anyio
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_over_before_anything_could_cancel_it(name: str) -> None:
    async with Platform(tenants=TENANTS) as platform:
        if name != "create_agent":
            await platform.create_agent(TENANT, agent_id="agent-1")
        coroutine = CALLS[name](platform)
        with pytest.raises((StopIteration, ApiError)) as end:
            coroutine.send(None)
        if name in AFTERWARDS:
            assert isinstance(end.value, ApiError)
        else:
            assert isinstance(end.value, StopIteration), "it has returned"


@pytest.mark.anyio
async def test_a_caller_who_is_being_cancelled_still_learns_the_id_of_what_was_accepted() -> None:
    async with Platform(tenants=TENANTS) as platform:
        await platform.create_agent(TENANT, agent_id="agent-1")
        command_id = ""
        with anyio.CancelScope() as scope:
            scope.cancel()
            command_id = await platform.send_command(TENANT, "agent-1", "work")
        assert platform.hub.command(TENANT, command_id).state == "queued"


@pytest.mark.anyio
@everything
async def test_it_is_called_while_its_block_runs(name: str) -> None:
    platform = Platform(tenants=TENANTS)
    with pytest.raises(LocalProtocolError, match="does not run yet"):
        await call(platform, name)
    async with platform:
        pass
    with pytest.raises(LocalProtocolError, match="has ended"):
        await call(platform, name)
    assert not platform.hub.registry.agents(TENANT)


@pytest.mark.anyio
@everything
async def test_it_is_called_in_its_event_loop_and_in_no_thread(name: str) -> None:
    async with Platform(tenants=TENANTS) as platform:

        def step() -> None:
            call(platform, name).send(None)

        for elsewhere in (step, lambda: asyncio.run(call(platform, name)), lambda: anyio.run(call, platform, name)):
            with pytest.raises(LocalProtocolError, match=r"in the event loop that .* entered in"):
                await to_thread.run_sync(elsewhere)
        assert not platform.hub.registry.agents(TENANT)


@pytest.mark.anyio
async def test_the_printed_program_registers_an_agent_and_prints_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = re.search(
        r"<!-- platform: in process -->\n```python\n(.*?)anyio.run\(main\)\n```", PAGE.read_text(), re.DOTALL
    )
    assert found is not None
    await to_thread.run_sync(make_key_pair, tmp_path / "agent_key", "ed25519", "")
    monkeypatch.chdir(tmp_path)
    platforms: list[Platform] = []

    def on_a_free_port(*, port: int) -> Platform:
        assert port == 8420
        platforms.append(Platform(port=0))
        return platforms[0]

    names: dict[str, Any] = {}
    exec(compile(found[1], PAGE.name, "exec"), names)
    names["Platform"] = on_a_free_port
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(names["main"])
            while not platforms or platforms[0].url.endswith(":0"):  # noqa: ASYNC110 of a program that tells nobody
                await anyio.sleep(0.001)
            agent = Agent(
                agent_id="agent-1",
                tenant_id="tenant-1",
                private_key_path=tmp_path / "agent_key",
                api_endpoint=platforms[0].url,
                fixed_wait_growth=1,
            )

            @agent.command("resize")
            async def resize(path: str, width: int) -> int:  # pyright: ignore[reportUnusedFunction]
                return width

            tasks.start_soon(agent.serve)
            while not (printed := capsys.readouterr().out):  # noqa: ASYNC110 the same
                await anyio.sleep(0.01)
            assert printed == "succeeded\n"
            tasks.cancel_scope.cancel()
