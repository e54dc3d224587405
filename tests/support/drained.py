"""The outputs of a hub's one drain, by whom they are of; and what one of its connections waits for."""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

from artcafe_proto import PlatformHub, PlatformProtocol, PlatformSession
from artcafe_proto.effects import PlatformEffect, PlatformSessionEffect
from artcafe_proto.events import RequestArrived
from support.well_formed import check_well_formed

Connection = PlatformSession | PlatformProtocol
_OF_CONNECTIONS = PlatformEffect | PlatformSessionEffect | RequestArrived


class _Kept:
    def __init__(self) -> None:
        self.events: deque[Any] = deque()
        self.of: dict[int, deque[Any]] = {}


_kept: WeakKeyDictionary[PlatformHub, _Kept] = WeakKeyDictionary()


def hub_of(connection: Connection) -> PlatformHub:
    """Where it is registered."""
    return connection._hub  # pyright: ignore[reportPrivateUsage]


def _drain(hub: PlatformHub) -> _Kept:
    kept = _kept.setdefault(hub, _Kept())
    while (output := hub.next_output()) is not None:
        check_well_formed(output)
        if isinstance(output, _OF_CONNECTIONS):
            kept.of.setdefault(output.conn, deque()).append(output)
        else:
            kept.events.append(output)
    return kept


def take(connection: Connection) -> Any:
    """The next output of a connection, None if there is none. What others have to say is kept for them."""
    outputs = _drain(hub_of(connection)).of.get(connection.conn)
    return outputs.popleft() if outputs else None


def take_all(connection: Connection) -> list[Any]:
    """All outputs of a connection."""
    return list(iter(lambda: take(connection), None))


def take_event(hub: PlatformHub) -> Any:
    """The next event of a hub, None if there is none."""
    events = _drain(hub).events
    return events.popleft() if events else None


def due_at(connection: Connection) -> float | None:
    """When a connection waits for something: to the moment, where `PlatformHub.deadline` lets many share one."""
    return None if (earliest := connection.timers.next()) is None else earliest[0]
