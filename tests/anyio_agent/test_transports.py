"""What is particular to the transports of asyncio; everything else about connections is held by the other tests."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from wsproto.connection import SERVER, Connection
from wsproto.events import TextMessage

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform
from artcafe_anyio import Agent, transports
from artcafe_anyio.connecting import StreamOpener
from artcafe_anyio.loops import runs_on_asyncio
from artcafe_anyio.transports import TransportConnection, TransportOpener
from artcafe_platform import sockets
from artcafe_proto.events import AgentEvent, Offline

pytestmark = pytest.mark.anyio

COUNT = 5
LOOPS: list[Any] = ["asyncio", ("asyncio", {"use_uvloop": True})]


def frames(command: str) -> bytes:
    """So many commands in one piece."""
    sender = Connection(SERVER)
    data = {"command": command}
    texts = [json.dumps({"type": "command", "id": f"{command}-{number}", "data": data}) for number in range(COUNT)]
    return b"".join(sender.send(TextMessage(text)) for text in texts)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("command", ["inline", "together"])
async def test_what_is_answered_in_one_turn_of_the_loop_is_written_at_once(
    key: Ed25519PrivateKey, key_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    platform = FakePlatform(key.public_key())
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path)
    written: list[bytes] = []
    started, let_go = [0], anyio.Event()
    send = TransportConnection._send  # pyright: ignore[reportPrivateUsage]

    def noted(connection: TransportConnection, transport: asyncio.Transport, piece: bytes) -> None:
        written.append(piece)
        send(connection, transport, piece)

    @agent.command("inline", inline=True)
    def inline() -> None: ...  # pyright: ignore[reportUnusedFunction]

    @agent.command("together")
    async def together() -> None:  # pyright: ignore[reportUnusedFunction]
        started[0] += 1
        if started[0] == COUNT:
            let_go.set()
        await let_go.wait()

    async with platform.listening() as url:
        async with agent.configured(api_endpoint=url):
            link = await platform.link()
            monkeypatch.setattr(TransportConnection, "_send", noted)
            await link.stream.send(frames(command))
            for number in range(COUNT):
                await link.wait_for("response", command_id=f"{command}-{number}")
            with_responses = [data for data in written if len(data) > COUNT * 100]
        await link.wait_closed()
    assert len(with_responses) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_is_chosen_where_the_loop_has_transports(anyio_backend: str) -> None:
    assert runs_on_asyncio() is (anyio_backend == "asyncio")


# --- what a peer does ends no agent (LINK-6) --------------------------------------------------------------------------


@pytest.mark.parametrize("lingers", [True, False], ids=["reset", "end"])
async def test_link_6_a_connection_that_is_over_before_anybody_looked_at_it_costs_one_attempt(
    lingers: bool, key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a load balancer without a back end does it: it accepts, and that is all."""
    listener = socket.create_server(("127.0.0.1", 0))
    is_over = threading.Semaphore(0)

    def turn_everybody_away() -> None:
        for _ in range(2):
            accepted, _ = listener.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", lingers, 0))
            accepted.close()
            is_over.release()

    def late(connect: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def connect_and_wait(opener: object, address: str, port: int) -> object:
            opened = await connect(opener, address, port)
            assert is_over.acquire(timeout=PATIENCE_S)  # the loop is held up meanwhile, and sees both at once
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            return opened

        return connect_and_wait

    for opener in (StreamOpener, TransportOpener):
        monkeypatch.setattr(opener, "connect", late(opener.connect))
    turning_away = threading.Thread(target=turn_everybody_away)
    turning_away.start()
    endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=endpoint, jitter=0)
    attempts: list[Offline] = []

    @agent.on_event
    def note(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, Offline):
            attempts.append(event)
            if len(attempts) == 2:
                agent.stop()

    assert await ended(agent) is None
    turning_away.join()
    listener.close()
    assert len(attempts) == 2
    gc.collect()  # a socket that nobody has closed is a warning, and so an error


async def test_link_3_a_close_and_the_end_of_tcp_together_are_followed_by_the_next_attempt_in_time(
    key: Ed25519PrivateKey, key_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the agent writes then is answered with a reset, and the socket has no side left that could be ended."""
    monkeypatch.setattr("artcafe_proto.driver.LONGEST_SLEEP_S", 1e6)  # no other look at the clock makes up for it
    platform = FakePlatform(key.public_key())
    async with platform.listening() as url:
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=url, jitter=0)
        links: list[str] = []

        async def close_and_end() -> None:
            link = await platform.link()
            raw_socket = link.stream.extra(SocketAttribute.raw_socket)
            with socket.socket(fileno=os.dup(raw_socket.fileno())) as sock:
                sock.send(bytes.fromhex("880203e9"))
                sock.shutdown(socket.SHUT_RDWR)
            await platform.link()
            links.append("again")
            agent.stop()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(close_and_end)
            assert await ended(agent) is None
            assert links == ["again"]
            tasks.cancel_scope.cancel()


async def ended(agent: Agent) -> Exception | None:
    """How `agent` ended."""
    try:
        with anyio.fail_after(PATIENCE_S):
            await agent.serve()
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("anyio_backend", LOOPS, ids=["asyncio", "uvloop"])
async def test_a_socket_whose_transport_is_gone_holds_no_number_that_may_be_anothers() -> None:
    class Aborting(asyncio.Protocol):
        is_over = False

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            cast(asyncio.Transport, transport).abort()

        def connection_lost(self, exc: Exception | None) -> None:
            self.is_over = True

    opener = TransportOpener(cast(Any, None), None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = await opener.connect(*listener.getsockname())
        transport = await opener._make_transport(cast(Any, Aborting()), connection)  # pyright: ignore[reportPrivateUsage]
        assert transport.is_closing()
        assert connection.fileno() == -1


@pytest.mark.parametrize("module", [transports, sockets], ids=["agent", "platform"])
async def test_event_loops_in_two_threads_do_not_read_into_the_same_memory(module: Any) -> None:
    """Else one agent would get what the other was sent: the system writes while no thread has the interpreter."""

    def buffer() -> object:
        return module._buffer.view.obj

    assert buffer() is buffer()
    assert await anyio.to_thread.run_sync(buffer) is not buffer()
