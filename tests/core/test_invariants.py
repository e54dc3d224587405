"""Every invariant of a simulation can fail: each is shown what it forbids, and says so by its name."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
import pytest

from artcafe_proto import (
    AgentAuthenticated,
    AgentProtocol,
    CommandAnswered,
    CommandReceived,
    Connect,
    Instant,
    Offline,
    Online,
    Sign,
    Write,
)
from artcafe_proto.messages import ResponseData
from artcafe_proto.testing import INVARIANTS, Fault, FaultKind, InvariantError, Simulation
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.platforms import PlatformProcess

CONN: Final = 7
TOKEN: Final = "the.same.token"


class Show:
    """A world in which nothing has happened, and an agent of it to tell lies about."""

    def __init__(self) -> None:
        self.sim = Simulation(1, faults=[])
        self.agent = AgentProcess(self.sim, self.sim.processes[0].protocol.config, Random(1))
        self.mono = self.agent.now.mono

    def says(self, *outputs: Any) -> None:
        """The agent says something."""
        for output in outputs:
            self.sim.invariants.agent_said(self.agent, output)

    def connects(self, conn: int = CONN) -> None:
        """The agent asks for a connection."""
        self.says(Connect(conn, "127.0.0.1", 80, False, self.mono + 10.0))

    def requests(self, path: str, conn: int = CONN) -> None:
        """The agent sends a request."""
        self.says(Write(conn, f"GET /api/v1/{path} HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()))

    def links(self) -> None:
        """The agent opens a link."""
        self.connects()
        self.requests("ws/agent/agent-1")
        self.sim.invariants.agent_was_sent(self.agent, CONN, b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    def frame(self, opcode: int, payload: bytes = b"") -> None:
        """The agent sends a frame."""
        self.says(Write(CONN, bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload))

    def waits(self, seconds: float) -> None:
        """The agent will try again after a wait."""
        self.says(Offline("for no reason", "LINK-3", self.mono + seconds))


def two_links(show: Show) -> None:
    show.links()
    show.connects(CONN + 1)
    show.requests("ws/agent/agent-1", CONN + 1)


def another_request(show: Show) -> None:
    show.connects()
    show.requests("tenants")


def a_write_after_the_end(show: Show) -> None:
    show.connects()
    show.sim.invariants.agent_lost(show.agent, CONN)
    show.requests("auth/challenge")


def another_first_message(show: Show) -> None:
    show.links()
    show.frame(1, b'{"type":"status"}')


def a_second_heartbeat(show: Show) -> None:
    show.links()
    show.says(Online(CONN))
    for _ in range(2):
        show.frame(1, b'{"type":"heartbeat"}')


def a_frame_after_close(show: Show) -> None:
    show.links()
    show.frame(8)
    show.frame(9)


def a_token_after_its_rejection(show: Show) -> None:
    show.connects()
    show.requests("agents/agent-1")
    show.sim.invariants.agent_was_sent(show.agent, CONN, b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    show.requests("agents/agent-1")


def a_secret_in_an_event(show: Show) -> None:
    show.says(Sign(1, "a secret challenge", 0.0), Offline("no a secret challenge", "AUTH-6", None))


def a_timer_that_stays(show: Show) -> None:
    show.sim.invariants.timer_handled(5.0, Instant(5.0, 0.0))


def a_command_twice(show: Show) -> None:
    command = CommandReceived("cmd-1", "work", msgspec.Raw(b"{}"), 0.0)
    show.says(command, command)


def an_early_attempt(show: Show) -> None:
    show.waits(1.0)
    show.connects()


def a_short_wait(show: Show) -> None:
    show.waits(0.4)


def waits_that_do_not_grow(show: Show) -> None:
    for _ in range(9):
        show.waits(0.6)


def a_token_for_nothing(show: Show) -> None:
    show.sim.invariants.platform_said(AgentAuthenticated("agent-1", "key-1", "ssh-ed25519"))


def a_second_answer(show: Show) -> None:
    show.sim.commands["cmd-1"] = 0
    for _ in range(2):
        show.sim.invariants.platform_said(CommandAnswered("agent-1", "cmd-1", ResponseData("cmd-1", "success"), False))


def a_command_without_answer(show: Show) -> None:
    show.sim.commands["cmd-1"] = 0
    show.sim.invariants.every_command_was_answered_once()


def an_outbox_without_end(show: Show) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AgentProtocol, "outbox_size", 1_000_000)
        show.sim.invariants.agent_settled(show.agent)


LIES: Final[dict[str, Callable[[Show], None]]] = {
    "one link, up or opening": two_links,
    "nothing but authentication goes out before the link": another_request,
    "nothing goes out on a connection that is over": a_write_after_the_end,
    "a link begins with a heartbeat": another_first_message,
    "one heartbeat for each point of the grid": a_second_heartbeat,
    "nothing follows a close frame": a_frame_after_close,
    "a rejected token is never sent again": a_token_after_its_rejection,
    "no secret in any output": a_secret_in_an_event,
    "a handled timer is not due any more": a_timer_that_stays,
    "no command is executed twice in one life": a_command_twice,
    "no attempt before its time": an_early_attempt,
    "waits are within their bounds": a_short_wait,
    "waits grow until a link proved stable": waits_that_do_not_grow,
    "a challenge yields at most one token": a_token_for_nothing,
    "one final response for each command": a_second_answer,
    "containers keep to their limits": an_outbox_without_end,
    "online again when all is well": lambda show: show.sim.invariants.all_is_well_again(),
    "every command answered once": a_command_without_answer,
    "a drain ends in time": lambda show: show.sim.invariants.all_have_stopped(),
}


@pytest.mark.parametrize("name", INVARIANTS)
def test_an_invariant_is_broken_by_what_it_forbids(name: str) -> None:
    with pytest.raises(InvariantError) as broken:
        LIES[name](Show())
    assert broken.value.name == name
    assert str(broken.value).splitlines()[0].startswith(f"{name} [{INVARIANTS[name]}]: ")


def test_an_agent_that_does_not_try_again_waits_for_nothing() -> None:
    show = Show()
    show.says(Offline("it drains", "LINK-10", None))
    show.connects()


def test_an_agent_whose_key_stays_revoked_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(platform: PlatformProcess, agent_id: str, public_key: str) -> None:
        pass

    monkeypatch.setattr(PlatformProcess, "restore_key", never)
    sim = Simulation(1, faults=[Fault(10.0, FaultKind.KEY_REVOKED, 0, 5.0)], seconds=60.0)
    with pytest.raises(InvariantError, match="online again when all is well"):
        sim.run()
