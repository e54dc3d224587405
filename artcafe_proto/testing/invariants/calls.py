"""What must hold of requests over HTTP: their responses, the commands that they show, and event streams (PLAT-4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from artcafe_proto.events import AuthenticationRefused, ChallengeIssued, CommandAccepted, StoreRecovered, StoreStalled
from artcafe_proto.testing.invariants.table import EPSILON_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.events import Event
    from artcafe_proto.platform.state import PlatformState
    from artcafe_proto.testing.invariants.scenes import Scene
    from artcafe_proto.testing.invariants.stored import StoredInvariants
    from artcafe_proto.testing.invariants.table import Checks
    from artcafe_proto.testing.tenants import Account

# The clauses' numbers, and not the core's, which may be wrong.
_KEEP_ALIVE_S: Final = 15.0
_LONGEST_WAIT_S: Final = 60.0
_OVER: Final = ("succeeded", "failed", "expired")
_UNPUBLISHED: Final = (AuthenticationRefused, ChallengeIssued, CommandAccepted, StoreRecovered, StoreStalled)
_STORE_UNAVAILABLE: Final = 503
_ON_ITS_WAY_S: Final = 1.5
"""How long a request and its response may be on their way, beside any wait: no caller's connection takes longer."""


def _says_nothing(state: PlatformState, status: int, body: bytes) -> bool:
    """This response says nothing that a store has."""
    return True


def _heard_nothing(status: int, body: bytes) -> None:
    """Nothing is learned from this response."""


class Call(msgspec.Struct, kw_only=True):
    """One request, and what may be answered."""

    method: str
    target: str
    statuses: tuple[int, ...]
    headers: list[tuple[str, str]]
    body: bytes = b""
    heard: Callable[[int, bytes], None] = _heard_nothing
    """Told of the whole response."""
    is_stored: Callable[[PlatformState, int, bytes], bool] = _says_nothing
    """Whether all that the whole response says is in what is stored."""
    promises: tuple[str, str] | None = None
    """Which command a 202 accepts, by id, and of which agent."""
    asked_at: float = 0.0
    """In the simulation's time."""
    has_ended_side: bool = False
    """Whether the caller has ended its side since."""
    listens: bool = False
    hears_all: bool = False
    last_event_id: str | None = None
    events_before: int = 0
    """How many events there had been when it was asked for."""


class Listening:
    """One event stream, from its head on. Times are the simulation's."""

    def __init__(self, call: Call, at: float) -> None:
        self.call: Final = call
        self.resumes: Final = call.last_event_id
        """The id that it came back with."""
        self.least_number: Final = call.events_before
        """The least number that its first id may have: so many events there had been when it was asked for."""
        self.is_whole: Final = call.hears_all
        """Whether it has the events of all agents."""
        self.heard_at = at
        self.has_not_read: bool = False
        """Whether it did not read for a while: its stream may be lost."""
        self.last_id: str | None = None
        self.unread = b""


