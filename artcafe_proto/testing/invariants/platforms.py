"""What must hold of a platform: its answers, its links, and the commands on the wire (AUTH-8, CMD-10, PLAT-6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from artcafe_proto.events import (
    AgentAuthenticated,
    AgentOffline,
    AgentOnline,
    ChallengeIssued,
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    MessageReceived,
    RequestFailed,
)
from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.policies.timetable import GRID_S
from artcafe_proto.testing.ensuring import ensure
from artcafe_proto.testing.invariants.links import GIVEN_BACK, REPORTED_WITHIN_S, UNANSWERED_PING_S, after, read_message
from artcafe_proto.testing.invariants.table import EPSILON_S
from artcafe_proto.testing.schedule import Alarms
from artcafe_proto.testing.wiretap import CLOSE, PING, PONG, TEXT, Frame, read_frames, read_pings

if TYPE_CHECKING:
    from artcafe_proto.events import Event
    from artcafe_proto.testing.circuits import Circuit
    from artcafe_proto.testing.invariants.links import Message
    from artcafe_proto.testing.invariants.scenes import Platform, Scene
    from artcafe_proto.testing.invariants.stored import StoredInvariants
    from artcafe_proto.testing.invariants.table import Checks
    from artcafe_proto.testing.invariants.watched import Watched

_OVERLOADED_RETRY_S: Final = 1.0
_OFFLINE_AFTER_S: Final = 90.0
_SLOW_STORE: Final = b"the store is slow"
"""The reason of a close frame to an agent whose 101 or pong has waited for too long."""
_ACCEPTED_AT_ONCE: Final = 5
"""How many commands an agent of a simulation runs and holds at most. So many that were accepted later may start before
one that was given back as `overloaded`, and besides two windows of them: one that was on its way when the command was
given back, and one when it was given back again."""


class _Wire:
    """One link, as the platform writes on it. Times are the platform's monotonic ones."""

    def __init__(self, circuit: Circuit, watched: Watched, mono: float) -> None:
        self.circuit = circuit
        self.watched = watched
        self.opened_at = self.heard_at = mono
        self.pinged_at = -math.inf
        self.is_closed = False
        self.unread = b""
        """What has come of a frame of the agent's that is not whole."""
        self.owed_pongs: list[bytes] = []
        self.owed_since = mono
        self.may_pong_wait = False
        """Whether one that is owed may wait for a store."""
        self.told_unsent = 0
        """What the platform was last told that has not left."""
        self.unanswered: set[str] = set()
        self.answered: set[str] = set()
        self.again: dict[str, tuple[float, int]] = {}
        """Commands that may be sent again, after `overloaded`: from when on, or once more answers than these came."""
        self.sent: set[str] = set()
        self.last_number = 0
        """Of the commands that went out first."""

    def ping_due(self, interval_s: float) -> float:
        """By when it pings, or gives up a peer that is silent."""
        offline_at = self.heard_at + _OFFLINE_AFTER_S
        if self.pinged_at >= offline_at - EPSILON_S:  # it looked too late, which proves nothing (LINK-7)
            return self.pinged_at + UNANSWERED_PING_S
        return offline_at if self.pinged_at > -math.inf else self.heard_at + interval_s


