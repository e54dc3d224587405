"""Every driver under the same attack, against the reference platform: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvloop

from artcafe_anyio.driver_checks.certificates import Authority
from artcafe_anyio.testing import Application, DriverFactory
from artcafe_platform import Platform
from artcafe_proto import AgentConfig
from artcafe_proto.events import AgentEvent, AgentOffline, CommandAnswered, CommandReceived, HubEvent
from foreign.test_drivers import KINDS, checked
from support.drivers import AgentUnderTest
from support.printed import LOOPS
from support.virtual import signing_key

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

COUNT = 2000
CUTS = (500, 1300)
PATIENCE_S = 240.0
DRIVERS: dict[str, DriverFactory] = {
    **{f"printed for {kind}": partial(checked, kind) for kind in KINDS},
    "ours on asyncio": AgentUnderTest,
    "ours on uvloop": partial(AgentUnderTest, options={"loop_factory": uvloop.new_event_loop}),
    "ours on trio": partial(AgentUnderTest, backend="trio"),
    "ours on streams": partial(AgentUnderTest, anyio_streams=True),
}


@pytest.mark.parametrize("tls", [False, True], ids=["", "TLS"])
@pytest.mark.parametrize("name", DRIVERS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_2000_commands_with_two_cuts_and_a_stop_amid_the_last(name: str, tls: bool, tmp_path: Path) -> None:
    kind = name.removeprefix("printed for ")
    if kind in LOOPS:
        LOOPS[kind].need()
    authority = Authority(tmp_path)
    runs: Counter[str] = Counter()
    results: dict[str, bytes] = {}
    offline: list[str] = []
    news, answered = threading.Event(), anyio.Event()
    application: list[Application] = []
    last = ""

    def tell(event: HubEvent) -> None:
        answered.set()
        if isinstance(event, CommandAnswered):
            assert event.command_id not in results, "one answer each"
            results[event.command_id] = bytes(event.response.result)
        elif isinstance(event, AgentOffline):
            offline.append(event.reason)

    def handle(told: Application, event: AgentEvent) -> None:
        if isinstance(event, CommandReceived):
            runs[event.command_id] += 1
            number: Any = event.args["nbytes"]
            if number < COUNT:
                told.respond(event.command_id, number)
            else:  # it runs when the agent is told to stop
                application.append(told)
                news.set()

    def sign(challenge: bytes) -> bytes:
        return signing_key().sign(challenge, "ssh")

    async def until(count: int) -> None:
        nonlocal answered
        while len(results) < count:
            answered = anyio.Event()
            await answered.wait()

    context = authority.context() if tls else None
    async with Platform(tenants={"tenant-1": "t" * 32}, ssl_context=context) as platform:
        platform.on_event(tell)
        await platform.create_agent("tenant-1", agent_id="agent-1")
        await platform.add_key("tenant-1", "agent-1", signing_key().public.openssh)
        config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint=platform.url)
        driver = DRIVERS[name](config, sign, handle, authority.ca_file)
        thread = threading.Thread(target=driver.run, daemon=True)
        thread.start()
        sent: dict[str, int] = {}
        with anyio.fail_after(PATIENCE_S):
            for number in range(COUNT):
                command_id = await platform.send_command("tenant-1", "agent-1", "check", {"do": "", "nbytes": number})
                sent[command_id] = number
            for cut in CUTS:
                await until(cut)
                assert platform.abort_agent("agent-1")
            await until(COUNT)
            last = await platform.send_command("tenant-1", "agent-1", "check", {"do": "", "nbytes": COUNT})
            await anyio.to_thread.run_sync(news.wait)
            driver.call_soon(lambda told: told.stop())
            await anyio.sleep(0.3)
            driver.call_soon(lambda told: told.respond(last, COUNT))
            await anyio.to_thread.run_sync(thread.join)
            await until(COUNT + 1)
    sent[last] = COUNT
    assert {command_id: int(result) for command_id, result in results.items()} == sent
    assert set(runs.values()) == {1}
    assert len(offline) == len(CUTS) + 1
