"""Every invariant of a simulation can fail: each is shown what it forbids, and says so by its name."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
import pytest

from artcafe_proto import AgentProtocol, Instant
from artcafe_proto.effects import Connect, Disconnect, Sign, Write
from artcafe_proto.events import (
    AgentAuthenticated,
    AgentOnline,
    CommandAnswered,
    CommandCancelled,
    CommandDeferred,
    CommandReceived,
    CommandRefused,
    Event,
    MessageSettled,
    Offline,
    Online,
    RenewalStarted,
    RequestFailed,
    ResponseReplaced,
    ResponsesSettled,
    Stopped,
    TokenReceived,
    Undeliverable,
)
from artcafe_proto.limits import WRITE_AHEAD_BYTES
from artcafe_proto.messages import ResponseData
from artcafe_proto.testing import INVARIANTS, Fault, FaultKind, InvariantError, Simulation
from artcafe_proto.testing.agents import AgentProcess
from artcafe_proto.testing.circuits import Circuit
from artcafe_proto.testing.invariants.calls import Call, Listening
from artcafe_proto.testing.platforms import PlatformProcess
from artcafe_proto.testing.tenants import Account
from support.journal_lies import JOURNAL_LIES
from support.stored_lies import STORED_LIES

CONN: Final = 7
TOKEN: Final = "the.same.token"


class Show:
    """A world in which nothing has happened, and an agent of it to tell lies about."""

    def __init__(self) -> None:
        settings = {"heartbeat_interval": 7.0, "give_up_after": 400.0, "fixed_wait_growth": 2.0}
        self.sim = Simulation(1, faults=[], agent=settings, platform={"window": 16})
        self.agent = AgentProcess(
            self.sim, self.sim.processes[0].protocol.config, Random(1), connect=self.sim.network.connect
        )
        self.mono = self.agent.now.mono

    def says(self, *outputs: Any) -> None:
        """The agent says something."""
        for output in outputs:
            self.sim.invariants.agent_said(self.agent, output)

    def connects(self, conn: int = CONN) -> None:
        """The agent asks for a connection."""
        self.says(Connect(conn, "127.0.0.1", 80, False, self.mono + 10.0, "link"))

    def requests(self, path: str, conn: int = CONN) -> None:
        """The agent sends a request."""
        self.says(Write(conn, f"GET /api/v1/{path} HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()))

    def links(self) -> None:
        """The agent opens a link."""
        self.connects()
        self.requests("ws/agent/agent-1")
        self.reads(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        self.says(Online(CONN))

    def reads(self, data: bytes) -> None:
        """Bytes reach the agent."""
        self.sim.invariants.agent_was_sent(self.agent, CONN, data)

    def hears(self, opcode: int, payload: bytes) -> None:
        """A frame reaches the agent."""
        self.reads(server_frame(opcode, payload))

    def goes_on(self, seconds: float) -> None:
        """Time passes, and the agent does nothing about it."""
        self.sim.schedule.time += seconds
        self.sim.invariants.agent_at_rest(self.agent)

    def frame(self, opcode: int, payload: bytes = b"") -> None:
        """The agent sends a frame."""
        self.says(Write(CONN, bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload))

    def beats(self) -> None:
        """The agent sends a heartbeat."""
        self.frame(1, message("heartbeat"))

    def waits(self, seconds: float) -> None:
        """The agent will try again after a wait."""
        self.says(Offline("for no reason", "LINK-3", self.mono + seconds))

    def is_told(self, *commands: str) -> None:
        """Commands reach the agent."""
        for command_id in commands:
            self.hears(1, message("command", command_id, '{"timeout":5.0}'))

    def runs(self, command_id: str) -> None:
        """The agent executes a command."""
        self.says(CommandReceived(command_id, "work", msgspec.Raw(b"{}"), 0.0))

    def platform_links(self) -> Circuit:
        """The platform has the agent's link."""
        sim = self.sim
        circuit = Circuit(self.agent, sim.platform, schedule=sim.schedule, rng=Random(1), latency_s=0.0)
        circuit.server_conn = CONN
        sim.invariants.platform_linked(circuit, self.agent)
        return circuit

    def platform_sends(self, circuit: Circuit, *numbers: int) -> None:
        """The platform sends commands, by their places among those accepted."""
        for number in numbers:
            self.sim.tenant.accounts[f"cmd-{number}"] = Account("agent-1", number, (0, 0, None))
            self.sim.invariants.platform_wrote(circuit, server_frame(1, message("command", f"cmd-{number}")))

    def platform_says(self, *events: Event) -> None:
        """The platform reports something."""
        for event in events:
            self.sim.invariants.platform_said(event)


