"""PLAT-4: requests that wait for the end of a command, by themselves and on the connections of a platform."""

from __future__ import annotations

import json
from typing import Any

import pytest

from artcafe_proto import HttpRequest, PlatformSession
from artcafe_proto.effects import Disconnect, SendResponse
from artcafe_proto.messages import CommandData
from artcafe_proto.platform import Command
from artcafe_proto.platform.polls import Poll, Polls
from artcafe_proto.platform.states import CommandState
from core.test_platform_protocol import Wire
from support.drained import due_at
from support.platform_stage import AGENT, TENANT, TENANT_TOKEN, Stage, answer, command_ids, sent

AUTHORIZED = (("authorization", f"Bearer {TENANT_TOKEN}"),)


def test_polls_are_found_by_connection_and_by_command() -> None:
    waiting = Polls()
    commands = [
        Command("t", agent, command, CommandData("work"), 0.0, 9.0, CommandState.QUEUED, 0)
        for agent, command in (("x", "a"), ("x", "b"), ("y", "a"))
    ]
    polls = [Poll(conn, 1, commands[which]) for conn, which in enumerate([0, 0, 1, 2])]
    for poll in polls:
        waiting.add(poll)
    assert waiting.for_command("x", "a") == polls[:2]
    assert waiting.for_command("other", "a") == []
    waiting.forget(0)
    waiting.forget(0)
    assert waiting.for_command("x", "a") == polls[1:2]
    assert waiting.for_command("y", "a") == polls[3:]
    assert waiting.get(0) is None
    assert waiting.all() == polls[1:]


# --- on connections ---------------------------------------------------------------------------------------------------


def ask(stage: Stage, session: PlatformSession, target: str) -> None:
    """A tenant's request on a connection of its own."""
    request = HttpRequest(method="GET", target=f"/api/v1{target}", headers=AUTHORIZED)
    session.request_received(1, request, stage.now, upgrade=False)


def poll(stage: Stage, command_id: str, wait: str = "30") -> PlatformSession:
    """A connection on which a tenant waits for a command."""
    session = stage.session()
    ask(stage, session, f"/commands/{command_id}?wait={wait}")
    assert sent(session) == []
    return session


def state(outputs: list[Any]) -> str:
    """What the only response says of its command."""
    (response,) = outputs
    assert isinstance(response, SendResponse)
    assert response.response.status == 200
    return json.loads(response.response.body)["state"]


def test_plat_4_polls_are_answered_when_their_command_is_over_and_others_wait_on() -> None:
    stage = Stage()
    agent = stage.online()
    over, other = stage.command(), stage.command()
    assert command_ids(agent) == [over, other]
    polls = [poll(stage, over), poll(stage, over), poll(stage, other)]
    answer(stage, agent, over, result=5)
    assert [state(sent(session)) for session in polls[:2]] == ["succeeded"] * 2
    assert sent(polls[2]) == []
    stage.wait(19)
    assert [sent(session) for session in polls[:2]] == [[], []], "once"


def test_plat_4_a_poll_is_answered_with_the_command_as_it_is_after_its_wait() -> None:
    stage = Stage()
    session = poll(stage, stage.command(), "2.5")
    assert due_at(session) == stage.mono + 2.5
    stage.wait(2.4)
    assert sent(session) == []
    stage.wait(0.2)
    assert state(sent(session)) == "queued"
    assert due_at(session) is None


def test_plat_4_a_poll_hears_that_its_command_has_expired() -> None:
    stage = Stage()
    session = poll(stage, stage.command(expires_in_s=5.0))
    stage.wait(5.1)
    assert state(sent(session)) == "expired"


def test_plat_4_a_poll_is_answered_before_its_connection_is_dropped_and_forgotten_with_one_that_is_lost() -> None:
    stage = Stage()
    agent = stage.online()
    command_id = stage.command()
    dropped, lost = poll(stage, command_id), poll(stage, command_id)
    dropped.drop("the platform stops", stage.now)
    *answered, end = sent(dropped)
    assert state(answered) == "sent"
    assert end == Disconnect(dropped.conn, abort=False)
    lost.disconnected("reset", stage.now)
    answer(stage, agent, command_id)
    assert sent(dropped) == sent(lost) == [], "nobody waits any more"


@pytest.mark.parametrize("polls", [1, 2])
def test_plat_4_whoever_ends_its_side_waits_no_longer_and_is_answered(polls: int) -> None:
    """Also one whose turn comes only then, because it stood behind another."""
    wire = Wire()
    command_id = wire.stage.hub.send_command(TENANT, AGENT, "work", now=wire.stage.now).command_id
    head = (
        f"GET /api/v1/commands/{command_id}?wait=30 HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TENANT_TOKEN}\r\n\r\n"
    )
    assert wire.send(head.encode() * polls) == b""
    wire.protocol.eof_received(wire.stage.now)
    answers = wire.read()
    assert answers.count(b"HTTP/1.1 200 ") == answers.count(b'"state":"queued"') == polls
    assert answers.endswith(b"<closed>")