class PlatformInvariants:
    """The platform, whatever process of it runs."""

    def __init__(self, checks: Checks, sim: Scene, stored: StoredInvariants) -> None:
        self._check = checks.check
        self._sim = sim
        self._stored = stored
        self._challenges = 0
        self._tokens = 0
        self._wires: dict[int, _Wire] = {}
        self._looks = Alarms()
        """When what a link is due may be overdue, at the earliest."""
        self._hearing: _Wire | None = None
        self._epochs: dict[str, int] = {}
        self._online: set[str] = set()
        self._overtaken: dict[str, dict[str, int]] = {}
        """Commands that were given back and not started since, by agent: how many later ones were started meanwhile."""

    # --- connections --------------------------------------------------------------------------------------------------

    def linked(self, circuit: Circuit, watched: Watched) -> None:
        """A link is open."""
        mono = self._sim.platform.mono
        self._wires[circuit.server_conn] = _Wire(circuit, watched, mono)
        self._looks.set(circuit.server_conn, mono)

    def left(self, conn: int) -> None:
        """A connection has ended."""
        self._wires.pop(conn, None)
        self._looks.remove(conn)

    def restarts(self, *, keeps_memory: bool) -> None:
        """All connections have ended, and perhaps everything is forgotten."""
        self._wires.clear()
        self._looks = Alarms()
        if not keeps_memory:
            self._epochs.clear()
            self._overtaken.clear()

    def crashes(self) -> None:
        """It has died: of who was online it knows nothing, but epochs go on rising."""
        self.restarts(keeps_memory=True)
        self._online.clear()
        self._overtaken.clear()

    def was_sent(self, conn: int, data: bytes) -> None:
        """Bytes reached it."""
        wire = self._wires.get(conn)
        if wire is None or wire.is_closed:
            return
        wire.heard_at = self._sim.platform.mono
        wire.unread += data
        if self._sim.platform.has_store:
            frames, read = read_frames(wire.unread)
            pings = self._reads(conn, wire, frames)
        else:
            pings, read = read_pings(wire.unread)
        wire.unread = wire.unread[read:]
        if pings:
            if not wire.owed_pongs:
                wire.owed_since, wire.may_pong_wait = wire.heard_at, False
            wire.may_pong_wait |= self._stored.may_wait(wire.watched.process.agent_id)
            wire.owed_pongs += pings
            self._looks.set(conn, wire.heard_at)

    def _reads(self, conn: int, wire: _Wire, frames: list[Frame]) -> list[bytes]:
        """What comes of frames now: events tell it once it is stored. Returns what the pings among them carry."""
        agent_id = wire.watched.process.agent_id
        pings: list[bytes] = []
        for frame in frames:
            if frame.opcode == PING:
                pings.append(frame.payload)
                self._stored.pinged(conn, agent_id, frame.payload)
            elif frame.opcode == TEXT:
                self._hears(wire, read_message(frame.payload))
        return pings

    def _hears(self, wire: _Wire, message: Message) -> None:
        agent_id, command_id = wire.watched.process.agent_id, message.data.command_id
        if message.type == "message":
            self._received(wire, message.id)
        elif message.type == "response" and message.data.code not in GIVEN_BACK:
            self._received(wire, command_id)
            self._stored.came(agent_id, command_id)
        elif message.type == "response" and command_id in wire.unanswered:
            self._deferred(wire, agent_id, command_id, message.data.code)

    def was_told_unsent(self, conn: int, nbytes: int) -> None:
        """It has been told what has not left. While that is much, it may owe a pong (LINK-8)."""
        if (wire := self._wires.get(conn)) is not None:
            if max(wire.told_unsent, wire.circuit.down.unsent_bytes) >= WRITE_AHEAD_BYTES:
                wire.owed_since = self._sim.platform.mono
            wire.told_unsent = nbytes

    def hears(self, conn: int) -> None:
        """What its events tell next is of this connection."""
        self._hearing = self._wires.get(conn)

    def wrote(self, conn: int, data: bytes) -> None:
        """It writes on a link."""
        wire = self._wires[conn]
        for frame in read_frames(data)[0]:
            if frame.opcode == TEXT:
                message = read_message(frame.payload)
                if message.type == "command":
                    self._sends_command(wire, message.id)
            elif frame.opcode == PING:
                wire.pinged_at = self._sim.platform.mono
            elif frame.opcode == PONG:
                is_owed = frame.payload in wire.owed_pongs
                self._check("a ping is answered with one pong", is_owed, frame.payload, "of", wire.owed_pongs)
                wire.owed_pongs = after(wire.owed_pongs, frame.payload)
                self._stored.ponged(conn, wire.watched.process.agent_id, frame.payload)
            else:
                ensure(frame.opcode == CLOSE, "there are no others")
                if frame.payload[2:] == _SLOW_STORE:
                    waits = wire.opened_at == self._sim.platform.mono or (wire.owed_pongs and wire.may_pong_wait)
                    self._check("a link that waits for no store stays", bool(waits), conn, "owed:", wire.owed_pongs)
                wire.is_closed = True
                self._looks.remove(conn)

    def _sends_command(self, wire: _Wire, command_id: str) -> None:
        mono = self._sim.platform.mono
        window = self._sim.platform.config.window
        self._stored.sends(wire.watched.process.agent_id, command_id)
        if command_id not in wire.answered:  # it may be, though that was not known when it was sent
            wire.unanswered.add(command_id)
        unanswered = len(wire.unanswered)
        self._check("no more than the window is unanswered", unanswered <= window, unanswered, "of", window)
        again_at, answers = wire.again.pop(command_id, (math.inf, math.inf))
        if command_id in wire.sent:
            is_allowed = mono >= again_at - EPSILON_S or len(wire.answered) > answers
            self._check("a command goes out once on a connection", is_allowed, command_id, "again at", again_at)
        elif command_id in self._sim.tenant.accounts:
            number, last = self._sim.tenant.accounts[command_id].number, wire.last_number
            self._check("commands first go out in the order of acceptance", number > last, number, "after", last)
            wire.last_number = number
        wire.sent.add(command_id)

    def handled_timers(self, platform: Platform) -> None:
        """All its timers that were due were handled."""
        mono, held_up_until = platform.mono, platform.held_up_until
        for conn in self._looks.take_due(lambda at: at + EPSILON_S < mono):
            wire = self._wires[conn]
            due = max(wire.ping_due(platform.config.ping_interval), held_up_until)
            is_late = mono > due + GRID_S + EPSILON_S  # connections share the moments of waking
            self._check("silence is answered with a ping", not is_late, "connection", conn)
            self.was_told_unsent(conn, wire.told_unsent)
            pong_due = max(wire.owed_since + REPORTED_WITHIN_S, held_up_until) if wire.owed_pongs else math.inf
            if wire.may_pong_wait:
                pong_due += self._stored.longest_wait_s
            self._check("a ping is answered with one pong", mono <= pong_due + EPSILON_S, "none to", wire.owed_pongs)
            self._looks.set(conn, min(due, pong_due))

    # --- events -------------------------------------------------------------------------------------------------------

    def said(self, event: Event) -> None:
        """The hub reports something."""
        match event:
            case ChallengeIssued():
                self._challenges += 1
            case AgentAuthenticated():
                self._tokens += 1
                self._check("a challenge yields at most one token", self._tokens <= self._challenges, event.agent_id)
            case AgentOnline() | AgentOffline():
                self._presence(event)
            case CommandAnswered():
                self._answered(event)
                self._is_told(event.command_id)
            case CommandRepeated():
                self._is_told(event.command_id)
            case MessageReceived():
                self._is_told(event.message_id)
            case CommandDeferred() if not self._sim.platform.has_store:
                self._deferred(self._current(), event.agent_id, event.command_id, event.code)
            case CommandExpired():
                self._waits_no_more(event.agent_id, event.command_id)
                self._sim.tenant.expired(event.command_id)
            case RequestFailed():
                self._check("a response has a status of its operation", False, event.method, repr(event.error))
            case _:
                pass

    def _presence(self, event: AgentOnline | AgentOffline) -> None:
        agent_id, last = event.agent_id, self._epochs.get(event.agent_id, 0)
        if isinstance(event, AgentOnline):
            holds = agent_id not in self._online and event.epoch > last
            self._online.add(agent_id)
        else:
            holds = agent_id in self._online and event.epoch == last
            self._online.discard(agent_id)
        self._check("AgentOnline and AgentOffline alternate, and epochs rise", holds, event, "after", last)
        self._epochs[agent_id] = event.epoch

    def _answered(self, event: CommandAnswered) -> None:
        account = self._sim.tenant.accounts.get(event.command_id)
        if account is None:
            return  # it is somebody else's than this tenant's
        is_late = account.has_expired
        self._check("an answer after the expiry is late", event.late == is_late, event.command_id, event.late)
        times = self._sim.tenant.answered(event.command_id)
        self._check("one final response for each command", times <= 1, event.command_id, times)
        self._waits_no_more(event.agent_id, event.command_id)

    def _is_told(self, key: str) -> None:
        """An event says that something came in; of a platform with a store it may say so later."""
        if not self._sim.platform.has_store:
            self._received(self._current(), key)

    def _current(self) -> _Wire:
        assert self._hearing is not None, "it came over a link"
        return self._hearing

    def _received(self, wire: _Wire, key: str) -> None:
        """A response to this command, or this message, has come in."""
        wire.unanswered.discard(key)
        wire.answered.add(key)
        wire.watched.received.add(key)

    def _deferred(self, wire: _Wire, agent_id: str, command_id: str, code: str) -> None:
        """A command was given back."""
        wire.unanswered.discard(command_id)
        if code == "overloaded":
            wire.again[command_id] = (self._sim.platform.mono + _OVERLOADED_RETRY_S, len(wire.answered))
            self._overtaken.setdefault(agent_id, {}).setdefault(command_id, 0)

    def _waits_no_more(self, agent_id: str, command_id: str) -> None:
        self._overtaken.get(agent_id, {}).pop(command_id, None)

    def started(self, agent_id: str, command_id: str) -> None:
        """An agent executes a command; those that were accepted before it and given back have waited for it, too."""
        self._waits_no_more(agent_id, command_id)
        account = self._sim.tenant.accounts.get(command_id)
        if account is None:
            return  # the platform has forgotten it
        overtaken = self._overtaken.get(agent_id, {})
        for waiting, times in overtaken.items():
            other = self._sim.tenant.accounts[waiting]
            if other.number < account.number and other.expires_at > self._sim.platform.mono:
                overtaken[waiting] = times + 1
                is_bounded = times < 2 * self._sim.platform.config.window + _ACCEPTED_AT_ONCE
                self._check("no command waits while later ones are served", is_bounded, waiting, times)
