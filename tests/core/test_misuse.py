"""What callers hand in wrongly is a LocalProtocolError and changes nothing; what clocks say never raises."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from inspect import signature
from itertools import count
from random import Random
from typing import Any

import pytest

from artcafe_proto import (
    AgentProtocol,
    ApiError,
    HttpRequest,
    HttpResponse,
    Instant,
    LocalProtocolError,
    PlatformConfig,
    PlatformHub,
    PlatformProtocol,
    PlatformSession,
    RemoteProtocolError,
)
from artcafe_proto.agent.states import AuthState, LinkState
from artcafe_proto.effects import SendClose, Sign, Write
from artcafe_proto.events import ClocksParted, CommandReceived, RenewalStarted, TokenReceived
from artcafe_proto.platform.registry import Registry
from support.platform_stage import Stage
from support.played import frame
from support.scripted import Scripted
from support.snapshots import snapshot
from support.virtual import AGENT, TENANT, Pair, new_hub, session_of, signing_key

INF, NAN = math.inf, math.nan
NO_MOMENTS: list[Any] = [
    None,
    1.0,
    (1.0, 2.0),
    Instant("1", 2.0),  # type: ignore[arg-type]
    Instant(1e9, None),  # type: ignore[arg-type]
    Instant(Decimal(10**9), 2.0),  # type: ignore[arg-type]
    Instant(10**400, 2.0),
    Instant(1.7e9, 1e5),  # time of day where monotonic time is expected
]
ODD_FRAME = RemoteProtocolError(1002, "nonsense", "RFC 6455")
ODD_WALLS = [NAN, INF, -INF, 1e300, 253_402_300_799.9999, -1.0, -1e18]
ODD_MONOS = [NAN, INF, -INF, 1e300, 2.0**46, -1e300, 0.0]
OF_AGENT: dict[str, Callable[[AgentProtocol, int, Any], object]] = {
    "connected": lambda agent, conn, now: agent.connected(conn, now, tls=False),
    "connect_failed": lambda agent, conn, now: agent.connect_failed(conn, "dns", "", now),
    "data_received": lambda agent, conn, now: agent.data_received(conn, b"\x8a\0", now),
    "eof_received": lambda agent, conn, now: agent.eof_received(conn, now),
    "disconnected": lambda agent, conn, now: agent.disconnected(conn, "", now),
    "unsent": lambda agent, conn, now: agent.unsent(conn, 0, now),
    "signed": lambda agent, conn, now: agent.signed(99, b"", now),
    "sign_failed": lambda agent, conn, now: agent.sign_failed(99, "", now),
    "handle_timer": lambda agent, conn, now: agent.handle_timer(now),
    "respond": lambda agent, conn, now: agent.respond("cmd-1", {}, now),
    "respond to nothing": lambda agent, conn, now: agent.respond("cmd-9", {}, now),
    "fail": lambda agent, conn, now: agent.fail("cmd-1", "handler_error", "", now),
    "progress": lambda agent, conn, now: agent.progress("cmd-1", 1, now),
    "set_status": lambda agent, conn, now: agent.set_status("error", now),
    "send_message": lambda agent, conn, now: agent.send_message({}, now),
    "get_details": lambda agent, conn, now: agent.get_details(now),
    "put_status": lambda agent, conn, now: agent.put_status("busy", now),
    "cancel_call": lambda agent, conn, now: agent.cancel_call(99, now),
    "stop": lambda agent, conn, now: agent.stop(now),
}
CONNS = count(99)
OF_PLATFORM: dict[str, Callable[[PlatformHub, PlatformProtocol, Any], object]] = {
    "accept": lambda hub, session, now: PlatformProtocol(hub, conn=next(CONNS), now=now),
    "data_received": lambda hub, session, now: session.data_received(b"\x8a\x80\0\0\0\0", now),
    "eof_received": lambda hub, session, now: session.eof_received(now),
    "ping_received": lambda hub, session, now: session_of(session).ping_received(b"", now),
    "unsent": lambda hub, session, now: session.unsent(0, now),
    "disconnected": lambda hub, session, now: session.disconnected("", now),
    "drop": lambda hub, session, now: session.drop("", now),
    "turn_away": lambda hub, session, now: session.turn_away(now),
    "respond": lambda hub, session, now: session.respond(1, HttpResponse(status=200), now),
    "send_body": lambda hub, session, now: session.send_body(1, b"", now),
    "close": lambda hub, session, now: session.close(1001, "", now),
    "close_received": lambda hub, session, now: session_of(session).close_received(1000, "", now),
    "peer_ended": lambda hub, session, now: session_of(session).peer_ended(now),
    "peer_failed": lambda hub, session, now: session_of(session).peer_failed(ODD_FRAME, now),
    "handle_timer": lambda hub, session, now: hub.handle_timer(now),
    "send_command": lambda hub, session, now: hub.send_command(TENANT, AGENT, "work", now=now),
    "send_message": lambda hub, session, now: hub.send_message(TENANT, AGENT, {}, now),
    "set_status": lambda hub, session, now: hub.set_status(TENANT, AGENT, "busy", now),
}
ENDS = ("close", "eof_received", "disconnected", "drop", "turn_away")


def working() -> tuple[Pair, int]:
    """A pair with a link and a command that runs; and the agent's number of the connection."""
    pair = Pair()
    pair.on_command = lambda event: None
    pair.start()
    pair.run_for(1.0)
    pair.send(command_id="cmd-1")
    pair.run_for(40.0)
    assert pair.agent.in_flight == ("cmd-1",)
    return pair, pair.agent_conns[-1]


