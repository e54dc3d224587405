"""What must hold in every simulation, whatever goes wrong: each with a name and the clause it comes from.

They look from outside: at what the two sides write, say and wait for, not at how they do it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from artcafe_proto.agent.states import LinkState
from artcafe_proto.effects import Connect, Disconnect, Sign, Write
from artcafe_proto.events import (
    AgentAuthenticated,
    ChallengeIssued,
    CommandAnswered,
    CommandReceived,
    Offline,
    Online,
    Stopped,
)
from artcafe_proto.limits import (
    MAX_BACKOFF_S,
    MAX_REPLACED_BACKOFF_S,
    MAX_UNSETTLED_MESSAGES,
    MAX_UNSETTLED_RESPONSES,
)
from artcafe_proto.testing.wiretap import CLOSE, TEXT, Frame, Request, Wiretap

if TYPE_CHECKING:
    from artcafe_proto.effects import MachineEffect
    from artcafe_proto.events import Event
    from artcafe_proto.instants import Instant
    from artcafe_proto.testing.agents import AgentProcess
    from artcafe_proto.testing.simulation import Simulation

INVARIANTS: Final[dict[str, str]] = {
    "one link, up or opening": "LINK-9",
    "nothing but authentication goes out before the link": "AUTH-1",
    "nothing goes out on a connection that is over": "LINK-9",
    "a link begins with a heartbeat": "HB-1",
    "one heartbeat for each point of the grid": "HB-1",
    "nothing follows a close frame": "RFC 6455 section 5.5.1",
    "a rejected token is never sent again": "TOK-3",
    "no secret in any output": "TOK-4",
    "a handled timer is not due any more": "LINK-8",
    "no command is executed twice in one life": "CMD-1",
    "no attempt before its time": "LINK-3",
    "waits are within their bounds": "LINK-3, LINK-4, LINK-6",
    "waits grow until a link proved stable": "LINK-5",
    "a challenge yields at most one token": "AUTH-8",
    "one final response for each command": "CMD-3",
    "containers keep to their limits": "CMD-3, CMD-5",
    "online again when all is well": "LINK-6",
    "every command answered once": "CMD-3, CMD-10",
    "a drain ends in time": "CMD-8",
}


class _Kind(msgspec.Struct):
    type: str


_kind_of: Final = msgspec.json.Decoder(_Kind).decode
_AT_ONCE_S: Final = 0.0
_EPSILON_S: Final = 1e-6


class InvariantError(AssertionError):
    """An invariant did not hold. Says which, the seed to repeat it with, and what happened last."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        """One of INVARIANTS."""


class _Watched:
    """What is known of one agent's process."""

    def __init__(self) -> None:
        self.taps: dict[int, Wiretap] = {}
        self.linking: set[int] = set()
        self.closed: set[int] = set()
        self.up_at: dict[int, float] = {}
        self.heard_at: float | None = None
        self.last_beat: dict[int, int] = {}
        self.rejected: set[str] = set()
        self.secrets: set[str] = set()
        self.retry_at: float | None = None
        self.failures = 0
        self.longest_wait_s = 0.0
        self.was_at_once = False
        self.up_conn: int | None = None


