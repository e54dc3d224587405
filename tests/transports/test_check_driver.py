"""`check_driver`: our own agent passes on each event loop, and for each rule there are drivers that break it."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from artcafe_anyio.driver_checks import pausing_rules
from artcafe_anyio.driver_checks.peer import Peer
from artcafe_anyio.driver_checks.stage import Stage
from artcafe_anyio.testing import DRIVER_RULES, Application, DriverError, DriverFactory, check_driver
from artcafe_proto import AgentConfig, LocalProtocolError
from artcafe_proto.agent import ConnectFailure
from artcafe_proto.limits import MAX_WAITING_REPLIES
from support.broken_drivers import BROKEN, AnsweringWithTheNextTurn, Away, ConnectingOn, LeavingOpen
from support.broken_pausing_drivers import BROKEN_WHILE_PAUSED
from support.broken_tls_drivers import BROKEN_UNDER_TLS, LeavingTlsOpen
from support.drivers import AgentUnderTest, Handle, PlainDriver, Signer

# --- such as are good -------------------------------------------------------------------------------------------------


def ours(kind: str) -> DriverFactory:
    match kind:
        case "uvloop":
            uvloop = pytest.importorskip("uvloop")
            return partial(AgentUnderTest, options={"loop_factory": uvloop.new_event_loop})
        case "trio":
            return partial(AgentUnderTest, backend="trio")
        case _:
            return partial(AgentUnderTest, anyio_streams=kind == "asyncio with streams")


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "trio", "asyncio with streams"])
def test_our_own_agent_keeps_every_rule(kind: str) -> None:
    check_driver(ours(kind))


@pytest.mark.thorough
def test_a_plain_driver_keeps_every_rule() -> None:
    check_driver(PlainDriver)


# --- such as are not --------------------------------------------------------------------------------------------------

STOP = "stop is obeyed at once"
NOT_ENDING = {LeavingOpen, LeavingTlsOpen, ConnectingOn}
ALL = BROKEN + BROKEN_UNDER_TLS + BROKEN_WHILE_PAUSED


@pytest.mark.thorough
@pytest.mark.parametrize(("driver", "rule", "said"), ALL, ids=[each.__name__ for each, _, _ in ALL])
def test_a_driver_that_breaks_a_rule_is_found_out_by_its_name(driver: type[PlainDriver], rule: str, said: str) -> None:
    made: list[PlainDriver] = []

    def factory(config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> PlainDriver:
        made.append(driver(config, sign, handle, ca_file))
        return made[-1]

    with pytest.raises(DriverError, match=re.escape(said)) as error:
        check_driver(factory, only=[rule], at_once_s=0.7)
    for each in made:
        each.end()
    consequences = {STOP} if driver in NOT_ENDING else set[str]()  # it has not ended its connections
    assert {broken.rule for broken in error.value.broken} - consequences == {rule}


class Careless(AnsweringWithTheNextTurn):
    def context(self) -> ssl.SSLContext | None:
        return None

    def cause_of(self, error: Exception) -> ConnectFailure:
        return "other"


def test_all_that_is_broken_is_listed_with_its_clause() -> None:
    with pytest.raises(DriverError) as error:
        check_driver(Careless, only=[*DRIVER_RULES[:5], "a refused connection is told"], at_once_s=0.7)
    assert {(broken.rule, broken.clause) for broken in error.value.broken} == {
        ("TLS is used where it is asked for", "TOK-4"),
        ("certificates are verified", "TOK-4"),
        ("late answers leave at once", "CMD-3"),
        ("a refused connection is told", "LINK-3"),
    }
    for broken in error.value.broken:
        assert str(broken) in str(error.value)


def test_a_driver_that_never_comes_online_is_not_looked_at_any_further() -> None:
    with pytest.raises(DriverError) as error:
        check_driver(Away)
    assert [broken.rule for broken in error.value.broken] == ["an agent comes online"]


def test_what_a_factory_raises_is_told() -> None:
    def factory(*arguments: object) -> PlainDriver:
        raise ValueError("there is no driver")

    with pytest.raises(DriverError, match=r"`run` to return; it raised ValueError: there is no driver"):
        check_driver(factory)


class Waiting(PlainDriver):
    """Waits where it must not: in a call of the application."""

    ends_at: ClassVar[threading.Event] = threading.Event()

    def respond(self, command_id: str, result: object) -> None:
        self.ends_at.wait()


class WaitingInCallSoon(Waiting):
    def call_soon(self, callback: Callable[[Application], object]) -> None:
        self.ends_at.wait()


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (Waiting, "it still runs 0.3 s later; the driver is in `Waiting.respond` (test_check_driver.py, line "),
        (
            WaitingInCallSoon,
            "`call_soon` to work while `run` runs; it has not returned 0.3 s later; the driver is in `",
        ),
    ],
)
def test_a_driver_that_hangs_is_told_with_its_place(driver: type[Waiting], said: str) -> None:
    driver.ends_at = threading.Event()
    made: list[PlainDriver] = []

    def factory(config: AgentConfig, sign: Signer, handle: Handle, ca_file: Path) -> PlainDriver:
        made.append(driver(config, sign, handle, ca_file))
        return made[-1]

    with pytest.raises(DriverError, match=re.escape(said)):
        check_driver(factory, only=["late answers leave at once"], at_once_s=0.3)
    driver.ends_at.set()
    for each in made:
        each.end()


def test_what_a_peer_raises_is_told_or_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Exception] = [LocalProtocolError("there is no link"), ZeroDivisionError()]

    def command(self: Peer, do: str) -> None:
        raise raised[0]

    monkeypatch.setattr(Peer, "command", command)
    with pytest.raises(DriverError, match=r"one by one: expected the link to stay up.*; there is no link \[LINK-1\]"):
        check_driver(PlainDriver, only=["bytes may come one by one"], at_once_s=0.1)
    del raised[0]
    with pytest.raises(ZeroDivisionError):
        check_driver(PlainDriver, only=["bytes may come one by one"], at_once_s=0.1)


HELD_UP = [
    "TLS is used where it is asked for",
    "a handler may raise anything",
    "bytes may come one by one",
    "what has not left is told",
    "writing that stalls is given up",
    "what was written before a close arrives",
]


@pytest.mark.thorough
def test_a_check_that_is_held_up_finds_nothing_in_a_good_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    until = Stage.until

    def late(self: Stage, holds: Callable[[], bool], *, turns: int = 1, after_s: float = 0.0) -> bool:
        time.sleep(0.5)
        return until(self, holds, turns=turns, after_s=after_s)

    monkeypatch.setattr(Stage, "until", late)
    check_driver(PlainDriver, only=HELD_UP)


def test_reading_is_paused_for_as_many_replies_as_the_rule_takes() -> None:
    assert pausing_rules.REPLIES == MAX_WAITING_REPLIES


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="names of DRIVER_RULES, not no such rule"):
        check_driver(PlainDriver, only=["no such rule"])


def test_every_rule_is_broken_by_a_driver() -> None:
    assert {rule for _, rule, _ in ALL} == set(DRIVER_RULES)