def message(kind: str, message_id: str = "m-1", data: str = "{}") -> bytes:
    return f'{{"type":"{kind}","id":"{message_id}","data":{data}}}'.encode()


def server_frame(opcode: int, payload: bytes) -> bytes:
    return bytes([0x80 | opcode, len(payload)]) + payload


def two_links(show: Show) -> None:
    show.connects()
    show.requests("ws/agent/agent-1")
    show.connects(CONN + 1)
    show.requests("ws/agent/agent-1", CONN + 1)


def another_request(show: Show) -> None:
    show.connects()
    show.requests("tenants")


def a_write_after_the_end(show: Show) -> None:
    show.connects()
    show.sim.invariants.agent_lost(show.agent, CONN)
    show.requests("auth/challenge")


def another_first_message(show: Show) -> None:
    show.links()
    show.frame(1, message("status"))


def a_second_heartbeat(show: Show) -> None:
    show.links()
    for _ in range(2):
        show.beats()


def a_heartbeat_that_does_not_come(show: Show) -> None:
    show.links()
    show.beats()
    show.goes_on(show.agent.protocol.config.heartbeat_interval + 0.01)


def silence_without_a_ping(show: Show) -> None:
    show.links()
    for _ in range(4):
        show.beats()
        show.goes_on(7.0)


def silence_without_an_end(show: Show) -> None:
    show.links()
    show.frame(9, b"1")
    for _ in range(18):
        show.beats()
        show.goes_on(7.0)


def an_end_without_silence(show: Show) -> None:
    show.links()
    show.hears(9, b"1")
    show.says(Offline("nothing came", "LINK-7", show.mono + 1.0))


def a_ping_without_a_pong(show: Show) -> None:
    show.links()
    show.agent.circuits[CONN] = Circuit(show.agent, show.agent, schedule=show.sim.schedule, rng=Random(1), latency_s=0)
    show.hears(9, b"1")
    show.goes_on(2.0)


def two_statuses(show: Show) -> None:
    show.links()
    show.beats()
    for status in ("busy", "online"):
        show.frame(1, message("status", data=f'{{"status":"{status}"}}'))


def a_frame_after_close(show: Show) -> None:
    show.links()
    show.frame(8)
    show.frame(9)


