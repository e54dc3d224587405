"""An internal error, planted wherever an input is taken: it ends the platform as it is, and nothing stands still."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from artcafe_anyio.clocks import read_clocks
from artcafe_platform import Platform
from artcafe_proto import Instant, PlatformHub, PlatformProtocol
from artcafe_proto.platform.connections import ConnectionTimer
from platform_server.harness import PATIENCE_S, bare_connection, read_to_end
from support.platform_api import TENANTS

REQUEST = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"
BACKENDS = ["asyncio", ("asyncio", {"use_uvloop": True}), "trio"]
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", BACKENDS, ids=["asyncio", "uvloop", "trio"])]


class PlantedError(Exception):
    """Of a kind that nothing expects, and false."""

    def __bool__(self) -> bool:
        return False


class Plant:
    """A method that fails from the moment that the test says so."""

    def __init__(self, owner: type, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_planted = False
        original = getattr(owner, method)

        def fail(*arguments: Any, **more: Any) -> Any:
            if self.is_planted:
                raise PlantedError(method)
            return original(*arguments, **more)

        monkeypatch.setattr(owner, method, fail)


WHERE = [
    (PlatformProtocol, "__init__"),
    (PlatformProtocol, "data_received"),
    (PlatformProtocol, "take_output"),
    (PlatformProtocol, "eof_received"),
    (PlatformProtocol, "disconnected"),
    (PlatformProtocol, "timer_due"),
    (PlatformHub, "next_output"),
    (PlatformHub, "deadline"),
    (PlatformHub, "handle_timer"),
]


Provoke = Callable[[Platform, SocketStream], Awaitable[object]]


async def how_it_ends(provoke: Provoke, **parameters: Any) -> str:
    """What a platform raises. It has a connection that has been used, for `provoke`, and another one that stands by."""
    try:
        with anyio.fail_after(PATIENCE_S):
            async with (
                Platform(tenants=TENANTS, **parameters) as platform,
                bare_connection(platform) as bystander,
                bare_connection(platform) as stream,
            ):
                for each in (bystander, stream):
                    await each.send(REQUEST)
                    assert (await each.receive()).startswith(b"HTTP/1.1 404")
                await provoke(platform, stream)
    except Exception as error:
        return repr(error)
    return ""


@pytest.mark.parametrize("anyio_streams", [False, True], ids=["", "streams"])
@pytest.mark.parametrize(("owner", "method"), WHERE, ids=[f"{owner.__name__}.{name}" for owner, name in WHERE])
async def test_it_ends_the_platform(
    owner: type,
    method: str,
    anyio_streams: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plant = Plant(owner, method, monkeypatch)

    async def provoke(platform: Platform, stream: SocketStream) -> None:
        plant.is_planted = True
        if method in ("handle_timer", "timer_due"):
            with platform.turn():
                platform._entered.connections[1].protocol.timers.set(ConnectionTimer.COMING, 0.0)  # pyright: ignore[reportPrivateUsage]
                platform.hub.touch(1)  # it is due
        elif method == "__init__":
            socket.create_connection(("127.0.0.1", int(platform.url.rpartition(":")[2]))).close()
        elif method == "disconnected":
            raw_socket = stream.extra(SocketAttribute.raw_socket)
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await anyio.aclose_forcefully(stream)
        elif method == "eof_received":
            await stream.send_eof()
        else:
            await stream.send(REQUEST)
        await anyio.sleep_forever()

    assert await how_it_ends(provoke, anyio_streams=anyio_streams) == repr(PlantedError(method))
    assert caplog.text.count("the platform is ended by an internal error: PlantedError") == 1
    assert f"PlantedError: {method}" in caplog.text, "with its traceback"


async def test_writing_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant(PlatformProtocol, "unsent", monkeypatch)

    async def provoke(platform: Platform, stream: SocketStream) -> None:
        connection = platform._entered.connections[2]  # pyright: ignore[reportPrivateUsage]
        with platform.turn():
            connection.write(bytes(16_000_000))
        plant.is_planted = True
        await stream.send(REQUEST)
        await read_to_end(stream)
        await anyio.sleep_forever()

    assert await how_it_ends(provoke) == repr(PlantedError("unsent"))


async def test_it_comes_up_while_the_platform_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    plant = Plant(PlatformProtocol, "drop", monkeypatch)

    async def provoke(*_: object) -> None:
        plant.is_planted = True

    assert await how_it_ends(provoke) == repr(PlantedError("drop"))


async def test_what_a_caller_does_in_its_turn_ends_nothing() -> None:
    async with Platform(tenants=TENANTS) as platform, bare_connection(platform) as stream:
        with pytest.raises(PlantedError), platform.turn():
            raise PlantedError
        await stream.send(REQUEST)
        assert (await stream.receive()).startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("anyio_streams", [False, True], ids=["", "streams"])
@pytest.mark.parametrize("reading", [1, 2, 3, 5, 8, 13, 21])
async def test_one_of_a_clock_that_was_given(reading: int, anyio_streams: bool) -> None:
    """Wherever it is read, also where nobody is to raise an error to."""
    readings = count(1)

    def clock() -> Instant:
        if next(readings) == reading:
            raise PlantedError("clock")
        return read_clocks()

    async def provoke(platform: Platform, stream: SocketStream) -> None:
        for _ in range(30):
            await stream.send(REQUEST)
            await stream.receive()
        await anyio.sleep_forever()

    assert await how_it_ends(provoke, anyio_streams=anyio_streams, clock=clock) == repr(PlantedError("clock"))
