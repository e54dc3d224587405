"""PLAT-8: how many connections are served, what the others hear, and what the log says of them."""

from __future__ import annotations

import json
import resource
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketStream

from artcafe_platform import Platform, listening
from artcafe_platform.listening import Place, Places, max_connections
from artcafe_proto import Instant
from artcafe_proto.limits import TURNED_AWAY_RETRY_AFTER_S
from artcafe_proto.policies.backoff import WAITS, FailureKind
from platform_server.harness import PATIENCE_S, bare_connection, read_to_end
from support.platform_api import TENANTS

REQUEST = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"
LAST_REQUEST = REQUEST.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")


@pytest.fixture(params=["the loop's own", "anyio's streams"])
async def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Platform]:
    """One that serves two connections at once and turns away one."""
    monkeypatch.setattr(listening, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(listening, "MAX_TURNED_AWAY", 1)
    monkeypatch.setattr(listening, "SPARE_DESCRIPTORS", 0)
    async with Platform(tenants=TENANTS, anyio_streams=request.param == "anyio's streams") as platform:
        yield platform


async def ask(stream: SocketStream) -> bytes:
    """One request, whose answer is short."""
    await stream.send(REQUEST)
    return await stream.receive()


@asynccontextmanager
async def full(platform: Platform) -> AsyncGenerator[list[SocketStream]]:
    """As many connections as are served."""
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(bare_connection(platform)) for _ in range(2)]
        for stream in streams:
            assert (await ask(stream)).startswith(b"HTTP/1.1 404")
        yield streams


@pytest.mark.anyio
async def test_plat_8_who_comes_while_all_places_are_taken_is_told_so_and_the_others_notice_nothing(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    async with full(platform) as streams:
        for _ in range(3):  # each gives its place back at once
            async with bare_connection(platform) as stream:
                await stream.send(REQUEST)
                head, _, body = (await read_to_end(stream)).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 ")
                assert b"\r\nretry-after: 10" in head.lower()
                assert b"\r\nconnection: close" in head.lower()
                assert json.loads(body)["error"]["code"] == "too_many_connections"
        for stream in streams:
            assert (await ask(stream)).startswith(b"HTTP/1.1 404")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "artcafe_platform"]
    assert "as many connections are open as may be, 2" in line


@pytest.mark.anyio
async def test_plat_8_a_place_that_is_given_back_serves_the_next(platform: Platform) -> None:
    async with full(platform) as streams, bare_connection(platform) as turned_away:
        assert (await turned_away.receive()).startswith(b"HTTP/1.1 503 ")
        await streams.pop().send_eof()
        answer = b""
        with anyio.fail_after(PATIENCE_S):
            while not answer.startswith(b"HTTP/1.1 404"):  # it is free as soon as the platform has seen the end
                async with bare_connection(platform) as stream:
                    await stream.send(LAST_REQUEST)
                    answer = await read_to_end(stream)
        assert (await ask(streams.pop())).startswith(b"HTTP/1.1 404")


@pytest.mark.anyio
async def test_plat_8_more_than_can_be_told_are_closed_at_once(platform: Platform) -> None:
    async with full(platform) as streams, bare_connection(platform) as turned_away:
        assert (await turned_away.receive()).startswith(b"HTTP/1.1 503 ")
        async with bare_connection(platform) as stream:  # the one before has not gone yet
            assert await read_to_end(stream) == b""
        for stream in streams:
            assert (await ask(stream)).startswith(b"HTTP/1.1 404")


def test_the_log_says_once_a_minute_how_many_were_not_served(caplog: pytest.LogCaptureFixture) -> None:
    mono = 1000.0
    places = Places(1, lambda: Instant(mono, 0.0))
    assert places.take() is Place.SERVED
    for _ in range(60):
        for _ in range(1000):
            places.take()
        mono += 1.0
    assert caplog.text.count("since the last such line 1 were") == 1
    mono += 0.5
    places.take()
    assert "since the last such line 60000 were" in caplog.text
    assert len(caplog.records) == 2


def test_no_more_connections_are_served_than_there_are_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else those beyond would wait without an answer, and no file could be opened."""
    for soft, most in ((1024, 924), (256, 156), (100_000, 20_000), (resource.RLIM_INFINITY, 20_000), (10, 1)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))  # pyright: ignore
        assert max_connections() == most


def test_who_is_turned_away_is_asked_to_wait_no_longer_than_it_would_by_itself() -> None:
    """LINK-4: a longer Retry-After would bring all of them back at the same moment."""
    assert WAITS[FailureKind.SERVER].first_s >= TURNED_AWAY_RETRY_AFTER_S