@pytest.mark.parametrize("name", OF_AGENT)
def test_a_moment_that_is_none_is_refused_by_every_input_of_an_agent(name: str) -> None:
    pair, conn = working()
    for now in NO_MOMENTS:
        before = snapshot(pair.agent)
        with pytest.raises(LocalProtocolError, match="Instant"):
            OF_AGENT[name](pair.agent, conn, now)
        assert snapshot(pair.agent) == before


@pytest.mark.parametrize("name", OF_PLATFORM)
def test_a_moment_that_is_none_is_refused_by_every_input_of_a_platform(name: str) -> None:
    pair, _ = working()
    session = list(pair.sessions.values())[-1]
    for now in NO_MOMENTS:
        before = snapshot((pair.hub, session))
        with pytest.raises(LocalProtocolError, match="Instant"):
            OF_PLATFORM[name](pair.hub, session, now)
        assert snapshot((pair.hub, session)) == before


@pytest.mark.parametrize("name", [name for name in OF_AGENT if name != "stop"])
def test_no_reading_of_a_clock_raises_or_stops_an_agent(name: str) -> None:
    pair, conn = working()
    for odd in [Instant(pair.mono, wall) for wall in ODD_WALLS] + [Instant(mono, 1.7e9) for mono in ODD_MONOS]:
        OF_AGENT[name](pair.agent, conn, odd)
        while pair.agent.next_output() is not None:
            pass
    pair.run_for(60.0)
    assert pair.agent.state.link is LinkState.UP
    due = pair.agent.deadline()
    assert due is not None
    assert pair.mono < due < pair.mono + 60.0


@pytest.mark.parametrize("name", [name for name in OF_PLATFORM if name not in ENDS])
def test_no_reading_of_a_clock_raises_or_stops_a_platform(name: str) -> None:
    pair, _ = working()
    session = list(pair.sessions.values())[-1]
    for odd in [Instant(pair.mono, wall) for wall in ODD_WALLS] + [Instant(mono, 1.7e9) for mono in ODD_MONOS]:
        OF_PLATFORM[name](pair.hub, session, odd)
        while pair.hub.next_output() is not None:
            pass
    pair.run_for(60.0)
    assert pair.hub.agent(TENANT, AGENT).online


@pytest.mark.parametrize("wall", ODD_WALLS)
def test_auth_1_a_platform_with_an_odd_clock_makes_challenges(wall: float) -> None:
    stage = Stage()
    stage.wall = wall
    assert stage.ask("/api/v1/auth/challenge", {"agent_id": AGENT}).status == 200


@pytest.mark.parametrize(
    "odd", [*(Instant(mono, 1e9) for mono in ODD_MONOS), *(Instant(1e5, wall) for wall in ODD_WALLS)]
)
def test_link_7_all_of_a_read_and_the_answers_to_it_count_for_the_last_sound_moment(odd: Instant) -> None:
    pair = Pair()
    pair.start()
    pair.run_for(40.0)
    agent, conn, before = pair.agent, pair.agent_conns[-1], pair.mono
    agent.handle_timer(pair.now)
    command = b'{"type":"command","id":"cmd-1","data":{"command":"work","timeout":60}}'
    agent.data_received(conn, frame(1, command), odd)
    (received,) = (each for each in iter(agent.next_output, None) if isinstance(each, CommandReceived))
    moment = odd.mono if odd.mono == 1e5 else before
    assert received.deadline == moment + 60.0
    assert agent.respond("cmd-1", {}, odd)
    written = b"".join(each.data for each in iter(agent.next_output, None) if isinstance(each, Write))
    assert written


def test_the_first_reading_may_be_odd_too() -> None:
    agent = Pair().agent
    agent.start(Instant(NAN, NAN))
    assert agent.next_output() is not None
    agent.handle_timer(Instant(5.0, 1e9))


