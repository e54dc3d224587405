"""CMD-10: what an agent gives back as `overloaded` keeps its place, however busy the agent is."""

from __future__ import annotations

import pytest

from artcafe_proto import HttpRequest
from artcafe_proto.events import CommandReceived, CommandRepeated, CommandSent
from support.platform_stage import Stage, answer, command_ids, expiry_of
from support.virtual import AGENT, TENANT, Pair


class Busy:
    """An agent with few places whose handlers take a second, and a tenant that sends a command as often."""

    def __init__(self, *, queued: int, window: int = 64) -> None:
        self.pair = Pair(agent={"max_concurrent": 1, "max_queued": queued}, platform={"window": window})
        self.pair.on_command = lambda event: self.pair.at(1.0, lambda: self.pair.respond(event, {}))
        self.pair.start()
        self.pair.run_for(1.0)
        self.ids: list[str] = []

    def send(self) -> None:
        self.ids.append(self.pair.hub.send_command(TENANT, AGENT, "work", now=self.pair.now).command_id)

    @property
    def started(self) -> list[str]:
        return [event.command_id for _, event in self.pair.agent_events if isinstance(event, CommandReceived)]

    @property
    def attempts(self) -> int:
        return sum(isinstance(event, CommandSent) for _, event in self.pair.hub_events)


@pytest.mark.parametrize("queued", [0, 1, 3])
@pytest.mark.parametrize("window", [1, 4, 64])
def test_cmd_10_what_was_given_back_runs_before_what_was_accepted_later(queued: int, window: int) -> None:
    busy = Busy(queued=queued, window=window)
    for _ in range(6):
        busy.send()
    for _ in range(120):
        busy.send()
        busy.pair.run_for(1.0)
    busy.pair.run_for(60.0)
    assert len(busy.started) > 100
    late_by = [place - busy.ids.index(command_id) for place, command_id in enumerate(busy.started)]
    assert max(map(abs, late_by)) <= queued + 2, "they start in their order, but for those the agent held already"
    assert busy.attempts < 4 * len(busy.ids)


def test_cmd_10_a_line_that_was_held_opens_step_by_step_in_order() -> None:
    stage = Stage(window=8)
    session = stage.online()
    ids = [stage.command() for _ in range(20)]
    assert command_ids(session) == ids[:8]
    for command_id in ids[2:8]:
        answer(stage, session, command_id, status="error", code="overloaded", reason="")
    assert command_ids(session) == [], "it holds two, and no answer came"
    answer(stage, session, ids[0])
    assert command_ids(session) == ids[2:3], "an answer makes room for one, that which waited longest"
    stage.wait(0.9)
    answer(stage, session, ids[2], status="error", code="overloaded", reason="")
    stage.wait(0.9)
    assert command_ids(session) == [], "a second counts from the last time"
    stage.wait(0.1)
    assert command_ids(session) == ids[2:4]
    stage.wait(1.0)
    assert command_ids(session) == ids[4:8]
    stage.wait(1.0)
    assert command_ids(session) == ids[8:9], "as many as the window holds"
    delivery = stage.hub._delivery  # pyright: ignore[reportPrivateUsage]
    assert delivery.deadline == expiry_of(stage, ids[1]), "nothing is held any more"


def test_cmd_3_a_response_of_an_agent_that_never_had_a_command_is_dropped() -> None:
    stage = Stage()
    session = stage.session()
    token = stage.token()
    request = HttpRequest(
        method="GET", target=f"/api/v1/ws/agent/{AGENT}", headers=(("authorization", f"Bearer {token}"),)
    )
    session.request_received(1, request, stage.now, upgrade=True)
    answer(stage, session, "cmd-1")  # before its first heartbeat
    assert stage.seen(CommandRepeated) == [CommandRepeated(AGENT, "cmd-1")]
