"""What an agent says of every event: one line with the cause, the clause and the time that follows."""

from __future__ import annotations

import logging
from typing import Any, get_args

import msgspec
import pytest

from artcafe_anyio.logs import MAX_COUNTED, MAX_LISTED, AgentLog, describe
from artcafe_proto.events import (
    AgentEvent,
    AgentIdContested,
    CallAnswered,
    CallFailed,
    ClocksParted,
    CommandCancelled,
    CommandInterrupted,
    CommandReceived,
    CommandRefused,
    Draining,
    ExchangeRepeated,
    KeyChanged,
    LinkClosing,
    MessageReceived,
    MessageSettled,
    Offline,
    Online,
    PeerViolation,
    RenewalFailed,
    RenewalStarted,
    RepeatReceived,
    ResponseReplaced,
    ResponsesSettled,
    Stopped,
    StoreRecovered,
    StoreStalled,
    TokenReceived,
    TokenRenewed,
    Undeliverable,
    UnknownReceived,
)

NOW = 1000.0
RAW = msgspec.Raw(b'{"password": "secret"}')
D, I, W, E = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR  # noqa: E741
REFUSED = "commands and messages are refused"
KEPT = "the platform keeps it"

LINES: list[tuple[AgentEvent, int, str]] = [
    (TokenReceived(None, None), I, "token received, its expiry unknown"),
    (TokenReceived(900.0, 1720.0), I, "token received, usable for 900 s, the next one is fetched in 720 s"),
    (RenewalStarted("the token is old", "TOK-2"), D, "fetching the next token: the token is old [TOK-2]"),
    (TokenRenewed(9.0, 990.0, "TOK-2"), I, "token renewed, usable for 9 s, the next one is fetched in 0 s [TOK-2]"),
    (KeyChanged(1, "new", "no", "AUTH-6"), W, "key refused: no [AUTH-6]; the second key is next"),
    (KeyChanged(0, None, "no", "AUTH-6"), W, "key refused: no [AUTH-6]; the first key is next"),
    (RenewalFailed("cut", "LINK-3", 1010.0), W, "token not renewed: cut [LINK-3]; next attempt in 10.0 s"),
    (CallAnswered(7, {"metrics": "secret"}), D, "call 7 answered"),
    (CallFailed(7, "no", "STAT-2", 500), W, "call 7 failed: no [STAT-2]"),
    (Online(1), I, "online"),
    (Offline("cut", "LINK-3", 1002.0, 3), W, "offline: cut [LINK-3]; not settled: 3; next attempt in 2.0 s"),
    (Offline("cut", "LINK-3", NOW), W, "offline: cut [LINK-3]; next attempt at once"),
    (Offline("cut", "LINK-3", None), W, "offline: cut [LINK-3]; no further attempt"),
    (
        ExchangeRepeated("challenge", "LINK-2"),
        I,
        "the platform had closed the connection while it was idle: the challenge request is repeated at once [LINK-2]",
    ),
    (
        ExchangeRepeated("verify", "LINK-2"),
        I,
        "the platform had closed the connection while it was idle: authentication starts over at once [LINK-2]",
    ),
    (
        ClocksParted(60.0, "LINK-7"),
        I,
        "the clocks diverged by +60.0 s, by sleep or by being set: link and token are checked at once [LINK-7]",
    ),
    (
        AgentIdContested(1, "LINK-6", "closed with 4409: from 10.0.0.7"),
        E,
        "another process uses this agent id: closed with 4409: from 10.0.0.7 [LINK-6]",
    ),
    (
        AgentIdContested(4, "LINK-6", "closed with 4409"),
        E,
        "another process uses this agent id, 4 times in a row now: closed with 4409 [LINK-6]",
    ),
    (CommandReceived("c", "work", RAW, 0.0), D, "command 'c' received: 'work'"),
    (CommandCancelled("c", "timeout", "CMD-4", "work"), W, "command 'c' ('work') cancelled: timeout [CMD-4]"),
    (
        CommandRefused("c", "overloaded", "full", "CMD-5", "work", 1),
        W,
        f"command 'c' ('work') not started: overloaded, full [CMD-5]; {KEPT}, and further ones are logged at DEBUG",
    ),
    (
        CommandRefused("c", "overloaded", "full", "CMD-5", "work", 2),
        D,
        f"command 'c' ('work') not started: overloaded, full [CMD-5]; {KEPT}",
    ),
    (
        CommandRefused("c", "draining", "bye", "CMD-8", "work", 1),
        I,
        f"command 'c' ('work') not started: draining, bye [CMD-8]; {KEPT}, and further ones are logged at DEBUG",
    ),
    (
        CommandRefused("c", "timeout", "late", "CMD-4", "work"),
        W,
        "command 'c' ('work') not started: timeout, late [CMD-4]",
    ),
    (
        CommandInterrupted("c", "work", False, "CMD-9"),
        W,
        "command 'c' ('work') was not finished when the last process ended: it may have run, and is answered "
        "'interrupted' [CMD-9]",
    ),
    (
        CommandInterrupted("c", "work", True, "CMD-9"),
        W,
        "command 'c' ('work') was not finished when the last process ended: it may run again [CMD-9]",
    ),
    (StoreStalled("full"), E, f"the journal takes nothing, it is full: {REFUSED} [CMD-1]"),
    (StoreStalled("unavailable"), E, f"the journal takes nothing, it cannot be written: {REFUSED} [CMD-1]"),
    (StoreStalled("slow"), E, f"the journal takes nothing, it is slow: {REFUSED} [CMD-1]"),
    (StoreRecovered(2.5), W, "the journal takes everything again, after 2.5 s [CMD-1]"),
    (RepeatReceived("c", None, "CMD-2"), D, "command 'c' came again: its response is still pending [CMD-2]"),
    (RepeatReceived("c", "stored", "CMD-2"), D, "command 'c' came again: its response is sent again [CMD-2]"),
    (
        RepeatReceived("c", "expired_result", "CMD-2"),
        W,
        "command 'c' came again: its response is no longer stored [CMD-2]",
    ),
    (
        ResponseReplaced("c", "result_too_large", "9 bytes", "CMD-7"),
        W,
        "the response to 'c' replaced by the error result_too_large: 9 bytes [CMD-7]",
    ),
    (ResponsesSettled(("c", "d")), D, "responses settled, to 'c', 'd'"),
    (MessageReceived("m", RAW), D, "message 'm' received"),
    (UnknownReceived("gossip", "m", RAW), I, "a message of the unknown type 'gossip' is ignored [MSG-4]"),
    (PeerViolation("rude", "MSG-5"), W, "the platform broke a rule: rude [MSG-5]"),
    (MessageSettled("m"), D, "message 'm' settled"),
    (Undeliverable("m", None, "CMD-11"), E, "message 'm' dropped: each link with it ended [CMD-11]"),
    (
        Undeliverable("m", "c", "CMD-11"),
        E,
        "message 'm', the response to 'c', dropped: each link with it ended [CMD-11]",
    ),
    (Draining(2, 3, 1030.0, "CMD-8"), I, "draining: running commands: 2, not settled: 3; at most 30.0 s [CMD-8]"),
    (LinkClosing(1000, "bye", "STAT-3", 1005.0), D, "closing the link with 1000, bye; at most 5.0 s [STAT-3]"),
    (Stopped(()), I, "stopped"),
    (
        Stopped(("c", "d"), messages=("m",)),
        W,
        "stopped, and the platform may not have responses to 'c', 'd' and messages 'm' [CMD-8]",
    ),
    (Stopped((), gave_up=True), E, "stopped: gave up [LINK-6]"),
    (
        Stopped((), gave_up=True, messages=("m",)),
        E,
        "stopped: gave up [LINK-6], and the platform may not have messages 'm' [CMD-8]",
    ),
]

