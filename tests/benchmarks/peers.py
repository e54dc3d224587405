"""What other libraries make of the same work: read a command, call its handler, send the response, one at a time.

Nothing else: no ledger, outbox, settling, deadlines, limits, heartbeats or reconnecting. All but the guide's way are as
fast as a few lines make them. Every response has an id of 128 random bits and the time at which it was written, as the
protocol wants it (MSG-2, MSG-3) and the guide's way has it. Compression is off everywhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import uuid
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import picows
import websockets
from wsproto.connection import CLIENT, Connection
from wsproto.events import CloseConnection, Ping, TextMessage

from artcafe_anyio.randomness import PooledRandom
from artcafe_proto.wires.inputs import TextReceived
from artcafe_proto.wires.websocket import WebSocketWire

PATH = "/api/v1/ws/agent/agent-1"


async def handle(args: dict[str, Any]) -> dict[str, Any]:
    """The handler: what every subject is measured with."""
    return {"text": args["text"]}


def echo(text: str) -> dict[str, str]:
    """The same, as a plain function."""
    return {"text": text}


# --- the guide's way --------------------------------------------------------------------------------------------------


async def guide(port: int) -> None:
    """The example of the guide, its logging left out."""
    async with websockets.connect(f"ws://127.0.0.1:{port}{PATH}", compression=None) as ws:
        async for text in ws:
            message = json.loads(text)
            if message["type"] == "command":
                result = await handle(message["data"]["args"])
                response = {
                    "type": "response",
                    "id": str(uuid.uuid4()),
                    "data": {"command_id": message["id"], "status": "success", "result": result},
                    "timestamp": datetime.now(UTC).isoformat(),
                }
                await ws.send(json.dumps(response))


# --- with msgspec -----------------------------------------------------------------------------------------------------


class Args(msgspec.Struct, gc=False):
    """Of the one command there is."""

    text: str


class CommandData(msgspec.Struct, gc=False):
    """A command's data, read at once with its arguments."""

    command: str
    args: Args
    timeout: float | None = None


class Command(msgspec.Struct, gc=False, tag_field="type", tag="command"):
    """A command."""

    id: str
    data: CommandData
    timestamp: str


class ResponseData(msgspec.Struct, gc=False):
    """A success."""

    command_id: str
    result: Any
    status: str = "success"


class Response(msgspec.Struct, gc=False, tag_field="type", tag="response"):
    """A response."""

    id: str
    data: ResponseData
    timestamp: str


_decode = msgspec.json.Decoder(Command).decode
_encode = msgspec.json.Encoder().encode


def answer(payload: bytes | str) -> bytes:
    """The response to a command."""
    command = _decode(payload)
    data = ResponseData(command.id, echo(command.data.args.text))
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds")
    return _encode(Response(f"resp-{os.urandom(16).hex()}", data, timestamp))


async def websockets_msgspec(port: int) -> None:
    """`websockets`, reading bytes and sending them as text."""
    async with websockets.connect(f"ws://127.0.0.1:{port}{PATH}", compression=None) as ws:
        try:
            while True:
                await ws.send(answer(await ws.recv(decode=False)), text=True)
        except websockets.ConnectionClosed:
            pass


async def picows_msgspec(port: int) -> None:
    """`picows`: frames are answered in its callback."""

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            if frame.msg_type is picows.WSMsgType.TEXT:
                transport.send(picows.WSMsgType.TEXT, answer(frame.get_payload_as_bytes()))

    transport, _ = await picows.ws_connect(  # pyright: ignore[reportUnknownMemberType]
        Listener, f"ws://127.0.0.1:{port}{PATH}"
    )
    await transport.wait_disconnected()


async def aiohttp_msgspec(port: int) -> None:
    """`aiohttp`'s client."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}{PATH}", compress=0) as ws,
    ):
        async for message in ws:
            await ws.send_frame(answer(message.data), aiohttp.WSMsgType.TEXT)


async def wsproto_msgspec(port: int) -> None:
    """`wsproto`'s frame layer alone, on a blocking socket, one write for all that a read has brought."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        key = "dGhlIHNhbXBsZSBub25jZQ=="
        fields = ("Host: x", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}")
        sock.sendall("\r\n".join((f"GET {PATH} HTTP/1.1", *fields, "Sec-WebSocket-Version: 13", "", "")).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65_536)
        frames = Connection(CLIENT)
        data, text = head.partition(b"\r\n\r\n")[2], ""
        while True:
            frames.receive_data(data)
            out: list[bytes] = []
            for event in frames.events():
                if isinstance(event, TextMessage):
                    text += event.data
                    if event.message_finished:
                        out.append(frames.send(TextMessage(answer(text).decode())))
                        text = ""
                elif isinstance(event, Ping):
                    out.append(frames.send(event.response()))
                elif isinstance(event, CloseConnection):
                    return
            sock.sendall(b"".join(out))
            data = sock.recv(65_536)
            if not data:
                return


class _BareLane(asyncio.BufferedProtocol):
    """Our wire and asyncio's transport: what an agent of ours would cost if it did nothing of the protocol."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(256 * 1024))
        self._wire: WebSocketWire | None = None
        self._transport: asyncio.Transport | None = None
        self.is_over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        fields = ("Host: x", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        transport.write("\r\n".join((f"GET {PATH} HTTP/1.1", *fields, "Sec-WebSocket-Version: 13", "", "")).encode())

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[:nbytes])
        assert self._transport is not None
        if self._wire is None:
            self._wire = WebSocketWire(client=True, rng=PooledRandom(), max_message_size=1 << 20)
            data = data.partition(b"\r\n\r\n")[2]
        write = self._wire.writer.text
        texts = (each for each in self._wire.receive(data) if type(each) is TextReceived)
        self._transport.write(b"".join([write(answer(text.payload)) for text in texts]))

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over.set_result(None)


async def bare_lane(port: int) -> None:
    """Our wire alone, one write for all that a read has brought."""
    _, protocol = await asyncio.get_running_loop().create_connection(_BareLane, "127.0.0.1", port)
    await protocol.is_over


PEERS = {
    "guide (websockets + json)": guide,
    "websockets + msgspec": websockets_msgspec,
    "picows + msgspec": picows_msgspec,
    "aiohttp + msgspec": aiohttp_msgspec,
    "wsproto + msgspec": wsproto_msgspec,
    "our bare lane + msgspec": bare_lane,
}


def run(name: str, port: int) -> None:
    """Serve commands until the platform ends the connection."""
    asyncio.run(PEERS[name](port))
