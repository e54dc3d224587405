"""A reader of event streams that knows nothing of this project: h11 and the parsing rules of WHATWG HTML 9.2.6."""

from __future__ import annotations

import codecs
import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import h11
from anyio.abc import SocketStream

from artcafe_platform import Platform
from platform_server.harness import bare_connection
from support.platform_api import TOKEN


class ServerSentEvent(NamedTuple):
    """What is dispatched."""

    name: str
    last_id: str
    data: str


class EventParser:
    """Fed with text, it dispatches events. Lines end with CR LF, LF or CR."""

    def __init__(self) -> None:
        self.events: deque[ServerSentEvent] = deque()
        self._rest = ""
        self._last_id = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        if not line:
            if self._data:
                self.events.append(ServerSentEvent(self._name or "message", self._last_id, "\n".join(self._data)))
            self._name, self._data = "", []
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._last_id = value
            case _:
                pass  # a comment, or unknown


class Listener:
    """One stream, from its request on."""

    def __init__(self, stream: SocketStream) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.is_whole = False
        """Whether the body has come to its proper end."""
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._parser = EventParser()

    async def ask(self, target: str, headers: dict[str, str]) -> None:
        """Send the request and read the head of the answer."""
        request = h11.Request(method="GET", target=target, headers=[("host", "x"), *headers.items()])
        await self._stream.send(self._http.send(request) + self._http.send(h11.EndOfMessage()))
        head = await self._next()
        assert isinstance(head, h11.Response)
        self.status = head.status_code
        self.headers = {name.decode(): value.decode() for name, value in head.headers}

    async def take(self, *names: str) -> list[dict[str, Any]]:
        """The data of the next events, which have these names."""
        return [await self._take(name) for name in names]

    async def _take(self, name: str) -> dict[str, Any]:
        while not self._parser.events:
            event = await self._next()
            assert isinstance(event, h11.Data), f"{name} was expected, and the stream has ended"
            self._parser.feed(self._decoder.decode(event.data))
        dispatched = self._parser.events.popleft()
        assert dispatched.name == name, dispatched
        return json.loads(dispatched.data)

    async def read_to_end(self) -> None:
        """Skip what still comes."""
        while isinstance(event := await self._next(), h11.Data):
            pass
        self.is_whole = isinstance(event, h11.EndOfMessage)

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._stream.receive())
        return event


@asynccontextmanager
async def listening(platform: Platform) -> AsyncGenerator[Listener]:
    """A stream that has begun."""
    async with bare_connection(platform) as stream:
        listener = Listener(stream)
        await listener.ask("/api/v1/events", {"authorization": f"Bearer {TOKEN}"})
        assert listener.status == 200
        await listener.take("stream.open")
        yield listener
