"""CMD-7, AUTH-6, LINK-6: an exception of the author's that cannot say what it is ends an attempt, but no agent."""

from __future__ import annotations

from typing import Any, NoReturn

import anyio
import pytest
from anyio.abc import ByteStream

from artcafe_anyio import Agent, CommandError
from artcafe_anyio.connecting import ConnectError
from artcafe_anyio.testing import SimulatedPlatform
from artcafe_platform import Platform
from artcafe_proto import SigningRefusedError
from artcafe_proto.events import Offline

pytestmark = pytest.mark.anyio
PATIENCE_S = 60.0


class Mute:
    """It fails to say anything, and is false."""

    def __str__(self) -> NoReturn:
        raise SystemExit("mute")

    __repr__ = __str__

    def __len__(self) -> int:
        return 0


class MuteError(Mute, Exception): ...


class ProxyError(Exception):
    """It cannot be looked at: its attribute `unseen` raises, as those of a proxy whose target is gone."""

    def __init__(self, unseen: str) -> None:
        super().__init__()
        self.unseen = unseen

    def __getattribute__(self, name: str) -> Any:
        if name == object.__getattribute__(self, "__dict__").get("unseen"):
            raise RuntimeError("the target is gone")
        return super().__getattribute__(name)


class MuteRefusal(Mute, SigningRefusedError): ...


class MuteOSError(Mute, OSError): ...


class MuteCommandError(Mute, CommandError): ...


async def reason_offline(**options: Any) -> str:
    """Why an agent is offline the first time; it runs on until it is stopped."""
    reasons: list[str] = []
    async with Platform() as platform:
        await platform.create_agent("tenant-1", agent_id="a")
        agent = Agent(agent_id="a", tenant_id="tenant-1", api_endpoint=platform.url)
        seen = anyio.Event()

        def note(event: object) -> None:
            if isinstance(event, Offline):
                reasons.append(event.reason)
                seen.set()

        agent.on_event(note)
        with anyio.fail_after(PATIENCE_S):
            async with agent.running(**options):
                await seen.wait()
    return reasons[0]


@pytest.mark.parametrize(
    ("error", "said"), [(MuteRefusal(), "MuteRefusal"), (SigningRefusedError(Mute()), "SigningRefusedError")]
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_auth_6_a_refusal_to_sign_without_a_text_is_told_by_its_class(
    error: SigningRefusedError, said: str, is_async: bool
) -> None:
    def refuse(_: bytes) -> bytes:
        raise error

    async def refuse_later(_: bytes) -> bytes:
        raise error

    reason = await reason_offline(sign=refuse_later if is_async else refuse)
    assert reason == f"signing the challenge failed: {said}"


async def test_cmd_7_nor_does_any_other_error_of_a_signer() -> None:
    def fail(_: bytes) -> bytes:
        raise MuteError

    assert await reason_offline(sign=fail) == "signing the challenge failed: MuteError"


class Stream(ByteStream):
    """It fails whatever is wanted of it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def receive(self, max_bytes: int = 65_536) -> NoReturn:
        await anyio.lowlevel.checkpoint()
        raise self._error

    async def send(self, item: bytes) -> None: ...

    async def send_eof(self) -> None: ...

    async def aclose(self) -> NoReturn:
        raise self._error


@pytest.mark.parametrize("error", [MuteError(), MuteOSError(), anyio.BrokenResourceError(Mute())])
async def test_link_6_an_error_of_an_open_stream_without_a_text_is_told_by_its_class(error: Exception) -> None:
    async def open_stream(_: object) -> ByteStream:
        return Stream(error)

    caused = anyio.BrokenResourceError()
    caused.__cause__ = error

    async def open_caused(_: object) -> ByteStream:
        return Stream(caused)

    async def fail(_: object) -> NoReturn:
        raise error

    name = type(error).__name__
    assert name in await reason_offline(open_stream=open_stream, sign=lambda _: b"")  # pyright: ignore
    assert name in await reason_offline(open_stream=open_caused, sign=lambda _: b"")  # pyright: ignore
    assert name in await reason_offline(open_stream=fail, sign=lambda _: b"")  # pyright: ignore


async def test_link_6_a_connect_error_with_no_text_as_detail_is_told_by_its_class() -> None:
    async def fail(_: object) -> NoReturn:
        raise ConnectError("other", Mute())  # type: ignore[arg-type] # pyright: ignore

    assert "open_stream raised ConnectError" in await reason_offline(open_stream=fail, sign=lambda _: b"")  # pyright: ignore


@pytest.mark.parametrize("is_inline", [True, False])
async def test_cmd_7_a_handlers_error_without_a_text_is_answered_by_its_class(
    is_inline: bool, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(agent_id="a", tenant_id="t", private_key_path="key", api_endpoint="http://127.0.0.1:1")

    @agent.on_event
    def fail(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
        raise MuteError

    @agent.command("mute", inline=is_inline)
    def mute() -> None:  # pyright: ignore[reportUnusedFunction]
        raise MuteError

    @agent.command("chosen", inline=is_inline)
    def chosen() -> None:  # pyright: ignore[reportUnusedFunction]
        raise MuteCommandError("what to read")

    @agent.command("no_text", inline=is_inline)
    def no_text() -> None:  # pyright: ignore[reportUnusedFunction]
        raise CommandError(MuteError())

    @agent.command("result", inline=is_inline)
    def result() -> object:  # pyright: ignore[reportUnusedFunction]
        return Written()

    async with SimulatedPlatform(agent) as platform:
        assert (await platform.command("mute")).reason == "MuteError"
        assert (await platform.command("chosen")).reason == "what to read"
        assert (await platform.command("no_text")).reason == "MuteError"
        assert (await platform.command("result")).code == "handler_error"
    tracebacks = [record.exc_text or "" for record in caplog.records if "handler_error: MuteError" in record.message]
    assert ["raise MuteError" in each for each in tracebacks] == [True]


@pytest.mark.parametrize("unseen", ["__class__", "__traceback__", "__cause__", "__context__"])
@pytest.mark.parametrize("mode", ["async", "thread", "inline"])
async def test_cmd_7_a_handlers_error_that_cannot_be_looked_at_is_answered_by_its_class(unseen: str, mode: str) -> None:
    agent = Agent(agent_id="a", tenant_id="t", private_key_path="key", api_endpoint="http://127.0.0.1:1")

    @agent.on_event
    def note(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
        raise ProxyError(unseen)

    def fail() -> None:
        raise ProxyError(unseen)

    async def fail_later() -> None:
        raise ProxyError(unseen)

    agent.command("fail", inline=mode == "inline")(fail_later if mode == "async" else fail)
    with anyio.fail_after(PATIENCE_S):
        async with SimulatedPlatform(agent) as platform:
            for _ in range(2):
                answer = await platform.command("fail")
                assert (answer.code, answer.reason) == ("handler_error", "ProxyError")


@pytest.mark.parametrize("unseen", ["__class__", "__traceback__"])
async def test_a_callback_of_a_platform_may_raise_what_cannot_be_looked_at(
    unseen: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Platform() as platform:

        @platform.on_event
        def fail(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
            raise ProxyError(unseen)

        agent = await platform.create_agent("tenant-1", agent_id="agent-1")
        with platform.turn() as now:
            platform.hub.set_status("tenant-1", agent.agent_id, "busy", now)
        await platform.create_agent("tenant-1", agent_id="agent-2")
    (logged,) = caplog.records
    assert "a callback of on_event failed with StatusReceived" in logged.message


class Written:
    """What cannot be written as JSON."""

    def model_dump_json(self) -> NoReturn:
        raise MuteError
