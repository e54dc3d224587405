"""The failure matrix: every step of an agent's way, times everything that can go wrong there.

What is expected of a cell stands in `failure_clauses`; what the agent makes of it is read from its outputs here. In a
cell the same failure strikes up to three times in a row. Each time the wait, the clause, the last words and the next
attempt are compared. Then the platform behaves: the agent is online again, and a pending command is answered once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from artcafe_proto.effects import (
    AgentMachineEffect,
    Connect,
    Disconnect,
    SendPing,
    SendRequest,
    SendUpgrade,
    Sign,
    Write,
)
from artcafe_proto.events import (
    AgentEvent,
    CallAnswered,
    CommandCancelled,
    CommandReceived,
    Offline,
    Online,
    PeerViolation,
    RenewalFailed,
    Stopped,
)
from support.failure_clauses import (
    CELLS,
    LINKS,
    POSSIBLE,
    RENEWAL_OF,
    REPLACED,
    RULES,
    STEPS,
    expectation,
    of_link,
    reasons,
    row_and_column,
    rules,
)
from support.played import Asked, Bench, Peer, Step
from support.scripted import Scripted, answer, token
from support.strikes import FAILURES, LONG_RETRY_AFTER, strike

if TYPE_CHECKING:
    from collections.abc import Callable

POSSIBLE_CELLS: Final = 370
IMPOSSIBLE_CELLS: Final = 380
STEADY_S: Final = 45.0
STOP_AT_S: Final = 45.0
DRAIN_S: Final = 30.0  # CMD-8
FAREWELL_S: Final = 5.0 + 5.0  # CMD-8: flush and settle; LINK-8: close
RENEWALS_APART_S: Final = 10.0  # TOK-2
SHORT_LIFE_S: Final = 8.0
COMMAND: Final = "cmd-1"


class Struck:
    """Marks in the log that a failure struck, and where."""

    def __init__(self, conn: int) -> None:
        self.conn = conn


class Cell:
    """One cell, played."""

    def __init__(self, step: str, failure: str, jitter: float) -> None:
        self.step = step
        self.base = RENEWAL_OF.get(step, step)
        self.failure = failure
        self.jitter = jitter
        self.outcome = expectation(step, failure)
        self.bench = Bench(jitter=jitter, seed=hash_of(step, failure), tls=self.base == "TLS")
        self.times = 1 if self.outcome.row is None or failure in LONG_RETRY_AFTER else 3
        self.struck = 0
        self.stop_at: float | None = None
        bench = self.bench
        bench.token_life_s = {"token expired on receipt": -60.0, "token expires between": SHORT_LIFE_S}.get(
            failure, 600.0
        )
        if self.base in LINKS and failure in ("token expires between", "token expired on receipt"):
            bench.arm("connect", refuse, renewal=True)
        if self.step != "closing":
            bench.owed[COMMAND] = {"command": "work", "timeout": 86_400}
        bench.on_online = self.online
        bench.on_command = self.command_received
        point = self.point
        if point is not None and self.step != "drain try":
            bench.arm(point, self.strike, renewal=self.step in RENEWAL_OF)

    @property
    def point(self) -> Step | None:
        """Where the platform's part is played by the failure; None where it strikes a link at some time."""
        match self.base:
            case "connect" | "TLS":
                return "connect"
            case "drain try":
                return "connect" if self.failure == "refused" else "upgrade"
            case "challenge" | "sign" | "verify" | "upgrade" | "first frame" | "closing" as step:
                return step
            case _:
                return None

    @property
    def is_running_meanwhile(self) -> bool:
        """Whether the command runs while the failures strike; otherwise the platform has it still."""
        return self.base in ("steady", "drain", "drain try") or self.step in RENEWAL_OF

    @property
    def is_steady(self) -> bool:
        """Whether each link that is struck has proved stable (LINK-5): it is, or it has lived until its new token is
        to be renewed.
        """
        return self.step == "steady" or (of_link(self.step, self.failure) and self.outcome.then == "challenge")

    @property
    def is_beside_link(self) -> bool:
        """Whether only a renewal fails, and the link is as it was (TOK-2)."""
        return self.step in RENEWAL_OF and not of_link(self.step, self.failure)

    @property
    def report_kind(self) -> type[Offline] | type[RenewalFailed]:
        """The event that tells of the failure."""
        return RenewalFailed if self.is_beside_link else Offline

    @property
    def stops_by(self) -> float:
        """When a drain is over, whatever happens."""
        return float("inf") if self.stop_at is None else self.stop_at + DRAIN_S

    # --- playing ------------------------------------------------------------------------------------------------------

    def strike(self, peer: Peer) -> None:
        """The failure strikes `peer`, or the link."""
        self.struck += 1
        if self.struck == self.times and self.point is not None:
            self.bench.disarm(self.point, renewal=self.step in RENEWAL_OF)
        link = self.bench.link
        struck = (
            link
            if link is not None and (self.base in (*LINKS, "closing") or of_link(self.step, self.failure))
            else peer
        )
        self.bench.log.append((self.bench.mono, Struck(struck.conn)))
        strike(self.step, self.failure, peer)

    def online(self, link: Peer) -> None:
        """Plan what is to happen on this link."""
        bench = self.bench
        if self.struck == self.times:
            return
        is_first = len(bench.seen(Online)) == 1
        if self.step == "steady":
            bench.at(STEADY_S, lambda: self.strike(link))
        elif self.step == "drain":
            if is_first:
                bench.at(STOP_AT_S, self.stop)
            bench.at(STOP_AT_S + 1.0 if is_first else 1.0, lambda: self.strike(link))
        elif self.step == "drain try" and is_first:
            bench.at(STOP_AT_S, lambda: link.close(4409))  # whose wait and whose row is its own
            bench.at(STOP_AT_S + 2.0, self.stop)
        elif self.step == "closing":
            bench.at(STOP_AT_S, self.stop)

    def stop(self) -> None:
        """A drain begins."""
        if self.step == "drain try":
            assert self.point is not None
            self.bench.arm(self.point, self.strike)
        self.stop_at = self.bench.mono
        self.bench.agent.stop(self.bench.now)

    def command_received(self, event: CommandReceived) -> None:
        """The application takes its time only where the cell wants that."""
        if not self.is_running_meanwhile:
            self.bench.at(0.0, self.respond)

    def respond(self) -> None:
        """The command is done."""
        assert self.bench.respond(COMMAND, {"done": True})

    def run_to_attempt(self, retry_at: float) -> None:
        """Let time pass until the attempt that was announced begins."""
        bench = self.bench
        bench.run_until(lambda: bench.mono >= retry_at - 1e-6 and bench.times(Connect)[-1] >= retry_at - 1e-6)

    def run_to(self, kind: type[object], times: int) -> None:
        """Let time pass until so many of a kind are in the log, or the agent has stopped."""
        self.bench.run_until(lambda: len(self.bench.seen(kind)) >= times or self.bench.agent.is_stopped)

    # --- comparing ----------------------------------------------------------------------------------------------------

    def after(self, index: int) -> list[tuple[float, object]]:
        """The log behind the mark of a strike."""
        marks = [place for place, (_, entry) in enumerate(self.bench.log) if isinstance(entry, Struck)]
        return self.bench.log[marks[index] :]

    @property
    def reports_before(self) -> int:
        """How many failures were reported before the first strike."""
        (first, *_) = (place for place, (_, entry) in enumerate(self.bench.log) if isinstance(entry, Struck))
        return sum(isinstance(entry, self.report_kind) for _, entry in self.bench.log[:first])

    def check_report(self, index: int, times_before: int) -> float:
        """Compare what is reported of a strike: when, by which clause, with which wait; returns when it goes on."""
        outcome, log = self.outcome, self.after(index)
        assert outcome.row is not None
        when, report = next((when, entry) for when, entry in log if isinstance(entry, self.report_kind))
        assert when == pytest.approx(log[0][0] + outcome.after_s), "found out in time"
        assert report.clause.startswith(outcome.clause), report
        assert report.retry_at is not None
        low, high = outcome.row.bounds(times_before, self.jitter)
        if outcome.first_at_once == "reported" and index == 0:
            low = high = 0.0
        least_s = max(outcome.retry_after_s, RENEWALS_APART_S if self.is_beside_link else 0.0)
        assert max(low, least_s) - 1e-6 <= report.retry_at - when <= max(high, least_s) + 1e-6, report
        return report.retry_at

    def check_next_attempt(self, index: int, retry_at: float) -> None:
        """Nothing before `retry_at`; then a new connection, and on it the right request."""
        log = self.after(index)
        struck = log[0][1]
        assert isinstance(struck, Struck)
        reported = next(place for place, (_, entry) in enumerate(log) if isinstance(entry, self.report_kind))
        later = log[reported:]
        when, connect = next((when, entry) for when, entry in later if isinstance(entry, Connect))
        assert when == pytest.approx(retry_at)
        assert connect.conn != struck.conn
        silence = (later[0][0] + 1e-6, retry_at - 1e-6)
        written = {entry.conn for when, entry in later if isinstance(entry, Write) and silence[0] < when < silence[1]}
        assert written <= ({link.conn} if self.is_beside_link and (link := self.bench.link) else set())
        asked = next((entry for _, entry in later if isinstance(entry, Asked) and entry.conn == connect.conn), None)
        if asked is not None:  # it may not have come to a request
            assert asked.step == self.outcome.then

    def check_goodbye(self, index: int) -> None:
        """The last words on the connection that was struck, and that it is closed."""
        struck = self.after(index)[0][1]
        assert isinstance(struck, Struck)
        peer = self.bench.peers[struck.conn]
        assert not peer.is_open
        assert peer.goodbyes == ([] if self.outcome.goodbye is None else [self.outcome.goodbye])
        for disconnect in self.bench.seen(Disconnect):
            if disconnect.conn == struck.conn:
                assert disconnect.abort == (self.outcome.goodbye is None)

    def finish(self) -> None:
        """The platform behaves: online again, and what was pending is answered once."""
        bench = self.bench
        bench.token_life_s = 900.0
        bench.disarm("connect", renewal=True)
        bench.run_until(lambda: bench.link is not None and not bench.link.is_mute)
        assert bench.link is not None
        if self.is_running_meanwhile:
            self.respond()
        elif not bench.seen(CommandReceived):
            bench.greet(bench.link)
        bench.run_until(lambda: bench.texts("response") and bench.agent.outbox_size == 0, limit_s=60.0)
        self.check_answered_once()
        bench.run_for(100.0)
        assert bench.link is not None

    def check_answered_once(self) -> None:
        """A command was pending all the time: one result, told again if a link took its settling away."""
        response = {"command_id": COMMAND, "status": "success", "result": {"done": True}}
        told = self.bench.texts("response")
        assert told in ([response], [response] * 2)
        assert len(self.bench.seen(CommandReceived)) == 1, "CMD-1"

    def finish_drain(self) -> None:
        """The platform behaves while there is time: what runs is answered, then STAT-3; else CMD-8."""
        bench = self.bench
        bench.run_until(lambda: bench.link is not None or bench.agent.is_stopped)
        if bench.agent.is_stopped:
            self.check_out_of_time()
            return
        link = bench.link
        assert link is not None
        if link.is_mute:
            bench.run_until(lambda: bench.agent.is_stopped)
            self.check_out_of_time()
            return
        self.respond()
        bench.run_until(lambda: bench.agent.is_stopped)
        assert [event.unsettled for event in bench.seen(Stopped)] == [()]
        assert bench.texts("status")[-1]["status"] == "offline"
        assert link.goodbyes == [1000]
        self.check_answered_once()

    def check_out_of_time(self) -> None:
        """CMD-8: a drain is over when its time is; what runs is cancelled, and told if anybody listens."""
        bench = self.bench
        assert self.stops_by - 1e-6 <= bench.mono <= self.stops_by + FAREWELL_S + 1e-6
        assert [event.code for event in bench.seen(CommandCancelled)] == ["cancelled"]
        (stopped,) = bench.seen(Stopped)
        told = bench.texts("response")
        if stopped.unsettled:
            assert stopped.unsettled == (COMMAND,)
        else:
            assert [response["code"] for response in told] == ["cancelled"]


