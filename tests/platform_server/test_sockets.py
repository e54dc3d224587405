"""Connections by sockets that asyncio watches: backpressure, the ways to end, and what fails.

What `test_connection` asks of connections by streams, asked of these. All that goes over a network is in `test_server`,
which runs on asyncio with these and on trio with those.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import anyio
import pytest

from artcafe_anyio.clocks import read_clocks
from artcafe_anyio.connection import SEND_BYTES
from artcafe_platform import Platform, listening, sockets
from artcafe_platform.listening import Listening
from artcafe_platform.owner import Owner
from artcafe_platform.sockets import SocketConnection
from artcafe_proto import Instant, PlatformConfig, PlatformHub, PlatformProtocol
from artcafe_proto.limits import LEVEL_BYTES
from platform_server.harness import PATIENCE_S, bare_connection, read_to_end
from support.drained import due_at
from support.platform_api import TENANTS

_LOOPS = ["asyncio", ("asyncio", {"use_uvloop": True})]
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", _LOOPS, ids=["asyncio", "uvloop"])]

REQUEST = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"


class Stage:
    """An owner with one connection, and the peer's socket."""

    def __init__(self, close_timeout_s: float) -> None:
        hub = PlatformHub(PlatformConfig(close_timeout=close_timeout_s), rng=Random(1), signing_seed=bytes(32))
        self.owner = Owner(hub, [], read_clocks)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.peer = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        for sock in (self.peer, accepted):
            sock.setblocking(False)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.over = anyio.Event()
        self.connection = self.owner.add_socket(accepted, self._end)
        self.connection.start()

    @property
    def protocol(self) -> PlatformProtocol:
        return self.connection.protocol

    def _end(self, connection: SocketConnection) -> None:
        self.owner.remove(connection)
        self.over.set()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.peer, data)

    async def receive(self, size: int) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.peer, size)

    async def receive_to_end(self) -> bytes:
        data = b""
        while piece := await self.receive(65_536):
            data += piece
        return data


@asynccontextmanager
async def stage(close_timeout_s: float = 30.0) -> AsyncGenerator[Stage]:
    setting = Stage(close_timeout_s)
    try:
        with anyio.fail_after(PATIENCE_S):
            yield setting
            with setting.owner.turn(setting.connection):
                setting.connection.close(abort=True)
            await setting.over.wait()
        assert setting.protocol.is_closed
        assert setting.owner.connections == {}
    finally:
        setting.peer.close()


async def test_a_request_is_answered() -> None:
    async with stage() as setting:
        await setting.send(REQUEST[:10])
        await setting.send(REQUEST[10:])
        assert (await setting.receive(65_536)).startswith(b"HTTP/1.1 404")
        assert setting.connection.buffered_bytes == 0


async def test_what_the_socket_does_not_take_waits_and_goes_out_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Random(1).randbytes(8 * SEND_BYTES)
    heard: list[int] = []
    original = PlatformProtocol.unsent

    def unsent(self: PlatformProtocol, nbytes: int, now: Instant) -> None:
        heard.append(nbytes)
        original(self, nbytes, now)

    monkeypatch.setattr(PlatformProtocol, "unsent", unsent)
    async with stage() as setting:
        with setting.owner.turn(setting.connection):
            for place in range(0, len(data), SEND_BYTES):
                setting.connection.write(data[place : place + SEND_BYTES])
        assert setting.connection.buffered_bytes > SEND_BYTES
        assert heard[-1] >= setting.connection.buffered_bytes, "the protocol was told, also of what the system holds"
        await setting.send(REQUEST)
        received = b""
        while len(received) < len(data):
            received += await setting.receive(65_536)
        assert received[: len(data)] == data
        while b"\r\n\r\n" not in received[len(data) :]:  # who did not read was not read either, and is again
            received += await setting.receive(65_536)
        assert received[len(data) :].startswith(b"HTTP/1.1 404")
        assert min(heard) < max(heard)


