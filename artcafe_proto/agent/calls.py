"""Calls: requests about the agent itself, for callers that want them (STAT-2).

One at a time, on a connection of their own that lasts as long as there are any. A call waits for a usable token; a 401
rejects the one it carried (TOK-3), and it is made once more with the next.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from artcafe_proto.agent.authentication import read_details
from artcafe_proto.agent.dialing import CALL_DIAL, AgentTimer, Dialer, ExchangeKind
from artcafe_proto.errors import LocalProtocolError, RemoteProtocolError
from artcafe_proto.events import CallAnswered, CallFailed
from artcafe_proto.limits import MAX_WAITING_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from artcafe_proto.config import AgentConfig
    from artcafe_proto.exchanges import HttpRequest, HttpResponse
    from artcafe_proto.outputs import AgentOutputs
    from artcafe_proto.policies.tokens import Token
    from artcafe_proto.timers import Timers


class _Call(msgspec.Struct, gc=False):
    number: int
    request: Callable[[Token], HttpRequest]
    deadline: float
    is_again: bool = False


class Calls:
    """The calls that wait, the first of which may be under way."""

    def __init__(
        self, config: AgentConfig, outputs: AgentOutputs, timers: Timers[AgentTimer], ids: Iterator[int]
    ) -> None:
        self._config = config
        self._outputs = outputs
        self._ids = ids
        self.dialer: Final = Dialer(config, outputs, timers, ids, CALL_DIAL)
        self._calls: deque[_Call] = deque()
        self._carried: Token | None = None
        """By the first call, which is under way then."""

    @property
    def deadline(self) -> float | None:
        """When to call `expire` next; later calls have later deadlines."""
        return self._calls[0].deadline if self._calls else None

    def check_room(self) -> None:
        """Raise LocalProtocolError if too many calls wait."""
        if len(self._calls) >= MAX_WAITING_CALLS:
            raise LocalProtocolError(f"{MAX_WAITING_CALLS} calls wait already: wait until one is answered")

    def add(self, request: Callable[[Token], HttpRequest], mono: float) -> int:
        """Queue a call and return its number; `request` makes it with a token."""
        call = _Call(next(self._ids), request, mono + self._config.call_timeout)
        self._calls.append(call)
        return call.number

    def send(self, token: Token | None, mono: float) -> bool:
        """Make the first call, if there is one that is not under way and `token` is usable. False if not.

        One that has not gone out is made anew if it carries another token, which may have been refused (TOK-3).
        """
        if self._carried is not token and self.dialer.is_waiting:
            self.dialer.drop()
            self._carried = None
        if not self._calls or self._carried is not None or token is None or not token.usable(mono):
            return False
        token.used = True
        self._carried = token
        self.dialer.ask(ExchangeKind.CALL, self._calls[0].request(token), self._config.api.origin, mono)
        return True

    def answered(self, request: HttpRequest, response: HttpResponse) -> Token | None:
        """The first call was answered; the token it carried, if that was refused (TOK-3)."""
        carried, self._carried = self._carried, None
        call = self._calls[0]
        if response.status == 401 and not call.is_again:
            call.is_again = True
            return carried
        try:
            self._end(CallAnswered(call.number, read_details(request, response)))
        except RemoteProtocolError as error:
            self._end(CallFailed(call.number, error.reason, error.clause, response.status))
        if not self._calls:
            self.dialer.drop()
        return carried if response.status == 401 else None

    def fail(self, reason: str, clause: str) -> None:
        """The first call has failed, and its connection with it."""
        self.dialer.drop()
        self._end(CallFailed(self._calls[0].number, reason, clause, None))

    def expire(self, mono: float) -> None:
        """Give up the calls whose time is over."""
        while self._calls and self._calls[0].deadline <= mono:
            self.fail(f"no answer within {self._config.call_timeout:g} s", "STAT-2")

    def cancel(self, number: int) -> bool:
        """Give up a call that its caller has given up; the platform may have read it already. False if it is over."""
        position = next((i for i, call in enumerate(self._calls) if call.number == number), None)
        if position is None:
            return False
        if position == 0 and self._carried is not None:
            self.fail(_CANCELLED, "STAT-2")
        else:
            del self._calls[position]
            self._outputs.events.append(CallFailed(number, _CANCELLED, "STAT-2", None))
            if not self._calls:
                self.dialer.drop()
        return True

    def fail_all(self, reason: str, clause: str) -> None:
        """Give up every call."""
        while self._calls:
            self.fail(reason, clause)

    def _end(self, event: CallAnswered | CallFailed) -> None:
        self._outputs.events.append(event)
        self._calls.popleft()
        self._carried = None


_CANCELLED: Final = "the caller gave it up"