def hash_of(*texts: str) -> int:
    """A seed that is the same in every run."""
    return sum(ord(character) * (place + 1) for place, character in enumerate("/".join(texts)))


def refuse(peer: Peer) -> None:
    """Nobody listens."""
    peer.is_open = False
    peer.bench.agent.connect_failed(peer.conn, "refused", "nobody listens", peer.bench.now)


def test_every_cell_has_one_rule_or_one_reason_and_none_has_vanished() -> None:
    for cell in CELLS:
        found = [*rules(*row_and_column(*cell)), *reasons(*row_and_column(*cell))]
        assert len(found) == 1, (cell, found)
    assert len(POSSIBLE) == POSSIBLE_CELLS
    assert len(CELLS) == len(STEPS) * len(FAILURES) == POSSIBLE_CELLS + IMPOSSIBLE_CELLS
    for steps, failures, _ in RULES:
        assert set(steps) <= set(STEPS)
        assert set(failures) <= set(FAILURES)


def play_costly(cell: Cell) -> None:
    """Let the failure strike, time after time, and compare what follows; leaves when time or the drain is over."""
    outcome, bench = cell.outcome, cell.bench
    reports = counted = 0
    for index in range(cell.times):
        cell.run_to(Struck, index + 1)
        if index == 0:
            reports = cell.reports_before  # of the way to where it strikes
        is_last = index + 1 == cell.times
        if is_last:
            bench.token_life_s = 900.0
        if outcome.first_at_once == "unreported" and index == 0:
            continue
        reports += 1
        cell.run_to(cell.report_kind, reports)
        if bench.agent.is_stopped:
            return
        retry_at = cell.check_report(index, counted)
        cell.check_goodbye(index)
        if retry_at >= cell.stops_by:
            return
        cell.run_to_attempt(retry_at)
        cell.check_next_attempt(index, retry_at)
        at_once = outcome.first_at_once == "reported" and index == 0
        proved_stable = cell.is_steady and outcome.row is not REPLACED
        counted += not at_once and not proved_stable


