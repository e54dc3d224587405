"""Links of transports that authenticate agents by themselves: `PlatformSession.link_opened`."""

from __future__ import annotations

import pytest

from artcafe_proto import ApiError, HttpRequest, LocalProtocolError, PlatformSession
from artcafe_proto.effects import Disconnect, SendClose, SendText
from artcafe_proto.events import AgentOffline, AgentOnline, CommandAnswered
from support.drained import take_all
from support.platform_stage import AGENT, TENANT, Stage, say


def opened(stage: Stage) -> PlatformSession:
    """A link that is up, and over which a heartbeat has come."""
    session = stage.session()
    session.link_opened(AGENT, stage.now)
    assert take_all(session) == [], "there is no handshake to answer"
    say(stage, session, "heartbeat", {"agent_id": AGENT, "status": "online"})
    return session


def test_a_link_that_the_transport_opened_needs_no_request() -> None:
    stage = Stage()
    command_id = stage.command()
    session = opened(stage)
    assert [each.epoch for each in stage.seen(AgentOnline)] == [1]
    (sent,) = take_all(session)
    assert isinstance(sent, SendText)
    assert sent.message_id == command_id
    say(stage, session, "response", {"command_id": command_id, "status": "success", "result": 3})
    assert [each.command_id for each in stage.seen(CommandAnswered)] == [command_id]


def test_plat_6_it_replaces_a_link_and_is_replaced() -> None:
    stage = Stage()
    for before, after in ((Stage.online, opened), (opened, Stage.online)):
        older = before(stage)
        take_all(older)
        after(stage)
        (close,) = [each for each in take_all(older) if isinstance(each, SendClose)]
        assert close.code == 4409


def test_no_agent_that_is_not_registered_gets_one() -> None:
    stage = Stage()
    session = stage.session()
    with pytest.raises(ApiError, match="no such agent") as refused:
        session.link_opened("agent-2", stage.now)
    assert refused.value.status == 404
    session.drop("no such agent", stage.now)
    assert [type(each) for each in take_all(session)] == [Disconnect]


def test_a_link_is_opened_once_and_on_a_connection_without_requests() -> None:
    stage = Stage()
    answered = stage.session()
    answered.request_received(1, HttpRequest(method="GET", target="/api/v1/agents"), stage.now, upgrade=False)
    take_all(answered)
    over = stage.session()
    over.disconnected("", stage.now)
    for session in (answered, over, opened(stage), stage.online()):
        with pytest.raises(LocalProtocolError, match="opened first"):
            session.link_opened(AGENT, stage.now)


def test_tok_6_the_end_of_a_key_is_not_the_end_of_a_link_that_was_opened_without_one() -> None:
    stage = Stage()
    session = opened(stage)
    stage.hub.revoke_key(TENANT, stage.key_id, stage.now)
    assert take_all(session) == []
    assert stage.seen(AgentOffline) == []
