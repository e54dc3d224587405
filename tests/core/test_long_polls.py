"""PLAT-4: requests that wait for the end of a command, by themselves and on the connections of a platform."""

from __future__ import annotations

from artcafe_proto import Command
from artcafe_proto.messages import CommandData
from artcafe_proto.platform.polls import Poll, Polls


def test_polls_are_found_by_connection_and_by_command() -> None:
    waiting = Polls()
    commands = [
        Command("t", agent, command, CommandData("work"), accepted_at=0.0, expires_at=9.0)
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
