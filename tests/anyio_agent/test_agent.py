"""An agent against a platform played by the test: online, commands, messages, stopping."""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import msgspec
import pytest
from anyio.lowlevel import checkpoint, current_token
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from anyio_agent.fake_platform import PATIENCE_S, FakePlatform, Link
from anyio_agent.watched import WatchedAgent
from artcafe_anyio import Agent, CommandContext, CommandError
from artcafe_anyio.connection import StreamConnection
from artcafe_anyio.keys import Passphrase, load_key
from artcafe_anyio.transports import TransportConnection
from artcafe_proto import ConfigError, LocalProtocolError, SigningKey
from artcafe_proto.events import (
    AgentEvent,
    CommandReceived,
    LinkClosing,
    MessageReceived,
    Offline,
    Online,
    Stopped,
    TokenReceived,
)
from artcafe_proto.limits import MAX_UNSETTLED_RESPONSE_BYTES, WRITE_AHEAD_BYTES

pytestmark = pytest.mark.anyio


class Stage(WatchedAgent):
    """An agent that a test runs, and its first link."""

    @asynccontextmanager
    async def online(self, **parameters: Any) -> AsyncGenerator[Link]:
        """Run the agent; gives its first link."""
        async with self.make(**parameters):
            yield await self.platform.link()

    @asynccontextmanager
    async def serving(self, **parameters: Any) -> AsyncGenerator[Link]:
        """The same, but it is up to the test to stop it; waits until it has stopped."""
        async with anyio.create_task_group() as self.tasks:
            await self.tasks.start(self.make(**parameters).serve)
            yield await self.platform.link()


@pytest.fixture
async def stage(key: Ed25519PrivateKey, key_path: Path) -> AsyncGenerator[Stage]:
    platform = FakePlatform(key.public_key())
    async with platform.listening():
        yield Stage(platform, key_path)


# --- coming online ----------------------------------------------------------------------------------------------------


async def test_it_comes_online_over_one_connection_and_its_first_heartbeat_has_figures(stage: Stage) -> None:
    async with stage.online(key_id="key-7") as link:
        assert link.headers[b"authorization"] == b"Bearer an-opaque-token"
        assert link.received[0]["type"] == "heartbeat"
        beat = link.received[0]["data"]
        assert (beat["agent_id"], beat["status"]) == ("agent-1", "online")
        assert beat["memory_usage"] > 1
    assert stage.platform.connections == 1
    assert stage.platform.requests == [
        "/api/v1/auth/challenge",
        "/api/v1/auth/verify",
        "/api/v1/ws/agent/agent-1",
    ]
    assert stage.platform.verify_bodies[0]["key_id"] == "key-7"
    assert [type(event) for event in stage.events] == [TokenReceived, Online, LinkClosing, Stopped]


async def test_heartbeats_go_on_with_fresh_figures(stage: Stage) -> None:
    async with stage.online(heartbeat_interval=0.02) as link:
        await link.heartbeats(3)
    figures = {message["data"]["cpu_usage"] for message in link.received if message["type"] == "heartbeat"}
    assert len(figures) > 1


async def test_a_link_that_is_cut_comes_back_with_the_same_token_and_what_was_left_to_say(stage: Stage) -> None:
    let_go = anyio.Event()

    @stage.agent.command("slow")
    async def slow() -> str:  # pyright: ignore[reportUnusedFunction]
        await let_go.wait()
        return "done"

    async with stage.online() as link:
        command_id = await link.command("slow")
        await stage.seen(CommandReceived)
        await link.cut()
        await stage.seen(Offline)
        let_go.set()
        again = await stage.platform.link()
        assert (await again.wait_for("response", command_id=command_id))["result"] == "done"
        assert again.received[0]["type"] == "heartbeat"
    assert stage.platform.requests[3:] == ["/api/v1/ws/agent/agent-1"]


async def test_a_link_that_is_reset(stage: Stage) -> None:
    async with stage.online() as link:
        await link.cut(reset=True)
        await stage.seen(Offline)
    assert "Connection reset by peer" in str(stage.events)


async def test_a_platform_that_closes_after_every_answer(stage: Stage) -> None:
    stage.platform.keep_alive = False
    async with stage.online():
        pass
    assert stage.platform.connections == 3
    assert not any(isinstance(event, Offline) for event in stage.events)