def test_link_7_a_monotonic_clock_that_steps_back_and_returns_is_no_news() -> None:
    script = Scripted()
    conn = script.up()
    (received,) = [each for each in script.said if isinstance(each, TokenReceived)]
    for step in (40.0, 80.0):  # the wall clock goes on meanwhile
        script.wall += 40.0
        script.machine.handle_timer(Instant(script.mono - step, script.wall))
        script.drain()
    script.machine.handle_timer(Instant(script.mono + 80.0, script.wall))
    script.mono += 80.0
    script.drain()
    script.none_of(ClocksParted)
    assert received.renew_at is not None
    while script.mono < received.renew_at - 10.0:
        script.machine.bytes_received(conn, script.now)
        script.wait(5.0)
    script.none_of(RenewalStarted)  # the token is no older for it


def test_link_7_one_that_steps_back_for_good_is_told_once_it_has_caught_up() -> None:
    script = Scripted()
    script.up()
    script.wait(100.0)
    script.mono -= 100.0
    for _ in range(15):
        script.wait(10.0)
    told = [each.drift_s for each in script.said if isinstance(each, ClocksParted)]
    assert len(told) == 1
    assert 95.0 < told[0] < 115.0


# --- other values -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signature", ["text", None, 5, bytearray(3), b"x" * 16_385], ids=type)
def test_auth_6_what_is_no_signature_is_refused_and_the_agent_goes_on(signature: Any) -> None:
    pair = Pair()
    asked: list[Sign] = []
    pair._sign = asked.append  # type: ignore[method-assign]
    pair.start()
    pair.run_until(lambda: bool(asked))
    before = snapshot(pair.agent)
    with pytest.raises(LocalProtocolError, match="signature"):
        pair.agent.signed(asked[0].request, signature, pair.now)
    assert snapshot(pair.agent) == before
    assert pair.agent.state.auth is AuthState.SIGNING
    assert pair.agent.deadline() is not None
    signed = pair.key.sign(asked[0].challenge.encode(), "ssh")
    pair.agent.signed(asked[0].request, signed, pair.now)
    pair.run_for(5.0)
    assert pair.agent.state.link is LinkState.UP


def test_hb_2_numbers_of_other_kinds_are_written_as_numbers() -> None:
    pair, _ = working()
    pair.agent.set_metrics(Decimal("12.5"), True)  # type: ignore[arg-type]
    pair.run_for(60.0)
    shown = pair.hub.agent(TENANT, AGENT)
    assert (shown.cpu_usage, shown.memory_usage) == (12.5, 1.0)


SOUND: dict[str, dict[str, Any]] = {
    "connected": {"conn": 0, "tls": False},
    "connect_failed": {"conn": 0, "cause": "dns", "detail": ""},
    "data_received": {"conn": 0, "data": b"x"},
    "eof_received": {"conn": 0},
    "disconnected": {"conn": 0, "reason": ""},
    "unsent": {"conn": 0, "nbytes": 0},
    "signed": {"request": 0, "signature": b""},
    "sign_failed": {"request": 0, "reason": ""},
    "persisted": {"batch": 1},
    "persist_failed": {"batch": 1, "reason": "full"},
    "handle_timer": {},
    "start": {},
    "stop": {"drain": True},
    "respond": {"command_id": "cmd-1", "result": None},
    "fail": {"command_id": "cmd-1", "code": "handler_error", "reason": ""},
    "progress": {"command_id": "cmd-1", "percent": 50},
    "set_status": {"status": "busy"},
    "set_metrics": {"cpu_usage": 1.0, "memory_usage": 1.0},
    "send_message": {"data": {}},
    "get_details": {},
    "put_status": {"status": "busy"},
    "cancel_call": {"call": 0},
}
"""All that drivers and applications tell an agent, without the moment."""
ODD_VALUES: list[Any] = [
    *(None, 1.5, -1, "", "no_such", b"", b"x", True, [], {}, object(), NAN, math.inf, [object()], 10**400, "5"),
    memoryview(bytes(8)).cast("i"),
]
TAKEN: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("conn", "request", "call", "batch"), lambda odd: isinstance(odd, int)),
    **dict.fromkeys(("tls", "drain"), lambda odd: isinstance(odd, bool)),
    **dict.fromkeys(("detail", "reason", "command_id"), lambda odd: isinstance(odd, str)),
    "persist_failed reason": lambda odd: False,
    "data_received data": lambda odd: odd == b"x",
    "send_message data": lambda odd: odd == {},
    "nbytes": lambda odd: isinstance(odd, int) and odd >= 0,
    "signature": lambda odd: isinstance(odd, bytes),
    "result": lambda odd: odd is not ODD_VALUES[10],  # whatever JSON takes
    "percent": lambda odd: odd in (1.5, True),
    **dict.fromkeys(("cpu_usage", "memory_usage"), lambda odd: odd in (1.5, True)),
}


def never(odd: object) -> bool:
    """Every odd value is refused."""
    return False


