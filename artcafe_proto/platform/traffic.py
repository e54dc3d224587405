"""What goes over the live links of a platform: what agents say, and the commands that wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.aliases import decode_heartbeat, decode_response
from artcafe_proto.damaged import read_answered_id
from artcafe_proto.errors import RemoteProtocolError
from artcafe_proto.events import (
    AgentOnline,
    CommandSent,
    HeartbeatReceived,
    MessageReceived,
    PeerViolation,
    StatusReceived,
    UnknownReceived,
)
from artcafe_proto.messages import HeartbeatData, ResponseData, decode_data, encode, status_decoder
from artcafe_proto.refusals import MAX_SAID_CHARS
from artcafe_proto.refusals import shown as said

if TYPE_CHECKING:
    from collections.abc import Callable

    from artcafe_proto.events import HubEvent
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import Envelope, StatusData
    from artcafe_proto.platform.delivery import Delivery
    from artcafe_proto.platform.links import LinkedAgent, Links
    from artcafe_proto.platform.records import AgentRecord
    from artcafe_proto.policies.keeping import Keeping


class Traffic:
    """What happens on live links, for a hub."""

    def __init__(
        self, links: Links, delivery: Delivery, emit: Callable[[HubEvent], None], keeping: Keeping | None
    ) -> None:
        self._keeping = keeping
        self._links = links
        self._delivery = delivery
        self._emit = emit

    def message_received(self, linked: LinkedAgent, envelope: Envelope, now: Instant) -> None:
        """An agent said something over its live link. Raises RemoteProtocolError for bad data (MSG-5)."""
        agent_id = linked.record.agent_id
        match envelope.type:
            case "response":
                self._answered(linked.record, decode_response(envelope.data), now)
            case "heartbeat":
                self.heartbeat_received(linked, decode_heartbeat(envelope.data), now)
            case "status":
                self.status_said(agent_id, decode_data(envelope.data, status_decoder))
            case "message":
                self._emit(MessageReceived(envelope.id, envelope.data.copy(), agent_id))
            case _:
                self._emit(UnknownReceived(envelope.type, envelope.id, envelope.data, agent_id))

    def heartbeat_received(self, linked: LinkedAgent, data: HeartbeatData, now: Instant) -> None:
        """An agent says over its live link how it is (HB-3). Raises RemoteProtocolError if it speaks for another."""
        agent_id, presence = linked.record.agent_id, linked.presence
        if data.agent_id != agent_id:
            raise RemoteProtocolError(1008, "expected the agent_id of this link's agent in a heartbeat", "HB-2")
        if not (0.0 <= data.cpu_usage <= 100.0 and data.memory_usage >= 0.0):
            cpu_usage, memory_usage = min(max(data.cpu_usage, 0.0), 100.0), max(data.memory_usage, 0.0)
            data = HeartbeatData(data.agent_id, data.status, cpu_usage, memory_usage)
        presence.status, presence.cpu_usage, presence.memory_usage = data.status, data.cpu_usage, data.memory_usage
        came_online = not presence.online
        if came_online:
            presence.window = self._delivery.window_for(agent_id)
            self._emit(AgentOnline(agent_id, linked.epoch.number))
        self._emit(HeartbeatReceived(agent_id, data))
        if came_online:
            self.send_on(agent_id, now)

    def send_on(self, agent_id: str, now: Instant) -> None:
        """Send what waits for an agent, as far as its window and the room on its link allow (CMD-10, LINK-8)."""
        presence = self._links.find(agent_id)
        if presence is None or presence.session is None or presence.window is None:
            return
        session, window = presence.session, presence.window
        while window.has_place and session.has_room:
            due = self._delivery.next_to_send(agent_id, now)
            if due is None:
                break
            command = due.command
            session.deliver(encode("command", command.command_id, command.data, now.wall), now)
            self._emit(CommandSent(agent_id, command.command_id, command.data.command, due.attempt))

    def _answered(self, agent: AgentRecord, response: ResponseData, now: Instant) -> None:
        session = self._links.carrier(agent.agent_id)
        if self._keeping is not None and not self._keeping.has_room and session is not None:
            session.close(1013, "too much waits to be stored", now)  # on the next link it comes again (CMD-3)
            return
        self._delivery.answer(agent.tenant_id, agent.agent_id, response, now)
        self.send_on(agent.agent_id, now)

    def status_said(self, agent_id: str, data: StatusData) -> None:
        """An agent says what it does, over its link or over HTTP (STAT-2)."""
        self._links.presence(agent_id).status = data.status
        self._emit(StatusReceived(agent_id, data.status, data.current_task, data.progress, data.message))

    def violated(self, linked: LinkedAgent, error: RemoteProtocolError, payload: bytes, now: Instant) -> bool:
        """An agent broke a clause in a way that does not cost its link (MSG-5). True for a response whose `command_id`
        can be read: its command is over.
        """
        self._emit(PeerViolation(error.reason, error.clause, linked.record.agent_id))
        command_id = read_answered_id(payload)
        if command_id is None:
            return False
        reason = f"the agent's response cannot be read: {said(error.reason, MAX_SAID_CHARS)}"
        self._answered(linked.record, ResponseData(command_id, "error", reason=reason, code="undeliverable"), now)
        return True
