"""Why a store does not open, or does not store."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from artcafe_proto import ArtCafeError

if TYPE_CHECKING:
    from artcafe_proto.effects import PersistFailure

__all__ = ["StoreDamaged", "StoreError", "StoreFull", "StoreLocked", "StoreSchema", "StoreUnavailable"]


class StoreError(ArtCafeError):
    """Base of what a store raises. The message names the store and says what to do.

    `failure` is what to tell the core by `persist_failed`.
    """

    failure: ClassVar[PersistFailure] = "unavailable"


class StoreFull(StoreError):  # noqa: N818 it says what the store is
    """There is no room. Once there is some, the same batch can be stored without a restart."""

    failure: ClassVar[PersistFailure] = "full"


class StoreUnavailable(StoreError):  # noqa: N818 it says what the store is
    """It does not answer, is busy or not open, or the reason is unknown: it may pass."""


class StoreLocked(StoreError):  # noqa: N818 it says what the store is
    """Another process has it, or this one has opened it before.

    `pid` and `host` say who, if that is known, and `since` from when on, in seconds of the wall clock.
    """

    def __init__(self, message: str, *, pid: int | None, host: str | None, since: float | None) -> None:
        super().__init__(message)
        self.pid = pid
        self.host = host
        self.since = since


class StoreDamaged(StoreError):  # noqa: N818 it says what the store is
    """Its file is not what was written. The message names the file and what can be done; nothing is repaired.

    `problem` is what was found, alone.
    """

    def __init__(self, message: str, *, problem: str = "") -> None:
        super().__init__(message)
        self.problem = problem


class StoreSchema(StoreError):  # noqa: N818 it says what differs
    """It was written by a newer version of this package, or by another program. Nothing in it was changed."""


def damaged(path: str, problem: str) -> StoreDamaged:
    """The error for a file that is not what was written, or whose records are not."""
    return StoreDamaged(
        f"{path} is damaged ({problem}): move it away, with the files beside it that end in -wal and -shm,"
        " and put a backup in its place; docs/stores.md says what else can be done",
        problem=problem,
    )
