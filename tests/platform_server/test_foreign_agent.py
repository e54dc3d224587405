"""The platform and an agent that knows nothing of this project, as the guide describes one."""

from __future__ import annotations

import secrets

import anyio
import pytest

from artcafe_platform import Platform
from artcafe_proto.events import (
    AgentAuthenticated,
    AgentOffline,
    AgentOnline,
    CommandAnswered,
    CommandSent,
    HeartbeatReceived,
    MessageReceived,
    StatusReceived,
)
from platform_server.foreign_agent import AuthenticationFailedError, ForeignAgent, paramiko
from platform_server.foreign_stage import AGENT, ed25519_key, online, stage
from platform_server.harness import Recorder, register, tenant_client
from support.foreign_clients import SIDES, LinkClosedError, UpgradeRefusedError
from support.platform_api import TENANT, TENANTS

pytestmark = pytest.mark.anyio


@pytest.fixture(params=SIDES, ids="-".join)
def side(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The event loop of both, and the agent's WebSocket library."""
    return request.param


@pytest.fixture
def anyio_backend(side: tuple[str, str]) -> str:
    return side[0]


@pytest.fixture
def library(side: tuple[str, str]) -> str:
    return side[1]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
async def test_it_is_authenticated_shown_online_and_answers(library: str, kind: str) -> None:
    key = paramiko.RSAKey.generate(2048) if kind == "rsa" else ed25519_key()
    async with stage(library, key) as setting:
        assert (await setting.shown())["status"] == "offline"
        async with online(setting) as link:
            assert setting.events.of(AgentAuthenticated)[0].algorithm.startswith(
                "rsa-sha2" if kind == "rsa" else "ssh-"
            )
            await link.heartbeat(cpu_usage=12.5, memory_usage=256.3)
            await setting.events.nth(HeartbeatReceived, 2)
            shown = await setting.shown()
            assert shown["status"] == "online"
            assert shown["metrics"] == {"cpu_usage": 12.5, "memory_usage": 256.3}
            assert shown["last_seen"] is not None

            command_id = await setting.send("execute_task", task_id="task-123")
            command = await link.receive()
            assert command["type"] == "command"
            assert command["data"]["args"] == {"task_id": "task-123"}
            await link.respond(command, {"done": True})
            over = await setting.result(command_id)
            assert over["state"] == "succeeded"
            assert over["response"] == {"status": "success", "result": {"done": True}}
        gone = await setting.events.nth(AgentOffline)
        assert "1000" in gone.reason
        assert (await setting.shown())["status"] == "offline"


async def test_an_error_response_needs_a_reason_and_the_commands_id_only(library: str) -> None:
    async with stage(library) as setting, online(setting) as link:
        command_id = await setting.send("execute_task")
        await link.fail(await link.receive(), "no such task")
        over = await setting.result(command_id)
        assert over["state"] == "failed"
        assert over["response"] == {"status": "error", "code": "", "reason": "no such task"}


async def test_messages_and_status_pass_both_ways(library: str) -> None:
    async with stage(library) as setting, online(setting) as link:
        sent = await setting.client.post(f"/agents/{AGENT}/messages", json={"data": {"topic": "news"}})
        assert sent.status_code == 202
        message = await link.receive()
        assert (message["type"], message["id"]) == ("message", sent.json()["message_id"])
        assert message["data"] == {"topic": "news"}

        await link.send("message", {"topic": "thanks"})
        received = await setting.events.nth(MessageReceived)
        assert (received.agent_id, received.data) == (AGENT, {"topic": "thanks"})

        await link.send("status", {"status": "busy", "current_task": "task-123", "progress": 45})
        status = await setting.events.nth(StatusReceived)
        assert (status.status, status.current_task, status.progress) == ("busy", "task-123", 45)
        assert (await setting.shown())["status"] == "busy"


async def test_it_sets_its_status_over_http_too(library: str) -> None:
    async with stage(library) as setting, online(setting):
        headers = {"authorization": f"Bearer {setting.agent.token}"}
        answer = await setting.client.put(f"/agents/{AGENT}/status", json={"status": "error"}, headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (200, "error")
        own = await setting.client.get(f"/agents/{AGENT}", headers=headers)
        assert own.json()["status"] == "error"


async def test_commands_for_an_absent_agent_wait_for_it_in_order(library: str) -> None:
    async with stage(library) as setting:
        sent = [await setting.send("work", number=number) for number in range(5)]
        async with online(setting) as link:
            received = [await link.receive() for _ in sent]
            assert [command["id"] for command in received] == sent


async def test_an_aborted_agent_comes_back_and_gets_its_command_again(library: str) -> None:
    async with stage(library) as setting:
        assert not setting.platform.abort_agent(AGENT)
        async with online(setting) as link:
            command_id = await setting.send("work")
            first = await link.receive()
            assert setting.platform.abort_agent(AGENT)
            assert setting.events.of(AgentOffline)[0].reason.startswith("the connection ended: aborted")
            with pytest.raises(LinkClosedError):
                await link.receive()
        async with online(setting, 2) as link:
            again = await link.receive()
            assert again["id"] == first["id"] == command_id
            await link.respond(again, 42)
            over = await setting.result(command_id)
        assert (over["state"], over["attempts"]) == ("succeeded", 2)
        assert [event.attempt for event in setting.events.of(CommandSent)] == [1, 2]
        assert len(setting.events.of(CommandAnswered)) == 1


async def test_a_newer_connection_replaces_the_older_one(library: str) -> None:
    async with stage(library) as setting, online(setting) as older, online(setting, 2) as newer:
        with pytest.raises(LinkClosedError) as closed:
            await older.receive()
        assert closed.value.code == 4409
        command_id = await setting.send("work")
        await newer.respond(await newer.receive(), None)
        assert (await setting.result(command_id))["state"] == "succeeded"
        assert (await setting.shown())["status"] == "online"
        assert [event.epoch for event in setting.events.of(AgentOffline)] == [1]


async def test_a_revoked_key_ends_the_link_its_token_and_new_logins(library: str) -> None:
    async with stage(library) as setting, online(setting) as link:
        assert (await setting.client.delete(f"/ssh-keys/{setting.key_id}")).status_code == 204
        with pytest.raises(LinkClosedError) as closed:
            await link.receive()
        assert closed.value.code == 4403
        with pytest.raises(UpgradeRefusedError) as refused:
            async with setting.agent.connect():
                pass
        assert refused.value.status == 401
        with pytest.raises(AuthenticationFailedError, match="401"):
            await setting.agent.authenticate()


async def test_what_opens_no_link(library: str) -> None:
    async with stage(library) as setting:
        other = ForeignAgent(setting.platform.url, TENANT, "agent-2", ed25519_key(), library)
        await register(setting.client, "agent-2", other.public_key)
        await other.authenticate()
        for token, status in ((other.token, 403), (secrets.token_urlsafe(), 401), ("", 401)):
            setting.agent.token = token
            with pytest.raises(UpgradeRefusedError) as refused:
                async with setting.agent.connect():
                    pass
            assert refused.value.status == status


async def test_a_wrong_key_is_refused(library: str) -> None:
    async with stage(library) as setting:
        impostor = ForeignAgent(setting.platform.url, TENANT, AGENT, ed25519_key(), library)
        with pytest.raises(AuthenticationFailedError, match="401"):
            await impostor.authenticate()


async def test_shutting_down_says_1001(library: str) -> None:
    codes: list[int | None] = []
    platform = Platform(tenants=TENANTS)
    async with anyio.create_task_group() as tasks, platform, tenant_client(platform) as client:
        agent = ForeignAgent(platform.url, TENANT, AGENT, ed25519_key(), library)
        events = Recorder(platform)
        await register(client, AGENT, agent.public_key)
        await agent.authenticate()

        async def stay() -> None:
            async with agent.connect() as link:
                await link.heartbeat()
                with pytest.raises(LinkClosedError) as closed:
                    await link.receive()
                codes.append(closed.value.code)

        tasks.start_soon(stay)
        await events.nth(AgentOnline)
    assert codes == [1001]