NO_DECISION: dict[type[Any], str] = {
    TokenReceived: "authentication succeeded",
    CallAnswered: "a call succeeded",
    Online: "the link is up",
    CommandReceived: "the application decides",
    MessageReceived: "the application decides",
    MessageSettled: "it is where it belongs",
    ResponsesSettled: "it is where it belongs",
    UnknownReceived: "it is ignored, always by MSG-4",
    StoreStalled: "the store's state; its line names the clause",
    StoreRecovered: "the store's state; its line names the clause",
    Stopped: "the last word; its line names the clauses of what it lists",
}
"""Events that name no clause, and why they need none."""


@pytest.mark.parametrize(("event", "level", "text"), LINES, ids=lambda each: type(each).__name__)
def test_every_event_has_its_line(event: AgentEvent, level: int, text: str) -> None:
    assert describe(event, NOW) == (level, text)


def test_no_event_is_left_out() -> None:
    assert {type(event) for event, _, _ in LINES} == set(get_args(AgentEvent))


def test_every_decision_names_its_clause() -> None:
    without = {kind for kind in get_args(AgentEvent) if "clause" not in kind.__struct_fields__}
    assert without == set(NO_DECISION)


def test_a_line_names_the_clause_of_its_event_and_none_of_the_content() -> None:
    for event, _, text in LINES:
        if hasattr(event, "clause"):
            assert f"[{getattr(event, 'clause')}]" in text  # noqa: B009 not every event has one
        assert "secret" not in text


