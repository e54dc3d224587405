"""One end of a link that is up: what both roles do the same way, whatever the messages mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from artcafe_proto.effects import PauseReading, ResumeReading, SendClose, SendPing, SendPong, SendText
from artcafe_proto.limits import MAX_WAITING_REPLIES
from artcafe_proto.policies.liveness import Liveness

if TYPE_CHECKING:
    from artcafe_proto.config import LinkSettings
    from artcafe_proto.outputs import Outputs


class LinkEnd:
    """Sending with backpressure, pings and pongs, and the count of bad messages. It lives as long as its link."""

    __slots__ = (
        "_outputs",
        "_owed_pong",
        "_replies",
        "_settings",
        "bad_in_a_row",
        "conn",
        "liveness",
        "stalled_at",
        "up_at",
        "writable",
    )

    def __init__(self, conn: int, settings: LinkSettings, outputs: Outputs, mono: float) -> None:
        self.conn = conn
        self.up_at = mono
        self.writable = True
        self.stalled_at: float | None = None
        """When writing was paused (LINK-8)."""
        self.liveness = Liveness(mono, interval_s=settings.ping_interval, timeout_s=settings.ping_timeout)
        self._settings = settings
        self._outputs = outputs
        self.bad_in_a_row = 0
        """Messages that were not understood, since one was."""
        self._owed_pong: bytes | None = None
        self._replies: list[bytes] = []

    @property
    def stall_deadline(self) -> float | None:
        """When a paused write has stalled for too long (LINK-8)."""
        return None if self.stalled_at is None else self.stalled_at + self._settings.write_stall_timeout

    def send(self, payload: bytes) -> None:
        """Send a message now; for what may wait, ask `writable` first."""
        self._outputs.sends.append(SendText(self.conn, payload))

    def send_all(self, payloads: list[bytes]) -> None:
        """Send messages now, as `send`."""
        conn = self.conn
        self._outputs.sends.extend([SendText(conn, payload) for payload in payloads])

    def reply(self, payload: bytes, mono: float) -> None:
        """Send a message that no outbox keeps. If many wait because the peer does not read, it is not read either."""
        if self.writable:
            self.send(payload)
            return
        self._replies.append(payload)
        if len(self._replies) == MAX_WAITING_REPLIES:
            self.liveness.pause(mono)
            self._outputs.asks.append(PauseReading(self.conn))

    def ping(self, mono: float) -> int:
        """Send the next ping; returns its number (LINK-7)."""
        self._outputs.sends.append(SendPing(self.conn, self.liveness.ping(mono)))
        return self.liveness.pings

    def pong(self, payload: bytes) -> None:
        """Answer a ping. Of those in a row, or while writing is paused, only the latest is (RFC 6455 section 5.5.3)."""
        sends = self._outputs.sends
        if self.writable:
            if sends and type(sends[-1]) is SendPong and sends[-1].conn == self.conn:
                sends.pop()
            sends.append(SendPong(self.conn, payload))
        else:
            self._owed_pong = payload

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, the last there is; a code that names nothing is answered with none (RFC 6455, 7.1.5)."""
        self._owed_pong = None
        self._replies.clear()
        self._outputs.sends.append(SendClose(self.conn, code, reason))

    def pause_writing(self, mono: float) -> None:
        """The transport is at its high-water mark; told again, it still is but has sent some, so it has not stalled."""
        self.writable = False
        self.stalled_at = mono

    def resume_writing(self, mono: float) -> None:
        """The transport takes more: what was owed goes out first."""
        if self.writable:
            return
        self.writable = True
        self.stalled_at = None
        if self._owed_pong is not None:
            self.pong(self._owed_pong)
            self._owed_pong = None
        if len(self._replies) >= MAX_WAITING_REPLIES:
            self.liveness.resume(mono)
            self._outputs.asks.append(ResumeReading(self.conn))
        replies, self._replies = self._replies, []
        for reply in replies:
            self.send(reply)

    def bad_message(self) -> bool:
        """A message was not understood; False once too many of them came in a row (MSG-5)."""
        self.bad_in_a_row += 1
        return self.bad_in_a_row <= self._settings.max_bad_messages
