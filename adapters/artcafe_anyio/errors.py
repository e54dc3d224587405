"""What a running agent's methods raise when something does not come about, though nobody misused them.

And how an error leaves the task groups that it has gone through, or the one that anyio has made of it.
"""

from __future__ import annotations

from typing import cast

from artcafe_proto import ArtCafeError

__all__ = ["CallError", "GaveUpError", "NotSettledError"]


class GaveUpError(ArtCafeError):
    """The agent had no link for `give_up_after` and has stopped (LINK-6). The message names the last failure."""


class CallError(ArtCafeError):
    """A request about the agent itself failed (STAT-2): it was refused, or not answered in time, or the agent stopped.

    `reason` and `clause` say why; `status` is the platform's answer, None if there was none.
    """

    def __init__(self, reason: str, clause: str, status: int | None) -> None:
        super().__init__(f"the call failed: {reason} [{clause}]")
        self.reason = reason
        self.clause = clause
        self.status = status


class NotSettledError(ArtCafeError):
    """The platform may not have an application message: it was dropped (CMD-11), or the agent stopped before (CMD-8).

    `message_id` says which; `reason` and `clause` why.
    """

    def __init__(self, message_id: str, reason: str, clause: str) -> None:
        super().__init__(f"message {message_id!r} is not settled: {reason} [{clause}]")
        self.message_id = message_id
        self.reason = reason
        self.clause = clause


def first_error(error: Exception) -> Exception:
    """The error that ended a task group, however deep it lies in groups of groups."""
    if isinstance(error, ExceptionGroup):
        return first_error(cast("ExceptionGroup[Exception]", error).exceptions[0])
    return error


def wrapped_in(error: BaseException) -> BaseException:
    """What the system raised, where anyio wraps it; else `error` itself."""
    return error if error.__cause__ is None else error.__cause__  # which may be false, as an author makes it
