"""CMD-1, CMD-2: what is remembered of commands, and for how long."""

from __future__ import annotations

import pytest
from msgspec import Raw

from artcafe_proto.limits import MAX_SETTLED_COMMANDS, MAX_STORED_BODIES_BYTES, SETTLED_LIFE_S
from artcafe_proto.messages import CommandData
from artcafe_proto.policies.ledger import EntryState, Ledger, fingerprint


def settled(ledger: Ledger, command_id: str, body: bytes = b"{}", mono: float = 0.0) -> None:
    ledger.open(command_id, 1)
    ledger.answer(command_id, body)
    ledger.settle([command_id], mono)


def test_an_entry_goes_from_open_to_answered_to_settled() -> None:
    ledger = Ledger()
    ledger.open("a", 1)
    entry = ledger.entries.get("a")
    assert entry is not None
    assert entry.state is EntryState.OPEN
    ledger.answer("a", b"body")
    assert (entry.state, entry.body, ledger.stored_bytes) == (EntryState.ANSWERED, b"body", 4)
    ledger.settle(["a"], 5.0)
    assert (entry.state, entry.body) == (EntryState.SETTLED, b"body")


@pytest.mark.repeats
def test_settled_entries_go_by_number_oldest_first() -> None:
    ledger = Ledger()
    for number in range(MAX_SETTLED_COMMANDS + 1):
        settled(ledger, str(number))
    assert len(ledger) == MAX_SETTLED_COMMANDS
    assert ledger.entries.get("0") is None
    assert ledger.entries.get("1") is not None
    assert ledger.stored_bytes == 2 * MAX_SETTLED_COMMANDS


def test_settled_entries_go_by_age() -> None:
    ledger = Ledger()
    settled(ledger, "old", mono=0.0)
    settled(ledger, "young", mono=SETTLED_LIFE_S)
    assert ledger.entries.get("old") is None
    assert ledger.entries.get("young") is not None


@pytest.mark.repeats
def test_open_and_answered_entries_are_never_let_go() -> None:
    ledger = Ledger()
    ledger.open("open", 1)
    ledger.open("answered", 1)
    ledger.answer("answered", b"x" * 1000)
    for number in range(MAX_SETTLED_COMMANDS + 10):
        settled(ledger, str(number), mono=SETTLED_LIFE_S * 2)
    assert ledger.entries.get("open") is not None
    answered = ledger.entries.get("answered")
    assert answered is not None
    assert answered.body == b"x" * 1000


def test_beyond_the_limit_settled_bodies_go_and_leave_the_id() -> None:
    ledger = Ledger()
    half = b"x" * (MAX_STORED_BODIES_BYTES // 2)
    for command_id in "abc":
        settled(ledger, command_id, half)
    bodies = {command_id: entry.body for command_id in "abc" if (entry := ledger.entries.get(command_id)) is not None}
    assert bodies == {"a": None, "b": half, "c": half}
    assert ledger.stored_bytes == MAX_STORED_BODIES_BYTES


def test_a_new_response_pushes_out_the_oldest_settled_body() -> None:
    ledger = Ledger()
    settled(ledger, "a", b"x" * MAX_STORED_BODIES_BYTES)
    ledger.open("b", 1)
    ledger.answer("b", b"y")
    assert (ledger.stored_bytes, len(ledger)) == (1, 2)


def test_an_entry_whose_body_went_before_it_goes_too() -> None:
    ledger = Ledger()
    settled(ledger, "a", b"x" * MAX_STORED_BODIES_BYTES, mono=0.0)
    settled(ledger, "b", b"y", mono=1.0)
    settled(ledger, "c", b"z", mono=SETTLED_LIFE_S)
    assert ledger.entries.get("a") is None
    assert (ledger.stored_bytes, len(ledger)) == (2, 2)


def test_a_command_given_back_is_forgotten() -> None:
    ledger = Ledger()
    ledger.open("a", 1)
    ledger.forget("a")
    assert ledger.entries.get("a") is None


@pytest.mark.parametrize(
    "other", [CommandData("other", Raw(b"{}")), CommandData("run", Raw(b'{"a":1}')), CommandData("ru", Raw(b"n{}"))]
)
def test_cmd_2_other_content_has_another_fingerprint(other: CommandData) -> None:
    command = CommandData("run", Raw(b"{}"), 5.0)
    assert fingerprint(command) == fingerprint(CommandData("run", Raw(b"{}")))
    assert fingerprint(command) != fingerprint(other)


def test_cmd_11_a_poisoned_response_is_taken_back_once_with_its_bytes() -> None:
    ledger = Ledger()
    for name in ("kept", "poisoned"):
        ledger.open(name, 1)
        ledger.answer(name, b"12345")
    assert ledger.poisoned("poisoned") == b"12345"
    entry = ledger.entries.get("poisoned")
    assert entry is not None
    assert (entry.state, entry.body, ledger.stored_bytes) == (EntryState.OPEN, None, 5)
    assert ledger.poisoned("poisoned") is None
    ledger.answer("poisoned", b"123")
    assert ledger.poisoned("poisoned") is None
    assert (entry.state, ledger.stored_bytes) == (EntryState.ANSWERED, 8)


def test_settled_entries_go_in_order_by_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.ledger.MAX_SETTLED_COMMANDS", 3)
    monkeypatch.setattr("artcafe_proto.policies.ledger.MAX_STORED_BODIES_BYTES", 5)
    ledger = Ledger()
    ledger.open("open", 1)
    for name in "abcd":
        settled(ledger, name, b"12")
    assert [name for name in ("open", *"abcd") if ledger.entries.get(name)] == ["open", *"bcd"]
    kept = {name: entry.body for name in "bcd" if (entry := ledger.entries.get(name)) is not None}
    assert kept == {"b": None, "c": b"12", "d": b"12"}
    assert ledger.stored_bytes == 4
    ledger.settle(["a", "open"], 0.0)
    assert len(ledger) == 4
    ledger.forget("open")
    assert len(ledger) == 3


def test_bodies_may_fill_their_bound_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("artcafe_proto.policies.ledger.MAX_STORED_BODIES_BYTES", 4)
    ledger = Ledger()
    settled(ledger, "a", b"12")
    settled(ledger, "b", b"12")
    assert ledger.stored_bytes == 4