class Invariants:
    """The observer of a simulation. `evaluations` counts how often each invariant was looked at."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._watched: dict[AgentProcess, _Watched] = {}
        self._challenges = 0
        self._tokens = 0
        self._longest_retry_after_s = 60.0
        self.evaluations: Counter[str] = Counter()

    def check(self, name: str, holds: bool, *detail: object) -> None:
        """One look at one invariant. Raises InvariantError."""
        self.evaluations[name] += 1
        if not holds:
            sim = self._sim
            what = f"{name} [{INVARIANTS[name]}]: {' '.join(map(str, detail))}"
            where = f"seed {sim.seed}, at {sim.time:.3f} s; the last events:"
            raise InvariantError(name, "\n".join([what, where, *sim.last_events]))

    def is_wanted(self, process: AgentProcess, conn: int) -> bool:
        """Whether the agent still waits for this connection."""
        return conn in self._of(process).taps

    def _of(self, process: AgentProcess) -> _Watched:
        watched = self._watched.get(process)
        if watched is None:
            watched = self._watched[process] = _Watched()
        return watched

    # --- what agents say ----------------------------------------------------------------------------------------------

    def agent_said(self, process: AgentProcess, output: MachineEffect | Event) -> None:
        """An output was drained."""
        watched = self._of(process)
        if type(output) is Write:
            self._writing(process, watched, output)
            return
        shown = repr(output)
        self._sim.told(process.agent_id, shown)
        self._look_for_secrets(watched, shown)
        match output:
            case Connect():
                self._connecting(process, watched, output)
            case Disconnect():
                self._gone(watched, output.conn)
            case Sign():
                watched.secrets.add(output.challenge)
            case Online():
                watched.up_conn = output.conn
                watched.up_at[output.conn] = process.now.mono
            case Offline():
                self._waiting(process, watched, output)
            case CommandReceived():
                name = "no command is executed twice in one life"
                self.check(name, output.command_id not in process.executed, output.command_id)
                process.executed.add(output.command_id)
            case Stopped():
                watched.retry_at = None
            case _:
                pass

    def _look_for_secrets(self, watched: _Watched, text: str) -> None:
        shown = [secret for secret in watched.secrets if secret in text]
        self.check("no secret in any output", not shown, text)

    def _connecting(self, process: AgentProcess, watched: _Watched, asked: Connect) -> None:
        watched.taps[asked.conn] = Wiretap()
        if process.protocol.state.link is LinkState.UP or watched.retry_at is None:
            return
        early_s = watched.retry_at - process.now.mono
        is_mine = process.protocol.state.link is LinkState.DOWN and not process.is_stopping
        self.check("no attempt before its time", not is_mine or early_s <= _EPSILON_S, early_s, "s too early")

    def _gone(self, watched: _Watched, conn: int) -> None:
        for known in (watched.taps, watched.up_at, watched.last_beat):
            known.pop(conn, None)
        watched.linking.discard(conn)
        watched.closed.discard(conn)

    def agent_lost(self, process: AgentProcess, conn: int) -> None:
        """The network told it that a connection is gone, or could not be opened."""
        self._gone(self._of(process), conn)

    def _writing(self, process: AgentProcess, watched: _Watched, write: Write) -> None:
        tap = watched.taps.get(write.conn)
        self.check("nothing goes out on a connection that is over", tap is not None, "connection", write.conn)
        assert tap is not None
        for each in tap.read(write.data):
            if isinstance(each, Request):
                self._requesting(watched, write.conn, each)
            else:
                self._sending(process, watched, write.conn, each)

    def _requesting(self, watched: _Watched, conn: int, request: Request) -> None:
        if request.token:
            watched.secrets.add(request.token)
            self.check("a rejected token is never sent again", request.token not in watched.rejected, request.target)
        allowed = request.target.startswith(("/api/v1/auth/", "/api/v1/agents/", "/api/v1/ws/agent/"))
        self.check("nothing but authentication goes out before the link", allowed, request.target)
        if request.is_upgrade:
            watched.linking.add(conn)
        self.check("one link, up or opening", len(watched.linking) <= 1, watched.linking)

    def _sending(self, process: AgentProcess, watched: _Watched, conn: int, frame: Frame) -> None:
        self.check("nothing follows a close frame", conn not in watched.closed, "opcode", frame.opcode)
        if frame.opcode == CLOSE:
            watched.closed.add(conn)
        if frame.opcode != TEXT:
            return
        kind = _kind_of(frame.payload).type
        if conn not in watched.last_beat:
            self.check("a link begins with a heartbeat", kind == "heartbeat", kind)
            watched.last_beat[conn] = -1
        if kind == "heartbeat" and conn in watched.up_at:
            interval_s = process.protocol.config.heartbeat_interval
            slot = int((process.now.mono - watched.up_at[conn] + _EPSILON_S) // interval_s)
            self.check("one heartbeat for each point of the grid", slot > watched.last_beat[conn], "slot", slot)
            watched.last_beat[conn] = slot

    def agent_was_sent(self, process: AgentProcess, conn: int, data: bytes) -> None:
        """Bytes reached an agent."""
        watched = self._of(process)
        tap = watched.taps[conn]
        up_at = watched.up_at.get(conn) if watched.failures else None
        if up_at is not None and process.now.mono - up_at >= process.protocol.config.stable_after:
            watched.failures, watched.longest_wait_s = 0, 0.0
        if tap.is_upgraded or tap.last_request is None:
            return
        tap.answer += data
        status = tap.answered_status()
        if status == 101:
            tap.is_upgraded = True
        elif status == 401 or (status == 403 and tap.last_request.is_upgrade):
            watched.rejected.add(tap.last_request.token)
        if status not in (None, 101):
            watched.linking.discard(conn)

    # --- waits --------------------------------------------------------------------------------------------------------

    def _waiting(self, process: AgentProcess, watched: _Watched, offline: Offline) -> None:
        watched.up_conn = None
        watched.retry_at = offline.retry_at
        if offline.retry_at is None:
            return
        wait_s = offline.retry_at - process.now.mono
        at_once = wait_s <= _AT_ONCE_S
        longest_s = max(1.2 * MAX_BACKOFF_S, self._longest_retry_after_s)
        if "4409" in offline.reason:
            longest_s = 1.2 * MAX_REPLACED_BACKOFF_S
        bounded = (at_once and not watched.was_at_once) or 0.5 <= wait_s <= longest_s
        self.check("waits are within their bounds", bounded, wait_s, "s after", offline.reason)
        watched.was_at_once = at_once
        watched.failures += not at_once
        watched.longest_wait_s = max(watched.longest_wait_s, wait_s)
        # Of n failures, at least a quarter were of one row of the table, whose waits double.
        rows = 4
        least_s = min(0.5 * 2.0 ** ((watched.failures + rows - 1) // rows - 1), 0.5 * MAX_BACKOFF_S)
        grown = watched.failures == 0 or watched.longest_wait_s >= least_s - _EPSILON_S
        self.check("waits grow until a link proved stable", grown, watched.failures, "failures,", wait_s, "s")

    # --- the platform, timers, containers -----------------------------------------------------------------------------

    def platform_said(self, event: Event) -> None:
        """An event of the hub was drained."""
        self._sim.told("platform", event)
        match event:
            case ChallengeIssued():
                self._challenges += 1
            case AgentAuthenticated():
                self._tokens += 1
                self.check("a challenge yields at most one token", self._tokens <= self._challenges, event.agent_id)
            case CommandAnswered(command_id=command_id):
                times = self._sim.command_answered(command_id)
                self.check("one final response for each command", times <= 1, command_id, times)
            case _:
                pass

    def timer_handled(self, deadline: float | None, now: Instant) -> None:
        """`handle_timer` has returned."""
        holds = deadline is None or deadline > now.mono
        self.check("a handled timer is not due any more", holds, deadline, "at", now.mono)

    def agent_settled(self, process: AgentProcess) -> None:
        """Something happened to an agent, and all that follows from it."""
        protocol = process.protocol
        config = protocol.config
        within = (
            protocol.outbox_size <= MAX_UNSETTLED_RESPONSES + MAX_UNSETTLED_MESSAGES
            and len(protocol.in_flight) <= config.max_concurrent
            and len(protocol.queued) <= config.max_queued
        )
        self.check("containers keep to their limits", within, process.agent_id)

    # --- at the end ---------------------------------------------------------------------------------------------------

    def longest_way_back_s(self) -> float:
        """How long an agent may need to come back once nothing is wrong any more."""
        waits = [0.0]
        for process in self._sim.processes:
            watched = self._of(process)
            if watched.retry_at is not None and process.protocol.state.link is LinkState.DOWN:
                waits.append(watched.retry_at - process.now.mono)
        config = self._sim.processes[0].protocol.config
        deadlines_s = (
            config.connect_timeout + 2 * config.exchange_timeout + config.sign_timeout + config.upgrade_timeout
        )
        return max(waits) + config.ping_interval + config.ping_timeout + deadlines_s + 144.0

    def is_all_well(self) -> bool:
        """Whether every agent is online, in its own eyes and in the platform's."""
        return all(self._is_well(process) for process in self._sim.processes)

    def _is_well(self, process: AgentProcess) -> bool:
        return process.protocol.state.link is LinkState.UP and self._sim.platform.is_online(process.agent_id)

    def all_is_well_again(self) -> None:
        """Everybody had the time to come back."""
        for process in self._sim.processes:
            state = process.protocol.state
            detail = f"{process.agent_id} is {state.auth} and {state.link}"
            self.check("online again when all is well", self._is_well(process), detail)

    def every_command_was_answered_once(self) -> None:
        """Everything had the time to be done."""
        for command_id, times in self._sim.commands.items():
            self.check("every command answered once", times == 1, command_id, times)

    def all_have_stopped(self) -> None:
        """Every drain had its time."""
        for process in self._sim.processes:
            self.check("a drain ends in time", process.protocol.is_stopped, process.agent_id)