async def test_link_8_a_little_that_waits_for_long_is_a_stall_as_well() -> None:
    """The rest of a megabyte, after what the kernel took: the peer's window is full all the same."""
    async with stage() as setting:
        while not setting.connection.buffered_bytes:
            with setting.owner.turn(setting.connection):
                setting.connection.write(bytes(LEVEL_BYTES))
        now = read_clocks()
        assert setting.connection.buffered_bytes <= LEVEL_BYTES
        deadline = due_at(setting.protocol)
        assert deadline is not None
        assert deadline <= now.mono + 30
        while setting.connection.unsent_bytes():
            await setting.receive(65_536)
        setting.connection.drained()
        with setting.owner.turn(setting.connection) as now:
            pass
        deadline = due_at(setting.protocol)
        assert deadline is not None
        assert deadline > now.mono + 70, "it reads again"


async def test_a_peer_for_whom_too_much_waits_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_UNSENT_BYTES", 1000)
    async with stage() as setting:
        with setting.owner.turn(setting.connection):
            setting.connection.write(bytes(64 * SEND_BYTES))
        await setting.over.wait()


async def test_reading_pauses_and_goes_on() -> None:
    async with stage() as setting:
        setting.connection.pause_reading()
        setting.connection.pause_reading()
        await setting.send(REQUEST)
        await asyncio.sleep(0.01)
        with pytest.raises(BlockingIOError):
            setting.peer.recv(1)
        setting.connection.resume_reading()
        assert (await setting.receive(65_536)).startswith(b"HTTP/1.1 404")


async def test_a_close_waits_for_what_was_written_and_for_the_peer() -> None:
    async with stage() as setting:
        await setting.send(b"nonsense\r\n\r\n")
        assert (await setting.receive_to_end()).startswith(b"HTTP/1.1 400")
        await setting.send(REQUEST)  # is taken, and not answered
        await asyncio.sleep(0.01)
        assert not setting.over.is_set()
        setting.peer.shutdown(socket.SHUT_WR)
        await setting.over.wait()


async def test_a_close_goes_on_when_all_that_waits_is_written() -> None:
    async with stage() as setting:
        with setting.owner.turn(setting.connection) as now:
            setting.connection.write(bytes(64 * SEND_BYTES))
            setting.protocol.drop("the test says so", now)
        assert len(await setting.receive_to_end()) == 64 * SEND_BYTES
        setting.peer.shutdown(socket.SHUT_WR)
        await setting.over.wait()


@pytest.mark.parametrize("is_stuck", [True, False])
async def test_a_close_does_not_wait_for_ever(is_stuck: bool) -> None:
    async with stage(close_timeout_s=0.01) as setting:
        with setting.owner.turn(setting.connection) as now:
            if is_stuck:
                setting.connection.write(bytes(64 * SEND_BYTES))
            setting.protocol.drop("the test says so", now)
        await setting.over.wait()


async def test_who_is_hastened_does_not_wait_for_the_peer() -> None:
    async with stage() as setting:
        setting.connection.hasten()
        with setting.owner.turn(setting.connection) as now:
            setting.protocol.drop("the test says so", now)
        await setting.over.wait()
        assert await setting.receive_to_end() == b""


async def test_an_abort_is_a_reset() -> None:
    async with stage() as setting:
        with setting.owner.turn(setting.connection) as now:
            setting.protocol.disconnected("the test says so", now)
            setting.connection.close(abort=True)
            setting.connection.close(abort=True)
            setting.connection.close(abort=False)
            setting.connection.write(b"nobody reads this")
        await setting.over.wait()
        with pytest.raises(ConnectionResetError):
            await setting.receive(1)


async def test_the_peers_end_comes_after_the_answer_due() -> None:
    async with stage() as setting:
        await setting.send(REQUEST)
        setting.peer.shutdown(socket.SHUT_WR)
        assert (await setting.receive_to_end()).count(b"HTTP/1.1 404") == 1
        await setting.over.wait()


