"""The base of drivers, over a loop, connections and a platform that are all scripted."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from artcafe_proto import AgentConfig, Connection, Driver, Instant, LocalProtocolError, SigningRefusedError
from artcafe_proto.causes import cause_of
from artcafe_proto.effects import CancelSign, Connect, Disconnect, Persist, Sign, Write
from artcafe_proto.events import (
    AgentEvent,
    CommandReceived,
    Offline,
    Online,
    Stopped,
    StoreStalled,
    TokenReceived,
)
from artcafe_proto.limits import (
    LEVEL_BYTES,
    LEVEL_FIRST_LOOK_S,
    LEVEL_LAST_LOOK_S,
    LONGEST_SLEEP_S,
    MAX_WAITING_REPLIES,
    STORE_PATIENCE_S,
    WRITE_AHEAD_BYTES,
)
from artcafe_proto.records import Keeps
from artcafe_proto.testing import ScriptedPeer


class Line(Connection):
    """A connection to the scripted platform, which answers amid the call that writes."""

    def __init__(self, driver: Loop, asked: Connect) -> None:
        super().__init__(driver, asked)
        self.loop = driver
        self.closed: list[bool] = []
        self.unsent = 0
        self.fails: Exception | None = None
        self.pausing: Exception | None = None
        self.written = b""
        self.reading: list[str] = []

    def write(self, data: bytes) -> None:
        if self.fails is not None:
            raise self.fails
        self.written += data
        self.loop.carry_out(self.loop.peer.data_received(self.conn, data, self.loop.clock()))

    def close(self, *, abort: bool) -> None:
        self.closed.append(abort)
        if self.fails is not None:
            raise self.fails

    def pause_reading(self) -> None:
        self.reading.append("paused")

        if self.pausing is not None:
            raise self.pausing

    def resume_reading(self) -> None:
        self.reading.append("resumed")

    def unsent_bytes(self) -> int:
        if self.fails is not None:
            raise self.fails
        return self.unsent


class Loop(Driver):
    """A loop of which the test is the clock."""

    def __init__(
        self,
        handle: Callable[[Driver, AgentEvent], object] | None = None,
        *,
        keeps: Keeps = Keeps.NOTHING,
        **settings: Any,
    ) -> None:
        named: dict[str, Any] = {"agent_id": "agent-1", "tenant_id": "tenant-1", "api_endpoint": "http://localhost"}
        config = AgentConfig(**{**named, **settings})
        self.mono = 1000.0
        self.peer = ScriptedPeer()
        self.lines: list[Line] = []
        self.events: list[AgentEvent] = []
        self.reported: list[BaseException] = []
        self.calls_at: list[float] = []
        self.ends: list[float] = []
        self.refuses: Exception | None = None
        self.connects_at_once = True
        self.signature: Any = b"any signature"
        self.signs = True
        super().__init__(
            config,
            rng=Random(1),
            sign=self._sign_now,
            handle=handle or self.note,
            report=self.reported.append,
            keeps=keeps,
            now=self.clock(),
        )

    def note(self, driver: Driver, event: AgentEvent) -> None:
        assert driver is self
        self.events.append(event)

    def _sign_now(self, asked: Sign) -> bytes:
        self.signing = asked.request
        if isinstance(self.signature, BaseException):
            raise self.signature
        return self.signature

    def sign(self, asked: Sign) -> None:
        if self.signs:
            super().sign(asked)

    def clock(self) -> Instant:
        return Instant(self.mono, 1.7e9 + self.mono)

    def call_at(self, mono: float) -> None:
        self.calls_at.append(mono)

    def open(self, asked: Connect) -> Connection:
        if self.refuses is not None:
            raise self.refuses
        self.lines.append(Line(self, asked))
        if self.connects_at_once:
            self.connected(asked.conn, tls=asked.tls)
        return self.lines[-1]

    def stopped(self) -> None:
        self.ends.append(self.mono)

    def carry_out(self, outputs: list[Write | Disconnect]) -> None:
        for output in outputs:
            if isinstance(output, Write):
                self.data_received(output.conn, output.data)

    def wait(self, seconds: float) -> None:
        """Let time pass, and call when asked to."""
        end = self.mono + seconds
        while self.calls_at[-1] <= end and not self.ends:
            self.mono = max(self.mono, self.calls_at[-1])
            self.timer_due()
        self.mono = end

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of this kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def answers(self) -> list[Any]:
        """What the platform got as results, or as errors."""
        return [each["data"].get("result", each["data"].get("code")) for each in self.peer.received("response")]

    def command(self, command_id: str = "cmd-1") -> None:
        """The platform sends one."""
        self.carry_out([self.peer.command("work", {}, self.clock(), command_id=command_id)])


class JournaledLoop(Loop):
    """One with a journal, which the test stores."""

    def __init__(self) -> None:
        self.asked: list[Persist] = []
        super().__init__(keeps=Keeps.RECORDS)

    def persist(self, asked: Persist) -> None:
        self.asked.append(asked)

    def store(self) -> None:
        while self.asked:
            self.persisted(self.asked.pop().batch)


def test_cmd_1_a_driver_with_a_journal_stores_what_it_is_asked_to() -> None:
    loop = JournaledLoop()
    loop.start()
    loop.store()
    loop.command()
    assert loop.of(CommandReceived) == []
    loop.persist_failed(loop.asked.pop().batch, "unavailable")
    assert loop.of(StoreStalled) == []
    loop.wait(1.0)
    loop.store()
    assert len(loop.of(CommandReceived)) == 1
    loop.respond("cmd-1", "done")
    loop.store()
    assert loop.answers() == ["done"]


def test_link_10_a_driver_that_was_stopped_waits_5_s_for_its_journal() -> None:
    loop = JournaledLoop()
    loop.start()
    loop.store()
    loop.command()
    loop.stop(drain=False)
    assert (len(loop.of(Stopped)), loop.ends) == (1, [])
    loop.wait(10.0)
    assert loop.ends == [1000.0 + STORE_PATIENCE_S]
    assert loop.protocol.unstored > 0


def test_link_10_a_driver_that_was_stopped_ends_as_soon_as_its_journal_has_everything() -> None:
    loop = JournaledLoop()
    loop.start()
    loop.store()
    loop.command()
    loop.stop(drain=False)
    loop.mono += 1.0
    loop.store()
    assert (loop.ends, loop.protocol.unstored) == ([1001.0], 0)


def test_cmd_1_a_driver_that_cannot_store_says_so() -> None:
    loop = Loop(keeps=Keeps.RECORDS)
    with pytest.raises(LocalProtocolError, match="Loop keeps records and has no `persist`"):
        loop.start()


def online(**settings: Any) -> Loop:
    """A driver with a link."""
    loop = Loop(**settings)
    loop.start()
    assert loop.of(Online)
    return loop


def test_from_the_start_to_a_link_and_an_answer_that_is_given_later() -> None:
    loop = online()
    loop.command()
    (received,) = loop.of(CommandReceived)
    assert loop.protocol.in_flight == ("cmd-1",)
    loop.mono += 5.0
    assert loop.progress("cmd-1", 50)
    assert loop.respond("cmd-1", {"done": True})
    assert not loop.respond("cmd-1", {"done": True})
    assert loop.answers() == [{"done": True}], "without another input"
    assert received.command == "work"
    loop.command("cmd-2")
    assert loop.fail("cmd-2", "handler_error", "so it is")
    assert len(loop.answers()) == 2
    with loop.turn() as now:
        loop.protocol.send_message({"free": 3}, now)
    assert [each["data"] for each in loop.peer.received("message")] == [{"free": 3}]


@pytest.mark.parametrize("error", [OSError("mine"), SystemExit("mine"), CancelledError("mine")], ids=type)
def test_cmd_7_what_a_handler_raises_is_reported_and_its_command_is_answered(error: BaseException) -> None:
    def handle(driver: Driver, event: AgentEvent) -> None:
        if isinstance(event, CommandReceived | Online):
            raise error
        loop.events.append(event)

    loop = Loop(handle)
    loop.start()
    loop.command()
    assert loop.answers() == ["handler_error"]
    assert [str(error) for error in loop.reported] == ["mine", "mine"]
    assert loop.of(TokenReceived)
    assert not loop.of(Offline)


def test_a_driver_that_is_stopped_before_it_starts_does_not_start() -> None:
    loop = Loop()
    loop.stop()
    loop.start()
    assert loop.ends == [loop.mono]
    assert not loop.lines


def test_cmd_7_a_signal_of_the_terminal_is_no_answer_of_a_handler_or_a_signer() -> None:
    def handle(driver: Driver, event: AgentEvent) -> None:
        if isinstance(event, CommandReceived):
            raise KeyboardInterrupt

    loop = Loop(handle)
    loop.signature = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        loop.start()
    loop.signed(loop.signing, b"any signature")
    with pytest.raises(KeyboardInterrupt):
        loop.command()
    assert loop.answers() == loop.reported == []
    assert loop.respond("cmd-1", 1)
    assert loop.answers() == [1]


@pytest.mark.parametrize(
    "signature",
    [OSError("secret"), CancelledError("secret"), "text", None, SigningRefusedError("the agent has no key")],
)
def test_auth_6_a_signer_that_fails_costs_one_attempt(signature: Any) -> None:
    loop = Loop()
    loop.signature = signature
    loop.start()
    (offline,) = loop.of(Offline)
    assert "secret" not in offline.reason
    assert len(loop.reported) == 1
    assert offline.retry_at < loop.mono + 20.0
    loop.signature = b"any signature"
    loop.wait(20.0)
    assert loop.of(Online)


def test_auth_6_a_signature_that_comes_too_late_does_no_harm() -> None:
    loop = Loop()
    loop.signs = False
    loop.start()
    while not loop.of(Offline):
        loop.wait(1.0)
    loop.signed(1, b"any signature")
    loop.signs = True
    loop.wait(20.0)
    assert loop.of(Online)


def test_a_connection_that_cannot_be_opened_is_a_failure_of_its_kind() -> None:
    loop = Loop()
    loop.refuses = ConnectionRefusedError(111, "Connection refused")
    loop.start()
    loop.refuses, loop.connects_at_once = None, False
    loop.wait(3.0)
    loop.connect_failed(loop.lines[-1].conn, "no proxy", "proxy")
    loop.wait(5.0)
    loop.connect_failed(loop.lines[-1].conn, "for some reason")
    assert [each.reason for each in loop.of(Offline)] == [
        "cannot connect (refused): [Errno 111] Connection refused",
        "cannot connect (proxy): no proxy",
        "cannot connect (other): for some reason",
    ]


class SSLError(OSError):
    """Of another library, by the same name."""


def raised_from(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


CIRCLE = raised_from(OSError("outer"), OSError("inner"))
raised_from(CIRCLE.__cause__, CIRCLE)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConnectionRefusedError(), "refused"),
        (TimeoutError(), "timeout"),
        (SSLError(), "tls"),
        ("text", "other"),
        (UnicodeError(), "dns"),
        (OSError("unreachable"), "other"),
        (raised_from(OSError("all failed"), ExceptionGroup("", [ValueError(), ConnectionRefusedError()])), "refused"),
        (ExceptionGroup("", [ExceptionGroup("", [TimeoutError()])]), "timeout"),
        (CIRCLE, "other"),
    ],
    ids=repr,
)
def test_link_3_the_kind_of_an_exception_is_the_cause(error: Any, cause: str) -> None:
    assert cause_of(error) == cause


@pytest.mark.parametrize("raises", [False, True])
def test_a_connection_that_fails_while_it_is_opened_is_told_once_and_not_kept(raises: bool) -> None:
    loop = Loop()

    def fail(asked: Connect) -> Connection:
        loop.connect_failed(asked.conn, ConnectionRefusedError())
        if raises:
            raise ConnectionRefusedError
        line = Line(loop, asked)
        line.look_at = loop.mono + 0.1
        return line

    loop.open = fail  # type: ignore[method-assign]
    loop.start()
    assert [each.reason for each in loop.of(Offline)] == ["cannot connect (refused): ConnectionRefusedError"]
    assert loop.calls_at[-1] > loop.mono + 0.2, "the next attempt"
    loop.stop()
    assert loop.ends


def test_tok_4_without_the_tls_that_was_asked_for_nothing_is_written() -> None:
    loop = Loop(api_endpoint="https://h.example")
    loop.connects_at_once = False
    loop.start()
    with pytest.raises(LocalProtocolError, match="verified TLS"):
        loop.connected(loop.lines[0].conn, tls=False)
    assert not loop.lines[0].written
    loop.connected(loop.lines[0].conn, tls=True)
    assert loop.lines[0].written


def test_what_write_raises_is_the_end_of_its_connection() -> None:
    loop = online()
    line = loop.lines[-1]
    loop.command()
    line.fails = BrokenPipeError(32, "Broken pipe")
    loop.respond("cmd-1", 1)
    (offline,) = loop.of(Offline)
    assert offline.reason == "the connection ended: [Errno 32] Broken pipe"
    assert line.closed == [True]
    assert loop.reported == [line.fails], "of `close`, which fails too"
    loop.wait(30.0)
    assert len(loop.of(Online)) == 2
    assert loop.answers() == [1]


ENDS: list[tuple[Callable[[Loop, int], object], str]] = [
    (lambda loop, conn: loop.data_received(conn, b""), "the peer closed it"),
    (lambda loop, conn: loop.disconnected(conn), "the peer closed it"),
    (lambda loop, conn: loop.disconnected(conn, "reset"), "reset"),
    (lambda loop, conn: loop.disconnected(conn, OSError(104, "Reset")), "[Errno 104] Reset"),
    (lambda loop, conn: loop.disconnected(conn, ExceptionGroup("both", [OSError(), OSError("one")])), "one"),
    (lambda loop, conn: loop.disconnected(conn, OSError()), "OSError"),
]


@pytest.mark.parametrize(("end", "reason"), ENDS)
def test_an_end_is_told_with_its_reason(end: Callable[[Loop, int], object], reason: str) -> None:
    loop = online()
    end(loop, loop.lines[-1].conn)
    assert [each.reason for each in loop.of(Offline)] == [f"the connection ended: {reason}"]


@pytest.mark.parametrize("fails", [OSError("it is closed"), ZeroDivisionError("it is closed")], ids=type)
def test_what_pausing_raises_is_the_end_of_its_connection(fails: Exception) -> None:
    loop = Careful(max_concurrent=1, max_queued=0)
    loop.start()
    line = loop.lines[-1]
    loop.command("cmd-0")
    line.unsent = WRITE_AHEAD_BYTES
    loop.respond("cmd-0", "x" * WRITE_AHEAD_BYTES)
    line.pausing = fails
    for number in range(MAX_WAITING_REPLIES + 1):
        loop.command(f"cmd-{number + 1}")
    assert line.closed == [True]
    if isinstance(fails, OSError):
        assert [each.reason for each in loop.of(Offline)] == ["the connection ended: it is closed"]
    else:
        assert loop.internal == [fails]


def test_link_8_what_does_not_close_in_time_is_aborted_and_the_end_waits_for_it() -> None:
    loop = online(close_timeout=7.0)
    line = loop.lines[-1]
    loop.stop()
    assert loop.of(Stopped)
    assert (line.closed, loop.ends) == ([False], [])
    began = loop.mono
    loop.wait(20.0)
    assert line.closed == [False, True]
    assert loop.ends == [began + 7.0]
    loop.timer_due()
    assert loop.ends == [began + 7.0], "it is told once"


def test_the_end_of_the_last_connection_is_that_of_the_loop() -> None:
    loop = online()
    loop.stop()
    assert not loop.ends
    loop.disconnected(loop.lines[-1].conn)
    assert loop.ends == [loop.mono]
    assert loop.lines[-1].closed == [False]
    loop = online()
    loop.stop(drain=False)
    assert loop.ends == [loop.mono]
    assert loop.lines[-1].closed == [True]


def test_link_8_levels_are_told_after_much_was_written_and_while_something_has_not_left() -> None:
    loop = online()
    line = loop.lines[-1]
    told: list[int] = []
    unsent = loop.protocol.unsent

    def note(conn: int, nbytes: int, now: Instant) -> None:
        told.append(nbytes)
        unsent(conn, nbytes, now)

    loop.protocol.unsent = note  # type: ignore[method-assign]
    loop.command()
    line.unsent = 5
    loop.respond("cmd-1", "x" * 10)
    assert told == [], "little was written"
    loop.command("cmd-2")
    line.unsent = LEVEL_BYTES
    loop.respond("cmd-2", "x" * LEVEL_BYTES)
    assert told == [LEVEL_BYTES]
    looks = [loop.calls_at[-1] - loop.mono]
    for _ in range(10):
        loop.mono = loop.calls_at[-1]
        loop.timer_due()
        looks.append(loop.calls_at[-1] - loop.mono)
    assert looks[0] == pytest.approx(LEVEL_FIRST_LOOK_S)
    assert looks[1] > looks[0]
    assert max(looks) <= LEVEL_LAST_LOOK_S + 1e-9
    line.unsent = 0
    loop.mono = loop.calls_at[-1]
    loop.timer_due()
    assert told[-1] == 0
    count = len(told)
    loop.mono += 1.0
    loop.timer_due()
    assert len(told) == count


def test_link_8_a_level_that_cannot_be_read_is_the_end_of_its_connection() -> None:
    loop = online()
    line = loop.lines[-1]
    line.unsent = 1
    loop.command()
    loop.respond("cmd-1", "x" * LEVEL_BYTES)
    line.fails = OSError("it is closed")
    loop.timer_due()
    assert [each.reason for each in loop.of(Offline)] == ["the connection ended: it is closed"]
    assert line.closed == [True]


def test_link_8_reading_is_paused_and_resumed() -> None:
    loop = online(max_concurrent=1, max_queued=0)
    line = loop.lines[-1]
    loop.command("cmd-0")
    line.unsent = WRITE_AHEAD_BYTES
    loop.respond("cmd-0", "x" * WRITE_AHEAD_BYTES)
    for number in range(MAX_WAITING_REPLIES + 1):  # one runs, and all others are refused
        loop.command(f"cmd-{number + 1}")
    assert line.reading == ["paused"]
    line.unsent = 0
    loop.wait(5.0)
    assert line.reading == ["paused", "resumed"]


def test_what_is_asked_of_a_connection_that_ends_meanwhile_is_passed_over() -> None:
    def handle(driver: Driver, event: AgentEvent) -> None:
        if isinstance(event, CommandReceived) and event.command_id == "cmd-1":
            driver.disconnected(line.conn, "amid a drain")

    loop = Loop(handle, max_concurrent=1, max_queued=0)
    loop.start()
    line = loop.lines[-1]
    loop.command("cmd-0")
    line.unsent = WRITE_AHEAD_BYTES
    loop.respond("cmd-0", "x" * WRITE_AHEAD_BYTES)
    commands = [
        loop.peer.command("work", {}, loop.clock(), command_id=f"cmd-{number + 1}").data
        for number in range(MAX_WAITING_REPLIES + 1)
    ]
    loop.data_received(line.conn, b"".join(commands))
    assert line.reading == []
    assert not loop.reported


def test_link_7_the_loop_wakes_often_enough_to_see_that_the_computer_slept() -> None:
    loop = online()
    before = len(loop.calls_at)
    loop.wait(100.0)
    assert len(loop.calls_at) - before <= 100.0 / LONGEST_SLEEP_S + 10
    gaps = [
        later - earlier for earlier, later in zip(loop.calls_at[before:], loop.calls_at[before + 1 :], strict=False)
    ]
    assert max(gaps) <= LONGEST_SLEEP_S + 1e-9
    loop.timer_due()
    loop.timer_due()  # too early is harmless
    assert not loop.of(Offline)


def test_a_late_answer_to_what_was_given_up_does_no_harm() -> None:
    loop = Loop(connect_timeout=5.0)
    loop.connects_at_once = False
    loop.start()
    line = loop.lines[0]
    loop.wait(6.0)
    assert line.closed == [True]
    loop.connected(line.conn, tls=False)
    loop.data_received(line.conn, b"x")
    loop.disconnected(line.conn)
    assert not line.written


def test_link_7_little_that_has_not_left_is_told_before_a_timer_that_may_take_the_peer_for_dead() -> None:
    loop = online()
    line = loop.lines[-1]
    loop.command()
    line.unsent = 5
    loop.respond("cmd-1", "x" * 10)
    told: list[int] = []
    loop.protocol.unsent = lambda conn, nbytes, now: told.append(nbytes)  # type: ignore[method-assign]
    loop.timer_due()
    assert told == [5]
    line.unsent = 0
    loop.timer_due()
    loop.timer_due()
    assert told == [5, 0]


# --- errors of the driver's own ---------------------------------------------------------------------------------------


class Careful(Loop):
    """A loop that would pass over what its callbacks raise; its connections raise errors of the network alone."""

    connection_errors = (OSError,)

    def __init__(self, handle: Callable[[Driver, AgentEvent], object] | None = None, **settings: Any) -> None:
        super().__init__(handle, **settings)
        self.internal: list[Exception] = []

    def internal_error(self, error: Exception) -> None:
        self.internal.append(error)
        self.abandon()


def planted(loop: Loop, method: str) -> None:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise ZeroDivisionError(method)

    setattr(loop.protocol, method, fail)


INPUTS: list[tuple[str, Callable[[Loop, int], object]]] = [
    ("data_received", lambda loop, conn: loop.data_received(conn, b"x")),
    ("disconnected", lambda loop, conn: loop.disconnected(conn)),
    ("handle_timer", lambda loop, conn: loop.timer_due()),
    ("next_output", lambda loop, conn: loop.timer_due()),
    ("deadline", lambda loop, conn: loop.timer_due()),
    ("sign_failed", lambda loop, conn: loop.signed(1, 5)),  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
]


@pytest.mark.parametrize(("method", "provoke"), INPUTS, ids=[method for method, _ in INPUTS])
def test_an_internal_error_is_raised_to_the_loop_or_told(method: str, provoke: Callable[[Loop, int], object]) -> None:
    loop = online()
    planted(loop, method)
    with pytest.raises(ZeroDivisionError):
        provoke(loop, loop.lines[-1].conn)
    careful = Careful()
    careful.start()
    planted(careful, method)
    provoke(careful, careful.lines[-1].conn)
    assert [str(error) for error in careful.internal] == [method]


def test_an_internal_error_amid_a_turn_is_raised_at_its_end_and_nothing_that_follows_is_lost() -> None:
    loop = Loop(api_endpoint="https://localhost")
    loop.connects_at_once = False

    def open_in_clear(asked: Connect) -> Connection:
        loop.lines.append(Line(loop, asked))
        loop.connected(asked.conn, tls=False)
        return loop.lines[-1]

    loop.open = open_in_clear  # type: ignore[method-assign]
    with pytest.raises(LocalProtocolError, match="verified TLS"):
        loop.start()
    assert loop.calls_at, "the timer is set"
    del loop.open
    loop.wait(60.0)
    assert loop.of(Offline)

    def handle(event: AgentEvent, now: Instant) -> None:
        Driver.handle(loop, event, now)
        if isinstance(event, CommandReceived):
            raise ZeroDivisionError(event.command_id)

    loop = online(max_concurrent=2)
    loop.handle = handle  # type: ignore[method-assign]
    commands = [loop.peer.command("work", {}, loop.clock(), command_id=f"cmd-{number}").data for number in (1, 2)]
    with pytest.raises(ExceptionGroup) as caught:
        loop.data_received(loop.lines[-1].conn, b"".join(commands))
    assert [str(error) for error in caught.value.exceptions] == ["cmd-1", "cmd-2"]
    assert len(loop.of(CommandReceived)) == 2
    loop.timer_due()


def test_a_connection_amid_whose_opening_the_driver_is_abandoned_is_aborted() -> None:
    careful = Careful(api_endpoint="https://localhost")

    def open_in_clear(asked: Connect) -> Connection:
        careful.lines.append(Line(careful, asked))
        careful.connected(asked.conn, tls=False)
        return careful.lines[-1]

    careful.open = open_in_clear  # type: ignore[method-assign]
    careful.start()
    assert [type(error) for error in careful.internal] == [LocalProtocolError]
    assert careful.lines[-1].closed == [True]


def test_a_failure_that_is_refused_leaves_its_connection_to_be_closed() -> None:
    loop = Loop(connect_timeout=5.0)
    loop.connects_at_once = False
    loop.start()
    with pytest.raises(LocalProtocolError, match="one of the causes"):
        loop.connect_failed(loop.lines[0].conn, "so it is", "bogus")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    loop.wait(6.0)
    assert loop.lines[0].closed == [True]


def test_an_error_within_an_error_ends_a_drain_all_the_same() -> None:
    loop = online()
    line = loop.lines[-1]
    loop.command()
    planted_level(line, OSError("it is closed"))
    planted(loop, "disconnected")
    with pytest.raises(ZeroDivisionError):
        loop.respond("cmd-1", "x" * LEVEL_BYTES)
    assert line.closed == [True]


def test_a_timer_that_could_not_be_set_is_set_again() -> None:
    loop = online()
    call_at = loop.call_at

    def fail(mono: float) -> None:
        raise ZeroDivisionError

    loop.call_at = fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        loop.timer_due()
    loop.call_at = call_at  # type: ignore[method-assign]
    count = len(loop.calls_at)
    loop.progress("cmd-1", 5)
    assert len(loop.calls_at) == count + 1


def test_who_calls_the_agent_is_told_of_an_internal_error_as_well() -> None:
    loop = Careful()
    loop.start()
    with pytest.raises(LocalProtocolError), loop.turn() as now:
        loop.protocol.send_message({"not": object()}, now)
    assert not loop.internal, "that was the caller's"
    loop.command()
    planted(loop, "respond")
    with pytest.raises(ZeroDivisionError):
        loop.respond("cmd-1", 1)
    assert [str(error) for error in loop.internal] == ["respond"]
    with loop.own_turn():
        raise LocalProtocolError("by a part of the driver")
    assert len(loop.internal) == 2


def test_after_it_is_abandoned_nothing_is_carried_out() -> None:
    loop = online()
    loop.command()
    loop.abandon()
    written, rings = loop.lines[-1].written, len(loop.calls_at)
    loop.respond("cmd-1", 1)
    loop.timer_due()
    loop.stop()
    assert (loop.lines[-1].written, len(loop.calls_at), loop.ends) == (written, rings, [])
    assert loop.lines[-1].closed == [True]


def test_a_driver_that_is_abandoned_amid_a_drain_goes_no_further_and_aborts_all_connections() -> None:
    def handle(driver: Driver, event: AgentEvent) -> None:
        loop.events.append(event)
        if isinstance(event, CommandReceived):
            driver.abandon()

    loop = Loop(handle)
    loop.start()
    line = loop.lines[-1]
    commands = [loop.peer.command("work", {}, loop.clock(), command_id=f"cmd-{number}").data for number in (1, 2)]
    line.fails = OSError("it is closed")
    loop.data_received(line.conn, b"".join(commands))
    assert len(loop.of(CommandReceived)) == 1
    assert line.closed == [True]
    assert loop.reported == [line.fails]
    loop.abandon()
    assert line.closed == [True]
    loop = online()
    loop.stop()
    loop.abandon()
    assert loop.lines[-1].closed == [False, True]


@pytest.mark.parametrize("error", [OSError("network"), ZeroDivisionError("mine")], ids=repr)
def test_a_driver_may_say_which_errors_are_its_connections(error: Exception) -> None:
    careful = Careful()
    careful.refuses = error
    careful.start()
    assert bool(careful.of(Offline)) == (not careful.internal) == isinstance(error, OSError)
    for fails_amid in ("write", "look", "close"):
        careful = Careful()
        careful.start()
        line = careful.lines[-1]
        if fails_amid == "close":
            line.fails = error
            careful.stop()
            assert {*careful.internal, *careful.reported} == {error}
            continue
        careful.command()
        if fails_amid == "write":
            line.fails = error
        else:
            planted_level(line, error)
        careful.respond("cmd-1", "x" * LEVEL_BYTES)
        assert bool(careful.of(Offline)) == (not careful.internal) == isinstance(error, OSError)
        assert line.closed == [True]


def planted_level(line: Line, error: Exception) -> None:
    def unsent_bytes() -> int:
        raise error

    line.unsent_bytes = unsent_bytes  # type: ignore[method-assign]


class Bare(Driver):
    """What a loop must supply, and nothing else."""

    mono = 1000.0

    def clock(self) -> Instant:
        return Instant(self.mono, 1.7e9)

    def call_at(self, mono: float) -> None:
        self.mono = mono

    def open(self, asked: Connect) -> Connection:
        return BareLine(self, asked)


class BareLine(Connection):
    """Likewise of a connection."""

    written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def close(self, *, abort: bool) -> None:
        assert abort


def test_five_methods_are_enough() -> None:
    config = AgentConfig(
        agent_id="agent-1",
        tenant_id="tenant-1",
        api_endpoint="http://localhost",
    )
    events: list[AgentEvent] = []
    reported: list[BaseException] = []
    driver = Bare(config, rng=Random(1), handle=lambda driver, event: events.append(event), report=reported.append)
    driver.start()
    driver.connected(1, tls=False)
    while not any(isinstance(event, Offline) for event in events):
        driver.timer_due()
    driver.stop()
    assert isinstance(events[-1], Stopped)
    line = BareLine(driver, Connect(1, "localhost", 80, False, 0.0, "link"))
    line.pause_reading()
    line.resume_reading()
    assert line.unsent_bytes() == 0


def test_without_what_signs_and_what_hears_a_driver_is_offline_and_says_why() -> None:
    loop = Loop(connect_timeout=5.0)
    loop._sign = None  # type: ignore[assignment] # pyright: ignore[reportPrivateUsage]
    loop.start()
    (offline,) = loop.of(Offline)
    assert "nothing that signs" in offline.reason
    loop._handle = None  # type: ignore[assignment] # pyright: ignore[reportPrivateUsage]
    loop.stop()
    assert loop.ends
    assert not loop.of(Stopped)


def test_auth_6_a_signature_that_nobody_waits_for_is_cancelled() -> None:
    cancelled: list[int] = []

    class Slow(Loop):
        def cancel_sign(self, asked: CancelSign) -> None:
            super().cancel_sign(asked)
            cancelled.append(asked.request)

    loop = Slow()
    loop.signs = False
    loop.start()
    loop.stop(drain=False)
    assert len(cancelled) == 1


# --- errors of the driver's own parts ---------------------------------------------------------------------------------


def test_a_clock_that_raises_is_an_internal_error_and_the_timer_is_set_again() -> None:
    loop = online()
    told: list[Exception] = []
    loop.internal_error = told.append  # type: ignore[method-assign]
    clock = loop.clock

    def broken() -> Instant:
        raise OSError("no clock")

    set_before = len(loop.calls_at)
    loop.clock = broken  # type: ignore[method-assign]
    loop.timer_due()
    assert [str(error) for error in told] == ["no clock"]
    assert len(loop.calls_at) == set_before + 1
    loop.clock = clock  # type: ignore[method-assign]
    assert loop.respond("cmd-1", None) is False, "the driver goes on"


def test_a_connection_that_cannot_be_closed_in_an_orderly_way_is_aborted() -> None:
    loop = online()
    closed: list[bool] = []

    def close(*, abort: bool) -> None:
        closed.append(abort)
        if not abort:
            raise OSError("it cannot be shut down")

    loop.lines[-1].close = close  # type: ignore[method-assign]
    loop.stop()
    assert closed == [False, True]
    assert loop.of(Stopped)
    assert loop.ends


def test_abandoning_goes_on_where_neither_closing_nor_reporting_works() -> None:
    loop = online()
    first = loop.lines[-1]
    second = Line(loop, first.asked)
    loop._connections[99] = second  # pyright: ignore[reportPrivateUsage]
    first.fails = second.fails = OSError("nothing works")

    def broken(error: BaseException) -> None:
        raise ValueError("nor does this")

    loop._report = broken  # type: ignore[method-assign] # pyright: ignore[reportPrivateUsage]
    loop.abandon()
    assert (first.closed, second.closed) == ([True], [True])
