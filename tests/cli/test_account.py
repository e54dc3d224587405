"""What the account says of events, and how it puts many of a kind together."""

from __future__ import annotations

from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest

from artcafe_cli.account import Account, Line, describe
from artcafe_proto.events import (
    AgentEvent,
    CommandReceived,
    CommandSent,
    Event,
    HubEvent,
    MessageReceived,
    MessageSettled,
    Offline,
    Online,
    PeerViolation,
    RequestArrived,
    StatusReceived,
    StoreRecovered,
    StoreStalled,
    Undeliverable,
    UnknownReceived,
)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Online(1), Line("online", "bold green")),
        (Offline("cut", "LINK-3", 12.0), Line("offline: cut [LINK-3]; next attempt in 2.0 s", "bold yellow")),
        (
            Undeliverable("m", "c", "CMD-11"),
            Line("message 'm', the response to 'c', dropped: each link with it ended [CMD-11]", "bold red"),
        ),
        (PeerViolation("rude", "MSG-5"), Line("the platform broke a rule: rude [MSG-5]", "bold yellow")),
        (PeerViolation("rude", "MSG-5", "a"), Line("a broke a rule: rude [MSG-5]", "red")),
        (MessageReceived("m", msgspec.Raw(b"{}"), "a"), Line("message m from a", "cyan")),
        (
            UnknownReceived("hm", "m", msgspec.Raw(b"{}"), "a"),
            Line("message of unknown type 'hm' from a ignored [MSG-4]", "yellow"),
        ),
        (MessageSettled("m"), None),
        (CommandReceived("c", "work", msgspec.Raw(b"{}"), 0.0), None),
        (StatusReceived("a", "busy", None, None), Line("status of a: busy", "magenta")),
        (StatusReceived("a", "busy", "cmd-1", None), Line("status of a: busy, cmd-1", "magenta")),
        (StatusReceived("a", "busy", "cmd-1", 50.0), Line("status of a: busy, cmd-1 at 50 %", "magenta")),
    ],
)
def test_lines(event: Event, line: Line | None) -> None:
    assert describe(event, 10.0) == line


def test_many_of_a_kind_are_told_together() -> None:
    told: list[tuple[str, str]] = []
    account = Account(lambda seconds, who, text, style: told.append((who, text)))
    for number in range(3):
        account.tell("platform", CommandSent("a", f"c{number}", "echo" if number else "add", 1))
    account.tell("a", MessageSettled("m"))
    assert told == []
    account.tell("a", Online(1))
    assert told == [("platform", "3 commands sent to a: add x1, echo x2"), ("a", "online")]
    account.tell("platform", CommandSent("a", "c", "echo", 2))
    account.flush()
    assert told[2:] == [("platform", "sent a the command echo again (2)")]


def test_every_event_is_told_or_is_silent_for_a_reason() -> None:
    silent: dict[type[Any], str] = {RequestArrived: "what comes of a request is told, each of it by its own event"}
    for kind in get_args(Event):
        fields = {"agent_id": "a"} if "agent_id" in kind.__struct_fields__ else {}
        event = kind(**{name: sample(hint) for name, hint in get_type_hints(kind).items()} | fields)
        if not isinstance(event, AgentEvent):  # those are the log's, where some are for DEBUG alone
            assert (describe(event, 10.0) is None) == (kind in silent), kind


def sample(hint: Any) -> Any:
    """A value of a type."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint(**{name: sample(inner) for name, inner in get_type_hints(hint).items()})
    if get_origin(hint) in (Literal, UnionType, Union):
        return sample(get_args(hint)[0])
    values: dict[Any, Any] = {str: "x", int: 1, float: 1.0, bool: True, dict: {}, tuple: (), msgspec.Raw: RAW}
    return values.get(get_origin(hint) or hint, hint)


RAW = msgspec.Raw(b"{}")


def test_every_event_has_its_side() -> None:
    shared = {MessageReceived, UnknownReceived, PeerViolation, StoreStalled, StoreRecovered}
    assert shared == {*get_args(AgentEvent)} & {*get_args(HubEvent)}
    assert describe(StoreStalled("full"), 0.0) == Line(
        "the store is full: new work is refused until it stores again", "bold red"
    )
