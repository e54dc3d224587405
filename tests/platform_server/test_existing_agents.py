"""An agent as they exist, which signs in elsewhere and names things otherwise, and a platform with `compat` (AUTH-1).

It uses nothing of this project: httpx, paramiko, json and websockets.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import websockets

from artcafe_platform import Platform
from artcafe_proto import PlatformConfig
from artcafe_proto.events import AgentOnline, HeartbeatReceived, PeerViolation, UnknownReceived
from platform_server.foreign_agent import paramiko
from platform_server.foreign_stage import AGENT, ed25519_key
from platform_server.harness import PATIENCE_S, Recorder, register, tenant_client
from support.platform_api import TENANT, TENANTS

pytestmark = pytest.mark.anyio
COMPAT = PlatformConfig(compat=True)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class ExistingAgent:
    """It signs in below /auth/agent/, with its own id as the key's."""

    def __init__(self, url: str, key: paramiko.PKey) -> None:
        self._url = url
        self._key = key
        self.http = httpx.AsyncClient(base_url=f"{url}/api/v1", trust_env=False, verify=False, timeout=PATIENCE_S)

    @property
    def public_key(self) -> str:
        return f"{self._key.get_name()} {self._key.get_base64()}"

    async def sign_in(self) -> httpx.Response:
        answer = await self.http.post("/auth/agent/challenge", json={"agent_id": AGENT})
        if answer.status_code != 200:
            return answer
        challenge = answer.json()["challenge"]
        signature = self._key.sign_ssh_data(challenge.encode()).asbytes()
        body = {
            "tenant_id": TENANT,
            "key_id": AGENT,
            "challenge": challenge,
            "response": base64.b64encode(signature).decode(),
            "agent_id": AGENT,
        }
        answer = await self.http.post("/auth/agent/verify", json=body)
        if answer.status_code == 200:
            self.http.headers["authorization"] = f"Bearer {answer.json()['token']}"
        return answer

    def connect(self) -> Any:
        headers = {"authorization": self.http.headers["authorization"]}
        uri = f"{self._url.replace('http', 'ws')}/api/v1/ws/agent/{AGENT}"
        return websockets.connect(uri, additional_headers=headers, proxy=None)


def message(kind: str, **data: Any) -> str:
    return json.dumps({"type": kind, "id": f"{kind}-1", "data": data, "timestamp": "2026-05-01T12:34:56.789012"})


async def test_it_comes_online_answers_and_sets_its_status() -> None:
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS, config=COMPAT) as platform, tenant_client(platform) as client:
            events, agent = Recorder(platform), ExistingAgent(platform.url, ed25519_key())
            await register(client, AGENT, agent.public_key)
            assert (await agent.sign_in()).json()["valid"] is True
            async with agent.connect() as link:
                await link.send(message("heartbeat", agent_id=AGENT, status="online", cpu_percent=12.5, memory_mb=256))
                await events.nth(AgentOnline)
                (beat,) = events.of(HeartbeatReceived)
                assert (beat.data.cpu_usage, beat.data.memory_usage) == (12.5, 256)
                await link.send(json.dumps({"type": "ACK", "message_id": "cmd-1"}))
                command_id = await platform.send_command(TENANT, AGENT, "work")
                command = json.loads(await link.recv())
                failure = {"command_id": command["id"], "status": "error", "error": "no such file"}
                await link.send(message("response", **failure))
                over = (await client.get(f"/commands/{command_id}", params={"wait": 30})).json()
                assert over["response"] == {"status": "error", "code": "", "reason": "no such file"}
                damaged_id = await platform.send_command(TENANT, AGENT, "measure")
                command = json.loads(await link.recv())
                success = {"command_id": command["id"], "status": "success", "result": float("nan")}
                await link.send(message("response", **success))
                over = (await client.get(f"/commands/{damaged_id}", params={"wait": 30})).json()
                assert (over["state"], over["response"]["code"]) == ("failed", "undeliverable")
                assert (await agent.http.put(f"/agents/{AGENT}/status", json={"status": "busy"})).status_code == 200
                assert (await client.get(f"/agents/{AGENT}")).json()["status"] == "busy"
            assert [event.type for event in events.of(UnknownReceived)] == ["ACK"]
            assert [event.clause for event in events.of(PeerViolation)] == ["MSG-1"], "NaN is no JSON"
            await agent.http.aclose()