def play_free(cell: Cell) -> None:
    """Let the failure strike: it costs nothing, but for the time until it is found out."""
    bench = cell.bench
    cell.run_to(Struck, 1)
    struck_at = cell.after(0)[0][0]
    if cell.step == "closing":
        bench.run_until(lambda: bench.agent.is_stopped)
        assert bench.mono == pytest.approx(struck_at + cell.outcome.after_s)
        return
    if cell.outcome.then:
        bench.run_until(lambda: any(isinstance(entry, Asked) for _, entry in cell.after(0)))
        (asked, *_) = (entry for _, entry in cell.after(0) if isinstance(entry, Asked))
        assert asked.step == cell.outcome.then
        assert bench.mono == pytest.approx(struck_at)
    assert not bench.seen(cell.report_kind)
    if cell.outcome.clause == "MSG-1":
        bench.run_until(lambda: bench.seen(PeerViolation))
        assert {event.clause for event in bench.seen(PeerViolation)} == {"MSG-1"}


@pytest.mark.parametrize("jitter", [0.0, 1.0])
@pytest.mark.parametrize(("step", "failure"), POSSIBLE)
def test_a_failure_costs_what_its_clause_says_and_all_is_well_after_it(step: str, failure: str, jitter: float) -> None:
    cell = Cell(step, failure, jitter)
    cell.bench.start()
    if cell.outcome.row is None:
        play_free(cell)
    else:
        play_costly(cell)
    if cell.base == "closing":
        assert cell.bench.seen(Stopped) == [Stopped(())]
    elif cell.base in ("drain", "drain try"):
        cell.finish_drain()
    else:
        cell.finish()
    cell.bench.audit()


