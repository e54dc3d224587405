"""What `tests/properties` found, each as the shortest story that shows it."""

from __future__ import annotations

import pytest

from artcafe_proto import LocalProtocolError, RemoteProtocolError
from artcafe_proto.effects import SendClose, SendText
from artcafe_proto.events import ClocksParted, Stopped
from artcafe_proto.limits import MAX_WAITING_CALLS
from support.scripted import Scripted
from support.snapshots import snapshot


def test_a_refused_call_changes_nothing_not_even_what_time_it_is() -> None:
    agent = Scripted(max_message_size=600)
    agent.command(agent.up())
    for _ in range(MAX_WAITING_CALLS):
        agent.machine.get_details(agent.now)
    agent.drain()
    agent.mono += 100.0  # the wall clock did not: an input that is taken in would report it
    before = snapshot(agent.machine)
    with pytest.raises(LocalProtocolError, match="JSON"):
        agent.machine.respond("cmd-1", object(), agent.now)
    with pytest.raises(LocalProtocolError, match="at most 600"):
        agent.machine.send_message({"a": "x" * 600}, agent.now)
    with pytest.raises(LocalProtocolError, match="calls wait already"):
        agent.machine.get_details(agent.now)
    assert snapshot(agent.machine) == before


def test_a_message_may_have_the_limit_to_the_byte() -> None:
    agent = Scripted(max_message_size=600)
    agent.up()
    empty = 600 - len('{"a":""}') - len(b'{"type":"message","id":"msg-","data":,"timestamp":""}') - 32 - 24
    with pytest.raises(LocalProtocolError, match="601 bytes"):
        agent.machine.send_message({"a": "x" * (empty + 1)}, agent.now)
    agent.machine.send_message({"a": "x" * empty}, agent.now)
    (message,) = agent.texts("message")
    assert message["data"] == {"a": "x" * empty}


@pytest.mark.parametrize("reason", ["\ud800.txt", "x" * 5000, "\0" * 5000])
def test_any_reason_can_be_given_and_fits(reason: str) -> None:
    agent = Scripted(max_message_size=512)
    conn = agent.up()
    agent.command(conn)
    assert agent.machine.fail("cmd-1", "handler_error", reason, agent.now)
    (response,) = agent.texts("response")
    assert response["data"]["reason"].strip("x\0") in ("", "?.txt")
    assert max(len(output.payload) for output in agent.said if isinstance(output, SendText)) <= 512


def test_a_clock_that_is_set_after_the_end_is_nothing_to_report() -> None:
    agent = Scripted()
    agent.up()
    agent.machine.stop(agent.now, drain=False)
    agent.expect(Stopped)
    agent.wall += 1000.0
    agent.machine.handle_timer(agent.now)
    agent.none_of(ClocksParted)


def test_a_platform_that_breaks_the_framing_of_a_closing_link_is_told_no_more() -> None:
    agent = Scripted()
    conn = agent.up()
    agent.machine.stop(agent.now)
    agent.expect(SendClose)
    agent.machine.peer_failed(conn, RemoteProtocolError(1002, "a bad frame", "RFC 6455"), agent.now)
    agent.none_of(SendClose)
    assert agent.machine.is_stopped


def test_an_upgrade_that_nobody_asked_for_does_not_make_an_agent_wait_for_ever() -> None:
    agent = Scripted()
    request = agent.connect()
    agent.machine.upgraded(request.conn, request.exchange, agent.now)
    assert agent.machine.deadline() is not None
    agent.up()
