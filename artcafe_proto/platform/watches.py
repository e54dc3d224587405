"""Requests whose answer takes its time: polls that wait for a command, and event streams (PLAT-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from artcafe_proto.errors import ApiError
from artcafe_proto.events import CommandAnswered, CommandExpired
from artcafe_proto.limits import KEEP_ALIVE_S, MAX_STREAMS_PER_TENANT, MAX_WAITING_BYTES
from artcafe_proto.platform.answers import error_answer, json_answer
from artcafe_proto.platform.connections import ConnectionTimer
from artcafe_proto.platform.polls import Poll, Polls
from artcafe_proto.platform.streams import HEAD, KEEP_ALIVE, Stream, Streams

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.events import HubEvent
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.instants import Instant
    from artcafe_proto.outputs import PlatformOutputs
    from artcafe_proto.platform.commands import Command
    from artcafe_proto.timers import Timers

TOO_MANY_STREAMS: Final = error_answer(
    ApiError(429, "too_many_streams", f"a tenant has at most {MAX_STREAMS_PER_TENANT} event streams at a time")
)
_ENDS_OF_COMMANDS: Final = (CommandAnswered, CommandExpired)


class CommandWatch(NamedTuple):
    """Instead of a response: it is the command's object, once that is over or `wait_s` have passed."""

    command: Command
    wait_s: float


class EventWatch(NamedTuple):
    """Instead of a response: it goes on with what happens to a tenant's agents, or to one of them (PLAT-4)."""

    tenant_id: str
    agent_id: str | None
    last_event_id: str | None


def command_answer(command: Command) -> HttpResponse:
    """The answer to a `CommandWatch`: the command as it is now."""
    return json_answer(200, command.public())


class Watcher(Protocol):
    """What waits for an answer: a `PlatformSession`."""

    conn: int
    has_peer_ended: bool
    """Whether the peer has ended its side. Whoever goes on waiting does not."""
    outputs: PlatformOutputs
    timers: Timers[ConnectionTimer]
    """`WATCH` has `Watches.timer_due` called."""

    @property
    def is_closed(self) -> bool:
        """Whether the connection is over."""
        ...

    @property
    def unread_bytes(self) -> int:
        """What was written and has not left."""
        ...

    def respond(
        self, exchange: int, response: HttpResponse, now: Instant, *, more: bool = False, after: int = 0
    ) -> bool:
        """Answer once the batch `after` is stored; with `more`, `send_body` goes on."""
        ...

    def send_body(self, exchange: int, data: bytes, now: Instant, *, more: bool = True, after: int = 0) -> bool:
        """Send a piece of the answer, the last one without `more`."""
        ...

    def drop(self, reason: str, now: Instant) -> None:
        """End the connection."""
        ...


class Watches:
    """All polls and streams. A connection carries one request at a time, so its number names its poll or stream."""

    def __init__(
        self,
        rng: Random,
        command: Callable[[str, str, str], Command],
        touch: Callable[[int], None],
        barrier: Callable[[], int],
    ) -> None:
        """`command` shows the command of a tenant, an id and an agent; `touch` has a connection drained. What is shown
        waits for the batch `barrier` (PLAT-5).
        """
        self._barrier = barrier
        self._command = command
        self._touch = touch
        self._sessions: dict[int, Watcher] = {}
        self._polls = Polls()
        self._streams = Streams(rng)

    def begin(
        self, session: Watcher, exchange: int, request: HttpRequest, watch: CommandWatch | EventWatch, now: Instant
    ) -> None:
        """A session's request is to be answered as `watch` says."""
        if session.is_closed:  # before it was drained
            return
        if isinstance(watch, CommandWatch):
            self._sessions[session.conn] = session
            self._polls.add(Poll(session.conn, exchange, watch.command))
            session.timers.set(ConnectionTimer.WATCH, now.mono + watch.wait_s)
        else:
            self._open(session, exchange, request, watch, now)
        if session.has_peer_ended:  # whoever goes on waiting for an answer does not end its side
            self.finish(session, now)

    def _open(self, session: Watcher, exchange: int, request: HttpRequest, watch: EventWatch, now: Instant) -> None:
        if not self._streams.has_room(watch.tenant_id):
            session.respond(exchange, TOO_MANY_STREAMS, now)
            return
        session.respond(exchange, HEAD, now, more=True)
        if request.method == "HEAD":
            session.send_body(exchange, b"", now, more=False)
            return
        stream = Stream(session.conn, exchange, watch.tenant_id, watch.agent_id)
        self._sessions[session.conn] = session
        session.send_body(exchange, self._streams.add(stream, watch.last_event_id, now), now, after=self._barrier())
        session.timers.set(ConnectionTimer.WATCH, now.mono + KEEP_ALIVE_S)

    def heard(self, event: HubEvent, tenant_id: str | None, now: Instant) -> None:
        """Something has happened; `tenant_id` is the tenant of its agent, None for an unknown agent."""
        if isinstance(event, _ENDS_OF_COMMANDS):
            for poll in self._polls.for_command(event.agent_id, event.command_id):
                self._polls.end(poll, self._as_it_is(poll))
                self._touch(poll.conn)  # which is answered when it is drained: all at once might be very much
        publication = None if tenant_id is None else self._streams.publish(tenant_id, event, now)
        if publication is not None:
            for stream in publication.streams:
                self._send_on(stream, publication.data, now)

    def is_due(self, conn: int) -> bool:
        """Whether the connection's poll can be answered before its time, since its command is over."""
        poll = self._polls.get(conn)
        return poll is not None and poll.command.is_over

    def timer_due(self, session: Watcher, now: Instant) -> None:
        """Answer a poll, or say on a stream that it is still there."""
        poll, stream = self._polls.get(session.conn), self._streams.get(session.conn)
        if poll is not None:
            self._answer(session, poll, now)
        if stream is not None:
            self._send_on(stream, KEEP_ALIVE, now)

    def finish(self, session: Watcher, now: Instant) -> None:
        """End what a session waits for: its poll is answered with the command as it is now, its stream ends."""
        poll, stream = self._polls.get(session.conn), self._streams.get(session.conn)
        if poll is not None:
            self._answer(session, poll, now)
        if stream is not None:
            self.forget(session.conn)
            session.send_body(stream.exchange, b"", now, more=False)

    def forget(self, conn: int) -> None:
        """A connection has ended, or the answer on it."""
        if self._sessions.pop(conn, None) is not None:
            self._polls.forget(conn)
            self._streams.forget(conn)

    def _answer(self, session: Watcher, poll: Poll, now: Instant) -> None:
        self.forget(session.conn)
        command = poll.command if poll.command.is_over else self._as_it_is(poll)
        session.respond(poll.exchange, command_answer(command), now, after=self._barrier())

    def _as_it_is(self, poll: Poll) -> Command:
        return self._command(poll.command.tenant_id, poll.command.command_id, poll.command.agent_id)

    def _send_on(self, stream: Stream, data: bytes, now: Instant) -> None:
        """Send on a stream, or end it if its listener does not keep up; whoever comes back is told what is missing."""
        session = self._sessions[stream.conn]
        if session.unread_bytes > MAX_WAITING_BYTES:
            session.drop("too many events wait to be read by it", now)
            return
        after = 0 if data is KEEP_ALIVE else self._barrier()
        session.send_body(stream.exchange, data, now, after=after)
        if data is KEEP_ALIVE or not session.outputs.is_holding:  # what is held breaks no silence
            session.timers.set(ConnectionTimer.WATCH, now.mono + KEEP_ALIVE_S)
