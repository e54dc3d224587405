"""Very many commands over one link: every one is answered, and nothing grows with their number."""

from __future__ import annotations

import gc
import sys

import pytest

from artcafe_proto import AgentProtocol, Instant, PlatformHub
from artcafe_proto.effects import Write
from artcafe_proto.events import CommandAnswered, CommandReceived, Online
from support.virtual import AGENT, TENANT, Pair

BATCH = 50
STEP_S = 0.05
FLAT = 1.02
"""Blocks of memory may differ by so much: dicts grow and shrink in steps."""


class Stream:
    """Both ends of one link without anything between them, and nothing remembered."""

    def __init__(self) -> None:
        pair = Pair()
        pair.start()
        pair.run_for(1.0)
        (self.session,) = pair.sessions.values()
        (self.conn,) = (event.link for event in pair.seen(Online))
        self.agent: AgentProtocol = pair.agent
        self.hub: PlatformHub = pair.hub

        self.mono, self.wall_offset = pair.mono, pair.wall_offset
        self.executed = self.answered = 0

    @property
    def now(self) -> Instant:
        return Instant(self.mono, self.mono + self.wall_offset)

    def run(self, commands: int) -> None:
        """Send so many commands, a batch after every short while, and have all of them answered."""
        wanted = self.answered + commands
        for _ in range(commands // BATCH):
            for _ in range(BATCH):
                self.hub.send_command(TENANT, AGENT, "work", {"n": self.executed}, now=self.now)
            self.settle()
            self.wait()
        assert self.answered == self.executed == wanted

    def wait(self) -> None:
        self.mono += STEP_S
        for machine in (self.agent, self.hub):
            deadline = machine.deadline()
            if deadline is not None and deadline <= self.mono:
                machine.handle_timer(self.now)
        self.settle()

    def settle(self) -> None:
        """Carry everything over, until nobody says anything more."""
        busy = True
        while busy:
            busy = False
            while (output := self.agent.next_output()) is not None:
                busy = True
                if isinstance(output, Write):
                    self.session.data_received(output.data, self.now)
                elif isinstance(output, CommandReceived):
                    self.executed += 1
                    self.agent.respond(output.command_id, {"done": True}, self.now)
            while (output := self.hub.next_output()) is not None:
                if isinstance(output, Write):
                    busy = True
                    self.agent.data_received(self.conn, output.data, self.now)
                self.answered += isinstance(output, CommandAnswered)


def blocks() -> int:
    """What is allocated now."""
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.parametrize(
    ("commands", "remembered"),
    [(10_000, 500), pytest.param(1_000_000, 100_000, marks=pytest.mark.thorough)],
)
def test_cmd_1_memory_is_flat_however_many_commands_a_link_carries(
    commands: int, remembered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("artcafe_proto.platform.delivery.MAX_FINISHED_COMMANDS", remembered)
    monkeypatch.setattr("artcafe_proto.policies.ledger.MAX_SETTLED_COMMANDS", min(remembered, 10_000))
    stream = Stream()
    stream.run(commands // 5)
    full = blocks()
    stream.run(commands - commands // 5)
    assert blocks() <= full * FLAT
    assert stream.agent.outbox_size <= BATCH
    assert stream.executed == commands
