"""WebSocket clients of other people's libraries behind one face: websockets, aiohttp, picows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import aiohttp
import picows
import sniffio
import websockets.asyncio.client
import websockets.exceptions
import websockets.trio.client

PATIENCE_S = 60.0
"""Before a client gives up a handshake: the libraries' own limits are for faster machines than a test may meet."""


class LinkClosedError(Exception):
    """A WebSocket is over; `code` is what the platform's close frame said, None without one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class UpgradeRefusedError(Exception):
    """The opening handshake was answered with another status than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class WebSocket(Protocol):
    """An open one. Both of the first raise LinkClosedError."""

    async def send(self, text: str) -> None: ...
    async def receive(self) -> str: ...
    async def close(self, code: int) -> None: ...


Headers = dict[str, str]
Client = Callable[[str, Headers], AbstractAsyncContextManager[WebSocket]]


# --- websockets -------------------------------------------------------------------------------------------------------


class _WebsocketsSocket:
    def __init__(
        self, connection: websockets.asyncio.client.ClientConnection | websockets.trio.client.ClientConnection
    ) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        try:
            await self._connection.send(text)
        except websockets.exceptions.ConnectionClosed as error:
            raise LinkClosedError(_received_code(error)) from None

    async def receive(self) -> str:
        try:
            return await self._connection.recv(decode=True)
        except websockets.exceptions.ConnectionClosed as error:
            raise LinkClosedError(_received_code(error)) from None

    async def close(self, code: int) -> None:
        if isinstance(self._connection, websockets.trio.client.ClientConnection):
            await self._connection.aclose(code)
        else:
            await self._connection.close(code)


def _received_code(error: websockets.exceptions.ConnectionClosed) -> int | None:
    return None if error.rcvd is None else error.rcvd.code


@asynccontextmanager
async def _open_websockets(url: str, headers: Headers) -> AsyncGenerator[WebSocket]:
    if sniffio.current_async_library() == "trio":
        connect = websockets.trio.client.connect
    else:
        connect = websockets.asyncio.client.connect
    try:
        async with connect(
            url, additional_headers=headers, proxy=None, open_timeout=PATIENCE_S, close_timeout=PATIENCE_S
        ) as connection:
            yield _WebsocketsSocket(connection)
    except websockets.exceptions.InvalidStatus as error:
        raise UpgradeRefusedError(error.response.status_code) from None


# --- aiohttp ----------------------------------------------------------------------------------------------------------


class _AiohttpSocket:
    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self._connection = connection
        self._closed = asyncio.Event()

    async def send(self, text: str) -> None:
        try:
            await self._connection.send_str(text)
        except ConnectionError:
            raise LinkClosedError(self._received_code()) from None

    async def receive(self) -> str:
        message = await self._connection.receive()
        if message.type is aiohttp.WSMsgType.CLOSING:  # by `close`, which is still at it
            await self._closed.wait()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise LinkClosedError(self._received_code())
        return message.data

    async def close(self, code: int) -> None:
        await self._connection.close(code=code)
        self._closed.set()

    def _received_code(self) -> int | None:
        code = self._connection.close_code
        return None if code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE else code


@asynccontextmanager
async def _open_aiohttp(url: str, headers: Headers) -> AsyncGenerator[WebSocket]:
    timeout = aiohttp.ClientWSTimeout(ws_close=PATIENCE_S)  # pyright: ignore[reportCallIssue]
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers=headers, timeout=timeout) as connection,
        ):
            yield _AiohttpSocket(connection)
    except aiohttp.WSServerHandshakeError as error:
        raise UpgradeRefusedError(error.status) from None


# --- picows -----------------------------------------------------------------------------------------------------------


class _PicowsSocket(picows.WSListener):
    transport: picows.WSTransport

    def __init__(self) -> None:
        self._texts: asyncio.Queue[str | LinkClosedError] = asyncio.Queue()
        self._code: int | None = None
        self._is_closing = False

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.TEXT:
            self._texts.put_nowait(frame.get_payload_as_utf8_text())
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            self._code = int.from_bytes(frame.get_payload_as_bytes()[:2]) or 1005
            if not self._is_closing:
                transport.send_close(frame.get_close_code())
            transport.disconnect()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._texts.put_nowait(LinkClosedError(self._code))

    async def send(self, text: str) -> None:
        if self.transport.is_disconnected:
            raise LinkClosedError(self._code)
        self.transport.send(picows.WSMsgType.TEXT, text.encode())

    async def receive(self) -> str:
        text = await self._texts.get()
        if isinstance(text, LinkClosedError):
            self._texts.put_nowait(text)
            raise text
        return text

    async def close(self, code: int) -> None:
        self._is_closing = True
        self.transport.send_close(picows.WSCloseCode(code))
        try:
            await asyncio.wait_for(self.transport.wait_disconnected(), PATIENCE_S)
        finally:
            self.transport.disconnect()


@asynccontextmanager
async def _open_picows(url: str, headers: Headers) -> AsyncGenerator[WebSocket]:
    listener = _PicowsSocket()
    try:
        connecting = picows.ws_connect(  # pyright: ignore[reportUnknownMemberType]
            lambda: listener, url, extra_headers=headers, websocket_handshake_timeout=PATIENCE_S
        )
        listener.transport, _ = await connecting
    except picows.WSInvalidStatusError as error:
        raise UpgradeRefusedError(0 if error.response is None else error.response.status) from None
    try:
        yield listener
    finally:
        if not listener.transport.is_disconnected:
            await listener.close(1000)


# --- which is which ---------------------------------------------------------------------------------------------------

CLIENTS: dict[str, Client] = {"websockets": _open_websockets, "aiohttp": _open_aiohttp, "picows": _open_picows}
IMPOSSIBLE = {
    ("trio", "aiohttp"): "it runs on asyncio only, and a test has one event loop for both sides",
    ("trio", "picows"): "it runs on asyncio only, and a test has one event loop for both sides",
}
SIDES = [(backend, peer) for backend in ("asyncio", "trio") for peer in CLIENTS if (backend, peer) not in IMPOSSIBLE]
"""The event loop, and the peer."""
