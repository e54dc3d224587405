"""An agent and a platform, both as printed, over a link: what every transport for both roles is put to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar

from artcafe_proto import AgentConfig
from artcafe_proto.events import (
    AgentOffline,
    AgentOnline,
    CommandAnswered,
    CommandReceived,
    Event,
    MessageReceived,
    MessageSettled,
    StatusReceived,
    Stopped,
)
from support.virtual import AGENT, TENANT, new_hub

E = TypeVar("E", bound=Event)


LARGE = "é" * 250_000
"""500,000 bytes."""
COMMANDS = 200
CUT_AT = 50


class Scenario:
    """An agent and a platform, both as printed: commands, large messages, a cut and a goodbye."""

    def __init__(self) -> None:
        self.hub = new_hub()
        self.config = AgentConfig(agent_id=AGENT, tenant_id=TENANT, api_endpoint="http://localhost", jitter=0.0)
        self.run_ids: list[str] = []
        self.answered: list[CommandAnswered] = []
        self.of_agent: list[Event] = []
        self.of_hub: list[Event] = []
        self.cut: Callable[[], object]

    def agent_told(self, agent: Any, event: Event) -> None:
        self.of_agent.append(event)
        if isinstance(event, CommandReceived):
            self.run_ids.append(event.command_id)
            agent.turn("respond", event.command_id, event.args)
            if len(self.run_ids) == CUT_AT:
                self.cut()

    def platform_told(self, event: Event) -> None:
        self.of_hub.append(event)

    async def play(self, agent: Any, platform: Any) -> None:
        """From the first link until the agent has stopped."""
        await until(lambda: bool(self.found(self.of_hub, AgentOnline)))
        sent = [self.send_command(platform, number) for number in range(COMMANDS)]
        await until(lambda: len(self.found(self.of_hub, CommandAnswered)) >= COMMANDS)
        message_id = agent.turn("send_message", {"text": LARGE})
        platform.turn(self.hub.send_message, TENANT, AGENT, {"text": LARGE})
        await until(lambda: bool(self.found(self.of_agent, MessageReceived)))
        await until(lambda: agent.machine.outbox_size == 0)
        agent.turn("stop")
        await until(lambda: agent.machine.is_stopped and bool(self.found(self.of_hub, AgentOffline)[1:]))

        assert sorted(self.run_ids) == sorted(sent), "each was run, and run once"
        answers = self.found(self.of_hub, CommandAnswered)
        assert {answer.command_id: json.loads(bytes(answer.response.result)) for answer in answers} == {
            command_id: args_of(number) for number, command_id in enumerate(sent)
        }
        assert len(answers) == COMMANDS, "each was answered once"
        for told in (self.of_agent, self.of_hub):
            assert [message.data for message in self.found(told, MessageReceived)] == [{"text": LARGE}]
        (settled,) = self.found(self.of_agent, MessageSettled)
        assert (settled.message_id, settled.assumed) == (message_id, False)
        assert [status.status for status in self.found(self.of_hub, StatusReceived)][-1] == "offline"
        cut, left = self.found(self.of_hub, AgentOffline)
        assert "1000" not in cut.reason
        assert left.reason == "the agent closed the link with 1000"
        assert [stopped.unsettled for stopped in self.found(self.of_agent, Stopped)] == [()]

    def send_command(self, platform: Any, number: int) -> str:
        return platform.turn(self.hub.send_command, TENANT, AGENT, "echo", args_of(number)).command_id

    @staticmethod
    def found(told: list[Event], kind: type[E]) -> list[E]:
        return [event for event in told if isinstance(event, kind)]


def args_of(number: int) -> dict[str, object]:
    return {"number": number, "text": LARGE if number == COMMANDS // 2 else ""}


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something; the caller has a time limit."""
    while not holds():  # noqa: ASYNC110 what is waited for is many things
        await asyncio.sleep(0.001)
