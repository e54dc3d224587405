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
)
from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.testing.ensuring import ensure
from artcafe_proto.testing.invariants.links import REPORTED_WITHIN_S, UNANSWERED_PING_S, after, read_message
from artcafe_proto.testing.invariants.table import EPSILON_S
from artcafe_proto.testing.wiretap import CLOSE, PING, PONG, TEXT, read_frames, read_pings

if TYPE_CHECKING:
    from artcafe_proto.events import Event
    from artcafe_proto.testing.circuits import Circuit
    from artcafe_proto.testing.invariants.table import Checks
    from artcafe_proto.testing.invariants.watched import Watched
    from artcafe_proto.testing.platforms import PlatformProcess
    from artcafe_proto.testing.simulation import Simulation

_OVERLOADED_RETRY_S: Final = 1.0
_OFFLINE_AFTER_S: Final = 90.0
_ACCEPTED_AT_ONCE: Final = 5
"""As many commands as an agent of a simulation runs and holds. So many that were accepted later, and those that were on
their way, may start before one that was given back as `overloaded`, and before it was once more."""


class _Wire:
    """One link, as the platform writes on it. Times are the platform's monotonic ones."""

    def __init__(self, circuit: Circuit, watched: Watched, mono: float) -> None:
        self.circuit = circuit
        self.watched = watched
        self.heard_at = mono
        self.pinged_at = -math.inf
        self.is_closed = False
        self.unread = b""
        """Of a frame of the agent's."""
        self.owed_pongs: list[bytes] = []
        self.owed_since = mono
        self.unanswered: set[str] = set()
        self.answered: set[str] = set()
        self.again: dict[str, tuple[float, int]] = {}
        """Commands that may be sent again, after `overloaded`: from when on, or once more answers than these came."""
        self.sent: set[str] = set()
        self.last_number = 0
        """Of the commands that went out first."""


class PlatformInvariants:
    """The platform, whatever process of it runs."""

    def __init__(self, checks: Checks, sim: Simulation) -> None:
        self._check = checks.check
        self._sim = sim
        self._challenges = 0
        self._tokens = 0
        self._wires: dict[int, _Wire] = {}
        self._hearing: _Wire | None = None
        self._epochs: dict[str, int] = {}
        self._online: set[str] = set()
        self._overtaken: dict[str, int] = {}
        """Commands that were given back and not started since: how many later ones were started meanwhile."""

    # --- connections --------------------------------------------------------------------------------------------------

    def linked(self, circuit: Circuit, watched: Watched) -> None:
        """A link is open."""
        self._wires[circuit.server_conn] = _Wire(circuit, watched, self._sim.platform.mono)

    def left(self, conn: int) -> None:
        """A connection has ended."""
        self._wires.pop(conn, None)

    def restarts(self, *, keeps_memory: bool) -> None:
        """All connections have ended, and perhaps everything is forgotten."""
        self._wires.clear()
        if not keeps_memory:
            self._epochs.clear()
            self._overtaken.clear()

    def was_sent(self, conn: int, data: bytes) -> None:
        """Bytes reached it."""
        wire = self._wires.get(conn)
        if wire is None or wire.is_closed:
            return
        wire.heard_at = self._sim.platform.mono
        wire.unread += data
        pings, read = read_pings(wire.unread)
        wire.unread = wire.unread[read:]
        if pings:
            wire.owed_since = wire.owed_since if wire.owed_pongs else wire.heard_at
            wire.owed_pongs += pings

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
            else:
                ensure(frame.opcode == CLOSE, "there are no others")
                wire.is_closed = True

    def _sends_command(self, wire: _Wire, command_id: str) -> None:
        mono = self._sim.platform.mono
        window = self._sim.platform.config.window
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

    def handled_timers(self, platform: PlatformProcess) -> None:
        """All its timers that were due were handled."""
        mono, interval_s = platform.mono, platform.config.ping_interval
        for conn, wire in self._wires.items():
            if wire.is_closed:
                continue
            offline_at = wire.heard_at + _OFFLINE_AFTER_S
            due = offline_at if wire.pinged_at > -math.inf else wire.heard_at + interval_s
            if wire.pinged_at >= offline_at - EPSILON_S:  # it looked too late, which proves nothing (LINK-7)
                due = wire.pinged_at + UNANSWERED_PING_S
            due = max(due, platform.held_up_until)
            self._check("silence is answered with a ping", mono <= due + EPSILON_S, "connection", conn)
            if wire.circuit.down.unsent_bytes >= WRITE_AHEAD_BYTES:
                wire.owed_since = mono  # its transport is full: it may owe a pong (LINK-8)
            due = max(wire.owed_since + REPORTED_WITHIN_S, platform.held_up_until)
            holds = not wire.owed_pongs or mono <= due + EPSILON_S
            self._check("a ping is answered with one pong", holds, "none to", wire.owed_pongs)

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
                self._received(event.command_id)
            case CommandRepeated():
                self._received(event.command_id)
            case MessageReceived():
                self._received(event.message_id)
            case CommandDeferred():
                self._deferred(event)
            case CommandExpired():
                self._overtaken.pop(event.command_id, None)
                self._sim.tenant.expired(event.command_id)
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
        self._overtaken.pop(event.command_id, None)

    def _received(self, key: str) -> None:
        """A response to this command, or this message, has come in."""
        wire = self._hearing
        assert wire is not None, "it came over a link"
        wire.unanswered.discard(key)
        wire.answered.add(key)
        wire.watched.received.add(key)

    def _deferred(self, event: CommandDeferred) -> None:
        wire = self._hearing
        assert wire is not None, "it came over a link"
        wire.unanswered.discard(event.command_id)
        if event.code == "overloaded":
            wire.again[event.command_id] = (self._sim.platform.mono + _OVERLOADED_RETRY_S, len(wire.answered))
            self._overtaken.setdefault(event.command_id, 0)

    def started(self, command_id: str) -> None:
        """An agent executes a command; those that were accepted before it and given back have waited for it, too."""
        self._overtaken.pop(command_id, None)
        account = self._sim.tenant.accounts.get(command_id)
        if account is None:
            return  # the platform has forgotten it
        for waiting, times in self._overtaken.items():
            other = self._sim.tenant.accounts[waiting]
            if other.agent_id == account.agent_id and other.number < account.number:
                self._overtaken[waiting] = times + 1
                is_bounded = times < 2 * self._sim.platform.config.window + _ACCEPTED_AT_ONCE
                self._check("no command waits while later ones are served", is_bounded, waiting, times)