def test_each_event_is_logged_as_exactly_one_line_of_its_agent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "artcafe")
    log = AgentLog("agent-1")
    for event, _, _ in LINES:
        log.event(event, NOW)
    logged = [(record.name, record.levelno, record.getMessage()) for record in caplog.records]
    assert logged == [("artcafe.agent", level, f"agent-1: {text}") for _, level, text in LINES]


def test_what_says_the_same_is_logged_once_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "artcafe")
    log = AgentLog("agent-1")
    for number in range(250):
        log.event(UnknownReceived("ACK", f"m-{number}", RAW), NOW)
        log.event(PeerViolation("rude", "MSG-5"), NOW)
    ignored, rude = (
        "agent-1: a message of the unknown type 'ACK' is ignored [MSG-4]",
        "agent-1: the platform broke a rule",
    )
    told = [record.getMessage() for record in caplog.records]
    assert [text for text in told if text.startswith(ignored)] == [
        ignored,
        f"{ignored}; the same for the 10th time",
        f"{ignored}; the same for the 100th time",
    ]
    assert sum(text.startswith(rude) for text in told) == 3


def test_a_peer_that_never_says_the_same_fills_neither_log_nor_memory(caplog: pytest.LogCaptureFixture) -> None:
    log = AgentLog("agent-1")
    for number in range(10_000):
        log.event(PeerViolation(f"rude {number}", "MSG-5"), NOW)
    log.event(PeerViolation("rude 0", "MSG-5"), NOW)
    assert len(caplog.records) == MAX_COUNTED + 4
    assert caplog.records[-1].getMessage().endswith("one of this kind for the 1000th time")


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR])
def test_what_is_not_wanted_is_not_logged(caplog: pytest.LogCaptureFixture, level: int) -> None:
    caplog.set_level(level, "artcafe")
    log = AgentLog("agent-1")
    for event, _, _ in LINES:
        log.event(event, NOW)
    assert len(caplog.records) == sum(each >= level for _, each, _ in LINES)


def test_what_a_peer_says_begins_no_line_of_its_own_and_colours_none() -> None:
    _, text = describe(Offline("closed: bye\nagent-1: online\x1b[31m\ud800", "LINK-3", None), NOW)
    assert text == r"offline: closed: bye\nagent-1: online\x1b[31m\ud800 [LINK-3]; no further attempt"


def test_of_many_ids_some_are_named_and_the_number_told() -> None:
    _, text = describe(Stopped(tuple(f"c{number}" for number in range(5000))), NOW)
    assert f"'c{MAX_LISTED - 1}' … 5000 in all" in text
    assert len(text) < 200
