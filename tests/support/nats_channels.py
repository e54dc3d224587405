"""Channels of messages for `check_channel` over the link of docs/nats.md, between two clients of a NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any, Final

from artcafe_proto.effects import (
    Disconnect,
    PauseReading,
    ResumeReading,
    SendClose,
    SendPing,
    SendPong,
    SendText,
)
from artcafe_proto.testing import MessageChannel
from support.channels import CONN
from support.message_channels import CarriedOut, Log, turns_of_the_loop
from support.nats_server import NatsServer, programs

_names: Final = count(1)


class NatsChannel(CarriedOut):
    """A channel between two ends of the page's link."""

    def __init__(self, near: Any, far: Any, brokers: tuple[Any, Any]) -> None:
        super().__init__()
        self.far_log = Log()
        self.near, self.far, self.brokers = near, far, brokers
        near.begin(self.tell)
        far.begin(self.far_log.tell)

    @property
    def far_told(self) -> list[tuple[str, bytes | int]]:
        return self.far_log.told

    @property
    def far_unsent_bytes(self) -> int:
        return self.far.unsent_bytes

    def far_write(self, data: bytes) -> None:
        self.far.carry_out(SendText(CONN, data))

    def far_ping(self, payload: bytes) -> None:
        self.far.carry_out(SendPing(CONN, payload))

    def far_pong(self, payload: bytes) -> None:
        self.far.carry_out(SendPong(CONN, payload))

    def far_close_with(self, code: int) -> None:
        self.far.carry_out(SendClose(CONN, code, ""))

    def far_close(self, *, abort: bool) -> None:
        self.far.carry_out(Disconnect(CONN, abort))

    def far_pause_reading(self) -> None:
        self.far.carry_out(PauseReading(CONN))

    def far_resume_reading(self) -> None:
        self.far.carry_out(ResumeReading(CONN))

    async def settle(self) -> None:
        """What each end has published is with the other one, which has read it."""
        for broker in self.brokers:
            await turns_of_the_loop()  # what is due is published, and written to the socket
            await broker.calls.join()
            await turns_of_the_loop()
            await broker.client.flush()  # to the server and back, behind that, and with what the other one published
        await self.brokers[0].client.flush()
        await turns_of_the_loop()


@asynccontextmanager
async def nats_clients(server: NatsServer) -> AsyncGenerator[tuple[Any, Any]]:
    """The clients of an agent and of the platform."""
    async with AsyncExitStack() as clients:
        brokers = programs()[0].Broker(), programs()[0].Broker()
        for broker, user in zip(brokers, ("agent-1", "platform"), strict=True):
            clients.push_async_callback(broker.close)
            await broker.open(**server.options(user), inbox_prefix=f"_INBOX_{user}")
        yield brokers


@asynccontextmanager
async def nats_channel(role: str, clients: tuple[Any, Any]) -> AsyncGenerator[MessageChannel]:
    """Open one whose near end has a role: `agent` or `platform`."""
    subject = f"artcafe.link.agent-1.{next(_names)}"
    agent, platform = clients
    async with (
        asyncio.timeout(60),
        platform.link(f"{subject}.up", f"{subject}.down") as of_platform,
        agent.link(f"{subject}.down", f"{subject}.up") as of_agent,
    ):
        for client in (platform.client, agent.client) * 2:
            await client.flush()  # whose ping overtakes what the client has not written yet; the second one does not
        if role == "agent":
            yield NatsChannel(of_agent, of_platform, (agent, platform))
        else:
            yield NatsChannel(of_platform, of_agent, (platform, agent))
