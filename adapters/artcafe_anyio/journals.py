"""The journal of an agent: a store in a file, for one life (CMD-1). Only agents that have one import this."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

import anyio

from artcafe_anyio.clocks import first_reading
from artcafe_proto import ConfigError, LocalProtocolError
from artcafe_proto.records import DamagedRecordError
from artcafe_stores import SqliteStore, StoreDamaged, StoreSchema, StoreUnavailable
from artcafe_stores.committing import Committer, close

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from artcafe_anyio.clocks import Clock
    from artcafe_anyio.logs import AgentLog
    from artcafe_proto import Instant
    from artcafe_proto.records import Record

T = TypeVar("T")
JOURNAL_SETTING: Final = "journal_path"


class Journal:
    """The file, from `open` to `aclose`."""

    def __init__(self, path: str, log: AgentLog) -> None:
        self._store: Final = SqliteStore(os.path.expanduser(path))
        self._log = log
        self.committer: Final = Committer(self._store, self._complain)
        """Stores what the core asks for."""

    def __str__(self) -> str:
        return str(self._store)

    async def open(self, restore: Callable[[Journal, Iterable[Record], Instant], T], clock: Clock) -> T:
        """Open the file, away from the event loop, and have `restore` take what it holds, and the moment.

        A damaged file is renamed, and a new one begun. Raises StoreError for one that cannot be used, and ConfigError
        for one that is not kept safe, or in no place for a file.
        """
        try:
            return await self._restore(restore, clock)
        except StoreDamaged as error:
            problem = error.problem
        except DamagedRecordError as error:
            problem = str(error)
        await self._put_aside(problem, clock)
        return await self._restore(restore, clock)

    async def _restore(self, restore: Callable[[Journal, Iterable[Record], Instant], T], clock: Clock) -> T:
        now = first_reading(clock)
        try:
            records = await self._store.open()
        except ConfigError as error:
            raise ConfigError(error.problem, setting=JOURNAL_SETTING) from None
        try:
            return restore(self, records, now)
        except LocalProtocolError as error:
            raise StoreSchema(f"{self} cannot be the journal, and is not changed: {error}") from error

    async def _put_aside(self, problem: str, clock: Clock) -> None:
        new_path = await self._store.put_aside(f"damaged-{_second_of(clock().wall)}")
        if new_path is not None:
            lost = "commands that were accepted may run again, and responses that were not settled are lost"
            text = f"the journal is damaged ({problem}), is now {new_path}, and a new one begins: {lost} [CMD-1]"
            self._log.line(logging.ERROR, text)

    async def aclose(self) -> None:
        """Close the file, in 5 s at most, also if the agent is cancelled; at once if it hangs."""
        with anyio.CancelScope(shield=True):
            await close(self._store, hangs=self.committer.is_storing)

    def failure(self, unstored: int) -> StoreUnavailable:
        """What to say of so many records that are not stored at the end."""
        return StoreUnavailable(
            f"the journal {self} did not take everything in 5 s, and the agent ended without storing {unstored} of its "
            "records: messages among them are lost, and so are responses, whose commands the next process answers "
            "'interrupted', or runs again if they are idempotent"
        )

    def _complain(self, complaint: str) -> None:
        self._log.line(logging.ERROR, f"cannot store, trying again: {complaint} [CMD-1]")


def _second_of(wall: float) -> str:
    try:
        return f"{datetime.fromtimestamp(wall, UTC):%Y%m%dT%H%M%SZ}"
    except (ValueError, OverflowError, OSError):
        return "19700101T000000Z"  # of a clock that shows no date
