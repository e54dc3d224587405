"""The agent's end of a link: heartbeats and status, beside what both roles do (HB, STAT)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.links import LinkEnd
from artcafe_proto.messages import HeartbeatData, StatusData, encode
from artcafe_proto.policies.heartbeats import next_heartbeat
from artcafe_proto.policies.status import StatusReports

if TYPE_CHECKING:
    from artcafe_proto.config import AgentConfig
    from artcafe_proto.instants import Instant
    from artcafe_proto.messages import AgentStatus, MessageIds
    from artcafe_proto.outputs import AgentOutputs


class AgentLink(LinkEnd):
    """It begins with the first heartbeat (HB-1): construct it the moment the link is up."""

    def __init__(
        self,
        conn: int,
        config: AgentConfig,
        outputs: AgentOutputs,
        ids: MessageIds,
        mono: float,
        *,
        answers_pings: bool,
    ) -> None:
        """`answers_pings`: the platform has answered a ping on an earlier link."""
        super().__init__(conn, config, outputs, mono, answers_pings=answers_pings)
        self._config = config
        self._ids = ids
        self._reports = StatusReports()
        self._told: AgentStatus | None = None
        self.heartbeat_at: float = mono
        """When the next heartbeat is due."""

    def beat(self, status: AgentStatus, cpu_usage: float, memory_usage: float, now: Instant) -> None:
        """Send a heartbeat, however much is unsent (HB-2), and find the next point of the grid."""
        data = HeartbeatData(self._config.agent_id, status, cpu_usage, memory_usage)
        self._send("heartbeat", data, now)
        self._told = status
        self.heartbeat_at = next_heartbeat(self.up_at, self._config.heartbeat_interval, now.mono)

    def offer_progress(self, command_id: str, percent: float, status: AgentStatus) -> None:
        """A command is this far (STAT-4)."""
        self._reports.offer(command_id, StatusData(status, command_id, percent))

    def forget_progress(self, command_id: str) -> None:
        """A command is over."""
        self._reports.forget(command_id)

    @property
    def status_deadline(self) -> float | None:
        """When `report` has something to send."""
        return self._reports.deadline if self._reports and self.outflow.has_room else None

    def report(self, status: AgentStatus, now: Instant) -> None:
        """The agent's status is this: send what may go out now, of what the platform was not told (STAT-2)."""
        if status != self._told:
            self._reports.offer(None, StatusData(status))
        elif self._reports:
            self._reports.withdraw(None)
        if not self._reports or not self.outflow.has_room:
            return
        for report in self._reports.take_due(now.mono):  # progress may have waited while the status became another
            self._send("status", StatusData(status, report.current_task, report.progress), now)
            self._told = status

    def sign_off(self, now: Instant) -> None:
        """Say `offline` and begin the closing handshake (STAT-3)."""
        self._send("status", StatusData("offline"), now)
        self.close(1000, "the agent stops")

    def _send(self, message_type: str, data: HeartbeatData | StatusData, now: Instant) -> None:
        self.send(encode(message_type, self._ids.new(message_type), data, now.wall))