def a_token_after_its_rejection(show: Show) -> None:
    show.connects()
    show.requests("agents/agent-1")
    show.reads(b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    show.requests("agents/agent-1")


def a_secret_in_an_event(show: Show) -> None:
    show.says(Sign(1, "a secret challenge", 0.0), Offline("no a secret challenge", "AUTH-6", None))


def a_timer_that_stays(show: Show) -> None:
    show.sim.invariants.timer_handled(5.0, Instant(5.0, 0.0))


def a_command_twice(show: Show) -> None:
    show.links()
    show.is_told("cmd-1")
    for _ in range(2):
        show.runs("cmd-1")


def the_later_command_first(show: Show) -> None:
    show.links()
    show.is_told("cmd-1", "cmd-2")
    show.runs("cmd-2")


def a_command_after_its_answer(show: Show) -> None:
    show.links()
    show.is_told("cmd-1")
    show.says(CommandRefused("cmd-1", "draining", "the agent is about to stop", "CMD-8", "work", 1))
    show.runs("cmd-1")


def what_never_left_is_settled(show: Show) -> None:
    show.links()
    show.agent.watched.received.add("cmd-1")
    show.says(ResponsesSettled(("cmd-1",)))


def what_nobody_received_is_settled(show: Show) -> None:
    show.links()
    show.beats()
    show.sim.invariants.agent_sends(show.agent, "m-1", 1)
    show.frame(1, message("message", "m-1"))
    show.hears(10, b"1")
    show.says(MessageSettled("m-1"))


def a_timeout_too_early(show: Show) -> None:
    show.links()
    show.is_told("cmd-1")
    show.says(CommandCancelled("cmd-1", "timeout", "CMD-4"))


def the_later_message_first(show: Show) -> None:
    show.links()
    show.beats()
    for message_id in ("m-1", "m-2"):
        show.sim.invariants.agent_sends(show.agent, message_id, 1)
    for message_id in ("m-2", "m-1"):
        show.frame(1, message("message", message_id))


def a_message_without_a_place(show: Show) -> None:
    show.sim.invariants.message_was_refused(show.agent)


def a_stop_that_hides_something(show: Show) -> None:
    show.links()
    show.is_told("cmd-1")
    show.runs("cmd-1")
    show.says(Stopped(()))


def a_call_without_an_end(show: Show) -> None:
    show.sim.invariants.agent_calls(show.agent, 1)
    show.goes_on(61.0)


def an_early_attempt(show: Show) -> None:
    show.waits(1.0)
    show.connects()


def a_short_wait(show: Show) -> None:
    show.waits(0.4)


def a_wait_of_another_row(show: Show) -> None:
    show.links()
    show.hears(8, (4409).to_bytes(2, "big"))
    show.waits(1.0)


def a_stop_that_waits(show: Show) -> None:
    show.sim.invariants.agent_stops(show.agent, drain=True)


def giving_up_at_once(show: Show) -> None:
    show.says(Stopped((), gave_up=True))


def renewals_in_a_row(show: Show) -> None:
    show.says(TokenReceived(100.0, show.mono))
    for _ in range(2):
        show.says(RenewalStarted("for the test", "TOK-2"))


def a_renewal_too_early(show: Show) -> None:
    show.says(TokenReceived(100.0, show.mono + 80.0), RenewalStarted("for the test", "TOK-2"))


def a_token_for_nothing(show: Show) -> None:
    show.platform_says(AgentAuthenticated("agent-1", "key-1", "ssh-ed25519"))


def a_second_answer(show: Show) -> None:
    circuit = show.platform_links()
    show.platform_sends(circuit, 1)
    show.sim.invariants.platform_hears(circuit)
    for _ in range(2):
        show.platform_says(answered(1))


def answered(number: int, *, late: bool = False) -> CommandAnswered:
    return CommandAnswered("agent-1", f"cmd-{number}", ResponseData(f"cmd-{number}", "success"), late)


def a_late_answer_in_time(show: Show) -> None:
    circuit = show.platform_links()
    show.platform_sends(circuit, 1)
    show.platform_says(answered(1, late=True))


def more_than_the_window(show: Show) -> None:
    show.platform_sends(show.platform_links(), *range(1, 18))


def a_command_twice_on_a_link(show: Show) -> None:
    show.platform_sends(show.platform_links(), 1, 1)


def the_later_accepted_first(show: Show) -> None:
    circuit = show.platform_links()
    show.platform_sends(circuit, 2)
    show.sim.invariants.platform_hears(circuit)
    show.platform_says(CommandDeferred("agent-1", "cmd-2", "overloaded"))
    show.platform_sends(circuit, 1)


def a_command_that_starves(show: Show, expires_at: float = math.inf) -> None:
    circuit = show.platform_links()
    show.platform_sends(circuit, 1)
    show.sim.invariants.platform_hears(circuit)
    show.platform_says(CommandDeferred("agent-1", "cmd-1", "overloaded"))
    show.sim.tenant.accounts["cmd-1"].expires_at = expires_at
    for number in range(2, 50):
        show.sim.tenant.accounts[f"cmd-{number}"] = Account("agent-1", number, (0, 0, None))
    show.links()
    for number in range(2, 50):
        show.is_told(f"cmd-{number}")
        show.runs(f"cmd-{number}")


def two_onlines(show: Show) -> None:
    show.platform_says(AgentOnline("agent-1", 1), AgentOnline("agent-1", 2))


def a_command_without_answer(show: Show) -> None:
    show.sim.tenant.accounts["cmd-1"] = Account("agent-1", 1, (0, 0, None))
    show.sim.invariants.every_command_was_answered_once()


def an_outbox_without_end(show: Show) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(AgentProtocol, "outbox_size", 1_000_000)
        show.sim.invariants.agent_at_rest(show.agent)


def call(**more: Any) -> Call:
    return Call(method="GET", target="/api/v1/events", statuses=(200,), headers=[], **more)


def a_command(show: Show) -> Account:
    account = show.sim.tenant.accounts["cmd-1"] = Account("agent-1", 1, (0, 0, None))
    return account


def a_response_to_nobody(show: Show) -> None:
    show.sim.invariants.calls.is_expected(None, b"HTTP/1.1 200 OK")


def a_mistake_of_the_platform(show: Show) -> None:
    show.platform_says(RequestFailed("GET", ZeroDivisionError()))


def a_promise_for_nothing(show: Show) -> None:
    show.sim.invariants.calls.asked_for("cmd-1", "cmd-1", is_in_doubt=False)


def a_link_that_ends_for_a_slow_store(show: Show) -> None:
    circuit = show.platform_links()
    show.sim.schedule.time += 1.0
    show.sim.invariants.platform_wrote(circuit, server_frame(8, b"\x03\xf5the store is slow"))


def a_command_that_ends_later_than_it_does(show: Show) -> None:
    show.sim.invariants.calls.shown("cmd-1", a_command(show), "succeeded", was_over=False)


def a_poll_that_does_not_wait(show: Show) -> None:
    show.sim.invariants.calls.poll_ended("cmd-1", a_command(show), "queued", show.sim.time, 5.0)


def a_gap_that_is_not_told(show: Show) -> None:
    listening = Listening(call(last_event_id="run-1"), show.sim.time)
    show.sim.invariants.calls.came(listening, b"event: stream.open\nid: run-2\ndata: {}\n\n")


def an_event_that_is_missing(show: Show) -> None:
    listening = Listening(call(hears_all=True), show.sim.time)
    for name, number in (("stream.open", 1), ("agent.online", 2), ("agent.offline", 4)):
        show.sim.invariants.calls.came(listening, f"event: {name}\nid: run-{number}\ndata: {{}}\n\n".encode())


def a_silent_stream(show: Show) -> None:
    listening = Listening(call(), show.sim.time)
    show.sim.schedule.time += 17.0
    show.sim.invariants.calls.came(listening, b":\n\n")


def a_key_that_stays(show: Show) -> None:
    (key_id,) = show.sim.platform.key_ids("agent-1")
    show.sim.invariants.calls.revoked("agent-1", key_id)


LIES: Final[dict[str, Callable[[Show], None]]] = {
    "one link, up or opening": two_links,
    "nothing but authentication goes out before the link": another_request,
    "nothing goes out on a connection that is over": a_write_after_the_end,
    "a link begins with a heartbeat": another_first_message,
    "one heartbeat for each point of the grid": a_second_heartbeat,
    "heartbeats are no further apart than their interval": a_heartbeat_that_does_not_come,
    "nothing follows a close frame": a_frame_after_close,
    "silence is answered with a ping": silence_without_a_ping,
    "silence after a ping ends a link": silence_without_an_end,
    "only silence ends a link as silent": an_end_without_silence,
    "a ping is answered with one pong": a_ping_without_a_pong,
    "a status of its kind goes out once a second": two_statuses,
    "a rejected token is never sent again": a_token_after_its_rejection,
    "no secret in any output": a_secret_in_an_event,
    "a handled timer is not due any more": a_timer_that_stays,
    "no attempt before its time": an_early_attempt,
    "waits are within their bounds": a_short_wait,
    "each failure waits as its row says": a_wait_of_another_row,
    "a stop cuts a wait short": a_stop_that_waits,
    "an agent gives up after so long without a link": giving_up_at_once,
    "renewals keep their distance": renewals_in_a_row,
    "a token is renewed in its time": a_renewal_too_early,
    "no command is executed twice in one life": a_command_twice,
    "commands start in the order in which they came": the_later_command_first,
    "a timeout is answered in its time": a_timeout_too_early,
    "responses and messages go out in order": the_later_message_first,
    "no command starts after its answer": a_command_after_its_answer,
    "what is settled has left on its link": what_never_left_is_settled,
    "what is settled was received": what_nobody_received_is_settled,
    "a message is refused only for want of a place": a_message_without_a_place,
    "who stops tells what the platform lacks": a_stop_that_hides_something,
    "a drain ends in time": lambda show: show.sim.invariants.all_have_stopped(),
    "a call ends once, and in its time": a_call_without_an_end,
    "containers keep to their limits": an_outbox_without_end,
    "a challenge yields at most one token": a_token_for_nothing,
    "one final response for each command": a_second_answer,
    "an answer after the expiry is late": a_late_answer_in_time,
    "no more than the window is unanswered": more_than_the_window,
    "a command goes out once on a connection": a_command_twice_on_a_link,
    "commands first go out in the order of acceptance": the_later_accepted_first,
    "no command waits while later ones are served": a_command_that_starves,
    "a link that waits for no store stays": a_link_that_ends_for_a_slow_store,
    "AgentOnline and AgentOffline alternate, and epochs rise": two_onlines,
    "every request gets one response, or its connection ends": a_response_to_nobody,
    "a response has a status of its operation": a_mistake_of_the_platform,
    "a command is known once it is accepted": a_promise_for_nothing,
    "a command is shown as it is": a_command_that_ends_later_than_it_does,
    "a key that was revoked over HTTP is gone": a_key_that_stays,
    "a poll ends with its command or its wait": a_poll_that_does_not_wait,
    "an event stream begins with what was missed": a_gap_that_is_not_told,
    "the ids of an event stream rise one by one": an_event_that_is_missing,
    "silence on an event stream is broken": a_silent_stream,
    "online again when all is well": lambda show: show.sim.invariants.all_is_well_again(),
    "every command answered once": a_command_without_answer,
}


@pytest.mark.parametrize("name", INVARIANTS)
def test_an_invariant_is_broken_by_what_it_forbids(name: str) -> None:
    with pytest.raises(InvariantError) as broken:
        lie_about(name)
    assert broken.value.name == name
    assert str(broken.value).splitlines()[0].startswith(f"{name} [{INVARIANTS[name]}]: ")


def lie_about(name: str) -> None:
    if name in STORED_LIES:
        STORED_LIES[name]()
    elif name in JOURNAL_LIES:
        JOURNAL_LIES[name][0]()
    else:
        LIES[name](Show())


@pytest.mark.parametrize(("name", "lie"), [(name, lie) for name, lies in JOURNAL_LIES.items() for lie in lies[1:]])
def test_an_invariant_of_a_journal_is_broken_in_other_ways_too(name: str, lie: Callable[[], None]) -> None:
    with pytest.raises(InvariantError) as broken:
        lie()
    assert broken.value.name == name


@pytest.mark.parametrize(
    ("state", "was_over", "asked_before_s", "name"),
    [
        ("", False, 0.0, "a command is known once it is accepted"),
        ("queued", True, 0.0, "a command is shown as it is"),
        ("queued", False, 8.0, "a poll ends with its command or its wait"),
        ("failed", False, 8.0, "a poll ends with its command or its wait"),
    ],
)
def test_a_command_that_is_shown_too_late_or_otherwise_than_it_is_is_found_out(
    state: str, was_over: bool, asked_before_s: float, name: str
) -> None:
    show = Show()
    show.sim.schedule.time += 10.0
    account, asked_at = a_command(show), show.sim.time - asked_before_s
    if state == "failed":
        account.answers, account.over_at = 1, asked_at + 1.0

    def is_shown() -> None:
        show.sim.invariants.calls.shown("cmd-1", account, state, was_over=was_over)
        show.sim.invariants.calls.poll_ended("cmd-1", account, state, asked_at, 5.0)

    with pytest.raises(InvariantError) as broken:
        is_shown()
    assert broken.value.name == name


@pytest.mark.parametrize(
    "data",
    [
        b"nothing of HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxxx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n",
    ],
)
def test_what_is_no_response_is_found_out(data: bytes) -> None:
    sim = Simulation(1, faults=[], calls_gap_s=1.0)
    caller = sim.callers[0]
    caller.call = call()
    circuit = Circuit(caller, sim.platform, schedule=sim.schedule, rng=Random(1), latency_s=0.0)
    with pytest.raises(InvariantError, match="every request gets one response"):
        caller.data_arrived(circuit, data)


def test_a_request_without_a_response_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(circuit: Circuit, data: bytes) -> None:
        pass

    sim = Simulation(1, faults=[], calls_gap_s=1.0)
    monkeypatch.setattr(sim.platform, "data_arrived", lose)
    sim.run_for(30.0)
    waiting = next(caller for caller in sim.callers if caller.is_waiting)
    with pytest.raises(InvariantError, match="every request gets one response"):
        sim.invariants.calls.ended(waiting.call, waiting.listening)


def test_what_is_told_to_be_undeliverable_need_not_be_told_by_who_stops() -> None:
    show = Show()
    show.links()
    show.is_told("cmd-1")
    show.runs("cmd-1")
    show.sim.invariants.agent_answers(show.agent, "cmd-1")
    show.sim.invariants.agent_sends(show.agent, "m-1", 1)
    show.says(
        ResponseReplaced("cmd-1", "undeliverable", "", "CMD-11"), ResponseReplaced("cmd-1", "result_too_large", "", "")
    )
    show.says(Undeliverable("r-1", "cmd-1", "CMD-11"), Undeliverable("m-1", None, "CMD-11"), Stopped(()))


def test_what_was_written_before_its_replacement_keeps_its_place() -> None:
    show = Show()
    show.links()
    show.beats()
    show.is_told("cmd-1")
    show.runs("cmd-1")
    show.sim.invariants.agent_answers(show.agent, "cmd-1")
    show.sim.invariants.agent_sends(show.agent, "m-2", 1)
    show.says(ResponseReplaced("cmd-1", "undeliverable", "", "CMD-11"))
    show.waits(1.0)  # the link has ended with what it was sent
    show.frame(1, message("response", "r-1", '{"command_id":"cmd-1"}'))
    show.frame(1, message("message", "m-2"))
    with pytest.raises(InvariantError, match="responses and messages go out in order"):
        show.frame(1, message("response", "r-1", '{"command_id":"cmd-1"}'))


def test_what_rounding_leaves_of_no_wait_is_no_wait() -> None:
    show = Show()
    show.connects()
    show.waits(2e-13)
    with pytest.raises(InvariantError, match="waits are within their bounds"):
        show.waits(0.1)


def test_after_ten_minutes_on_one_link_the_waits_of_4409_start_over() -> None:
    show = Show()
    for seconds, code, wait_s in ((0.0, 4409, 10.0), (0.0, 4409, 20.0), (601.0, 1000, 1.0), (0.0, 4409, 10.0)):
        show.links()
        show.sim.schedule.time += seconds
        show.hears(8, code.to_bytes(2, "big"))
        show.mono = show.agent.mono
        show.waits(wait_s)
        show.says(Disconnect(CONN, abort=True))
        show.goes_on(wait_s)


def test_a_platform_that_looks_at_silence_late_has_another_time_and_not_for_ever() -> None:
    show = Show()
    circuit, sim = show.platform_links(), show.sim
    for seconds in (20.0, 71.0):
        sim.schedule.time += seconds
        sim.platform.be_late(sim.time)
        sim.invariants.platform_wrote(circuit, server_frame(9, b"1"))
        sim.invariants.platform_handled_timers(sim.platform)
    sim.schedule.time += 119.0
    sim.invariants.platform_handled_timers(sim.platform)
    sim.schedule.time += 2.0
    with pytest.raises(InvariantError, match="silence is answered with a ping"):
        sim.invariants.platform_handled_timers(sim.platform)


def test_what_comes_for_a_connection_that_is_over_says_nothing() -> None:
    show = Show()
    show.reads(b"late")
    assert show.agent.watched.reading is None


def test_commands_of_somebody_else_than_the_tenant_are_in_nobodys_account() -> None:
    show = Show()
    circuit = show.platform_links()
    show.sim.invariants.platform_wrote(circuit, server_frame(1, message("command", "cmd-1")))
    show.sim.invariants.platform_hears(circuit)
    show.platform_says(answered(1))


def test_a_message_that_is_refused_too_early_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.outbox.MAX_UNSETTLED_MESSAGES", 1)
    with pytest.raises(InvariantError, match="a message is refused only for want of a place"):
        Simulation(1, seconds=300.0, says_gap_s=1.0).run()


def test_an_agent_that_does_not_try_again_waits_for_nothing() -> None:
    show = Show()
    show.says(Offline("it drains", "LINK-10", None))
    show.connects()


def test_an_agent_whose_key_stays_revoked_is_not_well(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(platform: PlatformProcess, agent_id: str) -> None:
        pass

    monkeypatch.setattr(PlatformProcess, "restore_key", never)
    sim = Simulation(1, faults=[Fault(10.0, FaultKind.KEY_REVOKED, 0, 5.0)], seconds=60.0)
    with pytest.raises(InvariantError, match="online again when all is well"):
        sim.run()


def test_a_command_that_is_past_its_expiry_waits_for_nothing_however_late_the_platforms_timer_is() -> None:
    show = Show()
    a_command_that_starves(show, expires_at=show.sim.platform.mono)
    sim = Simulation(1, faults=[], seconds=1.0)
    command_id = sim.tenant.send("agent-1", expires_in_s=8.0)
    assert command_id is not None
    assert sim.tenant.accounts[command_id].expires_at == pytest.approx(sim.platform.mono + 8.0)


def test_a_platform_owes_no_pong_until_it_is_told_that_its_full_transport_has_room_again() -> None:
    show = Show()
    circuit = show.platform_links()
    invariants, platform = show.sim.invariants, show.sim.platform
    invariants.platform_was_told_unsent(circuit, WRITE_AHEAD_BYTES)
    invariants.platform_was_sent(circuit, bytes([0x89, 0x81, 0, 0, 0, 0]) + b"1")
    show.sim.schedule.time += 4.0
    invariants.platform_handled_timers(platform)
    show.sim.schedule.time += 4.0
    invariants.platform_was_told_unsent(circuit, 0)
    invariants.platform_handled_timers(platform)
    show.sim.schedule.time += 2.0
    with pytest.raises(InvariantError, match="a ping is answered with one pong"):
        invariants.platform_handled_timers(platform)
