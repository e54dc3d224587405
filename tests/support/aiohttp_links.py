"""Channels over the links of docs/aiohttp.md, whose near end has either role; the far end keeps every rule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import aiohttp
from aiohttp import web
from websockets.uri import parse_uri

from artcafe_proto import RemoteProtocolError
from artcafe_proto.config import LinkSettings
from support.channels import transport
from support.message_channels import CarriedOut, ClientWire, FarWebSocket, ServerWire, WebSocketEnd, turns_of_the_loop
from support.printed_links import until

CONFIG = LinkSettings()


@cache
def program() -> dict[str, Any]:
    """What the page prints: a program for each role, with a link of its own."""
    agent = transport("aiohttp", "aiohttp, agent", page="aiohttp.md")
    return agent | transport("aiohttp", "aiohttp, platform", page="aiohttp.md")


class AiohttpChannel(FarWebSocket, CarriedOut):
    """A channel whose near end is the page's link."""

    def __init__(self, far: WebSocketEnd) -> None:
        super().__init__()
        self.far = far
        self.failures: list[RemoteProtocolError] = []

    def tell(self, happened: str, *arguments: Any) -> None:
        if happened == "peer_failed":
            self.failures.append(arguments[0])
        else:
            super().tell(happened, *arguments)

    def link(self, websocket: Any, transport: asyncio.BaseTransport | None) -> Any:
        """Begin it."""
        self.near = program()["Link"](websocket, transport, self.tell, CONFIG.close_timeout)
        return self.near

    async def settle(self) -> None:
        await turns_of_the_loop()
        self.near.tell_level()


@asynccontextmanager
async def as_agent() -> AsyncGenerator[AiohttpChannel]:
    """Open one, whose near end is aiohttp's client."""
    far = WebSocketEnd(ServerWire())
    channel = AiohttpChannel(far)
    async with await asyncio.get_running_loop().create_server(lambda: far, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with aiohttp.ClientSession(ws_response_class=program()["ClientWebSocket"]) as session:
            connect: Any = session.ws_connect
            websocket = await connect(url, max_msg_size=CONFIG.max_message_size + 1, **options())
            running = asyncio.create_task(channel.link(websocket, websocket.transport).run())
            yield channel
            await end(channel, running)


@asynccontextmanager
async def as_platform() -> AsyncGenerator[AiohttpChannel]:
    """Open one, whose near end is aiohttp's server."""
    far = WebSocketEnd(ClientWire(parse_uri("ws://localhost")))
    channel = AiohttpChannel(far)
    started: asyncio.Future[asyncio.Task[None]] = asyncio.get_running_loop().create_future()

    async def serve(request: web.BaseRequest) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(max_msg_size=CONFIG.max_message_size + 1, **options())
        link = channel.link(websocket, request.transport)
        await websocket.prepare(request)
        started.set_result(asyncio.create_task(link.run()))
        await asyncio.shield(started.result())
        return websocket

    runner = web.ServerRunner(web.Server(serve, handler_cancellation=True))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    await asyncio.get_running_loop().create_connection(lambda: far, *runner.addresses[0])
    running = await started
    await until(lambda: far.is_up)
    yield channel
    await end(channel, running)
    await runner.cleanup()


async def end(channel: AiohttpChannel, running: asyncio.Task[None]) -> None:
    channel.close(abort=True)
    channel.far.transport.abort()
    await running


def options() -> dict[str, Any]:
    """How the page opens WebSockets."""
    return program()["WEBSOCKET"]


ROLES: dict[str, Callable[[], Any]] = {"agent": as_agent, "platform": as_platform}