# --- a platform that has forgotten the agent --------------------------------------------------------------------------


class Forgetful(Scripted):
    """A platform that at some moment knows nothing any more, as one in memory that was started anew: it refuses every
    token that it gave until then (401), and with `rotated` the agent's first key too.
    """

    def __init__(self, *, rotated: bool) -> None:
        super().__init__(next_key=rotated)
        self.rotated = rotated
        self.good: set[str] = set()
        self.refused: list[str] = []
        self.asked: list[str] = []
        """The last part of every request's target since it has forgotten."""
        self.has_forgotten = False
        self.key = 0

    def forget(self) -> None:
        self.drain()
        self.good.clear()
        self.has_forgotten = True
        self.unseen.clear()

    def comply(self, output: AgentMachineEffect | AgentEvent) -> None:
        if isinstance(output, Sign):
            self.key = output.key
        if not isinstance(output, SendRequest | SendUpgrade):
            super().comply(output)
            return
        request = output.request
        self.asked += [request.target.rpartition("/")[2]] * self.has_forgotten
        bearer = (request.header("authorization") or "").removeprefix("Bearer ")
        if request.target.endswith("verify"):
            if self.rotated and self.has_forgotten and self.key == 0:
                self.answer(output, answer(401, {"detail": "no such key"}))
                return
            self._token = token(exp=self.wall + 900 + len(self.refused), iat=self.wall)
            self.good.add(self._token)
            super().comply(output)
        elif request.target.endswith("challenge") or bearer in self.good:
            if isinstance(output, SendUpgrade) or request.target.endswith("challenge"):
                super().comply(output)
            else:
                self.answer(output, answer(200, {"agent_id": "agent-1"}))
        else:
            self.refused.append(bearer)
            self.answer(output, answer(401, {"detail": "who are you?"}))

    def run_until(self, kind: type[object]) -> None:
        """Let the agent go on until this is said."""
        self._reach(kind)


