"""A TCP proxy that misbehaves when told to, between one of ours and a peer: all that a network or a peer can do to TCP.

It knows nothing of what passes through it, but for pongs: some libraries answer every ping, so here pongs get lost.
It has bare sockets: a stream's end would be polite where a reset is meant.
"""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from socket import IPPROTO_TCP, SHUT_WR, SO_LINGER, SO_RCVBUF, SOL_SOCKET, TCP_NODELAY, socket
from typing import Literal

import anyio
from anyio import lowlevel

Side = Literal["client", "server"]
"""Of a connection: who opened it, and who accepted it."""
RECEIVE_BUFFER_BYTES = 256 * 1024
"""Less than the systems' own, so that a side whose bytes are not read feels it soon."""

DRIP_PAUSE_S = 0.002


class RudeProxy:
    """Listens while it is entered by `rude_proxy`. Its methods act on the connections that there are."""

    def __init__(self, target_port: int, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.bytewise_to: Side | None = None
        """This side gets every byte by itself, on connections to come."""
        self.without_pongs_to: Side | None = None
        """This side gets no pongs, on connections to come."""
        self.drips_to: dict[Side, int] = {}
        """This side gets so many of the next bytes one by one, with a pause after each."""
        self.flips_to: dict[Side, int] = {}
        """This side gets the bit of this number wrong, counted in the next bytes, from their start again and again."""
        self._target_port = target_port
        self._pairs: set[_Pair] = set()

    @property
    def is_used(self) -> bool:
        """Whether there is a connection."""
        return bool(self._pairs)

    def abort(self) -> None:
        """Both sides get a reset."""
        for pair in self._pairs:
            pair.cut()

    def half_close(self, side: Side) -> None:
        """This side sees the end of what is sent to it; what it sends still arrives."""
        for pair in self._pairs:
            pair.end(side)

    def stall(self, *sides: Side) -> None:
        """These sides get nothing more, and what is to go to them is no longer read."""
        for pair in self._pairs:
            for side in sides:
                pair.may_flow_to[side] = anyio.Event()

    def half_open(self, side: Side) -> None:
        """This side hears nothing more, and the other one its end, until an `abort`."""
        self.stall("client", "server")
        self.half_close("server" if side == "client" else "client")

    def resume(self) -> None:
        """Everything flows again."""
        for pair in self._pairs:
            for flowing in pair.may_flow_to.values():
                flowing.set()

    async def listen(self, listener: socket) -> None:
        """Serve forever."""
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.wait_readable(listener)
                tasks.start_soon(self._attend, listener.accept()[0])

    async def _attend(self, client: socket) -> None:
        with client, socket() as server:
            for each in (client, server):
                each.setblocking(False)
                each.setsockopt(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES)
                each.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
            server.connect_ex(("127.0.0.1", self._target_port))
            pair = _Pair({"client": client, "server": server})
            self._pairs.add(pair)
            try:
                with pair.scope:
                    await anyio.wait_writable(server)
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._pump, pair, "client", "server")
                        tasks.start_soon(self._pump, pair, "server", "client")
            finally:
                self._pairs.discard(pair)

    async def _pump(self, pair: _Pair, source: Side, sink: Side) -> None:
        frames = WithoutPongs() if self.without_pongs_to == sink else None
        step = 1 if self.bytewise_to == sink else RECEIVE_BUFFER_BYTES
        try:
            while True:
                await pair.may_flow_to[sink].wait()
                await anyio.wait_readable(pair.sockets[source])
                await pair.may_flow_to[sink].wait()
                data = pair.sockets[source].recv(RECEIVE_BUFFER_BYTES)
                if not data:
                    pair.end(sink)
                    return
                if frames is not None:
                    data = frames.filter(data)
                if sink in self.flips_to:
                    data = flipped(data, self.flips_to.pop(sink))
                while data and self.drips_to.get(sink, 0):
                    self.drips_to[sink] -= 1
                    await pair.send(sink, data[:1])
                    data = data[1:]
                    await anyio.sleep(DRIP_PAUSE_S)
                for start in range(0, len(data), step):
                    await pair.send(sink, data[start : start + step])
                    await lowlevel.checkpoint()
        except OSError:
            pair.cut()


class _Pair:
    """Two connections that are one."""

    def __init__(self, sockets: dict[Side, socket]) -> None:
        self.sockets = sockets
        self.scope = anyio.CancelScope()
        self.may_flow_to: dict[Side, anyio.Event] = {}
        for side in sockets:
            self.may_flow_to[side] = anyio.Event()
            self.may_flow_to[side].set()
        self._ended: set[Side] = set()

    async def send(self, side: Side, data: bytes) -> None:
        """All of it, unless this side's end has come."""
        while data and side not in self._ended:
            try:
                data = data[self.sockets[side].send(data) :]
            except BlockingIOError:
                await anyio.wait_writable(self.sockets[side])

    def end(self, side: Side) -> None:
        """Nothing more is sent to this side."""
        self._ended.add(side)
        with suppress(OSError):
            self.sockets[side].shutdown(SHUT_WR)

    def cut(self) -> None:
        """Both connections are reset."""
        for each in self.sockets.values():
            with suppress(OSError):
                each.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.scope.cancel()


@asynccontextmanager
async def rude_proxy(target_port: int) -> AsyncGenerator[RudeProxy]:
    """A proxy for a port of 127.0.0.1, on a free port of its own. At the end all connections are cut."""
    with socket() as listener:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        proxy = RudeProxy(target_port, listener.getsockname()[1])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(proxy.listen, listener)
            yield proxy
            tasks.cancel_scope.cancel()


def flipped(data: bytes, bit: int) -> bytes:
    """`data` with one bit wrong."""
    at, place = divmod(bit % (8 * len(data)), 8)
    return data[:at] + bytes([data[at] ^ 1 << place]) + data[at + 1 :]


class WithoutPongs:
    """Takes the pongs out of one direction of a connection, once that is a WebSocket (RFC 6455 section 5.2)."""

    def __init__(self) -> None:
        self._http = b""
        self._frames: bytearray | None = None

    def filter(self, data: bytes) -> bytes:
        """What goes on of `data` and of the part of a frame before it."""
        if self._frames is None:
            self._http += data
            handshake = _HANDSHAKE.search(self._http)
            if handshake is None:
                return data
            self._frames = bytearray(self._http[handshake.end() :])
            return data[: len(data) - len(self._frames)] + self._whole_frames(self._frames)
        self._frames += data
        return self._whole_frames(self._frames)

    @staticmethod
    def _whole_frames(buffer: bytearray) -> bytes:
        kept = bytearray()
        while len(buffer) >= 2:
            masked, size, start = buffer[1] >> 7, buffer[1] & 0x7F, 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(buffer[2:start])
            end = start + 4 * masked + size
            if len(buffer) < max(start, end):
                break
            if buffer[0] & 0x0F != _PONG:
                kept += buffer[:end]
            del buffer[:end]
        return bytes(kept)


_HANDSHAKE = re.compile(rb"(?:HTTP/1\.1 101 |GET ).*?\r\n\r\n", re.DOTALL)
_PONG = 0xA
