"""`run` in a process of its own: signals, and threads that hang (CMD-8)."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

PROGRAM = """
import fcntl, sys, termios, threading, anyio
from artcafe_anyio import Agent

if sys.stdin.isatty():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

agent = Agent.from_env(agent_id="a", tenant_id="t")

@agent.command("finish")
async def finish() -> str:
    await agent_is_told_to_stop()
    return "finished"

@agent.command("hang")
def hang() -> None:
    threading.Event().wait()

async def agent_is_told_to_stop():
    while agent._driver.protocol._machine._rules.life.state.value != "stopping":
        await anyio.sleep(0.001)

agent.run(backend=sys.argv[1])
print("the end")
"""


async def start(platform: FakePlatform, key_path: Path, backend: str, terminal: int = subprocess.DEVNULL) -> Process:
    """The program in a session of its own, with this terminal if any."""
    environ = {
        "ARTCAFE_API_ENDPOINT": platform.url,
        "ARTCAFE_PRIVATE_KEY_PATH": str(key_path),
        "PYTHONWARNINGS": "error",
    }
    command = [sys.executable, "-W", "error", "-c", PROGRAM, backend]
    return await anyio.open_process(
        command, env=environ, stdin=terminal, stderr=subprocess.STDOUT, start_new_session=True
    )


async def end_of(process: Process) -> tuple[int, str]:
    """Exit status and output."""
    assert process.stdout is not None
    output = b""
    with anyio.fail_after(PATIENCE_S):
        async for chunk in process.stdout:
            output += chunk
        return await process.wait(), output.decode()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_drains(
    key: Ed25519PrivateKey, key_path: Path, backend: str, number: signal.Signals
) -> None:
    platform = FakePlatform(key.public_key())
    async with platform.listening(), await start(platform, key_path, backend) as process:
        link = await platform.link()
        command_id = await link.command("finish")
        await link.call("unknown")
        process.send_signal(number)
        assert (await link.wait_for("response", command_id=command_id))["result"] == "finished"
        assert await link.wait_closed() == 1000
        status, output = await end_of(process)
    assert status == 0
    assert f"INFO artcafe.agent: a: {number.name}: draining" in output
    assert output.endswith("INFO artcafe.agent: a: stopped\nthe end\n")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_the_second_stops_at_once_whatever_hangs(key: Ed25519PrivateKey, key_path: Path, backend: str) -> None:
    platform = FakePlatform(key.public_key())
    async with platform.listening(), await start(platform, key_path, backend) as process:
        link = await platform.link()
        await link.command("hang")
        await link.call("unknown")
        process.send_signal(signal.SIGTERM)
        while (await link.call("unknown"))["code"] != "draining":
            pass
        process.send_signal(signal.SIGTERM)
        status, output = await end_of(process)
    assert status == 0
    assert "SIGTERM: stopping at once" in output
    assert "a: stopped, and the platform may not have responses to 'cmd-1' [CMD-8]\n" in output
    assert output.endswith("the end\n")
    assert link.close_code is None


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_the_sighups_of_a_terminal_that_closes_drain_and_hasten_nothing(
    key: Ed25519PrivateKey, key_path: Path, backend: str
) -> None:
    leader, follower = pty.openpty()
    platform = FakePlatform(key.public_key())
    async with platform.listening(), await start(platform, key_path, backend, follower) as process:
        os.close(follower)
        link = await platform.link()
        await link.command("hang")
        await link.call("unknown")
        process.send_signal(signal.SIGHUP)
        while (await link.call("unknown"))["code"] != "draining":
            pass
        for _ in range(20):
            process.send_signal(signal.SIGHUP)
            assert (await link.call("unknown"))["code"] == "draining"
        process.send_signal(signal.SIGTERM)
        status, output = await end_of(process)
    os.close(leader)
    assert status == 0
    assert output.count("SIGHUP: ") == 1
    assert "SIGHUP: draining" in output
    assert "SIGTERM: stopping at once" in output