class BrokenSocket:
    """Does nothing but fail."""

    def __init__(self, sock: socket.socket, *broken: str) -> None:
        self._sock = sock
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        if name in self._broken:
            return self._fail
        return getattr(self._sock, name)

    def _fail(self, *_: object) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


@pytest.mark.parametrize("broken", ["recv_into", "send", "shutdown"])
async def test_a_broken_socket_is_told_once(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    original = PlatformProtocol.disconnected

    def disconnected(self: PlatformProtocol, reason: str, now: Instant) -> None:
        if not self.is_closed or broken == "shutdown":
            told.append(reason)
        original(self, reason, now)

    monkeypatch.setattr(PlatformProtocol, "disconnected", disconnected)
    async with stage() as setting:
        sock = setting.connection._sock  # pyright: ignore[reportPrivateUsage]
        setting.connection._sock = cast(Any, BrokenSocket(sock, broken))  # pyright: ignore[reportPrivateUsage]
        await setting.send(REQUEST if broken != "shutdown" else b"nonsense\r\n\r\n")
        await setting.over.wait()
    assert len(told) == 1
    assert "reset by peer" in told[0]


# --- accepting --------------------------------------------------------------------------------------------------------


class ShortOfDescriptors:
    """A listener that cannot accept, for some time."""

    def __init__(self, sock: socket.socket, failures: int) -> None:
        self.failures = failures
        self._sock = sock

    def extra(self, *_: object) -> ShortOfDescriptors:
        return self

    def fileno(self) -> int:
        return self._sock.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return self._sock.accept()

    async def aclose(self) -> None:
        self._sock.close()


async def test_a_failed_accept_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listening, "ACCEPT_RETRY_S", 0)
    hub = PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32))
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    accepting = Listening(Owner(hub, [], read_clocks), [cast(Any, ShortOfDescriptors(sock, 3))], None)
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            await tasks.start(accepting.serve)
            async with await anyio.connect_tcp(*sock.getsockname()[:2]) as stream:
                await stream.send(REQUEST)
                assert (await stream.receive()).startswith(b"HTTP/1.1 404")
            await accepting.stop()
    assert caplog.text.count("Too many open files") == 1, "it may go on for hours"


async def test_a_socket_that_ended_before_it_was_attended_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32))
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setblocking(False)
    owner = Owner(hub, [], read_clocks)
    monkeypatch.setattr(listening, "MAX_CONNECTIONS", 1)
    accepting = Listening(owner, [cast(Any, ShortOfDescriptors(sock, 0))], None)
    ended, other = socket.socketpair()
    with other, ended:
        accepting._begin(cast(Any, BrokenSocket(ended, "setsockopt")))  # pyright: ignore[reportPrivateUsage]
        assert ended.fileno() == -1
    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            await tasks.start(accepting.serve)
            async with await anyio.connect_tcp(*sock.getsockname()[:2]) as stream:
                await stream.send(REQUEST)
                assert (await stream.receive()).startswith(b"HTTP/1.1 404"), "its place was free"
            await accepting.stop()


async def test_a_connection_costs_no_task() -> None:
    async with Platform(tenants=TENANTS) as platform, bare_connection(platform) as first:
        await first.send(REQUEST)
        await first.receive()
        before = len(anyio.get_running_tasks())
        async with bare_connection(platform) as second:
            await second.send(REQUEST)
            assert (await second.receive()).startswith(b"HTTP/1.1 404")
            assert len(anyio.get_running_tasks()) == before
            await second.send_eof()
            assert await read_to_end(second) == b""


async def test_the_portable_way_is_to_be_had() -> None:
    async with Platform(tenants=TENANTS, anyio_streams=True) as platform, bare_connection(platform) as stream:
        await stream.send(REQUEST)
        assert (await stream.receive()).startswith(b"HTTP/1.1 404")
