"""Channels over the links of docs/unix-sockets.md, whose near end has either role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

from artcafe_proto.config import LinkSettings
from artcafe_proto.effects import SendPing, SendPong, SendText
from artcafe_proto.testing import MessageChannel
from support.channels import CONN, transport
from support.message_channels import CarriedOut, Log
from support.printed_links import until


@cache
def program() -> dict[str, Any]:
    """What the page prints: a program for each role, with a link of its own."""
    agent = transport("unix sockets", "unix sockets, agent", page="unix-sockets.md")
    return agent | transport("unix sockets", "unix sockets, platform", page="unix-sockets.md")


class Owner:
    """Whose a `LinkEnd` is: it stands in for an agent or a platform."""

    config = LinkSettings()

    def __init__(self, log: Log) -> None:
        self.log = log
        self.end: Any = None

    def opened(self, end: Any) -> None:
        self.end = end

    def tell(self, end: Any, happened: str, *arguments: Any) -> None:
        self.log.tell(happened, *arguments)

    def closed(self, end: Any) -> None:
        """Nothing to do."""


class UnixChannel(CarriedOut):
    """A channel between two of the page's ends."""

    def __init__(self, near: Owner, far: Owner) -> None:
        super().__init__()
        near.log = self
        self.far_log = far.log
        self.near, self.far = near.end, far.end

    @property
    def far_told(self) -> list[tuple[str, bytes | int]]:
        return self.far_log.told

    @property
    def far_unsent_bytes(self) -> int:
        return self.far.transport.get_write_buffer_size()

    def far_write(self, data: bytes) -> None:
        self.far.carry_out(SendText(CONN, data))

    def far_ping(self, payload: bytes) -> None:
        self.far.carry_out(SendPing(CONN, payload))

    def far_pong(self, payload: bytes) -> None:
        self.far.carry_out(SendPong(CONN, payload))

    def far_close_with(self, code: int) -> None:
        self.far.send(4, b"" if code == 1005 else code.to_bytes(2, "big"))
        self.far.may_send = False

    def far_close(self, *, abort: bool) -> None:
        if abort:
            self.far.transport.abort()
        elif not self.far.transport.is_closing():
            self.far.transport.write_eof()
            self.far.may_send = False

    def far_pause_reading(self) -> None:
        self.far.transport.pause_reading()

    def far_resume_reading(self) -> None:
        self.far.transport.resume_reading()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self.near.tell_level()


@asynccontextmanager
async def unix_channel(folder: Path, role: str) -> AsyncGenerator[MessageChannel]:
    """Open one, whose near end has a role: `agent` or `platform`."""
    link_end: Any = program()["LinkEnd"]
    agent, platform = Owner(Log()), Owner(Log())
    loop, path = asyncio.get_running_loop(), str(folder / "socket")
    server = await loop.create_unix_server(lambda: link_end(platform, CONN), path)
    await loop.create_unix_connection(lambda: link_end(agent, CONN), path)
    await until(lambda: platform.end is not None)
    near, far = (agent, platform) if role == "agent" else (platform, agent)
    yield UnixChannel(near, far)
    for owner in (agent, platform):
        owner.end.transport.abort()
        await owner.end.lost
    server.close()
