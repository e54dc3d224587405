"""Handlers as people write them, at work: in each mode, on each event loop, by its own runner and without a plugin.

pytest's plugin of anyio tells the library which event loop runs; a program does not.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import anyio
import anyio.lowlevel
import msgspec
import pydantic
import pytest
import trio
import uvloop
from anyio.abc import ByteStream
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from artcafe_anyio import Agent, CommandContext, CommandError
from artcafe_anyio.clocks import monotonic, read_clocks
from artcafe_anyio.connecting import ConnectError, open_tcp_stream
from artcafe_anyio.testing import Answer, SimulatedPlatform
from artcafe_anyio.threads import Threads
from artcafe_proto import ConfigError, LocalProtocolError
from artcafe_proto.effects import Connect
from artcafe_proto.events import MessageReceived, Offline

Main = Callable[[], Coroutine[Any, Any, None]]
PATIENCE_S = 60.0
MAX_CONCURRENT = 2
HERE: contextvars.ContextVar[str] = contextvars.ContextVar("HERE", default="nowhere")


def by_asyncio(main: Main) -> None:
    asyncio.run(main())


def by_uvloop(main: Main) -> None:
    uvloop.run(main())


def by_trio(main: Main) -> None:
    trio.run(main)


RUNNERS = {"asyncio": by_asyncio, "uvloop": by_uvloop, "trio": by_trio, "asyncio's streams": by_asyncio}
MODES = ("async", "thread", "inline")


@pytest.fixture(params=RUNNERS)
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    def run(main: Main) -> None:
        async def in_time() -> None:
            with anyio.fail_after(PATIENCE_S):
                await main()

        RUNNERS[request.param](in_time)

    return run


@pytest.fixture
def parameters(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Of an agent."""
    streams = request.node.callspec.params["run"] == "asyncio's streams"
    return {
        "agent_id": "a",
        "tenant_id": "t",
        "jitter": 0,
        "anyio_streams": streams,
        "max_concurrent": MAX_CONCURRENT,
    }


def register(agent: Agent, name: str, mode: str, body: Callable[..., object]) -> None:
    """`body` as the handler of `name`, written as `mode` asks for it."""
    if mode == "async":

        @functools.wraps(body)
        async def handle(*args: Any, **kwargs: Any) -> object:
            await anyio.lowlevel.checkpoint()
            return body(*args, **kwargs)

        agent.command(name)(handle)
    else:
        agent.command(name, inline=mode == "inline")(body)


# --- what they raise --------------------------------------------------------------------------------------------------


class OwnError(CommandError):
    """Forgets what its class needs."""

    def __init__(self) -> None:
        pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


RAISED: dict[str, tuple[Callable[[], BaseException], str]] = {
    "SystemExit": (lambda: SystemExit(2), "SystemExit"),
    "GeneratorExit": (GeneratorExit, "GeneratorExit"),
    "CancelledError": (asyncio.CancelledError, "CancelledError"),
    "a group": (lambda: BaseExceptionGroup("x", [SystemExit(1), ValueError()]), "BaseExceptionGroup"),
    "a group of errors": (lambda: ExceptionGroup("x", [ValueError("secret")]), "ExceptionGroup"),
    "an error": (lambda: ValueError("a secret"), "ValueError"),
    "an error that cannot be told": (Unspeakable, "Unspeakable"),
    "CommandError": (lambda: CommandError("too wide"), "too wide"),
    "CommandError of an error": (lambda: CommandError(ValueError("too wide")), "too wide"),
    "CommandError of anything": (lambda: CommandError(5), "5"),  # type: ignore[arg-type] # pyright: ignore
    "CommandError half made": (OwnError, "OwnError"),
}


