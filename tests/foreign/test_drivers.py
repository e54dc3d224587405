"""The drivers of the README and of docs/, as printed, against the reference platform."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import to_thread

from artcafe_anyio.testing import check_driver
from artcafe_cli.key_files import make_key_pair
from artcafe_platform import Platform
from artcafe_proto import AgentConfig, AgentMachine, Driver, Instant
from artcafe_proto.effects import Sign
from artcafe_proto.events import AgentEvent, AgentOffline, AgentOnline, CommandAnswered, CommandReceived, HubEvent
from support.drivers import Handle, Signer
from support.printed import LOOPS, Printed
from support.virtual import signing_key

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
KINDS = {
    "asyncio": "AsyncioDriver",
    "trio": "TrioDriver",
    "selectors": "SelectorsDriver",
    "Twisted": "TwistedDriver",
    "Tornado": "AsyncioDriver",
    "gevent": "GeventDriver",
    "Qt": "QtDriver",
}
MARKS = {
    "asyncio": ("README.md", "embedding"),
    "trio": ("docs/embedding.md", "driver: trio"),
    "selectors": ("docs/embedding.md", "driver: selectors"),
    "Twisted": ("docs/drivers.md", "driver: Twisted"),
    "Tornado": ("docs/drivers.md", "driver: Tornado"),
    "gevent": ("docs/drivers.md", "driver: gevent"),
    "Qt": ("docs/drivers.md", "driver: Qt"),
    "websockets": ("docs/transports.md", "transport: websockets"),
}
MOST_LINES = {"asyncio": 65, "trio": 75, "selectors": 90, "Twisted": 100, "Tornado": 65, "gevent": 110, "Qt": 110}
LIBRARIES = {
    "trio": {"trio"},
    "Twisted": {"twisted", "OpenSSL", "service_identity", "zope"},
    "gevent": {"gevent"},
    "Qt": {"PySide6"},
}


@pytest.fixture(autouse=True)
def what_a_loop_needs(request: pytest.FixtureRequest) -> None:
    kind: Any = request.getfixturevalue("kind") if "kind" in request.fixturenames else None
    if kind in LOOPS:
        LOOPS[kind].need()


def printed(kind: str) -> str:
    """A whole program."""
    page, mark = MARKS[kind]
    found = re.search(rf"<!-- {mark} -->\n```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert found is not None
    if kind == "Tornado":  # it ends another program
        return printed("asyncio").partition("async def main")[0] + found[1]
    return found[1]


def program(kind: str) -> str:
    """A driver's code, without what starts it."""
    driver, mark, _ = printed(kind).partition("\n# Run it: ")
    assert mark
    return driver


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_is_short_and_uses_nothing_of_ours_but_the_core(kind: str) -> None:
    lines = [line for line in program(kind).splitlines() if line]
    assert len(lines) <= MOST_LINES[kind]
    assert max(map(len, lines)) <= 120
    imported = {
        name.strip().partition(".")[0]
        for line in lines
        for names in re.findall(r"^(?:import|from) ([\w., ]+?)(?: import.*)?$", line)
        for name in names.split(",")
    }
    assert imported <= {"artcafe_proto"} | sys.stdlib_module_names | LIBRARIES.get(kind, set())


