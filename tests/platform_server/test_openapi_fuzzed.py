"""The platform against what schemathesis makes of `docs/openapi.yaml`: data that it allows and data that it forbids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from platform_server.foreign_agent import Link
from platform_server.foreign_stage import AGENT, online, stage
from platform_server.openapi import PATH
from support.platform_api import TOKEN

EXAMPLES = 100
"""Cases at most that are drawn at random for an operation, beside those that follow from its schemas."""
SETTINGS = f"""
seed = 1
color = false
continue-on-failure = true
max-stream-events = 1
request-timeout = 30
headers = {{ Authorization = "Bearer {TOKEN}" }}

[generation]
database = "none"

# The operations of one agent: else nearly all cases would be about agents that do not exist.
[[operations]]
include-operation-id = ["sendCommand", "sendMessage"]
parameters = {{ "path.agent_id" = "{AGENT}" }}

[[operations]]
include-operation-id = ["showAgent", "setStatus"]
parameters = {{ "path.agent_id" = "{AGENT}" }}
headers = {{ Authorization = "Bearer AGENT_TOKEN" }}

[[operations]]
include-operation-id = ["showCommand"]
parameters = {{ wait = 0 }}

# What a schema cannot say: `after` is from an earlier page, a key is one that OpenSSH would take.
[[operations]]
include-operation-id = ["listAgents"]
checks.positive_data_acceptance.expected-statuses = [200, 400]

[[operations]]
include-operation-id = ["addKey"]
checks.positive_data_acceptance.expected-statuses = [201, 404, 409, 422]
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def obey(link: Link) -> None:
    while True:
        message = await link.receive()
        if message["type"] == "command":
            await link.respond(message, {})


@pytest.mark.thorough
@pytest.mark.anyio
async def test_no_data_makes_the_platform_fail_or_answer_otherwise_than_it_says(tmp_path: Path) -> None:
    """All checks of schemathesis. The link is left out: a client that reuses connections cannot reuse that one."""
    settings = tmp_path / "schemathesis.toml"
    command = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(settings), "run", str(PATH)]
    command += ["--exclude-operation-id", "openLink", "--warnings", "off", "--max-examples", str(EXAMPLES)]
    run = None
    async with stage(patience_s=300) as setting, online(setting) as link, anyio.create_task_group() as tasks:
        tasks.start_soon(obey, link)
        settings.write_text(SETTINGS.replace("AGENT_TOKEN", setting.agent.token), "utf-8")
        command += ["--url", setting.platform.url]
        run = await anyio.run_process(command, cwd=tmp_path, check=False, stderr=subprocess.STDOUT)
        tasks.cancel_scope.cancel()
    assert run is not None
    assert run.returncode == 0, run.stdout.decode()
    assert b"Operations:       12 selected / 13 total" in run.stdout