async def test_an_operator_is_shown_its_text_by_artcafe_send(tmp_path: Path) -> None:
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS, config=COMPAT) as platform, tenant_client(platform) as client:
            agent = ExistingAgent(platform.url, ed25519_key())
            await register(client, AGENT, agent.public_key)
            await agent.sign_in()
            settings = {"ARTCAFE_PLATFORM": platform.url, "ARTCAFE_TENANT_TOKEN": TENANTS[TENANT]}
            send = [sys.executable, "-m", "artcafe_cli", "send", AGENT, "work"]
            async with (
                agent.connect() as link,
                await anyio.open_process(send, env=os.environ | settings, cwd=tmp_path, stderr=None) as sending,
            ):
                await link.send(message("heartbeat", agent_id=AGENT, status="online", cpu_percent=12.5, memory_mb=256))
                command = json.loads(await link.recv())
                await link.send(message("response", command_id=command["id"], status="error", error="no such file"))
                assert sending.stdout is not None
                printed = b"".join([chunk async for chunk in sending.stdout])
                assert json.loads(printed) == {"status": "error", "code": "", "reason": "no such file"}
                assert await sending.wait() == 1
            await agent.http.aclose()


async def test_by_default_it_finds_no_such_address_and_no_such_key() -> None:
    async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
        agent = ExistingAgent(platform.url, ed25519_key())
        await register(client, AGENT, agent.public_key)
        answer = await agent.sign_in()
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        await agent.http.aclose()


async def test_the_other_addresses_are_answered_as_the_first_ones() -> None:
    async with Platform(tenants=TENANTS, config=COMPAT) as platform, tenant_client(platform) as client:
        for step in ("challenge", "verify"):
            answers = [
                [
                    await client.request(method, f"/auth{path}/{step}", content=body, headers=headers)
                    for path in ("", "/agent")
                ]
                for method, body, headers in (
                    ("GET", b"", {}),
                    ("POST", b"{}", {}),
                    ("POST", b"{}", {"content-type": "application/json"}),
                    ("POST", b"[", {"content-type": "application/json"}),
                )
            ]
            for first, other in answers:
                assert (first.status_code, first.json()) == (other.status_code, other.json())
                assert first.status_code >= 400
                assert first.headers.get("allow") == other.headers.get("allow")


async def test_plat_8_attempts_at_either_address_count_together() -> None:
    config = PlatformConfig(compat=True, auth_burst_by_agent=2, auth_rate_by_agent=0.001)
    async with Platform(tenants=TENANTS, config=config) as platform, tenant_client(platform) as client:
        paths = ["/auth/challenge", "/auth/agent/challenge"] * 2
        statuses = [(await client.post(path, json={"agent_id": AGENT})).status_code for path in paths]
        assert statuses == [200, 200, 429, 429]


@pytest.mark.parametrize(("key_id", "status"), [(AGENT, 200), (None, 200), ("another", 401)])
async def test_a_key_id_counts_unless_it_is_the_agents_own_id(key_id: str | None, status: int) -> None:
    async with Platform(tenants=TENANTS, config=COMPAT) as platform, tenant_client(platform) as client:
        agent = ExistingAgent(platform.url, ed25519_key())
        await register(client, AGENT, agent.public_key)

        async def as_asked(request: httpx.Request) -> None:
            if request.url.path.endswith("verify"):
                body = json.loads(request.content) | {"key_id": key_id}
                content = json.dumps(body).encode()
                request.stream = httpx.ByteStream(content)
                request.headers["content-length"] = str(len(content))

        agent.http.event_hooks["request"] = [as_asked]
        assert (await agent.sign_in()).status_code == status
        await agent.http.aclose()
