"""Policies that remember: the ledger beside a dictionary, the outbox beside three lists."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from artcafe_proto.config import LinkSettings
from artcafe_proto.links import LinkEnd
from artcafe_proto.messages import CommandData
from artcafe_proto.outputs import Outputs
from artcafe_proto.policies import ledger as ledger_module
from artcafe_proto.policies import outbox as outbox_module
from artcafe_proto.policies.ledger import EntryState, Ledger, fingerprint
from artcafe_proto.policies.outbox import Item, Outbox

# --- ledger -----------------------------------------------------------------------------------------------------------

IDS = st.sampled_from([f"cmd-{number}" for number in range(8)])
KEPT, LIFE_S, BODIES_BYTES = 3, 100.0, 10


class Known(NamedTuple):
    """What the model knows of a command id. `body` is the response as long as it is kept."""

    state: EntryState
    body: bytes | None = None
    settled_at: float = 0.0
    replaced: bool = False


class LedgerModel(RuleBasedStateMachine):
    """CMD-1 with small limits: three settled ids, 100 s, 10 bytes of bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = pytest.MonkeyPatch()
        self.limits.setattr(ledger_module, "MAX_SETTLED_COMMANDS", KEPT)
        self.limits.setattr(ledger_module, "SETTLED_LIFE_S", LIFE_S)
        self.limits.setattr(ledger_module, "MAX_STORED_BODIES_BYTES", BODIES_BYTES)
        self.ledger = Ledger()
        self.known: dict[str, Known] = {}
        self.settled: list[str] = []
        self.mono = 8.0

    def teardown(self) -> None:
        self.limits.undo()

    def ids(self, state: EntryState) -> list[str]:
        return [command_id for command_id, known in self.known.items() if known.state is state]

    def stored_bytes(self) -> int:
        return sum(len(known.body or b"") for known in self.known.values())

    def shed_bodies(self) -> None:
        for command_id in self.settled:
            if self.stored_bytes() > BODIES_BYTES:
                self.known[command_id] = self.known[command_id]._replace(body=None)

    @rule(seconds=st.sampled_from([0.0, 1.0, 60.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.mono += seconds

    @rule(command_id=IDS)
    def accept(self, command_id: str) -> None:
        if command_id not in self.known:
            self.ledger.open(command_id, 7)
            self.known[command_id] = Known(EntryState.OPEN)

    @rule(data=st.data(), size=st.integers(0, 9))
    def answer(self, data: st.DataObject, size: int) -> None:
        if candidates := self.ids(EntryState.OPEN):
            command_id = data.draw(st.sampled_from(candidates))
            self.ledger.answer(command_id, b"x" * size)
            self.known[command_id] = self.known[command_id]._replace(state=EntryState.ANSWERED, body=b"x" * size)
            self.shed_bodies()

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        candidates = [each for each in self.ids(EntryState.OPEN) if not self.known[each].replaced]
        if candidates:
            command_id = data.draw(st.sampled_from(candidates))
            self.ledger.forget(command_id)
            del self.known[command_id]

    @rule(data=st.data())
    def find_poison(self, data: st.DataObject) -> None:
        if candidates := self.ids(EntryState.ANSWERED):
            command_id = data.draw(st.sampled_from(candidates))
            known = self.known[command_id]
            body = self.ledger.poisoned(command_id)
            if known.replaced:
                assert body is None
            else:
                assert body == known.body
                self.known[command_id] = Known(EntryState.OPEN, replaced=True)

    @rule(command_ids=st.lists(IDS, max_size=3))
    def settle(self, command_ids: list[str]) -> None:
        """Of any ids: a response may settle after its command was let go, or replaced."""
        self.ledger.settle(command_ids, self.mono)
        for command_id in command_ids:
            known = self.known.get(command_id)
            if known is not None and known.state is EntryState.ANSWERED:
                self.known[command_id] = known._replace(state=EntryState.SETTLED, settled_at=self.mono)
                self.settled.append(command_id)
        self.shed_bodies()
        for old in list(self.settled):
            if self.settled.index(old) < len(self.settled) - KEPT or self.mono - self.known[old].settled_at >= LIFE_S:
                self.settled.remove(old)
                del self.known[old]

    @invariant()
    def agrees(self) -> None:
        assert len(self.ledger) == len(self.known)
        for command_id, known in self.known.items():
            entry = self.ledger.entries.get(command_id)
            assert entry is not None
            assert Known(entry.state, entry.body, entry.settled_at, entry.is_replacement) == known
            assert entry.fingerprint == 7
        assert self.ledger.stored_bytes == self.stored_bytes()
        assert self.stored_bytes() <= BODIES_BYTES or not any(self.known[each].body for each in self.settled)


TestLedger = LedgerModel.TestCase

CONTENTS = st.builds(
    CommandData, st.text(max_size=8), st.binary(max_size=8).map(msgspec.Raw), st.none() | st.floats(1, 9)
)


@given(CONTENTS, CONTENTS)
def test_cmd_2_a_fingerprint_is_of_the_name_and_the_arguments(one: CommandData, other: CommandData) -> None:
    same = one.command == other.command and bytes(one.args) == bytes(other.args)
    assert (fingerprint(one) == fingerprint(other)) == same


# --- outbox -----------------------------------------------------------------------------------------------------------

PING_TIMEOUT_S, SETTLE_S, FRUITLESS = 4.0, 6.0, 3
CAUTIOUS, SUDDEN_S = 4, 1.0
MAX_RESPONSES, MAX_RESPONSE_BYTES, MAX_MESSAGES, MAX_MESSAGE_BYTES = 4, 60, 3, 40


class Letter(NamedTuple):
    """An item as the model sees it."""

    name: str
    size: int
    is_response: bool


class OutboxModel(RuleBasedStateMachine):
    """CMD-3 and CMD-11 with small limits: what waits, what was sent when, and what is over, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = pytest.MonkeyPatch()
        for name, value in (
            ("SETTLE_WITHOUT_PONG_S", SETTLE_S),
            ("MAX_FRUITLESS_LINKS", FRUITLESS),
            ("MAX_CAUTIOUS_ITEMS", CAUTIOUS),
            ("SUDDEN_END_S", SUDDEN_S),
            ("MAX_UNSETTLED_RESPONSES", MAX_RESPONSES),
            ("MAX_UNSETTLED_RESPONSE_BYTES", MAX_RESPONSE_BYTES),
            ("MAX_UNSETTLED_MESSAGES", MAX_MESSAGES),
            ("MAX_UNSETTLED_MESSAGE_BYTES", MAX_MESSAGE_BYTES),
        ):
            self.limits.setattr(outbox_module, name, value)
        self.outbox = Outbox()
        self.mono = 8.0
        self.made = 0
        self.pings = 0
        self.waiting: list[Letter] = []
        self.sent: list[Letter] = []
        self.fruitless: dict[str, int] = {}
        self.group = 0
        self.held: Letter | None = None
        self.tried: Letter | None = None
        self.sent_at: dict[str, float] = {}
        self.ping: tuple[int, list[Letter]] | None = None
        """The ping under way, 0 for the time that stands for one, and what it covers."""
        self.left_at: float | None = None
        """When that had left."""
        self.has_ponged = self.assumes = False
        self.begin_link()

    def begin_link(self) -> None:
        """Something comes on it all the time."""
        self.link = LinkEnd(1, LinkSettings(), Outputs(), self.mono)
        self.link.liveness.received(1e9)
        self.pings = self.place = 0

    def teardown(self) -> None:
        self.limits.undo()

    def names(self, items: list[Item]) -> list[str]:
        return [item.message_id for item in items]

    def settle(self, letters: list[Letter]) -> list[str]:
        """Take out of the model what is settled; always what was sent first."""
        assert self.sent[: len(letters)] == letters
        del self.sent[: len(letters)]
        if letters and not self.sent and self.group and (self.tried is None or self.tried in letters):
            self.tried = None
            self.group = 2 * self.group if self.group < CAUTIOUS and not self.assumes else 0
        return [letter.name for letter in letters]

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 4.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.mono += seconds

    @rule(size=st.integers(0, 50), is_response=st.booleans())
    def put(self, size: int, is_response: bool) -> None:
        self.made += 1
        letter = Letter(f"{self.made}", size, is_response)
        self.outbox.put(Item(letter.name, b"x" * size, f"cmd-{letter.name}" if is_response else None))
        self.waiting.append(letter)

    @rule(room=st.integers(1, 120))
    def send(self, room: int) -> None:
        most = len(self.waiting) if not self.group else 0 if self.sent else self.group
        assert self.outbox.has_news == bool(self.waiting[:most] or self.outbox.is_uncovered)
        count, left = 0, room
        while left > 0 and count < len(self.waiting[:most]):
            left -= self.waiting[count].size
            count += 1
        going, self.waiting = self.waiting[:count], self.waiting[count:]
        items = self.outbox.send(room, self.mono)
        assert self.names(items) == [letter.name for letter in going]
        self.link.send_all([item.payload for item in items])
        self.sent += going
        self.sent_at |= {letter.name: self.mono for letter in going}

    @rule(last=st.booleans())
    def release(self, last: bool) -> None:
        self.outbox.release(last=last)
        if self.held is None:
            return
        if last:
            self.waiting.append(self.held)
        else:
            self.waiting.insert(0, self.held)
            self.tried, self.group = self.held, 1
        self.held = None

    @rule()
    def ping_if_wanted(self) -> None:
        assert self.outbox.is_uncovered == (self.ping is None and bool(self.sent))
        if self.outbox.is_uncovered:
            self.pings += not self.assumes
            self.outbox.cover(self.link, self.mono)
            self.place = self.link.outflow.written
            self.ping = (0 if self.assumes else self.pings, list(self.sent))
            self.left_at = None if self.link.outflow.unsent else self.mono

    @rule(part=st.sampled_from([0.0, 0.0, 0.5, 1.0]))
    def report(self, part: float) -> None:
        """The driver says how much has not left: nothing, or the last that was written."""
        self.link.unsent(int(part * self.link.outflow.written), self.mono)
        self.outbox.watch(self.link, self.mono)
        if part == 0.0:
            self.left_at = self.mono if self.left_at is None else self.left_at
        else:
            has_left = self.ping is not None and self.link.outflow.has_left(self.place)
            self.left_at = (self.left_at or self.mono) if has_left else None

    @rule(behind=st.integers(0, 2))
    def pong(self, behind: int) -> None:
        answered = max(self.pings - behind, 0)
        settled = self.names(self.outbox.ponged(answered))
        expected: list[str] = []
        if answered:
            if self.assumes:
                self.assumes, self.ping = False, None
            if self.ping is not None and self.ping[0] <= answered:
                expected = self.settle(self.ping[1])
                self.ping = None
            self.has_ponged = True
        assert settled == expected

    @rule()
    def assume(self) -> None:
        due = self.due()
        settled = self.names(self.outbox.assume(self.link, self.mono, PING_TIMEOUT_S))
        if due is None or self.mono < due:
            assert settled == []
        else:
            assert self.ping is not None
            self.assumes, self.group = True, 0
            assert settled == self.settle(self.ping[1])
            self.ping = None

    def due(self) -> float | None:
        """When what was sent settles without a pong."""
        if self.ping is None or self.left_at is None or self.has_ponged:
            return None
        return self.left_at + max(SETTLE_S, PING_TIMEOUT_S)

    @precondition(lambda self: self.outbox.deadline(PING_TIMEOUT_S) is not None)
    @rule()
    def wait_for_the_deadline(self) -> None:
        deadline = self.outbox.deadline(PING_TIMEOUT_S)
        assert deadline is not None
        self.mono = max(self.mono, deadline)
        self.assume()
        assert self.outbox.deadline(PING_TIMEOUT_S) is None

    @rule(close_code=st.sampled_from([0, 0, 0, 1001, 1007, 1009]))
    def lose_link(self, close_code: int) -> None:
        poison = self.outbox.link_lost(self.mono, close_code=close_code)
        back = list(self.sent)
        expected = None
        held, tried, self.held, self.tried = self.held, self.tried, None, None
        if held is not None:
            self.fruitless[held.name] = 0
        if back:
            suspect = max(back, key=lambda letter: letter.size) if close_code == 1009 else back[0]
            sudden = self.mono - self.sent_at[suspect.name] <= SUDDEN_S
            count = self.fruitless[suspect.name] = sudden * (self.fruitless.get(suspect.name, 0) + 1)
            if close_code == 1009 or (close_code == 1007 and len(back) == 1) or (sudden and suspect is tried):
                expected = suspect.name
                back.remove(suspect)
            else:
                self.group = 1 if close_code == 1007 or (sudden and (self.group or count >= 2)) else 0
                if count == FRUITLESS:
                    self.held = suspect
                    back.remove(suspect)
        assert (None if poison is None else poison.message_id) == expected
        self.waiting = [*([] if held is None else [held]), *back, *self.waiting]
        self.sent, self.ping, self.assumes = [], None, False
        self.begin_link()

    @invariant()
    def agrees(self) -> None:
        held = [] if self.held is None else [self.held]
        letters = held + self.sent + self.waiting
        responses = [letter for letter in letters if letter.is_response]
        messages = [letter for letter in letters if not letter.is_response]
        assert (len(self.outbox), self.outbox.waiting) == (len(letters), len(held + self.waiting))
        assert self.outbox.unsettled_commands == [f"cmd-{letter.name}" for letter in responses]
        assert self.outbox.unsettled_messages == [letter.name for letter in messages]
        assert (self.outbox.has_ponged, self.outbox.is_assuming) == (self.has_ponged, self.assumes)
        assert self.outbox.messages == len(messages)
        assert self.outbox.message_bytes == sum(letter.size for letter in messages)
        response_bytes = sum(letter.size for letter in responses)
        assert self.outbox.has_place(0) == (len(responses) < MAX_RESPONSES and response_bytes < MAX_RESPONSE_BYTES)
        for size in (0, 10, 100):
            fits = len(messages) < MAX_MESSAGES and self.outbox.message_bytes + size <= MAX_MESSAGE_BYTES
            assert self.outbox.takes_message(size) == (not messages or fits)
        assert self.outbox.deadline(PING_TIMEOUT_S) == self.due()


TestOutbox = OutboxModel.TestCase