def test_sound_arguments_are_named_for_all_that_an_agent_is_told() -> None:
    takes = {name: signature(method) for name, method in vars(AgentProtocol).items() if callable(method)}
    told = {name for name, each in takes.items() if "now" in each.parameters or name == "set_metrics"} - {"__init__"}
    assert {name for name in told if not name.startswith("_")} == set(SOUND)
    assert all({*takes[name].parameters} - {"self", "now"} == {*SOUND[name]} for name in SOUND)


@pytest.mark.parametrize("name", SOUND)
def test_every_argument_is_checked_before_anything_changes(name: str) -> None:
    pair, _ = working()
    pair.agent.handle_timer(pair.now)
    later = Instant(pair.mono + 1.0, pair.now.wall + 1.0)
    before, moment = snapshot(pair.agent), {} if name == "set_metrics" else {"now": later}
    for argument in SOUND[name]:
        is_taken = TAKEN.get(f"{name} {argument}") or TAKEN.get(argument) or never
        for odd in [each for each in ODD_VALUES if not is_taken(each)]:
            with pytest.raises(LocalProtocolError):
                getattr(pair.agent, name)(**{**SOUND[name], argument: odd}, **moment)
            assert snapshot(pair.agent) == before, (argument, odd)


SOUND_MESSAGES: dict[str, dict[str, Any]] = {
    "peer_ended": {"conn": 0},
    "peer_failed": {"conn": 0, "error": ODD_FRAME},
    "bytes_received": {"conn": 0},
    "unsent": {"conn": 0, "nbytes": 0, "unwritten_bytes": 0},
    "response_received": {"conn": 0, "exchange": 0, "response": HttpResponse(status=200)},
    "upgraded": {"conn": 0, "exchange": 0},
    "text_received": {"payload": b"{}"},
    "ping_received": {"conn": 0, "payload": b""},
    "pong_received": {"conn": 0, "payload": b""},
    "close_received": {"conn": 0, "code": 1000, "reason": ""},
    "acked": {"conn": 0, "message_id": ""},
}
"""What transports tell a machine beside that."""


@pytest.mark.parametrize("name", SOUND_MESSAGES)
def test_what_transports_tell_an_agent_is_checked_too(name: str) -> None:
    script = Scripted(settled_by="acknowledgement")
    conn = script.up()
    script.drain()
    before = snapshot(script.machine)
    takes = {"payload": bytes, "error": RemoteProtocolError, "response": HttpResponse, "reason": str, "message_id": str}
    for argument in SOUND_MESSAGES[name]:
        for odd in [each for each in ODD_VALUES if not isinstance(each, takes.get(argument, int))]:
            with pytest.raises(LocalProtocolError):
                getattr(script.machine, name)(**{"conn": conn, **SOUND_MESSAGES[name], argument: odd}, now=script.now)
            assert snapshot(script.machine) == before, (argument, odd)


