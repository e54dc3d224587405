"""The platform over sockets: HTTP as any client speaks it, long polls, TLS, and its life from entering to leaving."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import httpx
import pytest
import trustme
from anyio.abc import SocketStream
from anyio.streams.tls import TLSStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from artcafe_platform import Platform
from artcafe_proto import ApiError, ConfigError, LocalProtocolError, PlatformConfig, SigningKey
from artcafe_proto.events import ChallengeIssued, CommandExpired, HubEvent
from artcafe_proto.platform import api
from platform_server.harness import PATIENCE_S, Recorder, bare_connection, read_to_end, register, tenant_client
from support.platform_api import OTHER_TOKEN, TENANT, TENANTS, TOKEN

pytestmark = pytest.mark.anyio

PUBLIC_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(Random(1).randbytes(32))).public.openssh


# --- HTTP -------------------------------------------------------------------------------------------------------------


async def test_agents_and_keys_are_registered_and_listed() -> None:
    async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
        added = await register(client, "agent-1", PUBLIC_KEY)
        assert added["fingerprint"].startswith("SHA256:")
        listed = await client.get("/agents", params={"limit": 1})
        assert [agent["agent_id"] for agent in listed.json()["agents"]] == ["agent-1"]
        assert listed.headers["content-type"] == "application/json"
        assert listed.headers["date"].endswith(" GMT")
        async with tenant_client(platform, OTHER_TOKEN) as other:
            assert (await other.get("/agents")).json() == {"agents": [], "next": None}
        head = await client.head("/agents")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == listed.headers["content-length"]


async def test_the_last_answer_survives_a_client_that_goes_on_sending() -> None:
    """413 comes before the body is over; a reset for what still comes would take the answer away from the client."""
    async with Platform(tenants=TENANTS) as platform, bare_connection(platform) as stream:
        await stream.send(b"POST /api/v1/agents HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n")
        for _ in range(30):
            await stream.send(bytes(100_000))
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 413 ")


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    paths = ["/api/v1/agents", "/api/v1/nothing", "/api/v1/auth/challenge"] * 100
    requests = "".join(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n" for path in paths)
    async with Platform(tenants=TENANTS) as platform, bare_connection(platform) as stream:
        await stream.send(requests.encode())
        await stream.send_eof()
        answers = await read_to_end(stream)
        assert [answer[:3] for answer in answers.split(b"HTTP/1.1 ")[1:]] == [b"401", b"404", b"405"] * 100


async def test_an_unexpected_error_is_logged_and_answered_with_a_fixed_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a detail of the inside")

    monkeypatch.setattr(api, "answer", fail)
    async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
        answer = await client.get("/agents?token=s3cret")
        assert answer.status_code == 500
        assert b"detail" not in answer.content
        assert "a detail of the inside" in caplog.text
        assert "s3cret" not in caplog.text
        assert TOKEN not in caplog.text


# --- long polls -------------------------------------------------------------------------------------------------------


async def send_command(client: httpx.AsyncClient, **more: Any) -> str:
    await register(client, "agent-1", PUBLIC_KEY)
    answer = await client.post("/agents/agent-1/commands", json={"command": "work", **more})
    assert answer.status_code == 202
    return answer.json()["command_id"]


async def test_a_poll_is_answered_when_its_time_is_over() -> None:
    async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
        command_id = await send_command(client)
        answer = await client.get(f"/commands/{command_id}", params={"wait": 0.01})
        assert (answer.status_code, answer.json()["state"]) == (200, "queued")
        assert (await client.get("/agents")).status_code == 200


async def test_polls_are_answered_when_the_command_is_over() -> None:
    async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
        events = Recorder(platform)
        command_id = await send_command(client, expires_in=0.2)
        states: list[str] = []

        async def poll() -> None:
            answer = await client.get(f"/commands/{command_id}", params={"wait": 60})
            states.append(answer.json()["state"])

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(poll)
        assert states == ["expired"] * 5
        assert len(events.of(CommandExpired)) == 1


async def test_polls_are_answered_before_a_shutdown() -> None:
    answers: list[bytes] = []
    async with anyio.create_task_group() as tasks, Platform(tenants=TENANTS) as platform:
        async with tenant_client(platform) as client:
            command_id = await send_command(client)
        stream = await anyio.connect_tcp("127.0.0.1", int(platform.url.rpartition(":")[2]))
        head = f"HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
        # The answer to the first request shows that the second, sent with it, was read.
        await stream.send(f"GET / {head}GET /api/v1/commands/{command_id}?wait=60 {head}".encode())
        assert (await stream.receive()).startswith(b"HTTP/1.1 404")

        async def read() -> None:
            async with stream:
                answers.append(await read_to_end(stream))

        tasks.start_soon(read)
    assert answers[0].startswith(b"HTTP/1.1 200")
    assert b'"queued"' in answers[0]


# --- in process -------------------------------------------------------------------------------------------------------


async def test_the_hub_is_called_within_turns() -> None:
    async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
        await register(client, "agent-1", PUBLIC_KEY)
        command_id = await platform.send_command(TENANT, "agent-1", "work", {"x": 1}, timeout_s=5, expires_in_s=0.02)
        assert platform.hub.command(TENANT, command_id).state == "queued"
        with pytest.raises(ApiError), platform.turn() as now:
            platform.hub.revoke_key(TENANT, "no such key", now)
        assert not platform.abort_agent("agent-1")
        assert not platform.abort_agent("nobody")
        # The timer learns of a deadline that was set in process.
        assert (await client.get(f"/commands/{command_id}", params={"wait": 60})).json()["state"] == "expired"


HERE: ContextVar[str] = ContextVar("HERE", default="nowhere")
RAISED = [RuntimeError("a callback of the test"), SystemExit(1), GeneratorExit(), asyncio.CancelledError()]


@pytest.mark.parametrize("raised", RAISED, ids=lambda error: type(error).__name__)
async def test_callbacks_get_every_event_and_may_call_back(
    raised: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    platform = Platform(tenants=TENANTS)
    heard: list[HubEvent] = []

    def broken(event: HubEvent) -> None:
        raise raised

    def calls_back(event: HubEvent) -> None:
        heard.append(event)
        if isinstance(event, ChallengeIssued):
            with platform.turn() as now:
                platform.hub.send_command(TENANT, "agent-1", "work", expires_in_s=0.01, now=now)

    platform.on_event(broken)
    platform.on_event(calls_back)
    async with platform, tenant_client(platform) as client:
        events = Recorder(platform)
        await register(client, "agent-1", PUBLIC_KEY)
        assert (await client.post("/auth/challenge", json={"agent_id": "agent-1"})).status_code == 200
        await events.nth(CommandExpired)
        assert [type(event) for event in heard] == [ChallengeIssued, CommandExpired]
        assert f"{type(raised).__name__}: {raised}".removesuffix(": ") in caplog.text


async def awaits(event: HubEvent) -> None: ...


def test_callbacks_are_plain_functions_of_an_event() -> None:
    refused: list[Any] = [awaits, partial(awaits), 5, lambda: None]
    for callback in refused:
        with pytest.raises(LocalProtocolError, match="on_event"):
            Platform(tenants=TENANTS).on_event(callback)


async def test_a_callback_that_returns_a_coroutine_is_told_of_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    platform = Platform(tenants=TENANTS)
    platform.on_event(lambda event: awaits(event))  # type: ignore[arg-type,return-value] # pyright: ignore
    async with platform, tenant_client(platform) as client:
        await register(client, "agent-1", PUBLIC_KEY)
        assert (await client.post("/auth/challenge", json={"agent_id": "agent-1"})).status_code == 200
    assert "it returned coroutine, and nothing is awaited there" in caplog.text


async def test_each_callback_sees_a_copy_of_the_context_in_which_the_platform_was_entered() -> None:
    platform = Platform(tenants=TENANTS)
    seen: list[str] = []

    def look(event: HubEvent) -> None:
        seen.append(HERE.get())
        HERE.set("in a callback")

    platform.on_event(look)
    HERE.set("where it was entered")
    async with platform, tenant_client(platform) as client:
        HERE.set("where it is asked")
        await register(client, "agent-1", PUBLIC_KEY)
        for _ in range(2):
            assert (await client.post("/auth/challenge", json={"agent_id": "agent-1"})).status_code == 200
        await platform.send_command(TENANT, "agent-1", "work")
        assert HERE.get() == "where it is asked"
    assert set(seen) == {"where it was entered"}
    assert len(seen) >= 2


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "platform.example", ""])
def test_tokens_are_not_taken_unencrypted_from_other_machines(host: str) -> None:
    with pytest.raises(ConfigError, match="allow_cleartext"):
        Platform(tenants=TENANTS, host=host)
    Platform(tenants=TENANTS, host=host, allow_cleartext=True)
    Platform(tenants=TENANTS, host=host, ssl_context=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_loopback_needs_no_permission(host: str) -> None:
    async with Platform(tenants=TENANTS, host=host) as platform, tenant_client(platform) as client:
        assert platform.url.startswith(f"http://{host}:")
        assert (await client.get("/agents")).status_code == 200


@pytest.mark.parametrize("tenants", [{"": TOKEN}, {"tenant-1": "short"}])
async def test_unusable_tenants_are_refused(tenants: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        async with Platform(tenants=tenants):
            pass


def test_a_platform_that_does_not_run_says_so() -> None:
    platform = Platform(tenants=TENANTS)
    uses: list[Callable[[], object]] = [
        lambda: platform.hub,
        lambda: platform.abort_agent("agent-1"),
        lambda: platform.send_command(TENANT, "agent-1", "work").send(None),
    ]
    for use in uses:
        with pytest.raises(LocalProtocolError, match="async with Platform"):
            use()


async def test_a_platform_is_entered_once() -> None:
    platform = Platform(tenants=TENANTS)
    async with platform:
        pass
    with pytest.raises(LocalProtocolError, match="entered once"):
        async with platform:
            pass


async def test_a_data_directory_keeps_the_tenants_token_and_the_agents_tokens(tmp_path: Path) -> None:
    async with Platform(data_dir=tmp_path / "data") as platform:
        first = dict(platform.tenants)
        assert (tmp_path / "data" / "tenant-token").read_text() == first["tenant-1"]
    async with Platform(data_dir=tmp_path / "data") as platform:
        assert platform.tenants == first
        async with tenant_client(platform, first["tenant-1"]) as client:
            assert (await client.get("/agents")).status_code == 200
    async with Platform() as platform:
        assert platform.tenants != first
    async with Platform(tenants=TENANTS, data_dir=tmp_path / "data") as platform:
        assert platform.tenants == TENANTS


async def test_a_port_that_is_taken_is_told() -> None:
    async with Platform(tenants=TENANTS) as platform:
        port = int(platform.url.rpartition(":")[2])
        with pytest.raises(OSError, match="ddress"):
            async with Platform(tenants=TENANTS, port=port):
                pass


async def test_tls() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    verify = ssl.create_default_context()
    authority.configure_trust(verify)  # pyright: ignore[reportUnknownMemberType]
    config = PlatformConfig(close_timeout=1.0)
    async with Platform(tenants=TENANTS, host="localhost", ssl_context=server, config=config) as platform:
        assert platform.url.startswith("https://localhost:")
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(verify=verify, trust_env=False, headers=headers, timeout=PATIENCE_S) as client:
            assert (await client.get(f"{platform.url}/api/v1/agents")).status_code == 200
            large = {"name": "x" * 70_000}
            assert (await client.post(f"{platform.url}/api/v1/agents", json=large)).status_code == 413
        with pytest.raises((httpx.TransportError, OSError)):  # no TLS where there should be
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(platform.url.replace("https", "http"))


async def test_a_handshake_that_ends_while_the_platform_stops_does_not_hold_it_up() -> None:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]
    trust = ssl.create_default_context()
    authority.configure_trust(trust)  # pyright: ignore[reportUnknownMemberType]
    config = PlatformConfig(close_timeout=1.0, idle_timeout=10 * PATIENCE_S)

    async def shake_hands(stream: SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError):
            await TLSStream.wrap(stream, ssl_context=trust, hostname="localhost")
            await anyio.sleep_forever()

    async def finish_late(stream: SocketStream) -> None:
        await anyio.sleep(0.3)
        await shake_hands(stream)

    with anyio.fail_after(PATIENCE_S):
        async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
            async with Platform(tenants=TENANTS, ssl_context=server, config=config) as platform:
                port = int(platform.url.rpartition(":")[2])
                await stack.enter_async_context(lingering := await anyio.connect_tcp("127.0.0.1", port))
                await stack.enter_async_context(late := await anyio.connect_tcp("127.0.0.1", port))
                tasks.start_soon(shake_hands, lingering)
                await anyio.sleep(0.3)
                tasks.start_soon(finish_late, late)
            tasks.cancel_scope.cancel()


# --- life -------------------------------------------------------------------------------------------------------------


async def test_what_the_block_raises_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with Platform(tenants=TENANTS):
            raise KeyError("mine")


async def test_a_cancelled_block_ends_the_platform() -> None:
    platform = Platform(tenants=TENANTS)
    with anyio.CancelScope() as scope:
        async with platform, tenant_client(platform) as client:
            assert (await client.get("/agents")).status_code == 200
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(OSError):  # noqa: PT011 the texts of systems differ
        async with bare_connection(platform):
            pass


async def test_connections_that_say_nothing_do_not_hold_up_the_end() -> None:
    streams: list[Any] = []
    with anyio.fail_after(PATIENCE_S):
        async with Platform(tenants=TENANTS) as platform, tenant_client(platform) as client:
            port = int(platform.url.rpartition(":")[2])
            streams.extend([await anyio.connect_tcp("127.0.0.1", port) for _ in range(3)])
            await streams[1].send(b"GET / HTTP")
            await client.get("/agents")
            before = anyio.current_time()
        assert anyio.current_time() - before < PlatformConfig().close_timeout
    for stream in streams:
        assert await read_to_end(stream) == b""
        await stream.aclose()


async def test_slow_requests_time_out() -> None:
    config = PlatformConfig(head_timeout=0.01, body_timeout=0.01, idle_timeout=0.03)
    async with Platform(tenants=TENANTS, config=config) as platform:
        for sent in (b"GET / HTTP/1.1\r\nho", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabc"):
            async with bare_connection(platform) as stream:
                await stream.send(sent)
                assert (await read_to_end(stream)).startswith(b"HTTP/1.1 408 ")
        async with bare_connection(platform) as stream:
            assert await read_to_end(stream) == b""
        async with bare_connection(platform) as stream:  # between requests too
            await stream.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = await read_to_end(stream)
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "not_found"


@pytest.mark.parametrize("port", [-1, 65_536, "8420"])
def test_an_impossible_port_is_refused_before_anything_listens(port: Any) -> None:
    with pytest.raises(ConfigError, match="port must be 0 to 65,535"):
        Platform(port=port)
