"""What is remembered of commands, so that each is executed at most once (CMD-1, CMD-2)."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from artcafe_proto.limits import MAX_SETTLED_COMMANDS, MAX_STORED_BODIES_BYTES, SETTLED_LIFE_S
from artcafe_proto.regions import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import CommandData


class EntryState(Enum):
    """The life of a command in the ledger."""

    OPEN = "open"
    """Queued or running."""
    ANSWERED = "answered"
    """It has its final response, which the platform may not have read."""
    SETTLED = "settled"
    """The platform has read its final response."""


class EntryInput(Enum):
    """What moves an entry."""

    ANSWER = "answer"
    TAKE_BACK = "take back"
    """Its response cost every link: another one takes its place (CMD-11)."""
    SETTLE = "settle"


ENTRY: Final = Table(
    initial=EntryState.OPEN,
    transitions={
        (EntryState.OPEN, EntryInput.ANSWER): EntryState.ANSWERED,
        (EntryState.ANSWERED, EntryInput.TAKE_BACK): EntryState.OPEN,
        (EntryState.ANSWERED, EntryInput.SETTLE): EntryState.SETTLED,
    },
    refusals={
        EntryInput.ANSWER: "a command has one final response",
        EntryInput.TAKE_BACK: "only what waits to be settled can be undeliverable",
        EntryInput.SETTLE: "there is no response to settle, or it is settled",
    },
)

# Rows of the table, for what happens with every command: CPython 3.11 takes ten times as long for a member as a name.
_OPEN: Final = ENTRY.initial
_ANSWERED: Final = ENTRY.after(EntryState.OPEN, EntryInput.ANSWER)
_SETTLED: Final = ENTRY.after(EntryState.ANSWERED, EntryInput.SETTLE)


class Entry(msgspec.Struct, gc=False):
    """One command id. `body` is its encoded final response, None before there is one and after it was let go."""

    fingerprint: int
    state: EntryState = EntryState.OPEN
    body: bytes | None = None
    settled_at: float = 0.0
    is_replacement: bool = False
    """Its response stands for one that could not be delivered (CMD-11)."""
    repeated_at: Instant | None = None
    """When it was last asked for again, and answered."""
    n: int = 0
    """The number of its record in a journal; 0 without one."""


class Ledger:
    """Command ids and their final responses. Only settled entries are ever let go (CMD-1)."""

    def __init__(self) -> None:
        self.entries: Final[dict[str, Entry]] = {}
        """What is known of command ids, to be read."""
        self._settled: deque[str] = deque()
        self._bodiless = 0  # so many of the oldest settled entries have let go of their bodies, no others
        self.stored_bytes: int = 0
        """Bytes of all bodies held."""

    def __len__(self) -> int:
        return len(self.entries)

    def open(self, command_id: str, fingerprint: int) -> Entry:
        """A command was accepted."""
        entry = self.entries[command_id] = Entry(fingerprint)
        return entry

    def forget(self, command_id: str) -> Entry:
        """A command was given back unstarted (CMD-9)."""
        return self.entries.pop(command_id)

    def restore_settled(self, command_id: str, fingerprint: int, settled_at: float) -> Entry:
        """A command of an earlier life, whose response the platform has read. Oldest first, before all others."""
        entry = self.entries[command_id] = Entry(fingerprint, _SETTLED, None, settled_at)
        self._settled.append(command_id)
        self._bodiless += 1
        return entry

    def answer(self, command_id: str, body: bytes) -> Entry:
        """An open command has its final response."""
        entry = self.entries[command_id]
        entry.state = _ANSWERED if entry.state is _OPEN else ENTRY.after(entry.state, EntryInput.ANSWER)
        entry.body = body
        self.stored_bytes += len(body)
        if self.stored_bytes > MAX_STORED_BODIES_BYTES:
            self._shed_bodies()
        return entry

    def poisoned(self, command_id: str) -> bytes | None:
        """Take back a response that cannot be delivered, so that another is given; None if it is another already."""
        entry = self.entries[command_id]
        body = entry.body
        if entry.is_replacement or body is None:
            return None
        entry.state = ENTRY.after(entry.state, EntryInput.TAKE_BACK)
        self.stored_bytes -= len(body)
        entry.body = None
        entry.is_replacement = True
        return body

    def settle(self, command_ids: Iterable[str], mono: float) -> Sequence[Entry]:
        """The platform has read these final responses; from now on the entries may be let go. Returns which were."""
        for command_id in command_ids:
            entry = self.entries.get(command_id)
            if entry is not None and entry.state is _ANSWERED:
                entry.state = _SETTLED
                entry.settled_at = mono
                self._settled.append(command_id)
        if self.stored_bytes > MAX_STORED_BODIES_BYTES:
            self._shed_bodies()
        dropped: list[Entry] = []
        while len(self._settled) > MAX_SETTLED_COMMANDS:
            dropped.append(self._drop_oldest())
        while self._settled and mono - self.entries[self._settled[0]].settled_at >= SETTLED_LIFE_S:
            dropped.append(self._drop_oldest())
        return dropped

    def _shed_bodies(self) -> None:
        while self.stored_bytes > MAX_STORED_BODIES_BYTES and self._bodiless < len(self._settled):
            entry = self.entries[self._settled[self._bodiless]]
            assert entry.body is not None, "of what is settled, the oldest lose theirs first"
            self.stored_bytes -= len(entry.body)
            entry.body = None
            self._bodiless += 1

    def _drop_oldest(self) -> Entry:
        entry = self.entries.pop(self._settled.popleft())
        if entry.body is None:
            self._bodiless -= 1
        else:
            self.stored_bytes -= len(entry.body)
        return entry


def fingerprint(command: CommandData) -> int:
    """A checksum of a command's content, to notice repeats that are none (CMD-2)."""
    return crc32(command.args, crc32(command.command.encode() + b"\0"))
