"""Long polls: requests whose answer waits until a command is over (PLAT-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from artcafe_proto.platform.commands import Command


class Poll(NamedTuple):
    """One request that waits. A connection carries one request at a time, so `conn` names it."""

    conn: int
    exchange: int
    command: Command
    """As it was when the poll began, or as it ended."""


class Polls:
    """All polls that wait, by connection and by command."""

    def __init__(self) -> None:
        self._by_conn: dict[int, Poll] = {}
        self._by_command: dict[tuple[str, str], dict[int, Poll]] = {}

    def add(self, poll: Poll) -> None:
        """Let a poll wait."""
        self._by_conn[poll.conn] = poll
        self._by_command.setdefault((poll.command.agent_id, poll.command.command_id), {})[poll.conn] = poll

    def get(self, conn: int) -> Poll | None:
        """What waits on a connection."""
        return self._by_conn.get(conn)

    def forget(self, conn: int) -> None:
        """A poll was answered, or its connection is gone."""
        poll = self._by_conn.pop(conn, None)
        if poll is not None:
            command = (poll.command.agent_id, poll.command.command_id)
            polls = self._by_command[command]
            del polls[conn]
            if not polls:
                del self._by_command[command]

    def for_command(self, agent_id: str, command_id: str) -> list[Poll]:
        """The polls that wait for a command of an agent."""
        return list(self._by_command.get((agent_id, command_id), {}).values())

    def end(self, poll: Poll, command: Command) -> None:
        """What a poll waits for is over; `command` is what it will be told."""
        ended = poll._replace(command=command)
        self._by_conn[poll.conn] = self._by_command[command.agent_id, command.command_id][poll.conn] = ended

    def all(self) -> list[Poll]:
        """Every poll."""
        return list(self._by_conn.values())