class CallInvariants:
    """Every caller's requests."""

    def __init__(self, checks: Checks, sim: Scene, stored: StoredInvariants) -> None:
        self._check = checks.check
        self._sim = sim
        self._stored = stored
        self.events: int = 0
        """How many the platform has told of the tenant's agents since it last lost its memory."""

    def said(self, event: Event) -> None:
        """The hub reports something."""
        self.events += not isinstance(event, _UNPUBLISHED)

    def restarts(self, *, keeps_memory: bool) -> None:
        """Perhaps everything is forgotten."""
        self.events = self.events if keeps_memory else 0

    # --- responses ----------------------------------------------------------------------------------------------------

    def is_expected(self, call: Call | None, data: bytes) -> None:
        """Bytes have come, for this call if it waits for them."""
        holds = call is not None or not data
        self._check("every request gets one response, or its connection ends", holds, "not asked for:", data)

    @property
    def _most_waits_s(self) -> float:
        """How long a response may be on its way, and wait for a store."""
        return _ON_ITS_WAY_S + self._stored.longest_wait_s

    def answered(self, call: Call, status: int) -> None:
        """The head of a response has come."""
        is_one = status in call.statuses or (self._sim.platform.has_store and status == _STORE_UNAVAILABLE)
        self._check("a response has a status of its operation", is_one, call.method, call.target, status)
        if self._sim.platform.has_store and "wait=" not in call.target and not call.listens:
            platform = self._sim.platform
            due = max(call.asked_at, platform.held_up_until - platform.mono_offset_s) + self._most_waits_s
            late_s = self._sim.time - due
            self._check("nobody waits for a store for long", late_s <= 0.0, call.method, call.target, late_s, "s late")

    def odd(self, why: str) -> None:
        """What came is no response."""
        self._check("every request gets one response, or its connection ends", False, why)

    def longest_wait_s(self) -> float:
        """How long a request may take once nothing is wrong any more."""
        return _LONGEST_WAIT_S + self._most_waits_s

    def ended(self, call: Call | None, listening: Listening | None) -> None:
        """A caller had its time: `call` is what it still waits for, or what `listening` is the response to."""
        holds = call is None or listening is not None
        self._check("every request gets one response, or its connection ends", holds, call)
        if listening is not None:
            self._is_heard_of(listening)

    def revoked(self, agent_id: str, key_id: str) -> None:
        """The response says that a key is revoked."""
        is_gone = key_id not in self._sim.platform.key_ids(agent_id)
        self._check("a key that was revoked over HTTP is gone", is_gone, agent_id, key_id)

    # --- commands -----------------------------------------------------------------------------------------------------

    def asked_for(self, command_id: str, promised_id: str | None, *, is_in_doubt: bool) -> None:
        """The response to a request that sends a command has come; `promised_id` is the id it names, if any."""
        is_accepted = command_id in self._sim.tenant.accepted_over_http
        holds = promised_id == (command_id if is_accepted else None) or (is_in_doubt and promised_id is None)
        self._check("a command is known once it is accepted", holds, command_id, promised_id)

    def shown(self, command_id: str, account: Account, state: str, *, was_over: bool) -> None:
        """A response shows a command in `state`, "" if none. `was_over`: it was over when it was asked for."""
        self._check("a command is known once it is accepted", bool(state), command_id)
        holds = account.is_over if state in _OVER else not was_over
        self._check("a command is shown as it is", holds, command_id, state, account)

    def poll_ended(self, command_id: str, account: Account, state: str, asked_at: float, wait_s: float) -> None:
        """A response came that had waited for the end of a command, for at most `wait_s`."""
        platform, time = self._sim.platform, self._sim.time
        if state in _OVER:
            due = max(asked_at, account.over_at)
        else:
            due = max(asked_at + wait_s, platform.held_up_until - platform.mono_offset_s)
            is_early = time < asked_at + wait_s - EPSILON_S
            self._check("a poll ends with its command or its wait", not is_early, command_id, state, "too early")
        is_late = time > due + self._most_waits_s
        self._check("a poll ends with its command or its wait", not is_late, command_id, state, time - due, "s late")

    # --- events -------------------------------------------------------------------------------------------------------

    def came(self, listening: Listening, data: bytes) -> None:
        """A piece of an event stream."""
        self._is_heard_of(listening)
        listening.heard_at = self._sim.time
        *events, listening.unread = (listening.unread + data).split(b"\n\n")
        for event in events:
            if event != b":":
                self._event(listening, event)

    def _event(self, listening: Listening, event: bytes) -> None:
        parts = (line.partition(": ") for line in event.decode().split("\n"))
        fields = {name: value for name, _, value in parts}
        name, last, came = fields["event"], listening.last_id, fields["id"]
        listening.last_id = came
        if last is None:
            has_missed = listening.resumes not in (None, came)
            expected = "stream.reset" if has_missed else "stream.open"
            holds = name == expected and int(came.partition("-")[2]) >= listening.least_number
            self._check("an event stream begins with what was missed", holds, name, came, listening.resumes)
        else:
            (run, number), (last_run, last_number) = came.split("-"), last.split("-")
            further = int(number) - int(last_number)
            holds = run == last_run and (further == 1 or (further > 1 and not listening.is_whole))
            self._check("the ids of an event stream rise one by one", holds, last, came)

    def _is_heard_of(self, listening: Listening) -> None:
        platform = self._sim.platform
        due = max(listening.heard_at + _KEEP_ALIVE_S, platform.held_up_until - platform.mono_offset_s)
        if listening.has_not_read or listening.call.has_ended_side:  # the end of a stream waits for its events
            due = max(due, self._stored.waits_until - platform.mono_offset_s)
        is_late = self._sim.time > due + _ON_ITS_WAY_S
        self._check("silence on an event stream is broken", not is_late, "since", listening.heard_at)
