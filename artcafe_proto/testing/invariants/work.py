"""What must hold of commands, messages and calls, as an agent takes and answers them (CMD-1 to CMD-8, STAT-2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from artcafe_proto.testing.invariants.links import GIVEN_BACK
from artcafe_proto.testing.invariants.table import EPSILON_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from artcafe_proto.events import CommandRefused, ResponseReplaced, Stopped
    from artcafe_proto.testing.invariants.links import Message
    from artcafe_proto.testing.invariants.table import Checks
    from artcafe_proto.testing.invariants.watched import Watched, WatchedLink

# The clauses' numbers, and not the core's, which may be wrong.
_DEFAULT_TIMEOUT_S: Final = 300.0
_CALL_TIMEOUT_S: Final = 60.0
_FRUITLESS_LINKS: Final = 3
_PLACES_OF_RESPONSES: Final = 10_000
_PLACES_OF_MESSAGES: Final = 1024
_BYTES_OF_MESSAGES: Final = 16 * 1024 * 1024
_LARGEST_MESSAGE_BYTES: Final = 200_000
"""More than any message of a simulation."""


class WorkInvariants:
    """Every command, message and call of an agent."""

    def __init__(self, checks: Checks) -> None:
        self._check = checks.check

    # --- commands -----------------------------------------------------------------------------------------------------

    def came(self, watched: Watched, messages: Iterable[Message]) -> None:
        """Messages reached the agent."""
        for message in messages:
            if message.type == "command" and message.id not in watched.known:
                timeout_s = _DEFAULT_TIMEOUT_S if message.data.timeout is None else message.data.timeout
                watched.known.add(message.id)
                watched.waiting[message.id] = None
                watched.open[message.id] = watched.process.mono + timeout_s

    def started(self, watched: Watched, command_id: str) -> None:
        """A command is executed."""
        is_new = command_id not in watched.executed
        self._check("no command is executed twice in one life", is_new, command_id)
        watched.executed.add(command_id)
        is_open = command_id in watched.waiting
        self._check("no command starts after its answer", is_open, command_id)
        first = next(iter(watched.waiting), None)
        self._check("commands start in the order in which they came", first == command_id, command_id, "not", first)
        del watched.waiting[command_id]

    def refused(self, watched: Watched, event: CommandRefused) -> None:
        """A command was answered without being started."""
        watched.waiting.pop(event.command_id, None)
        if event.code == "timeout":
            self.timed_out(watched, event.command_id)
        else:
            watched.known.discard(event.command_id)
            watched.open.pop(event.command_id, None)

    def timed_out(self, watched: Watched, command_id: str) -> None:
        """A command was answered with `timeout`."""
        early_s = watched.open[command_id] - watched.process.mono
        self._check("a timeout is answered in its time", early_s <= EPSILON_S, command_id, early_s, "s too early")
        self._in_time(watched, command_id)
        self.answered(watched, command_id)

    def _in_time(self, watched: Watched, command_id: str) -> None:
        is_late = watched.is_due(watched.open[command_id])
        self._check("a timeout is answered in its time", not is_late, command_id, watched.open[command_id])

    def answered(self, watched: Watched, command_id: str) -> None:
        """A command has its final response, unless it had one."""
        if watched.open.pop(command_id, None) is not None:
            watched.place(command_id)

    def replaced(self, watched: Watched, event: ResponseReplaced) -> None:
        """Another response takes the place of one."""
        if event.code == "undeliverable":
            assert watched.link is not None, "a link has ended of it"
            watched.link.replaced[event.command_id] = watched.places[event.command_id]
            watched.place(event.command_id)

    # --- what goes out, and what is known to have come ----------------------------------------------------------------

    def repeats(self, watched: Watched, command_id: str) -> None:
        """A command came again and its stored response is sent again."""
        link = watched.link
        assert link is not None, "it came over a link"
        link.repeats[command_id] = link.repeats.get(command_id, 0) + 1

    def sends(self, watched: Watched, link: WatchedLink, message: Message) -> None:
        """A response or a message goes out."""
        key = message.data.command_id if message.type == "response" else message.id
        if message.data.code in GIVEN_BACK:
            return
        if link.repeats.get(key):
            link.repeats[key] -= 1
            return
        self.answered(watched, key)
        link.sent.append(key)
        place = link.replaced.get(key, watched.places.get(key))
        if place is None:
            return  # the protocol was called by somebody else than the simulation's application
        # What a link may have ended of is held back, and goes out after others (CMD-11).
        holds = place > link.last_sent or watched.times_blamed[key] >= _FRUITLESS_LINKS
        self._check("responses and messages go out in order", holds, key, place, link.last_sent)
        link.last_sent = max(place, link.last_sent)

    def says(self, watched: Watched, message_id: str, size: int) -> None:
        """The application sends a message."""
        watched.messages[message_id] = size
        watched.place(message_id)
        is_place = len(watched.messages) <= _PLACES_OF_MESSAGES
        self._check("a message is refused only for want of a place", is_place, len(watched.messages), "unsettled")

    def message_refused(self, watched: Watched) -> None:
        """There was no place for a message."""
        held_bytes = sum(watched.messages.values())
        is_full = len(watched.messages) >= _PLACES_OF_MESSAGES
        holds = is_full or held_bytes > _BYTES_OF_MESSAGES - _LARGEST_MESSAGE_BYTES
        self._check("a message is refused only for want of a place", holds, len(watched.messages), held_bytes)

    def settled(self, watched: Watched, keys: Iterable[str], *, assumed: bool) -> None:
        """Responses, by their commands, or messages are taken as received; `assumed`, if no peer has said so."""
        for key in keys:
            watched.messages.pop(key, None)
            watched.settled.add(key)
            has_left = watched.link is not None and key in watched.link.sent
            self._check("what is settled has left on its link", has_left, key)
            is_known = not watched.is_ponged if assumed else key in watched.received
            self._check("what is settled was received", is_known, key)
            watched.assumed |= {key} if assumed else set()

    def link_begins(self, watched: Watched) -> None:
        """The one before has ended: perhaps of the first that was sent and is not settled (CMD-11)."""
        if watched.ended_link is not None:
            first = next((key for key in watched.ended_link.sent if key not in watched.settled), None)
            watched.times_blamed.update(() if first is None else (first,))
            watched.ended_link = None

    def undeliverable(self, watched: Watched, key: str) -> None:
        """A response or a message was dropped."""
        watched.messages.pop(key, None)
        watched.lost.add(key)

    def stopped(self, watched: Watched, event: Stopped) -> None:
        """The agent has ended for good."""
        had = watched.executed | watched.places.keys()
        lacking = had - watched.received - watched.assumed - watched.lost - set(event.unsettled) - set(event.messages)
        self._check("who stops tells what the platform lacks", not lacking, lacking)
        has = watched.settled & {*event.unsettled, *event.messages}
        self._check("who stops tells what the platform lacks", not has, "settled, and told:", has)
        self._check("a call ends once, and in its time", not watched.calls, "not ended:", watched.calls)
        watched.open.clear()
        watched.waiting.clear()

    # --- calls --------------------------------------------------------------------------------------------------------

    def calls(self, watched: Watched, number: int) -> None:
        """The application makes a call."""
        watched.calls[number] = watched.process.mono + _CALL_TIMEOUT_S

    def call_ended(self, watched: Watched, number: int) -> None:
        """A call was answered, or failed."""
        self._check("a call ends once, and in its time", number not in watched.ended_calls, number, "again")
        watched.ended_calls.add(number)
        watched.calls.pop(number, None)

    # --- after everything ---------------------------------------------------------------------------------------------

    def looked_at(self, watched: Watched) -> None:
        """Something happened, and all that follows from it."""
        protocol = watched.process.protocol
        config = protocol.config
        running, waiting, most_waiting = len(protocol.in_flight), len(protocol.queued), config.max_queued
        if watched.journal is not None:  # those that may start wait for that, too
            most_waiting += config.max_concurrent - running
        within = (
            protocol.outbox_size <= _PLACES_OF_RESPONSES + _PLACES_OF_MESSAGES
            and running <= config.max_concurrent
            and waiting <= most_waiting
        )
        self._check("containers keep to their limits", within, watched.process.agent_id)
        if watched.open:
            self._in_time(watched, min(watched.open, key=watched.open.__getitem__))
        if watched.calls:
            first = next(iter(watched.calls.items()))
            self._check("a call ends once, and in its time", not watched.is_due(first[1]), first)
