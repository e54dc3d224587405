"""`check_driver`: our own agent passes on each event loop, and for each rule there are drivers that break it."""

from __future__ import annotations

import re
import ssl
from functools import partial
from pathlib import Path

import pytest

from artcafe_anyio.testing import DRIVER_RULES, DriverError, DriverFactory, check_driver
from artcafe_proto import AgentConfig, LocalProtocolError
from artcafe_proto.agent import ConnectFailure
from support.broken_drivers import BROKEN, AnsweringWithTheNextTurn, Away, LeavingOpen
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
ALL = BROKEN + BROKEN_UNDER_TLS


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
    consequences = {STOP} if driver in (LeavingOpen, LeavingTlsOpen) else set[str]()  # it has not ended its connections
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


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="names of DRIVER_RULES, not no such rule"):
        check_driver(PlainDriver, only=["no such rule"])


def test_every_rule_is_broken_by_a_driver() -> None:
    assert {rule for _, rule, _ in ALL} == set(DRIVER_RULES)
