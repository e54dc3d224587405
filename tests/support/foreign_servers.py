"""The foreign platform on the network: Starlette on uvicorn and on hypercorn, aiohttp, and Node with the package ws.

The Python ones run on an event loop in a thread of their own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import hypercorn.asyncio
import pytest
import uvicorn
from aiohttp import WSMsgType, web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from support.foreign_node import NodeServer
from support.foreign_platform import Account, ForeignPlatform
from support.foreign_ports import START_S, reserved_port, wait_until_it_listens

CHALLENGE, VERIFY, LINK = "/api/v1/auth/challenge", "/api/v1/auth/verify", "/api/v1/ws/agent/{agent_id}"


class ForeignServer(Protocol):
    """A server on a port. Both methods block until it listens, and until it is gone."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class ThreadServer:
    """A Python server. `serve` serves the platform on the port until the event."""

    def __init__(self, serve: Serve, platform: ForeignPlatform, port: int) -> None:
        self._serve = serve
        self._platform = platform
        self._port = port

    def start(self) -> None:
        """Serve from a thread."""
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),), daemon=True)
        self._thread.start()
        wait_until_it_listens(self._port, self._thread.is_alive)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self._serve(self._platform, self._port, self._stop)

    def stop(self) -> None:
        """End it in its own way."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S)
        assert not self._thread.is_alive()


Serve = Callable[[ForeignPlatform, int, asyncio.Event], Awaitable[None]]


class QueueLink:
    """A link of a Python server: what is to be said is queued for the task that may say it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._orders: asyncio.Queue[str | int] = asyncio.Queue()

    def send(self, text: str) -> None:
        self._put(text)

    def close(self, code: int) -> None:
        self._put(code)

    def _put(self, order: str | int) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the link with it
            self._loop.call_soon_threadsafe(self._orders.put_nowait, order)

    async def obey(self, send: Callable[[str], Awaitable[Any]], close: Callable[[int], Awaitable[Any]]) -> None:
        """Say it, until the link is over: the libraries have errors of their own for that."""
        with suppress(WebSocketDisconnect, RuntimeError, ConnectionError):
            while True:
                order = await self._orders.get()
                if isinstance(order, int):
                    await close(order)
                    return
                await send(order)


async def talk(
    account: Account,
    receive: Callable[[], Awaitable[str | None]],
    send: Callable[[str], Awaitable[Any]],
    close: Callable[[int], Awaitable[Any]],
) -> None:
    """A link from its opening handshake until `receive` gives None. Reading and writing never wait for each other."""
    link = QueueLink()
    writing = asyncio.create_task(link.obey(send, close))
    try:
        while (text := await receive()) is not None:
            account.heard(link, text)
    finally:
        account.closed(link)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing


# --- Starlette, on uvicorn and on hypercorn ---------------------------------------------------------------------------


def starlette_app(platform: ForeignPlatform) -> Starlette:
    """The platform as an ASGI application."""

    async def challenge(request: Request) -> JSONResponse:
        return JSONResponse(platform.challenge(await request.json()))

    async def verify(request: Request) -> JSONResponse:
        status, answer = platform.verify(await request.json())
        return JSONResponse(answer, status)

    async def link(websocket: WebSocket) -> None:
        account = platform.admit(websocket.headers.get("authorization", ""), websocket.path_params["agent_id"])
        await websocket.accept()

        async def receive() -> str | None:
            try:
                return await websocket.receive_text()
            except WebSocketDisconnect:
                return None

        await talk(account, receive, websocket.send_text, websocket.close)

    return Starlette(
        routes=[
            Route(CHALLENGE, challenge, methods=["POST"]),
            Route(VERIFY, verify, methods=["POST"]),
            WebSocketRoute(LINK, link),
        ]
    )


async def serve_uvicorn(platform: ForeignPlatform, port: int, stop: asyncio.Event) -> None:
    """uvicorn; its WebSocket is the websockets library's."""
    app = starlette_app(platform)
    config = uvicorn.Config(app, port=port, log_level="error", lifespan="off", ws="websockets-sansio")
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await stop.wait()
    server.should_exit = True
    await serving


async def serve_hypercorn(platform: ForeignPlatform, port: int, stop: asyncio.Event) -> None:
    """hypercorn; its WebSocket is wsproto's."""
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 0.1
    config.errorlog = None
    app: Any = starlette_app(platform)
    await hypercorn.asyncio.serve(app, config, shutdown_trigger=stop.wait)  # pyright: ignore[reportUnknownMemberType]


# --- aiohttp ----------------------------------------------------------------------------------------------------------


async def serve_aiohttp(platform: ForeignPlatform, port: int, stop: asyncio.Event) -> None:
    """aiohttp; HTTP and WebSocket are its own."""

    async def challenge(request: web.Request) -> web.Response:
        return web.json_response(platform.challenge(await request.json()))

    async def verify(request: web.Request) -> web.Response:
        status, answer = platform.verify(await request.json())
        return web.json_response(answer, status=status)

    async def link(request: web.Request) -> web.WebSocketResponse:
        account = platform.admit(request.headers.get("authorization", ""), request.match_info["agent_id"])
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)

        async def receive() -> str | None:
            message = await websocket.receive()
            return message.data if message.type is WSMsgType.TEXT else None

        async def close(code: int) -> None:
            await websocket.close(code=code)

        await talk(account, receive, websocket.send_str, close)
        return websocket

    app = web.Application()
    app.add_routes([web.post(CHALLENGE, challenge), web.post(VERIFY, verify), web.get(LINK, link)])
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await stop.wait()
    await runner.cleanup()


# --- which is which ---------------------------------------------------------------------------------------------------

PYTHON_SERVERS: dict[str, Serve] = {
    "uvicorn": serve_uvicorn,
    "hypercorn": serve_hypercorn,
    "aiohttp": serve_aiohttp,
}
PEERS = [*PYTHON_SERVERS, "ws"]


def new_server(peer: str, platform: ForeignPlatform, port: int, request: pytest.FixtureRequest) -> ForeignServer:
    """The platform on the server called `peer`, to be started. The platform must know its agents already."""
    if peer == "ws":
        return NodeServer(platform, port, request.getfixturevalue("node_modules"))
    return ThreadServer(PYTHON_SERVERS[peer], platform, port)


@contextmanager
def serving(peer: str, platform: ForeignPlatform, request: pytest.FixtureRequest) -> Generator[str]:
    """Serve on a free port of 127.0.0.1; gives the base URL."""
    with reserved_port() as port:
        server = new_server(peer, platform, port, request)
        server.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop()
