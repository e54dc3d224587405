"""What a hub has stored, and who waits for it (PLAT-5): state changes at once, and is said once it is stored."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

from artcafe_proto.events import (
    CommandAccepted,
    CommandAnswered,
    CommandExpired,
)
from artcafe_proto.limits import MAX_HELD_BYTES
from artcafe_proto.outputs import Outputs
from artcafe_proto.platform.answers import store_unavailable
from artcafe_proto.platform.held import HeldOutputs, Holders
from artcafe_proto.platform.records import Change, CommandRecord, Kind, read_change
from artcafe_proto.platform.state import PlatformState
from artcafe_proto.policies.keeping import Keeping
from artcafe_proto.records import Keeps, in_order, pack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from artcafe_proto.effects import Persist, PersistFailure
    from artcafe_proto.events import HubEvent
    from artcafe_proto.outputs import PlatformOutputs
    from artcafe_proto.records import Record


class Storing:
    """The stored state of a hub, its batches, and what of its events and connections is held until they are stored."""

    def __init__(self, restored: Iterable[Record], keeps: Keeps) -> None:
        """Raises DamagedRecordError, and as `PlatformState`."""
        self.state: Final = PlatformState(map(read_change, in_order(restored)))
        self.keeping: Final = Keeping() if keeps is Keeps.RECORDS else None
        self.holders: Final = Holders()
        self.events: Final[deque[HubEvent]] = deque()
        """What the driver may be told."""
        self._held_events: deque[tuple[int, HubEvent]] = deque()
        self._identities: OrderedDict[str, int] = OrderedDict()
        """The batch of an agent's own records, while that is not stored."""

    # --- what is put --------------------------------------------------------------------------------------------------

    def put(self, change: Change) -> int:
        """Change the state; returns the batch in which that is stored, 0 if nothing is."""
        if self.keeping is None:
            self.state.apply(change)
            return 0
        if change.kind in _OF_COMMANDS:
            outcome_n = None if change.value is not None else self.state.outcome_of(change)
            self.state.apply(change)
            if outcome_n is not None:
                return self.keeping.put(pack(*change), pack(Kind.OUTCOME, outcome_n, None))
            batch = self.keeping.put(pack(*change))
            if isinstance(change.value, CommandRecord):
                accepted = CommandAccepted(change.value.agent_id, change.value.command_id)
                self._held_events.append((batch, accepted))
            return batch
        agent_id = self.state.agent_of(change)
        self.state.apply(change)
        batch = self.keeping.put(pack(*change))
        if agent_id is not None:
            self._identities.pop(agent_id, None)  # they stay in the order of their batches
            self._identities[agent_id] = batch
        return batch

    def check(self) -> None:
        """Raise ApiError 503 if the store takes no new work, and nothing that is stored is to be shown."""
        if self.keeping is not None and (self.keeping.refuses or self.holders.held_bytes >= MAX_HELD_BYTES):
            raise store_unavailable()

    def barrier(self) -> int:
        """The batch in which what was put last is stored; 0 if nothing is."""
        return 0 if self.keeping is None else self.keeping.barrier

    # --- what waits ---------------------------------------------------------------------------------------------------

    def outputs_of(self, conn: int) -> PlatformOutputs:
        """The outputs of a new connection."""
        return Outputs() if self.keeping is None else HeldOutputs(conn, self.keeping, self.holders)

    def emit(self, event: HubEvent) -> None:
        """Tell the driver: of what was put once it is stored, of anything else at once."""
        keeping = self.keeping
        if keeping is None or keeping.stored == keeping.barrier or not isinstance(event, _TELLS_WHAT_WAS_PUT):
            self.events.append(event)
        else:
            self._held_events.append((keeping.barrier, event))

    def batch_of(self, agent_id: str) -> int:
        """What a login of an agent waits for: its own records."""
        return self._identities.get(agent_id, 0)

    # --- the store ----------------------------------------------------------------------------------------------------

    def persisted(self, batch: int, mono: float) -> bool:
        """A batch is stored: let go what waited for it. False, and nothing changes, unless it is the one under way."""
        keeping = self.keeping
        if keeping is None:
            return False
        if not keeping.persisted(batch, mono):
            return False
        self._tell(keeping, mono)
        while self._identities and next(iter(self._identities.values())) <= batch:
            del self._identities[next(iter(self._identities))]
        while self._held_events and self._held_events[0][0] <= batch:
            self.events.append(self._held_events.popleft()[1])
        self.holders.release()
        return True

    def persist_failed(self, batch: int, reason: PersistFailure, mono: float) -> None:
        """A batch could not be stored."""
        if self.keeping is not None and self.keeping.failed(batch, reason, mono):
            self._tell(self.keeping, mono)

    def look(self, mono: float) -> None:
        """It is later: the store may have stalled."""
        if self.keeping is not None:
            self.keeping.look(mono)
            self._tell(self.keeping, mono)

    def _tell(self, keeping: Keeping, mono: float) -> None:
        if (news := keeping.news(mono)) is not None:
            self.events.append(news)

    def given_up(self) -> Sequence[HeldOutputs]:
        """What is held, if the store has let it wait for too long: nobody is to wait any longer. Each once a stall."""
        return () if self.keeping is None or not self.keeping.has_stalled else self.holders.take_newly()

    def next_persist(self, mono: float) -> Persist | None:
        """What is to be stored now."""
        return None if self.keeping is None else self.keeping.next_persist(mono)

    @property
    def deadline(self) -> float | None:
        """When to look at the store again, monotonic seconds."""
        return None if self.keeping is None else self.keeping.deadline


_OF_COMMANDS: Final = (Kind.COMMAND, Kind.OUTCOME)
_TELLS_WHAT_WAS_PUT: Final = (CommandAnswered, CommandExpired)
"""The other events tell what no store has, heartbeats and links for one; while a store stalls they must not pile up."""
