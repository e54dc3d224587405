"""Signing in over sockets: many at once with one challenge, and more often than is let through (AUTH-8, PLAT-8)."""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from random import Random
from typing import Any

import anyio
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_platform import Platform
from artcafe_proto import PlatformConfig, SigningKey
from platform_server.harness import PATIENCE_S, register, tenant_client
from support.platform_api import TENANT, TENANTS

pytestmark = pytest.mark.anyio

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(Random(1).randbytes(32)))


async def test_auth_8_of_50_verifies_at_once_one_is_right() -> None:
    answers: list[httpx.Response] = []
    async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
        await register(client, "agent-1", KEY.public.openssh)
        challenge = (await client.post("/auth/challenge", json={"agent_id": "agent-1"})).json()["challenge"]
        signature = b64encode(KEY.sign(challenge.encode(), "ssh")).decode()
        body = {"tenant_id": TENANT, "agent_id": "agent-1", "challenge": challenge, "response": signature}

        async def verify() -> None:
            answers.append(await client.post("/auth/verify", json=body))

        with anyio.fail_after(PATIENCE_S):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(verify)
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 49}
    assert [answer.json()["valid"] for answer in answers if answer.status_code == 200] == [True]


@pytest.mark.parametrize("options", [{}, {"anyio_streams": True}], ids=["sockets", "streams"])
async def test_plat_8_too_many_attempts_are_answered_429_with_the_time_to_wait(options: dict[str, Any]) -> None:
    config = PlatformConfig(auth_rate_by_address=0.001, auth_burst_by_address=2)
    async with Platform(tenants=TENANTS, config=config, **options) as platform, tenant_client(platform) as client:
        answers = [await client.post("/auth/challenge", json={"agent_id": "agent-1"}) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 990 <= int(answers[2].headers["retry-after"]) <= 1000
        assert (await client.get("/agents")).status_code == 200, "which is no attempt to sign in"