async def test_a_raw_signature(stage: Stage, key: Ed25519PrivateKey, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(target: str, body: dict[str, Any]) -> dict[str, Any]:
        if target.endswith("/challenge"):
            return {"challenge": "a-challenge-of-sixteen-characters"}
        key.public_key().verify(base64.b64decode(body["response"]), body["challenge"].encode())
        return {"valid": True, "token": "t"}

    monkeypatch.setattr(stage.platform, "answer", answer)
    async with stage.online(signature_format="raw"):
        pass


# --- commands ---------------------------------------------------------------------------------------------------------


async def test_handlers_of_each_kind_answer(stage: Stage) -> None:
    threads: dict[str, int] = {}

    @stage.agent.command("task")
    async def task(a: int, ctx: CommandContext, b: int = 2) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        await checkpoint()
        threads["task"] = threading.get_ident()
        return {"sum": a + b, "id": ctx.command_id}

    @stage.agent.command("thread")
    def thread(text: str) -> str:  # pyright: ignore[reportUnusedFunction]
        threads["thread"] = threading.get_ident()
        return text.upper()

    @stage.agent.command("inline", inline=True)
    def inline() -> None:  # pyright: ignore[reportUnusedFunction]
        threads["inline"] = threading.get_ident()

    async with stage.online() as link:
        assert (await link.call("task", {"a": 1})) == {
            "command_id": "cmd-1",
            "result": {"sum": 3, "id": "cmd-1"},
            "status": "success",
        }
        assert (await link.call("thread", {"text": "ä"}))["result"] == "Ä"
        assert (await link.call("inline"))["result"] is None
    assert threads["task"] == threads["inline"] == threading.get_ident() != threads["thread"]


async def test_what_goes_wrong_is_told_without_anything_internal(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    @stage.agent.command("fails")
    async def fails() -> None:  # pyright: ignore[reportUnusedFunction]
        raise RuntimeError("a secret of this machine")

    @stage.agent.command("fails in a thread")
    def fails_in_a_thread() -> None:  # pyright: ignore[reportUnusedFunction]
        raise KeyError("a secret of this machine")

    @stage.agent.command("fails inline", inline=True)
    def fails_inline() -> None:  # pyright: ignore[reportUnusedFunction]
        raise RuntimeError("a secret of this machine")

    @stage.agent.command("refuses")
    async def refuses(n: int) -> None:  # pyright: ignore[reportUnusedFunction]
        raise CommandError(f"{n} is too much")

    @stage.agent.command("unwritable")
    async def unwritable() -> object:  # pyright: ignore[reportUnusedFunction]
        return object()

    async with stage.online() as link:
        told: dict[str, tuple[str, str]] = {}
        for name in ("fails", "fails in a thread", "fails inline", "unwritable", "unknown"):
            answer = await link.call(name)
            assert answer["status"] == "error"
            told[name] = answer["code"], answer["reason"]
        for args in ({"n": 7}, {"n": "7"}):
            answer = await link.call("refuses", args)
            told[f"refuses {args}"] = answer["code"], answer["reason"]
    assert told == {
        "fails": ("handler_error", "RuntimeError"),
        "fails in a thread": ("handler_error", "KeyError"),
        "fails inline": ("handler_error", "RuntimeError"),
        "unwritable": ("handler_error", "the handler's result cannot be written as JSON"),
        "unknown": ("unknown_command", "this agent has no command 'unknown'"),
        "refuses {'n': 7}": ("handler_error", "7 is too much"),
        "refuses {'n': '7'}": ("invalid_arguments", "Expected `int`, got `str` - at `$.n`"),
    }
    logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(logged) == 4
    assert sum("a secret of this machine" in str(record.exc_info) for record in logged) == 3


async def test_a_timeout_cancels_a_task_and_only_it(stage: Stage) -> None:
    ended: list[str] = []

    @stage.agent.command("sleep")
    async def sleep(ctx: CommandContext) -> None:  # pyright: ignore[reportUnusedFunction]
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled" if ctx.is_cancelled else "why?")

    async with stage.online(max_concurrent=1) as link:
        calls, timeout = 0, 0.01
        while len(ended) < 2:  # the slot is free again; on a busy machine it may be over before its task begins
            assert (await link.call("sleep", timeout=timeout))["code"] == "timeout"
            calls, timeout = calls + 1, timeout * 2
        assert (await link.call("unknown"))["code"] == "unknown_command"
    assert ended == ["cancelled"] * 2
    assert sum(message["type"] == "response" for message in link.received) == calls + 1


async def test_a_thread_keeps_its_slot_until_it_ends_and_may_look_whether_it_should(stage: Stage) -> None:
    let_go, has_begun = threading.Event(), threading.Event()
    seen: list[bool] = []

    @stage.agent.command("block")
    def block(ctx: CommandContext) -> None:  # pyright: ignore[reportUnusedFunction]
        has_begun.set()
        assert let_go.wait(PATIENCE_S)
        seen.append(ctx.is_cancelled)

    @stage.agent.command("quick", inline=True)
    def quick() -> str:  # pyright: ignore[reportUnusedFunction]
        return "quick"

    async with stage.online(max_concurrent=1) as link:
        timeout = 0.01
        while not has_begun.is_set():  # on a busy machine it may be over before its thread begins
            assert (await link.call("block", timeout=timeout))["code"] == "timeout"
            timeout *= 2
        waiting = await link.command("quick")
        assert (await link.call("sleep", timeout=0.01))["code"] == "timeout"  # it waited, behind the other
        assert not any(message["data"].get("command_id") == waiting for message in link.received)
        let_go.set()
        assert (await link.wait_for("response", command_id=waiting))["result"] == "quick"
    assert seen == [True]


async def test_progress_from_everywhere(stage: Stage) -> None:
    errors: list[str] = []

    def report(ctx: CommandContext) -> None:
        ctx.progress(40)
        try:
            ctx.progress(101)
        except LocalProtocolError as error:
            errors.append(str(error))

    @stage.agent.command("task")
    async def task(ctx: CommandContext) -> None:  # pyright: ignore[reportUnusedFunction]
        report(ctx)
        await link.wait_for("status", current_task=ctx.command_id)

    @stage.agent.command("thread")
    def thread(ctx: CommandContext) -> None:  # pyright: ignore[reportUnusedFunction]
        report(ctx)
        assert let_go.wait(PATIENCE_S)

    @stage.agent.command("inline", inline=True)
    def inline(ctx: CommandContext) -> None:  # pyright: ignore[reportUnusedFunction]
        report(ctx)

    let_go = threading.Event()
    async with stage.online() as link:
        await link.call("task")
        command_id = await link.command("thread")
        status = await link.wait_for("status", current_task=command_id)
        assert (status["status"], status["progress"]) == ("online", 40)
        let_go.set()
        assert (await link.call("inline"))["status"] == "success"
    assert len(errors) == 3


async def test_link_6_a_name_that_no_thread_is_left_to_resolve_costs_an_attempt(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    refused = iter([True])

    def start_if_it_may(thread: threading.Thread) -> None:
        if thread.name == "artcafe worker" and next(refused, False):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_if_it_may)
    async with stage.online(api_endpoint=stage.platform.url.replace("127.0.0.1", "localhost")):
        pass
    failure = next(event for event in stage.events if isinstance(event, Offline))
    assert failure.reason == (
        "cannot connect (other): resolving the name localhost failed: RuntimeError: can't start new thread"
    )


class Picky(msgspec.Struct):
    """A type that fails in its own way."""

    name: str

    def __post_init__(self) -> None:
        raise KeyError("a secret of this machine")


async def test_an_error_of_an_arguments_own_type_is_the_handlers(stage: Stage) -> None:
    @stage.agent.command("picky")
    async def picky(it: Picky) -> None: ...  # pyright: ignore[reportUnusedFunction]

    async with stage.online() as link:
        answer = await link.call("picky", {"it": {"name": "x"}})
        assert (answer["code"], answer["reason"]) == ("handler_error", "KeyError")


async def test_results_larger_than_the_buffers_wait_for_a_slow_platform(stage: Stage) -> None:
    @stage.agent.command("large")
    async def large(number: int) -> str:  # pyright: ignore[reportUnusedFunction]
        return str(number) * 700_000

    async with stage.online() as link:
        link.may_read = anyio.Event()
        ids = [await link.command("large", {"number": number}) for number in range(10)]
        await stage.seen(CommandReceived, len(ids))
        link.may_read.set()
        for number, command_id in enumerate(ids):
            answer = await link.wait_for("response", command_id=command_id)
            assert answer["result"] == str(number) * 700_000


async def test_a_link_that_is_reset_amid_a_write(stage: Stage) -> None:
    @stage.agent.command("large", inline=True)
    def large() -> str:  # pyright: ignore[reportUnusedFunction]
        return "x" * 1_000_000

    async with stage.online() as link:
        link.may_read = anyio.Event()
        ids = [await link.command("large") for _ in range(8)]
        await stage.seen(CommandReceived, 8)
        await link.cut(reset=True)
        await stage.seen(Offline)
        stage.agent.stop()  # which tries once more, at once, for what is left to say
        again = await stage.platform.link()
        for command_id in ids:
            await again.wait_for("response", command_id=command_id)


async def test_a_platform_that_does_not_read_is_not_read_from(stage: Stage) -> None:
    let_go = anyio.Event()

    @stage.agent.command("large", inline=True)
    def large() -> str:  # pyright: ignore[reportUnusedFunction]
        return "x" * 1_000_000

    @stage.agent.command("block")
    async def block() -> None:  # pyright: ignore[reportUnusedFunction]
        await let_go.wait()

    async with stage.online(max_concurrent=1, max_queued=0) as link:
        link.may_read = anyio.Event()
        for number in range(1, 11):
            await link.command("large")
            await stage.seen(CommandReceived, number)
        await link.command("block")
        await stage.seen(CommandReceived, 11)
        ids = [await link.command("more") for _ in range(300)]
        link.may_read.set()
        assert {(await link.wait_for("response", command_id=command_id))["code"] for command_id in ids} == {
            "overloaded"
        }
        let_go.set()


async def test_link_8_a_platform_that_sends_commands_and_never_reads_is_left(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CMD-3: until then its responses wait, as many as may; CMD-5: what is more is not read from it."""
    most_bytes = 0
    for kind in (StreamConnection, TransportConnection):
        original: Any = kind.write

        def write(each: Any, data: bytes, original: Any = original) -> None:
            nonlocal most_bytes
            original(each, data)
            most_bytes = max(most_bytes, len(each._unsent))

        monkeypatch.setattr(kind, "write", write)

    @stage.agent.command("large", inline=True)
    def large() -> str:  # pyright: ignore[reportUnusedFunction]
        return "x" * 1_000_000

    async def flood(link: Link) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                await link.command("large")

    async with stage.online(write_stall_timeout=0.05, ping_interval=1000.0, drain_timeout=0.01) as link:
        link.may_read = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood, link)
            await stage.seen(Offline)
            tasks.cancel_scope.cancel()
        offline = next(event for event in stage.events if isinstance(event, Offline))
        assert (offline.reason, offline.clause) == ("writing stalled", "LINK-8")
        assert most_bytes <= WRITE_AHEAD_BYTES + 1_001_000
        commands = sum(isinstance(event, CommandReceived) for event in stage.events)
        assert commands <= 1 + MAX_UNSETTLED_RESPONSE_BYTES // 1_000_000


# --- messages, status, events -----------------------------------------------------------------------------------------


async def test_messages_both_ways(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    @stage.agent.on_message
    async def hear(message: MessageReceived) -> None:  # pyright: ignore[reportUnusedFunction]
        agent.send_message({"echo": message.data})
        raise ValueError("after all")

    async with stage.online() as link:
        agent = stage.agent
        await link.send("message", "msg-1", {"hello": "agent"})
        assert (await link.wait_for("message"))["echo"] == {"hello": "agent"}
        with pytest.raises(LocalProtocolError, match="JSON object"):
            agent.send_message([1])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    assert "ValueError: after all" in caplog.text


async def test_more_messages_than_their_handlers_can_take_are_dropped(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artcafe_anyio.running.MAX_MESSAGE_TASKS", 2)
    heard: list[str] = []
    let_go = anyio.Event()

    @stage.agent.on_message
    async def hear(message: MessageReceived) -> None:  # pyright: ignore[reportUnusedFunction]
        await let_go.wait()
        heard.append(message.message_id)

    async with stage.online() as link:
        for number in range(4):
            await link.send("message", f"msg-{number}", {})
        await stage.seen(MessageReceived, 4)
        let_go.set()
        await link.call("and one more answer")
    assert sorted(heard) == ["msg-0", "msg-1"]
    assert "a message is dropped: 2 handlers of messages are busy, with 4 bytes" in caplog.text


async def test_handlers_of_messages_take_few_threads_and_the_others_wait_for_one(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artcafe_anyio.running.MAX_MESSAGE_THREADS", 2)
    running: list[int] = []
    most: list[int] = []
    let_go = threading.Event()

    @stage.agent.on_message
    def hear(message: MessageReceived) -> None:  # pyright: ignore[reportUnusedFunction]
        running.append(1)
        most.append(len(running))
        let_go.wait(PATIENCE_S)
        running.pop()

    async with stage.online() as link:
        for number in range(6):
            await link.send("message", f"msg-{number}", {})
        await stage.seen(MessageReceived, 6)
        await link.call("and the agent answers meanwhile")
        let_go.set()
        with anyio.fail_after(PATIENCE_S):
            while len(most) < 6:  # noqa: ASYNC110 threads tell
                await anyio.sleep(0.001)
    assert max(most) == 2


async def test_messages_beyond_the_bytes_that_their_handlers_may_hold_are_dropped(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artcafe_anyio.running.MAX_MESSAGE_BYTES", 300)
    heard: list[str] = []
    let_go = anyio.Event()

    @stage.agent.on_message
    async def hear(message: MessageReceived) -> None:  # pyright: ignore[reportUnusedFunction]
        await let_go.wait()
        heard.append(message.message_id)

    async with stage.online() as link:
        for number, size in enumerate((400, 1, 1)):  # one alone may have any size
            await link.send("message", f"msg-{number}", {"x": "x" * size})
        await stage.seen(MessageReceived, 3)
        let_go.set()
        await link.call("and one more answer")
        await link.send("message", "msg-3", {"x": "x" * 100})
        await link.call("another answer")
    assert heard == ["msg-0", "msg-3"]
    assert "a message is dropped: 1 handlers of messages are busy, with 409 bytes" in caplog.text


async def test_messages_and_status_from_a_thread(stage: Stage) -> None:
    @stage.agent.command("thread")
    def thread() -> str:  # pyright: ignore[reportUnusedFunction]
        stage.agent.set_status("busy")
        return stage.agent.send_message({"from": "a thread"})

    async with stage.online() as link:
        message_id = (await link.call("thread"))["result"]
        await link.wait_for("message", **{"from": "a thread"})
        await link.wait_for("status", status="busy")
        assert any(message["id"] == message_id for message in link.received)


async def test_a_callback_that_fails_does_no_harm(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    @stage.agent.on_event
    def fail(event: AgentEvent) -> None:  # pyright: ignore[reportUnusedFunction]
        raise ValueError(type(event).__name__)

    async with stage.online():
        pass
    assert "ValueError: Online" in caplog.text


async def test_the_log_tells_what_happens_and_no_secret(
    stage: Stage, key_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "artcafe")
    async with stage.online() as link:
        await link.call("nothing\nof the kind")
        await link.send_text("no envelope")
        await link.send("gossip", "g-1", {})
        await link.call("more")
        await link.cut()
        await stage.seen(Offline)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("artcafe")]
    started = f"agent-1: starting: {stage.platform.url}, {load_key(str(key_path)).public.fingerprint}; no journal: "
    assert lines[0].startswith(started)
    assert lines[1] == "agent-1: token received, its expiry unknown"
    assert lines[2] == "agent-1: online"
    assert r"agent-1: command 'cmd-1' received: 'nothing\nof the kind'" in lines
    assert any("the platform broke a rule: expected a message envelope" in line for line in lines)
    assert any("of the unknown type 'gossip' is ignored [MSG-4]" in line for line in lines)
    offline = [line for line in lines if line.startswith("agent-1: offline: the connection ended: ")]
    assert len(offline) == 1
    assert "[LINK-3]; " in offline[0]
    assert offline[0].endswith("; next attempt in 1.0 s")
    assert lines[-1] == "agent-1: stopped"
    signature = stage.platform.verify_bodies[0]["response"]
    for secret in ("an-opaque-token", "a-challenge-of", signature):
        assert secret not in caplog.text


# --- stopping ---------------------------------------------------------------------------------------------------------


async def test_a_drain_finishes_what_runs_and_says_goodbye(stage: Stage) -> None:
    let_go = anyio.Event()

    @stage.agent.command("slow")
    async def slow() -> str:  # pyright: ignore[reportUnusedFunction]
        await let_go.wait()
        return "finished"

    async with stage.serving() as link:
        command_id = await link.command("slow")
        await stage.seen(CommandReceived)
        stage.agent.stop()
        assert (await link.call("slow"))["code"] == "draining"
        let_go.set()
        assert await link.wait_closed() == 1000
    assert (await link.wait_for("response", command_id=command_id))["result"] == "finished"
    assert link.received[-1]["data"]["status"] == "offline"
    assert stage.events[-1] == Stopped(())


async def test_stopping_at_once_waits_for_nobody(stage: Stage) -> None:
    ended = threading.Event()

    @stage.agent.command("task")
    async def task() -> None:  # pyright: ignore[reportUnusedFunction]
        await anyio.sleep_forever()

    @stage.agent.command("thread")
    def thread() -> None:  # pyright: ignore[reportUnusedFunction]
        assert ended.wait(PATIENCE_S)

    async with stage.serving() as link:
        ids = [await link.command("task"), await link.command("thread")]
        await stage.seen(CommandReceived, 2)
        stage.agent.stop(drain=False)
    assert stage.events[-1] == Stopped(tuple(ids))
    ended.set()


async def test_a_platform_that_does_not_hang_up_is_not_waited_for(stage: Stage) -> None:
    stage.platform.hangs_up = False
    async with stage.online(close_timeout=0.02) as link:
        pass
    assert link.close_code == 1000


async def test_stopping_while_a_signature_is_made(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    signing = anyio.Event()
    token = current_token()

    def sign(*_: Any, **__: Any) -> bytes:
        anyio.from_thread.run_sync(signing.set, token=token)
        assert let_go.wait(PATIENCE_S)
        return b""

    monkeypatch.setattr(SigningKey, "sign", sign)
    async with stage.make():
        await signing.wait()
    let_go.set()
    assert stage.events == [Stopped(())]


async def test_a_handler_may_stop_its_agent(stage: Stage) -> None:
    @stage.agent.command("stop", inline=True)
    def stop() -> str:  # pyright: ignore[reportUnusedFunction]
        stage.agent.stop()
        return "last words"

    async with stage.online() as link:
        assert (await link.call("stop"))["result"] == "last words"
        assert await link.wait_closed() == 1000


async def test_cancelling_serve_from_outside_leaves_nothing_behind(stage: Stage) -> None:
    ended: list[str] = []
    begun = anyio.Event()

    @stage.agent.command("task")
    async def task() -> None:  # pyright: ignore[reportUnusedFunction]
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("task")

    async with stage.serving() as link:
        await link.command("task")
        await begun.wait()
        stage.tasks.cancel_scope.cancel()
    assert ended == ["task"]
    await link.wait_until(lambda: link.ended)
    assert link.close_code is None


async def test_an_agent_serves_once_at_a_time_and_then_again(stage: Stage) -> None:
    async with stage.online():
        with pytest.raises(LocalProtocolError, match="runs already"):
            await stage.agent.serve()
    async with stage.agent:
        await stage.platform.link()
    with pytest.raises(LocalProtocolError, match="does not run"):
        stage.agent.send_message({})
    with pytest.raises(LocalProtocolError, match="does not run"):
        stage.agent.set_status("online")
    stage.agent.stop()  # harmless


async def test_cmd_1_each_time_it_serves_is_a_life_of_its_own(stage: Stage) -> None:
    ran: list[str] = []
    agent = stage.make()

    @agent.command("note")
    def note() -> None:  # pyright: ignore[reportUnusedFunction]
        ran.append("note")

    for life in (1, 2):
        async with agent:
            link = await stage.platform.link()
            for _ in range(2):
                await link.send("command", "cmd-same", {"command": "note", "args": {}})
                await link.wait_for("response", command_id="cmd-same")
        assert len(ran) == life


async def test_stopped_before_it_began(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = stage.make()

    def slow_load(path: str, passphrase: Passphrase | None, *, setting: str) -> SigningKey:
        anyio.from_thread.run_sync(agent.stop)
        return load_key(path, passphrase, setting=setting)

    monkeypatch.setattr("artcafe_anyio.signers.load_key", slow_load)
    async with agent:
        pass
    assert stage.events == [Stopped(())]
    assert stage.platform.connections == 0


def loosened(path: Path) -> Path:
    """Open it to others."""
    path.chmod(0o644)
    return path


async def test_errors_come_out_as_they_are(stage: Stage, key_path: Path) -> None:
    with pytest.raises(RuntimeError, match="the block's own"):
        async with stage.make():
            raise RuntimeError("the block's own")
    with pytest.raises(LocalProtocolError, match="does not run"):
        stage.agent.set_status("online")
    loose = {"private_key_path": loosened(key_path)}
    with pytest.raises(ConfigError, match="chmod 600"):
        async with stage.make(**loose):
            pass
    stage.make(private_key_path=key_path.with_name("missing"))
    with pytest.raises(ConfigError, match="artcafe keygen"):
        await stage.agent.serve()
    with pytest.raises(ConfigError, match="agent_id is missing"):
        await Agent().serve()


async def test_leaving_the_block_by_cancellation(stage: Stage) -> None:
    with anyio.CancelScope() as scope:
        async with stage.make():
            await stage.platform.link()
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    async with stage.agent:
        await stage.platform.link()