@pytest.mark.parametrize("mode", MODES)
def test_cmd_7_whatever_a_handler_raises_is_answered_and_its_slot_is_free_again(
    run: Callable[[Main], None], parameters: dict[str, Any], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent(**parameters)
    raised = dict(RAISED)
    if mode == "thread":
        raised["KeyboardInterrupt"] = (KeyboardInterrupt, "KeyboardInterrupt")

    def raising(make: Callable[[], BaseException]) -> Callable[[], object]:
        def body() -> object:
            raise make()

        return body

    for name, (make, _) in raised.items():
        register(agent, name, mode, raising(make))
    register(agent, "well", mode, lambda: "well")

    async def main() -> None:
        async with SimulatedPlatform(agent) as platform:
            for name, (_, reason) in raised.items():
                for _ in range(MAX_CONCURRENT + 1):
                    answer = await platform.command(name, timeout_s=PATIENCE_S)
                    assert answer == Answer("error", None, "handler_error", reason), name
            assert await platform.command("well") == Answer("success", "well")

    with caplog.at_level(logging.INFO):
        run(main)
    for name in raised:  # logged once for each command
        lines = [record for record in caplog.records if f"({name!r}) answered handler_error" in record.getMessage()]
        assert len(lines) == MAX_CONCURRENT + 1, name


def test_cmd_7_what_others_raise_ends_nothing(
    run: Callable[[Main], None], parameters: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Handlers of messages, callbacks, progress, a result that raises while it is written."""
    agent = Agent(**parameters)
    heard: list[str] = []

    def raised() -> int:
        return sum("its handler raised" in record.getMessage() for record in caplog.records)

    for make, _ in RAISED.values():

        @agent.on_message
        async def awaits(_: object, make: Callable[[], BaseException] = make) -> None:  # pyright: ignore
            raise make()

        @agent.on_message
        def blocks(_: object, make: Callable[[], BaseException] = make) -> None:  # pyright: ignore
            raise make()

        @agent.on_event
        def calls(_: object, make: Callable[[], BaseException] = make) -> None:  # pyright: ignore
            raise make()

    @agent.on_message
    def hear(message: MessageReceived) -> None:  # pyright: ignore[reportUnusedFunction]
        heard.append(threading.current_thread().name)

    @agent.on_message
    @traced
    async def hear_too(message: MessageReceived) -> None:  # pyright: ignore[reportUnusedFunction]
        heard.append("awaited")

    agent.on_event(traced(later_event))

    @agent.command("progress")
    async def progress(ctx: CommandContext) -> int:  # pyright: ignore[reportUnusedFunction]
        odd: list[Any] = [None, "50", float("nan"), 101, [], object()]
        for wrong in odd:
            with pytest.raises(LocalProtocolError):
                ctx.progress(wrong)
        return 1

    async def main() -> None:
        async with SimulatedPlatform(agent) as platform:
            platform.send_message({})
            assert await platform.command("progress") == Answer("success", 1)
            while len(heard) < 2 or raised() < 2 * len(RAISED):  # noqa: ASYNC110 a thread tells nobody
                await anyio.sleep(0.001)

    with warnings.catch_warnings(), caplog.at_level(logging.ERROR):
        warnings.simplefilter("error")
        run(main)
    assert sorted(heard) == ["artcafe worker", "awaited"]
    assert any(
        "CoroutineType" in text or "coroutine" in text for text in map(logging.LogRecord.getMessage, caplog.records)
    )
    assert raised() == 2 * len(RAISED)


async def later_event(_: object) -> None: ...


# --- what they return -------------------------------------------------------------------------------------------------


def traced(function: Callable[..., object]) -> Callable[..., Any]:
    """A decorator that knows nothing of `async`."""

    @functools.wraps(function)
    def wrapper(*args: object, **kwargs: object) -> object:
        return function(*args, **kwargs)

    return wrapper


async def double(n: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * n


class Doubling:
    async def __call__(self, n: int) -> int:
        return await double(n)


class Item(pydantic.BaseModel):
    number: int


@dataclass
class Row:
    items: list[Item]
    path: Path


class AsText(pydantic.BaseModel, ser_json_inf_nan="strings"):
    """Has a JSON for NaN."""

    number: float
    other: None = None


class Box(pydantic.BaseModel):
    content: Any


class Loop(msgspec.Struct):
    inner: Any = None


class Exiting:
    def __fspath__(self) -> str:
        sys.exit(1)


def recursive() -> object:
    loop = Loop()
    loop.inner = [loop]
    return loop


UNWRITABLE = Answer("error", None, "handler_error", "the handler's result cannot be written as JSON")
RETURNED: list[tuple[str, Callable[[], object], Answer]] = [
    (
        "a dataclass",
        lambda: Row([Item(number=1)], Path("a/b")),
        Answer("success", {"items": [{"number": 1}], "path": "a/b"}),
    ),
    ("a model", lambda: {"a": [Item(number=1), None]}, Answer("success", {"a": [{"number": 1}, None]})),
    ("a set", lambda: {1}, Answer("success", [1])),
    ("numbers as keys", lambda: {1: None}, Answer("success", {"1": None})),
    ("NaN", lambda: {"a": [float("nan")]}, UNWRITABLE),
    ("NaN in a model", lambda: Box(content=[float("nan")]), UNWRITABLE),
    ("NaN as a text", lambda: AsText(number=float("nan")), Answer("success", {"number": "NaN", "other": None})),
    ("infinity", lambda: float("inf"), UNWRITABLE),
    ("recursion", recursive, UNWRITABLE),
    ("an object", lambda: object(), UNWRITABLE),
    ("a generator", lambda: (each for each in [1]), UNWRITABLE),
    ("half a character", lambda: "\ud800", UNWRITABLE),
    ("JSON that is none", lambda: {"a": msgspec.Raw(b"NaN")}, UNWRITABLE),
    ("what exits", lambda: Exiting(), UNWRITABLE),
    ("tuples as keys", lambda: {(1, 2): 3}, UNWRITABLE),
]


@pytest.mark.parametrize("mode", MODES)
def test_results_are_awaited_and_written_or_refused(
    run: Callable[[Main], None], parameters: dict[str, Any], mode: str
) -> None:
    agent = Agent(**parameters)
    for name, make, _ in RETURNED:
        register(agent, name, mode, make)
    awaitable: dict[str, Any] = {"wrapped": traced(double), "lambda": lambda n: double(n)}  # pyright: ignore
    awaitable["twice"] = traced(traced(functools.partial(double)))
    for name, function in awaitable.items():
        register(agent, name, mode, function)
    if mode == "async":
        awaitable |= {"partial": functools.partial(double), "object": Doubling(), "method": Doubling().__call__}
        for name in ("partial", "object", "method"):
            agent.command(name)(awaitable[name])

    async def fails(n: int) -> None:
        raise SystemExit(n)

    register(agent, "fails", mode, traced(fails))
    register(agent, "hangs", mode, lambda: anyio.sleep_forever())

    async def main() -> None:
        async with SimulatedPlatform(agent) as platform:
            for name, _, answer in RETURNED:
                for _ in range(MAX_CONCURRENT + 1):
                    assert await platform.command(name) == answer, name
            for name in awaitable:
                assert await platform.command(name, {"n": 4}) == Answer("success", 8), name
            for _ in range(MAX_CONCURRENT + 1):
                assert (await platform.command("fails", {"n": 4})).reason == "SystemExit"
                assert (await platform.command("hangs", timeout_s=0.01)).code == "timeout"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(main)


# --- where they run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_each_call_has_a_copy_of_the_context_in_which_the_agent_was_started(
    run: Callable[[Main], None], parameters: dict[str, Any], mode: str
) -> None:
    agent = Agent(**parameters)
    seen: list[str] = []

    def look() -> str:
        before = HERE.get()
        HERE.set("in a handler")
        return before

    register(agent, "look", mode, look)
    register(agent, "look and await", mode, traced(functools.partial(looks_later)))

    @agent.on_message
    async def hear(_: object) -> None:  # pyright: ignore[reportUnusedFunction]
        seen.append(look())

    @agent.on_message
    def hear_in_a_thread(_: object) -> None:  # pyright: ignore[reportUnusedFunction]
        seen.append(look())

    @agent.on_event
    def tell(_: object) -> None:  # pyright: ignore[reportUnusedFunction]
        seen.append(look())

    async def main() -> None:
        HERE.set("where it was started")
        async with SimulatedPlatform(agent) as platform:
            HERE.set("where the platform is asked")
            for name in ("look", "look and await"):
                for _ in range(MAX_CONCURRENT + 1):
                    assert await platform.command(name) == Answer("success", "where it was started")
            events = len(seen)
            platform.send_message({})
            while len(seen) < events + 3:  # noqa: ASYNC110 likewise
                await anyio.sleep(0.001)
            agent.send_message({})
            assert HERE.get() == "where the platform is asked"

    run(main)
    assert set(seen) == {"where it was started"}


@pytest.mark.parametrize("run", ["asyncio", "uvloop", "asyncio's streams"], indirect=True)
def test_cmd_7_a_handler_that_cancels_itself_ends_nothing_else(
    run: Callable[[Main], None], parameters: dict[str, Any]
) -> None:
    agent = Agent(**parameters)
    heard: list[object] = []

    def cancel_this() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    @agent.command("notices")
    async def notices() -> None:  # pyright: ignore[reportUnusedFunction]
        cancel_this()
        await asyncio.sleep(0)

    @agent.command("does not")
    async def does_not() -> int:  # pyright: ignore[reportUnusedFunction]
        cancel_this()
        return 1

    @agent.on_message
    async def hear(message: object) -> None:  # pyright: ignore[reportUnusedFunction]
        heard.append(message)
        cancel_this()

    async def main() -> None:
        async with SimulatedPlatform(agent) as platform:
            platform.send_message({})
            for name in ("notices", "does not"):
                for _ in range(MAX_CONCURRENT + 1):
                    answer = await platform.command(name)
                    assert (answer.code, answer.reason) == ("handler_error", "CancelledError")
            assert heard

    run(main)


async def looks_later() -> str:
    await anyio.lowlevel.checkpoint()
    before = HERE.get()
    HERE.set("in a handler")
    return before


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_may_run_an_event_loop_of_its_own(backend: str) -> None:
    agent = Agent(agent_id="a", tenant_id="t", jitter=0)
    heard: list[int] = []
    agent.command("anyio")(lambda: anyio.run(double, 2))
    agent.command("asyncio")(lambda: asyncio.run(double(2)))
    agent.command("trio")(lambda: trio.run(double, 2))

    @agent.on_message
    def hear(_: object) -> None:  # pyright: ignore[reportUnusedFunction]
        heard.append(anyio.run(double, 2))

    async def main() -> None:
        with anyio.fail_after(PATIENCE_S):
            async with SimulatedPlatform(agent) as platform:
                for name in ("anyio", "asyncio", "trio"):
                    assert await platform.command(name) == Answer("success", 4), name
                platform.send_message({})
                while not heard:  # noqa: ASYNC110 likewise
                    await anyio.sleep(0.001)

    anyio.run(main, backend=backend)


# --- what else may fail -----------------------------------------------------------------------------------------------


def ignore(_: object) -> None: ...
def exits(_: object) -> None:
    sys.exit(1)


def fails(_: object) -> float:
    return 1 / 0


def how_it_ended(run: Callable[[Main], None], main: Main) -> str | None:
    """What it raised, if anything."""
    try:
        run(main)
    except Exception as error:
        return repr(error)
    return None


def no_thread(*_: object) -> None:
    """Stand in for `Thread.start`."""
    raise RuntimeError("can't start new thread")


def test_link_6_no_thread_ends_only_what_needed_it(
    run: Callable[[Main], None],
    parameters: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler, the handler of a message, a name, a signature."""
    agent = Agent(**parameters)
    agent.command("block")(lambda: 1)
    agent.command("run", inline=True)(lambda: 1)
    agent.on_message(ignore)

    async def main() -> None:
        async with SimulatedPlatform(agent) as platform:
            with monkeypatch.context() as patch:
                patch.setattr("artcafe_anyio.threads.Thread.start", no_thread)
                for _ in range(MAX_CONCURRENT + 1):
                    assert await platform.command("block") == Answer("error", None, "handler_error", "RuntimeError")
                platform.send_message({})
                assert await platform.command("run") == Answer("success", 1)
                async with Threads() as threads:
                    asked = Connect(1, "localhost", 1, False, monotonic() + PATIENCE_S, "link")
                    with pytest.raises(Exception, match=r"resolving the name localhost failed.*can't start new thread"):
                        await open_tcp_stream(asked, ssl_context=None, threads=threads, clock=read_clocks)
            assert await platform.command("block") == Answer("success", 1)

    run(main)
    text = "answered handler_error: RuntimeError"
    assert sum(text in record.getMessage() for record in caplog.records) == MAX_CONCURRENT + 1


def test_link_6_no_thread_to_look_at_certificates_in_ends_only_the_attempt(
    run: Callable[[Main], None], parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons: list[str] = []
    agent = Agent(**parameters, api_endpoint="https://127.0.0.1:1")

    @agent.on_event
    def note(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, Offline):
            reasons.append(event.reason)
            if "thread" in event.reason:
                agent.stop()

    async def main() -> None:
        with monkeypatch.context() as patch:
            async with anyio.create_task_group() as tasks:
                await tasks.start(functools.partial(agent.serve, sign=no_signature))
                patch.setattr("artcafe_anyio.threads.Thread.start", no_thread)

    assert how_it_ended(run, main) is None
    why = "looking at whom to trust failed: RuntimeError: can't start new thread"
    assert reasons[-1] == f"cannot connect (other): {why}"


SIGNERS: dict[str, tuple[Any, str]] = {
    "None": (ignore, "sign returns the signature in bytes, and returned NoneType"),
    "a text": (repr, "sign returns the signature in bytes, and returned str"),
    "an exit": (exits, "sign raised SystemExit"),
    "an error": (fails, "ZeroDivisionError"),
}


async def later(value: Callable[[object], object], challenge: object) -> object:
    await anyio.lowlevel.checkpoint()
    return value(challenge)


@pytest.mark.parametrize("kind", SIGNERS)
@pytest.mark.parametrize("is_async", [False, True])
def test_auth_6_what_a_signer_gives_ends_only_the_attempt(
    run: Callable[[Main], None], parameters: dict[str, Any], kind: str, is_async: bool
) -> None:
    sign, reason = SIGNERS[kind]
    reasons = until_offline(run, parameters, functools.partial(later, sign) if is_async else sign, None)
    assert reasons == [f"signing the challenge failed: {reason}"]


class HalfMadeError(ConnectError):
    """Forgets what its class needs."""

    def __init__(self) -> None:
        pass


def raises_half_of_an_error(_: object) -> None:
    raise HalfMadeError


OPENERS: dict[str, tuple[Any, str]] = {
    "None": (ignore, "open_stream returns an anyio ByteStream, and returned NoneType"),
    "an exit": (exits, "open_stream raised SystemExit"),
    "an error": (fails, "open_stream raised ZeroDivisionError"),
    "ConnectError half made": (raises_half_of_an_error, "open_stream raised HalfMadeError"),
}


@pytest.mark.parametrize("kind", OPENERS)
def test_link_6_whatever_open_stream_does_ends_only_the_attempt(
    run: Callable[[Main], None], parameters: dict[str, Any], kind: str
) -> None:
    open_stream, reason = OPENERS[kind]
    reasons = until_offline(run, parameters, None, functools.partial(later, open_stream))
    assert reasons == [f"cannot connect (other): {reason}"]


class OddStream(ByteStream):
    """As somebody may write one, around another that does what it should."""

    def __init__(self, stream: ByteStream, method: str, make: Callable[[], object]) -> None:
        self._stream = stream
        self._method = method
        self._make = make

    def _made(self, method: str, otherwise: object) -> Any:
        if method != self._method:
            return otherwise
        made = self._make()
        if isinstance(made, BaseException):
            raise made
        return made

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        return self._made("receive", await self._stream.receive(max_bytes))

    async def send(self, item: bytes) -> None:
        self._made("send", await self._stream.send(item))

    async def send_eof(self) -> None:
        self._made("send_eof", await self._stream.send_eof())

    async def aclose(self) -> None:
        self._made("aclose", await self._stream.aclose())

    @property
    def extra_attributes(self) -> Any:
        return self._made("extra_attributes", {})


class Incomparable:
    def __eq__(self, other: object) -> NoReturn:
        raise ZeroDivisionError


ODDITIES: dict[str, tuple[Callable[[], object], str]] = {
    "an error": (ZeroDivisionError, "the stream raised ZeroDivisionError"),
    "an exit": (SystemExit, "the stream raised SystemExit"),
    "a cancellation": (asyncio.CancelledError, "the stream raised CancelledError"),
    "None": (lambda: None, "its receive gives bytes, and gave NoneType"),
    "what cannot be compared": (Incomparable, "its receive gives bytes, and gave Incomparable"),
    "no bytes": (lambda: b"", "the peer closed it"),
}


@pytest.mark.parametrize("kind", ODDITIES)
@pytest.mark.parametrize("method", ["receive", "send", "send_eof", "aclose", "extra_attributes"])
def test_link_6_whatever_a_stream_of_the_authors_does_ends_only_its_connection(
    run: Callable[[Main], None], parameters: dict[str, Any], method: str, kind: str
) -> None:
    make, reason = ODDITIES[kind]
    agent = Agent(**parameters)
    platform = SimulatedPlatform(agent)
    opened: list[ByteStream] = []
    reasons: list[str] = []

    @agent.on_event
    def note(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, Offline):
            reasons.append(event.reason)

    async def open_stream(asked: Connect) -> ByteStream:
        stream = await platform._open(asked)  # pyright: ignore[reportPrivateUsage]
        opened.append(stream if opened else OddStream(stream, method, make))
        return opened[-1]

    def refuse(_: bytes) -> bytes:  # the first connection has answered by then, or a second one has
        agent.stop()
        return b""

    async def main() -> None:
        await agent.serve(sign=refuse, open_stream=open_stream)

    platform._hub.registry.create_agent(  # pyright: ignore[reportPrivateUsage]
        "t", agent_id="a", name="", capabilities=(), metadata={}, wall=0.0
    )
    assert how_it_ended(run, main) is None
    if method == "receive" or (method == "send" and isinstance(make(), BaseException)):
        assert reasons[0] == f"the connection ended: {reason}"


def no_signature(_: bytes) -> bytes:
    return b""


def until_offline(run: Callable[[Main], None], parameters: dict[str, Any], sign: Any, open_stream: Any) -> list[str]:
    """Why an agent goes offline."""
    agent = Agent(**parameters)
    reasons: list[str] = []
    platform = SimulatedPlatform(agent)

    @agent.on_event
    def note(event: object) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, Offline):
            reasons.append(event.reason)
            agent.stop()

    async def main() -> None:
        opened = open_stream or platform._open  # pyright: ignore[reportPrivateUsage]
        await agent.serve(sign=sign or no_signature, open_stream=opened)

    run(main)
    return reasons


@pytest.mark.parametrize("sign", [5, lambda: b"", Ed25519PrivateKey])
def test_auth_6_what_is_no_signer_is_refused_at_the_start(
    run: Callable[[Main], None], parameters: dict[str, Any], sign: Any
) -> None:
    async def main() -> None:
        with pytest.raises(LocalProtocolError, match="sign"):
            await Agent(**parameters).serve(sign=sign)

    run(main)


def test_an_internal_error_ends_it_with_that_one_error(
    run: Callable[[Main], None], parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("artcafe_anyio.driver.AgentDriver.handle", broken)
    agent = Agent(**parameters)

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await agent.serve(sign=no_signature)
        with pytest.raises(ZeroDivisionError):
            async with agent.running(sign=no_signature):
                await anyio.sleep_forever()

    run(main)


def test_hb_2_no_descriptor_to_measure_with_costs_a_figure(
    run: Callable[[Main], None], parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptors() -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("artcafe_anyio.process_metrics.resident_bytes", no_descriptors)
    agent = Agent(**parameters, heartbeat_interval=0.01)
    agent.command("wait")(functools.partial(later, ignore, None))

    async def main() -> None:
        async with SimulatedPlatform(agent) as platform:
            await anyio.sleep(0.05)
            assert await platform.command("wait") == Answer("success", None)

    run(main)


@pytest.mark.parametrize("passphrase", [traced(later_event), later_event, len])
def test_auth_5_a_passphrase_that_is_none_is_a_bad_setting(
    run: Callable[[Main], None], parameters: dict[str, Any], tmp_path: Path, passphrase: Any
) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))

    async def main() -> None:
        with pytest.raises(ConfigError, match="passphrase"):
            await Agent(**parameters, private_key_path=path, passphrase=passphrase).serve()

    run(main)