@pytest.mark.parametrize("kind", MARKS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_program_runs_as_pasted(kind: str, tmp_path: Path) -> None:
    """With the key of `artcafe keygen agent_key` in its folder; only where the platform listens is another place."""
    public = await to_thread.run_sync(make_key_pair, tmp_path / "agent_key", "ed25519", "")
    async with Platform(tenants={"tenant-1": "t" * 32}) as platform:
        answered = anyio.Event()
        results: list[bytes] = []

        def tell(event: HubEvent) -> None:
            if isinstance(event, CommandAnswered):
                results.append(bytes(event.response.result))
                answered.set()

        platform.on_event(tell)
        await platform.create_agent("tenant-1", agent_id="agent-1")
        await platform.add_key("tenant-1", "agent-1", public.openssh)
        await platform.send_command("tenant-1", "agent-1", "echo", {"n": 1})
        text = printed(kind).replace("http://127.0.0.1:8420", platform.url)
        (tmp_path / "pasted.py").write_text(text)
        async with await anyio.open_process([sys.executable, "pasted.py"], cwd=tmp_path) as process:
            with anyio.fail_after(PATIENCE_S):
                await answered.wait()
            process.terminate()
    assert results == [b'{"command":"echo","arguments":1}']


def made(
    kind: str, *arguments: object, meanwhile: Callable[[Any], object] | None = None, ca_file: Path | None = None
) -> Printed:
    """A driver on its loop, with the arguments of every printed driver: settings, what signs, and what handles."""
    names: dict[str, Any] = {}
    exec(compile(program(kind), kind, "exec"), names)
    loop = LOOPS[kind]
    trusted = [] if ca_file is None else [loop.tls(ca_file)]
    return loop(lambda *first: names[KINDS[kind]](*first, *arguments, *trusted), meanwhile)


def runner(kind: str, config: AgentConfig, handle: Callable[..., None]) -> Callable[[], None]:
    """What runs a driver to its end, in a thread of its own."""
    key = signing_key()

    def sign(asked: Sign) -> bytes:
        return key.sign(asked.challenge.encode(), "ssh")

    if kind == "websockets":
        names: dict[str, Any] = {}
        exec(compile(program(kind), kind, "exec"), names)
        return lambda: asyncio.run(names["drive"](config, key, handle))
    return made(kind, config, sign, handle).run


def checked(kind: str, config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> Printed:
    """As `check_driver` wants it."""

    def sign_challenge(asked: Sign) -> bytes:
        return sign(asked.challenge.encode())

    return made(kind, config, sign_challenge, handle, ca_file=ca_file)


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_passes_every_check(kind: str) -> None:
    check_driver(partial(checked, kind))


def lonely(kind: str, meanwhile: Callable[[Any], object]) -> Printed:
    """A printed driver that reaches no platform."""
    config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint="http://127.0.0.1:1")
    return made(kind, config, None, None, meanwhile=meanwhile)


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_that_is_stopped_before_it_runs_ends_at_once(kind: str) -> None:
    lonely(kind, lambda driver: driver.stop()).run()


@pytest.mark.parametrize("kind", KINDS)
def test_an_internal_error_ends_a_driver_and_is_raised(kind: str) -> None:
    def plant(driver: Any) -> None:
        def fail(*arguments: object) -> None:
            raise ZeroDivisionError("planted")

        driver.protocol.connect_failed = fail

    with pytest.raises((ZeroDivisionError, ExceptionGroup)) as caught:
        lonely(kind, plant).run()
    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert str(error) == "planted"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_driver_that_is_cancelled_leaves_no_connection(kind: str) -> None:
    told: dict[type[HubEvent], anyio.Event] = {AgentOnline: anyio.Event(), AgentOffline: anyio.Event()}
    async with Platform(tenants={"tenant-1": "t" * 32}) as platform:
        platform.on_event(lambda event: told[type(event)].set() if type(event) in told else None)
        await platform.create_agent("tenant-1", agent_id="agent-1")
        await platform.add_key("tenant-1", "agent-1", signing_key().public.openssh)
        config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint=platform.url)

        def sign(asked: Sign) -> bytes:
            return signing_key().sign(asked.challenge.encode(), "ssh")

        printed = made(kind, config, sign, None)

        def run() -> None:
            with suppress(KeyboardInterrupt):  # it is how that of selectors is ended
                printed.run()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        with anyio.fail_after(PATIENCE_S):
            await told[AgentOnline].wait()
            printed.call_soon(lambda driver: printed.cancel())
            await to_thread.run_sync(thread.join)
            await told[AgentOffline].wait()


@pytest.mark.parametrize("kind", MARKS)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_driver_answers_commands_comes_back_after_a_cut_and_stops(kind: str) -> None:
    results: dict[str, bytes] = {}
    offline: list[str] = []
    news = anyio.Event()

    def tell(event: HubEvent) -> None:
        if isinstance(event, CommandAnswered):
            results[event.command_id] = bytes(event.response.result)
        elif isinstance(event, AgentOffline):
            offline.append(event.reason)
        news.set()

    def handle(agent: AgentMachine | Driver, event: AgentEvent) -> None:
        if not isinstance(event, CommandReceived):
            return
        if isinstance(agent, Driver):
            agent.respond(event.command_id, event.args)
            if event.command == "stop":
                agent.stop()
            return
        now = Instant(event.deadline - 300.0, 1.7e9)
        agent.respond(event.command_id, event.args, now)
        if event.command == "stop":
            agent.stop(now)

    async def until(done: Callable[[], bool]) -> None:
        nonlocal news
        while not done():
            news = anyio.Event()
            await news.wait()

    async with Platform(tenants={"tenant-1": "t" * 32}) as platform:
        platform.on_event(tell)
        await platform.create_agent("tenant-1", agent_id="agent-1")
        await platform.add_key("tenant-1", "agent-1", signing_key().public.openssh)
        sent = {await platform.send_command("tenant-1", "agent-1", "echo", {"n": n}): n for n in range(3)}
        config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint=platform.url)
        thread = threading.Thread(target=runner(kind, config, handle), daemon=True)
        thread.start()
        with anyio.fail_after(PATIENCE_S):
            await until(lambda: len(results) == 3)
            assert platform.abort_agent("agent-1")
            sent |= {await platform.send_command("tenant-1", "agent-1", "echo", {"n": n}): n for n in range(3, 6)}
            await until(lambda: len(results) == 6)
            last = await platform.send_command("tenant-1", "agent-1", "stop", {})
            await until(lambda: last in results and len(offline) == 2)
            await anyio.to_thread.run_sync(thread.join)
    assert {command_id: result for command_id, result in results.items() if command_id != last} == {
        command_id: b'{"n":%d}' % n for command_id, n in sent.items()
    }
