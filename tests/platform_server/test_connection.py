"""One connection over a stream that does what a test says: backpressure, the ways to end, and broken transports."""

from __future__ import annotations

import errno
from random import Random
from typing import Any, cast

import anyio
import pytest
from anyio import wait_all_tasks_blocked

from artcafe_anyio.clocks import read_clocks
from artcafe_anyio.connection import SEND_BYTES
from artcafe_platform import Platform, connection, listening
from artcafe_platform.listening import Listening
from artcafe_platform.owner import Owner
from artcafe_proto import ApiError, Instant, PlatformConfig, PlatformHub, PlatformProtocol
from artcafe_proto.limits import LEVEL_BYTES, WRITE_AHEAD_BYTES
from platform_server.harness import bare_connection
from platform_server.scripted_stream import stage
from support.drained import due_at
from support.platform_api import TENANTS

pytestmark = pytest.mark.anyio

REQUEST = b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n"


# --- backpressure -----------------------------------------------------------------------------------------------------


async def test_who_does_not_read_answers_is_not_read_either() -> None:
    """Else whoever sends requests and never reads could fill the memory."""
    async with stage() as setting:
        setting.stream.stick()
        setting.stream.comes(*[REQUEST] * 4000)
        await wait_all_tasks_blocked()
        assert 100 < setting.stream.reads < 3600
        assert setting.connection.buffered_bytes < 2 * WRITE_AHEAD_BYTES
        setting.stream.unstick()
        await wait_all_tasks_blocked()
        assert setting.stream.reads == 4001
        assert setting.stream.answers == 4000


async def test_what_is_written_while_sending_goes_out_together() -> None:
    async with stage() as setting:
        setting.stream.stick()
        setting.stream.comes(REQUEST, REQUEST, REQUEST)
        await wait_all_tasks_blocked()
        setting.stream.unstick()
        await wait_all_tasks_blocked()
        assert setting.stream.answers == 3
        assert len(setting.stream.sent) <= 2


def listen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What a protocol is told of what has not left."""
    heard: list[int] = []
    original = PlatformProtocol.unsent

    def hear(protocol: PlatformProtocol, nbytes: int, now: Instant) -> None:
        heard.append(nbytes)
        original(protocol, nbytes, now)

    monkeypatch.setattr(PlatformProtocol, "unsent", hear)
    return heard


async def test_the_protocol_hears_how_much_has_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = listen(monkeypatch)
    async with stage() as setting:
        await wait_all_tasks_blocked()
        setting.stream.stick()
        for size in (LEVEL_BYTES - 1, 1, 5):
            with setting.owner.turn(setting.connection):
                setting.connection.write(bytes(size))
        assert heard == [LEVEL_BYTES], "once it is worth a look"
        setting.stream.unstick()
        await wait_all_tasks_blocked()
        assert heard[-1] == 0


async def test_a_reader_that_is_slow_but_steady_has_not_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """LINK-8: the time counts anew with every piece that goes out."""
    for name in ("FIRST", "LAST"):
        monkeypatch.setattr(f"artcafe_proto.levels.LEVEL_{name}_LOOK_S", 0.001)
    heard = listen(monkeypatch)
    async with stage() as setting:
        await wait_all_tasks_blocked()
        setting.stream.stick()
        data = Random(1).randbytes(6 * SEND_BYTES)
        with setting.owner.turn(setting.connection):
            setting.connection.write(data)
        setting.stream.comes(REQUEST)
        await wait_all_tasks_blocked()
        assert setting.stream.reads == 1  # which was under way: the peer is not read
        for piece in range(1, 3):
            before = due_at(setting.protocol)
            assert before is not None
            await anyio.sleep(0.01)
            told = heard[-1]
            setting.stream.unstick_once()
            while heard[-1] == told:  # noqa: ASYNC110 it is looked at from time to time
                await anyio.sleep(0.001)
            assert len(setting.stream.sent) == piece
            assert setting.stream.reads == 1
            later = due_at(setting.protocol)
            assert later is not None
            assert later > before
        assert heard[0] == 6 * SEND_BYTES
        setting.stream.unstick()
        await wait_all_tasks_blocked()
        assert heard[-1] == 0
        assert b"".join(setting.stream.sent).startswith(data)
        assert setting.stream.answers == 1


async def test_link_8_a_little_that_waits_for_long_is_a_stall_as_well() -> None:
    """The rest of a megabyte, after what the kernel took: the peer's window is full all the same."""
    async with stage() as setting:
        await wait_all_tasks_blocked()
        setting.stream.stick()
        with setting.owner.turn(setting.connection) as now:
            setting.connection.write(bytes(LEVEL_BYTES))
        assert due_at(setting.protocol) == now.mono + 30
        setting.stream.unstick()
        await wait_all_tasks_blocked()
        deadline = due_at(setting.protocol)
        assert deadline is not None
        assert deadline > now.mono + 70, "it reads again"


async def test_a_peer_for_whom_too_much_waits_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_UNSENT_BYTES", 1000)
    async with stage() as setting:
        setting.stream.stick()
        setting.stream.comes(REQUEST * 20)
        await setting.over.wait()
        assert setting.stream.sent == []


