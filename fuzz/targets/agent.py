"""No life of an `AgentProtocol` in any world breaks a rule: no input from the world raises, a handled timer is not due.

The bytes are operations and their arguments. The model of what may never be said, and the second agent that gets all
bytes in pieces and must do the same, are those of `tests/support/agent_rules.py` and
`tests/properties/test_agent_protocol.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from artcafe_proto import AgentProtocol, LocalProtocolError
from artcafe_proto.testing import Answer, HangUp, Raw, Silence
from artcafe_proto.testing.peers import Reply
from decoding import Reader
from mutants.planted import MUTANTS
from properties.test_agent_protocol import AgentProtocolLife

T = TypeVar("T")
Operation = Callable[[AgentProtocolLife, Reader], object]

PLANTED: Final = next(each for each in MUTANTS if each.name == "a command runs again when it comes again")
_MAX_OPERATIONS: Final = 80


class _Life(AgentProtocolLife):
    """Without the comparison of all state around each misuse, which takes longer than all the rest."""

    def application(self, action: Callable[[AgentProtocol], T]) -> T | None:
        results: list[T | None] = []
        for agent in self.agents:
            try:
                results.append(action(agent))
            except LocalProtocolError:
                results.append(None)
        assert results[0] == results[1]
        self.drain()
        return results[0]


def check(data: bytes) -> None:
    """One life."""
    reader = Reader(data)
    life = _Life()
    try:
        life.begin(
            jitter=reader.pick((0.0, 1.0)),
            give_up_after=reader.pick((None, 400.0)),
            is_up=reader.pick((False, True)),
            life_s=reader.pick(_LIVES_S),
        )
        for _ in range(_MAX_OPERATIONS):
            if not reader.left:
                break
            reader.pick(_OPERATIONS)(life, reader)
            life.holds()
        life.handle_timer()
    finally:
        life.teardown()


_LIVES_S: Final = (900, 0, 30, 200, 10**9)
_WAITS_S: Final = (0.0, 0.5, 1.5, 5.0, 12.0, 35.0, 130.0, 700.0)
_COMMAND_IDS: Final = ("cmd-1", "cmd-2", "cmd-3", "cmd-4", "cmd-5")
_RESULTS: Final = (None, {"a": 1}, "x" * 700, object(), "\ud800", {1: [2.0]})
_DATA: Final[tuple[Any, ...]] = ({}, {"a": "b"}, [], {"a": "x" * 700}, {"a": object()})
_COMMANDS: Final = (
    {"command": "work"},
    {"command": "work", "args": {"a": 1}, "timeout": 20},
    {"command": "work", "timeout": 1},
)
"""Sound ones: one that is refused is answered at once, and whether a repeat of it in the same read is answered too, is
told by how that was cut."""
_CONTENTS: Final[tuple[Any, ...]] = (*_COMMANDS, {"command": "work", "timeout": 0}, {"command": 5}, {}, [], None)
_MESSAGES: Final = ("message", "command", "heartbeat", "status", "response", "other")
_CODES: Final = (1000, 1001, 1005, 1007, 1008, 1009, 4401, 4409)
_FRAMES: Final = (
    b"\x82\x00",
    b"\x81\x7e\xff\xff",
    b"\x89\x7e",
    b"\x01\x02ab",
    b"\x80\x00",
    b"\xc1\x00",
    b"\x81\x01\xff",
)
_BODIES: Final = (b"", b"{}", b'{"valid":false}', b'{"valid":true}', b'{"challenge":"short"}', b"[" * 100)
_FIELDS: Final = ((), (("retry-after", "7"),), (("connection", "close"),), (("location", "http://x/"),))
_STATUSES: Final = (200, 401, 403, 503, 429, 302, 204)


def _reply(reader: Reader) -> Reply:
    """What the peer answers instead of what it should."""
    match reader.byte() % 4:
        case 0:
            return Answer(reader.pick(_STATUSES), reader.pick(_BODIES), reader.pick(_FIELDS))
        case 1:
            return Raw(reader.take(reader.byte() % 64))
        case 2:
            return HangUp(bool(reader.byte() & 1))
        case _:
            return Silence()


_OPERATIONS: Final[tuple[Operation, ...]] = (
    lambda life, reader: life.comply(1 + reader.byte() % 6, reader.pick(_LIVES_S)),
    lambda life, reader: life.time_passes(reader.pick(_WAITS_S)),
    lambda life, reader: life.command(reader.pick(_COMMAND_IDS), reader.pick(_COMMANDS), reader.pick((0, 1, 50))),
    lambda life, reader: life.respond(reader.byte() % 7, None, reader.pick(_RESULTS)),
    lambda life, reader: life.pong(reader.byte() % 10),
    lambda life, _: life.start(),
    lambda life, reader: life.stop(reader.pick((True, False)), 0),
    lambda life, _: life.handle_timer(),
    lambda life, reader: life.time_passes_unseen(reader.pick(_WAITS_S), reader.pick((0.0, 40.0, -40.0))),
    lambda life, reader: life.inputs_are_told_an_earlier_time(reader.pick((0.0, 0.5, 100.0))),
    lambda life, reader: life.fail(reader.byte() % 7, reader.pick(("it broke", "", "x" * 5000, "\ud800"))),
    lambda life, reader: life.progress(reader.byte() % 7, reader.pick((50.0, 100.0, -1.0, float("nan")))),
    lambda life, reader: life.set_status(reader.pick(("online", "busy", "error", "offline", "mad"))),
    lambda life, reader: life.set_metrics(reader.pick((0.0, 99.5, 101.0)), reader.pick((1.5, -1.0, float("inf")))),
    lambda life, reader: life.send_message(reader.pick(_DATA)),
    lambda life, reader: life.call(reader.pick((None, "online", "mad"))),
    lambda life, reader: life.cancel_call(reader.byte() % 7),
    lambda life, reader: life.script(_reply(reader)),
    lambda life, reader: life.cut(reader.pick((1, 2, 7, 100_000))),
    lambda life, reader: life.message(reader.pick(_MESSAGES), reader.pick(_COMMAND_IDS), reader.pick(_CONTENTS)),
    lambda life, reader: life.text(reader.take(reader.byte() % 64), reader.byte() % 4),
    lambda life, reader: life.ping(reader.take(reader.byte() % 5)),
    lambda life, reader: life.close(reader.pick(_CODES)),
    lambda life, reader: life.frame(reader.pick(_FRAMES)),
    lambda life, reader: life.bytes_from_nowhere(reader.byte() % 7, reader.take(reader.byte() % 64)),
    lambda life, reader: life.connected(reader.byte() % 7),
    lambda life, reader: life.connect_failed(reader.byte() % 7, reader.pick(("dns", "refused", "tls"))),
    lambda life, reader: life.end(reader.byte() % 7, reader.pick((True, False))),
    lambda life, reader: life.writing(reader.byte() % 7, reader.pick((True, False))),
    lambda life, reader: life.signed(reader.byte() % 7, reader.pick((None, b"", b"sig"))),
)
"""In the order of the byte that chooses; the first keep a link going."""
