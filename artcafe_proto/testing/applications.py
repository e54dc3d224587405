"""What an agent's author has it do, in a simulation: handlers that take their time, and everything they may call."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from artcafe_proto.errors import LocalProtocolError, OutboxFullError
from artcafe_proto.testing.invariants.watched import Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.events import CommandCancelled, CommandReceived
    from artcafe_proto.instants import Instant
    from artcafe_proto.testing.invariants import Invariants
    from artcafe_proto.testing.nodes import Stage

_NEVER_ENDS: Final = 0.03
"""Share of handlers that end only when they are cancelled."""

_ENDS_AT_ONCE: Final = 0.4
"""Up to which draw a handler ends while the outputs are drained."""

_SIZES: Final = (1, 40, 40, 3000)
_LARGE: Final = 150_000
"""Characters of a result or a message; the large one fills a slow line for longer than a ping may take."""


class Runner(Process, Protocol):
    """The process that an application runs in."""

    is_dead: bool

    def turn(self, action: Callable[[Instant], object]) -> None:
        """Do something to the protocol, as soon as the process is awake, and carry out what it asks for."""
        ...


class Application:
    """The author's code of one process. Beside the commands it does what is drawn, as often as its world says."""

    def __init__(self, process: Runner, sim: Stage, invariants: Invariants, rng: Random) -> None:
        self._process = process
        self._sim = sim
        self._invariants = invariants
        self._rng = rng
        self._gap_s = sim.world.says_gap_s
        self._unfinished: dict[str, bool] = {}
        """Commands whose handlers run, and whether they end only when they are cancelled."""
        self._calls: list[int] = []
        often, seldom = (self.say, self._report), (self.say, self._declare, self._put, self._ask, self._cancel)
        self._deeds: tuple[Callable[[Instant], None], ...] = (*often, *often, *seldom)

    def begin(self) -> None:
        """Do something now and then, until the calm."""
        self._sim.after(self._rng.expovariate(1 / self._gap_s), self._go_on)

    def _go_on(self) -> None:
        process = self._process
        if not (process.is_dead or self._sim.is_calm):
            process.turn(self._rng.choice(self._deeds))
            self.begin()

    # --- commands -----------------------------------------------------------------------------------------------------

    def execute(self, event: CommandReceived) -> None:
        """Run a handler."""
        draw = self._rng.random()
        self._unfinished[event.command_id] = draw < _NEVER_ENDS
        if draw < _NEVER_ENDS:
            return
        if draw < _ENDS_AT_ONCE:
            self._finish(event.command_id)
        else:
            delay_s = self._rng.uniform(0.01, 3.0) if draw < 0.9 else self._rng.uniform(3.0, 40.0)
            self._sim.after(delay_s, lambda: self._finish(event.command_id))

    def cancelled(self, event: CommandCancelled) -> None:
        """A handler that does not end by itself ends now."""
        if self._unfinished.get(event.command_id):
            self._sim.after(0.1, lambda: self._finish(event.command_id))

    def _finish(self, command_id: str) -> None:
        process = self._process
        if self._unfinished.pop(command_id, None) is None or process.is_dead:
            return
        succeeds = self._rng.random() < 0.7
        result = {"n": "x" * self._size()}

        def answer(now: Instant) -> None:
            self._invariants.agent_answers(process, command_id)
            if succeeds:
                process.protocol.respond(command_id, result, now)
            else:
                process.protocol.fail(command_id, "handler_error", "ValueError", now)

        process.turn(answer)

    def _size(self) -> int:
        return _LARGE if self._rng.random() < 0.005 else self._rng.choice(_SIZES)

    # --- all else -----------------------------------------------------------------------------------------------------

    def say(self, now: Instant) -> None:
        """Send a message, if there is a place for it."""
        process, size = self._process, self._size()
        if process.protocol.is_stopped:
            return  # its journal is still waited for
        try:
            message_id = process.protocol.send_message({"n": "x" * size}, now)
        except OutboxFullError:
            self._invariants.message_was_refused(process)
        else:
            self._invariants.agent_sends(process, message_id, size)

    def _report(self, now: Instant) -> None:
        for command_id in self._process.protocol.in_flight:
            self._process.protocol.progress(command_id, self._rng.randrange(101), now)

    def _declare(self, now: Instant) -> None:
        self._process.protocol.set_status(self._rng.choice(("online", "online", "busy", "error")), now)

    def _put(self, now: Instant) -> None:
        self._call(lambda: self._process.protocol.put_status(self._rng.choice(("online", "busy")), now))

    def _ask(self, now: Instant) -> None:
        self._call(lambda: self._process.protocol.get_details(now))

    def _call(self, make: Callable[[], int]) -> None:
        with suppress(LocalProtocolError):  # as many wait as may
            number = make()
            self._calls = [*self._calls[-3:], number]
            self._invariants.agent_calls(self._process, number)

    def _cancel(self, now: Instant) -> None:
        if self._calls:
            self._process.protocol.cancel_call(self._rng.choice(self._calls), now)
