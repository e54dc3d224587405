"""CMD-3: what settles a message over a transport whose pongs do not: its acknowledgements, or time."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from artcafe_proto import AgentConfig, AgentMachine, ConfigError, LocalProtocolError
from artcafe_proto.effects import Disconnect, SendPing, SendText
from artcafe_proto.events import MessageSettled, PeerViolation, ResponsesSettled, Stopped
from artcafe_proto.limits import SETTLE_WITHOUT_PONG_S
from support.scripted import Scripted


def sent(agent: Scripted, message_type: str) -> list[SendText]:
    """All messages of a type, as they were handed to the transport."""
    agent.drain()
    return [output for output in agent.said if isinstance(output, SendText) and output.message_type == message_type]


def settled(agent: Scripted) -> list[str]:
    """What is settled, in order."""
    agent.drain()
    ids: list[str] = []
    for output in agent.said:
        if isinstance(output, ResponsesSettled):
            ids += output.command_ids
        elif isinstance(output, MessageSettled):
            ids.append(output.message_id)
    return ids


def answered(agent: Scripted, conn: int, count: int) -> list[str]:
    """Commands that were answered; the ids of their responses."""
    for number in range(count):
        agent.command(conn, f"cmd-{number}")
        agent.machine.respond(f"cmd-{number}", number, agent.now)
    return [response.message_id for response in sent(agent, "response")[-count:]]


def test_what_is_sent_names_its_type_and_its_id() -> None:
    agent = Scripted()
    conn = agent.up()
    message_id = agent.machine.send_message({"free": 3}, agent.now)
    (heartbeat,), (message,) = sent(agent, "heartbeat"), sent(agent, "message")
    assert heartbeat.message_id == agent.text(heartbeat)["id"]
    assert (message.conn, message.message_type, message.message_id) == (conn, "message", message_id)


def test_cmd_3_each_message_settles_with_its_own_acknowledgement() -> None:
    agent = Scripted(settled_by="acknowledgement")
    conn = agent.up()
    responses = answered(agent, conn, 3)
    message_id = agent.machine.send_message({"free": 3}, agent.now)
    agent.none_of(SendPing)
    for acknowledged in (responses[1], responses[1], "of nothing", sent(agent, "heartbeat")[0].message_id, message_id):
        agent.machine.acked(conn, acknowledged, agent.now)
    assert settled(agent) == ["cmd-1", message_id]
    assert agent.machine.outbox_size == 2
    agent.machine.acked(conn, responses[0], agent.now)
    agent.machine.acked(conn, responses[2], agent.now)
    assert settled(agent) == ["cmd-1", message_id, "cmd-0", "cmd-2"]
    assert not any(output.assumed for output in agent.said if isinstance(output, ResponsesSettled | MessageSettled))


def test_cmd_3_without_an_acknowledgement_nothing_settles_and_a_lost_link_sends_it_again() -> None:
    agent = Scripted(settled_by="acknowledgement")
    first = agent.up()
    (response,) = answered(agent, first, 1)
    while not any(isinstance(output, SendPing) for output in agent.said):
        agent.wait(1.0)  # silence is answered with a ping all the same (LINK-7)
    agent.pong(first)
    agent.wait(2 * SETTLE_WITHOUT_PONG_S)
    if first not in agent.dropped():
        agent.machine.disconnected(first, "reset", agent.now)
    second = agent.up()
    agent.machine.acked(first, response, agent.now)
    assert not settled(agent), "an acknowledgement of a link that is over counts no more"
    assert [again.message_id for again in sent(agent, "response")] == [response, response]
    agent.machine.acked(second, response, agent.now)
    assert settled(agent) == ["cmd-0"]


def test_cmd_8_a_drain_ends_with_the_last_acknowledgement() -> None:
    agent = Scripted(settled_by="acknowledgement")
    conn = agent.up()
    (response,) = answered(agent, conn, 1)
    agent.machine.stop(agent.now)
    agent.wait(1.0)
    assert not [status for status in agent.texts("status") if status["data"]["status"] == "offline"]
    agent.machine.acked(conn, response, agent.now)
    assert agent.texts("status")[-1]["data"]["status"] == "offline"
    agent.machine.close_received(conn, 1000, "", agent.now)
    assert agent.expect(Stopped).unsettled == ()


def test_cmd_11_a_poisoned_response_is_found_by_acknowledgements_too() -> None:
    agent = Scripted(settled_by="acknowledgement")
    conn = agent.up()
    responses = answered(agent, conn, 3)
    agent.machine.close_received(conn, 1007, "not UTF-8", agent.now)
    conn = agent.up()
    assert [each.message_id for each in sent(agent, "response")[3:]] == [responses[0]], "one alone"
    agent.machine.acked(conn, responses[0], agent.now)
    assert [each.message_id for each in sent(agent, "response")[4:]] == responses[1:], "then two"


def test_cmd_3_by_time_alone_what_has_left_settles_as_assumed_whatever_the_pongs() -> None:
    agent = Scripted(settled_by="time")
    conn = agent.up()
    answered(agent, conn, 1)
    agent.none_of(SendPing)
    agent.machine.unsent(conn, 50, agent.now)
    agent.wait(SETTLE_WITHOUT_PONG_S / 2)
    agent.machine.unsent(conn, 0, agent.now)
    for _ in range(3):
        assert not settled(agent)
        agent.wait(SETTLE_WITHOUT_PONG_S / 3)
        if any(isinstance(output, SendPing) for output in agent.said):
            agent.pong(conn)
        else:
            agent.machine.bytes_received(conn, agent.now)
    assert settled(agent) == ["cmd-0"]
    assert all(output.assumed for output in agent.said if isinstance(output, ResponsesSettled))
    agent.none_of(PeerViolation, Disconnect)
    agent.machine.disconnected(conn, "reset", agent.now)
    conn = agent.up()
    answered_later = answered(agent, conn, 2)
    for _ in range(4):
        agent.machine.bytes_received(conn, agent.now)
        agent.wait(SETTLE_WITHOUT_PONG_S / 3)
    assert len(answered_later) == 2
    assert settled(agent) == ["cmd-0", "cmd-1"]


@pytest.mark.parametrize("settled_by", ["pong", "time"])
def test_an_acknowledgement_that_nothing_waits_for_is_refused(settled_by: Any) -> None:
    agent = Scripted(settled_by=settled_by)
    conn = agent.up()
    with pytest.raises(LocalProtocolError, match=f"settled_by acknowledgement, not {settled_by}"):
        agent.machine.acked(conn, "msg-1", agent.now)


def test_what_settles_is_one_of_three() -> None:
    config = AgentConfig(agent_id="agent-1", tenant_id="tenant-1", api_endpoint="http://localhost")
    with pytest.raises(ConfigError, match="expected settled_by to be pong, acknowledgement, time, not 'ack'"):
        AgentMachine(config, rng=Random(1), settled_by="ack")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