REQUEST = HttpRequest(method="GET", target="/x")
IDS = {"tenant_id": TENANT, "agent_id": AGENT}
SOUND_OF_PLATFORM: dict[type[Any], dict[str, dict[str, Any]]] = {
    PlatformProtocol: {
        "__init__": {"conn": 500, "address": None},
        "data_received": {"data": b"x"},
        "eof_received": {},
        "disconnected": {"reason": ""},
        "unsent": {"nbytes": 0},
        "respond": {"exchange": 1, "response": HttpResponse(status=200), "more": False, "after": 0},
        "send_body": {"exchange": 1, "data": b"", "more": True, "after": 0},
        "turn_away": {},
        "close": {"code": 1001, "reason": ""},
        "drop": {"reason": ""},
    },
    PlatformSession: {
        "__init__": {"conn": 500, "address": None},
        "request_received": {"exchange": 1, "request": REQUEST, "upgrade": False},
        "link_opened": {"agent_id": AGENT},
        "respond": {"exchange": 1, "response": HttpResponse(status=200), "more": False, "after": 0},
        "send_body": {"exchange": 1, "data": b"", "more": True, "after": 0},
        "text_received": {"payload": b"{}"},
        "bytes_received": {},
        "ping_received": {"payload": b""},
        "pong_received": {"payload": b""},
        "close_received": {"code": 1000, "reason": ""},
        "close": {"code": 1001, "reason": ""},
        "disconnected": {"reason": ""},
        "peer_ended": {},
        "peer_failed": {"error": ODD_FRAME},
        "drop": {"reason": ""},
        "unsent": {"nbytes": 0, "unwritten_bytes": 0},
    },
    PlatformHub: {
        "look_at_clock": {},
        "principal": {"request": REQUEST, "address": None},
        "revoke_key": {"tenant_id": TENANT, "key_id": "key"},
        "agent": IDS,
        "shown": {"agent": None},
        "conn_of": {"agent_id": AGENT},
        "set_status": {**IDS, "status": "busy"},
        "send_command": {
            **IDS,
            "command": "work",
            "args": {},
            "timeout_s": None,
            "expires_in_s": None,
            "command_id": None,
        },
        "command": {"tenant_id": TENANT, "command_id": "cmd-1", "agent_id": None},
        "send_message": {**IDS, "data": {}},
        "handle_timer": {},
        "persisted": {"batch": 1},
        "persist_failed": {"batch": 1, "reason": "full"},
    },
    Registry: {
        "add_tenant": {"tenant_id": TENANT, "token": "a-tenant-token-of-some-length"},
        "set_tenants": {"tokens": {}},
        "tenant_of": {"token": ""},
        "create_agent": {
            "tenant_id": TENANT,
            "agent_id": None,
            "name": "",
            "capabilities": (),
            "metadata": {},
            "wall": 1e9,
        },
        "find": {"agent_id": AGENT},
        "agent": IDS,
        "agents": {"tenant_id": TENANT},
        "page": {"tenant_id": TENANT, "after": None, "limit": 1},
        "add_key": {**IDS, "public_key": signing_key(8).public.openssh, "name": ""},
        "keys": {"agent_id": AGENT},
        "key": {"tenant_id": TENANT, "key_id": "key"},
        "remove_key": {"tenant_id": TENANT, "key_id": "key"},
    },
}
"""All that drivers, transports and tenants of the same process tell a platform, without the moment."""
OWN_OF_PLATFORM: dict[type[Any], set[str]] = {
    PlatformProtocol: {"timer_due"},
    PlatformSession: {"timer_due", "deliver"},
    PlatformHub: {
        *("check_accepted", "admit", "touch", "input_of", "request_failed", "link_requested", "link_opened"),
        *("link_ended", "outputs_of", "peer_is_gone", "batch_of"),
    },
    Registry: {"has_key"},
}
"""What hub, sessions and façades tell each other."""
ODD_OF_PLATFORM: dict[str, list[Any]] = {
    "now": NO_MOMENTS,
    "address": [("192.0.2.1", 4711)],
    "close code": [999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 99_999, -(10**5000)],
    "close reason": ["x" * 124, "é" * 62],
    "nbytes": [-(10**5000)],
    "request": [
        HttpRequest(method=None, target="/x"),  # type: ignore[arg-type]
        HttpRequest(method="GET", target=None),  # type: ignore[arg-type]
        HttpRequest(method="GET", target="/x", headers=("host",)),  # type: ignore[arg-type]
        HttpRequest(method="GET", target="/x", headers=(("Authorization", "Bearer x"),)),
        HttpRequest(method="GET", target="/x", body="text"),  # type: ignore[arg-type]
    ],
    "response": [
        HttpResponse(status="200"),  # type: ignore[arg-type]
        HttpResponse(status=200.5),  # type: ignore[arg-type]
        HttpResponse(status=101),
        HttpResponse(status=200, body=None),  # type: ignore[arg-type]
        HttpResponse(status=205, body=b"x"),
        HttpResponse(status=200, headers=None),  # type: ignore[arg-type]
        HttpResponse(status=200, headers=(("a", 5),)),  # type: ignore[arg-type]
        HttpResponse(status=200, headers=(("Retry-After", "5"),)),
    ],
}
"""Besides `ODD_VALUES`, by argument or by method and argument."""


def is_text(odd: object) -> bool:
    """What ids that are only looked for may be."""
    return isinstance(odd, str)


def is_text_or_none(odd: object) -> bool:
    """The same where it may be left out."""
    return odd is None or isinstance(odd, str)


def is_short_time(odd: object) -> bool:
    """A number of seconds that is taken, or none."""
    return odd is None or odd in (1.5, True)


TAKEN_BY_PLATFORM: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("tenant_id", "agent_id", "key_id", "command_id", "token", "name", "reason"), is_text),
    **dict.fromkeys(("address", "after"), is_text_or_none),
    **dict.fromkeys(("send_command command_id", "command agent_id", "create_agent agent_id"), is_text_or_none),
    **dict.fromkeys(("exchange", "close_received code"), lambda odd: isinstance(odd, int)),
    **dict.fromkeys(("more", "upgrade"), lambda odd: isinstance(odd, bool)),
    **dict.fromkeys(("payload", "send_body data"), lambda odd: isinstance(odd, bytes)),
    **dict.fromkeys(("nbytes", "unwritten_bytes"), lambda odd: isinstance(odd, int) and odd >= 0),
    **dict.fromkeys(("respond after", "send_body after"), lambda odd: isinstance(odd, int)),
    **dict.fromkeys(("timeout_s", "expires_in_s"), is_short_time),
    "data_received data": lambda odd: odd == b"x",
    "send_message data": lambda odd: odd == {},
    "conn": lambda odd: type(odd) is int and odd >= 0,
    "command": lambda odd: isinstance(odd, str) and odd != "",
    "args": lambda odd: odd is None or odd == {},
    "add_tenant token": never,
    "tokens": lambda odd: odd == {},
    "capabilities": lambda odd: odd == [],
    "metadata": lambda odd: odd == {},
    "batch": lambda odd: isinstance(odd, int),
    "persist_failed reason": never,
    "wall": lambda odd: isinstance(odd, int | float) and odd != 10**400,
    "limit": lambda odd: type(odd) is int and odd > 0,
}
TOLD_TO_PLATFORM = [(owner, name) for owner, sound in SOUND_OF_PLATFORM.items() for name in sound]