async def test_reading_pauses_and_goes_on() -> None:
    async with stage() as setting:
        setting.connection.pause_reading()
        setting.stream.comes(REQUEST, REQUEST)
        await wait_all_tasks_blocked()
        assert setting.stream.answers <= 1  # the one that was being received already
        setting.connection.resume_reading()
        await wait_all_tasks_blocked()
        assert setting.stream.answers == 2


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_a_close_waits_for_what_was_written_and_for_the_peer() -> None:
    async with stage() as setting:
        setting.stream.stick()
        setting.stream.comes(b"nonsense\r\n\r\n")
        await wait_all_tasks_blocked()
        assert not setting.stream.has_ended
        setting.stream.unstick()
        await wait_all_tasks_blocked()
        assert setting.stream.sent[0].startswith(b"HTTP/1.1 400")
        assert setting.stream.has_ended
        setting.stream.comes(REQUEST)
        await wait_all_tasks_blocked()
        assert not setting.over.is_set()
        setting.stream.comes(anyio.EndOfStream())
        await setting.over.wait()
        assert setting.stream.answers == 0


@pytest.mark.parametrize("is_stuck", [True, False])
async def test_a_close_does_not_wait_for_ever(is_stuck: bool) -> None:
    async with stage(close_timeout_s=0.01) as setting:
        if is_stuck:
            setting.stream.stick()
        setting.stream.comes(b"nonsense\r\n\r\n")
        await setting.over.wait()


async def test_an_abort_waits_for_nothing() -> None:
    async with stage() as setting:
        setting.stream.stick()
        setting.stream.comes(REQUEST)
        await wait_all_tasks_blocked()
        with setting.owner.turn(setting.connection) as now:
            setting.protocol.disconnected("the test says so", now)
            setting.connection.close(abort=True)
        await setting.over.wait()
        assert not setting.stream.has_ended


async def test_the_peers_end_comes_after_the_answer_due() -> None:
    async with stage() as setting:
        setting.stream.stick()
        setting.stream.comes(REQUEST, anyio.EndOfStream())
        await wait_all_tasks_blocked()
        setting.stream.unstick()
        await setting.over.wait()
        assert setting.stream.answers == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (anyio.BrokenResourceError(), "BrokenResourceError"),
        (anyio.BusyResourceError("sending"), "already sending this resource"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "Connection reset by peer"),
    ],
)
@pytest.mark.parametrize("direction", ["receiving", "sending"])
async def test_a_broken_transport_is_told_once(
    error: Exception, reason: str, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    original = PlatformProtocol.disconnected

    def disconnected(self: PlatformProtocol, reason: str, now: Any) -> None:
        if not self.is_closed:
            told.append(reason)
        original(self, reason, now)

    monkeypatch.setattr(PlatformProtocol, "disconnected", disconnected)
    async with stage() as setting:
        if direction == "receiving":
            setting.stream.comes(error)
        else:
            setting.stream.fails_to_send = error
            setting.stream.comes(REQUEST)
        await setting.over.wait()
        assert len(told) == 1
        assert reason in told[0]


async def test_a_cancelled_connection_is_over_for_the_protocol_too() -> None:
    async with stage() as setting:
        await wait_all_tasks_blocked()
    assert not setting.over.is_set()
    assert setting.protocol.is_closed


# --- what fails goes no further ---------------------------------------------------------------------------------------


async def test_a_failed_accept_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class ShortOfDescriptors:
        tries = 0

        async def serve(self, handler: object, task_group: object) -> None:
            self.tries += 1
            if self.tries <= 3:
                raise OSError(errno.EMFILE, "Too many open files")
            raise anyio.ClosedResourceError

        async def aclose(self) -> None:
            pass

    monkeypatch.setattr(listening, "ACCEPT_RETRY_S", 0)
    listener = ShortOfDescriptors()
    hub = PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32))
    accepting = Listening(Owner(hub, [], read_clocks), [cast(Any, listener)], None, anyio_streams=True)
    async with anyio.create_task_group() as tasks:
        await tasks.start(accepting.serve)
        await wait_all_tasks_blocked()
        await accepting.stop()
    assert listener.tries == 4
    assert caplog.text.count("Too many open files") == 1, "it may go on for hours"


async def test_no_task_is_left() -> None:
    before = len(anyio.get_running_tasks())
    async with Platform(tenants=TENANTS) as platform, bare_connection(platform) as stream:
        await stream.send(REQUEST)
        assert (await stream.receive()).startswith(b"HTTP/1.1 404")
        assert len(anyio.get_running_tasks()) > before
    await wait_all_tasks_blocked()
    assert len(anyio.get_running_tasks()) == before


async def test_an_error_of_the_hub_in_a_turn_leaves_it_usable() -> None:
    hub = PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=bytes(32))
    owner = Owner(hub, [], read_clocks)
    for _ in range(2):
        with pytest.raises(ApiError), owner.turn() as now:
            hub.send_command("tenant-1", "nobody", "work", now=now)
