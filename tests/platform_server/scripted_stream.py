"""One connection of an owner over a stream in memory that does what a test says."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import anyio
from anyio.abc import SocketStream

from artcafe_anyio.clocks import Clock, read_clocks
from artcafe_platform.owner import Owner
from artcafe_proto import PlatformConfig, PlatformHub, PlatformProtocol
from artcafe_proto.events import HubEvent


class ScriptedStream:
    """A transport in memory. `incoming` is what receiving gives or raises; sending waits while `is_stuck`."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.reads = 0
        self.has_ended = False
        self.is_closed = False
        self.fails_to_send: Exception | None = None
        self._give, self._take = anyio.create_memory_object_stream[bytes | Exception](10_000)
        self._unstuck = anyio.Event()
        self._unstuck.set()
        self._news = anyio.Event()

    def comes(self, *incoming: bytes | Exception) -> None:
        for each in incoming:
            self._give.send_nowait(each)

    def stick(self) -> None:
        self._unstuck = anyio.Event()

    def unstick(self) -> None:
        self._unstuck.set()

    def unstick_once(self) -> None:
        """Let what is being sent go out, and nothing after it."""
        unstuck, self._unstuck = self._unstuck, anyio.Event()
        unstuck.set()

    async def receive(self, max_bytes: int = 65536) -> bytes:
        self.reads += 1
        incoming = await self._take.receive()
        if isinstance(incoming, Exception):
            raise incoming
        return incoming

    async def send(self, item: bytes) -> None:
        await self._unstuck.wait()
        if self.fails_to_send is not None:
            raise self.fails_to_send
        self.sent.append(item)
        self._news.set()
        self._news = anyio.Event()

    async def news(self) -> None:
        """Wait until something more is sent."""
        await self._news.wait()

    async def send_eof(self) -> None:
        self.has_ended = True

    async def aclose(self) -> None:
        self.is_closed = True
        self._give.close()
        self._take.close()

    def extra(self, *_: object) -> Any:
        raise OSError(errno.EBADF, "a stream in memory has no socket")

    @property
    def answers(self) -> int:
        return b"".join(self.sent).count(b"HTTP/1.1 404")


class Stage:
    """An owner with one connection, which runs."""

    def __init__(self, close_timeout_s: float, clock: Clock) -> None:
        self.events: list[HubEvent] = []
        hub = PlatformHub(PlatformConfig(close_timeout=close_timeout_s), rng=Random(1), signing_seed=bytes(32))
        self.owner = Owner(hub, [self.events.append], clock)
        self.stream = ScriptedStream()
        self.connection = self.owner.add(cast(SocketStream, self.stream))
        self.over = anyio.Event()

    @property
    def protocol(self) -> PlatformProtocol:
        return self.connection.protocol

    async def run(self) -> None:
        await self.connection.run()
        self.over.set()
        self.owner.remove(self.connection)


@asynccontextmanager
async def stage(close_timeout_s: float = 30.0, clock: Clock = read_clocks) -> AsyncGenerator[Stage]:
    setting = Stage(close_timeout_s, clock)
    try:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(setting.owner.keep_time)
                tasks.start_soon(setting.run)
                yield setting
                tasks.cancel_scope.cancel()
        assert setting.protocol.is_closed
    finally:
        await setting.stream.aclose()