def told_to(owner: type[Any], name: str, pair: Pair) -> Callable[..., object]:
    """A method of the one that the pair has."""
    if name == "__init__":
        return partial(owner, pair.hub)
    protocol = list(pair.sessions.values())[-1]
    targets = {PlatformProtocol: protocol, PlatformSession: session_of(protocol), Registry: pair.hub.registry}
    return getattr(targets.get(owner, pair.hub), name)


@pytest.mark.parametrize("owner", SOUND_OF_PLATFORM)
def test_sound_arguments_are_named_for_all_that_a_platform_is_told(owner: type[Any]) -> None:
    sound, methods = SOUND_OF_PLATFORM[owner], {name: each for name, each in vars(owner).items() if callable(each)}
    takes = {name: {*signature(each).parameters} - {"self"} for name, each in methods.items() if name[0] != "_"}
    assert {name for name, arguments in takes.items() if arguments} == ({*sound} - {"__init__"}) | OWN_OF_PLATFORM[
        owner
    ]
    assert all(takes[name] - {"now"} == {*sound[name]} for name in sound if name != "__init__")


@pytest.mark.parametrize(("owner", "name"), TOLD_TO_PLATFORM)
def test_every_argument_of_a_platform_is_checked_before_anything_changes(owner: type[Any], name: str) -> None:
    pair, _ = working()
    pair.hub.handle_timer(pair.now)
    told, sound = told_to(owner, name, pair), SOUND_OF_PLATFORM[owner][name]
    before = snapshot((pair.hub, pair.sessions))
    has_moment = "now" in signature(told).parameters
    later = Instant(pair.mono + 1.0, pair.now.wall + 1.0)
    for argument in [*sound, *(["now"] if has_moment else [])]:
        is_taken = TAKEN_BY_PLATFORM.get(f"{name} {argument}") or TAKEN_BY_PLATFORM.get(argument) or never
        extra = ODD_OF_PLATFORM.get(f"{name} {argument}") or ODD_OF_PLATFORM.get(argument) or []
        for odd in [*(each for each in ODD_VALUES if not is_taken(each)), *extra]:
            given = {**sound, **({"now": pair.hub.now} if has_moment else {}), argument: odd}
            with pytest.raises((LocalProtocolError, ApiError)) as raised:
                told(**given)
            if has_moment and argument != "now" and isinstance(raised.value, LocalProtocolError):
                with pytest.raises(LocalProtocolError):
                    told(**{**given, "now": later})
            assert snapshot((pair.hub, pair.sessions)) == before, (argument, odd)


@pytest.mark.parametrize("odd", [*ODD_VALUES, bytes(31), bytearray(32)], ids=type)
def test_what_is_no_signing_seed_is_refused(odd: Any) -> None:
    with pytest.raises(LocalProtocolError, match="32 bytes"):
        PlatformHub(PlatformConfig(), rng=Random(1), signing_seed=odd)


@pytest.mark.parametrize("address", ["\u202e" * 200, "\U0001f98a" * 64, "\ud800" * 30, "x" * 65])
def test_plat_6_a_close_frame_has_room_for_the_address_that_it_names(address: str) -> None:
    stage = Stage()
    stage.online()
    stage.open(address=address)
    (close,) = (each for each in iter(stage.hub.next_output, None) if isinstance(each, SendClose))
    assert close.code == 4409
    assert close.reason.endswith("…")
    assert len(close.reason.encode()) <= 123


def test_the_number_of_an_open_connection_is_refused_before_time_goes_on() -> None:
    pair, _ = working()
    before = snapshot(pair.hub)
    with pytest.raises(LocalProtocolError, match="no open connection"):
        PlatformProtocol(pair.hub, conn=next(iter(pair.sessions)), now=Instant(pair.mono + 1.0, 2e9))
    assert snapshot(pair.hub) == before


WITH_MOMENTS = [
    (owner, name)
    for owner, name in TOLD_TO_PLATFORM
    if owner in (PlatformSession, PlatformHub)
    and name != "__init__"
    and "now" in signature(vars(owner)[name]).parameters
]
SOUND_OF_MACHINE = {name: {"conn": 0} | sound for name, sound in SOUND_MESSAGES.items()} | {
    name: sound
    for name, sound in SOUND.items()
    if name not in ("data_received", "eof_received", "set_metrics", "unsent")
}


