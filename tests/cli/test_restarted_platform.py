"""A platform process that stores, ended by SIGTERM and by SIGKILL: who was connected goes on with what it holds."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cli.test_cli import ARTCAFE, TOKEN, environment, run
from platform_server.foreign_stage import ed25519_key
from support.foreign_ports import reserved_port
from support.guide_agent import GuideAgent

PATIENCE_S = 60.0
MY_AGENT = """
from pathlib import Path
from time import sleep
from artcafe_anyio import Agent

agent = Agent()

@agent.command("work")
def work(n: int) -> int:
    with Path("runs").open("a") as runs:
        runs.write(f"{n}\\n")
    while not Path("go").exists():
        sleep(0.02)
    return n
"""


@contextmanager
def program(*arguments: str, cwd: Path, **changes: str) -> Generator[subprocess.Popen[str]]:
    """A command that runs until the end of the block, if it does not end before."""
    process = subprocess.Popen(
        [ARTCAFE, *arguments],
        env=environment(ARTCAFE_TENANT_TOKEN=TOKEN, **changes),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def serving(port: int, cwd: Path) -> subprocess.Popen[str]:
    """A platform process that is ready."""
    process = subprocess.Popen(
        [ARTCAFE, "platform", "--port", str(port), "--data", "data"],
        env=environment(ARTCAFE_TENANT_TOKEN=TOKEN),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["ready"]
    return process


def until(path: Path, lines: int) -> None:
    """Wait for a file to have so many lines."""
    end = time.monotonic() + PATIENCE_S
    while not path.exists() or path.read_text().count("\n") < lines:
        assert time.monotonic() < end, f"{path.name} has no {lines} lines"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_agent_and_whoever_waits_go_on_with_what_they_hold(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "my_agent.py").write_text(MY_AGENT)
    assert run("keygen", "key", cwd=tmp_path).returncode == 0
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        tenant = {"ARTCAFE_PLATFORM": url, "ARTCAFE_TENANT_TOKEN": TOKEN}
        platform = serving(port, tmp_path)
        try:
            registered = run("register", "--agent-id", "a", "--public-key", "key.pub", cwd=tmp_path, **tenant)
            assert registered.returncode == 0
            identity = ["--api-endpoint", url, "--agent-id", "a", "--tenant-id", "tenant-1"]
            with (
                program("agent", "my_agent:agent", *identity, "--private-key-path", "key", cwd=tmp_path) as agent,
                program("send", "a", "work", "--args", '{"n": 1}', cwd=tmp_path, ARTCAFE_PLATFORM=url) as send,
            ):
                until(tmp_path / "runs", 1)
                platform.send_signal(how)
                platform.communicate(timeout=PATIENCE_S)
                platform = serving(port, tmp_path)
                (tmp_path / "go").touch()
                out, err = send.communicate(timeout=PATIENCE_S)
                assert (send.returncode, out) == (0, '{"status":"success","result":1}\n'), err
                assert err.count("asking again for 120 s") == 1
                assert (tmp_path / "runs").read_text() == "1\n", "it ran once"
                agent.send_signal(signal.SIGTERM)
                log = agent.communicate(timeout=PATIENCE_S)[1]
                assert log.count("token received") == 1, log
                assert log.count(": online") == 2, log
        finally:
            platform.kill()
            platform.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_example_agent_of_the_guide_comes_back_with_its_token(tmp_path: Path, how: signal.Signals) -> None:
    with reserved_port() as port:
        platform = serving(port, tmp_path)
        try:
            platform = asyncio.run(asyncio.wait_for(guided(platform, port, tmp_path, how), PATIENCE_S))
        finally:
            platform.kill()
            platform.communicate()


async def guided(platform: subprocess.Popen[str], port: int, cwd: Path, how: signal.Signals) -> subprocess.Popen[str]:
    """A life of the guide's agent, across two of the platform."""
    url, key = f"http://127.0.0.1:{port}", ed25519_key()
    headers = {"authorization": f"Bearer {TOKEN}"}
    agent = GuideAgent("a", "tenant-1", key, url)
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", headers=headers, trust_env=False, verify=False) as client:
        await client.post("/agents", json={"agent_id": "a"})
        line = f"{key.get_name()} {key.get_base64()}"
        await client.post("/ssh-keys", json={"agent_id": "a", "public_key": line, "key_type": "agent"})
        running = asyncio.create_task(agent.start())
        states: list[str] = []
        for life in (1, 2):
            sent = await client.post("/agents/a/commands", json={"command": "work", "command_id": f"c{life}"})
            assert sent.status_code == 202
            answer = await client.get(f"/commands/c{life}?wait=30", timeout=40)
            states.append(answer.json()["state"])
            if life == 1:
                platform.send_signal(how)
                await asyncio.to_thread(platform.communicate)
                platform = await asyncio.to_thread(serving, port, cwd)
        assert (await client.get("/commands/c1")).json()["state"] == "succeeded"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert states == ["succeeded"] * 2
    assert (agent.authenticated, agent.commands) == (1, ["c1", "c2"])
    return platform
