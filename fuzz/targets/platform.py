"""No life of a `PlatformHub` and its `PlatformProtocol`s breaks a rule: nothing raises, a handled timer is not due.

The bytes are operations and their arguments. The model of what may never be said, and the second platform that gets all
bytes in pieces and must do the same, are those of `tests/support/platform_rules.py` and
`tests/properties/test_platform_protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from artcafe_proto import ApiError, HttpResponse, LocalProtocolError, PlatformHub, PlatformProtocol
from decoding import Reader
from mutants.planted import MUTANTS
from properties.test_platform_protocol import DOUBTFUL, REQUESTS, PlatformProtocolLife
from support.platform_rules import AGENTS
from support.platform_stage import JSON

S = TypeVar("S")
T = TypeVar("T")
Operation = Callable[[PlatformProtocolLife, Reader], object]

PLANTED: Final = next(each for each in MUTANTS if each.name == "the window is ignored")
_MAX_OPERATIONS: Final = 80
_MAX_CONNECTIONS: Final = 5


class _Life(PlatformProtocolLife):
    """Without the comparison of all state around each refusal, which takes longer than all the rest."""

    def owner(self, action: Callable[[PlatformHub], T]) -> T | None:
        return self._both(action, self.hubs)

    def own(self, conn: int, action: Callable[[PlatformProtocol], T]) -> T | None:
        one, other = (sessions[conn] for sessions in self.sessions)
        return self._both(action, (one, other))

    def _both(self, action: Callable[[S], T], things: tuple[S, S]) -> T | None:
        results: list[T | None] = []
        for thing in things:
            try:
                results.append(action(thing))
            except (ApiError, LocalProtocolError):
                results.append(None)
        assert (results[0] is None) == (results[1] is None)
        self.drain()
        return results[0]


def check(data: bytes) -> None:
    """One life."""
    reader = Reader(data)
    life = _Life()
    try:
        life.begin(is_up=reader.pick((True, False)))
        for _ in range(_MAX_OPERATIONS):
            if not reader.left:
                break
            reader.pick(_OPERATIONS)(life, reader)
            life.holds()
        life.handle_timers()
    finally:
        life.teardown()


_WAITS_S: Final = (0.0, 0.5, 1.5, 12.0, 35.0, 100.0, 700.0)
_COMMAND_IDS: Final = ("cmd-1", "cmd-2", "cmd-3", "cmd-4")
_ARGS: Final[tuple[Any, ...]] = (None, {}, {"a": 1}, {"a": "x" * 9000}, {"a": object()}, [])
_ANSWERS: Final = (
    {"status": "success", "result": {"a": 1}},
    {"status": "error", "code": "handler_error", "reason": "it broke"},
    {"status": "error", "code": "overloaded"},
    {"status": "error", "code": "draining"},
    {"status": "maybe"},
)
_MESSAGES: Final[tuple[Any, ...]] = (
    ("heartbeat", {"agent_id": AGENTS[0]}),
    ("heartbeat", {"agent_id": AGENTS[1], "status": "busy", "cpu_usage": 1e9, "memory_usage": -1}),
    ("heartbeat", {}),
    ("status", {"status": "busy", "progress": 5}),
    ("status", {"status": "mad"}),
    ("message", {}),
    ("command", {"command": "work"}),
    ("", []),
)
_TARGETS: Final = ("/api/v1/auth/challenge", "/api/v1/auth/verify", "/api/v1/ws/agent/%ff", "/api/v1/agents", "/")
_BODIES: Final = (b"", b"{}", b"\xff", b"[" * 100, b'{"agent_id":"agent-1"}')
_RESPONSES: Final = (
    HttpResponse(status=200, body=b"{}"),
    HttpResponse(status=204),
    HttpResponse(status=404, headers=(("connection", "close"),)),
    HttpResponse(status=100),
    HttpResponse(status=200, headers=(("bad name", ""),)),
)
_FRAMES: Final = (
    b"\x82\x80abcd",
    b"\x81\xfe\xff\xff",
    b"\x89\xfe",
    b"\x01\x81\0\0\0\0a",
    b"\x80\x80\0\0\0\0",
    b"\xc1\x80",
    b"\x81\x00",
    b"\x81\x81\0\0\0\0\xff",
)


def _connect(life: PlatformProtocolLife, _: Reader) -> None:
    """A few connections: each is drained after every operation."""
    if len(life.sessions[0]) < _MAX_CONNECTIONS:
        life.connect()


def _send_any_command(life: PlatformProtocolLife, reader: Reader) -> None:
    life.send_any_command(
        agent_id=reader.pick((*AGENTS, "nobody")),
        command=reader.pick(("work", "", "x" * 300)),
        args=reader.pick(_ARGS),
        timeout_s=reader.pick((None, 5.0, 0.0, float("nan"))),
        expires_in_s=reader.pick((None, 10.0, 200.0, 0.0, 1e9)),
        command_id=reader.pick((*_COMMAND_IDS, "", "\n")),
    )


def _anything(life: PlatformProtocolLife, reader: Reader) -> None:
    parts = (*REQUESTS, *DOUBTFUL, reader.take(reader.byte() % 64))
    life.anything(reader.byte() % 7, [reader.pick(parts) for _ in range(reader.byte() % 4)])


def _ask_anything(life: PlatformProtocolLife, reader: Reader) -> None:
    fields = reader.pick(((), JSON, (*JSON, ("authorization", "Bearer x")), (("origin", "http://page"),)))
    method = reader.pick(("POST", "GET", "HEAD"))
    life.ask_anything(reader.byte() % 7, method, reader.pick(_TARGETS), fields, reader.pick(_BODIES))


_OPERATIONS: Final[tuple[Operation, ...]] = (
    lambda life, reader: life.send_command(reader.pick(_COMMAND_IDS), reader.pick((None, 10.0))),
    lambda life, reader: life.answer(reader.byte() % 7, reader.pick(_COMMAND_IDS), reader.pick(_ANSWERS)),
    lambda life, reader: life.time_passes(reader.pick(_WAITS_S)),
    lambda life, reader: life.sign_in(reader.byte() % 7, reader.pick(AGENTS)),
    lambda life, reader: life.say(reader.byte() % 7, reader.pick(AGENTS)),
    _connect,
    lambda life, reader: life.challenge(reader.byte() % 7, reader.pick((*AGENTS, "nobody"))),
    lambda life, reader: life.verify(
        reader.byte() % 7, reader.byte() % 7, reader.pick(AGENTS), reader.pick((True, False))
    ),
    lambda life, reader: life.open_link(reader.byte() % 7, reader.byte() % 7, reader.pick(AGENTS)),
    lambda life, reader: life.time_passes_unseen(reader.pick(_WAITS_S), reader.pick((0.0, 40.0))),
    lambda life, _: life.handle_timers(),
    _send_any_command,
    lambda life, reader: life.send_message(reader.pick((*AGENTS, "nobody")), reader.pick(_ARGS)),
    lambda life, reader: life.revoke_or_add_a_key(reader.byte() % 7),
    lambda life, reader: life.set_status(reader.pick((*AGENTS, "nobody"))),
    _ask_anything,
    lambda life, reader: life.message(reader.byte() % 7, reader.pick(_MESSAGES), reader.pick(("m-1", "", "x" * 129))),
    lambda life, reader: life.garbage(reader.byte() % 7, reader.take(reader.byte() % 64)),
    lambda life, reader: life.respond(reader.byte() % 7, reader.pick(_RESPONSES), reader.pick((False, True))),
    lambda life, reader: life.serve(reader.byte() % 7, reader.pick(_RESPONSES), reader.pick((False, True))),
    lambda life, reader: life.send_body(reader.byte() % 7, reader.pick((b"", b"more")), reader.pick((False, True))),
    lambda life, reader: life.drop(reader.byte() % 7, 0),
    lambda life, reader: life.cut(reader.pick((1, 2, 7, 100_000))),
    _anything,
    lambda life, reader: life.ping_or_pong(
        reader.byte() % 7, reader.take(reader.byte() % 126), reader.pick((False, True)), reader.pick((0, 1))
    ),
    lambda life, reader: life.close(reader.byte() % 7, reader.pick((1000, 1005, 1009, 4000))),
    lambda life, reader: life.bad_frame(reader.byte() % 7, reader.pick(_FRAMES)),
    lambda life, reader: life.eof(reader.byte() % 7),
    lambda life, reader: life.disconnected(reader.byte() % 7),
    lambda life, reader: life.writing(reader.byte() % 7, reader.pick((True, False))),
)
"""In the order of the byte that chooses; the first keep a link busy."""