@pytest.mark.parametrize("name", SOUND_OF_MACHINE)
def test_nothing_else_is_taken_for_the_first_moment_of_an_agent(name: str) -> None:
    machine = Scripted(settled_by="acknowledgement").machine
    before = snapshot(machine)
    with pytest.raises(LocalProtocolError):
        getattr(machine, name)(**SOUND_OF_MACHINE[name], now=None)
    assert snapshot(machine) == before


@pytest.mark.parametrize(("owner", "name"), WITH_MOMENTS)
def test_nothing_else_is_taken_for_the_first_moment_of_a_platform(owner: type[Any], name: str) -> None:
    hub = new_hub()
    told = getattr(PlatformSession(hub, 1) if owner is PlatformSession else hub, name)
    before = snapshot(hub)
    with pytest.raises((LocalProtocolError, ApiError)):
        told(**SOUND_OF_PLATFORM[owner][name], now=None)
    assert snapshot(hub) == before


def test_a_connection_that_is_refused_is_unknown_to_its_platform() -> None:
    hub = new_hub()
    before = snapshot(hub)
    with pytest.raises(LocalProtocolError, match="Instant"):
        PlatformProtocol(hub, conn=1, now=None)  # type: ignore[arg-type]
    assert snapshot(hub) == before
    PlatformProtocol(hub, conn=1, now=Instant(1.0, 1e9))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_whatever_holds_bytes_is_taken(kind: Callable[[bytes], Any]) -> None:
    pair, conn = working()
    pair.agent.data_received(
        conn, kind(frame(1, b'{"type":"command","id":"cmd-2","data":{"command":"work"}}')), pair.now
    )
    assert any(isinstance(each, CommandReceived) for each in iter(pair.agent.next_output, None))
    session = list(pair.sessions.values())[-1]
    session.data_received(kind(b"\x89\x80\0\0\0\0"), pair.now)
    assert any(isinstance(each, Write) for each in iter(pair.hub.next_output, None))


def test_tok_4_a_connection_without_the_tls_that_was_asked_for_is_refused() -> None:
    for endpoint, tls in (("https://h.example", True), ("http://localhost", False)):
        script = Scripted(api_endpoint=endpoint)
        asked = script.start()
        assert (asked.tls, asked.purpose) == (tls, "link")
        before = snapshot(script.machine)
        with pytest.raises(LocalProtocolError, match=r"as `Connect.tls` says"):
            script.machine.connected(asked.conn, script.now, tls=not tls)
        assert snapshot(script.machine) == before
        script.machine.connected(asked.conn, script.now, tls=tls)
        assert script.machine.next_output() is not None


@pytest.mark.parametrize("no_conn", [-1, 0])
def test_link_9_what_is_said_of_no_connection_has_no_effect(no_conn: int) -> None:
    pair, conn = working()
    pair.agent.connected(no_conn, pair.now, tls=True)
    pair.run_for(60.0)
    assert pair.agent.state.link is LinkState.UP
    assert pair.agent_conns[-1] == conn


def test_link_9_a_link_that_is_said_to_have_failed_to_open_is_over_like_any_other() -> None:
    pair, conn = working()
    pair.agent.connect_failed(conn, "other", "what the driver says", pair.now)
    pair.run_for(5.0)
    assert pair.agent.state.link is LinkState.UP
    assert pair.agent_conns[-1] != conn


ODD_CALLS: dict[str, Callable[[PlatformHub, Any], object]] = {
    "a status": lambda hub, odd: hub.set_status(TENANT, AGENT, odd, Instant(1e6, 1.7e9)),
    "a command_id": lambda hub, odd: hub.send_command(TENANT, AGENT, "w", command_id=odd, now=Instant(1e6, 1.7e9)),
    "a key's name": lambda hub, odd: hub.registry.add_key(TENANT, AGENT, signing_key(8).public.openssh, odd),
    "a key": lambda hub, odd: hub.registry.add_key(TENANT, AGENT, odd, ""),
    "an agent's capabilities": lambda hub, odd: hub.registry.create_agent(
        TENANT,
        agent_id="a",
        name="",
        capabilities=[[odd]],  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
        metadata={},
        wall=0.0,
    ),
    "an agent's metadata": lambda hub, odd: hub.registry.create_agent(
        TENANT, agent_id="a", name="", capabilities=(), metadata=odd, wall=0.0
    ),
    "an agent's name": lambda hub, odd: hub.registry.create_agent(
        "tenant-9", agent_id="a", name=odd, capabilities=(), metadata={}, wall=0.0
    ),
    "an agent's id": lambda hub, odd: hub.registry.create_agent(
        TENANT, agent_id=odd, name="", capabilities=(), metadata={}, wall=0.0
    ),
}