def lose_the_link(script: Forgetful, conn: int) -> None:
    script.machine.disconnected(conn, "the platform was started anew", script.now)


def be_closed(script: Forgetful, conn: int) -> None:
    script.machine.close_received(conn, 4401, "", script.now)


def ask(script: Forgetful, conn: int) -> None:
    script.machine.get_details(script.now)


def tell(script: Forgetful, conn: int) -> None:
    script.machine.put_status("busy", script.now)


def ask_while_it_waits(script: Forgetful, conn: int) -> None:
    lose_the_link(script, conn)
    script.machine.get_details(script.now)


def renew_in_vain(script: Forgetful, conn: int) -> None:
    """The renewal is refused while the old token has minutes left, and then the link is lost."""
    while not (connects := [output for output in script.unseen if isinstance(output, Connect)]):
        due = script.machine.deadline()
        assert due is not None
        script.wait(due - script.mono)
        for output in [output for output in script.said if isinstance(output, SendPing)][-1:]:
            script.machine.bytes_received(conn, script.now)
            script.machine.pong_received(conn, output.payload, script.now)
        script.drain()
    script.unseen.clear()
    script.machine.connected(connects[0].conn, script.now, tls=False)
    script.answer(script.expect(SendRequest), answer(404, {"detail": "no such agent"}))
    script.expect(RenewalFailed)
    lose_the_link(script, conn)


PATHS: Final = (lose_the_link, be_closed, ask, tell, ask_while_it_waits, renew_in_vain)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.__name__)
def test_tok_3_a_platform_that_has_forgotten_the_agent_is_asked_for_a_challenge(
    path: Callable[[Forgetful, int], None], rotated: bool
) -> None:
    script = Forgetful(rotated=rotated)
    conn = script.up()
    before = script.mono
    script.forget()
    path(script, conn)
    waited_s = script.mono - before if path is renew_in_vain else 0.0
    script.run_until(CallAnswered if path in (ask, tell, ask_while_it_waits) else Online)
    assert len(script.refused) == (0 if path is be_closed else 1), "no token is tried again that was refused"
    challenged = script.asked.index("challenge")
    assert challenged == len(script.refused), "it starts over at once"
    assert script.asked[challenged + 1] == "verify"
    assert script.mono - before - waited_s < 30.0, "the token that is left is not waited for"
    assert (script.key == 1) is rotated
