"""Who waits for what an event will tell: the answer to a call, the settling of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from artcafe_anyio.errors import CallError, NotSettledError
from artcafe_proto.events import CallAnswered, CallFailed, MessageSettled, Undeliverable

if TYPE_CHECKING:
    from artcafe_proto import ArtCafeError
    from artcafe_proto.events import AgentEvent

_STOPPED = "the agent stopped"


class Waiter:
    """One that waits. Made in the turn that asks, so that no answer is missed; `wait` follows."""

    def __init__(self, waiters: dict[int | str, Waiter], key: int | str) -> None:
        self._waiters = waiters
        self._key = key
        self._over = anyio.Event()
        self._result: dict[str, Any] = {}
        self._error: ArtCafeError | None = None
        waiters[key] = self

    @property
    def is_over(self) -> bool:
        """Whether the answer is there."""
        return self._over.is_set()

    def tell(self, result: dict[str, Any] | ArtCafeError) -> None:
        """This is the answer."""
        if isinstance(result, dict):
            self._result = result
        else:
            self._error = result
        self._over.set()

    async def wait(self) -> dict[str, Any]:
        """Wait for the answer; raises the error if it is one. However this ends, it leaves nothing behind."""
        try:
            await self._over.wait()
        finally:
            self._waiters.pop(self._key, None)
        if self._error is not None:
            raise self._error
        return self._result


class WaitingRoom:
    """All that wait in one life of an agent."""

    def __init__(self) -> None:
        self._waiters: dict[int | str, Waiter] = {}

    def enter(self, key: int | str) -> Waiter:
        """Begin to wait: for the call with this number, or for the message with this id."""
        return Waiter(self._waiters, key)

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits."""
        return not self._waiters

    def tell(self, event: AgentEvent) -> None:
        """What happened, to whom it concerns."""
        if not self._waiters:
            return
        match event:
            case CallAnswered():
                self._tell(event.call, event.details)
            case CallFailed():
                self._tell(event.call, CallError(event.reason, event.clause, event.status))
            case MessageSettled():
                self._tell(event.message_id, {})
            case Undeliverable(command_id=None):
                reason = "it was dropped because it cost every link"
                self._tell(event.message_id, NotSettledError(event.message_id, reason, event.clause))
            case _:
                pass

    def close(self) -> None:
        """The agent's life is over: nobody else gets an answer."""
        for key in list(self._waiters):
            if isinstance(key, int):
                self._tell(key, CallError(_STOPPED, "LINK-10", None))
            else:
                self._tell(key, NotSettledError(key, _STOPPED, "CMD-8"))

    def _tell(self, key: int | str, result: dict[str, Any] | ArtCafeError) -> None:
        waiter = self._waiters.get(key)
        if waiter is not None and not waiter.is_over:
            waiter.tell(result)
