"""The recipes of docs/drivers.md, as printed, with the driver for asyncio."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artcafe_anyio.testing import check_driver
from artcafe_platform import Platform
from artcafe_proto import AgentConfig
from artcafe_proto.effects import Sign
from artcafe_proto.events import CommandAnswered, HubEvent
from foreign.test_drivers import ROOT, program
from support.drivers import Handle, Signer
from support.printed import OnAsyncio
from support.virtual import signing_key

PAGE = (ROOT / "docs" / "drivers.md").read_text()


def check(recipe: str, make: Callable[[dict[str, Any]], Any], *rules: str) -> None:
    """The driver that `make` finds among the names of the recipe, which has been run in the event loop."""
    found = re.search(rf"<!-- recipe: {recipe} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    text = found[1]

    def under_test(config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> OnAsyncio:
        def sign_challenge(asked: Sign) -> bytes:
            return sign(asked.challenge.encode())

        def on_loop() -> Any:
            names: dict[str, Any] = {"config": config, "sign": sign_challenge, "handle": handle}
            code = f"{program('asyncio')}\n{text.replace('ca.pem', str(ca_file))}"
            exec(compile(code, recipe, "exec"), names)
            return make(names)

        return OnAsyncio(on_loop)

    check_driver(under_test, only=rules)


def test_a_context_says_whom_a_driver_trusts_and_the_lowest_version() -> None:
    def driver(names: dict[str, Any]) -> Any:
        assert names["tls"].minimum_version is ssl.TLSVersion.TLSv1_3
        return names["driver"]

    check("TLS", driver, "TLS is used where it is asked for", "certificates are verified")


def test_a_signature_may_come_from_a_thread() -> None:
    def driver(names: dict[str, Any]) -> Any:
        return names["PatientDriver"](names["config"], names["sign"], names["handle"])

    check("signing in a thread", driver, "a signer may be slow", "a signer that fails is told")


def test_work_may_be_done_in_other_threads() -> None:
    found = re.search(r"<!-- recipe: several threads -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    workers: set[int] = set()

    def work(args: dict[str, int]) -> float:
        workers.add(threading.get_ident())
        return 6 / args["n"]

    names: dict[str, Any] = {"work": work}
    exec(compile(f"{program('asyncio')}\n{found[1]}", "several threads", "exec"), names)
    answered: dict[str, Any] = {}

    def sign_challenge(asked: Sign) -> bytes:
        return signing_key().sign(asked.challenge.encode(), "ssh")

    async def main() -> None:
        done = asyncio.Event()

        def tell(event: HubEvent) -> None:
            if isinstance(event, CommandAnswered):
                answered[event.command_id] = event.response
                if len(answered) == 2:
                    done.set()

        async with asyncio.timeout(30.0), Platform(tenants={"tenant-1": "t" * 32}) as platform:
            platform.on_event(tell)
            await platform.create_agent("tenant-1", agent_id="agent-1")
            await platform.add_key("tenant-1", "agent-1", signing_key().public.openssh)
            for n in (3, 0):
                await platform.send_command("tenant-1", "agent-1", "divide", {"n": n}, command_id=f"by-{n}")
            config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint=platform.url)
            driver = names["AsyncioDriver"](config, sign_challenge, names["handle"])
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(driver.run())
                await done.wait()
                driver.stop()

    asyncio.run(main())
    names["pool"].shutdown()
    assert (bytes(answered["by-3"].result), answered["by-0"].code) == (b"2.0", "handler_error")
    assert threading.get_ident() not in workers
