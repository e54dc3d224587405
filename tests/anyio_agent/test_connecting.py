"""Opening connections: what fails is named, nothing hangs. TLS is in `test_tls.py`."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anyio_agent.attempts import first_offline
from anyio_agent.fake_platform import PATIENCE_S, FakePlatform
from artcafe_anyio import Agent
from artcafe_anyio.clocks import monotonic, read_clocks
from artcafe_anyio.connecting import ConnectError, Stream, StreamOpener, open_tcp_stream
from artcafe_anyio.threads import Threads
from artcafe_anyio.transports import TransportOpener
from artcafe_proto.effects import Connect
from artcafe_proto.events import AgentEvent

pytestmark = pytest.mark.anyio


async def connect(host: str, port: int, ssl_context: ssl.SSLContext | None = None) -> Stream:
    """Open a connection; raises ConnectError."""
    asked = Connect(1, host, port, ssl_context is not None, monotonic() + 2 * PATIENCE_S, "link")
    async with Threads() as threads:
        failure = None
        with anyio.fail_after(PATIENCE_S):
            try:
                return await open_tcp_stream(asked, ssl_context=ssl_context, threads=threads, clock=read_clocks)
            except ConnectError as error:
                failure = error
    raise failure


async def failure_of(host: str, port: int, ssl_context: ssl.SSLContext | None = None) -> tuple[str, str]:
    """Cause and detail of what fails."""
    with pytest.raises(ConnectError) as caught:
        await connect(host, port, ssl_context)
    return caught.value.cause, caught.value.detail


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


def resolves_to(*addresses: str) -> Any:
    """A stand-in for `socket.getaddrinfo`."""

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, port))
            for family, address in zip(families, addresses, strict=True)
        ]

    return getaddrinfo


# --- names and addresses ----------------------------------------------------------------------------------------------


async def test_refused() -> None:
    port = closed_port()
    assert await failure_of("127.0.0.1", port) == (
        "refused",
        f"127.0.0.1 port {port}: Connection refused: is the platform running there?",
    )
    cause, detail = await failure_of("localhost", port)
    assert cause == "refused"
    assert f"127.0.0.1 port {port}: Connection refused" in detail


async def test_a_name_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert await failure_of("nobody.invalid", 443) == (
        "dns",
        "the name nobody.invalid cannot be resolved: Name or service not known",
    )


async def test_a_name_that_cannot_be_one() -> None:
    cause, detail = await failure_of("x" * 64 + ".invalid", 443)
    assert cause == "dns"
    assert "too long" in detail


async def test_other_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unreachable(address: str, port: int) -> None:
        raise OSError("All connection attempts failed") from OSError(errno.ENETUNREACH, "Network is unreachable")

    async def silent(address: str, port: int) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(anyio, "connect_tcp", unreachable)
    assert await failure_of("192.0.2.1", 443) == ("other", "192.0.2.1 port 443: Network is unreachable")
    monkeypatch.setattr(anyio, "connect_tcp", silent)
    assert await failure_of("192.0.2.1", 443) == ("timeout", "192.0.2.1 port 443: Connection timed out")


async def test_families_take_turns_and_the_first_to_answer_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
    tried: list[str] = []
    real_connect = anyio.connect_tcp

    async def attempt(address: str, port: int) -> SocketStream:
        tried.append(address)
        if address == "192.0.2.2":
            return await real_connect("127.0.0.1", port)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        monkeypatch.setattr(socket, "getaddrinfo", resolves_to(*addresses))
        monkeypatch.setattr(anyio, "connect_tcp", attempt)
        stream = await connect("platform.example", listener.extra(SocketAttribute.local_port))
        await stream.aclose()
    assert tried == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"]


async def test_two_that_answer_at_once_leave_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_anyio.connecting._ATTEMPT_DELAY_S", 0)
    real_connect = anyio.connect_tcp
    both = anyio.Event()
    opened: list[SocketStream] = []

    async def attempt(address: str, port: int) -> SocketStream:
        with anyio.CancelScope(shield=True):
            opened.append(await real_connect("127.0.0.1", port))
            mine = opened[-1]
            if len(opened) == 2:
                both.set()
            await both.wait()
            return mine
        raise AssertionError

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        monkeypatch.setattr(socket, "getaddrinfo", resolves_to("192.0.2.1", "192.0.2.2"))
        monkeypatch.setattr(anyio, "connect_tcp", attempt)
        stream = await connect("platform.example", listener.extra(SocketAttribute.local_port))
        await stream.send(b"x")
        lost = opened[1] if stream is opened[0] else opened[0]
        with pytest.raises(anyio.ClosedResourceError):
            await lost.send(b"x")
        await stream.aclose()


# --- in the agent -----------------------------------------------------------------------------------------------------


async def test_a_failed_attempt_says_why(key_path: Path) -> None:
    port = closed_port()
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=f"http://127.0.0.1:{port}")
    assert (await first_offline(agent)).reason == (
        f"cannot connect (refused): 127.0.0.1 port {port}: Connection refused: is the platform running there?"
    )


OPENERS = (StreamOpener, TransportOpener)


async def test_a_connect_has_its_deadline(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(opener: object, address: str, port: int) -> None:
        await anyio.sleep_forever()

    for opener in OPENERS:
        monkeypatch.setattr(opener, "connect", silent)
    endpoint = "https://192.0.2.1"
    parameters: Any = {"agent_id": "a", "tenant_id": "t", "private_key_path": key_path, "api_endpoint": endpoint}
    offline = await first_offline(Agent(**parameters, connect_timeout=0.01))
    assert offline.reason in (
        "cannot connect (timeout): connecting to 192.0.2.1 port 443 was not done within 0.0 s",
        "connecting took too long",  # the core's own watch over the same deadline
    )


async def test_a_resolver_that_hangs_delays_no_stop(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, let_go = anyio.Event(), threading.Event()
    token = anyio.lowlevel.current_token()
    events: list[AgentEvent] = []

    def hang(*_: Any, **__: Any) -> list[Any]:
        anyio.from_thread.run_sync(asked.set, token=token)
        assert let_go.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint="https://platform.example")
    agent.on_event(events.append)
    async with agent:
        await asked.wait()
    let_go.set()
    assert [type(event).__name__ for event in events] == ["Stopped"]


async def test_a_connection_that_opens_too_late_is_closed(key_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connecting = anyio.Event()

    def slowed(connect: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def slow(opener: object, address: str, port: int) -> object:
            with anyio.CancelScope(shield=True):
                opened = await connect(opener, "127.0.0.1", port)
                connecting.set()
                await anyio.sleep(0.01)
                return opened
            raise AssertionError

        return slow

    for opener in OPENERS:
        monkeypatch.setattr(opener, "connect", slowed(opener.connect))
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        agent = Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=f"http://127.0.0.1:{port}")
        async with agent:
            await connecting.wait()
        (socket_listener,) = listener.listeners
        assert isinstance(socket_listener, SocketListener)
        stream = await socket_listener.accept()
        with anyio.fail_after(PATIENCE_S), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
        await stream.aclose()


async def test_a_signature_that_fails(
    key: Ed25519PrivateKey, key_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> bytes:
        raise OSError("the token was pulled out")

    monkeypatch.setattr("artcafe_proto.SigningKey.sign", broken)
    platform = FakePlatform(key.public_key())
    async with platform.listening() as url:
        offline = await first_offline(Agent(agent_id="a", tenant_id="t", private_key_path=key_path, api_endpoint=url))
    assert (offline.reason, offline.clause) == ("signing the challenge failed: OSError", "AUTH-6")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "a: signing the challenge failed"
    ]


def test_the_clock_goes_on() -> None:
    assert monotonic() <= monotonic()
