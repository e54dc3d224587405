"""The event streams of tenants: what goes out on them as server-sent events, and who listens (PLAT-4).

The format is that of WHATWG HTML section 9.2. What was sent is not kept: ids say only whether somebody who comes back
has missed anything, and then the first event is `stream.reset`, in the place of `stream.open`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, assert_never

import msgspec

from artcafe_proto.events import (
    AgentAuthenticated,
    AgentOffline,
    AgentOnline,
    AuthenticationRefused,
    ChallengeIssued,
    CommandAccepted,
    CommandAnswered,
    CommandDeferred,
    CommandExpired,
    CommandRepeated,
    CommandSent,
    HeartbeatReceived,
    MessageReceived,
    PeerViolation,
    RequestFailed,
    StatusReceived,
    StoreRecovered,
    StoreStalled,
    UnknownReceived,
)
from artcafe_proto.exchanges import HttpResponse
from artcafe_proto.instants import format_timestamp
from artcafe_proto.limits import MAX_STREAMS_PER_TENANT
from artcafe_proto.platform.commands import public_response

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from artcafe_proto.events import HubEvent
    from artcafe_proto.instants import Instant

UNPUBLISHED: Final = (
    ChallengeIssued,
    AuthenticationRefused,
    CommandAccepted,
    RequestFailed,
    StoreStalled,
    StoreRecovered,
)
"""Anybody can cause the first two, as often as they like; whoever is told of the third has its answer; the others are
for the operator."""
KEEP_ALIVE: Final = b":\n\n"
HEAD: Final = HttpResponse(
    status=200,
    headers=(("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")),
)
"""The last field has proxies, nginx for one, pass on what comes as it comes."""


class Stream(msgspec.Struct):
    """One listener. A connection carries one request at a time, so `conn` names it."""

    conn: int
    exchange: int
    tenant_id: str
    agent_id: str | None
    """The one agent it wants to hear of, or None."""


class Publication(NamedTuple):
    """One event, ready to be sent."""

    data: bytes
    streams: list[Stream]


class Streams:
    """All streams of a platform, and the numbers of the events of each tenant."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._run = ""  # another in every process; drawn for the first stream
        self._numbers: Counter[str] = Counter()
        self._by_conn: dict[int, Stream] = {}
        self._by_tenant: dict[str, dict[int, Stream]] = {}

    def add(self, stream: Stream, last_event_id: str | None, now: Instant) -> bytes:
        """A stream begins; returns its first event, which has the id to come back with.

        `last_event_id` is the last that its listener got before, if it has come back.
        """
        self._by_conn[stream.conn] = stream
        self._by_tenant.setdefault(stream.tenant_id, {})[stream.conn] = stream
        last = self._last_id(stream.tenant_id)
        name = "stream.open" if last_event_id in (None, last) else "stream.reset"
        return _encode(name, last, {"timestamp": format_timestamp(now.wall)})

    def get(self, conn: int) -> Stream | None:
        """The stream on a connection."""
        return self._by_conn.get(conn)

    def forget(self, conn: int) -> None:
        """A stream has ended, or its connection."""
        stream = self._by_conn.pop(conn, None)
        if stream is not None:
            streams = self._by_tenant[stream.tenant_id]
            del streams[conn]
            if not streams:
                del self._by_tenant[stream.tenant_id]

    def has_room(self, tenant_id: str) -> bool:
        """Whether a tenant may have one more."""
        return len(self._by_tenant.get(tenant_id, {})) < MAX_STREAMS_PER_TENANT

    def all(self) -> list[Stream]:
        """Every stream."""
        return list(self._by_conn.values())

    def publish(self, tenant_id: str, event: HubEvent, now: Instant) -> Publication | None:
        """Number an event of a tenant's agent; None if nobody is to hear of it."""
        if isinstance(event, UNPUBLISHED):
            return None
        self._numbers[tenant_id] += 1
        if tenant_id not in self._by_tenant:  # the common case, and it comes with every heartbeat
            return None
        described, streams = describe(event), _wanting(event.agent_id, self._by_tenant[tenant_id].values())
        if described is None or not streams:
            return None
        name, fields = described
        data = {"agent_id": event.agent_id, **fields, "timestamp": format_timestamp(now.wall)}
        return Publication(_encode(name, self._last_id(tenant_id), data), streams)

    def _last_id(self, tenant_id: str) -> str:
        self._run = self._run or f"{self._rng.getrandbits(64):016x}"
        return f"{self._run}-{self._numbers[tenant_id]}"


def describe(event: HubEvent) -> tuple[str, dict[str, Any]] | None:
    """An event's name on the stream and what it says beside agent and time; None for what is not on the stream."""
    if isinstance(event, UNPUBLISHED):
        return None
    match event:
        case AgentAuthenticated():
            return "agent.authenticated", {"key_id": event.key_id, "algorithm": event.algorithm}
        case AgentOnline():
            return "agent.online", {"epoch": event.epoch}
        case AgentOffline():
            return "agent.offline", {"epoch": event.epoch, "reason": event.reason}
        case HeartbeatReceived(data=data):
            metrics = {"cpu_usage": data.cpu_usage, "memory_usage": data.memory_usage}
            return "agent.heartbeat", {"status": data.status, "metrics": metrics}
        case StatusReceived():
            progress = {"current_task": event.current_task, "progress": event.progress, "message": event.message}
            return "agent.status", {"status": event.status, **progress}
        case MessageReceived():
            return "agent.message", {"message_id": event.message_id, "data": event.raw_data}
        case UnknownReceived():
            return "agent.unknown", {"message_id": event.message_id, "type": event.type, "data": event.raw_data}
        case PeerViolation():
            return "agent.violation", {"reason": event.reason, "clause": event.clause}
        case CommandSent():
            command = {"command_id": event.command_id, "command": event.command}
            return "command.sent", {**command, "attempt": event.attempt}
        case CommandDeferred():
            return "command.deferred", {"command_id": event.command_id, "code": event.code}
        case CommandAnswered():
            response = public_response(event.response)
            return "command.answered", {"command_id": event.command_id, "response": response, "late": event.late}
        case CommandRepeated():
            return "command.repeated", {"command_id": event.command_id}
        case CommandExpired():
            return "command.expired", {"command_id": event.command_id}
        case _:
            assert_never(event)


def _wanting(agent_id: str, streams: Iterable[Stream]) -> list[Stream]:
    return [stream for stream in streams if stream.agent_id in (None, agent_id)]


def _encode(name: str, event_id: str, data: dict[str, Any]) -> bytes:
    # What an agent sent is in there as it came: in JSON a line end is white space, on the stream it ends a field.
    line = msgspec.json.encode(data).translate(_NO_LINE_ENDS)
    return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), event_id.encode(), line)


_NO_LINE_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")
