"""The tenant of a simulation: it sends commands and messages, and keeps account of what became of the commands."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from artcafe_proto.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from artcafe_proto.instants import Instant
    from artcafe_proto.platform.commands import Command
    from artcafe_proto.platform.hub import PlatformHub
    from artcafe_proto.testing.nodes import Stage

TENANT: Final = "tenant-1"
TENANT_TOKEN: Final = "the-token-of-tenant-1"  # noqa: S105 of a simulation alone

IDEMPOTENT: Final = "repeatable"
"""The name of commands that may run again, where agents have journals (CMD-9)."""

_SIZES: Final = (0, 0, 40, 2000)
_LARGE: Final = 150_000
_EXPIRIES_S: Final = (None, None, None, 8.0, 60.0)


class Account(msgspec.Struct):
    """One command that the platform has accepted and not forgotten."""

    agent_id: str
    number: int
    """Its place among all that were accepted."""
    content: tuple[int, int, float | None]
    answers: int = 0
    has_expired: bool = False
    expires_at: float = math.inf
    """On the platform's monotonic clock; its timers may be late."""

    over_at: float = math.inf
    """When it was answered or had expired, in the simulation's time."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more has to come."""
        return self.answers > 0 or self.has_expired


class Served(Protocol):
    """A platform whose hub is called within its turns."""

    hub: PlatformHub

    @property
    def now(self) -> Instant:
        """Both of its clocks."""
        ...

    @property
    def mono(self) -> float:
        """Its monotonic clock."""
        ...

    def turn(self, action: Callable[[Instant], object]) -> None:
        """Do something to the hub, and carry out what follows."""
        ...


class Tenant:
    """Whoever owns the agents. Its commands are drawn, one in `gap_s` on average for each agent."""

    def __init__(self, sim: Stage, platform: Served, rng: Random, *, gap_s: float) -> None:
        self._sim = sim
        self._platform = platform
        self._rng = rng
        self._gap_s = gap_s
        self.some_are_idempotent: bool = False
        """Whether every third command may run again."""
        self.accounts: dict[str, Account] = {}
        self.unanswered: int = 0
        self.accepted: int = 0
        self.accepted_over_http: set[str] = set()
        """Ids of commands, also of those that the platform has forgotten since."""

    def begin(self, agent_id: str) -> None:
        """Send commands to an agent, until the calm."""
        self._sim.after(self._rng.uniform(0.0, 5.0), lambda: self._go_on(agent_id))

    def _go_on(self, agent_id: str) -> None:
        if self._sim.is_calm:
            return
        self._sim.after(self._rng.expovariate(1 / self._gap_s), lambda: self._go_on(agent_id))
        if self._rng.random() < 0.1:
            self._say(agent_id)
        elif not self.has_enough:
            size = _LARGE if self._rng.random() < 0.005 else self._rng.choice(_SIZES)
            content = (self.accepted, size, self._rng.choice((2.0, 10.0, 30.0, None)))
            self.send(agent_id, content, self._rng.choice(_EXPIRIES_S))

    @property
    def has_enough(self) -> bool:
        """Whether as many commands wait as it lets wait."""
        return self.unanswered >= self._sim.world.most_unanswered * len(self._sim.agent_ids)

    def _say(self, agent_id: str) -> None:
        hub = self._platform.hub
        with suppress(ApiError):  # it is not online
            self._platform.turn(lambda now: hub.send_message(TENANT, agent_id, {"n": 1}, now))

    def send(
        self,
        agent_id: str,
        content: tuple[int, int, float | None] = (0, 0, None),
        expires_in_s: float | None = None,
        command_id: str | None = None,
    ) -> str | None:
        """Send a command; its id, None if the platform holds as many as it may.

        `content`: a number, how many characters more, and its timeout.
        """
        accepted: list[str] = []

        def send(now: Instant) -> None:
            command = self._platform.hub.send_command(
                TENANT,
                agent_id,
                self.name(content),
                self.args(content),
                timeout_s=content[2],
                expires_in_s=expires_in_s,
                command_id=command_id,
                now=now,
            )
            self._enter(command, content)
            accepted.append(command.command_id)

        with suppress(ApiError):
            self._platform.turn(send)
        return accepted[0] if accepted else None

    def name(self, content: tuple[int, int, float | None]) -> str:
        """The name of a command with this content."""
        return IDEMPOTENT if self.some_are_idempotent and content[0] % 3 == 1 else "work"

    def args(self, content: tuple[int, int, float | None]) -> dict[str, object]:
        """The arguments of a command with this content."""
        number, size, _ = content
        return {"n": number, "text": "x" * size}

    def enter_if_accepted(self, agent_id: str, command_id: str, content: tuple[int, int, float | None]) -> bool:
        """Enter a command that was sent over HTTP, if the platform has accepted it; returns whether it has."""
        with suppress(ApiError):
            command = self._platform.hub.command(TENANT, command_id, agent_id)
            self._enter(command, content)
            self.accepted_over_http.add(command_id)
            return True
        return False

    def _enter(self, command: Command, content: tuple[int, int, float | None]) -> None:
        self.accepted += 1
        self.unanswered += 1
        expires_at = self._platform.mono + command.expires_at - command.accepted_at
        self.accounts[command.command_id] = Account(command.agent_id, self.accepted, content, expires_at=expires_at)

    # --- what becomes of commands -------------------------------------------------------------------------------------

    def answered(self, command_id: str) -> int:
        """A final response came; how many that makes."""
        account = self._end(command_id)
        account.answers += 1
        return account.answers

    def expired(self, command_id: str) -> None:
        """No final response came in time."""
        self._end(command_id).has_expired = True

    def _end(self, command_id: str) -> Account:
        account = self.accounts[command_id]
        self.unanswered -= not account.is_over
        account.over_at = min(account.over_at, self._sim.time)
        return account

    def restored(self) -> None:
        """The platform has its memory from a disk: what it had not stored is sent again, under the same ids."""
        wall, mono = self._platform.now
        lost: dict[str, Account] = {}
        for command_id, account in self.accounts.items():
            try:
                command = self._platform.hub.command(TENANT, command_id, account.agent_id)
            except ApiError:
                lost[command_id] = account
                continue
            account.expires_at = mono + min(command.expires_at - wall, command.expires_at - command.accepted_at)
            if command.is_over and not account.is_over:
                self._end(command_id)  # it was over, and the event that tells it went nowhere
            account.answers = int(command.response is not None)
            account.has_expired = command.is_over and (command.late or command.response is None)
        self.accounts = {command_id: each for command_id, each in self.accounts.items() if command_id not in lost}
        self.unanswered -= sum(not each.is_over for each in lost.values())
        self._send_again(lost)

    def forgotten(self) -> None:
        """The platform lost its memory: what it has not answered is sent again, under the same ids."""
        forgotten, self.accounts, self.unanswered = self.accounts, {}, 0
        self._send_again(forgotten)

    def _send_again(self, forgotten: dict[str, Account]) -> None:
        for command_id, account in forgotten.items():
            if not account.is_over:
                self.send(account.agent_id, account.content, command_id=command_id)