@pytest.mark.parametrize("name", ODD_CALLS)
@pytest.mark.parametrize("odd", [5, ("x",), ["busy"], b"x"], ids=type)
def test_what_is_no_text_leaves_a_platform_as_it_is(name: str, odd: Any) -> None:
    hub = working()[0].hub
    hub.handle_timer(Instant(1e6, 1.7e9))
    before = snapshot(hub)
    with pytest.raises(ApiError):
        ODD_CALLS[name](hub, odd)
    assert snapshot(hub) == before


def test_stat_1_an_unknown_status_is_refused() -> None:
    hub = working()[0].hub
    with pytest.raises(ApiError, match="online, offline, busy, error"):
        hub.set_status(TENANT, AGENT, "fine", Instant(1e6, 1.7e9))  # type: ignore[arg-type]


class Text(str):
    """A text of a library's, as numpy and templates have them: msgspec knows no JSON for it."""

    __slots__ = ()


def test_texts_with_a_class_of_their_own_are_taken_as_plain_ones() -> None:
    pair, _ = working()
    pair.agent.set_status(Text("error"), pair.now)  # type: ignore[arg-type]
    pair.agent.put_status(Text("busy"), pair.now)  # type: ignore[arg-type]
    assert pair.agent.fail("cmd-1", Text("handler_error"), Text("why"), pair.now)  # type: ignore[arg-type]
    pair.run_for(60.0)
    assert pair.agent.state.link is LinkState.UP
    response = pair.hub.command(TENANT, "cmd-1").response
    assert response is not None
    assert (response.code, response.reason) == ("handler_error", "why")
    assert pair.hub.set_status(Text(TENANT), Text(AGENT), Text("busy"), pair.now).public()["status"] == "busy"  # type: ignore[arg-type]
    made = pair.hub.registry.create_agent(
        Text(TENANT), agent_id=Text("other"), name=Text("name"), capabilities=(), metadata={}, wall=1e9
    )
    key = pair.hub.registry.add_key(Text(TENANT), Text("other"), signing_key(9).public.openssh, Text("name"))
    command = pair.hub.send_command(Text(TENANT), Text("other"), "work", command_id=Text("cmd-2"), now=pair.now)
    kept = [made.tenant_id, made.agent_id, made.name, key.agent_id, key.name]
    kept += [command.tenant_id, command.agent_id, command.command_id]
    assert {type(each) for each in kept} == {str}


@pytest.mark.parametrize("seconds", [Decimal("1.5"), Fraction(3, 2), 1.5])
def test_cmd_4_seconds_of_any_kind_are_written_as_a_number(seconds: Any) -> None:
    pair, _ = working()
    command = pair.hub.send_command(TENANT, AGENT, "work", timeout_s=seconds, expires_in_s=seconds, now=pair.now)
    assert (type(command.data.timeout), command.data.timeout) == (float, 1.5)
    assert command.expires_at == command.accepted_at + 1.5
    pair.run_for(0.5)
    assert command.command_id in pair.agent.in_flight


def test_plat_7_what_no_platform_can_show_or_keep_is_refused_before_anything_has_changed() -> None:
    pair, _ = working()
    registry, hub = pair.hub.registry, pair.hub
    options: dict[str, Any] = {"capabilities": (), "metadata": {}}
    misuse: list[Callable[[], object]] = [
        lambda: registry.create_agent(TENANT, agent_id=None, name="\ud800", wall=1e9, **options),
        lambda: registry.create_agent(TENANT, agent_id=None, name="", wall=None, **options),  # type: ignore[arg-type]
        lambda: registry.create_agent(None, agent_id=None, name="", wall=1e9, **options),  # type: ignore[arg-type]
        lambda: registry.create_agent("\ud800", agent_id=None, name="", wall=1e9, **options),
        lambda: registry.add_key(TENANT, AGENT, signing_key(9).public.openssh, "\ud800"),
        lambda: hub.send_command(TENANT, AGENT, "work", timeout_s="5", now=pair.now),  # type: ignore[arg-type]
        lambda: hub.send_command(TENANT, AGENT, "work", expires_in_s=[5], now=pair.now),  # type: ignore[arg-type]
    ]
    pair.hub.handle_timer(pair.now)
    before = snapshot(pair.hub)
    for each in misuse:
        with pytest.raises((LocalProtocolError, ApiError)):
            each()
        assert snapshot(pair.hub) == before


@pytest.mark.parametrize("wall", ODD_WALLS)
def test_plat_3_an_agent_registered_by_an_odd_clock_is_shown(wall: float) -> None:
    hub = Pair().hub
    hub.registry.create_agent(TENANT, agent_id="odd", name="", capabilities=(), metadata={}, wall=wall)
    assert hub.agent(TENANT, "odd").public()["created_at"].endswith("Z")
